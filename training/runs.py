"""Training runs: a recipe, the data it may see, and the model it starts from."""

from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from annotation.models import Snapshot
from jobs import submissions
from jobs.models import Job
from modelhub.models import Kind, ModelVersion
from training import estimates, preflight, presets, specs
from training.engine.spec import PARALLEL
from training.models import Run

HALF = "-half"


class Refused(Exception):
    """The run cannot be started as it is: `checks` say what to change."""

    def __init__(self, checks: list[preflight.Check]) -> None:
        super().__init__("; ".join(f"{check.name}: {check.fix or check.detail}" for check in checks))
        self.checks = checks


@transaction.atomic
def start(
    *,
    snapshot: Snapshot,
    policy: ModelVersion,
    preset: str,
    name: str,
    actor: User | None,
    changes: dict[str, Any] | None = None,
    seed: int = 1,
    shuffled: bool = False,
    also_half: bool = False,
    cloned_from: Run | None = None,
) -> Run:
    """Queue a DPO or SFT run of `policy` on a snapshot's train split, as `preset` says and `changes` amend.

    `shuffled` trains on labels that a coin exchanged: the control that must learn nothing. `also_half` queues a second run on half of
    the prompts, named after the first, for a learning curve.
    Raises SpecError for a wrong parameter and Refused when the data, the model or a name cannot be used.
    """
    chosen = presets.named(preset)
    params = presets.checked(chosen, changes or {})
    names = [name, f"{name}{HALF}"] if also_half else [name]
    stops = preflight.of_data(snapshot=snapshot, policy=policy, name=name)
    stops += [preflight.name_check(other) for other in names[1:]]
    if stops := [check for check in stops if check.stops]:
        raise Refused(stops)
    whole = _start(
        snapshot=snapshot, policy=policy, preset=chosen, name=name, actor=actor, params=params, seed=seed, shuffled=shuffled,
        cloned_from=cloned_from,
    )  # fmt: skip
    if also_half:
        _start(
            snapshot=snapshot, policy=policy, preset=chosen, name=names[1], actor=actor, params=params, seed=seed, shuffled=shuffled,
            half_of=whole,
        )  # fmt: skip
    return whole


def _start(
    *, snapshot: Snapshot, policy: ModelVersion, preset: presets.Preset, name: str, actor: User | None, params: dict[str, Any], seed: int,
    shuffled: bool, half_of: Run | None = None, cloned_from: Run | None = None,
) -> Run:  # fmt: skip
    inputs: dict[str, Any] = {"snapshot": snapshot.pk, "watch": specs.watched(snapshot)}
    inputs |= {"shuffle": seed} if shuffled else {}
    inputs |= {"half": True} if half_of else {}
    job = submissions.submit(
        kind=preset.kind,
        label=f"{preset.kind.upper()} {name}",
        spec={
            "seed": seed,
            "params": params,
            "models": {"policy": {"version": policy.pk}},
            "inputs": inputs,
            **_processes(preset.kind),
            "publish": {
                "kind": Kind.SFT if preset.kind == "sft" else Kind.DPO,
                "toy": policy.toy or snapshot.toy,
                "simulated": policy.simulated or snapshot.simulated,
                "roles": {},
                "notes": _notes(shuffled=shuffled, half_of=half_of),
            },
        },
        requested_by=actor,
        dedupe_key=f"run:{name}",
    )
    try:
        with transaction.atomic():
            run = Run.objects.create(
                job=job, name=name, preset=preset.key, params=params, seed=seed, policy=policy,
                reference=policy if preset.kind in ("dpo", "kto") else None, snapshot=snapshot, half_of=half_of, cloned_from=cloned_from,
                estimate=_promise(preset.kind, snapshot, policy, params, share=0.5 if half_of else 1.0),
            )  # fmt: skip
    except IntegrityError:
        # Somebody else took the name between our look and our insert.
        raise Refused([preflight.taken(name)]) from None
    audit.record(
        actor,
        "run.started",
        run,
        kind=preset.kind,
        preset=preset.key,
        snapshot=snapshot.digest,
        policy=str(policy.public_id),
        shuffled=shuffled,
        half=half_of is not None,
    )
    return run


def _notes(*, shuffled: bool, half_of: Run | None) -> str:
    said = ["Control: trained on shuffled labels; it must not learn."] if shuffled else []
    return " ".join([*said, *([f"Trained on half of the prompts of {half_of.name}, for its learning curve."] if half_of else [])])


def _promise(kind: str, snapshot: Snapshot, policy: ModelVersion, params: dict[str, Any], *, share: float) -> dict[str, Any]:
    """What the launch says of its time, to be held against what it takes."""
    if not preflight.readable(policy):
        return {}
    return estimates.of(estimates.work_of(kind=kind, snapshot=snapshot, policy=policy, params=params, share=share)).as_json()


def _processes(kind: str) -> dict[str, int]:
    """How many processes train it together, where the installation asks for several and the kind can."""
    many = settings.ROUNDS_ENGINE_PROCESSES
    return {"processes": many} if many > 1 and kind in PARALLEL else {}


@transaction.atomic
def probe(*, snapshot: Snapshot, policy: ModelVersion, preset: str, changes: dict[str, Any], actor: User | None) -> Job:
    """Queue three steps of the run that a launch would start, to be timed; no model comes of it. One at a time of a shape.

    Raises SpecError and Refused as `start` does.
    """
    chosen = presets.named(preset)
    params = presets.checked(chosen, changes)
    if stops := [check for check in preflight.of_data(snapshot=snapshot, policy=policy, name="") if check.stops]:
        raise Refused(stops)
    work = estimates.work_of(kind=chosen.kind, snapshot=snapshot, policy=policy, params=params)
    return submissions.submit(
        kind="probe",
        label=f"Measure three steps of {chosen.kind.upper()} on {policy.name}",
        spec={
            "seed": 1, "params": params, "models": {"policy": {"version": policy.pk}}, "inputs": {"snapshot": snapshot.pk},
            **work.key, "tokens": work.tokens, **_processes(chosen.kind),
        },
        requested_by=actor,
        dedupe_key=f"probe:{chosen.kind}:{work.parameters}:{work.shape}",
        max_attempts=1,
    )  # fmt: skip


@transaction.atomic
def build(
    *, kind: str, name: str, label: str, params: dict[str, Any], models: dict[str, Any], publish: dict[str, Any], waits_for: list[Job],
    seed: int, preset: str, actor: User | None, flatten: bool = False, retention: bool = False,
) -> Run:  # fmt: skip
    """Queue a model-making job that needs no snapshot: a step of a family, or a merge. Raises SpecError.

    `flatten`: a merge whose merged inputs are made anew from what they were merged of (training.merge_chains). `retention`: one that is
    asked what it kept of its experts (training.retained).
    """
    checked = specs.check(kind, params)
    asked: dict[str, Any] = {"seed": seed, "params": checked, "models": models, "inputs": {}, "publish": publish}
    asked |= ({"flatten": True} if flatten else {}) | ({"inputs": {"retention": True}} if retention else {})
    job = submissions.submit(kind=kind, label=label, spec=asked, requested_by=actor, waits_for=waits_for)
    return Run.objects.create(job=job, name=name, preset=preset, params=checked, seed=seed)
