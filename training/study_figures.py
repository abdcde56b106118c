"""What a blinded study's page tells beside its verdict: evidence by judgement, win-rates with intervals, lengths, sides, harm, raters.

Only the verdict is a test (training/evidence/verdict.py); all of this describes. It works on raw votes, as `studies.raw_votes` gives them.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from django.db.models import Count, Q
from django.utils.safestring import SafeString

from annotation import bias, estimates
from annotation.estimates import Estimate
from annotation.models import AssignmentState, Judgement, SlotKind, Verdict
from training.evidence import figures
from training.evidence import verdict as evidence
from training.models import Study
from web.charts import Series, interval_chart, line_chart

Votes = Sequence[Mapping[str, Any]]

STRATA = ("shorter", "similar", "longer")
WON = {1: 1.0, 0: 0.5, -1: 0.0}
# e is drawn between these; the table below the chart has every value.
DRAWN = (0.01, 1000.0)


@dataclass(frozen=True)
class Stratum:
    """The votes in which the new model's answer was shorter than the old one's, as long, or longer. `rate` counts ties half."""

    name: str
    wins: int
    losses: int
    ties: int
    rate: Estimate

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties


@dataclass(frozen=True)
class Harm:
    """Of the counted votes, in how many a harm of at least this severity was flagged on one side alone, on both, on none."""

    severity: str
    challenger_only: int
    champion_only: int
    both: int
    neither: int

    @property
    def challenger(self) -> int:
        return self.challenger_only + self.both

    @property
    def champion(self) -> int:
        return self.champion_only + self.both


@dataclass(frozen=True)
class Rater:
    """One rater under their pseudonym of this study."""

    name: str
    wins: int
    losses: int
    ties: int

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties


@dataclass(frozen=True)
class Beside:
    """Answers that are kept and not counted: late ones, "cannot judge", and those of second readers after a harm flag."""

    late: int
    cannot_judge: int
    second_readers: int


@dataclass(frozen=True)
class Figures:
    """Everything that is told of a study once it is over."""

    rate: bias.WinRate
    strata: list[Stratum]
    left: bias.LeftShare
    harm: list[Harm]
    raters: list[Rater]
    beside: Beside
    chart: SafeString


def of(study: Study, votes: Votes) -> Figures:
    rate, strata = win_rate(votes), by_length(votes)
    return Figures(
        rate=rate, strata=strata, left=left_share(votes), harm=harms(votes), raters=raters(votes), beside=beside(study, len(votes)),
        chart=_rates(rate, strata),
    )  # fmt: skip


def path(votes: Votes) -> list[tuple[int, float, float]]:
    """After each vote: its number, e for "better", e for "worse". The last are those of `verdict.follow_votes`."""
    outcomes = [evidence.OUTCOMES[vote["in_favour"]] for vote in votes]
    wins, losses = accumulate(int(one > 0) for one in outcomes), accumulate(int(one < 0) for one in outcomes)
    return [(number, _e(won, lost), _e(lost, won)) for number, (won, lost) in enumerate(zip(wins, losses, strict=True), start=1)]


def _e(wins: int, losses: int) -> float:
    return math.exp(min(evidence.log_e(wins, losses), 700.0))


def evidence_chart(votes: Votes) -> SafeString:
    """Both e-values after every judgement, on a logarithmic scale, with the line at which a study is decided."""
    points = path(votes)
    series = [
        Series("better", [(float(number), better) for number, better, _ in points]),
        Series("worse", [(float(number), worse) for number, _, worse in points]),
    ]
    return line_chart(
        series, title="Evidence, judgement by judgement", x_label="judgements", y_label="e-value, logarithmic", y_log=DRAWN,
        reference=(evidence.THRESHOLD, f"decided at {evidence.THRESHOLD:.0f}"),
    )  # fmt: skip


def win_rate(votes: Votes) -> bias.WinRate:
    """How often the new model's answer was preferred, ties half, as it is and at equal length."""
    return bias.win_rate([bias.Vote(WON[evidence.OUTCOMES[vote["in_favour"]]], _longer(vote), vote["pair"]) for vote in votes])


def _longer(vote: Mapping[str, Any]) -> float:
    return bias.log_ratio(vote["words_challenger"], vote["words_champion"])


def by_length(votes: Votes) -> list[Stratum]:
    """As the evidence pack counts them, each with its interval."""
    counted = figures.by_length(votes)
    return [_stratum(name, **{what: counted[name][what] for what in ("wins", "losses", "ties")}) for name in STRATA]


def _stratum(name: str, wins: int, losses: int, ties: int) -> Stratum:
    return Stratum(name, wins, losses, ties, estimates.share(wins + ties / 2, wins + losses + ties))


def left_share(votes: Votes) -> bias.LeftShare:
    """How often the left side won among the decisive votes."""
    decisive = [vote["choice"].startswith("left") for vote in votes if vote["choice"].startswith(("left", "right"))]
    return bias.left_share(sum(decisive), len(decisive))


def harms(votes: Votes) -> list[Harm]:
    told, n = figures.flags(votes), len(votes)
    return [_harm("major or life-threatening", told["major"], n), _harm("life-threatening", told["life_threatening"], n)]


def _harm(severity: str, told: Mapping[str, int], n: int) -> Harm:
    both = told["challenger"] - told["only_challenger"]
    return Harm(severity, told["only_challenger"], told["only_champion"], both, n - told["challenger"] - told["only_champion"])


def raters(votes: Votes) -> list[Rater]:
    """The most judgements first."""
    counts: dict[str, Counter[int]] = {}
    for vote in votes:
        counts.setdefault(vote["rater"], Counter())[evidence.OUTCOMES[vote["in_favour"]]] += 1
    found = [Rater(name, seen[1], seen[-1], seen[0]) for name, seen in counts.items()]
    return sorted(found, key=lambda rater: (-rater.votes, rater.name))


def beside(study: Study, counted: int) -> Beside:
    """One question to the database."""
    given = Judgement.objects.current().filter(
        assignment__campaign=study.campaign_id, assignment__repeat=0,
        assignment__state__in=[AssignmentState.SUBMITTED, AssignmentState.SURPLUS],
    )  # fmt: skip
    voted = Q(assignment__slot__kind=SlotKind.VOTE)
    seen = given.aggregate(
        votes=Count("pk", filter=voted & ~Q(verdict=Verdict.CANNOT_JUDGE)),
        cannot_judge=Count("pk", filter=voted & Q(verdict=Verdict.CANNOT_JUDGE)),
        second=Count("pk", filter=Q(assignment__slot__kind=SlotKind.REVIEW)),
    )
    return Beside(seen["votes"] - counted, seen["cannot_judge"], seen["second"])


def _rates(rate: bias.WinRate, strata: Iterable[Stratum]) -> SafeString:
    rows = [_row("all", rate.raw), _row("at equal length", rate.controlled)]
    rows += [_row(f"new answer {one.name}", one.rate) for one in strata]
    return interval_chart(
        rows, title="Win-rate of the new answer", x_label="share of judgements, ties half", limits=(0.0, 1.0),
        reference=(0.5, "no difference"),
    )  # fmt: skip


def _row(label: str, found: Estimate) -> tuple[str, float | None, float | None, float | None, str]:
    return label, found.value, found.low, found.high, f"{found.note}, n = {found.n}" if found.value is None else ""
