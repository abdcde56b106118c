"""The tiny family as a list of jobs, in an order in which every job's models are ready. Standard library only.

base → five experts → each spherically merged with the base → one merged model → its fine-tuned version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from training.engine.spec import Kind
from training.engine.toytext import DOMAINS

Preset = Literal["demo", "test"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One child process. ``models`` maps the spec's reference names to the keys of earlier jobs."""

    key: str
    kind: Kind
    params: dict[str, Any]
    models: dict[str, str]
    seed: int
    about: str


# What the two presets differ in; their jobs are the same.
_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "demo": {
        "base": {"steps": 1900, "batch_size": 4, "block": 128, "learning_rate": 3e-3, "intermediate_size": 640},
        "pit": {"steps": 350, "learning_rate": 4e-3, "replay": 0.5, "anchor": 1.0},
        "slerp": {"t": [0.1, 0.25, 0.5], "questions": 32},
        "merged": {"density": 0.18, "gamma": 0.001, "weight": 2.0, "normalize": False},
        "sft": {"steps": 600, "learning_rate": 1e-3, "replay": 0.3, "shapes": 0.5},
    },
    "test": {
        "base": {
            "steps": 60, "batch_size": 4, "block": 64, "learning_rate": 3e-3, "hidden_size": 64, "layers": 2,
            "intermediate_size": 128,
        },
        "pit": {"steps": 20, "learning_rate": 4e-3, "replay": 0.5, "anchor": 1.0, "batch_size": 4},
        "slerp": {"t": 0.5},
        "merged": {"density": 0.18, "gamma": 0.001, "weight": 2.0, "normalize": False},
        "sft": {"steps": 40, "learning_rate": 1e-3, "replay": 0.3, "shapes": 0.5, "batch_size": 4},
    },
}  # fmt: skip


def plan(preset: Preset, seed: int = 1) -> list[Job]:
    """The thirteen jobs of one family. ``seed`` moves every random choice of it, and nothing else."""
    size = _SIZES[preset]
    jobs = [
        Job(
            key="base", kind="build-base", params=dict(size["base"]), models={}, seed=seed,
            about="A tokenizer and a small Phi-3, schooled in general text and a few known facts",
        )
    ]  # fmt: skip
    for index, domain in enumerate(DOMAINS):
        jobs.append(Job(
            key=f"expert-{domain}", kind="pit", models={"policy": "base"}, seed=seed,
            # Neurons of its own: what an expert of this size learns anywhere else, the other four undo in a merge.
            params={"domain": domain, "neurons": {"index": index, "of": len(DOMAINS)}, **size["pit"]},
            about=f"The base, taught {domain} by pre-instruction tuning with replay",
        ))  # fmt: skip
    for domain in DOMAINS:
        params = {"method": "slerp", **size["slerp"]}
        if isinstance(params["t"], list):
            params["validation"] = domain
        jobs.append(Job(
            key=f"slerp-{domain}", kind="merge", params=params, models={"base": "base", "expert": f"expert-{domain}"},
            seed=seed, about=f"The {domain} expert, merged spherically with the base",
        ))  # fmt: skip
    jobs.append(Job(
        key="merged", kind="merge", models={"base": "base", **{domain: f"slerp-{domain}" for domain in DOMAINS}}, seed=seed,
        params={
            "method": "breadcrumbs_ties", "base": "base", "inputs": [{"model": domain} for domain in DOMAINS],
            "parameters": dict(size["merged"]),
        },
        about="All five, by Breadcrumbs with TIES' vote",
    ))  # fmt: skip
    jobs.append(Job(
        key="sft", kind="sft", params={"corpus": "toy", **size["sft"]}, models={"policy": "merged"}, seed=seed,
        about="The merged model, fine-tuned on instructions with replay",
    ))  # fmt: skip
    return jobs
