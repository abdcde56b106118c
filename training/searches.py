"""Searches for a merge's numbers: CMA-ES on validation questions, ending in the best merge found as a version."""

import importlib.util
import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from django.db import IntegrityError, transaction

from accounts.models import User
from jobs.models import State
from modelhub.models import Kind, ModelVersion
from training import footprints, preflight, runs, specs
from training.engine import presets
from training.estimates import ONE_RUN, OTHER_RUNS, Estimate
from training.models import Run
from training.preflight import Check
from training.runs import Refused

# Fewer candidates than a few generations are chance.
FEWEST, USUAL, MOST = 13, 100, 2000
MOST_EXPERTS = 12
MOST_PAST = 10
# What a question and its answer take, about, and how long everything around the evaluations does: imports, reading, writing.
QUESTION_TOKENS, AROUND = 45, (8.0, 40.0)
DOMAINS = 5


@transaction.atomic
def start(
    *, base: ModelVersion, experts: Sequence[ModelVersion], method: str, name: str, actor: User | None, evaluations: int = USUAL,
    seconds: float | None = None, questions: int = 32, seed: int = 1,
) -> Run:  # fmt: skip
    """Queue a search over every expert's numbers of one method, from the method's usual ones; its best merge becomes version `name`.

    Raises KeyError for a method that is not searched, SpecError for a wrong number, and Refused when the models or the name cannot be used.
    """
    params = params_of(experts=experts, method=method, evaluations=evaluations, seconds=seconds, questions=questions)
    specs.check("search", params)
    if stops := [check for check in of_models(base=base, experts=experts, name=name) if check.stops]:
        raise Refused(stops)
    named = {reference: {"version": version.pk} for reference, version in zip(references(experts), experts, strict=True)}
    try:
        with transaction.atomic():
            run = runs.build(
                kind="search", name=name, label=f"Search {name}", params=params, models={"base": {"version": base.pk}, **named}, seed=seed,
                publish={
                    "kind": Kind.MERGED, "toy": True, "simulated": False,
                    "roles": {"base": "base", **{reference: f"expert:{reference}"[:40] for reference in named}},
                    "notes": "Its numbers were searched on validation questions.",
                },
                waits_for=[], preset=f"search-{method}"[:30], actor=actor,
            )  # fmt: skip
    except IntegrityError:
        raise Refused([preflight.taken(name)]) from None
    run.estimate = estimate(
        base=base, experts=experts, method=method, evaluations=evaluations, seconds=seconds, questions=questions
    ).as_json()
    run.save(update_fields=["estimate"])
    return run


def references(experts: Sequence[ModelVersion]) -> list[str]:
    """What the recipe calls each expert: its version's name, which is its own for ever."""
    return [expert.name for expert in experts]


def params_of(
    *, experts: Sequence[ModelVersion], method: str, evaluations: int, seconds: float | None, questions: int
) -> dict[str, Any]:  # fmt: skip
    """The engine's, with the method's usual start and ranges (training/engine/presets.py). Raises KeyError."""
    preset = presets.SEARCH[method]
    inputs = [{"model": reference, "parameters": dict(preset["start"])} for reference in references(experts)]
    return {
        "recipe": {"method": method, "base": "base", "inputs": inputs}, "ranges": preset["ranges"], "evaluations": evaluations,
        "seconds": seconds, "questions": questions,
    }  # fmt: skip


def checks(*, base: ModelVersion, experts: Sequence[ModelVersion], name: str) -> list[Check]:
    """Every line of the preflight."""
    return [*of_models(base=base, experts=experts, name=name), *preflight.of_house(base), _library()]


def of_models(*, base: ModelVersion, experts: Sequence[ModelVersion], name: str) -> list[Check]:
    """What cannot become true by waiting. The engine compares configurations and tensors as it begins."""
    return [_experts(base, experts), _toys(base, experts), _files(base, experts), _tokenizers(base, experts), _memory(base, experts),
            preflight.name_check(name)]  # fmt: skip


