"""Training runs: a recipe, the data it may see, and the model it starts from."""

from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from annotation.models import Snapshot
from jobs import submissions
from jobs.models import Job
from modelhub.models import Kind, ModelVersion
from training import preflight, presets, specs
from training.models import Run


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
) -> Run:
    """Queue a DPO or SFT run of `policy` on a snapshot's train split, as `preset` says and `changes` amend.

    `shuffled` trains on labels that a coin exchanged: the control that must learn nothing.
    Raises SpecError for a wrong parameter and Refused when the data, the model or the name cannot be used.
    """
    chosen = presets.named(preset)
    params = presets.checked(chosen, changes or {})
    if stops := [check for check in preflight.of_data(snapshot=snapshot, policy=policy, name=name) if check.stops]:
        raise Refused(stops)
    job = submissions.submit(
        kind=chosen.kind,
        label=f"{chosen.kind.upper()} {name}",
        spec={
            "seed": seed,
            "params": params,
            "models": {"policy": {"version": policy.pk}},
            "inputs": {"snapshot": snapshot.pk, "watch": specs.watched(snapshot), **({"shuffle": seed} if shuffled else {})},
            "publish": {
                "kind": Kind.DPO if chosen.kind == "dpo" else Kind.SFT,
                "toy": policy.toy or snapshot.toy,
                "simulated": policy.simulated or snapshot.simulated,
                "roles": {},
                "notes": "Control: trained on shuffled labels; it must not learn." if shuffled else "",
            },
        },
        requested_by=actor,
        dedupe_key=f"run:{name}",
    )
    reference = policy if chosen.kind == "dpo" else None
    try:
        with transaction.atomic():
            run = Run.objects.create(
                job=job, name=name, preset=preset, params=params, seed=seed, policy=policy, reference=reference, snapshot=snapshot
            )
    except IntegrityError:
        # Somebody else took the name between our look and our insert.
        raise Refused([preflight.taken(name)]) from None
    audit.record(
        actor,
        "run.started",
        run,
        kind=chosen.kind,
        preset=preset,
        snapshot=snapshot.digest,
        policy=str(policy.public_id),
        shuffled=shuffled,
    )
    return run


@transaction.atomic
def build(
    *, kind: str, name: str, label: str, params: dict[str, Any], models: dict[str, Any], publish: dict[str, Any], waits_for: list[Job],
    seed: int, preset: str, actor: User | None,
) -> Run:  # fmt: skip
    """Queue a model-making job that needs no snapshot: a step of a family, or a merge. Raises SpecError."""
    checked = specs.check(kind, params)
    job = submissions.submit(
        kind=kind, label=label, spec={"seed": seed, "params": checked, "models": models, "inputs": {}, "publish": publish},
        requested_by=actor, waits_for=waits_for,
    )  # fmt: skip
    return Run.objects.create(job=job, name=name, preset=preset, params=checked, seed=seed)
