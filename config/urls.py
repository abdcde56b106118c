"""Every address of the house."""

from django.urls import include, path

urlpatterns = [
    path("accounts/", include("allauth.account.urls")),
    path("", include("accounts.urls")),
    path("", include("jobs.urls")),
    path("", include("modelhub.urls")),
    path("", include("annotation.urls")),
    path("", include("training.urls")),
]
