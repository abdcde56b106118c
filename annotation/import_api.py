"""The API of imports: a program sends a file with its length and SHA-256, says what it is to be, and asks how far it is."""

import json
from http import HTTPStatus
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
from accounts.openapi import ProblemSerializer, problems, refusals
from annotation import imports, incoming, reading
from annotation.api import Conflict, KeyMismatch
from annotation.imports import CONFLICTS
from annotation.incoming import UploadRefused
from annotation.models import Group, Import, ImportState
from annotation.records import ImportRefused, Problem
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
    code = serializers.SerializerMethodField()

    class Meta:
        model = Import
        fields = [
            "id", "label", "bytes", "sha256", "content", "format", "shape", "mapping", "target", "licence", "state", "standing", "code",
            "job", "progress", "counts", "problems", "report", "created_at", "ended_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_progress(self, made: Import) -> int | None:
        """Per cent of the present phase, null while nothing runs."""
        return made.job.percent if made.job and made.working else None

    def get_counts(self, made: Import) -> dict[str, Any]:
        """rows, stored, already, skipped, replaced, quarantined, held_back, problems, warnings; whichever there are. `already_as` is the
        id of the import by which the same file came in before."""
        return {name: value for name, value in made.counts.items() if isinstance(value, int | str)}

    def get_code(self, made: Import) -> str:
        """Of a refusal its first problem's, "import.already" where nothing was left to add, else empty."""
        if made.state == ImportState.REFUSED:
            return next((str(one["code"]) for one in made.counts.get("first", [])), "")
        return "import.already" if "already_as" in made.counts else ""

    @extend_schema_field(ImportProblemSerializer(many=True))
    def get_problems(self, made: Import) -> list[dict[str, Any]]:
        return list(made.counts.get("first", []))

    def get_report(self, made: Import) -> str | None:
        """Where all problems and warnings are to be had as CSV."""
        return reverse("api-import-report", [made.public_id], request=self.context.get("request")) if imports.report_of(made) else None


class RefusedSerializer(ProblemSerializer):
    """A problem document of a file that was refused: nothing of it was stored."""

    code = serializers.CharField(help_text="Of the first problem.")
    total = serializers.IntegerField(help_text="Of all problems; `errors` holds the first 50.")
    errors = ImportProblemSerializer(many=True)  # type: ignore[assignment]
    id = serializers.UUIDField(help_text="Of the import, which is kept without its rows.")
    address = serializers.CharField(help_text="Where the import is told of.")
    report = serializers.CharField(allow_null=True, help_text="Where all problems and warnings are to be had as CSV.")


def answered(made: Import, request: Request, done: int = status.HTTP_200_OK) -> Response:
    """What came of it: a problem document with the first problem's status where it was refused, else the import."""
    said = ImportSerializer(made, context={"request": request}).data
    if made.state != ImportState.REFUSED:
        return Response(said, status=status.HTTP_200_OK if "already_as" in made.counts else done)
    first = Problem(**made.counts["first"][0])
    total = int(made.counts["problems"])
    document = {
        "type": "about:blank", "status": first.status, "title": HTTPStatus(first.status).phrase, "code": first.code,
        "detail": f"Nothing was stored. {first}{f' ({total:,} problems in all.)' if total > 1 else ''}", "total": total,
        "errors": said["problems"], "id": said["id"], "address": reverse("api-import", [made.public_id], request=request),
        "report": said["report"],
    }  # fmt: skip
    return Response(document, status=first.status, content_type="application/problem+json")


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
        responses={
            200: ImportSerializer, 201: ImportSerializer, 202: ImportSerializer,
            **problems(400, 404, 409, 413, 415), **refusals(RefusedSerializer, 409, 413, 422),
        },
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Receive the file and bring it in: 201 when that is done, 202 when a job does it, 200 when its rows are here already
        (`import.already`). All rows are stored, or none: a file that is refused is 422 (409 where it clashes with what is stored, 413 where
        it is too large), with the reasons; where a job reads it, `state` and `code` say so later. The same key again answers with what
        came of it."""
        user = access.require(request.user, *TRAINERS)
        key = _key(request)
        try:
            incoming.check_size(int(request.META.get("CONTENT_LENGTH") or 0))
            sent = SentSerializer(data=request.data)
            if self.handler.refused is not None:
                raise self.handler.refused
            sent.is_valid(raise_exception=True)
            said = sent.validated_data
            if before := Import.objects.filter(idempotency_key=key).select_related("job").first():
                if before.sha256 != said["sha256"].lower():
                    raise KeyMismatch("This key was used for another file.")
                return answered(before, request)
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
        return answered(made, request, status.HTTP_202_ACCEPTED if made.working else status.HTTP_201_CREATED)


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
