from django.urls import path

from annotation.views import freezing, intake, leasing, managing, qualifying, queue, rating

app_name = "annotation"
urlpatterns = [
    path("rate/", queue.queue, name="queue"),
    path("rate/<uuid:pk>/", rating.judge, name="judge"),
    path("rate/<uuid:pk>/extend/", leasing.extend, name="extend"),
    path("rate/<uuid:pk>/ahead/", leasing.ahead, name="ahead"),
    path("rate/campaigns/<uuid:pk>/leave/", leasing.leave, name="leave"),
    path("rate/campaigns/<uuid:pk>/next/", queue.next_pair, name="next"),
    path("rate/campaigns/<uuid:pk>/qualification/", qualifying.qualification, name="qualification"),
    path("rate/sittings/<uuid:pk>/", queue.sitting, name="sitting"),
    path("rate/sittings/<uuid:pk>/end/", queue.sitting_end, name="sitting-end"),
    path("campaigns/<uuid:pk>/gold/", qualifying.gold, name="gold"),
    path("campaigns/<uuid:pk>/gold/settled/", qualifying.gold_settled, name="gold-settled"),
    path("campaigns/<uuid:pk>/gold/<int:user>/try/", qualifying.qualification_grant, name="qualification-grant"),
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
