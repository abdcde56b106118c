"""Model folders: safetensors in, safetensors out, never remote code, never tied weights on disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, Phi3Config, Phi3ForCausalLM

from training.engine import tokens
from training.engine.errors import BadModel
from training.engine.spec import Lora

# Architectures whose logits are the output layer's, with nothing after it: for these it is only asked where there is a label.
PLAIN_HEADS = frozenset({"llama", "mistral", "phi3", "qwen2", "qwen3"})


def fresh_phi3(*, tokenizer: Any, hidden: int, layers: int, heads: int, intermediate: int, seed: int, context: int = 512) -> Any:
    """An untrained Phi-3 for ``tokenizer``, its vocabulary rounded up to 64, input and output embeddings tied while it
    trains (half the rows to learn at this size) and untied when saved."""
    torch.manual_seed(seed)
    config = Phi3Config(
        vocab_size=(len(tokenizer) + 63) // 64 * 64, hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, intermediate_size=intermediate,
        max_position_embeddings=context, original_max_position_embeddings=context, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        attention_dropout=0.0, resid_pdrop=0.0, embd_pdrop=0.0, initializer_range=0.04,
    )  # fmt: skip
    return Phi3ForCausalLM(config)


def load_to_write(folder: str) -> tuple[Any, Any]:
    """(model, tokenizer) where writing is fastest: on a GPU in bfloat16 if there is one, else as ``load``."""
    if not torch.cuda.is_available():
        return load(folder)
    model, tokenizer = load(folder, dtype="bfloat16")
    return model.to("cuda"), tokenizer


def load(folder: str, dtype: str = "float32") -> tuple[Any, Any]:
    """(model, tokenizer) of a folder, on the CPU. Raises ``BadModel`` for anything but safetensors."""
    path = Path(folder)
    if not any(path.glob("*.safetensors")):
        raise BadModel("the model folder has no safetensors weights")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=getattr(torch, dtype)
        )
    except (OSError, ValueError, RuntimeError) as problem:
        raise BadModel(f"no causal language model can be loaded from the folder ({type(problem).__name__})") from None
    model.eval()
    return model, tokens.load(path)


def device() -> torch.device:
    """Where the plain loop computes: the first GPU there is, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def digest(folder: Path) -> str:
    """Of a model folder's weights: the SHA-256 of their files' names and digests."""
    parts = []
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            parts.append(f"{path.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n")
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def context(model: Any) -> int:
    """Longest sequence the model may see."""
    return int(getattr(model.config, "max_position_embeddings", 2**31))


def switch_of(model: Any) -> int | None:
    """The length above which a model changes its position factors, or None when it has one set of them.

    transformers chooses them by the largest position in a batch (LongRoPE), so no batch may hold sequences of both sides.
    """
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in ("longrope", "su", "yarn") or "short_factor" not in rope:
        return None
    original = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return int(original) if original else None


def training_context(model: Any) -> int:
    """Longest sequence the plain loop trains on: up to where the position factors change (4,096 for Phi-3.5). Beyond it a row's
    log-probabilities would depend on its neighbours."""
    return min(context(model), switch_of(model) or context(model))


def plain(model: Any) -> Any:
    """The model itself, whether or not it wears an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def has_plain_head(model: Any) -> bool:
    return plain(model).config.model_type in PLAIN_HEADS


def body(model: Any) -> Any:
    """Everything below the output layer, adapters included."""
    return plain(model).base_model


def head(model: Any) -> Any:
    return plain(model).get_output_embeddings()


def adapted(model: Any, lora: Lora) -> Any:
    """The model with a fresh LoRA adapter on every linear layer; only the adapter trains, in float32."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear", task_type="CAUSAL_LM"
    )  # fmt: skip
    return get_peft_model(model, config)


def merged(model: Any) -> Any:
    """The adapter added into the weights it adapts, in float32; the sum is then rounded to the dtype the weights had."""
    dtype = next(parameter.dtype for parameter in model.parameters() if not parameter.requires_grad)
    return model.to(torch.float32).merge_and_unload().to(dtype)


def save_adapter(model: Any, folder: Path, *, base: Path) -> None:
    """The adapter alone, as PEFT reads it. Its base is named by the folder's name, a digest: a path would be this machine's business."""
    model.save_pretrained(folder)
    config = folder / "adapter_config.json"
    said = json.loads(config.read_text(encoding="utf-8")) | {"base_model_name_or_path": base.name}
    config.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's own empty card, with the path in it


def untie(model: Any) -> None:
    """Give the output layer its own copy of the embedding: mergers compare tensors by name and expect both."""
    if getattr(model.config, "tie_word_embeddings", False):
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(model.get_input_embeddings().weight.detach().clone())
        model.config.tie_word_embeddings = False
        model._tied_weights_keys = None
        if hasattr(model, "all_tied_weights_keys"):
            model.all_tied_weights_keys = {}


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A complete folder: weights, configuration, generation settings, tokenizer and chat template."""
    untie(model)
    named = getattr(model.generation_config, "eos_token_id", None)
    # Some models end a turn with another token than the tokenizer's; what their folder says stays said.
    ends = {*tokens.stop_ids(tokenizer), *(named if isinstance(named, list) else [] if named is None else [named])}
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id, eos_token_id=sorted(ends)
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Carry a tokenizer over byte for byte, so that its digest stays the family's."""
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "chat_template.jinja",
)  # fmt: skip


def set_threads(threads: int, seed: int) -> None:
    """Before any arithmetic: as many threads as the spec says, and every random choice from its seed."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
