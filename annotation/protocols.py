"""Protocols: what a campaign will cost and can find out before it is made, and what it promised once it has opened."""

from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal
from math import ceil
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Count

from accounts.models import Specialty, User
from annotation import power, records
from annotation.models import LOCKED, Campaign, Completion, Judgement, RationaleWhen, Selection, Split
from annotation.pairs import ONE_PAIR, Sources

FORMAT = "protocol-1"
# How many texts are read, and how many judgements looked at, to tell how long a pair takes.
TEXTS_READ, TIMES_READ = 300, 500
# Doubly judged pairs below which agreement will say "n too small".
ENOUGH_DOUBLES = 30
# Of two judgements of one prompt: with prompt effects of 1 logit (sd) the design effect is 1.18 (product.md 2.1).
SAME_PROMPT = 0.18


# --- locked ------------------------------------------------------------------------------------------------------------------------------


def lock(campaign: Campaign) -> tuple[dict[str, Any], str]:
    """The protocol as it is fixed at opening, and its digest (SHA-256 of canonical JSON).

    Every locked field of the campaign; rubric, qualification and predecessor by what they are elsewhere; what the pairs were drawn
    from; and the pairs themselves by the digest of their texts' digests, in order.
    """
    elsewhere = {"protocol", "protocol_digest", "rubric", "qualification", "predecessor"}
    drawn = campaign.pairs.order_by("position").values_list("prompt__digest", "first__digest", "second__digest", "selection_probability")
    pairs = [list(row) for row in drawn]
    protocol = {
        "format": FORMAT,
        **{name: getattr(campaign, name) for name in LOCKED if name not in elsewhere},
        "rubric": {"code": campaign.rubric.code, "version": campaign.rubric.version, "digest": campaign.rubric.digest},
        "qualification": str(campaign.qualification.public_id) if campaign.qualification else None,
        "predecessor": str(campaign.predecessor.public_id) if campaign.predecessor else None,
        "sources": campaign.protocol.get("sources", {}),
        "pairs": {"count": len(pairs), "digest": records.digest_of(pairs)},
    }
    return protocol, records.digest_of(protocol)


# --- planned -----------------------------------------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """What could be drawn, and how long it takes to read."""

    pairs: int
    prompts: int
    evaluation: int  # pairs of the evaluation split, among `pairs`
    words: float  # on screen, a pair: instruction, input, both texts
    seconds: list[float]  # what judgements of these raters took, the latest first
    structured: float = 0.0  # share of the prompts that ask for JSON


class Need(NamedTuple):
    """How many judgements find a win-rate, and whether the campaign has as many."""

    win_rate: float
    judgements: int
    enough: bool


class Plan(NamedTuple):
    """What a campaign asks of people and what it can find out. `cost` is None without an hourly cost, `days` without members."""

    pairs: int
    votes: int
    judgements: int
    words: float
    minutes: float
    by: str
    hours: float
    cost: float | None
    session_pairs: int
    days: int | None
    days_left: int | None
    detectable: float | None
    needs: list[Need]
    warnings: list[str]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


# Power, ties and design effect behind every detectable win-rate shown, in words.
ASSUMED = f"80 % power, two-sided 5 %, {_percent(power.TIE_RATE)} ties, design effect {power.DESIGN_EFFECT}"
WIN_RATES = (0.55, 0.58, 0.6, 0.65, 0.7)


