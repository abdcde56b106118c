"""My impact: what came of one rater's judgements, told to them alone, and never what would unblind them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from statistics import median
from typing import Any

from django.db.models import Q

from accounts.models import User
from annotation import bias, estimates, judgements, reliability
from annotation.models import (
    AssignmentState,
    Campaign,
    CampaignState,
    Judgement,
    Pair,
    Snapshot,
    SnapshotEvidence,
    SnapshotRow,
)
from training.intervals import Share, share
from training.models import Evaluation, Run

ENOUGH_REPEATS = 10
ENOUGH_SIDES = 30
FIRST = ("first_much", "first_slightly")
SECOND = ("second_much", "second_slightly")
ANSWERED = (AssignmentState.SUBMITTED, AssignmentState.SURPLUS)

# Who wrote a text: a model version's id, or an external system's name.
Producer = tuple[int | None, str]


@dataclass(frozen=True)
class Outcome:
    """What is known of a model that was trained on a snapshot. It has no name here."""

    trained: bool
    agreement: Share | None = None
    study: Share | None = None
    simulated: bool = False


@dataclass(frozen=True)
class Frozen:
    """A snapshot with this rater's judgements in it: `mine` of its `rows` rest on one of theirs."""

    digest: str
    frozen_at: datetime
    rows: int
    mine: int
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass(frozen=True)
class Line:
    """One campaign of the rater's. `stage` says what has happened and so what comes next:

    "running", "closed" (nothing frozen yet), "frozen" (nothing trained yet), "training", "trained" (not compared yet), "compared" or
    "hidden": its outcome is told once they no longer judge texts by the same writers.
    """

    name: str
    toy: bool
    simulated: bool
    study: bool
    answered: int
    deadline: date | None
    closed_at: datetime | None
    stage: str
    frozen: list[Frozen]


@dataclass(frozen=True)
class Impact:
    """The whole page. `consistency` and `left` are the rater's own and go nowhere else from here."""

    lines: list[Line]
    judgements: int
    median_seconds: float | None
    consistency: reliability.Consistency
    left: bias.LeftShare

    @property
    def in_snapshots(self) -> int:
        """Rows of frozen data that rest on a judgement of theirs; a pair frozen twice counts once for each."""
        return sum(frozen.mine for line in self.lines for frozen in line.frozen)


def of(*, user: User) -> Impact:
    """Everything about `user`'s judgements outside of qualifications."""
    answers = list(
        Judgement.objects.current()
        .filter(assignment__annotator=user, assignment__state__in=ANSWERED)
        .exclude(assignment__campaign__purpose="qualify")
        .order_by("pk")
        .values(
            "pk", "verdict", "active_ms", "assignment__campaign", "assignment__pair", "assignment__repeat", "assignment__first_on_left",
            "assignment__slot__kind",
        )
    )  # fmt: skip
    campaigns = Campaign.objects.filter(pk__in={answer["assignment__campaign"] for answer in answers}).order_by("-pk")
    answered: dict[int, int] = defaultdict(int)
    for answer in answers:
        answered[answer["assignment__campaign"]] += 1
    times = [answer["active_ms"] for answer in answers if answer["active_ms"] is not None]
    return Impact(
        lines=_lines(user, list(campaigns), answered),
        judgements=len(answers),
        median_seconds=median(times) / 1000 if times else None,
        consistency=_consistency(user, answers),
        left=_left(answers),
    )


def _consistency(user: User, answers: Iterable[Mapping[str, Any]]) -> reliability.Consistency:
    """Of pairs asked twice, both answers, however long apart."""
    before = {a["assignment__pair"]: a for a in answers if a["assignment__repeat"] == 0}
    again = [a for a in answers if a["assignment__slot__kind"] == "repeat"]
    repeats = [
        reliability.Repeat(user.pk, first["verdict"], second["verdict"], first["assignment__first_on_left"])
        for second in again
        if (first := before.get(second["assignment__pair"]))
    ]
    return reliability.self_consistency(repeats, floor=ENOUGH_REPEATS)


def _left(answers: Iterable[Mapping[str, Any]]) -> bias.LeftShare:
    decided = [
        (answer["verdict"] in FIRST) == answer["assignment__first_on_left"] for answer in answers if answer["verdict"] in (*FIRST, *SECOND)
    ]
    return bias.left_share(sum(decided), len(decided), floor=ENOUGH_SIDES)


