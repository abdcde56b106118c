"""Curves and bars of runs and evaluations, as the pages show them."""

from collections import defaultdict
from typing import Any

from django.utils.safestring import SafeString

from training import health
from training.models import Evaluation, MetricPoint, Run
from web.charts import Series, bar_chart, line_chart

# One chart a row: title, y label, and its lines as (metric, name at the line).
CHARTS = (
    ("Loss", "nats", (("loss", "training"), ("eval_loss", "held out"))),
    ("Reward accuracy", "share of pairs", (("rewards/accuracies", "training"), ("eval_rewards/accuracies", "held out"))),
    ("Reward margin", "chosen − rejected", (("rewards/margins", "training"), ("eval_rewards/margins", "held out"))),
    ("Log-probability", "sum over the answer", (("logps/chosen", "chosen"), ("logps/rejected", "rejected"))),
    ("Choosing t", "validation score", (("validation", "score"),)),
)
# More points than a 640-pixel chart can show are averaged in windows.
MOST_POINTS = 200


def of_run(run: Run) -> dict[str, Any]:
    """Charts of what a run measured so far, and what they say in plain words."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for name, step, value in MetricPoint.objects.filter(run=run).order_by("step").values_list("name", "step", "value"):
        curves[name].append((step, value))
    return {
        "charts": charts(curves),
        "verdict": health.verdict(curves, beta=float(run.params.get("beta") or 0.1)),
        "steps": max((steps[-1][0] for steps in curves.values()), default=0),
    }


def charts(curves: dict[str, list[tuple[int, float]]]) -> list[SafeString]:
    drawn = []
    for title, label, lines in CHARTS:
        series = [Series(name, thinned(curves[metric])) for metric, name in lines if curves.get(metric)]
        if series:
            drawn.append(line_chart(series, title=title, x_label="step", y_label=label))
    return drawn


def thinned(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS points: means of equal windows, each at its window's last step. Nothing is smoothed below that."""
    width = -(-len(points) // MOST_POINTS)
    windows = [points[start : start + width] for start in range(0, len(points), width)] if width > 1 else [[point] for point in points]
    return [(float(window[-1][0]), sum(value for _, value in window) / len(window)) for window in windows]


def of_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Figures with intervals: preference accuracy, what changed in style and in correctness, and what was remembered."""
    results = evaluation.results
    accuracy = results.get("preference_accuracy")
    wins = [(name, results[key]) for name, key in (("Safe closing", "style"), ("Correct answer", "correctness")) if key in results]
    held_out = "Preference accuracy on held-out pairs"
    return {
        "accuracy": accuracy,
        "accuracy_chart": _bars([("Policy", accuracy)], held_out, "share of pairs", (0.5, "coin")) if accuracy else "",
        "wins_chart": _bars(wins, "After against before, equal counted half", "win rate", (0.5, "no change")) if wins else "",
        "recall_chart": _recall(results),
        "recall": results.get("recall", {}).get("all"),
        "recall_reference": results.get("recall_reference", {}).get("all"),
    }


def _bars(rows: list[tuple[str, dict[str, float]]], title: str, label: str, reference: tuple[float, str] | None = None) -> SafeString:
    return bar_chart([(name, row["value"], row["low"], row["high"]) for name, row in rows], title=title, x_label=label, reference=reference)


def _recall(results: dict[str, Any]) -> SafeString | str:
    before, after = results.get("recall_reference"), results.get("recall")
    if not before or not after:
        return ""
    rows = []
    for domain in after:
        name = "all domains" if domain == "all" else domain
        rows += [(f"{name}, before", before[domain]), (f"{name}, after", after[domain])]
    return _bars(rows, "Plain questions answered exactly", "share of questions")
