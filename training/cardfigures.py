"""The figures of a model card: evaluations with their intervals as table rows and as the Hub's model-index, recipes as YAML."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import yaml

from jobs.errors import Unprepared
from jobs.models import Job
from modelhub.cards import plain
from training import mergekit_yaml, specs
from training.engine import recipes
from training.engine.errors import SpecError
from training.models import Evaluation

# Of a version's own metrics these are pictures of a merge, shown where they can be read.
ELSEWHERE = frozenset({"merge_report", "retention"})
MOST_ROWS = 60
NAMES = {
    "preference_accuracy": "held-out preference accuracy", "style": "win rate in style (planted)",
    "correctness": "win rate in correctness (planted)",
    "recall": "plain questions answered", "recall_reference": "the same, by the reference",
}  # fmt: skip


def found(evaluation: Evaluation) -> Iterator[tuple[str, str, dict[str, float]]]:
    """(the Hub's metric id, name, {"value", "low", "high", "n"}) of every share that an evaluation measured."""
    results = evaluation.results
    for key in ("preference_accuracy", "style", "correctness"):
        if _share(results.get(key)):
            yield "accuracy" if key == "preference_accuracy" else "win_rate", NAMES[key], results[key]
    for key in ("recall", "recall_reference"):
        for domain, share in (results.get(key) or {}).items():
            if _share(share):
                yield "accuracy", f"{NAMES[key]}, {'all domains' if domain == 'all' else domain}", share
    for corpus, compared in (results.get("choices") or {}).items():
        for side in ("policy", "reference"):
            share = compared.get("accuracy", {}).get(side)
            if isinstance(share, dict) and "value" in share:
                name = f"right of four about {corpus}{', by the reference' if side == 'reference' else ''}"
                yield "accuracy", name, {"n": compared.get("questions", 0), **share}


def _share(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("value"), int | float) and math.isfinite(value["value"])


def rows(evaluation: Evaluation) -> Iterator[str]:
    """A Markdown table's rows: figure, against whom, value, interval, n."""
    marked = " (simulated)" if evaluation.simulated else ""
    for _, name, share in found(evaluation):
        between = f"{share['low']:.3f} to {share['high']:.3f}" if "low" in share and "high" in share else "not told"
        yield f"| {plain(name)}{marked} | {plain(evaluation.reference.name)} | {share['value']:.3f} | {between} | {share.get('n', '')} |"


def index(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """The results of a model-index. What was asked of is named by digest: it is no public data set, and has no name on the Hub."""
    made = []
    for evaluation in evaluations:
        metrics = [
            {"type": kind, "value": round(float(share["value"]), 4), "name": name}
            for kind, name, share in found(evaluation)
            if not name.endswith("by the reference")
        ]
        if not metrics:
            continue
        snapshot = evaluation.snapshot
        marked = ", simulated" if evaluation.simulated else ""
        named = f"Rounds snapshot {snapshot.digest[:12]}, evaluation split{marked}" if snapshot else f"Rounds held-out questions{marked}"
        made.append(
            {
                "task": {"type": "text-generation"},
                "dataset": {"type": "rounds-snapshot" if snapshot else "rounds-questions", "name": named, "split": "evaluation"},
                "metrics": metrics,
            }
        )
    return made


def training_rows(metrics: dict[str, Any]) -> list[str]:
    """What training itself recorded, flat, as rows of figure and value."""
    return [f"| {plain(name)} | {plain(value)} |" for name, value in _flat(metrics)][:MOST_ROWS]


def _flat(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in metrics.items():
        if not prefix and name in ELSEWHERE:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool) or value is None:
            yield f"{prefix}{name}", {True: "yes", False: "no", None: "none"}[value]
        elif isinstance(value, float):
            yield f"{prefix}{name}", f"{value:.4g}"
        elif isinstance(value, int | str) and len(str(value)) <= 80:
            yield f"{prefix}{name}", str(value)


def as_mergekit(job: Job) -> str:
    """A merge as mergekit's YAML, its models by the names they have here; empty for what that YAML cannot say."""
    names: dict[str, str] = {}
    for reference, one in job.spec.get("models", {}).items():
        with suppress(Unprepared):
            names[reference] = specs.version_of(one).name
    try:
        raw = recipes.as_json(recipes.parse(job.spec["params"]))
        return mergekit_yaml.write(recipes.parse(_renamed(raw, names)))
    except (SpecError, ValueError, KeyError):
        return ""


def _renamed(raw: Any, names: dict[str, str]) -> Any:
    """A recipe's JSON with other names for its models; steps keep theirs."""
    made = dict(raw)
    if made.get("base"):
        made["base"] = names.get(made["base"], made["base"])
    made["inputs"] = [one | {"model": names.get(one["model"], one["model"])} for one in made["inputs"]]
    if "steps" in made:
        made["steps"] = {name: _renamed(step, names) for name, step in made["steps"].items()}
    return made


def as_yaml(params: dict[str, Any]) -> str:
    """A recipe's parameters, in their own order."""
    return yaml.safe_dump(json.loads(json.dumps(params)), sort_keys=False, allow_unicode=True, width=100)
