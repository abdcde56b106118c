"""Runs of CLUE+ as jobs: queued for a version, from a folder with a house's own copies of the data sets."""

from collections.abc import Sequence
from pathlib import Path

from accounts.models import User
from jobs.models import Job
from modelhub.models import ModelVersion
from training import specs, suiteruns
from training.models import Suite


def start(
    *, version: ModelVersion, data: Path, actor: User | None, sets: Sequence[str] = (), mode: str = "greedy", limit: int | None = None,
    max_new_tokens: int | None = None, allow_other_files: bool = False, encoder: Path | None = None, encoder_layer: int | None = None,
    umls: Path | None = None, seed: int = 0,
) -> Job:  # fmt: skip
    """Queue the sets (all that are there when none is named) for a version. `data` must be readable where the worker runs, and so must the
    `encoder` for BERTScore and the `umls` file for UMLS-F1.

    A run that is under way for the same settings is returned; one that has ended is not, since the folder may hold other files by now.
    Raises SpecError naming the parameter that is wrong, and NotAskable for an adapter.
    """
    params = specs.check(
        "clue",
        {
            "data": str(data), "sets": list(sets), "mode": mode, "limit": limit, "max_new_tokens": max_new_tokens,
            "allow_other_files": allow_other_files, "encoder": None if encoder is None else str(encoder), "encoder_layer": encoder_layer,
            "umls": None if umls is None else str(umls),
        },
    )  # fmt: skip
    run = suiteruns.asked(
        version=version, suite=Suite.CLUE, digest=suiteruns.settings_digest(suite=Suite.CLUE, params=params, seed=seed), params=params,
        seed=seed, actor=actor, label=f"CLUE+ of {version.name}", reuse=False,
    )  # fmt: skip
    return run.job
