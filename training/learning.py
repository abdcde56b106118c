"""Would more judgements help? A run on all prompts beside one on half of them, on the same held-out pairs."""

import math
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString

from annotation import estimates
from training import preflight
from training.models import Evaluation, Run
from web.charts import Series, line_chart

# A gain of doubling the judgements that is not worth a clinician's time, in points of accuracy.
WORTH = 0.02


@dataclass(frozen=True)
class Point:
    """One run: pairs it trained on, its share of held-out pairs ordered as the raters did (with n), and its held-out loss."""

    run: Run
    pairs: int
    accuracy: estimates.Estimate
    loss: float | None


@dataclass(frozen=True)
class LearningCurve:
    half: Point
    whole: Point
    held_out: str  # which pairs the figures are on
    verdict: str

    @property
    def points(self) -> list[Point]:
        return [self.half, self.whole]

    @property
    def chart(self) -> SafeString | str:
        """Nothing while there are too few held-out pairs for a figure."""
        known = [(float(point.pairs), point.accuracy) for point in self.points if point.accuracy.value is not None]
        if len(known) < 2:
            return ""
        line = Series(
            "held out",
            [(pairs, found.value or 0.0) for pairs, found in known],
            [(pairs, found.low or 0.0, found.high or 0.0) for pairs, found in known],
        )
        return line_chart([line], title="Learning curve", x_label="training pairs", y_label="share of held-out pairs")


def of(run: Run) -> LearningCurve | None:
    """Of a whole run or of its half; None until both have made their models."""
    whole = run.half_of or run
    half = getattr(whole, "half", None)
    if half is None or whole.output is None or half.output is None or whole.snapshot is None:
        return None
    compared = _compared(whole, half)
    points = [_evaluated(each, found) for each, found in zip((half, whole), compared, strict=True)] if compared else [
        _validated(each) for each in (half, whole)
    ]  # fmt: skip
    held_out = "the evaluation split" if compared else "the validation split"
    return LearningCurve(half=points[0], whole=points[1], held_out=held_out, verdict=_verdict(points[0].accuracy, points[1].accuracy))


def _compared(whole: Run, half: Run) -> list[dict[str, Any]] | None:
    """Both models' accuracies on the snapshot's evaluation split, where both were evaluated against what they started from."""
    done = Evaluation.objects.filter(snapshot=whole.snapshot, reference=whole.policy, finished_at__isnull=False)
    found: dict[int | None, Any] = {
        each.policy_id: each.results["preference_accuracy"] for each in done.order_by("pk") if "preference_accuracy" in each.results
    }
    both = [found[each.output_id] for each in (half, whole) if each.output_id in found]
    return both if len(both) == 2 else None


def _evaluated(run: Run, accuracy: dict[str, Any]) -> Point:
    known = estimates.Estimate(accuracy["value"], accuracy["low"], accuracy["high"], accuracy["n"])
    return Point(
        run, _pairs(run), known if accuracy["n"] >= estimates.FLOOR else estimates.hidden(accuracy["n"], estimates.TOO_SMALL), None
    )


def _validated(run: Run) -> Point:
    measured = run.output.metrics if run.output else {}
    n, share = int(measured.get("validation_pairs", 0)), measured.get("validation_accuracy")
    known = estimates.share(float(share) * n, n) if share is not None else estimates.hidden(n, estimates.TOO_SMALL)
    return Point(run, _pairs(run), known, measured.get("validation_loss"))


def _pairs(run: Run) -> int:
    """As its trainer counted them; before it said so, as the snapshot does."""
    counted = run.output.metrics.get("pairs") if run.output else None
    return int(counted or (preflight.train_pairs(run.snapshot) if run.snapshot else 0))


def _verdict(half: estimates.Estimate, whole: estimates.Estimate) -> str:
    """In words, from the difference's 95 % interval by Newcombe's hybrid of two Wilson intervals (Stat. Med. 17, 1998, method 10).

    Both are measured on the same pairs, which the interval does not use: it errs to the wide side.
    """
    if half.value is None or whole.value is None or None in (half.low, half.high, whole.low, whole.high):
        return f"n too small: {min(half.n, whole.n)} held-out pairs, and at least {estimates.FLOOR} are needed to say anything."
    gain = whole.value - half.value
    low = gain - math.hypot(whole.value - (whole.low or 0), (half.high or 1) - half.value)
    high = gain + math.hypot((whole.high or 1) - whole.value, half.value - (half.low or 0))
    said = f"Twice the judgements changed it by {_points(gain)} points ({_points(low)} to {_points(high)})."
    if low > 0:
        return f"{said} More judgements are worth asking for; the next doubling usually brings less than the last."
    if high < WORTH:
        return f"{said} More judgements of the same kind would hardly help."
    return f"{said} n too small to say whether more judgements would help."


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
