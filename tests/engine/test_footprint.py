"""The footprint's formulas against real models: parameters on disk, and what autograd really keeps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import random_phi
from training.engine import footprint
from training.engine.footprint import Plan

pytestmark = pytest.mark.engine

# Phi-3.5-mini-instruct, as its model card gives it.
PHI_35_MINI: dict[str, Any] = {"model_type": "phi3", **random_phi.SIZES}
SMALL: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 2, "num_attention_heads": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": False, "pad_token_id": 0, "eos_token_id": 1,
    "bos_token_id": 1,
}  # fmt: skip


def model_of(config: dict[str, Any], device: str = "cpu") -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    raw = dict(config)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(raw.pop("model_type"), **raw))


def on_disk(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118 - it is no mapping


def test_phi_35_mini_has_3_82_billion_parameters_without_a_weight_in_memory() -> None:
    counted = sum(parameter.numel() for parameter in model_of(PHI_35_MINI, "meta").parameters())
    assert footprint.shape(PHI_35_MINI).parameters() == counted == 3_821_079_552


@pytest.mark.parametrize("kind", footprint.KNOWN)
@pytest.mark.parametrize("change", [{}, {"tie_word_embeddings": True}, {"head_dim": 16}, {"attention_bias": True, "mlp_bias": True}])
def test_parameters_are_counted_exactly(kind: str, change: dict[str, Any], tmp_path: Path) -> None:
    if kind == "qwen2" and "head_dim" in change:
        pytest.skip("Qwen2's configuration has no such field")
    model = model_of(SMALL | change | {"model_type": kind})
    counted = sum(parameter.numel() for parameter in model.parameters())
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert footprint.shape(saved).parameters() == counted == on_disk(tmp_path)


@pytest.mark.parametrize("kind", footprint.KNOWN)
@pytest.mark.parametrize("lora_r", [None, 16])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_keeps_what_the_formula_says(kind: str, lora_r: int | None, dtype: str) -> None:
    """Two layers' saved tensors less one layer's, to the byte."""
    one, two = (_saved(SMALL | {"model_type": kind, "num_hidden_layers": layers}, lora_r, dtype) for layers in (1, 2))
    formula = footprint._layer_bytes(footprint.shape(SMALL | {"model_type": kind}), lora_r=lora_r, dtype=dtype)
    # Weights of an adapter are held once, not once a position.
    assert (two - one) / (2 * 96) == formula


def _saved(config: dict[str, Any], lora_r: int | None, dtype: str) -> int:
    """Bytes that autograd saves in one forward pass over two sequences of 96 tokens, weights not counted: frozen ones in ``dtype``,
    or trained ones computed with in it."""
    import torch
    from peft import LoraConfig, get_peft_model

    model = model_of(config)
    inner = model.model
    if lora_r:
        model = model.to(getattr(torch, dtype))
        model = get_peft_model(model, LoraConfig(r=lora_r, target_modules="all-linear", task_type="CAUSAL_LM"))
        model.enable_input_require_grads()
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    # Copies of weights, which autocast makes, are counted with the weights.
    shapes = {
        shape
        for parameter in inner.parameters()
        if parameter.dim() == 2
        for shape in (tuple(parameter.shape), tuple(parameter.shape[::-1]))
    }
    kept, seen = [], {}

    def pack(tensor: Any) -> Any:
        kept.append(tensor)  # so that no address is used twice
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    narrow = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16" and not lora_r)
    with narrow, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        inner(input_ids=torch.zeros((2, 96), dtype=torch.long))
    cast = {tensor.untyped_storage().data_ptr() for tensor in kept if tensor.dim() == 2 and tuple(tensor.shape) in shapes}
    return sum(size for address, size in seen.items() if address not in parameters | cast)


def test_an_adapter_is_counted_exactly() -> None:
    from peft import LoraConfig, get_peft_model

    for kind in footprint.KNOWN:
        config = SMALL | {"model_type": kind}
        model = get_peft_model(model_of(config), LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        assert footprint.shape(config).adapter(16) == trained


def test_what_it_takes_to_train_phi_35_mini() -> None:
    """Figures one can check by hand: 3.82 G parameters."""
    pair = {"sequences": 2, "tokens": 1750, "prompt": 1500, "gradient_checkpointing": True}
    full = footprint.of(PHI_35_MINI, Plan(**pair, reference="live"))
    state = {part.name: part.bytes for part in full.parts}
    assert state["weights"] == state["gradients"] == state["reference"] == 4 * 3_821_079_552
    assert state["optimizer"] == 8 * 3_821_079_552
    assert full.checkpoint == 12 * 3_821_079_552  # weights and both moments: 45.9 GB
    lora = footprint.of(PHI_35_MINI, Plan(**pair, lora_r=16, dtype="bfloat16", reference="live", device="cuda"))
    state = {part.name: part.bytes for part in lora.parts}
    # r·(in + out) of the four linear maps of 32 layers.
    assert lora.trained == 32 * 16 * ((3072 + 9216) + (3072 + 3072) + (3072 + 16384) + (8192 + 3072)) == 25_165_824
    assert (lora.dtype, state["weights"]) == ("bfloat16", 2 * 3_821_079_552)
    assert "reference" not in state  # the adapter switched off is its own reference
    assert 9e9 < lora.memory < 14e9
    shared = footprint.of(PHI_35_MINI, Plan(**pair, lora_r=16, shared_prefix=True))
    assert (lora.plan.positions, shared.plan.positions) == (2 * 1750, 1500 + 2 * 250)


def test_an_unknown_architecture_is_named_and_not_guessed() -> None:
    with pytest.raises(footprint.Unknown, match="'gpt2' is none of phi3"):
        footprint.shape({"model_type": "gpt2"})
    with pytest.raises(footprint.Unknown, match="hidden_size is missing"):
        footprint.shape({"model_type": "phi3", "num_attention_heads": 4})


@pytest.mark.parametrize(
    ("rows", "how", "expected"),
    [
        (100, {"batch_size": 8}, 13),
        (100, {"batch_size": 1, "accumulation": 16}, 7),
        (100, {"batch_size": 8, "epochs": 2.0}, 26),
        (100, {"batch_size": 4, "processes": 2}, 13),
        (100, {"batch_size": 4, "most": 6}, 6),
    ],
)
def test_steps(rows: int, how: dict[str, Any], expected: int) -> None:
    assert footprint.steps(rows=rows, **how) == expected
