"""Whole model folders, tensor by tensor: what is in memory is one tensor of each model, and the merged model."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from training.engine.errors import BadModel

# What must be the same for a sum of weights to mean anything.
_SAME = ("tokenizer.json",)
_SHAPE = (
    "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "intermediate_size", "tie_word_embeddings", "rope_scaling", "rope_theta", "rope_parameters",
)  # fmt: skip
_CARRIED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip


def check_alike(folders: Mapping[str, Path]) -> None:
    """Raises ``BadModel`` naming the model and file that differ from the first one's."""
    first, *rest = folders
    for name in rest:
        ours, theirs = _config(folders[first]), _config(folders[name])
        for key in _SHAPE:
            if ours.get(key) != theirs.get(key):
                raise BadModel(f"{name}: {key} differs from {first}'s")
        for file in _SAME:
            if _digest(folders[first] / file) != _digest(folders[name] / file):
                raise BadModel(f"{name}: {file} differs from {first}'s")


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadModel("a model folder has no readable config.json") from None
    return config


def layers(folder: Path) -> int:
    return int(_config(folder).get("num_hidden_layers") or 1)


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


class Tensors:
    """The tensors of a folder's safetensors files by name, read when asked for."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._where: dict[str, Any] = {}
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise BadModel("a model folder has no safetensors weights")
        for file in files:
            opened = stack.enter_context(safe_open(file, framework="pt"))
            for name in opened.keys():  # noqa: SIM118 - safe_open is no mapping
                self._where[name] = opened

    def names(self) -> list[str]:
        return sorted(self._where)

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._where[name].get_tensor(name)
        return tensor


def merge(
    folders: Mapping[str, Path], output: Path, combine: Callable[[str, Mapping[str, torch.Tensor]], torch.Tensor],
    on_tensor: Callable[[int, int], None],
) -> int:  # fmt: skip
    """Write ``output`` with ``combine`` of every tensor, in the first model's dtype, and its configuration and
    tokenizer. Calls ``on_tensor(done, total)``. Returns how many tensors. Raises ``BadModel`` on any misfit."""
    check_alike(folders)
    first = next(iter(folders))
    merged: dict[str, torch.Tensor] = {}
    with ExitStack() as stack:
        sources = {name: Tensors(folder, stack) for name, folder in folders.items()}
        names = sources[first].names()
        for model, source in sources.items():
            if source.names() != names:
                raise BadModel(f"{model}: its tensors are not {first}'s")
        for done, name in enumerate(names, start=1):
            parts = {model: source[name] for model, source in sources.items()}
            for model, part in parts.items():
                if part.shape != parts[first].shape:
                    raise BadModel(f"{model}: {name} has another shape than {first}'s")
            made = combine(name, parts)
            if not bool(torch.isfinite(made).all()):
                raise BadModel(f"{name} is not finite after merging")
            merged[name] = made.to(parts[first].dtype).contiguous()
            on_tensor(done, len(names))
    output.mkdir(parents=True, exist_ok=True)
    for file in _CARRIED:
        if (folders[first] / file).exists():
            shutil.copyfile(folders[first] / file, output / file)
    save_file(merged, output / "model.safetensors", metadata={"format": "pt"})
    return len(merged)