def plan(
    *,
    measured: Measured,
    limit: int | None = None,
    overlap: int = 1,
    double_share: float = 0.0,
    repeat_share: float = 0.0,
    gold: int = 0,
    cohorts: Sequence[int] = (),
    members: int = 0,
    purpose: str = "collect",
    session_minutes: int = 20,
    hourly_cost: Decimal | None = None,
    deadline: date | None = None,
    checks: Collection[str] = (),
    today: date,
) -> Plan:
    """The figures of a campaign before it is made. `cohorts` holds how many people each has; without any, `members` share the pairs.

    Judgements: the votes, the repeats on top, and each member's gold. Days: at one session of `session_minutes` a day and member.
    """
    pairs = measured.pairs if limit is None else min(limit, measured.pairs)
    evaluation = round(pairs * measured.evaluation / measured.pairs) if measured.pairs else 0
    doubles = ceil(double_share * (pairs - evaluation) - 1e-9)
    people = sum(cohorts) or members
    pace = power.pace_of(measured.words, measured.seconds)
    voted_on = 0 if purpose == "qualify" else pairs
    asked_of_everybody = gold + pairs - voted_on
    asked = power.plan(
        pairs=voted_on, pace=pace, overlap=overlap, double_share=doubles / pairs if voted_on else 0, repeat_share=repeat_share,
        cohorts=max(len(cohorts), 1), gold=asked_of_everybody * people, hourly_cost=float(hourly_cost or 0),
    )  # fmt: skip
    votes = asked.judgements - asked.extra
    session_pairs = power.pairs_promised(session_minutes, pace)
    days = ceil(asked.judgements / (session_pairs * people)) if people else None
    days_left = (deadline - today).days + 1 if deadline else None
    needs = [Need(rate, needed, needed <= votes) for rate in WIN_RATES for needed in (power.judgements_needed(rate),)]
    planned = Plan(
        pairs=pairs, votes=votes, judgements=asked.judgements, words=measured.words, minutes=pace.minutes, by=pace.source,
        hours=asked.hours, cost=asked.cost if hourly_cost else None, session_pairs=session_pairs, days=days, days_left=days_left,
        detectable=asked.detectable, needs=needs, warnings=[],
    )  # fmt: skip
    warnings = _hard_work(planned, too_long=asked.too_long)
    if voted_on:
        wanted, able = overlap + (doubles > 0), min(cohorts) if cohorts else members
        of_one_prompt = overlap * max(len(cohorts), 1) * measured.pairs / max(measured.prompts, 1)
        if measured.structured > 0.5 and "json" not in checks:
            warnings.append(
                "Most prompts ask for JSON: rubric T10 counts what is missing and wrong in it. Such tasks gain more from supervised "
                "training than from DPO."
            )
        warnings += _little_told(planned, evaluation=evaluation, doubles=doubles, wanted=wanted, able=able, of_one_prompt=of_one_prompt)
    return planned._replace(warnings=warnings)


def _hard_work(planned: Plan, *, too_long: bool) -> list[str]:
    """Where it asks too much of people."""
    said = []
    if too_long:
        said.append(f"A pair takes {planned.minutes:.1f} minutes: above {power.LONG_PAIR:.0f}, readers tire. Choose shorter texts.")
    if planned.days is not None and planned.days_left is not None and planned.days > planned.days_left:
        said.append(
            f"At one session a day it takes {planned.days} days, and {planned.days_left} are left to the deadline: ask more people, "
            "longer sessions, or fewer pairs."
        )
    return said


def _little_told(planned: Plan, *, evaluation: int, doubles: int, wanted: int, able: int, of_one_prompt: float) -> list[str]:
    """Where its votes would tell less than they seem to. `able`: people who can judge one pair, of `wanted` judgements."""
    said = []
    if wanted > 1 and 0 < able < wanted:
        said.append(
            f"A pair asks for up to {wanted} judgements and {able} {'person' if able == 1 else 'people'} can give them: "
            "places stay empty, and agreement cannot be told."
        )
    if evaluation and of_one_prompt > 1:
        said.append(
            f"{evaluation} pairs are for evaluation, and prompts are judged {of_one_prompt:.1f} times: that tells less than as many "
            f"different prompts would (design effect {power.effect_of_repeats(of_one_prompt, SAME_PROMPT):.2f})."
        )
    if wanted == 2 and 0 < doubles < ENOUGH_DOUBLES:
        said.append(f"{doubles} pairs are judged twice: below {ENOUGH_DOUBLES}, agreement will say “n too small”.")
    if planned.detectable is None:
        said.append("So few judgements can tell no difference at all.")
    return said


