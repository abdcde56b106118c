from django.urls import path

from jobs import views

app_name = "jobs"
urlpatterns = [
    path("jobs/", views.jobs, name="jobs"),
    path("jobs/<uuid:public_id>/", views.job, name="job"),
    path("jobs/<uuid:public_id>/cancel/", views.cancel, name="job-cancel"),
    path("jobs/<uuid:public_id>/keep/", views.keep, name="job-keep"),
    path("jobs/<uuid:public_id>/priority/", views.prioritise, name="job-priority"),
    path("jobs/<uuid:public_id>/again/", views.again, name="job-again"),
]
