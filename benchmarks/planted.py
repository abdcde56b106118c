"""Judgements with a planted truth, drawn again and again: does an interval cover it, is an alarm raised for nothing, is a bias found?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from math import exp, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from annotation import agreement, bias, ranking, reliability, resolution
from annotation.agreement import Table
from annotation.estimates import Array, Estimate, share

Rng = np.random.Generator


class Counts:
    """How often intervals covered the planted value, and on which side they missed, by name."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = defaultdict(int)
        self.hit: dict[str, int] = defaultdict(int)
        self.hidden: dict[str, int] = defaultdict(int)

    def add(self, name: str, estimate: Estimate, truth: float) -> None:
        if estimate.value is None or estimate.low is None or estimate.high is None:
            self.hidden[name] += 1
            return
        self.seen[name] += 1
        self.hit[name] += estimate.low <= truth <= estimate.high

    def shares(self) -> dict[str, float]:
        return {name: round(self.hit[name] / self.seen[name], 4) for name in self.seen}


# --- agreement --------------------------------------------------------------------------------------------------------------------

# Kinds of items, how common each is, and what raters say of it: independent given the kind, so that the planted agreement is exact.
POPULATIONS: dict[str, tuple[Array, Array]] = {
    "decisive": (np.array([0.5, 0.5]), np.array([[0.85, 0.15], [0.15, 0.85]])),
    "graded": (
        np.array([0.25, 0.25, 0.3, 0.2]),
        np.array(
            [
                [0.50, 0.30, 0.12, 0.05, 0.02, 0.01],
                [0.05, 0.45, 0.30, 0.10, 0.05, 0.05],
                [0.03, 0.10, 0.50, 0.20, 0.12, 0.05],
                [0.02, 0.05, 0.13, 0.40, 0.30, 0.10],
            ]
        ),
    ),
    "one verdict dominates": (np.array([0.9, 0.1]), np.array([[0.95, 0.05], [0.3, 0.7]])),
    "nearly unanimous": (np.array([0.5, 0.5]), np.array([[0.97, 0.03], [0.03, 0.97]])),
}
# (samples, pairs a sample, raters a pair)
SIZES = [(40, 1, 2), (40, 2, 2), (100, 2, 2), (100, 2, 3), (400, 2, 2)]
ALIKE = 0.5  # how likely another pair of a sample is of the same kind


def rated(rng: Rng, population: tuple[Array, Array], samples: int, each: int, raters: int) -> Table:
    """Counts of verdicts: pairs of one sample are alike more often than by chance, each kind as common as planted."""
    common, says = population
    kinds = rng.choice(len(common), (samples, each), p=common)
    kinds = np.where(rng.random((samples, each)) < ALIKE, kinds[:, :1], kinds).ravel()
    drawn = rng.random((len(kinds), raters, 1)) > np.cumsum(says, axis=1)[kinds][:, None, :]
    counts = np.zeros((len(kinds), says.shape[1]))
    np.add.at(counts, (np.repeat(np.arange(len(kinds)), raters), drawn.sum(axis=2).ravel()), 1)
    return Table(counts, np.repeat(np.arange(samples), each))


def planted_agreement(population: tuple[Array, Array]) -> tuple[float, float, float]:
    """Raw agreement, alpha and AC1 of infinitely many items and raters."""
    common, says = population
    agreed = float((common[:, None] * says**2).sum())
    used = common @ says
    by_chance = float((used * (1 - used)).sum() / (len(used) - 1))
    return agreed, 1 - (1 - agreed) / (1 - float((used**2).sum())), (agreed - by_chance) / (1 - by_chance)


def agreement_coverage(reps: int) -> dict[str, dict[str, float]]:
    found = {}
    for name, population in POPULATIONS.items():
        truth = planted_agreement(population)
        for samples, each, raters in SIZES:
            counts = Counts()
            for rep in range(reps):
                table = rated(np.random.default_rng([21, rep, samples, each, raters]), population, samples, each, raters)
                counts.add("raw agreement", agreement.raw_agreement(table), truth[0])
                counts.add("alpha", agreement.krippendorff_alpha(table, seed=rep), truth[1])
                counts.add("AC1", agreement.gwet_ac1(table, seed=rep), truth[2])
                if name == "decisive":
                    counts.add("flip rate", agreement.flip_rate(agreement.raw_agreement(table)), 0.15)
            found[f"{name}; {samples} samples × {each} × {raters} raters"] = counts.shares()
    return found