def measure(sources: Sources, members: Collection[User] = ()) -> Measured:
    """Look at what `sources` hold, without drawing: how many pairs, how long their texts, how fast `members` were lately."""
    if not sources.batches or not sources.splits:
        return Measured(0, 0, 0, 0.0, [])
    texts = Completion.objects.filter(
        batch__in=sources.batches, prompt__sample__split__in=sources.splits, prompt__sample__withdrawn_at__isnull=True
    )
    if sources.task_types:
        texts = texts.filter(prompt__sample__task_type__in=sources.task_types)
    pairs = prompts = evaluation = 0
    for split, compared, different in _pairs_by_split(texts, sources.pairing):
        prompts += compared
        pairs += different
        evaluation += different if split == Split.EVALUATION else 0
    # By digest: a sample of texts that no order of import has shaped.
    shown = ("text", "prompt__sample__instruction", "prompt__sample__input", "prompt__sample__output_format")
    read = list(texts.order_by("digest").values_list(*shown)[:TEXTS_READ])
    counted = [(len(text.split()), len(instruction.split()) + len(given.split())) for text, instruction, given, _ in read]
    structured = sum("json" in form.casefold() for *_, form in read) / len(read) if read else 0.0
    words = sum(2 * answer + asked for answer, asked in counted) / len(counted) if counted else 0.0
    return Measured(pairs, prompts, evaluation, words, _times(members), structured)


def _pairs_by_split(texts: Any, pairing: str) -> list[tuple[str, int, int]]:
    """(split, prompts with two different texts, pairs) from one query: n texts of which m are the same make (n² − Σm²)/2 pairs."""
    same = texts.order_by().values("prompt__sample__split", "prompt_id", "digest").annotate(m=Count("pk"))
    inner, values = same.query.sql_with_params()
    pairs = "(n * n - squares) / 2" if pairing != ONE_PAIR else "1"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT split, count(*), sum({pairs}) FROM (
                    SELECT split, prompt, sum(m) AS n, sum(m * m) AS squares FROM ({inner}) AS same (split, prompt, digest, m)
                    GROUP BY split, prompt
                ) AS prompts WHERE n * n > squares GROUP BY split""",  # noqa: S608 (ours and the ORM's, no one else's)
            values,
        )
        return [(split, int(count), int(total)) for split, count, total in cursor.fetchall()]


def _times(members: Collection[User]) -> list[float]:
    """Seconds of the members' latest judgements."""
    if not members:
        return []
    timed = Judgement.objects.filter(assignment__annotator__in=members, active_ms__isnull=False).order_by("-pk")
    return [spent / 1000 for spent in timed.values_list("active_ms", flat=True)[:TIMES_READ] if spent is not None]


# --- told --------------------------------------------------------------------------------------------------------------------------------


def text(campaign: Campaign) -> str:
    """The campaign as a study registry would want it, in Markdown: question, design, sample, analysis, decided before the votes are in."""
    votes = campaign.slots.filter(kind="vote").count()
    detectable = power.detectable_win_rate(votes)
    members = list(campaign.memberships.filter(revoked_at__isnull=True).values_list("cohort", flat=True))
    parts = [
        ("Question", [_question(campaign)]),
        ("Design", _design(campaign)),
        ("Sample", _sample(campaign, votes, detectable)),
        ("Raters", _raters(campaign, members)),
        ("Measures", _measures(campaign)),
        ("Analysis", _ANALYSIS),
        ("Protocol", _locked(campaign)),
    ]
    written = [f"# {campaign.name}", *(f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in parts)]
    return "\n\n".join(written) + "\n"


def _question(campaign: Campaign) -> str:
    if campaign.purpose == "qualify":
        passing = f"{_percent(campaign.pass_share)} of the pairs as expected, in {campaign.attempts} tries"
        return f"Can a rater apply the guideline? To pass: {passing}."
    return "Which of two answers to the same clinical task do clinicians prefer, and how surely do they agree?"


