"""A campaign's judgements as the pure modules want them, and every figure of its pages worked out of them. No text leaves the database.

Agreement, side and length are measured on pairs that chance chose (`Pair.selected_by`): asking about informative pairs serves training and
would bend every figure (arXiv 2601.09084).
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime
from statistics import median
from typing import Any, NamedTuple

from django.db.models.functions import Length

from annotation import agreement, bias, ranking, reliability
from annotation.estimates import Estimate, share
from annotation.models import MAJOR, AssignmentState, Campaign, Judgement, Selection, SlotKind

BY_CHANCE = (Selection.RANDOM, Selection.STRATIFIED)
LEFT, RIGHT = "left", "right"


class Row(NamedTuple):
    """One current judgement that holds a slot; `repeat` above 0 or `kind` "gold" counts for its rater alone, never as a vote."""

    pair: int
    sample: int
    task: str
    rater: int
    verdict: str
    first_on_left: bool
    kind: str
    repeat: int
    by_chance: bool
    producers: tuple[Hashable, Hashable]
    lengths: tuple[int, int]
    source_length: int
    active_ms: int | None
    at: datetime
    harm: tuple[str, str]

    @property
    def is_vote(self) -> bool:
        return self.repeat == 0 and self.kind in (SlotKind.VOTE, SlotKind.REVIEW)

    @property
    def side(self) -> str | None:
        """ "first" or "second", for a decisive verdict."""
        return agreement.SIDES.get(self.verdict)

    @property
    def left_won(self) -> bool | None:
        """Whether the text shown on the left won; None for a verdict that is not decisive."""
        return None if self.side is None else (self.side == "first") == self.first_on_left


def rows(campaign: Campaign) -> list[Row]:
    """Every current answer of the campaign, in the order it came in: one query, no text."""
    answers = (
        Judgement.objects.current()
        .filter(assignment__campaign=campaign, assignment__state=AssignmentState.SUBMITTED, surplus=False)
        .order_by("submitted_at", "pk")
        .annotate(
            first_length=Length("assignment__pair__first__text"),
            second_length=Length("assignment__pair__second__text"),
            source_length=Length("assignment__pair__prompt__sample__input"),
        )
        .values_list(
            "assignment__pair_id", "assignment__pair__prompt__sample_id", "assignment__pair__prompt__sample__task_type",
            "assignment__annotator_id", "verdict", "assignment__first_on_left", "assignment__slot__kind", "assignment__repeat",
            "assignment__pair__selected_by", "assignment__pair__first__batch__version_id", "assignment__pair__first__batch__system",
            "assignment__pair__second__batch__version_id", "assignment__pair__second__batch__system", "first_length", "second_length",
            "source_length", "active_ms", "submitted_at", "harm_first", "harm_second",
        )
    )  # fmt: skip
    return [
        Row(
            pair, sample, task, rater, verdict, left, kind, repeat, selected in BY_CHANCE,
            (version_1 or system_1, version_2 or system_2), (length_1, length_2), source, ms, at, (harm_1, harm_2),
        )
        for pair, sample, task, rater, verdict, left, kind, repeat, selected, version_1, system_1, version_2, system_2,
            length_1, length_2, source, ms, at, harm_1, harm_2 in answers.iterator(chunk_size=5000)
    ]  # fmt: skip


def votes(found: Iterable[Row], *, by_chance: bool = True) -> list[Row]:
    """The votes among `found`; only on pairs that chance chose, unless told otherwise."""
    return [row for row in found if row.is_vote and (row.by_chance or not by_chance)]


def ratings(found: Iterable[Row]) -> list[agreement.Rating]:
    return [agreement.Rating(row.pair, row.rater, row.verdict, row.sample) for row in found]


class Agreement(NamedTuple):
    """`raw`, `alpha` and `ac1` over six verdicts; `decisive`, `flips` and `ceiling` over votes for a side; `by_task` the flip rate."""

    raw: Estimate
    alpha: Estimate
    ac1: Estimate
    decisive: Estimate
    flips: Estimate
    ceiling: Estimate
    by_task: dict[str, Estimate]


def agreed(found: Sequence[Row]) -> Agreement:
    rated = ratings(votes(found))
    table = agreement.tabulate(rated, agreement.VERDICTS)
    sided = agreement.raw_agreement(agreement.tabulate(agreement.decisive(rated), ("first", "second")))
    flips = agreement.flip_rate(sided)
    tasks = {row.pair: row.task for row in found}
    return Agreement(
        agreement.raw_agreement(table),
        agreement.krippendorff_alpha(table),
        agreement.gwet_ac1(table),
        sided,
        flips,
        agreement.ceiling(flips),
        agreement.flip_rate_by(rated, {pair: tasks[pair] for pair in tasks}),
    )


class Shares(NamedTuple):
    """How often verdicts that say nothing about a side were given, of all votes; and harm flags of each severity, per 100 votes."""

    ties: Estimate
    both_unacceptable: Estimate
    cannot_judge: Estimate
    harm: dict[str, int]


def shares(found: Sequence[Row]) -> Shares:
    counted = votes(found)
    verdicts = Counter(row.verdict for row in counted)
    flagged = Counter(severity for row in counted for severity in row.harm if severity)
    ties, unfit, unable = (share(verdicts[name], len(counted)) for name in ("both_acceptable", "both_unacceptable", "cannot_judge"))
    return Shares(ties, unfit, unable, dict(flagged))


def left_share(found: Iterable[Row]) -> bias.LeftShare:
    sided = [row.left_won for row in votes(found) if row.left_won is not None]
    return bias.left_share(sum(sided), len(sided))


def longer_wins(found: Iterable[Row]) -> Estimate:
    return bias.longer_wins(_won(row) for row in votes(found))


def _won(row: Row) -> bias.Vote:
    """The judgement as how it ended for the first text."""
    won = {"first": 1.0, "second": 0.0, None: 0.5}[row.side]
    return bias.Vote(won, bias.log_ratio(*row.lengths), row.sample)


def win_rate(found: Iterable[Row], champion: Hashable, other: Hashable) -> bias.WinRate:
    """How often `champion`'s text won against `other`'s, raw and at equal length."""
    met = []
    for row in votes(found):
        if row.verdict == "cannot_judge" or set(row.producers) != {champion, other}:
            continue
        vote = _won(row)
        met.append(vote if row.producers[0] == champion else vote._replace(won=1 - vote.won, longer=-vote.longer))
    return bias.win_rate(met)


def ranked(found: Iterable[Row]) -> ranking.Ranking:
    """Davidson–Bradley–Terry over the campaign's producers, with its side and length terms."""
    met = []
    for row in votes(found):
        if row.verdict == "cannot_judge" or row.producers[0] == row.producers[1]:
            continue
        order = (0, 1) if row.first_on_left else (1, 0)
        left, right = (row.producers[place] for place in order)
        outcome: Any = "both_unacceptable" if row.verdict == "both_unacceptable" else "tie"
        if row.left_won is not None:
            outcome = LEFT if row.left_won else RIGHT
        longer = bias.log_ratio(*(row.lengths[place] for place in order))
        met.append(ranking.Vote(left, right, outcome, row.sample, longer))
    return ranking.rank(met)