def unclustered_agreement(reps: int) -> float:
    """The control: raw agreement of 50 samples × 10 alike pairs, as if pairs were independent. This interval has to fail."""
    counts, easy_and_hard = Counts(), (np.array([0.5, 0.5]), np.array([[0.98, 0.02], [0.5, 0.5]]))
    for rep in range(reps):
        table = rated(np.random.default_rng([2, rep]), easy_and_hard, 50, 10, 2)
        agreed = float((table.counts.max(axis=1) == 2).sum())
        counts.add("naive", share(agreed, table.overlapping), planted_agreement(easy_and_hard)[0])
    return counts.shares()["naive"]


def flip_rates(reps: int) -> dict[str, float]:
    """Planted flip rates and the mean of what was found of them, with 300 pairs of two raters."""
    found = {}
    for flips in (0.08, 0.15, 0.23):
        population = (np.array([0.5, 0.5]), np.array([[1 - flips, flips], [flips, 1 - flips]]))
        tables = (rated(np.random.default_rng([3, rep]), population, 300, 1, 2) for rep in range(reps))
        values = [agreement.flip_rate(agreement.raw_agreement(table)).value for table in tables]
        found[f"{flips:.2f}"] = round(float(np.mean([value for value in values if value is not None])), 4)
    return found


# --- ranking ----------------------------------------------------------------------------------------------------------------------


def compared(
    rng: Rng, strengths: Array, samples: int, each: int, *, side: float, style: float, ties: float, again: float
) -> list[ranking.Vote]:
    """`each` votes a sample on one pair of models; a vote says the same as the one before it with probability `again`."""
    votes: list[ranking.Vote] = []
    for sample in range(samples):
        left, right = (int(model) for model in rng.choice(len(strengths), 2, replace=False))
        longer = float(rng.normal(0, 0.5))
        d = strengths[left] - strengths[right] + side + style * longer
        chances = np.array([exp(d / 2), exp(-d / 2), ties])
        upto = np.cumsum(chances / chances.sum())
        for number in range(each):
            if number and rng.random() < again:
                votes.append(votes[-1])
            else:
                outcome = ("left", "right", "tie")[int(np.searchsorted(upto, rng.random()))]
                votes.append(ranking.Vote(left, right, outcome, sample, longer))  # type: ignore[arg-type]
    return votes


def ranking_coverage(reps: int) -> dict[str, dict[str, float]]:
    found = {}
    for models, samples, each in ((2, 100, 1), (3, 100, 2), (4, 300, 1), (4, 150, 2), (6, 750, 2)):
        strengths = np.linspace(0.6, -0.6, models)
        counts = Counts()
        for rep in range(reps):
            rng = np.random.default_rng([4, rep, models, samples])
            ranked = ranking.rank(compared(rng, strengths, samples, each, side=0.15, style=0.4, ties=0.8, again=0.4 * (each > 1)))
            for place in ranked.places:
                counts.add("strength", place.strength, strengths[place.model])  # type: ignore[call-overload]
            counts.add("side term", ranked.side, 0.15)
            counts.add("length term", ranked.style, 0.4)
        found[f"{models} models; {samples} samples × {each}"] = counts.shares()
    return found


def ranks_of_equals(reps: int) -> dict[str, float]:
    """How often any of four or six equal models is told apart from another; and how often a side term is seen where none is."""
    told, sided = {4: 0, 6: 0}, 0
    for models in told:
        for rep in range(reps):
            rng = np.random.default_rng([5, rep, models])
            ranked = ranking.rank(compared(rng, np.zeros(models), 300, 1, side=0, style=0, ties=0.8, again=0))
            told[models] += any(place.ranks not in (None, (1, models)) for place in ranked.places)
            sided += not (ranked.side.low or 0) <= 0 <= (ranked.side.high or 0)
    return {f"{n} equal models told apart": told[n] / reps for n in told} | {"side term where none is": sided / reps / len(told)}


# --- side and length --------------------------------------------------------------------------------------------------------------


def side_alarms(reps: int, extra: float, judgements: int = 500, ties: float = 0.2) -> tuple[float, float]:
    """How often the alarm is raised, and the interval's coverage: judgements of which a share are ties, the rest left with ½ + extra."""
    alarms, counts = 0, Counts()
    for rep in range(reps):
        rng = np.random.default_rng([6, rep, judgements])
        decisive = int(rng.binomial(judgements, 1 - ties))
        found = bias.left_share(int(rng.binomial(decisive, 0.5 + extra)), decisive)
        alarms += found.alarm
        counts.add("left", found.share, 0.5 + extra)
    return alarms / reps, counts.shares()["left"]


