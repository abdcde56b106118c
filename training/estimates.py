"""How long a run will take and what that costs: from past runs like it, from a probe of three steps, else from tokens and parameters."""

import json
import math
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from django.conf import settings

from annotation.models import Snapshot
from jobs import pulses
from jobs.models import Job, State
from modelhub.models import ModelVersion
from training import footprints, lengths, preflight
from training.models import Run

# Settings that change how many steps there are, or what a step does, and not how long one takes.
TIMELESS = frozenset({
    "beta", "learning_rate", "epochs", "max_steps", "steps", "warmup_steps", "warmup_share", "schedule", "weight_decay", "label_smoothing",
    "minimum_pairs", "max_length", "checkpoint_steps", "checkpoint_seconds", "watch_tokens", "early_stop", "collapse_steps",
    "margin_limit", "falling_limit",
})  # fmt: skip
# How far off an estimate may be, as factors: measured here on the same kind of run, measured by a probe, guessed.
ONE_RUN, RUNS, PROBED, OTHER_RUNS = 1.35, 1.15, 1.4, 2.0
# What a probe does not see: checkpoints, held-out figures, writing the model. A share of what everything around its steps took.
UNSEEN, PROBE_STEPS = 0.2, 3
MOST_PAST = 10


@dataclass(frozen=True)
class Work:
    """What a run is made of, as far as time goes. `shape` names everything that decides how long a token takes."""

    kind: str
    parameters: int
    shape: str
    steps: int
    tokens: float  # of all its pairs in one step

    @property
    def key(self) -> dict[str, Any]:
        return {"of": self.kind, "parameters": self.parameters, "shape": self.shape}


@dataclass(frozen=True)
class Cost:
    """Ranges (low, high): hours of a device, watt-hours, and money where a price is set."""

    hours: tuple[float, float]
    watt_hours: tuple[float, float]
    price: tuple[float, float] | None
    device: str
    watts: float
    currency: str


@dataclass(frozen=True)
class Estimate:
    """Seconds a run will take, the range they will lie in, and from what that is known."""

    seconds: float
    low: float
    high: float
    basis: str

    def as_json(self) -> dict[str, Any]:
        return {"seconds": round(self.seconds, 1), "low": round(self.low, 1), "high": round(self.high, 1), "basis": self.basis}

    @property
    def cost(self) -> Cost:
        device, each = ("GPU", 1) if footprints.room().gpu else ("CPU core", settings.ROUNDS_ENGINE_THREADS)
        hours = (self.low * each / 3600, self.high * each / 3600)
        watts, price = settings.ROUNDS_WATTS, settings.ROUNDS_HOUR_PRICE
        return Cost(
            hours=hours,
            watt_hours=(self.low * watts / 3600, self.high * watts / 3600),
            price=(self.low * price / 3600, self.high * price / 3600) if price else None,
            device=device,
            watts=watts,
            currency=settings.ROUNDS_CURRENCY,
        )


def shape(params: dict[str, Any]) -> str:
    """A short name of the settings that decide how long a step takes."""
    timely = {name: value for name, value in params.items() if name not in TIMELESS}
    return sha256(json.dumps(timely, sort_keys=True).encode()).hexdigest()[:16]


def work_of(*, kind: str, snapshot: Snapshot, policy: ModelVersion, params: dict[str, Any], share: float = 1.0) -> Work:
    """`share` of the snapshot's training pairs: 0.5 for a run on half of them."""
    rows = max(1, math.ceil(share * preflight.train_pairs(snapshot))) * (2 if kind == "kto" else 1)
    a_step = int(params.get("batch_size") or 8) * int(params.get("gradient_accumulation") or 1)
    steps = params.get("max_steps") or params.get("steps") or math.ceil(math.ceil(rows / a_step) * float(params.get("epochs") or 1.0))
    # A step of DPO sees both answers of a pair; the other kinds see one.
    tokens = lengths.of(snapshot, policy).mean * a_step / (1 if kind == "dpo" else 2)
    return Work(kind=kind, parameters=policy.parameters, shape=shape(params), steps=max(1, int(steps)), tokens=max(1.0, tokens))


def of(work: Work) -> Estimate:
    """The best that is known: past runs of this shape, a probe of it, past runs of another shape, arithmetic."""
    measured = _past(work)
    alike = [each for each in measured if each.work.shape == work.shape]
    if alike:
        return _from_runs(work, alike)
    if probe := newest_probe(work):
        result = probe.result
        measured_step = float(result["seconds_per_step"])
        around = max(0.0, float(result["seconds"]) - PROBE_STEPS * measured_step) * (1 + UNSEEN)
        a_step = measured_step * work.tokens / float(probe.spec["tokens"])
        return _around(around + a_step * work.steps, PROBED, f"three steps measured on {result.get('host') or 'a worker'}")
    if measured:
        return _around(fmean(each.seconds_for(work) for each in measured), OTHER_RUNS, "past runs with other settings")
    return _from_arithmetic(work)


def _around(seconds: float, factor: float, basis: str) -> Estimate:
    return Estimate(seconds, seconds / factor, seconds * factor, basis)


