from django.urls import path

from annotation.views import freezing, intake, managing, queue, rating

app_name = "annotation"
urlpatterns = [
    path("rate/", queue.queue, name="queue"),
    path("rate/<uuid:pk>/", rating.judge, name="judge"),
    path("rate/campaigns/<uuid:pk>/next/", queue.next_pair, name="next"),
    path("rate/campaigns/<uuid:pk>/undo/", rating.undo, name="undo"),
    path("rate/campaigns/<uuid:pk>/guideline/", rating.guideline, name="guideline"),
    path("samples/", intake.samples, name="samples"),
    path("samples/import/", intake.sample_import, name="sample-import"),
    path("samples/completions/import/", intake.completion_import, name="completion-import"),
    path("campaigns/", managing.campaigns, name="campaigns"),
    path("campaigns/new/", managing.campaign_new, name="campaign-new"),
    path("campaigns/<uuid:pk>/", managing.campaign, name="campaign"),
    path("campaigns/<uuid:pk>/open/", managing.campaign_open, name="campaign-open"),
    path("campaigns/<uuid:pk>/close/", managing.campaign_close, name="campaign-close"),
    path("campaigns/<uuid:pk>/freeze/", managing.campaign_freeze, name="campaign-freeze"),
    path("snapshots/", freezing.snapshots, name="snapshots"),
    path("snapshots/<uuid:pk>/", freezing.snapshot, name="snapshot"),
    path("snapshots/<uuid:pk>/download/<str:format>/", freezing.snapshot_download, name="snapshot-download"),
]
