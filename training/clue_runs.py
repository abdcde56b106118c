"""Runs of CLUE+ as jobs: queued for a version, and what each said kept in a folder of its own, readable by this account only."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from accounts.models import User
from jobs import submissions
from jobs.errors import EngineFailed
from jobs.models import Job
from modelhub.models import ModelVersion
from training import specs
from training.suite.results import SuiteResult


def start(
    *, version: ModelVersion, data: Path, actor: User | None, sets: Sequence[str] = (), mode: str = "greedy", limit: int | None = None,
    max_new_tokens: int | None = None, allow_other_files: bool = False, seed: int = 0,
) -> Job:  # fmt: skip
    """Queue the sets (all that are there when none is named) for a version. `data` must be readable where the worker runs.

    Raises SpecError naming the parameter that is wrong.
    """
    params = specs.check(
        "clue",
        {
            "data": str(data), "sets": list(sets), "mode": mode, "limit": limit, "max_new_tokens": max_new_tokens,
            "allow_other_files": allow_other_files,
        },
    )  # fmt: skip
    return submissions.submit(
        kind="clue", label=f"CLUE+ of {version.name}", requested_by=actor,
        spec={"seed": seed, "params": params, "models": {"policy": {"version": version.pk}}, "inputs": {}},
    )  # fmt: skip


def folder_of(job: Job) -> Path:
    """Where `suite.json` and the answers of a job are."""
    return Path(settings.DATA_DIR) / "suites" / str(job.public_id)


def keep(job: Job, output: Path) -> SuiteResult:
    """Copy an attempt's result and answers to where they stay. Raises EngineFailed when the result cannot be read back."""
    try:
        result = SuiteResult.from_json((output / "suite.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineFailed("bad_result", f"The suite's result cannot be read: {type(error).__name__}.") from error
    folder = folder_of(job)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # An attempt that was published half is staged again: what lies there is replaced.
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(output, folder)
    return result
