"""The API of imports: a program sends a file with its length and SHA-256, says what it is to be, and asks how far it is."""

import json
from typing import Any, ClassVar
from uuid import UUID

from django.http import FileResponse, Http404, HttpRequest
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from accounts import access
from accounts.access import TRAINERS
from accounts.openapi import problems
from annotation import imports, reading
from annotation.api import Conflict
from annotation.imports import CONFLICTS, UploadRefused
from annotation.models import Group, Import
from annotation.records import ImportRefused
from annotation.views.uploading import Received, ToImports


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "upload.too_large"


class SentSerializer(serializers.Serializer[Any]):
    """What goes with the file. `shape`, `mapping` and `format` are found by a look at it where they are not said."""

    file = serializers.FileField(allow_empty_file=True)
    length = serializers.IntegerField(min_value=0, help_text="Bytes of the file: compared with what arrived.")
    sha256 = serializers.RegexField(r"^[0-9a-fA-F]{64}\Z", help_text="Of the file: compared with what arrived.")
    target = serializers.CharField(max_length=80, help_text="The source's name; for documents the corpus's.")
    licence = serializers.CharField(max_length=80)
    shape = serializers.ChoiceField(choices=sorted(reading.SHAPES), required=False)
    mapping = serializers.CharField(required=False, max_length=20_000, help_text='JSON: {"field": "column", "other": "=constant"}.')
    on_conflict = serializers.ChoiceField(choices=sorted(CONFLICTS), default="refuse")
    synthetic = serializers.BooleanField(default=True)
    quarantine = serializers.BooleanField(default=True)
    nul = serializers.ChoiceField(choices=["refuse", "replace"], default="refuse", help_text="NUL characters: or U+FFFD in their place.")
    pairs = serializers.ChoiceField(choices=["refuse", "exclude"], default="refuse", help_text="That are identical or lack a side.")
    leave_out_doubles = serializers.BooleanField(default=False, help_text="Rows that say the same twice are left out and counted.")
    skip_bad_rows = serializers.BooleanField(
        default=False, help_text="Rows that cannot be stored are left out, counted and listed in the report; else they refuse the file."
    )
    group = serializers.ChoiceField(choices=Group.values, required=False, help_text="Of a corpus.")
    dry = serializers.BooleanField(default=False, help_text="Do everything but store.")

    def validate_mapping(self, given: str) -> dict[str, str]:
        try:
            mapping = json.loads(given)
        except (ValueError, RecursionError):
            mapping = None
        if not isinstance(mapping, dict) or not all(isinstance(one, str) for one in mapping.values()):
            raise serializers.ValidationError("A JSON object of texts is expected.")
        return mapping


class ImportProblemSerializer(serializers.Serializer[Any]):
    line = serializers.IntegerField(help_text="0: the file as a whole.")
    unit = serializers.CharField()
    field = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()


