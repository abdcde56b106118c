from django.urls import path

from modelhub import hub, taking, views

app_name = "modelhub"
urlpatterns = [
    path("models/", hub.models, name="models"),
    path("models/import/", hub.bring_in, name="import"),
    path("models/verify/", hub.verify, name="verify"),
    path("models/<uuid:public_id>/", views.model, name="model"),
    path("models/<uuid:public_id>/card/", taking.card, name="card"),
    path("models/<uuid:public_id>/README.md", taking.readme, name="readme"),
    path("models/<uuid:public_id>/export/<str:form>.zip", taking.export, name="export"),
    path("models/<uuid:public_id>/archive/", hub.archive, name="archive"),
]
