"""LoRA adapters in a merge: a PEFT folder as the change it stands for, B·A·scale, computed exactly in float32 where it is read; and the
way back, the best adapter of a rank for the difference of two models.

Format: adapter_config.json and adapter_model.safetensors as PEFT writes them. Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from training.engine.errors import BadModel
from training.engine.merging import plan
from training.engine.merging.sources import Changed, Reader, Source, Weights

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX, BASE_LAYER = "base_model.model.", ".base_layer.weight"
# What an adapter may be told to do besides adding B·A: each changes what it means, and none is computed here.
_UNKNOWN = {
    "use_dora": "DoRA", "lora_bias": "a LoRA bias", "alora_invocation_tokens": "aLoRA", "arrow_config": "Arrow", "use_qalora": "QALoRA",
    "trainable_token_indices": "trained token embeddings", "layer_replication": "layer replication", "megatron_config": "Megatron",
    "use_bdlora": "BD-LoRA", "target_parameters": "target_parameters", "exclude_modules": None,
}  # fmt: skip


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


@dataclass(frozen=True)
class Lora:
    """What one adapter adds to one tensor: ``left`` (rows, r) times ``right`` (r, columns), the scale in ``left``. float32."""

    left: torch.Tensor
    right: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return (self.left.shape[0], self.right.shape[1])


class _Product:
    """A reader of left·right, by the rows that a stretch touches."""

    def __init__(self, lora: Lora) -> None:
        self._lora = lora

    def read(self, start: int, stop: int) -> torch.Tensor:
        columns = self._lora.shape[1]
        first, last = start // columns, -(-stop // columns)
        rows = self._lora.left[first:last] @ self._lora.right
        return rows.reshape(-1)[start - first * columns : stop - first * columns]


def on(base: Source, folder: Path, model: str) -> Source:
    """``base`` with the adapter of ``folder`` on it. Raises ``BadModel`` naming what does not fit, or is not plain LoRA."""
    found, copies = _read(folder, model)
    for name, copy in copies.items():
        if name not in base.layout or base.layout[name].shape != copy.shape or not _same(base.open(name), copy):
            raise BadModel(f"{model}: the adapter brings along a {name} that is not the base's")
    for name, lora in found.items():
        if name not in base.layout:
            raise BadModel(f"{model}: the adapter changes {name}, which the base has not")
        if lora.shape != base.layout[name].shape:
            expected, shape = list(base.layout[name].shape), list(lora.shape)
            raise BadModel(f"{model}: the adapter's {name} has another shape than the base's: found {shape}, expected {expected}")
    return Changed(base, lambda name: _Product(found[name]) if name in found else None)


def fingerprint(folder: Path) -> str:
    """SHA-256 of the adapter's two files, which are small."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in (CONFIG, WEIGHTS) if (folder / name).exists())).hexdigest()


def _same(reader: Reader, copy: torch.Tensor) -> bool:
    """In what type the copy was saved makes no difference."""
    stored = reader.read(0, copy.numel()).view(copy.shape)
    return torch.equal(stored, copy.float()) or torch.equal(stored.to(copy.dtype), copy)


def read(folder: Path, model: str = "the adapter") -> dict[str, Lora]:
    """Every changed tensor's name in the base, and its change. Raises ``BadModel`` for anything but plain LoRA of linear layers and
    embeddings: DoRA, biases, whole modules saved along."""
    return _read(folder, model)[0]


def _read(folder: Path, model: str) -> tuple[dict[str, Lora], dict[str, torch.Tensor]]:
    """(changes, what is said of the base itself: PEFT saves the table along when it adapts an embedding)."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        plan.read_header(folder / WEIGHTS, model)
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError):
        raise BadModel(f"{model}: the folder has no readable {CONFIG} and {WEIGHTS}") from None
    _check(config, model)
    by_module: dict[str, dict[str, torch.Tensor]] = {}
    copies: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        if key.endswith(BASE_LAYER):
            copies[key.removeprefix(PREFIX).removesuffix(BASE_LAYER) + ".weight"] = tensor
            continue
        named = re.fullmatch(r"(?:base_model\.model\.)?(.+)\.lora_(embedding_)?([AB])(?:\.[^.]+)?(?:\.weight)?", key)
        if named is None:
            raise BadModel(f"{model}: {key} is no part of a plain LoRA adapter")
        if tensor.dim() != 2:
            raise BadModel(f"{model}: {key} has {tensor.dim()} dimensions; only linear layers and embeddings can be merged")
        by_module.setdefault(named[1], {})[(named[2] or "") + named[3]] = tensor.float()
    made = {}
    for module, pair in by_module.items():
        a, b = pair.get("A", pair.get("embedding_A")), pair.get("B", pair.get("embedding_B"))
        if a is None or b is None or a.shape[0] != b.shape[1]:
            raise BadModel(f"{model}: {module} has no fitting pair of A and B")
        scale = _scale(config, module, a.shape[0])
        # An embedding's table, and a layer that stores its weight as (in, out), take the product the other way round.
        turned = "embedding_A" in pair or bool(config.get("fan_in_fan_out"))
        made[f"{module}.weight"] = Lora(a.T.contiguous() * scale, b.T.contiguous()) if turned else Lora(b * scale, a)
    if not made:
        raise BadModel(f"{model}: the adapter is empty")
    return made, copies


def _check(config: Mapping[str, Any], model: str) -> None:
    if config.get("peft_type") != "LORA":
        raise BadModel(f"{model}: the adapter is of type {config.get('peft_type')}, and only LORA can be merged")
    for key, what in _UNKNOWN.items():
        if what and config.get(key):
            raise BadModel(f"{model}: the adapter uses {what} ({key}), which is more than B·A")
    if config.get("modules_to_save"):
        raise BadModel(f"{model}: the adapter brings whole modules along (modules_to_save), which is more than B·A")
    if config.get("bias", "none") != "none":
        raise BadModel(f"{model}: the adapter trains biases (bias), which is more than B·A")


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / r, with rsLoRA alpha / √r (arXiv 2312.03732); patterns name modules with an alpha of their own."""
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
            break
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


