"""What a campaign can find out and what it costs: comparisons, detectable win-rate, hours, money. Pure; standard library only."""

from math import ceil, floor, sqrt
from statistics import NormalDist, median
from typing import Literal, NamedTuple

READING = 230  # words a minute (product.md 1.1)
LONG_PAIR = 4.0  # minutes; a longer pair tires its reader, and the campaign should show less text
ENOUGH_TIMES = 20  # judgements of the campaign's own before their median replaces the reading estimate
TIE_RATE, DESIGN_EFFECT = 0.2, 1.3


def decisive_needed(win_rate: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Decisive comparisons (ties left out) to tell `win_rate` from ½, two-sided: ((z_α/2·½ + z_β·√(p(1−p))) / (p−½))², rounded up.

    Raises ValueError for ½, 0, 1 and beyond: no number finds a difference that is not there.
    """
    return ceil(_decisive(win_rate, power, alpha))


def judgements_needed(
    win_rate: float, *, power: float = 0.8, alpha: float = 0.05, tie_rate: float = TIE_RATE, design_effect: float = DESIGN_EFFECT
) -> int:
    """Judgements in all: the decisive ones, more by ties that decide nothing, more by judgements that repeat one another."""
    _sensible(tie_rate, design_effect)
    return ceil(_decisive(win_rate, power, alpha) * design_effect / (1 - tie_rate))


def _decisive(win_rate: float, power: float, alpha: float) -> float:
    if not (0 < win_rate < 1 and win_rate != 0.5):
        raise ValueError(f"A win-rate to find lies between 0 and 1 and is not one half; got {win_rate}.")
    if not (0 < alpha < 1 and alpha / 2 < power < 1):
        raise ValueError(f"Power {power} at level {alpha} cannot be planned for.")
    normal = NormalDist()
    spread = normal.inv_cdf(1 - alpha / 2) / 2 + normal.inv_cdf(power) * sqrt(win_rate * (1 - win_rate))
    return (spread / (win_rate - 0.5)) ** 2


def _sensible(tie_rate: float, design_effect: float) -> None:
    if not (0 <= tie_rate < 1 and design_effect > 0):
        raise ValueError(f"A tie rate lies in [0, 1) and a design effect above 0; got {tie_rate} and {design_effect}.")


def detectable_win_rate(
    judgements: int, *, power: float = 0.8, alpha: float = 0.05, tie_rate: float = TIE_RATE, design_effect: float = DESIGN_EFFECT
) -> float | None:
    """The smallest win-rate above ½ that `judgements` can find, or None when not even 99 % could be: the inverse of judgements_needed."""
    _sensible(tie_rate, design_effect)
    effective = judgements * (1 - tie_rate) / design_effect
    low, high = 0.5, 0.99
    if effective < _decisive(high, power, alpha):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        if _decisive(middle, power, alpha) > effective:
            low = middle
        else:
            high = middle
    return high


def effect_of_repeats(judgements_per_prompt: float, correlation: float) -> float:
    """Kish's 1 + (m − 1)ρ: how many judgements of one prompt are worth one of a new prompt."""
    return 1 + (max(judgements_per_prompt, 1.0) - 1) * correlation


class Pace(NamedTuple):
    """Minutes a pair, where the figure comes from, and whether a pair is too long to judge well."""

    minutes: float
    source: Literal["words", "times"]
    too_long: bool


def pace_of(words: float, seconds: list[float] | None = None) -> Pace:
    """Minutes a pair: `words` on screen (instruction, input, both outputs) at 230 a minute, until twenty judgements were timed; then
    their median, of the `seconds` each took.
    """
    if seconds and len(seconds) >= ENOUGH_TIMES:
        minutes, source = median(seconds) / 60, "times"
    else:
        minutes, source = words / READING, "words"
    return Pace(minutes, source, minutes > LONG_PAIR)  # type: ignore[arg-type]


class Plan(NamedTuple):
    """What a campaign asks for. `hours` are clinicians' hours; `cost` is in the currency of the hourly rate."""

    judgements: int
    extra: int
    minutes_a_pair: float
    hours: float
    cost: float
    detectable: float | None
    too_long: bool


def plan(
    *,
    pairs: int,
    pace: Pace,
    overlap: int = 1,
    double_share: float = 0.0,
    repeat_share: float = 0.0,
    cohorts: int = 1,
    gold: int = 0,
    hourly_cost: float = 0.0,
    tie_rate: float = TIE_RATE,
    design_effect: float = DESIGN_EFFECT,
    power: float = 0.8,
) -> Plan:
    """The whole of a campaign by its protocol (annotation.models.Campaign): every pair is judged `overlap` times in every cohort, a
    `double_share` of pairs once more. On top come `extra` judgements that tell of raters and not of models: a `repeat_share` of
    answers again with sides swapped, and `gold`, gold pairs times the raters who get them.

    Raises ValueError for counts below 0 (overlap and cohorts: below 1) and for shares outside [0, 1].
    """
    if min(pairs, gold, overlap - 1, cohorts - 1) < 0 or hourly_cost < 0 or not (0 <= double_share <= 1 and 0 <= repeat_share <= 1):
        raise ValueError("Pairs and gold count from 0, overlap and cohorts from 1, and shares lie between 0 and 1.")
    asked = pairs * overlap * cohorts + _ceil(pairs * double_share)
    extra = _ceil(asked * repeat_share) + gold
    hours = (asked + extra) * pace.minutes / 60
    found = detectable_win_rate(asked, power=power, tie_rate=tie_rate, design_effect=design_effect)
    return Plan(asked + extra, extra, pace.minutes, hours, hours * hourly_cost, found, pace.too_long)


def _ceil(amount: float) -> int:
    """Rounded up, but 25 % of 300 is 75 however floats put it."""
    return ceil(amount - 1e-9)


def pairs_promised(session_minutes: float, pace: Pace) -> int:
    """How many pairs a session of so many minutes holds, whole ones, at least one."""
    return max(1, floor(session_minutes / pace.minutes + 1e-9)) if pace.minutes > 0 else 1
