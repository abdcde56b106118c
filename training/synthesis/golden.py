"""A golden set: instructions that clinicians scored, for a judge to be held against before it is believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import agreement, estimates
from annotation.agreement import Rating
from annotation.estimates import Array, Estimate
from training.engine.grammar.grid import CRITERIA, HIGHEST, LOWEST
from training.synthesis.models import GoldScore, ItemState, SynthesisItem, SynthesisRun

# So many instructions of a run are offered for scoring, one of each task in turn.
OFFERED = 50
SCALE = tuple(range(LOWEST, HIGHEST + 1))


@transaction.atomic
def score(*, item: SynthesisItem, rater: User, scores: dict[str, int]) -> GoldScore:
    """Keep a clinician's scores of all five criteria; scoring again replaces them. Raises ValueError for others."""
    if set(scores) != set(CRITERIA) or not all(value in SCALE for value in scores.values()):
        raise ValueError("Five criteria, from 1 to 4.")
    kept, _ = GoldScore.objects.update_or_create(item=item, rater=rater, defaults={"scores": scores})
    audit.record(rater, "synthesis.gold_scored", kept, item=item.pk)
    return kept


def next_for(rater: User) -> SynthesisItem | None:
    """The next judged instruction that this person has not scored: of the newest run, in the order of its draws, which is random."""
    for run in SynthesisRun.objects.filter(items__mean__isnull=False).distinct().order_by("-pk")[:20]:
        judged = run.items.filter(mean__isnull=False, state=ItemState.DONE).order_by("number")[:OFFERED]
        for item in judged.prefetch_related("gold"):
            if all(gold.rater_id != rater.pk for gold in item.gold.all()):
                return item
    return None


def scored_by(rater: User) -> int:
    return GoldScore.objects.filter(rater=rater).count()


@dataclass(frozen=True)
class Kept:
    """How one judge agrees with clinicians on one criterion. `kappa` is Cohen's, quadratically weighted, `ac2` Gwet's; `n` scores."""

    criterion: str
    n: int
    kappa: Estimate
    ac2: Estimate


def agreement_of(run: SynthesisRun) -> list[Kept]:
    """The run's judge against every clinician's scores of instructions that the same judge scored by the same prompt, in any run."""
    gold = GoldScore.objects.filter(
        item__mean__isnull=False, item__run__judge=run.judge, item__run__prompts__judge=run.prompts.get("judge")
    ).select_related("item")
    rows = [(row.item_id, row.rater_id, row.item.scores, row.scores) for row in gold]
    return [_agreement(name, rows) for name in CRITERIA]


def _agreement(name: str, rows: Sequence[tuple[int, int, dict[str, Any], dict[str, Any]]]) -> Kept:
    pairs = [(_whole(judged[name]), int(given[name])) for _, _, judged, given in rows]
    ratings = [
        rating
        for (item, rater, _, _), (ours, theirs) in zip(rows, pairs, strict=True)
        for rating in (Rating((item, rater), "judge", ours, item), Rating((item, rater), "clinician", theirs, item))
    ]
    return Kept(name, len(pairs), kappa(pairs, [item for item, *_ in rows]), agreement.gwet_ac2(agreement.tabulate(ratings, SCALE)))


def _whole(mean: float) -> int:
    """A mean of draws as the whole score it is nearest to; halves go up."""
    return min(HIGHEST, max(LOWEST, int(mean + 0.5)))


def kappa(pairs: Sequence[tuple[int, int]], clusters: Sequence[int], *, floor: int = estimates.FLOOR) -> Estimate:
    """Cohen's kappa of two raters' whole scores with quadratic weights (Psychol. Bull. 70, 1968): 1 − Σ w·o / Σ w·e, w = (i − j)².

    Whole clusters are redrawn for the interval: several clinicians may have scored one instruction. Where fewer than eight clusters
    disagree, redrawing cannot show how many do in truth; the interval is then as wide at least as that of the share that agrees, each
    disagreement costing what it does on average. Hidden below `floor` pairs, or where both gave one and the same score throughout.
    """
    if not pairs:
        return estimates.hidden(0, estimates.TOO_SMALL)
    given = np.array(pairs, dtype=float)
    used = [(given[:, side, None] == np.array(SCALE)).astype(float) for side in (0, 1)]
    apart = (given[:, 0] - given[:, 1]) ** 2
    weights = np.subtract.outer(np.array(SCALE, dtype=float), np.array(SCALE)) ** 2
    of = estimates.numbered(clusters)
    sums = estimates.summed(np.hstack([apart[:, None], *used, np.ones((len(pairs), 1))]), of)

    def expected(totals: Array) -> Array:
        one, other, n = totals[:, 1 : 1 + len(SCALE)], totals[:, 1 + len(SCALE) : -1], totals[:, -1]
        found: Array = np.einsum("mi,ij,mj->m", one, weights, other) / n**2
        return found

    def coefficient(totals: Array) -> Array:
        by_chance = expected(totals)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = 1 - totals[:, 0] / totals[:, -1] / by_chance
        return np.where(by_chance > 1e-12, found, np.nan)

    found = estimates.over_clusters(sums, coefficient, n=len(pairs), floor=floor)
    if found.low is None or found.high is None or len(set(of[apart > 0].tolist())) >= agreement.FEW:
        return found
    cost = float(apart[apart > 0].mean()) if apart.any() else 1.0
    share = estimates.clustered_share(estimates.summed((apart == 0).astype(float)[:, None], of)[:, 0], sums[:, -1], floor=1)
    if share.low is None or share.high is None:
        return found
    low, high = (1 - (1 - end) * cost / float(expected(sums.sum(axis=0)[None])[0]) for end in (share.low, share.high))
    return found._replace(low=min(found.low, low), high=max(found.high, high))
