from django.urls import path

from training.views import comparing, generating, home, impact, launching, merged, merging, promoting, searching, tracing, watching

app_name = "training"
urlpatterns = [
    path("", home.home, name="home"),
    path("family/", home.family, name="family"),
    path("generate/", generating.generate, name="generate"),
    path("generate/<uuid:public_id>/again/", generating.ask_again, name="ask-again"),
    path("runs/", watching.run_list, name="runs"),
    path("runs/new/", launching.launch, name="launch"),
    path("runs/new/measure/", launching.measure, name="measure"),
    path("runs/search/", searching.search, name="search"),
    path("runs/<int:pk>/", watching.run_detail, name="run"),
    path("runs/compare/", watching.compare, name="compare-runs"),
    path("runs/<int:pk>/live/", watching.run_live, name="run-live"),
    path("runs/<int:pk>/samples/", watching.run_samples, name="run-samples"),
    path("runs/<int:pk>/bundle/", watching.bundle, name="bundle"),
    path("runs/<int:pk>/stop/", watching.stop, name="stop"),
    path("runs/<int:pk>/evaluate/", comparing.evaluate, name="evaluate"),
    path("evaluations/<uuid:public_id>/", comparing.evaluation, name="evaluation"),
    path("evaluations/<uuid:public_id>/promote/", comparing.promote, name="promote"),
    path("merge/", merging.lab, name="merge"),
    path("merge/paper/", merging.paper, name="merge-paper"),
    path("merge/recipes/", merged.recipe_list, name="merge-recipes"),
    path("merge/recipes/compare/", merged.compare, name="compare-recipes"),
    path("merge/recipes/<uuid:public_id>/", merged.recipe, name="merge-recipe"),
    path("merge/previews/<uuid:public_id>/", merged.preview, name="merge-preview"),
    path("models/<uuid:public_id>/promote/", promoting.promotion, name="promotion"),
    path("me/impact/", impact.impact, name="impact"),
    path("me/impact/data/", impact.impact_data, name="impact-data"),
    path("lineage/", tracing.lineage_search, name="lineage-search"),
    path("lineage/<str:kind>/<str:key>/", tracing.lineage, name="lineage"),
    path("lineage/<str:kind>/<str:key>/list/<str:of>/", tracing.lineage_list, name="lineage-list"),
    path("lineage/<str:kind>/<str:key>/prov.json", tracing.lineage_prov, name="lineage-prov"),
    path("lineage/<str:kind>/<str:key>/drawing.svg", tracing.lineage_svg, name="lineage-svg"),
    path("models/aliases/<str:name>/rollback/", comparing.rollback, name="rollback"),
]
