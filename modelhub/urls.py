from django.urls import path

from modelhub import taking, views

app_name = "modelhub"
urlpatterns = [
    path("models/", views.models, name="models"),
    path("models/<uuid:public_id>/", views.model, name="model"),
    path("models/<uuid:public_id>/card/", taking.card, name="card"),
    path("models/<uuid:public_id>/README.md", taking.readme, name="readme"),
    path("models/<uuid:public_id>/export/<str:form>.zip", taking.export, name="export"),
]
