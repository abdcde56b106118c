"""A tiny untrained Phi-3 with its tokenizer, rows to train it on, and attempts in a fork of this warm process that may be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.engine.conftest import Done, laid_out
from training.engine import attempt, checkpoints, rundir, toysamples


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pairs(n: int, *, seed: int = 9) -> list[dict[str, Any]]:
    """Preference rows; every third one carries a probability and a weight of its own."""
    return [
        {
            "id": f"pair-{index}", "prompt": toysamples.messages(row), "chosen": answer(row["output"]),
            "rejected": answer("There is no doubt." if index % 2 else "It depends."),
            **({"p_chosen": 0.7, "weight": 1.5} if index % 3 == 0 else {}),
        }
        for index, row in enumerate(toysamples.samples(n, seed))
    ]  # fmt: skip


def watch(n: int = 2) -> list[dict[str, Any]]:
    return [{"id": str(index), "messages": row["prompt"]} for index, row in enumerate(pairs(n, seed=4))]


def untrained(folder: Path, *, seed: int = 1, switch: int | None = None, context: int = 512) -> Path:
    """A model folder: two layers, 32 wide. With ``switch``, a LongRoPE one whose position factors change above so many tokens."""
    from training.engine import models, tokens

    tokenizer = tokens.build(500, seed)
    model = models.fresh_phi3(tokenizer=tokenizer, hidden=32, layers=2, heads=2, intermediate=64, seed=seed, context=context)
    models.save(model, tokenizer, folder)
    if switch is not None:
        import json

        path = folder / "config.json"
        config = json.loads(path.read_text())
        factors = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
        config["rope_parameters"] = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": switch, **factors}
        config["original_max_position_embeddings"] = switch
        path.write_text(json.dumps(config))
    return folder


def lay_out(
    folder: Path, params: Mapping[str, Any], model: Path, inputs: Mapping[str, Iterable[Mapping[str, Any]]], kind: str = "dpo",
    seed: int = 1,
) -> Path:  # fmt: skip
    return laid_out(folder, kind, params, {"policy": model}, inputs, seed)


def in_fork(folder: Path, *, kill: Callable[[dict[str, Any]], bool] | None = None) -> Done:
    """Run the attempt in a fork of this process, which has paid for its imports. The child kills itself for good (SIGKILL) right after
    it wrote an event that ``kill`` says yes to: no handler, no finally, no flush comes after."""
    child = os.fork()
    if child == 0:
        if kill is not None:
            written = rundir.Events._append

            def append(events: rundir.Events, event: dict[str, Any]) -> None:
                written(events, event)
                if kill(event):
                    os.kill(os.getpid(), signal.SIGKILL)

            rundir.Events._append = append  # type: ignore[method-assign]
        code = 1
        try:
            code = attempt.main(folder)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return Done(folder, os.waitstatus_to_exitcode(status), "")


def go_on(old: Path, new: Path) -> Path:
    """A new attempt of the same job with the newest checkpoint of the old one, as the runner gives it."""
    (new / rundir.INPUTS).mkdir(parents=True)
    for path in (old / rundir.INPUTS).iterdir():
        (new / rundir.INPUTS / path.name).write_bytes(path.read_bytes())
    (new / rundir.SPEC).write_bytes((old / rundir.SPEC).read_bytes())
    key = checkpoints.key_from_environment()
    if (newest := checkpoints.newest(old / checkpoints.FOLDER, key)) is not None:
        checkpoints.keep(newest.path, new / checkpoints.RESUME, key)
    return new
