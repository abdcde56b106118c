"""What an evidence pack's figures are computed with, besides verdict and harm: lengths, flags, held-out preferences, suites.

Standard library only, and nothing of Rounds: this very file travels in the pack and computes the figures again there.
"""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

CHALLENGER, CHAMPION, TIE = "challenger", "champion", "tie"
# One text is longer than the other when it has a quarter more words (product.md 2.13, G5).
SHORT, LONG = 0.8, 1.25
Z_TWO_SIDED = 1.959964


# --- votes -------------------------------------------------------------------------------------------------------------------------------


def by_length(votes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Who was favoured where the challenger's text was shorter, of similar length, or longer; `ratio` is the median of its words to the
    champion's, None without votes. A win-rate counts a tie as half, None where nobody voted."""
    ratios = [vote["words_challenger"] / max(1, vote["words_champion"]) for vote in votes]
    strata: dict[str, list[str]] = {"shorter": [], "similar": [], "longer": []}
    for vote, ratio in zip(votes, ratios):  # noqa: B905 (Python 3.9 knows no strict)
        strata["shorter" if ratio < SHORT else "longer" if ratio > LONG else "similar"].append(vote["in_favour"])
    return {"ratio": statistics.median(ratios) if ratios else None, **{name: _favoured(said) for name, said in strata.items()}}


def _favoured(said: Sequence[str]) -> dict[str, Any]:
    wins, losses, ties = (said.count(outcome) for outcome in (CHALLENGER, CHAMPION, TIE))
    return {"wins": wins, "losses": losses, "ties": ties, "win_rate": (wins + ties / 2) / len(said) if said else None}


def flags(votes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How often each side was flagged, and on how many votes one side alone: for major harm or worse, and for life-threatening harm."""
    told: dict[str, Any] = {}
    for what in ("major", "life_threatening"):
        both = [(vote[f"{what}_{CHALLENGER}"], vote[f"{what}_{CHAMPION}"]) for vote in votes]
        told[what] = {
            CHALLENGER: sum(ours for ours, _ in both), CHAMPION: sum(theirs for _, theirs in both),
            "only_challenger": sum(ours and not theirs for ours, theirs in both),
            "only_champion": sum(theirs and not ours for ours, theirs in both),
        }  # fmt: skip
    return told


# --- held-out preferences ----------------------------------------------------------------------------------------------------------------


def held_out(pairs: Sequence[Mapping[str, Any]], *, draws: int, seed: int) -> dict[str, Any]:
    """The share of held-out pairs that the model orders as their label does, as its evaluation computed it.

    `prompt` of a pair says which were asked of one prompt: whole prompts are redrawn, and the wider end of that interval and of Wilson's is
    given. `draws` and `seed` are the evaluation's.
    """
    groups: dict[str, list[float]] = {}
    for pair in pairs:
        groups.setdefault(pair["prompt"], []).append(pair["correct"])
    value = sum(map(sum, groups.values())) / len(pairs)
    low, high = _redrawn(list(groups.values()), draws, seed)
    wilson_low, wilson_high = _wilson(round(value * len(pairs)), len(pairs))
    return {
        "value": value, "low": min(low, wilson_low), "high": max(high, wilson_high), "n": len(pairs), "prompts": len(groups),
        "ties": sum(pair["correct"] == 0.5 for pair in pairs),
    }  # fmt: skip


def _redrawn(groups: Sequence[Sequence[float]], draws: int, seed: int) -> tuple[float, float]:
    rng = random.Random(f"bootstrap {seed}")
    totals = [(math.fsum(group), len(group)) for group in groups]
    means = []
    for _ in range(draws):
        drawn = rng.choices(totals, k=len(totals))
        means.append(math.fsum(total for total, _ in drawn) / sum(count for _, count in drawn))
    means.sort()
    return means[int(0.025 * (draws - 1))], means[math.ceil(0.975 * (draws - 1))]


def _wilson(successes: int, n: int, z: float = Z_TWO_SIDED) -> tuple[float, float]:
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


# --- suites ------------------------------------------------------------------------------------------------------------------------------


def suites(challenger: Mapping[str, Any], champion: Mapping[str, Any]) -> dict[str, Any]:
    """Two results of one suite, item by item: for every task the mean difference and, where every item is right or wrong, McNemar's p.

    A positive difference says that the challenger is better, whichever way a task's scores point. Raises ValueError when the two were
    not asked the same.
    """
    ours, theirs = challenger["tasks"], champion["tasks"]
    if challenger["suite"] != champion["suite"] or not ours or ours.keys() != theirs.keys():
        raise ValueError("the two were not asked the same tasks")
    tasks = {}
    for name in sorted(ours):
        one, other = ours[name]["items"], theirs[name]["items"]
        if len(one) != len(other) or not one:
            raise ValueError(f"the two were not asked the same items of {name}")
        tasks[name] = _task(one, other, 1 if ours[name]["higher_is_better"] else -1)
    return {"tasks": tasks, "difference": math.fsum(task["difference"] for task in tasks.values()) / len(tasks)}


def _task(one: Sequence[float], other: Sequence[float], sign: int) -> dict[str, Any]:
    better = sum(sign * ours > sign * theirs for ours, theirs in zip(one, other))  # noqa: B905
    worse = sum(sign * ours < sign * theirs for ours, theirs in zip(one, other))  # noqa: B905
    binary = all(score in (0, 1) for score in (*one, *other))
    return {
        "n": len(one), "challenger": math.fsum(one) / len(one), "champion": math.fsum(other) / len(other),
        "difference": sign * math.fsum((*one, *(-score for score in other))) / len(one), "better": better, "worse": worse,
        "p": mcnemar(better, worse) if binary else None,
    }  # fmt: skip


def mcnemar(better: int, worse: int) -> float:
    """Two-sided exact p: are the items that only one of the two got right split like coins? (McNemar 1947; 1.0 where there are none.)"""
    n, fewer = better + worse, min(better, worse)
    if n == 0:
        return 1.0
    tail = math.fsum(math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)) for k in range(fewer + 1))
    return min(1.0, 2 * tail)
