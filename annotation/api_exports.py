"""The API of exports: stable addresses by the snapshot's digest, the manifest of each form, and its files whole or in parts."""

from typing import Any, ClassVar

from django.http import Http404
from django.http.response import HttpResponseBase
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import access, audit
from accounts.access import TRAINERS
from accounts.models import User
from accounts.openapi import problems
from annotation import export_files, export_jobs, export_rights
from annotation.exports import levels
from annotation.exports.forms import FORMS
from annotation.models import Snapshot
from annotation.serializers import JobSerializer
from annotation.views import exporting


class NotMade(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"
    default_detail = "It takes a while to make: GET the address without the file's name, and again until it answers 200."


class FormSerializer(serializers.Serializer[Any]):
    """`at` names the manifest of each level that you may take."""

    form = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    purpose = serializers.CharField()
    reads_back = serializers.CharField()
    at = serializers.DictField(child=serializers.CharField())


class ExportsSerializer(serializers.Serializer[Any]):
    snapshot = serializers.CharField()
    level = serializers.CharField(help_text="The most you may export; empty for nothing.")
    forms = FormSerializer(many=True)


class ManifestSerializer(serializers.Serializer[Any]):
    """manifest.json, with `archive`, the address of everything as a zip; a file's is this one's, then `files/` and its name."""

    snapshot = serializers.CharField()
    form = serializers.CharField()
    level = serializers.CharField()
    configs = serializers.DictField()
    files = serializers.DictField()
    archive = serializers.CharField()


_RANGED = [
    OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="bytes=START- to go on with a broken download"),
    OpenApiParameter("If-Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="The ETag of what you have a part of"),
]
_BYTES = {200: OpenApiResponse(OpenApiTypes.BINARY), 206: OpenApiResponse(OpenApiTypes.BINARY), 416: OpenApiResponse(description="No byte")}


def get_snapshot_for(user: User, digest: str) -> Snapshot:
    """The snapshot of this digest, if the user may see it. Raises Http404 otherwise."""
    found = Snapshot.objects.unblinded_for(user).select_related("campaign__rubric").filter(digest=digest).first()
    if found is None:
        raise Http404
    return found


class _Exports(APIView):
    access: ClassVar = TRAINERS
    scopes: ClassVar = {"GET": "manage"}

    def wanted(self, request: Request, digest: str, form: str, level: str) -> tuple[User, Snapshot]:
        """Who asks, and for what. Raises Http404 for what is not there, NotAllowed without the right to it."""
        user = access.require(request.user, *TRAINERS)
        snapshot = get_snapshot_for(user, digest)
        if form not in FORMS or level not in levels.ORDER:
            raise Http404
        export_rights.require(user, level, snapshot)
        return user, snapshot


class ExportList(_Exports):
    @extend_schema(operation_id="exports_list", responses={200: ExportsSerializer, **problems(404)})
    def get(self, request: Request, digest: str) -> Response:
        """Which forms there are, and where those are that you may take."""
        user = access.require(request.user, *TRAINERS)
        snapshot = get_snapshot_for(user, digest)
        most = export_rights.level_of(user)
        audit.record(user, "export.read", snapshot, digest=digest)
        mine = [level for level in levels.ORDER if levels.within(level, most)]
        told = [
            {
                "form": form.key, "label": form.label, "purpose": form.purpose, "reads_back": form.reads_back,
                "at": {level: reverse("api-export", args=[digest, form.key, level]) for level in mine},
            }
            for form in FORMS.values()
        ]  # fmt: skip
        return Response({"snapshot": digest, "level": most, "forms": told})


class ExportDetail(_Exports):
    @extend_schema(operation_id="exports_retrieve", responses={200: ManifestSerializer, 202: JobSerializer, **problems(404)})
    def get(self, request: Request, digest: str, form: str, level: str) -> Response:
        """The manifest. What takes long to make is begun, and 202 names its job: ask again until it answers 200."""
        user, snapshot = self.wanted(request, digest, form, level)
        if export_jobs.is_long(snapshot) and not export_files.is_made(snapshot, form, level):
            job = export_jobs.start(snapshot=snapshot, form=form, level=level, actor=user)
            told = {"job": job.public_id, "state": job.state, "done": job.progress_done, "total": job.progress_total}
            return Response(told, status=status.HTTP_202_ACCEPTED)
        manifest = export_files.manifest(export_files.folder(snapshot=snapshot, form=form, level=level))
        audit.record(user, "export.read", snapshot, digest=digest, form=form, level=level)
        return Response({**manifest, "archive": reverse("api-export-archive", args=[digest, form, level])})


class ExportArchive(_Exports):
    @extend_schema(operation_id="exports_archive", parameters=_RANGED, responses={**_BYTES, **problems(404, 409)})
    def get(self, request: Request, digest: str, form: str, level: str) -> HttpResponseBase:
        """Everything as a zip, or a part of it. The same address gives the same bytes."""
        user, snapshot = self.wanted(request, digest, form, level)
        if export_jobs.is_long(snapshot) and not export_files.is_made(snapshot, form, level):
            raise NotMade
        return exporting.send_archive(request._request, user, snapshot, form, level, via="api")


class ExportFile(_Exports):
    @extend_schema(operation_id="exports_file", parameters=_RANGED, responses={**_BYTES, **problems(404)})
    def get(self, request: Request, digest: str, form: str, level: str, name: str) -> HttpResponseBase:
        """A file that the manifest names, or a part of it."""
        user, snapshot = self.wanted(request, digest, form, level)
        return exporting.send_file(request._request, user, snapshot, form, level, name, via="api")