def _lines(user: User, campaigns: list[Campaign], answered: dict[int, int]) -> list[Line]:
    closed = [campaign for campaign in campaigns if campaign.state == CampaignState.CLOSED]
    snapshots = list(Snapshot.objects.filter(campaign__in=closed).order_by("pk"))
    runs = _runs_on(snapshots)
    hidden = _hidden(user, closed, runs)
    frozen = _frozen(user, snapshots, runs, hidden)
    lines = []
    for campaign in campaigns:
        parts = frozen.get(campaign.pk, [])
        lines.append(
            Line(
                campaign.name, campaign.toy, campaign.simulated, campaign.purpose == "study", answered[campaign.pk], campaign.deadline,
                campaign.closed_at, _stage(campaign, parts, hidden), parts,
            )
        )  # fmt: skip
    return lines


def _runs_on(snapshots: list[Snapshot]) -> list[Run]:
    """Runs on these snapshots, but for controls: a model trained on shuffled labels says nothing about anybody's judgements."""
    return list(
        Run.objects.filter(snapshot__in=snapshots, replays=None)
        .exclude(job__spec__inputs__has_key="shuffle")
        .select_related("job", "snapshot")
    )


def _stage(campaign: Campaign, frozen: list[Frozen], hidden: set[int]) -> str:
    if campaign.state != CampaignState.CLOSED:
        return "running"
    if not frozen:
        return "closed"
    if campaign.pk in hidden:
        return "hidden"
    outcomes = [outcome for part in frozen for outcome in part.outcomes]
    if any(outcome.agreement or outcome.study for outcome in outcomes):
        return "compared"
    if any(outcome.trained for outcome in outcomes):
        return "trained"
    return "training" if outcomes else "frozen"


def _frozen(user: User, snapshots: list[Snapshot], runs: list[Run], hidden: set[int]) -> dict[int, list[Frozen]]:
    """Each campaign's snapshots that rest on an answer of `user`'s, with what came of them unless that is hidden."""
    given = Judgement.objects.filter(assignment__annotator=user, assignment__campaign__in={one.campaign_id for one in snapshots})
    pair_of = dict(given.values_list("pk", "assignment__pair"))
    # An answer that was changed after the freezing is in it as it was then.
    evidence = dict(SnapshotEvidence.objects.filter(snapshot__in=snapshots).values_list("snapshot", "judgements"))
    rested = {owner: {pair_of[pk] for pk in pair_of.keys() & ids} for owner, ids in evidence.items()}
    rows: dict[int, set[int]] = defaultdict(set)
    for owner, pair in SnapshotRow.objects.filter(snapshot__in=snapshots, pair__in=set(pair_of.values())).values_list("snapshot", "pair"):
        rows[owner].add(pair)
    outcomes = _outcomes(runs)
    found: dict[int, list[Frozen]] = defaultdict(list)
    for snapshot in snapshots:
        mine = rows[snapshot.pk] & rested.get(snapshot.pk, set())
        if mine:
            told = [] if snapshot.campaign_id in hidden else outcomes.get(snapshot.pk, [])
            all_rows = sum(snapshot.counts["used"].values())
            found[snapshot.campaign_id].append(Frozen(snapshot.digest, snapshot.frozen_at, all_rows, len(mine), told))
    return found


def _outcomes(runs: list[Run]) -> dict[int, list[Outcome]]:
    outputs = [run.output_id for run in runs if run.output_id is not None]
    evaluated = {
        evaluation.policy_id: evaluation
        for evaluation in Evaluation.objects.of_candidates().filter(policy__in=outputs, finished_at__isnull=False).order_by("pk")
    }
    studied = _studied(outputs)
    found: dict[int, list[Outcome]] = defaultdict(list)
    for run in runs:
        assert run.snapshot_id is not None
        evaluation = evaluated.get(run.output_id) if run.output_id is not None else None
        agreement = evaluation.results.get("preference_accuracy") if evaluation is not None else None
        if run.output_id is None and run.job.ended:
            # It failed or was cancelled: nothing came of it, and another may be started.
            continue
        found[run.snapshot_id].append(
            Outcome(
                trained=run.output_id is not None,
                agreement=agreement or None,
                study=studied.get(run.output_id) if run.output_id is not None else None,
                simulated=evaluation is not None and evaluation.simulated,
            )
        )
    return found


