"""Every address of the house."""

from allauth.account import urls as allauth_urls
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from accounts.admin import site
from annotation import api, api_exports, import_api

handler403 = "web.errors.denied"
handler404 = "web.errors.not_found"
handler500 = "web.errors.broken"

# allauth's doors that this house has. Addresses and forgotten passwords go by mail elsewhere; here an administrator sets a new one.
DOORS = {"account_login", "account_logout", "account_inactive", "account_signup", "account_change_password", "account_reauthenticate"}

api_v1 = [
    path("samples/", api.SampleList.as_view(), name="api-samples"),
    path("samples/<int:pk>/", api.SampleDetail.as_view(), name="api-sample"),
    path("imports/", import_api.ImportList.as_view(), name="api-imports"),
    path("imports/<uuid:pk>/", import_api.ImportDetail.as_view(), name="api-import"),
    path("imports/<uuid:pk>/report/", import_api.ImportReport.as_view(), name="api-import-report"),
    path("campaigns/", api.CampaignList.as_view(), name="api-campaigns"),
    path("campaigns/<uuid:pk>/", api.CampaignDetail.as_view(), name="api-campaign"),
    path("campaigns/<uuid:pk>/next/", api.CampaignNext.as_view(), name="api-campaign-next"),
    path("assignments/<uuid:pk>/submit/", api.AssignmentSubmit.as_view(), name="api-assignment-submit"),
    path("snapshots/", api.SnapshotList.as_view(), name="api-snapshots"),
    path("snapshots/lint/", api.SnapshotLint.as_view(), name="api-snapshots-lint"),
    path("snapshots/<uuid:pk>/", api.SnapshotDetail.as_view(), name="api-snapshot"),
    path("snapshots/<slug:digest>/exports/", api_exports.ExportList.as_view(), name="api-exports"),
    path("snapshots/<slug:digest>/exports/<slug:form>/<slug:level>/", api_exports.ExportDetail.as_view(), name="api-export"),
    path(
        "snapshots/<slug:digest>/exports/<slug:form>/<slug:level>/archive/", api_exports.ExportArchive.as_view(), name="api-export-archive"
    ),
    path(
        "snapshots/<slug:digest>/exports/<slug:form>/<slug:level>/files/<path:name>",
        api_exports.ExportFile.as_view(),
        name="api-export-file",
    ),
    path("schema/", SpectacularAPIView.as_view(), name="api-schema"),
    # Its script is a request of its own: the page has nothing inline.
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema", template_name="web/api_docs.html"), name="api-docs"),
]

urlpatterns = [
    path("accounts/", include([door for door in allauth_urls.urlpatterns if door.name in DOORS])),
    path("records/", site.urls),
    path("api/v1/", include(api_v1)),
    path("", include("accounts.urls")),
    path("", include("jobs.urls")),
    path("", include("modelhub.urls")),
    path("", include("annotation.urls")),
    path("", include("training.urls")),
]
