"""Bringing a file in: choose it, see what it is, say what it is to be, watch, and read the report."""

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from annotation import imports, incoming, privacy, reading, sample_rows
from annotation.import_form import ImportForm, StartForm
from annotation.models import Import, Source
from annotation.records import ImportRefused
from annotation.views.uploading import END, streamed, taken
from jobs import pulses, submissions
from jobs.errors import NotCancellable
from web import charts
from web.htmx import HtmxRequest

# What a page says of itself: nothing beyond this many of each.
RECENT, CERTAIN = 20, 0.9


@csrf_exempt
@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def sample_import(request: UserRequest) -> HttpResponseBase:
    """The first step, and the imports so far. The file goes to the disk while it comes; then the form is looked at, its token first."""
    if request.method != "POST":
        return _first(request, StartForm())
    try:
        with streamed(request) as handler:
            return _received(request, handler)
    except incoming.UploadRefused as refused:
        return _first(request, StartForm(), refused=refused, status=refused.status)


@csrf_protect
def _received(request: HtmxRequest, handler: Any) -> HttpResponse:
    file = taken(request, handler)
    form = StartForm(request.POST)
    if file is None and not request.POST.get("server"):
        form.add_error(None, "Choose a file, or one that lies on the server.")
    if not form.is_valid():
        return _first(request, form, status=422)
    actor: Any = request.user
    if file is not None:
        made = file.incoming.whole(name=file.name or "", actor=actor)
        handler.incoming = None
    else:
        made = incoming.from_server(name=form.cleaned_data["server"], actor=actor)
    if form.cleaned_data["target"] and form.cleaned_data["licence"]:
        _straight_on(made, form.cleaned_data, actor)
    return redirect("annotation:import", made.public_id)


def _straight_on(made: Import, said: dict[str, Any], actor: Any) -> None:
    """A small file that is recognised, and of which all is said, comes in without another question."""
    if made.bytes > settings.ROUNDS_IMPORT_AT_ONCE_BYTES:
        return
    seen = imports.look(made).said
    if seen.get("confidence", 0) < CERTAIN or seen.get("total") or seen.get("makes") not in ("samples", "completions"):
        return
    try:
        made = imports.configure(
            imported=made, format=seen["format"], shape=seen["shape"], mapping=seen["mapping"], target=said["target"],
            licence=said["licence"],
        )  # fmt: skip
        imports.start(imported=made, actor=actor)
    except (ImportRefused, imports.NotNow):
        return


def _first(request: HtmxRequest, form: StartForm, *, refused: Any = None, status: int = 200) -> HttpResponse:
    page = {
        "form": form, "refused": refused, "end": END, "recent": Import.objects.select_related("job", "actor")[:RECENT],
        "folder": settings.ROUNDS_IMPORT_FOLDER.name, "most": settings.ROUNDS_IMPORT_MAX_BYTES,
    }  # fmt: skip
    return render(request, "annotation/sample_import.html", page, status=status)


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def one_import(request: UserRequest, pk: UUID) -> HttpResponse:
    """What the file is, what it is to be, how far it is, what came of it: whichever of these is next."""
    made = get_object_or_404(Import.objects.select_related("job", "actor"), public_id=pk)
    decided = made.working or made.state == "stored" or "already_as" in made.counts
    if request.method == "POST" and not decided:
        return _asked(request, made)
    if request.method == "POST":
        messages.warning(request, "This was begun already, perhaps in another tab: here is what came of it.")
        return redirect("annotation:import", pk)
    page: dict[str, Any] = {"import": made}
    if decided:
        return _standing(request, page)
    if made.counts.get("first") or made.counts.get("dry") or (made.job and made.job.ended):
        page |= _report(made)
    seen = imports.look(made, shape=made.shape, mapping=made.mapping or None)
    return _form(request, page, seen, ImportForm(made, seen.said))


def _asked(request: UserRequest, made: Import) -> HttpResponse:
    mapping = {
        name.removeprefix("map-"): value for name, value in request.POST.items() if name.startswith("map-") and isinstance(value, str)
    }
    shape = str(request.POST.get("shape", ""))
    again = request.POST.get("do") == "look"
    # Another shape has other fields: what was mapped before says nothing of them.
    fresh = shape != request.POST.get("seen-shape", shape)
    seen = imports.look(made, shape=shape, mapping=None if fresh else {name: column for name, column in mapping.items() if column})
    form = ImportForm(made, seen.said, None if again and fresh else request.POST, looking=again)
    page: dict[str, Any] = {"import": made}
    if again or not form.is_valid():
        return _form(request, page, seen, form, status=200 if again else 422)
    try:
        told = imports.configure(
            imported=made, format=seen.said["format"], shape=shape, mapping=form.mapping(), target=form.cleaned_data["target"],
            licence=form.cleaned_data["licence"], options=form.options(),
        )  # fmt: skip
        imports.start(imported=told, actor=request.user, dry=request.POST.get("do") == "try")
    except ImportRefused as refused:
        return _form(request, page | {"refused": refused}, seen, form, status=422)
    except imports.NotNow as not_now:
        messages.warning(request, str(not_now))
    return redirect("annotation:import", made.public_id)