def win_rate_coverage(reps: int) -> tuple[dict[str, dict[str, float]], float, float]:
    """Coverage by size; of an unclustered interval (the control, which has to fail); and how often length is said to matter where not."""
    skill, slope, lean = 0.3, 0.8, 0.2
    many = np.random.default_rng(7).normal(lean, 0.5, 2_000_000)
    truth = {"win-rate": float((1 / (1 + np.exp(-(skill + slope * many)))).mean()), "controlled win-rate": 1 / (1 + exp(-skill))}
    # The longer one wins: of A where A is longer, of B where not.
    chance = 1 / (1 + np.exp(-(skill + slope * many)))
    truth["longer wins"] = float(np.where(many > 0, chance, 1 - chance).mean())
    found, naive, nothing = {}, Counts(), 0
    for samples, each in ((40, 1), (100, 2), (300, 2)):
        counts = Counts()
        for rep in range(reps):
            votes = won(np.random.default_rng([8, rep, samples]), samples, each, skill, slope, lean, again=0.4 * (each > 1))
            rates = bias.win_rate(votes)
            counts.add("win-rate", rates.raw, truth["win-rate"])
            counts.add("controlled win-rate", rates.controlled, truth["controlled win-rate"])
            counts.add("length effect", rates.effect, 2**slope)
            counts.add("longer wins", bias.longer_wins(votes), truth["longer wins"])
        found[f"{samples} samples × {each}"] = counts.shares()
    for rep in range(reps):
        votes = won(np.random.default_rng([9, rep]), 100, 4, skill, slope, lean, again=0.4)
        naive.add("naive", share(sum(vote.won for vote in votes), len(votes)), truth["win-rate"])
        effect = bias.win_rate(won(np.random.default_rng([10, rep]), 150, 1, skill, 0.0, lean, again=0)).effect
        nothing += not (effect.low or 0) <= 1 <= (effect.high or 0)
    return found, naive.shares()["naive"], nothing / reps


def won(rng: Rng, samples: int, each: int, skill: float, slope: float, lean: float, *, again: float) -> list[bias.Vote]:
    votes: list[bias.Vote] = []
    for sample in range(samples):
        longer = float(rng.normal(lean, 0.5))
        for number in range(each):
            if number and rng.random() < again:
                votes.append(votes[-1])
            else:
                votes.append(bias.Vote(float(rng.random() < 1 / (1 + exp(-(skill + slope * longer)))), longer, sample))
    return votes


# --- raters -----------------------------------------------------------------------------------------------------------------------

RATERS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.65)


def rater_coverage(reps: int) -> dict[str, dict[str, float]]:
    """Coverage of raters' accuracies: six raters, each pair judged by two or three of them."""
    found = {}
    for items, each in ((200, 2), (600, 2), (200, 3)):
        counts = Counts()
        for rep in range(reps):
            rng = np.random.default_rng([11, rep, items, each])
            chosen = np.argsort(rng.random((items, len(RATERS))), axis=1)[:, :each]
            right = rng.random((items, each)) < np.array(RATERS)[chosen]
            votes = [
                reliability.Vote(item, int(rater), "first" if right[item, place] else "second")
                for item in range(items)
                for place, rater in enumerate(chosen[item])
            ]
            flipped = [vote._replace(side=_other(vote.side)) if vote.item % 2 else vote for vote in votes]  # type: ignore[operator]
            posterior = reliability.dawid_skene(flipped)
            for rater, accuracy in enumerate(RATERS):
                counts.add("rater's accuracy", posterior.accuracy[rater], accuracy)
        found[f"{items} pairs × {each} of 6 raters"] = counts.shares()
    return found


def _other(side: str) -> Any:
    return "second" if side == "first" else "first"


# --- soft targets -----------------------------------------------------------------------------------------------------------------

EVEN_RATERS = (0.8,) * 8
UNEVEN_RATERS = (0.97, 0.95, 0.9, 0.85, 0.75, 0.7, 0.66, 0.62)  # 20 % flips on average too


