"""Lineage: from a file or a sample forward to the models it reached, from a model back to what it is made of."""

import json
from dataclasses import dataclass

from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role
from annotation.forms import SampleFilter
from annotation.models import Sample, Source
from modelhub.models import ModelVersion
from training.provenance import drawing, facts, prov, search
from training.provenance.collapse import collapse
from training.provenance.facts import Facts
from training.provenance.kinds import KINDS
from training.provenance.walk import Direction, Graph, blinded, walk

# Clinicians do not see models: what they compare must stay blinded.
WHO = (*TRAINERS, Role.STEWARD)
A_PAGE = 50


@dataclass(frozen=True)
class Asked:
    """Which thing a request is about, and the way it looks."""

    kind: str
    pk: int
    direction: Direction
    hidden: bool

    def graph(self, request: UserRequest) -> Graph:
        return walk(kind=self.kind, pk=self.pk, direction=self.direction, user=request.user)


def get_asked_for(request: UserRequest, kind: str, key: str) -> Asked:
    """Raises Http404 for what is not there, and for what its reader is still blinded to."""
    pk = facts.find(kind, key)
    if pk is None:
        raise Http404("No such thing.")
    blinds = blinded(request.user)
    if blinds and facts.hidden(kind, pk, blinds):
        raise Http404("Not while you are rating in its campaign.")
    asked = request.GET.get("direction", "")
    direction: Direction = "up" if asked == "up" else "down" if asked == "down" else facts.usual_direction(kind)
    return Asked(kind, pk, direction, bool(blinds))


@access.allow(*WHO)
@require_safe
def lineage_search(request: UserRequest) -> HttpResponse:
    text = request.GET.get("q", "").strip()
    page = {
        "text": text,
        "hits": search.hits(text, user=request.user) if text else [],
        "beginnings": [] if text else search.beginnings(user=request.user),
        "anything": bool(text) or Source.objects.exists() or ModelVersion.objects.exists(),
    }
    return render(request, "training/lineage_search.html", page)


@access.allow(*WHO)
@require_safe
def lineage(request: UserRequest, kind: str, key: str) -> HttpResponse:
    asked = get_asked_for(request, kind, key)
    opened = [name for name in request.GET.get("open", "").split(",") if name][:8]
    drawn = drawing.draw(asked.graph(request), opened=opened, chosen=request.GET.get("show", ""))
    chosen = next((box for box in drawn.boxes if box.chosen), drawn.boxes[0])
    chosen.chosen = True
    page = {
        "asked": asked,
        "key": key,
        "drawing": drawn,
        "root": drawn.boxes[0],
        "chosen": chosen,
        "opened": drawn.collapsed.opened,
        "open": ",".join(drawn.collapsed.opened),
        "open_chosen": ",".join([*drawn.collapsed.opened, chosen.key]),
    }
    return render(request, "training/lineage.html", page)


@access.allow(*WHO)
@require_safe
def lineage_list(request: UserRequest, kind: str, key: str, of: str) -> HttpResponse:
    """Everything of one kind in a lineage, or of one box of its drawing, to be paged through; samples can be filtered."""
    if of not in KINDS:
        raise Http404("No such kind.")
    asked = get_asked_for(request, kind, key)
    graph = asked.graph(request)
    group = request.GET.get("group", "")
    found = next((list(box.members) for box in collapse(graph).boxes if box.key == group and box.kind == of), None) if group else None
    pks = graph.ids(of) if found is None else found
    form = SampleFilter(request.GET) if of == "sample" else None
    if form is not None and form.is_valid():
        wanted = {name: value for name in ("source", "task_type", "split") if (value := form.cleaned_data[name])}
        pks = list(Sample.objects.filter(pk__in=pks, **wanted).values_list("pk", flat=True)) if wanted else pks
    listed = Paginator(sorted(pks, reverse=True), A_PAGE).get_page(request.GET.get("page"))
    known = facts.of([(of, pk) for pk in listed] + [(asked.kind, asked.pk)])
    page = {
        "asked": asked,
        "key": key,
        "root": known[asked.kind, asked.pk],
        "of": KINDS[of],
        "page": listed,
        "rows": [known[of, pk] for pk in listed if (of, pk) in known],
        "form": form,
        "group": group if found is not None else "",
        "cut": graph.cut,
    }
    return render(request, "training/lineage_list.html", page)


@access.allow(*WHO)
@require_safe
def lineage_prov(request: UserRequest, kind: str, key: str) -> HttpResponse:
    """The lineage as a PROV-JSON document, every single thing in it."""
    asked = get_asked_for(request, kind, key)
    written = json.dumps(prov.document(asked.graph(request)), ensure_ascii=False, indent=1)
    return _file(written, "application/json", _root(asked), asked, "prov.json")


@access.allow(*WHO)
@require_safe
def lineage_svg(request: UserRequest, kind: str, key: str) -> HttpResponse:
    """The drawing as a file of its own, which needs no stylesheet."""
    asked = get_asked_for(request, kind, key)
    opened = [name for name in request.GET.get("open", "").split(",") if name][:8]
    drawn = drawing.draw(asked.graph(request), opened=opened)
    return _file(drawing.as_file(drawn), "image/svg+xml", _root(asked), asked, "svg")


def _root(asked: Asked) -> Facts:
    return facts.of([(asked.kind, asked.pk)])[asked.kind, asked.pk]


def _file(written: str, content_type: str, root: Facts, asked: Asked, ending: str) -> HttpResponse:
    response = HttpResponse(written, content_type=content_type)
    # By kind and number: a name may hold anything.
    response["Content-Disposition"] = f'attachment; filename="lineage-{root.kind}-{root.key}-{asked.direction}.{ending}"'
    response["Content-Security-Policy"] = "sandbox"
    return response
