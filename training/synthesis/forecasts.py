"""What a synthesis will ask for and cost, from past jobs of the same backends, else from the paper's lengths."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Sum

from training.synthesis import backends, runs
from training.synthesis.backends import Backend
from training.synthesis.models import Stage, SynthesisStep

# Tokens of one answer and of its prompt where nothing was measured: arXiv 2505.10717, section 4.3 (instruction 301, input 76, output 79),
# and the length of our own prompts.
ASSUMED = {Stage.WRITE: (900, 300), Stage.JUDGE: (5 * 250, 650), Stage.REJECT: (120, 800), Stage.COMPARE: (120, 650)}


@dataclass(frozen=True)
class Forecast:
    """`measured` is whether past jobs say it; `seconds` is None where they do not."""

    items: int
    requests: int
    tokens: int
    prompt_tokens: int
    seconds: float | None
    price: float
    measured: bool


def forecast(wanted: "runs.Wanted", generator: Backend, judge: Backend) -> Forecast:
    items = wanted.items(generator)
    spoilt = round(wanted.count * wanted.spoilt)
    asked = (
        (Stage.WRITE, generator, items),
        (Stage.JUDGE, judge, items),
        (Stage.REJECT, generator, spoilt),
        (Stage.COMPARE, judge, 2 * spoilt),
    )
    tokens = prompts = 0.0
    price = seconds = 0.0
    measured = True
    for stage, backend, count in asked:
        if not count:
            continue
        answer, prompt, each = _rates(stage, backend)
        measured = measured and each is not None
        tokens, prompts, seconds = tokens + count * answer, prompts + count * prompt, seconds + count * (each or 0.0)
        price += backends.price(backend, prompt_tokens=round(count * prompt), tokens=round(count * answer), seconds=count * (each or 0.0))
    requests = sum(count for _, _, count in asked)
    return Forecast(items, requests, round(tokens), round(prompts), seconds if measured else None, price, measured)


def _rates(stage: Stage, backend: Backend) -> tuple[float, float, float | None]:
    """(tokens of an answer, of its prompt, seconds) for one row of a stage."""
    whose = "run__judge" if stage in (Stage.JUDGE, Stage.COMPARE) else "run__generator"
    who: dict[str, Any] = {f"{whose}__kind": backend.kind, f"{whose}__name": backend.name}
    past = SynthesisStep.objects.filter(stage=stage, answered__gt=0, **who).order_by("-pk").values_list("pk", flat=True)[:5]
    told = SynthesisStep.objects.filter(pk__in=list(past)).aggregate(
        asked=Sum("asked"), tokens=Sum("tokens"), prompts=Sum("prompt_tokens"), seconds=Sum("seconds")
    )
    if told["asked"]:
        rows = told["asked"] * (2 if stage == Stage.COMPARE else 1)
        return told["tokens"] / rows, told["prompts"] / rows, told["seconds"] / rows
    return (*ASSUMED[stage], None)