def _design(campaign: Campaign) -> list[str]:
    lines = [
        "Blinded comparison of two answers side by side; nothing shown names who wrote them.",
        "Sides are counterbalanced within each two producers and over the judgements of a pair; the seed is part of the protocol.",
        {
            Selection.RANDOM: "Pairs are drawn at random; the probability is kept with each.",
            Selection.STRATIFIED: "Pairs are drawn at random within task × document, by their share and at least one of each.",
            Selection.INFORMATIVE: "A fifth of the pairs is drawn at random; the rest for what a linear model would learn from them "
            "(D-optimal). Only the random fifth describes the whole. Serves training, never measurement.",
        }[Selection(campaign.selection)],
        f"Each pair is judged {campaign.overlap} time{'s' if campaign.overlap != 1 else ''}"
        + (f" in each of the cohorts {', '.join(campaign.cohorts)}." if campaign.cohorts else "."),
    ]
    if campaign.double_share:
        lines.append(
            f"{_percent(campaign.double_share)} of the pairs outside the evaluation split, drawn at random, get one judgement more."
        )
    if campaign.repeat_share:
        lines.append(
            f"{_percent(campaign.repeat_share)} of a rater's answers are asked again after {campaign.repeat_after_hours} hours or more, "
            "with sides swapped."
        )
    if campaign.routing:
        rules = "; ".join(f"{value} → {Specialty(field).label}" for value, field in sorted(campaign.routing["rules"].items()))
        lines.append(f"Pairs go to raters of the field: {rules}.")
    return lines


def _sample(campaign: Campaign, votes: int, detectable: float | None) -> list[str]:
    counts = campaign.counts
    lines = [f"{counts.get('pairs', 0)} pairs from {counts.get('prompts', 0)} prompts, of the splits: {', '.join(campaign.splits)}."]
    if counts.get("not_drawn"):
        lines.append(f"{counts['not_drawn']} further pairs were not drawn.")
    if campaign.purpose != "qualify":
        found = f"a win-rate of {_percent(detectable)} or more" if detectable else "no difference"
        lines.append(f"{votes} votes, which find {found} ({ASSUMED}).")
    if campaign.deadline:
        lines.append(f"Ends when every vote is in, or on {campaign.deadline:%d %B %Y}.")
    return lines


def _raters(campaign: Campaign, members: Sequence[str]) -> list[str]:
    lines = [f"{len(members)} rater{'s' if len(members) != 1 else ''}, who have consented."]
    lines += [f"Cohort “{cohort}”: {sum(one == cohort for one in members)}." for cohort in campaign.cohorts]
    if campaign.qualification:
        lines.append(f"Each has passed “{campaign.qualification}” first.")
    if campaign.simulated:
        lines.append("They are simulated: part of a demonstration, evidence of nothing clinical.")
    return lines


def _measures(campaign: Campaign) -> list[str]:
    rubric = campaign.rubric
    lines = [
        "Verdict: much or slightly better, both acceptable, both unacceptable, or “cannot judge” with a reason.",
        "Possible harm of each side: minor, major or life-threatening, with its kind.",
        f"Rubric {rubric}, “{rubric.name}”"
        + (": " + ", ".join(axis["label"] for axis in rubric.content["axes"]) + "." if rubric.content["axes"] else "."),
    ]
    if campaign.rationale_when:
        when = "; ".join(str(RationaleWhen(one).label).lower() for one in campaign.rationale_when)
        lines.append(f"A few words are required when: {when}.")
    return lines


_ANALYSIS = [
    "Primary: the win difference with ties kept, with a 95 % interval clustered by prompt.",
    "Raw agreement, Krippendorff's alpha and Gwet's AC1 with clustered bootstrap intervals; below 30 doubly judged pairs, no number.",
    "Davidson–Bradley–Terry with terms for side and length; ranks are not told apart while their intervals overlap.",
    "Left share with a Wilson interval; the length-controlled win-rate beside the raw one.",
    "Left out: gold pairs, repeats, late answers (surplus), withdrawn samples. “Cannot judge” is counted and is no vote.",
    "Disputes (opposed strong votes, major harm) are ruled by a blinded lead, beside the votes and never over them.",
]


def _locked(campaign: Campaign) -> list[str]:
    if not campaign.protocol_digest:
        return ["Not locked yet: it is fixed when the campaign opens."]
    return [f"Locked on {campaign.opened_at:%d %B %Y} with digest {campaign.protocol_digest}."]