@dataclass(frozen=True)
class Measured:
    """A past run: what it was made of, seconds for each of its tokens in training, and seconds for everything around that."""

    work: Work
    a_token: float
    around: float

    def seconds_for(self, other: Work) -> float:
        return self.around + self.a_token * other.tokens * other.steps


def _from_runs(work: Work, alike: list[Measured]) -> Estimate:
    foretold = [each.seconds_for(work) for each in alike]
    if len(foretold) == 1:
        return _around(foretold[0], ONE_RUN, "one past run like this")
    middle = fmean(foretold)
    # Twice their scatter, and never less than what machines vary by.
    factor = max(RUNS, 1 + 2 * stdev(foretold) / middle)
    return _around(middle, factor, f"{len(foretold)} past runs like this")


def _past(work: Work) -> list[Measured]:
    low, high = 0.5 * work.parameters, 2 * work.parameters
    found = Run.objects.filter(
        job__kind=work.kind, job__state=State.SUCCEEDED, policy__parameters__gte=low, policy__parameters__lte=high, snapshot__isnull=False
    )
    newest = found.select_related("job", "snapshot", "policy__artifact").order_by("-id")[:MOST_PAST]
    return [measured for run in newest if (measured := _measured(run))]


def _measured(run: Run) -> Measured | None:
    """None for a run that tells nothing: resumed, stopped, with too few steps, or of a model that cannot be read any more."""
    seconds, marks = run.job.result.get("seconds"), run.pace.get("marks", [])
    if not isinstance(seconds, int | float) or run.job.attempts != 1 or run.snapshot is None or run.policy is None:
        return None
    if len(marks) < 2 or marks[-1][1] != run.pace.get("total") or not preflight.readable(run.policy):
        return None
    work = work_of(kind=run.job.kind, snapshot=run.snapshot, policy=run.policy, params=run.params, share=0.5 if run.half_of_id else 1.0)
    a_step = (marks[-1][0] - marks[0][0]) / (marks[-1][1] - marks[0][1])
    return Measured(work=work, a_token=a_step / work.tokens, around=max(0.0, float(seconds) - a_step * marks[-1][1]))


def newest_probe(work: Work) -> Job | None:
    """The latest three steps measured of this kind, size and shape, on a machine where the run may land. While no worker is up: on any."""
    measured = Job.objects.filter(kind="probe", state=State.SUCCEEDED, spec__contains=work.key).order_by("-id")
    if measured and (alive := pulses.hosts(queue="compute")):
        return next((probe for probe in measured if probe.result.get("host") in alive), None)
    return measured.first()


def latest_probe(work: Work) -> Job | None:
    """The one asked for last, whatever became of it."""
    return Job.objects.filter(kind="probe", spec__contains=work.key).order_by("-id").first()


def _from_arithmetic(work: Work) -> Estimate:
    # Four passes a pair (policy forward, twice that backward, reference forward), 2 flops a parameter and token.
    flops = 2 * 4 * max(1, work.parameters) * work.tokens * work.steps
    # 5 to 50 Gflop/s is what one to a few CPU cores reach; a step costs 0.1 to 0.4 s whatever its size; imports 10 to 40 s.
    low, high = 10 + 0.1 * work.steps + flops / 50e9, 40 + 0.4 * work.steps + flops / 5e9
    return Estimate(math.sqrt(low * high), low, high, "tokens and parameters, for want of a measurement")


@dataclass(frozen=True)
class Kept:
    """What was promised of a run, and what it took."""

    low: float
    high: float
    took: float | None
    basis: str

    @property
    def verdict(self) -> str:
        if self.took is None:
            return ""
        return (
            "as expected"
            if self.low <= self.took <= self.high
            else "longer than expected"
            if self.took > self.high
            else "sooner than expected"
        )


def kept(run: Run) -> Kept | None:
    """None when nothing was promised. A run that was stopped or tried again took what it took, and keeps no promise."""
    if not run.estimate:
        return None
    whole = run.job.state == State.SUCCEEDED and run.job.attempts == 1 and not stopped_early(run)
    seconds = run.job.result.get("seconds")
    took = float(seconds) if whole and isinstance(seconds, int | float) else None
    return Kept(low=run.estimate["low"], high=run.estimate["high"], took=took, basis=run.estimate["basis"])


def stopped_early(run: Run) -> bool:
    return bool(run.output and run.output.metrics.get("stopped_early"))


def remaining(run: Run) -> tuple[float, float] | None:
    """Seconds of training still to come, as a range, from the newest attempt's pace; None before there is one, or after the last step."""
    marks, total = run.pace.get("marks", []), run.pace.get("total", 0)
    if len(marks) < 3 or marks[-1][1] >= total:
        return None
    steps = [(after[0] - before[0]) / (after[1] - before[1]) for before, after in pairwise(marks) if after[1] > before[1]]
    if len(steps) < 2:
        return None
    overall = (marks[-1][0] - marks[0][0]) / (marks[-1][1] - marks[0][1])
    lately = fmean(steps[-max(2, len(steps) // 4) :])
    spread = 2 * stdev(steps) / math.sqrt(len(steps))
    left = total - marks[-1][1]
    return max(0.0, left * (min(overall, lately) - spread)), left * (max(overall, lately) + spread)