class Pace(NamedTuple):
    """Seconds a judgement took: quartiles over `n` timed ones."""

    lower: float
    middle: float
    upper: float
    n: int


def paces(found: Iterable[Row]) -> dict[str, Pace]:
    """By task, and under "" for all of them."""
    timed: dict[str, list[float]] = defaultdict(list)
    for row in found:
        if row.active_ms:
            for name in (row.task, ""):
                timed[name].append(row.active_ms / 1000)
    return {name: Pace(*_quartiles(seconds), len(seconds)) for name, seconds in timed.items()}


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    ordered = sorted(values)
    half = len(ordered) // 2
    return median(ordered[: half + 1]), median(ordered), median(ordered[half:])


class Rater(NamedTuple):
    """What a lead sees of one rater, for calibration and never for ranking."""

    user: int
    n: int
    peers: Estimate
    repeats: reliability.Consistency
    left: bias.LeftShare
    seconds: float | None
    harm: int

    @property
    def shown(self) -> tuple[Estimate, Estimate, Estimate]:
        """The three estimates of a table row."""
        return self.peers, self.repeats.same, self.left.share


def raters(found: Sequence[Row]) -> list[Rater]:
    """Every rater: agreement with peers on decisive votes (of pairs somebody else judged too), repeats, left share, median seconds."""
    counted = votes(found)
    sided: dict[int, list[Row]] = defaultdict(list)
    for row in counted:
        if row.side is not None:
            sided[row.pair].append(row)
    with_peers: dict[int, list[bool]] = defaultdict(list)
    for judged in sided.values():
        for row in judged:
            with_peers[row.rater] += [row.side == other.side for other in judged if other.rater != row.rater]
    again = repeats(found)
    lefts = bias.left_share_by_rater((row.rater, row.left_won) for row in counted if row.left_won is not None)
    by_rater: dict[int, list[Row]] = defaultdict(list)
    for row in counted:
        by_rater[row.rater].append(row)
    return [
        Rater(
            user,
            len(own),
            share(sum(with_peers[user]), len(with_peers[user])),
            reliability.self_consistency(one for one in again if one.rater == user),
            lefts.get(user) or bias.left_share(0, 0),
            median(timed) if (timed := [row.active_ms / 1000 for row in own if row.active_ms]) else None,
            sum(severity in MAJOR for row in own for severity in row.harm),
        )
        for user, own in by_rater.items()
    ]


def repeats(found: Iterable[Row]) -> list[reliability.Repeat]:
    """Pairs that a rater judged twice, sides swapped: the first verdict and the second."""
    first: dict[tuple[int, int], Row] = {}
    again = []
    ordered = sorted(found, key=lambda row: row.repeat)
    for row in ordered:
        if row.repeat == 0 and row.kind != SlotKind.GOLD:
            first[row.pair, row.rater] = row
        elif row.kind == SlotKind.REPEAT and (before := first.get((row.pair, row.rater))):
            again.append(reliability.Repeat(row.rater, before.verdict, row.verdict, before.first_on_left))
    return again
