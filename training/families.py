"""The tiny model family: base → five experts → SLERP each with the base → merged → SFT, as jobs one can watch."""

from dataclasses import dataclass

from django.db import transaction

from accounts import audit
from accounts.models import User
from jobs.models import State
from modelhub.models import Kind, ModelVersion
from training import runs
from training.engine import family
from training.models import Run

PREFIX = "toy"
TAG = "family:"

KINDS = {"build-base": Kind.BASE, "pretrain": Kind.BASE, "pit": Kind.EXPERT, "sft": Kind.SFT}
VERBS = {"build-base": "Build", "pretrain": "Pretrain", "pit": "Train", "merge": "Merge", "sft": "Tune"}


@dataclass(frozen=True)
class Progress:
    """How far a family is: jobs done of all, and what stopped it, if anything did."""

    name: str
    done: int
    total: int
    failed: int
    running: list[Run]

    @property
    def finished(self) -> bool:
        return self.done == self.total

    @property
    def percent(self) -> int:
        return round(100 * self.done / self.total) if self.total else 0


@transaction.atomic
def start(*, preset: family.Preset, actor: User | None, seed: int = 1) -> list[Run]:
    """Queue every job of a family; each starts when the models it needs are there. Versions are labelled toys.

    A second family gets a number in its names. Raises KeyError for an unknown preset.
    """
    steps = family.plan(preset, seed=seed)
    name = _free_name()
    made: dict[str, Run] = {}
    for step in steps:
        made[step.key] = runs.build(
            kind=step.kind,
            name=f"{name}-{step.key}",
            label=f"{VERBS[step.kind]} {name}-{step.key}",
            params=step.params,
            models={reference: {"job": str(made[key].job.public_id)} for reference, key in step.models.items()},
            publish={
                "kind": _kind(step), "toy": True, "simulated": False, "roles": _roles(step),
                "corpus": f"toy corpus {step.params.get('domain') or step.params.get('corpus') or 'base'}" if step.kind != "merge" else "",
            },
            retention=step.key == "merged",
            waits_for=[made[key].job for key in dict.fromkeys(step.models.values())],
            seed=step.seed,
            preset=f"{TAG}{name}",
            actor=actor,
        )  # fmt: skip
    first = next(iter(made.values()))
    audit.record(actor, "family.started", first, name=name, preset=preset, jobs=len(made), seed=seed)
    return list(made.values())


def _free_name() -> str:
    taken = set(Run.objects.filter(preset__startswith=TAG).values_list("preset", flat=True))
    number = 1
    while TAG + (name := PREFIX if number == 1 else f"{PREFIX}{number}") in taken:
        number += 1
    return name


def _kind(step: family.Job) -> Kind:
    if step.kind == "merge":
        return Kind.EXPERT if step.params["method"] == "slerp" else Kind.MERGED
    return KINDS[step.kind]


def _roles(step: family.Job) -> dict[str, str]:
    """What each parent is to its child: experts are named with their domain."""
    return {
        reference: reference if reference in ("base", "policy") else f"expert:{key.rsplit('-', 1)[-1]}"
        for reference, key in step.models.items()
    }


def progress() -> Progress | None:
    """The newest family's state, or None when none was ever started."""
    newest = Run.objects.filter(preset__startswith=TAG).order_by("-id").first()
    if newest is None:
        return None
    steps = list(Run.objects.filter(preset=newest.preset).select_related("job").order_by("id"))
    states = [run.job.state for run in steps]
    return Progress(
        name=newest.preset.removeprefix(TAG),
        done=states.count(State.SUCCEEDED),
        total=len(steps),
        failed=states.count(State.FAILED) + states.count(State.CANCELLED),
        running=[run for run in steps if run.job.state in (State.RUNNING, State.PUBLISHING)],
    )


def version(key: str) -> ModelVersion | None:
    """A member by its key in the plan, such as "merged", of the newest family that has made one."""
    made = Run.objects.filter(preset__startswith=TAG, name__endswith=f"-{key}", output__isnull=False).select_related("output")
    newest = made.order_by("-id").first()
    return newest.output if newest else None
