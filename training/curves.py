"""Curves and bars of runs and evaluations, as the pages show them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Avg, F, Max
from django.utils.safestring import SafeString

from training.models import Evaluation, MetricPoint, Run
from web.charts import Series, bar_chart, line_chart

# One chart a row: title, y label, and its lines as (metric, name at the line).
CHARTS = (
    ("Loss", "nats", (("loss", "training"), ("eval_loss", "held out"))),
    ("Reward accuracy", "share of pairs", (("rewards/accuracies", "training"), ("eval_rewards/accuracies", "held out"))),
    ("Reward margin", "chosen − rejected", (("rewards/margins", "training"), ("eval_rewards/margins", "held out"))),
    ("Log-probability", "sum over the answer", (("logps/chosen", "chosen"), ("logps/rejected", "rejected"))),
    ("Distance from the start", "KL, nats a token", (("kl", "fixed prompts"),)),
    ("Gradient norm", "before clipping", (("grad_norm", "training"),)),
    ("Length of answers", "tokens, mean", (("sample_tokens", "fixed prompts"),)),
    ("Best merge so far", "share right on validation questions", (("search_best", "best so far"), ("search_score", "candidate"))),
    ("Choosing t", "validation score", (("validation", "score"),)),
)
# What two runs are laid over each other in: held out where there is any, else training.
OVERLAID = (
    ("Loss", "nats", ("eval_loss", "loss")),
    ("Reward accuracy", "share of pairs", ("eval_rewards/accuracies", "rewards/accuracies")),
    ("Reward margin", "chosen − rejected", ("eval_rewards/margins", "rewards/margins")),
    ("Log-probability of chosen answers", "sum over the answer", ("logps/chosen",)),
    ("Distance from the start", "KL, nats a token", ("kl",)),
    ("Length of answers", "tokens, mean", ("sample_tokens",)),
)
# More points than a 640-pixel chart can show are averaged in windows.
MOST_POINTS = 200

Curves = Mapping[str, Sequence[tuple[int, float]]]


def of_run(run: Run) -> Curves:
    """(step, value) of every metric of a run, in order: as measured, or of long runs the means of MOST_POINTS equal windows, each at its
    window's last step. Two questions to the database, however long the run is."""
    points = MetricPoint.objects.filter(run=run)
    last = points.aggregate(last=Max("step"))["last"] or 0
    width = last // MOST_POINTS + 1
    windows = points.values("name", window=F("step") / width).annotate(step=Max("step"), value=Avg("value")).order_by("step")
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for name, step, value in windows.values_list("name", "step", "value"):
        curves[name].append((step, value))
    return curves


def charts(curves: Curves) -> list[SafeString]:
    drawn = []
    for title, label, lines in CHARTS:
        series = [Series(name, _floats(curves[metric])) for metric, name in lines if curves.get(metric)]
        if series:
            drawn.append(line_chart(series, title=title, x_label="step", y_label=label))
    return drawn


def overlaid(runs: Sequence[tuple[str, Curves]]) -> list[SafeString]:
    """Charts with a line a run (at most four). A metric is shown when every run has it, held out before training."""
    drawn = []
    for title, label, metrics in OVERLAID:
        metric = next((name for name in metrics if all(curves.get(name) for _, curves in runs)), None)
        if metric:
            which = f"{title}, {'held out' if metric.startswith('eval_') else 'training'}" if len(metrics) > 1 else title
            drawn.append(
                line_chart([Series(name, _floats(curves[metric])) for name, curves in runs], title=which, x_label="step", y_label=label)
            )
    return drawn


def _floats(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    return [(float(step), value) for step, value in points]


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