def _form(request: UserRequest, page: dict[str, Any], seen: imports.Look, form: forms.Form, status: int = 200) -> HttpResponse:
    said = seen.said
    tally = said.get("tally", {})
    page |= {
        "seen": said, "failed": seen.failed, "form": form, "lengths": _histogram(tally.get("lengths", {})),
        "rules": [(privacy.RULES[rule][1], count) for rule, count in sorted(tally.get("rules", {}).items())],
        "duplicates": sum(count for code, count in said.get("counts", {}).items() if code.startswith("import.duplicate")),
        "raw": [(first["place"], [first["row"].get(name, "") for name in said["columns"]]) for first in said.get("first", [])],
        "skips": "bad" in form.fields and form["bad"].value() == "skip",
        "small": page["import"].bytes <= settings.ROUNDS_IMPORT_AT_ONCE_BYTES,
        "shape_title": reading.SHAPES[said["proposed"]].title if said.get("proposed") in reading.SHAPES else "",
    }  # fmt: skip
    return render(request, "annotation/import.html", page, status=status)


def _standing(request: UserRequest, page: dict[str, Any]) -> HttpResponse:
    made: Import = page["import"]
    if made.working and made.job:
        page |= {"job": made.job, "pace": made.counts.get("pace", {}), "missing": pulses.missing((made.job.queue,))}
    else:
        page |= _report(made)
        page["lengths"] = _histogram(made.counts.get("lengths", {}))
        page["source"] = Source.objects.filter(name=made.target).first()
        if as_ := made.counts.get("already_as"):
            page["before"] = Import.objects.filter(public_id=as_).select_related("actor").first()
    return render(request, "annotation/import.html#live" if request.htmx and made.working else "annotation/import.html", page)


def _report(made: Import) -> dict[str, Any]:
    counts = made.counts
    return {
        # What was left out because it cannot be stored was read too.
        "rows_read": counts.get("rows", 0) + counts.get("bad_rows", 0),
        "counts": counts, "first": counts.get("first", []), "told": counts.get("told", []),
        "has_report": imports.report_of(made) is not None,
        "found": [(privacy.RULES[rule][1], count) for rule, count in sorted(counts.get("rules", {}).items())],
        "groups": sorted(counts.get("by_group", {}).items()),
    }  # fmt: skip


def _histogram(lengths: dict[str, list[int]]) -> list[SafeString]:
    """A bar chart for each kind of text: how many are how long."""
    made = []
    for name, title in (("prompt", "Characters of instruction and input"), ("output", "Characters of the text itself")):
        counted = lengths.get(name, [])
        if any(counted):
            last = max(place for place, count in enumerate(counted) if count)
            first = min(place for place, count in enumerate(counted) if count)
            rows: list[tuple[str, float, float | None, float | None]] = [
                (f"up to {sample_rows.BARS[place]:,}", float(counted[place]), None, None) for place in range(first, last + 1)
            ]
            made.append(charts.bar_chart(rows, title=title, x_label="rows"))
    return made


@access.allow(*TRAINERS)
@require_POST
def import_cancel(request: UserRequest, pk: UUID) -> HttpResponse:
    made = get_object_or_404(Import.objects.select_related("job"), public_id=pk)
    if made.job is not None:
        try:
            submissions.cancel(job=made.job, actor=request.user)
        except NotCancellable as ended:
            messages.warning(request, str(ended))
        else:
            messages.success(request, "Asked to stop. Nothing of the file is stored.")
    return redirect("annotation:import", pk)


@access.allow(*TRAINERS)
@require_safe
def import_report(request: UserRequest, pk: UUID) -> HttpResponseBase:
    """Places and reasons as CSV: none of the file's text."""
    path = imports.report_of(get_object_or_404(Import, public_id=pk))
    if path is None:
        raise Http404
    return FileResponse(path.open("rb"), as_attachment=True, filename=f"import-{pk}.csv", content_type="text/csv; charset=utf-8")
