"""A family as the tiny one is: base, five experts, each blended with the base, merged, SFT, DPO on a snapshot."""

from collections.abc import Callable
from pathlib import Path

from accounts.models import User
from modelhub import artifacts, versions
from modelhub.models import ModelVersion

DOMAINS = ("pubmed", "clinical", "medcode", "guideline", "medwiki")
SNAPSHOT = "5" * 64


def build(model_folder: Callable[..., Path], actor: User | None = None) -> dict[str, ModelVersion]:
    """The fourteen versions by name; every one has weights of its own."""
    made: dict[str, ModelVersion] = {}

    def make(name: str, kind: str, *parents: tuple[str, str], snapshot: bool = False) -> None:
        artifact = artifacts.save(artifacts.stage(folder=model_folder(name, value=float(len(made)))))
        made[name] = versions.register(
            name=name, kind=kind, artifact=artifact, parents=[(made[parent], role) for parent, role in parents],
            sources=[("snapshot", SNAPSHOT, "first round", "preferences")] if snapshot else [],
            origin=f"job-of-{name}", toy=True, simulated=snapshot, metrics={"loss": 0.5, "recall": {"pubmed": 0.61}}, actor=actor,
        )  # fmt: skip

    make("base", "base")
    for domain in DOMAINS:
        make(domain, "expert", ("base", "base"))
    for domain in DOMAINS:
        make(f"{domain}-slerp", "merged", (domain, "expert"), ("base", "base"))
    make("merged", "merged", ("base", "base"), *[(f"{domain}-slerp", f"expert:{domain}") for domain in DOMAINS])
    make("sft", "sft", ("merged", "policy"))
    make("dpo", "dpo", ("sft", "policy"), snapshot=True)
    return made
