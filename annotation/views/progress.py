"""How a campaign goes: pace, agreement, side and length, time, ranking. The slow figures are worked out once for the answers there are."""

from collections import Counter
from collections.abc import Hashable, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.core.cache import cache
from django.db.models import Count, Max
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role, User
from annotation import figures
from annotation.estimates import Estimate
from annotation.models import Campaign, CampaignState, GenerationBatch, Judgement, Severity, SlotKind
from web.charts import Series, interval_chart, line_chart

READERS = (*TRAINERS, Role.ADJUDICATOR)
KEEP = 24 * 3600  # seconds: the key names the answers, so nothing shown is ever stale
FORECAST_DAYS = 7
AT_ONCE = 500  # judgements whose figures are worked out while the page waits: a fraction of a second


class Line(NamedTuple):
    """One figure as a table row: what it is, its estimate, and a sentence on what it means now."""

    name: str
    estimate: Estimate
    meaning: str = ""


def get_campaign_for(user: User, pk: UUID) -> Campaign:
    """A campaign that was opened and that the user does not judge in at present; of an imported one nothing is claimed. Raises Http404."""
    found = (
        Campaign.objects.unblinded_for(user)
        .exclude(state=CampaignState.DRAFT)
        .exclude(external=True)
        .with_progress()
        .filter(public_id=pk)
        .first()
    )
    if found is None:
        raise Http404
    return found


@access.allow(*READERS)
@require_safe
def progress(request: UserRequest, pk: UUID) -> HttpResponse:
    """The page at once, its figures when they are worked out: by htmx, or by a link where there is no script."""
    shown = get_campaign_for(request.user, pk)
    wants_all = bool(request.htmx) or "figures" in request.GET
    worked_out = figures_of(shown, compute=wants_all)
    page: dict[str, Any] = {"campaign": shown, "names_producers": may_name_producers(request.user, shown)}
    if worked_out is not None:
        page |= drawn(worked_out, producer_names(worked_out, named=page["names_producers"]))
    if request.htmx:
        return render(request, "annotation/progress.html#figures", page)
    return render(request, "annotation/progress.html", page | pace_of(shown))


def may_name_producers(user: User, campaign: Campaign) -> bool:
    """A lead may still have to rule on this campaign blinded: producers have no names for them before it has closed."""
    return campaign.state == CampaignState.CLOSED or not user.has_role(Role.ADJUDICATOR)


def figures_of(campaign: Campaign, *, compute: bool) -> dict[str, Any] | None:
    """Every slow figure, kept for exactly the answers there are; None when they are not worked out yet and `compute` is False."""
    there = Judgement.objects.filter(assignment__campaign=campaign).aggregate(last=Max("pk"), n=Count("pk"), undone=Count("undone_at"))
    key = f"figures:{campaign.pk}:{there['last']}:{there['n']}:{there['undone']}"
    known: dict[str, Any] | None = cache.get(key)
    if known is None and (compute or there["n"] <= AT_ONCE):
        found = figures.rows(campaign)
        known = {
            "n": len(figures.votes(found, by_chance=False)),
            "by_chance": len(figures.votes(found)),
            "agreed": figures.agreed(found),
            "shares": figures.shares(found),
            "left": figures.left_share(found),
            "longer": figures.longer_wins(found),
            "ranked": figures.ranked(found),
            "paces": figures.paces(found),
        }
        producers = [place.model for place in known["ranked"].places]
        if len(producers) == 2:
            known["win"] = (producers[0], figures.win_rate(found, *producers))
        cache.set(key, known, KEEP)
    return known


def producer_names(worked_out: dict[str, Any], *, named: bool) -> dict[Hashable, str]:
    """What to call each producer: its name, or "Text source 1, 2, …" in an order that says nothing."""
    keys = sorted((place.model for place in worked_out["ranked"].places), key=str)
    if not named:
        return {key: f"Text source {number}" for number, key in enumerate(keys, start=1)}
    versions = dict(
        GenerationBatch.objects.filter(version__in=[key for key in keys if isinstance(key, int)])
        .order_by()
        .values_list("version_id", "version__name")
        .distinct()
    )
    return {key: versions[key] if isinstance(key, int) else str(key) for key in keys}


