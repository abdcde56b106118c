"""Running real attempts the way a supervisor does: a child process and a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from training.engine import rundir, spec

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    folder: Path
    returncode: int
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        found = rundir.read_result(self.folder)
        assert found is not None, self.stderr
        return found

    @property
    def metrics(self) -> dict[str, Any]:
        assert self.result["ok"], (self.result, self.stderr)
        metrics: dict[str, Any] = self.result["metrics"]
        return metrics

    @property
    def model(self) -> Path:
        assert self.result["ok"], (self.result, self.stderr)
        return self.folder / "output"

    @property
    def events(self) -> list[dict[str, Any]]:
        return rundir.read_events(self.folder)[0]


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **extra}


def laid_out(
    folder: Path, kind: str, params: Mapping[str, Any], models: Mapping[str, Path],
    inputs: Mapping[str, Iterable[Mapping[str, Any]]] | None, seed: int,
) -> Path:  # fmt: skip
    raw = {
        "schema": 1, "kind": kind, "job": folder.name, "seed": seed, "threads": 1, "params": dict(params),
        "models": {name: str(path) for name, path in models.items()},
    }  # fmt: skip
    return rundir.create(folder, spec.parse(raw), inputs)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """``run(kind, params, models, inputs)``: a whole attempt as a child process, waited for."""

    def attempt(
        kind: str, params: Mapping[str, Any], models: Mapping[str, Path] | None = None,
        inputs: Mapping[str, Iterable[Mapping[str, Any]]] | None = None, seed: int = 1,
    ) -> Done:  # fmt: skip
        folder = laid_out(tmp_path_factory.mktemp(kind) / "attempt", kind, params, models or {}, inputs, seed)
        child = subprocess.run(
            [sys.executable, "-W", "error:::training", "-m", "training.engine", str(folder)], cwd=PROJECT, env=environment(),
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        return Done(folder, child.returncode, child.stderr)

    return attempt


@pytest.fixture(scope="session")
def run_here(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """The same in this process, which has paid for its imports: for what does not depend on the process."""
    import signal

    from training.engine import attempt as engine

    def attempt(
        kind: str, params: Mapping[str, Any], models: Mapping[str, Path] | None = None,
        inputs: Mapping[str, Iterable[Mapping[str, Any]]] | None = None, seed: int = 1,
    ) -> Done:  # fmt: skip
        folder = laid_out(tmp_path_factory.mktemp(kind) / "attempt", kind, params, models or {}, inputs, seed)
        before = signal.getsignal(signal.SIGTERM)
        try:
            return Done(folder, engine.main(folder), "")
        finally:
            signal.signal(signal.SIGTERM, before)

    return attempt
