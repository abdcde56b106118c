"""Phi-3.5 in small, an expert of it and a LoRA adapter for it, as rows with real files: what adapters are tried on without an engine."""

from pathlib import Path
from typing import Any

from modelhub import imports
from modelhub.models import Kind, ModelVersion
from tests.modelhub import real

EXTRACTED: dict[str, Any] = {
    "rank": 2, "error": 0.5, "error_of_matrices": 0.25, "held": 2, "not_held": 1,
    "extraction": {"tensors": [
        {"name": "model.layers.0.mlp.down_proj.weight", "layer": 0, "module": "mlp.down_proj", "norm": 3.0, "error": 0.25, "bound": 0.25},
        {"name": "model.layers.1.mlp.down_proj.weight", "layer": 1, "module": "mlp.down_proj", "norm": 4.0, "error": 0.125, "bound": 0.125},
        {"name": "model.norm.weight", "layer": None, "module": "norm", "norm": 1.0, "error": 1.0, "bound": 1.0},
    ]},
}  # fmt: skip


def base(folder: Path) -> ModelVersion:
    return imports.import_folder(folder=real.phi(folder / "phi"), name="phi", kind=Kind.BASE, actor=None).version


def expert(folder: Path, name: str = "ward", **changes: Any) -> ModelVersion:
    """The same with one number changed in its last layer."""
    made = real.phi(folder / name, **changes)
    shapes = dict(list(real.tensors().items())[7:])
    (made / "model-00002-of-00002.safetensors").write_bytes(real.bf16(shapes, spoil="model.norm.weight", bits=0x3F80))
    return imports.import_folder(folder=made, name=name, kind=Kind.EXPERT, actor=None).version


def adapter(folder: Path, onto: ModelVersion, name: str = "lora") -> ModelVersion:
    return imports.import_adapter(folder=real.lora(folder / name), base=onto, name=name, same_base=True, actor=None).version
