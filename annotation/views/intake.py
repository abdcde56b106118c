"""What has come in: the samples, and those that wait in quarantine."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_POST, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role
from annotation import privacy
from annotation import samples as intake
from annotation.forms import SampleFilter
from annotation.models import Sample, Source

A_PAGE = 20
# Characters of a text around what was found that a page shows.
AROUND = 160
DECISIONS = {"release": intake.release, "redact": intake.redact, "keep-out": intake.keep_out}
SAID = {"release": "released", "redact": "redacted and released", "keep-out": "withdrawn"}


@access.allow(*TRAINERS)
@require_safe
def samples(request: UserRequest) -> HttpResponse:
    form = SampleFilter(request.GET)
    asked = {}
    if form.is_valid():
        asked = {name: value for name in ("source", "task_type", "split") if (value := form.cleaned_data[name])}
    found = intake.listed(filters=asked, before=_key(request.GET.get("before")), after=_key(request.GET.get("after")))
    page = {"form": form, "found": found, "any": bool(found.count) or Source.objects.exists()}
    return render(request, "annotation/samples.html", page)


def _key(given: str | None) -> int | None:
    """A key in an address, or None for what is none."""
    return int(given) if given and given.isascii() and given.isdigit() and len(given) < 19 else None


@access.allow(Role.STEWARD)
@require_safe
def quarantine(request: UserRequest) -> HttpResponse:
    held = Sample.objects.in_quarantine().select_related("source")
    rule = request.GET.get("rule", "")
    if rule in privacy.RULES:
        # The rule's name stands first in a hit.
        held = held.filter(privacy_hits__contains=[[rule]])
    page = Paginator(held, A_PAGE).get_page(request.GET.get("page"))
    for sample in page:
        sample.places = list(_places(sample))  # type: ignore[attr-defined]
    context = {
        "page": page,
        "rules": [(name, words) for name, (_, words) in privacy.RULES.items()],
        "rule": rule,
        "any": bool(page.paginator.count),
    }
    return render(request, "annotation/quarantine.html", context)


def _places(sample: Sample) -> Any:
    """(rule in words, column, the text around with what was found marked), escaped."""
    for rule, column, start, end in sample.privacy_hits[: privacy.MOST_HITS]:
        text = getattr(sample, column)
        yield privacy.RULES[rule][1], column, _marked(text, start, end)


def _marked(text: str, start: int, end: int) -> SafeString:
    before, after = max(0, start - AROUND), min(len(text), end + AROUND)
    return format_html(
        "{}{}<mark class=\"marked\">{}</mark>{}{}", mark_safe("… ") if before else "", text[before:start], text[start:end], text[end:after],
        mark_safe(" …") if after < len(text) else "",
    )  # fmt: skip


@access.allow(Role.STEWARD)
@require_POST
def quarantine_decide(request: UserRequest) -> HttpResponse:
    """What a steward decides about the chosen samples: each by itself, so that one that was decided meanwhile stops no other."""
    decision = request.POST.get("do", "")
    chosen = [int(key) for key in request.POST.getlist("sample") if key.isascii() and key.isdigit() and len(key) < 19]
    if decision not in DECISIONS or not chosen:
        messages.warning(request, "Choose the samples first, then what becomes of them.")
        return redirect("annotation:quarantine")
    done = 0
    for sample in Sample.objects.in_quarantine().filter(pk__in=chosen):
        try:
            DECISIONS[decision](sample=sample, actor=request.user)
            done += 1
        except intake.NotInQuarantine:
            continue
    if done:
        messages.success(request, f"{done} sample{'' if done == 1 else 's'} {SAID[decision]}.")
    if missed := len(chosen) - done:
        messages.warning(request, f"{missed} had been decided meanwhile.")
    return redirect("annotation:quarantine")