def drawn(worked_out: dict[str, Any], names: dict[Hashable, str]) -> dict[str, Any]:
    """The figures as charts and lines. Nothing is a number that should not be one: each row shows its note instead."""
    agreed, ranked, left = worked_out["agreed"], worked_out["ranked"], worked_out["left"]
    agreement = [
        Line("Raw agreement", agreed.raw, "how often two raters of a pair gave the same of six verdicts"),
        Line("Agreement on the side", agreed.decisive, "the same, of votes for a side, much or slightly"),
        Line("Krippendorff’s alpha", agreed.alpha, "agreement beyond chance: 1 all, 0 chance"),
        Line("Gwet’s AC1", agreed.ac1, "the same, steady where one verdict dominates"),
        Line("Flip rate ε", agreed.flips, "how often one rater errs, if two err alike"),
        Line("Ceiling 1 − ε", agreed.ceiling, "the best accuracy anything can have against one rater"),
    ]
    audit = [
        Line("Left side won", left.share, _about_side(left.alarm, left.share)),
        Line("Longer text won", worked_out["longer"], "of decisive votes between texts of different length"),
    ]
    if "win" in worked_out:
        better, win = worked_out["win"]
        audit += [
            Line(f"{names[better]} won", win.raw, "ties count half"),
            Line(f"{names[better]} won at equal length", win.controlled, "what would be left if both were equally long"),
        ]
    every = worked_out["shares"]
    return {
        "worked_out": worked_out,
        "agreement": agreement,
        "agreement_chart": _chart(agreement[:4], "Do raters agree?", "agreement", (0, 1)),
        "flips": [Line(task, flips) for task, flips in agreed.by_task.items()],
        "flips_chart": _chart([Line(task, flips) for task, flips in agreed.by_task.items()], "Flip rate by task", "ε", (0, 0.5)),
        "audit": audit,
        "audit_chart": _chart(audit, "Do side and length decide?", "share of votes", (0, 1), (0.5, "one half")),
        "alarm": left.alarm,
        "shares": [
            Line("Both acceptable", every.ties),
            Line("Both unacceptable", every.both_unacceptable),
            Line("Cannot judge", every.cannot_judge),
        ],
        "harm": [
            (severity.label, (flags := every.harm.get(severity, 0)), 100 * flags / max(worked_out["by_chance"], 1)) for severity in Severity
        ],
        "ranking": [
            (names[place.model], place.votes, place.elo, "–".join(map(str, dict.fromkeys(place.ranks))) if place.ranks else "")
            for place in ranked.places
        ],
        "ranking_note": ranked.note,
        "ranking_chart": interval_chart(
            [(names[place.model], place.elo.value, place.elo.low, place.elo.high, place.elo.note) for place in ranked.places],
            title="How strongly is each preferred?",
            x_label="Elo points (the mean is 1000)",
        ),
        "separable": any(place.ranks and place.ranks[0] == place.ranks[1] for place in ranked.places),
        "side_term": ranked.side,
        "length_term": ranked.style,
        "paces": sorted(worked_out["paces"].items()),
    }


def _chart(
    lines: Sequence[Line], title: str, x_label: str, limits: tuple[float, float], reference: tuple[float, str] | None = None
) -> SafeString:
    rows = [(name, found.value, found.low, found.high, f"{found.note}, n = {found.n}") for name, found, _ in lines]
    return interval_chart(rows, title=title, x_label=x_label, limits=limits, reference=reference)


def _about_side(alarm: bool, found: Estimate) -> str:
    if found.value is None:
        return "sides are drawn and balanced; 50 % is expected"
    return (
        "the side decides: look at the guideline, and at the raters’ own shares"
        if alarm
        else "sides do not decide: within what chance allows"
    )


def pace_of(campaign: Campaign) -> dict[str, Any]:
    """The burn-up by day, and when the rest will be in if the last week's pace holds."""
    # Votes alone, like the total they are set against: repeats and known answers come on top.
    answered = campaign.assignments.filter(
        state="submitted", submitted_at__isnull=False, repeat=0, slot__kind__in=[SlotKind.VOTE, SlotKind.REVIEW]
    )
    days = Counter(timezone.localtime(at).date() for at in answered.values_list("submitted_at", flat=True).iterator(chunk_size=5000))
    return burn_up(days, wanted=campaign.wanted, today=timezone.localdate(), ended=campaign.state == CampaignState.CLOSED)  # type: ignore[attr-defined]


def burn_up(days: Counter[date], *, wanted: int, today: date, ended: bool) -> dict[str, Any]:
    """The chart's lines and the forecast. Judgements of a day are taken as Poisson: the band is ± 2 √(days · pace)."""
    if not days:
        return {"burn_up": "", "forecast": None}
    first, done, points = min(days), 0, []
    for number in range((today - first).days + 1):
        done += days[first + timedelta(days=number)]
        points.append((float(number), float(done)))
    last = points[-1][0]
    series = [Series("judgements", points)]
    window = min(FORECAST_DAYS, int(last) + 1)
    pace = sum(days[today - timedelta(days=back)] for back in range(window)) / window
    forecast = None
    if not ended and pace > 0 and done < wanted:
        left = (wanted - done) / pace
        ahead = [float(step) for step in range(int(min(left, 90)) + 2)]
        middle = [(last + step, min(float(wanted), done + pace * step)) for step in ahead]
        spread = [2 * (pace * step) ** 0.5 for step in ahead]
        band = [
            (last + step, max(float(done), done + pace * step - wide), min(float(wanted), done + pace * step + wide))
            for step, wide in zip(ahead, spread, strict=True)
        ]
        series.append(Series("forecast", middle, band))
        forecast = {"day": today + timedelta(days=round(left)), "pace": pace, "window": window}
    series.append(Series("wanted", [(0.0, float(wanted)), (series[-1].points[-1][0] or 1.0, float(wanted))]))
    chart = line_chart(series, title="Judgements by day", x_label="days since the first", y_label="total", y_from_zero=True)
    return {"burn_up": chart, "forecast": forecast, "stalled": not ended and done < wanted and pace == 0}
