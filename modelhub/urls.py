from django.urls import path

from modelhub import views

app_name = "modelhub"
urlpatterns = [
    path("models/", views.models, name="models"),
    path("models/<uuid:public_id>/", views.model, name="model"),
]
