"""Which model is preferred, and how surely: Davidson's Bradley–Terry model with a side and a length term. Pure: values in, values out.

d = s_L − s_R + γ + β·(x_L − x_R); P(left) = e^{d/2} / Z, P(right) = e^{−d/2} / Z, P(tie) = ν / Z, Z = e^{d/2} + e^{−d/2} + ν
(Davidson, J. Am. Stat. Assoc. 65, 1970; the side term as in Davidson & Beaver, Biometrics 33, 1977).
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import exp, log
from typing import Literal, NamedTuple

import numpy as np

from annotation.estimates import (
    NORMAL,
    TOO_SMALL,
    UNDEFINED,
    Array,
    Estimate,
    Numbers,
    chain,
    hidden,
    numbered,
    share,
    student,
    student95,
    summed,
)

FLOOR = 30  # votes a model needs before its strength is shown
NOT_CONNECTED = "not compared with all others"
NOT_CONVERGED = "did not converge"
# Keeps strengths finite where a model won or lost everything: a normal prior of standard deviation 10 logits, far wider than any real gap.
RIDGE = 0.01
ELO = 400 / log(10)


class Vote(NamedTuple):
    """One judgement: the models on the left and right, how it ended, and how much longer the left text was (see bias.log_ratio).

    "both_unacceptable" is a tie to the model, and is counted apart. `cluster` is the sample behind the pair.
    """

    left: Hashable
    right: Hashable
    outcome: Literal["left", "right", "tie", "both_unacceptable"]
    cluster: Hashable
    longer: float = 0.0
    weight: float = 1.0


class Place(NamedTuple):
    """A model's strength in logits (the mean model is 0), as Elo points (the mean is 1000), and the ranks it may hold: (1, 3) reads "1–3".

    `ranks` is None where no strength is shown. Its ends are equal only when no other interval overlaps this one.
    """

    model: Hashable
    votes: int
    strength: Estimate
    elo: Estimate
    ranks: tuple[int, int] | None


class Ranking(NamedTuple):
    """Strongest first. `side` is γ (above 0: the left is favoured), `style` β; `ties` is ν. `note` says why nothing is shown."""

    places: list[Place]
    side: Estimate
    style: Estimate
    ties: float | None
    both_unacceptable: Estimate
    clusters: int
    note: str = ""


def rank(votes: Sequence[Vote], *, side: bool = True, style: bool = True, floor: int = FLOOR) -> Ranking:
    """Fit by penalised maximum likelihood (Newton; the likelihood is concave) and say what may be said.

    Intervals are clustered sandwiches (Liang & Zeger, Biometrika 73, 1986; n/(n−1), Student's t): votes of one sample may repeat one
    another. Nothing is shown unless comparisons join all models (union-find); a model needs `floor` votes to be shown.
    Raises ValueError when a model meets itself or a weight is negative.
    """
    if any(vote.left == vote.right or vote.weight < 0 for vote in votes):
        raise ValueError("A comparison needs two different models and a weight of at least 0.")
    votes = [vote for vote in votes if vote.weight > 0]
    models = sorted({model for vote in votes for model in (vote.left, vote.right)}, key=str)
    seen = Counter(model for vote in votes for model in (vote.left, vote.right))
    clusters = numbered(vote.cluster for vote in votes)
    count = int(clusters.max()) + 1 if votes else 0
    bad = share(sum(vote.outcome == "both_unacceptable" for vote in votes), len(votes), floor=floor)
    n = len(votes)

    def nothing(note: str) -> Ranking:
        empty = hidden(n, note)
        places = [Place(model, seen[model], hidden(seen[model], note), hidden(seen[model], note), None) for model in models]
        return Ranking(places, empty, empty, None, bad, count, note)

    if len(models) < 2 or count < 3:
        return nothing(TOO_SMALL)
    if not connected(models, ((vote.left, vote.right) for vote in votes)):
        return nothing(NOT_CONNECTED)
    if all(vote.outcome in ("tie", "both_unacceptable") for vote in votes):
        return nothing(UNDEFINED)
    style = style and len({vote.longer for vote in votes}) > 1
    inputs = _inputs(votes, models, side=side, style=style)
    fitted = _fit(inputs, votes, clusters)
    if fitted is None:
        return nothing(NOT_CONVERGED)
    beta, covariance, nu = fitted
    half = student95(count - 1) * np.sqrt(np.diag(covariance))
    k = len(models)

    def estimate(position: int, amount: int) -> Estimate:
        value = float(beta[position])
        return Estimate(value, value - float(half[position]), value + float(half[position]), amount)

    shown = [estimate(i, seen[model]) if seen[model] >= floor else hidden(seen[model], TOO_SMALL) for i, model in enumerate(models)]
    # Among equal models 95 % intervals fall apart somewhere more often than one time in twenty: two ranks are told apart only if the
    # difference is sure among all differences (Bonferroni), too.
    sure = student(NORMAL.inv_cdf(1 - 0.025 / (k * (k - 1) / 2)), count - 1)

    def above(i: int, j: int) -> bool:
        spread = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
        return bool(beta[i] - beta[j] > sure * np.sqrt(max(spread, 0.0)))

    ranks = rank_ranges(shown, above)
    places = [
        Place(model, seen[model], strength, chain(strength, lambda s: ELO * s + 1000), ranks[i])
        for i, (model, strength) in enumerate(zip(models, shown, strict=True))
    ]
    places.sort(key=lambda place: (place.strength.value is None, -(place.strength.value or 0.0), str(place.model)))
    enough = n >= floor
    gamma = estimate(k, n) if side and enough else hidden(n, TOO_SMALL if side else "not asked for")
    slope = estimate(k + side, n) if style and enough else hidden(n, TOO_SMALL if style else UNDEFINED)
    return Ranking(places, gamma, slope, nu, bad, count)


def connected(models: Iterable[Hashable], pairs: Iterable[tuple[Hashable, Hashable]]) -> bool:
    """Whether the comparisons join all models, directly or through others."""
    above = {model: model for model in models}

    def root(model: Hashable) -> Hashable:
        while above[model] != model:
            above[model] = above[above[model]]
            model = above[model]
        return model

    for left, right in pairs:
        above[root(left)] = root(right)
    return len({root(model) for model in above}) <= 1


def _inputs(votes: Sequence[Vote], models: Sequence[Hashable], *, side: bool, style: bool) -> Array:
    """Of each vote the row z with d = z·β: +1 for the left model, −1 for the right, then the side's 1 and the difference in length."""
    places = {model: place for place, model in enumerate(models)}
    inputs = np.zeros((len(votes), len(models) + side + style))
    rows = np.arange(len(votes))
    inputs[rows, [places[vote.left] for vote in votes]] = 1
    inputs[rows, [places[vote.right] for vote in votes]] = -1
    if side:
        inputs[:, len(models)] = 1
    if style:
        inputs[:, -1] = [vote.longer for vote in votes]
    return inputs


def _fit(inputs: Array, votes: Sequence[Vote], clusters: Numbers) -> tuple[Array, Array, float] | None:
    """Coefficients, their clustered covariance, and ν. Strengths come out with sum 0, which is where the ridge is least."""
    weight = np.array([vote.weight for vote in votes])
    won = np.array([{"left": 1.0, "right": -1.0}.get(vote.outcome, 0.0) for vote in votes])
    tied = (won == 0).astype(float)
    ties = bool(tied.any())
    p = inputs.shape[1]
    penalty = np.full(p + ties, RIDGE)
    beta, eta = np.zeros(p), 0.0

    def likelihood(beta: Array, eta: float) -> tuple[float, Array, Array]:
        """ln likelihood less the ridge, and of each vote P(left) − P(right) and P(tie)."""
        d = np.clip(inputs @ beta, -60, 60)
        parts = np.stack([np.exp(d / 2), np.exp(-d / 2), np.full(len(d), exp(eta) if ties else 0.0)])
        chances = parts / parts.sum(axis=0)
        got = np.where(won > 0, chances[0], np.where(won < 0, chances[1], chances[2]))
        ridge = RIDGE / 2 * (float(beta @ beta) + eta**2)
        return float(weight @ np.log(np.maximum(got, 1e-300))) - ridge, chances[0] - chances[1], chances[2]

    value, lead, tie = likelihood(beta, eta)
    for _ in range(100):
        scores = inputs * (weight * (won - lead) / 2)[:, None]
        information = inputs.T @ (inputs * (weight * (1 - tie - lead**2) / 4)[:, None])
        if ties:
            scores = np.hstack([scores, (weight * (tied - tie))[:, None]])
            cross = inputs.T @ (weight * -lead * tie / 2)
            information = np.block([[information, cross[:, None]], [cross[None], np.array([[weight @ (tie * (1 - tie))]])]])
        information = information + np.diag(penalty)
        now = np.concatenate([beta, [eta]]) if ties else beta
        slope = scores.sum(axis=0) - penalty * now
        step = np.linalg.solve(information, slope)
        if np.abs(step).max() < 1e-9:
            break
        # Halved until the likelihood does not fall: far from the top Newton's step can be too long.
        for halving in range(30):
            there = now + step / 2**halving
            tried = likelihood(there[:p], float(there[p]) if ties else 0.0)
            if tried[0] >= value - 1e-12:
                break
        beta, eta, (value, lead, tie) = there[:p], float(there[p]) if ties else 0.0, tried
    else:
        return None
    sums = summed(scores, clusters)
    count = len(sums)
    bread = np.linalg.inv(information)
    covariance = bread @ (sums.T @ sums) @ bread * count / (count - 1)
    return beta, covariance[:p, :p], exp(eta) if ties else 0.0


def rank_ranges(strengths: Sequence[Estimate], above: Callable[[int, int], bool] = lambda i, j: True) -> list[tuple[int, int] | None]:
    """For each strength the best and the worst rank it may hold among the shown ones: (1, 3) while three intervals overlap. `above` says
    of two places (the first with the higher interval) whether they are told apart at all.
    """
    found: list[tuple[int, int] | None] = []
    for i, mine in enumerate(strengths):
        if mine.low is None or mine.high is None:
            found.append(None)
            continue
        better = sum(other.low is not None and other.low > mine.high and above(j, i) for j, other in enumerate(strengths))
        worse = sum(other.high is not None and other.high < mine.low and above(i, j) for j, other in enumerate(strengths))
        found.append((1 + better, sum(other.value is not None for other in strengths) - worse))
    return found


def plain(votes: Sequence[Vote]) -> dict[Hashable, float]:
    """Elo points as arenas print them, for comparison only: Bradley–Terry by evalica with ties as half wins, no side, no length, no
    interval. Empty unless comparisons join all models. evalica brings pandas, so it is imported here and not at start.
    """
    votes = [vote for vote in votes if vote.weight > 0]
    models = {model for vote in votes for model in (vote.left, vote.right)}
    if len(models) < 2 or not connected(models, ((vote.left, vote.right) for vote in votes)):
        return {}
    import evalica

    winners = {"left": evalica.Winner.X, "right": evalica.Winner.Y}
    result = evalica.bradley_terry(
        [vote.left for vote in votes],
        [vote.right for vote in votes],
        [winners.get(vote.outcome, evalica.Winner.Draw) for vote in votes],
        weights=[vote.weight for vote in votes],
        tolerance=1e-10,
        limit=10_000,
    )
    strengths = {model: log(score) for model, score in result.scores.items()}
    mean = sum(strengths.values()) / len(strengths)
    return {model: ELO * (strength - mean) + 1000 for model, strength in strengths.items()}