def soft_against_majority(reps: int, *, pairs: int = 600, dimensions: int = 40) -> dict[str, dict[str, dict[str, float]]]:
    """A logistic model of the planted latent reward (linear, 40 dimensions) trained on 600 pairs whose votes are flipped with
    probability 0.2, one to three votes a pair, or one: on majority labels, and on soft targets from resolution.resolve.

    Held-out accuracy against the planted order and log loss of one more rater's vote; means over worlds, and the mean difference in
    accuracy to majority labels with its standard error.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    settings = {"raters alike": (EVEN_RATERS, 3), "raters unalike": (UNEVEN_RATERS, 3), "one vote a pair": (EVEN_RATERS, 1)}
    for name, (accuracies, most) in settings.items():
        worlds = [_world(np.random.default_rng([12, rep]), accuracies, most, pairs, dimensions) for rep in range(reps)]
        found[name] = {}
        for arm in worlds[0]:
            accuracy, loss = np.array([world[arm] for world in worlds]).T
            gain = accuracy - np.array([world["majority labels"][0] for world in worlds])
            found[name][arm] = {
                "accuracy": round(float(accuracy.mean()), 4),
                "log_loss": round(float(loss.mean()), 4),
                "gain": round(float(gain.mean()), 4),
                "gain_se": round(float(gain.std(ddof=1) / np.sqrt(reps)), 4),
            }
    return found


def _world(rng: Rng, accuracies: tuple[float, ...], most: int, pairs: int, dimensions: int) -> dict[str, tuple[float, float]]:
    reward = rng.normal(size=dimensions)
    reward /= np.linalg.norm(reward)
    x = rng.normal(size=(pairs, dimensions))
    margin = x @ reward
    cast: list[list[tuple[int, str]]] = []
    for pair in range(pairs):
        raters = rng.choice(len(accuracies), int(rng.integers(1, most + 1)), replace=False)
        votes = []
        for rater in raters:
            first = (rng.random() < accuracies[rater]) == (margin[pair] > 0)
            # Raters say "much" of large differences, and not quite the same ones; a flipped vote is as strong.
            much = abs(margin[pair]) + rng.normal(0, 0.5) > 0.8
            votes.append((int(rater), f"{'first' if first else 'second'}_{'much' if much else 'slightly'}"))
        cast.append(votes)
    posterior = reliability.dawid_skene(
        reliability.Vote(pair, rater, "first" if verdict.startswith("first") else "second")
        for pair, votes in enumerate(cast)
        for rater, verdict in votes
    )
    weight = reliability.weights(posterior.accuracy)
    firsts = np.array([np.mean([verdict.startswith("first") for _, verdict in votes]) for votes in cast])
    targets = {
        "majority labels": np.where(firsts == 0.5, np.nan, np.round(firsts)),
        "soft targets": _targets(cast, lambda votes: [verdict for _, verdict in votes]),
        "soft targets, strength unsaid": _targets(cast, lambda votes: [f"{verdict.split('_')[0]}_slightly" for _, verdict in votes]),
        "soft targets, raters weighed": _targets(cast, lambda votes: [resolution.Vote(verdict, weight[rater]) for rater, verdict in votes]),
    }
    unseen = rng.normal(size=(4000, dimensions))
    better = unseen @ reward > 0
    voted = np.where(rng.random(4000) < np.mean(accuracies), better, ~better)
    scored = {}
    for name, target in targets.items():
        known = ~np.isnan(target)
        logits = unseen @ _logistic(x[known], target[known])
        scored[name] = (float(np.mean((logits > 0) == better)), float(np.mean(np.logaddexp(0, np.where(voted, -logits, logits)))))
    return scored


def _targets(cast: list[list[tuple[int, str]]], votes_of: Callable[[list[tuple[int, str]]], Iterable[Any]]) -> npt.NDArray[np.float64]:
    found = np.full(len(cast), np.nan)
    for pair, votes in enumerate(cast):
        resolved = resolution.resolve(votes_of(votes))
        if resolved.first_is_chosen is not None:
            found[pair] = resolved.p_chosen if resolved.first_is_chosen else 1 - resolved.p_chosen
    return found


def _logistic(x: Array, target: Array) -> Array:
    """Ridge 0.01: next to none, so that labels and not the ridge decide. Labels that separate would run off without it."""
    beta = np.zeros(x.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        information = x.T @ (x * (p * (1 - p))[:, None]) + 0.01 * np.eye(len(beta))
        step = np.linalg.solve(information, x.T @ (target - p) - 0.01 * beta)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    return beta


def extremes(tables: Iterable[dict[str, dict[str, float]]]) -> dict[str, dict[str, tuple[float, str]]]:
    """The lowest and the highest coverage of each figure, with the setting it was measured in."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for table in tables:
        for setting, shares in table.items():
            for name, value in shares.items():
                found[name].append((value, setting))
    return {name: {"lowest": min(values), "highest": max(values)} for name, values in sorted(found.items())}


def halfwidth(reps: int, coverage: float = 0.95) -> float:
    """How far a measured coverage may lie from the true one, 95 %."""
    return 1.96 * sqrt(coverage * (1 - coverage) / reps)