def _experts(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    if base in experts:
        return Check("Experts", "stop", f"{base.name} is the base and an expert", "Leave it out of the experts.")
    if not 2 <= len(experts) <= MOST_EXPERTS:
        return Check("Experts", "stop", f"{len(experts)} chosen", f"Choose from 2 to {MOST_EXPERTS}.")
    return Check("Experts", "ok", f"{len(experts)}, each with numbers of its own")


def _toys(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    if real := [version.name for version in (base, *experts) if not version.toy]:
        said = f"{real[0]} is no toy, and the only questions to search on are the toy family's"
        return Check("Questions", "stop", said, "Choose models of the tiny family. Public benchmarks are never searched on.")
    return Check("Questions", "ok", "validation questions of five toy domains; evaluation questions are never asked")


def _files(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    for version in (base, *experts):
        if not preflight.readable(version):
            return Check("Model files", "stop", f"{version.name} cannot be read whole from the store", "Import or build it again.")
    return Check("Model files", "ok", "whole")


def _tokenizers(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    for expert in experts:
        if expert.tokenizer_digest != base.tokenizer_digest or expert.parameters != base.parameters:
            what = "tokenizer" if expert.tokenizer_digest != base.tokenizer_digest else "number of weights"
            return Check("Same kind", "stop", f"{expert.name} has another {what} than {base.name}", "Choose models made from one base.")
    return Check("Same kind", "ok", "one tokenizer, one size")


def _library() -> Check:
    """The one package of the engine that nothing else needs: an installation from before it was there lacks it."""
    if importlib.util.find_spec("cmaes") is None:
        return Check("Search", "stop", "not installed: cmaes", "pip install -c constraints.txt -e .[engine]")
    return Check("Search", "ok", "installed")


def _memory(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    """All models stay in memory, and the candidate beside them, in float32 at most."""
    needed, room = 4 * base.parameters * (len(experts) + 3) + footprint_of_libraries(), footprints.ram()
    said = f"{needed / footprints.GB:.1f} GB of {room / footprints.GB:.1f} GB RAM: every model stays in memory"
    if needed > room:
        return Check("Memory", "stop", said, "Take fewer experts, or a machine with more.")
    return Check("Memory", "warn" if needed > footprints.TIGHT * room else "ok", said)


def footprint_of_libraries() -> int:
    """Bytes that torch and transformers take before any model is there, about."""
    return 400_000_000


def estimate(
    *, base: ModelVersion, experts: Sequence[ModelVersion], method: str, evaluations: int, seconds: float | None, questions: int
) -> Estimate:  # fmt: skip
    """From past searches of this size and method if there are any, else from arithmetic; never longer than the seconds allowed."""
    found = _past(base, experts, method) or _arithmetic(base, experts, questions)
    each, factor, basis = found
    low, high = AROUND[0] + evaluations * each / factor, AROUND[1] + evaluations * each * factor
    if seconds is not None:
        low, high = min(low, AROUND[0] + seconds), min(high, AROUND[1] + seconds)
    return Estimate(math.sqrt(low * high), low, high, basis)


def _past(base: ModelVersion, experts: Sequence[ModelVersion], method: str) -> tuple[float, float, str] | None:
    """(seconds an evaluation, how far off they may be, from what they are known)."""
    found = Run.objects.filter(
        job__kind="search", job__state=State.SUCCEEDED, preset=f"search-{method}"[:30], output__parameters=base.parameters
    ).select_related("output")
    each = [
        run.output.metrics["search_seconds"] / run.output.metrics["evaluations"]
        for run in found.order_by("-id")[:MOST_PAST]
        if run.output and run.output.metrics.get("evaluations") and len(run.params["recipe"]["inputs"]) == len(experts)
    ]
    if not each:
        return None
    if len(each) == 1:
        return each[0], ONE_RUN, "one past search like this"
    return fmean(each), max(ONE_RUN, 1 + 2 * stdev(each) / fmean(each)), f"{len(each)} past searches like this"


def _arithmetic(base: ModelVersion, experts: Sequence[ModelVersion], questions: int) -> tuple[float, float, str]:
    """A forward pass over every question at 5 to 50 Gflop/s, and some tens of operations a weight and expert."""
    asked = 2 * base.parameters * DOMAINS * questions * QUESTION_TOKENS
    merged = 60 * base.parameters * len(experts)
    return (asked + merged) / 16e9, OTHER_RUNS * 1.6, "weights and questions, for want of a measurement"


def found(run: Run) -> dict[str, Any] | None:
    """What a finished search has to show: each expert's numbers before and after, and what both scored on the validation questions."""
    metrics = run.output.metrics if run.output else {}
    if run.job.kind != "search" or "recipe" not in metrics:
        return None
    before = {entry["model"]: entry.get("parameters", {}) for entry in metrics["start"]["inputs"]}
    names = sorted(run.params["ranges"])
    rows = [
        {"name": entry["model"], "numbers": [(before[entry["model"]].get(name), entry["parameters"].get(name)) for name in names]}
        for entry in metrics["recipe"]["inputs"]
    ]
    told = metrics["validation"]
    domains = [(domain, told["start"]["domains"][domain], share) for domain, share in sorted(told["best"]["domains"].items())]
    return {
        "parameters": names, "rows": rows, "domains": domains, "start": told["start"], "best": told["best"], "questions": told["questions"],
        "evaluations": metrics["evaluations"], "best_evaluation": metrics["best_evaluation"], "ended_by": metrics["ended_by"],
        "better": metrics["best_evaluation"] > 1,
    }  # fmt: skip
