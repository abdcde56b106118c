"""A golden set: instructions that clinicians scored, for a judge to be held against before it is believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import agreement
from annotation.agreement import Rating
from annotation.estimates import Estimate
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
    """How one judge agrees with clinicians on one criterion. `kappa` is Cohen's, quadratically weighted; `ac2` Gwet's with its interval."""

    criterion: str
    n: int
    kappa: float | None
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
    return Kept(name, len(pairs), kappa(pairs), agreement.gwet_ac2(agreement.tabulate(ratings, SCALE)))


def _whole(mean: float) -> int:
    """A mean of draws as the whole score it is nearest to; halves go up."""
    return min(HIGHEST, max(LOWEST, int(mean + 0.5)))


def kappa(pairs: Sequence[tuple[int, int]]) -> float | None:
    """Cohen's kappa of two raters' whole scores with quadratic weights (Psychol. Bull. 70, 1968): 1 − Σ w·o / Σ w·e, w = (i − j)².

    None for no pairs, or where one score alone was ever given by both.
    """
    if not pairs:
        return None
    seen = sum((a - b) ** 2 for a, b in pairs) / len(pairs)
    expected = sum((a - b) ** 2 for a, _ in pairs for _, b in pairs) / len(pairs) ** 2
    return 1 - seen / expected if expected else None