def _studied(versions: Collection[int]) -> dict[int, Share]:
    """In closed blinded studies, how often clinicians preferred the version's text to the other's; "both acceptable" counts half."""
    by_them = Q(assignment__pair__first__batch__version__in=versions) | Q(assignment__pair__second__batch__version__in=versions)
    votes = Judgement.objects.votes().filter(
        by_them, assignment__campaign__purpose="study", assignment__campaign__state=CampaignState.CLOSED
    )
    scores: dict[int, list[float]] = defaultdict(list)
    sides = "assignment__pair__first__batch__version", "assignment__pair__second__batch__version"
    for verdict, first, second in votes.values_list("verdict", *sides):
        if verdict == "cannot_judge" or first == second:
            continue
        won = 1.0 if verdict in FIRST else 0.0 if verdict in SECOND else 0.5
        for version, score in ((first, won), (second, 1 - won)):
            if version in versions:
                scores[version].append(score)
    return {version: share(sum(won), len(won)) for version, won in scores.items() if len(won) >= estimates.FLOOR}


def _hidden(user: User, closed: list[Campaign], runs: list[Run]) -> set[int]:
    """Closed campaigns whose outcome must wait: the rater judges texts by the same writers, or by what they became, in a running one."""
    running = list(
        Campaign.objects.filter(memberships__user=user, state__in=CampaignState.running())
        .exclude(purpose="qualify")
        .values_list("pk", flat=True)
    )
    if not running or not closed:
        return set()
    writers = _writers([*running, *(campaign.pk for campaign in closed)])
    now = set().union(*(writers.get(pk, set()) for pk in running))
    made: dict[int, set[Producer]] = defaultdict(set)
    for run in runs:
        if run.snapshot is not None:
            made[run.snapshot.campaign_id] |= {(pk, "") for pk in (run.policy_id, run.output_id) if pk is not None}
    return {campaign.pk for campaign in closed if now & (writers.get(campaign.pk, set()) | made[campaign.pk])}


def _writers(campaigns: Collection[int]) -> dict[int, set[Producer]]:
    found: dict[int, set[Producer]] = defaultdict(set)
    for side in ("first", "second"):
        rows = Pair.objects.filter(campaign__in=campaigns).order_by()
        for campaign, version, system in rows.values_list("campaign", f"{side}__batch__version", f"{side}__batch__system").distinct():
            found[campaign].add((version, system or ""))
    return found


def own_data(*, user: User) -> dict[str, Any]:
    """Every judgement `user` gave, as they gave it (by side), with their own words; nothing of anybody else, nothing that unblinds.

    {"username", "judgements": [{"campaign", "pair", "revision", "verdict", "cannot_reason", "reasons", "harm_a", "harm_b", "hard",
    "rationale", "edited_text", "marked", "seconds", "submitted_at", "taken_back_at"}]}; `pair` names the asking, not the pair.
    """
    rows = (
        Judgement.objects.filter(assignment__annotator=user)
        .select_related("assignment__campaign", "assignment__pair", "edit")
        .prefetch_related("spans")
        .order_by("pk")
    )
    return {"username": user.get_username(), "judgements": [_told(row) for row in rows]}


def _told(row: Judgement) -> dict[str, Any]:
    held = row.assignment
    first, second = ("a", "b") if held.first_on_left else ("b", "a")
    harm = {
        first: {"severity": row.harm_first, "type": row.harm_first_type},
        second: {"severity": row.harm_second, "type": row.harm_second_type},
    }
    side_of = {held.pair.first_id: first, held.pair.second_id: second}
    marked = [
        {"side": side_of[span.completion_id], "start": span.start, "end": span.end, "kind": span.kind, "severity": span.severity}
        for span in row.spans.all()
    ]
    edit = getattr(row, "edit", None)
    return {
        "campaign": held.campaign.name,
        "pair": str(held.public_id),
        "revision": row.revision,
        "verdict": str(judgements.seen_from(held, row.verdict)),
        "cannot_reason": row.cannot_reason,
        "reasons": row.reasons,
        # In the order of the sides: that in which they are stored would tell which text is by the older model.
        "harm_a": harm["a"],
        "harm_b": harm["b"],
        "hard": row.hard,
        "rationale": row.rationale,
        "edited_text": edit.text if edit is not None else "",
        "marked": sorted(marked, key=lambda span: (span["side"], span["start"])),
        "seconds": row.active_ms / 1000 if row.active_ms is not None else None,
        "submitted_at": row.submitted_at.isoformat(),
        "taken_back_at": row.undone_at.isoformat() if row.undone_at else None,
    }
