from django.urls import path

from training import views

app_name = "training"
urlpatterns = [
    path("", views.home, name="home"),
    path("family/", views.family, name="family"),
    path("generate/", views.generate, name="generate"),
    path("runs/", views.run_list, name="runs"),
    path("runs/new/", views.launch, name="launch"),
    path("runs/<int:pk>/", views.run_detail, name="run"),
    path("runs/<int:pk>/live/", views.run_live, name="run-live"),
    path("runs/<int:pk>/evaluate/", views.evaluate, name="evaluate"),
    path("evaluations/<uuid:public_id>/", views.evaluation, name="evaluation"),
    path("evaluations/<uuid:public_id>/promote/", views.promote, name="promote"),
    path("me/impact/", views.impact, name="impact"),
    path("me/impact/data/", views.impact_data, name="impact-data"),
    path("models/aliases/<str:name>/rollback/", views.rollback, name="rollback"),
]