class ImportSerializer(serializers.ModelSerializer[Import]):
    id = serializers.UUIDField(source="public_id", read_only=True)
    job = serializers.UUIDField(source="job.public_id", read_only=True, allow_null=True, default=None)
    standing = serializers.CharField(read_only=True, help_text="Its state, or its job's while that says more.")
    progress = serializers.SerializerMethodField()
    problems = serializers.SerializerMethodField()
    counts = serializers.SerializerMethodField()
    report = serializers.SerializerMethodField()

    class Meta:
        model = Import
        fields = [
            "id", "label", "bytes", "sha256", "content", "format", "shape", "mapping", "target", "licence", "state", "standing", "job",
            "progress", "counts", "problems", "report", "created_at", "ended_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_progress(self, made: Import) -> int | None:
        """Per cent of the present phase, null while nothing runs."""
        return made.job.percent if made.job and made.working else None

    def get_counts(self, made: Import) -> dict[str, Any]:
        """rows, stored, already, skipped, replaced, quarantined, held_back, problems, warnings; whichever there are. `already_as` is the
        id of the import by which the same file came in before."""
        return {name: value for name, value in made.counts.items() if isinstance(value, int | str)}

    @extend_schema_field(ImportProblemSerializer(many=True))
    def get_problems(self, made: Import) -> list[dict[str, Any]]:
        return list(made.counts.get("first", []))

    def get_report(self, made: Import) -> str | None:
        """Where all problems and warnings are to be had as CSV."""
        return reverse("api-import-report", [made.public_id], request=self.context.get("request")) if imports.report_of(made) else None


class ImportList(APIView):
    """Bring a file in."""

    access: ClassVar = TRAINERS
    scopes: ClassVar = {"POST": "manage"}
    parser_classes = [MultiPartParser]

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # Before anybody looks at the body, be it for a token of a form: the file goes to the disk while it comes.
        self.handler = ToImports(request)
        request.upload_handlers = [self.handler]
        return super().initialize_request(request, *args, **kwargs)

    def finalize_response(self, *args: Any, **kwargs: Any) -> Response:
        self.handler.discard()
        return super().finalize_response(*args, **kwargs)

    @extend_schema(
        operation_id="imports_create",
        parameters=[
            OpenApiParameter(
                "Idempotency-Key", OpenApiTypes.UUID, OpenApiParameter.HEADER, required=True,
                description="One for each file: sending it again is safe.",
            )
        ],
        request={"multipart/form-data": SentSerializer},
        responses={200: ImportSerializer, 201: ImportSerializer, 202: ImportSerializer, **problems(400, 404, 409, 413, 415)},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Receive the file and bring it in: 201 when that is done, 202 when a job does it. All rows are stored, or none: `state` says
        "stored" or "refused", with the reasons. The same key again answers with what came of it the first time (200)."""
        user = access.require(request.user, *TRAINERS)
        key = _key(request)
        try:
            imports.check_size(int(request.META.get("CONTENT_LENGTH") or 0))
            sent = SentSerializer(data=request.data)
            if self.handler.refused is not None:
                raise self.handler.refused
            sent.is_valid(raise_exception=True)
            said = sent.validated_data
            if before := Import.objects.filter(idempotency_key=key).select_related("job").first():
                if before.sha256 != said["sha256"].lower():
                    raise Conflict("This key was used for another file.")
                return Response(ImportSerializer(before, context={"request": request}).data)
            file = said["file"]
            assert isinstance(file, Received)
            made = file.incoming.whole(name=file.name or "", actor=user, length=said["length"], digest=said["sha256"], key=key)
            self.handler.incoming = None
            made = _brought(made, said, user)
        except UploadRefused as refused:
            if refused.status == TooLarge.status_code:
                raise TooLarge(str(refused)) from refused
            raise ValidationError({"file": [ErrorDetail(str(refused), refused.code)]}) from refused
        except imports.NotNow as not_now:
            raise Conflict(str(not_now)) from not_now
        done = status.HTTP_202_ACCEPTED if made.working else status.HTTP_201_CREATED
        return Response(ImportSerializer(made, context={"request": request}).data, status=done)


def _brought(made: Import, said: dict[str, Any], user: Any) -> Import:
    """Look at it where something is not said, and begin. What stands in the way before it begins is the import's refusal."""
    options = {name: said[name] for name in ("synthetic", "quarantine", "on_conflict", "nul", "pairs")}
    options["doubles"] = "exclude" if said["leave_out_doubles"] else "refuse"
    options["bad"] = "skip" if said["skip_bad_rows"] else "refuse"
    if "group" in said:
        options["group"] = said["group"]
    try:
        told = imports.recognise(
            imported=made, target=said["target"], licence=said["licence"], shape=said.get("shape", ""), mapping=said.get("mapping"),
            options=options,
        )  # fmt: skip
    except ImportRefused as refused:
        imports.refuse(made, refused.problems, refused.total)
        return Import.objects.select_related("job").get(pk=made.pk)
    return imports.start(imported=told, actor=user, dry=said["dry"])


def _key(request: Request) -> UUID:
    try:
        return UUID(request.headers["Idempotency-Key"])
    except (KeyError, ValueError) as wrong:
        raise ValidationError({"Idempotency-Key": "This header is needed: a UUID made once for each file."}) from wrong


def _get(pk: UUID) -> Import:
    found = Import.objects.select_related("job").filter(public_id=pk).first()
    if found is None:
        raise Http404
    return found


class ImportDetail(APIView):
    access: ClassVar = TRAINERS
    scopes: ClassVar = {"GET": "read"}

    @extend_schema(operation_id="imports_retrieve", responses={200: ImportSerializer, **problems(404)})
    def get(self, request: Request, pk: UUID) -> Response:
        """How far it is, and what came of it."""
        return Response(ImportSerializer(_get(pk), context={"request": request}).data)


class ImportReport(APIView):
    access: ClassVar = TRAINERS
    scopes: ClassVar = {"GET": "read"}

    @extend_schema(
        operation_id="imports_report",
        responses={
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, description="place, number, column, kind, code, message"), **problems(404),
        },
    )  # fmt: skip
    def get(self, request: Request, pk: UUID) -> Any:
        """All problems and warnings as CSV (the first 10,000): places and reasons, none of the file's text."""
        path = imports.report_of(_get(pk))
        if path is None:
            raise Http404
        return FileResponse(path.open("rb"), content_type="text/csv; charset=utf-8")
