"""Small model folders to merge, made of seeds; and merges in a fork of this process that may be killed between any two calls."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from training.engine import recipes
from training.engine.merging import stream

# The second is more than one chunk, and the third a few entries that no chunk divides.
SHAPES = {
    "model.layers.0.a.weight": (40, 30), "model.layers.0.b.weight": (331, 401), "model.layers.1.a.weight": (40, 30),
    "model.norm.weight": (7,),
}  # fmt: skip
KEY = b"the key of this job"
CHANGING = ("pwrite", "fdatasync", "fsync", "ftruncate", "link", "rename")
TIES = {
    "method": "ties", "base": "base", "inputs": [{"model": "x"}, {"model": "y"}], "parameters": {"weight": 0.6, "density": 0.4},
}  # fmt: skip

Tensors = dict[str, torch.Tensor]


def weights(seed: int, *, near: Tensors | None = None, dtype: torch.dtype = torch.bfloat16) -> Tensors:
    """Random tensors; ``near`` others, as a fine-tuned model's are near its base's."""
    draw = torch.Generator().manual_seed(seed)
    noise = {name: torch.randn(shape, generator=draw) * 0.02 for name, shape in SHAPES.items()}
    return {name: (value if near is None else near[name].float() + value * 0.05).to(dtype) for name, value in noise.items()}


def folder(path: Path, tensors: Tensors, **config: Any) -> Path:
    path.mkdir(parents=True)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps({"model_type": "phi3", "hidden_size": 2, "num_hidden_layers": 2} | config))
    (path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    return path


def family(root: Path) -> dict[str, Path]:
    base = weights(0)
    experts = {name: folder(root / name, weights(seed, near=base)) for seed, name in enumerate("xyz", 1)}
    return {"base": folder(root / "base", base), **experts}


def merged(recipe: Mapping[str, Any], models: Mapping[str, Path], root: Path, **options: Any) -> stream.Merged:
    """Into ``root/output``, by way of ``root/checkpoints``."""
    parsed = recipes.parse(dict(recipe))
    wanted = {name: models[name] for name in parsed.models()}
    return stream.merge(parsed, wanted, root / "output", **{"staging": root / "checkpoints", "key": KEY, "workers": 2, **options})


def digest(output: Path) -> str:
    """Of every file's name and bytes."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(output.iterdir())}
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def on_call(number: int, act: Callable[[Any, tuple[Any, ...]], None]) -> Callable[[], int]:
    """From now on ``act(original, arguments)`` comes before the ``number``-th call that changes the disk; what is returned counts them."""
    count = [0]

    def changed(original: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] == number:
                act(original, args)
            return original(*args, **options)

        return call

    for name in CHANGING:
        setattr(os, name, changed(getattr(os, name)))
    return lambda: count[0]


def die(original: Any, args: tuple[Any, ...]) -> None:
    """In the middle of a write: half of it is there."""
    if original.__name__ == "pwrite":
        original(args[0], memoryview(args[1])[: len(args[1]) // 2], args[2])
    os.kill(os.getpid(), signal.SIGKILL)


def _one_by_one() -> None:
    begin, take = stream._Run.__init__, stream._Run._take

    def alone(run: Any, *args: Any) -> None:
        begin(run, *args)
        run.workers = 1

    def after_the_seal(run: Any) -> Any:
        while run._pending and run._problem is None:
            time.sleep(0.001)
        return take(run)

    stream.SEAL_BYTES = 1
    stream._Run.__init__, stream._Run._take = alone, after_the_seal  # type: ignore[method-assign]


def in_fork(work: Callable[[], object], *, call: int = 0, act: Callable[[Any, tuple[Any, ...]], None] = die) -> tuple[int, int]:
    """(exit status, calls that changed the disk) of ``work`` in a child. One tensor after the other, each sealed before the next: the calls
    are the same ones every time."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _one_by_one()
            count = on_call(call, act)
            work()
            os.write(writer, str(count()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    said = os.read(reader, 20)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), int(said or 0)
