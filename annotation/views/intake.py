"""What comes in: the samples, and the two doors through which files arrive."""

from typing import IO, Any, cast

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from annotation import completions
from annotation import samples as intake
from annotation.forms import CompletionImportForm, SampleFilter, SampleImportForm
from annotation.models import GenerationBatch, Sample, Source
from annotation.records import ImportRefused


def sent(request: UserRequest) -> tuple[Any, Any]:
    """What was posted, or nothing at all: an empty form that was sent is not a form that was asked for."""
    return (request.POST, request.FILES) if request.method == "POST" else (None, None)


@access.allow(*TRAINERS)
@require_safe
def samples(request: UserRequest) -> HttpResponse:
    form = SampleFilter(request.GET)
    found = Sample.objects.select_related("source").order_by("-pk")
    if form.is_valid():
        asked = {name: value for name in ("source", "task_type", "split") if (value := form.cleaned_data[name])}
        found = found.filter(**asked)
    page = Paginator(found.only("external_id", "source__name", "task_type", "input_data", "split", "created_at"), 50).get_page(
        request.GET.get("page")
    )
    return render(
        request, "annotation/samples.html", {"form": form, "page": page, "any": bool(page.paginator.count) or Source.objects.exists()}
    )


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def sample_import(request: UserRequest) -> HttpResponse:
    form = SampleImportForm(*sent(request))
    page: dict[str, object] = {"form": form}
    if form.is_valid():
        data = form.cleaned_data
        file = cast("IO[bytes]", data.pop("file"))
        try:
            page["report"] = intake.import_jsonl(file=file, actor=request.user, **data)
        except ImportRefused as refused:
            page["refused"] = refused
    return render(request, "annotation/sample_import.html", page, status=422 if form.errors or "refused" in page else 200)


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def completion_import(request: UserRequest) -> HttpResponse:
    form = CompletionImportForm(*sent(request))
    page: dict[str, object] = {"form": form, "sources": Source.objects.exists()}
    if form.is_valid():
        file = cast("IO[bytes]", form.cleaned_data["file"])
        source = form.cleaned_data["source"].name
        try:
            page["report"] = completions.import_external(
                file=file, filename=file.name, source=source, actor=request.user, columns=form.columns()
            )
        except ImportRefused as refused:
            page["refused"] = refused
    page["batches"] = GenerationBatch.objects.filter(version__isnull=True, origin__isnull=True).order_by("-pk")[:20]
    return render(request, "annotation/completion_import.html", page, status=422 if form.errors or "refused" in page else 200)