# --- the way back ------------------------------------------------------------------------------------------------------------------

# Columns beyond the rank, and passes over the matrix and back: with them the randomised decomposition is the exact one to float32 on
# spectra of fine-tuning, which fall slowly (Halko, Martinsson and Tropp 2011, algorithm 4.4).
OVERSAMPLING, PASSES = 16, 6
# A smaller side than this is decomposed whole.
EXACT_SIDE = 512


def extract(
    base: Path, expert: Path, output: Path, *, rank: int, wanted: Callable[[str], bool] | None = None, called: str = "base",
    check: Callable[[], None] = lambda: None, on_tensor: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Write to ``output`` the LoRA adapter of ``rank`` that comes nearest to what makes ``expert`` of ``base``; deterministic.

    ``wanted`` chooses tensors by name (default: the layers' matrices, not embedding and head); ``called`` is what the adapter says its
    base is; ``check`` may raise to stop, ``on_tensor(done, total)`` hears of progress. Returns, a tensor, ``norm`` of its change,
    ``error`` as a share of it, and ``bound``, the least that any rank-r matrix could leave by the singular values found. Changes of other
    tensors are lost: they are in what is returned with error 1. Raises ``BadModel`` for models that do not fit.
    """
    plan.check_alike({"base": base, "expert": expert})
    wanted = wanted or (lambda name: ".layers." in f".{name}")
    told: dict[str, dict[str, float]] = {}
    tensors: dict[str, torch.Tensor] = {}
    with ExitStack() as stack:
        models = {"base": Weights(base, stack, "base"), "expert": Weights(expert, stack, "expert")}
        plan.check_layouts({name: weights.layout for name, weights in models.items()})
        layout = models["base"].layout
        for done, (name, entry) in enumerate(layout.items()):
            check()
            on_tensor(done, len(layout))
            if entry.dtype not in plan.FLOATS:
                continue
            delta = (_all_of(models["expert"].open(name), entry.numel) - _all_of(models["base"].open(name), entry.numel)).view(entry.shape)
            norm = float(delta.double().norm())
            if norm == 0:
                continue
            if len(entry.shape) != 2 or not wanted(name) or not name.endswith(".weight"):
                told[name] = {"norm": norm, "error": 1.0, "bound": 1.0}
                continue
            left, right, bound = nearest(delta, rank)
            module = PREFIX + name.removesuffix(".weight")
            tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"] = right, left
            told[name] = {"norm": norm, "error": float((delta - left @ right).double().norm()) / norm, "bound": bound}
    if not tensors:
        raise BadModel("expert: none of the wanted matrices differs from the base's")
    _save(output, tensors, rank, called)
    return told


def nearest(delta: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """(left (m, r), right (r, n), bound) with left·right nearest to ``delta`` (m, n) in the Frobenius norm: its largest singular triples,
    the singular values' roots on either side. Padded with zeros where ``delta`` has a smaller side. Eckart and Young 1936."""
    k = min(rank, *delta.shape)
    u, s, v = _triples(delta, k)
    total = float(delta.double().square().sum())
    bound = math.sqrt(max(0.0, total - float(s.double().square().sum())) / total) if total else 0.0
    root = s.sqrt()
    left, right = torch.zeros(delta.shape[0], rank), torch.zeros(rank, delta.shape[1])
    left[:, :k], right[:k] = u * root, root.unsqueeze(1) * v
    return left, right, bound


def _triples(delta: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The ``k`` largest singular triples: (m, k), (k,), (k, n)."""
    if min(delta.shape) <= max(EXACT_SIDE, k + OVERSAMPLING):
        u, s, v = torch.linalg.svd(delta.double(), full_matrices=False)
        return u[:, :k].float(), s[:k].float(), v[:k].float()
    draws = torch.Generator().manual_seed(0)
    basis = delta @ torch.randn(delta.shape[1], k + OVERSAMPLING, generator=draws)
    for _ in range(PASSES):
        basis = delta @ torch.linalg.qr(delta.T @ torch.linalg.qr(basis).Q).Q
    basis = torch.linalg.qr(basis).Q
    u, s, v = torch.linalg.svd((basis.T @ delta).double(), full_matrices=False)
    return basis @ u[:, :k].float(), s[:k].float(), v[:k].float()


def _all_of(reader: Reader, count: int) -> torch.Tensor:
    return reader.read(0, count)


def _save(output: Path, tensors: Mapping[str, torch.Tensor], rank: int, called: str) -> None:
    modules: Sequence[str] = sorted({name.split(".")[-3] for name in tensors})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "lora_dropout": 0.0, "bias": "none",
        "target_modules": modules, "fan_in_fan_out": False, "inference_mode": True, "base_model_name_or_path": called,
    }  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in sorted(tensors.items())}, output / WEIGHTS, metadata={"format": "pt"})
    (output / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
