"""Folders as they are found on the Hub, in small: Phi-3.5-mini-instruct's files and configuration, MediPhi's, and a LoRA adapter's.

File lists, keys and `auto_map` are those of the real repositories; only sizes are smaller. Weights are BF16, as theirs are.
"""

import json
import struct
from pathlib import Path
from typing import Any

WIDE, INNER, WORDS, LAYERS, HEADS = 8, 12, 40, 2, 2
LOCAL = {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}
REMOTE = {key: f"microsoft/Phi-3.5-mini-instruct--{place}" for key, place in LOCAL.items()}
TEMPLATE = "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
CARD = "---\nlicense: mit\nlicense_link: https://huggingface.co/microsoft/Phi-3.5-mini-instruct/resolve/main/LICENSE\n---\n# Summary\n"


def config(**changes: Any) -> dict[str, Any]:
    said = {
        "_name_or_path": "Phi-3.5-mini-instruct", "architectures": ["Phi3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "auto_map": LOCAL, "bos_token_id": 1, "embd_pdrop": 0.0, "eos_token_id": 32, "hidden_act": "silu", "hidden_size": WIDE,
        "initializer_range": 0.02, "intermediate_size": INNER, "max_position_embeddings": 131072, "model_type": "phi3",
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "num_key_value_heads": HEADS, "original_max_position_embeddings": 4096,
        "pad_token_id": 32, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05,
        "rope_scaling": {"long_factor": [1.08, 1.11], "short_factor": [1.0, 1.02], "type": "longrope"}, "rope_theta": 10000.0,
        "sliding_window": 262144, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.43.3",
        "use_cache": True, "vocab_size": WORDS,
    }  # fmt: skip
    return {key: value for key, value in (said | changes).items() if value is not None}


def tensors() -> dict[str, list[int]]:
    found = {"model.embed_tokens.weight": [WORDS, WIDE]}
    for n in range(LAYERS):
        found |= {
            f"model.layers.{n}.input_layernorm.weight": [WIDE], f"model.layers.{n}.mlp.down_proj.weight": [WIDE, INNER],
            f"model.layers.{n}.mlp.gate_up_proj.weight": [2 * INNER, WIDE], f"model.layers.{n}.post_attention_layernorm.weight": [WIDE],
            f"model.layers.{n}.self_attn.o_proj.weight": [WIDE, WIDE], f"model.layers.{n}.self_attn.qkv_proj.weight": [3 * WIDE, WIDE],
        }  # fmt: skip
    return found | {"model.norm.weight": [WIDE], "lm_head.weight": [WORDS, WIDE]}


def bf16(shapes: dict[str, list[int]], *, spoil: str = "", bits: int = 0x7FC0) -> bytes:
    """A safetensors file; the last value of the tensor `spoil` has the given bits (a NaN unless told otherwise)."""
    said: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, shape in shapes.items():
        count = 1
        for n in shape:
            count *= n
        values = [0x3F00 + n % 100 for n in range(count)]
        if name == spoil:
            values[-1] = bits
        said[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(body), len(body) + 2 * count]}
        body += struct.pack(f"<{count}H", *values)
    text = json.dumps(said).encode()
    return len(text).to_bytes(8, "little") + text + body


def tokenizer(*, last: int = 34) -> str:
    words = {f"w{n}": n for n in range(32)}
    added = [{"id": n, "content": f"<|special{n}|>", "special": True} for n in range(32, last + 1)]
    return json.dumps({"version": "1.0", "added_tokens": added, "model": {"type": "BPE", "vocab": words, "merges": []}})


def phi(folder: Path, **changes: Any) -> Path:
    """microsoft/Phi-3.5-mini-instruct: two shards, an index, and the code that transformers has as its own by now."""
    folder.mkdir(parents=True)
    shapes = list(tensors().items())
    shards = {"model-00001-of-00002.safetensors": dict(shapes[:7]), "model-00002-of-00002.safetensors": dict(shapes[7:])}
    for name, content in shards.items():
        (folder / name).write_bytes(bf16(content))
    places = {tensor: name for name, content in shards.items() for tensor in content}
    texts = {
        "config.json": json.dumps(config(**changes), indent=2),
        "model.safetensors.index.json": json.dumps({"metadata": {"total_size": 1}, "weight_map": places}),
        "generation_config.json": json.dumps({"_from_model_config": True, "bos_token_id": 1, "eos_token_id": [32, 33], "pad_token_id": 32}),
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "LlamaTokenizer", "chat_template": TEMPLATE}),
        "special_tokens_map.json": json.dumps({"eos_token": {"content": "<|endoftext|>"}}), "added_tokens.json": '{"<|end|>": 33}',
        "README.md": CARD, "LICENSE": "MIT", "NOTICE.md": "NOTICES", "CODE_OF_CONDUCT.md": "x", "SECURITY.md": "x", ".gitattributes": "x",
        "configuration_phi3.py": "raise SystemExit('run')", "modeling_phi3.py": "raise SystemExit('run')",
        "sample_finetune.py": "raise SystemExit('run')",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "tokenizer.model").write_bytes(b"\n\x0esentencepiece")
    return folder


def mediphi(folder: Path) -> Path:
    """A model that transformers saved after it was loaded from Phi-3.5's own repository: no code, but `auto_map` points there."""
    phi(folder, auto_map=REMOTE, _name_or_path="microsoft/Phi-3.5-mini-instruct")
    for name in ("configuration_phi3.py", "modeling_phi3.py", "sample_finetune.py", "NOTICE.md", "CODE_OF_CONDUCT.md", "SECURITY.md"):
        (folder / name).unlink()
    return folder


def lora_config(**changes: Any) -> dict[str, Any]:
    """What PEFT 0.21 writes for attention and MLP of Phi-3."""
    return {
        "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None, "auto_mapping": None,
        "base_model_name_or_path": "microsoft/Phi-3.5-mini-instruct", "bias": "none", "corda_config": None, "ensure_weight_tying": False,
        "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True,
        "layer_replication": None, "layers_pattern": None, "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 4,
        "lora_bias": False, "lora_dropout": 0.05, "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None,
        "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 2, "rank_pattern": {}, "revision": None,
        "target_modules": ["qkv_proj", "down_proj"], "target_parameters": None, "task_type": "CAUSAL_LM", "trainable_token_indices": None,
        "use_dora": False, "use_qalora": False, "use_rslora": False, **changes,
    }  # fmt: skip


def lora_tensors(rank: int = 2) -> dict[str, list[int]]:
    found = {}
    for n in range(LAYERS):
        for module, (out, into) in {"self_attn.qkv_proj": (3 * WIDE, WIDE), "mlp.down_proj": (WIDE, INNER)}.items():
            stem = f"base_model.model.model.layers.{n}.{module}"
            found |= {f"{stem}.lora_A.weight": [rank, into], f"{stem}.lora_B.weight": [out, rank]}
    return found


def lora(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(lora_config(**changes), indent=2))
    (folder / "adapter_model.safetensors").write_bytes(bf16(lora_tensors()))
    (folder / "README.md").write_text("---\nbase_model: microsoft/Phi-3.5-mini-instruct\nlibrary_name: peft\n---\n")
    (folder / "tokenizer.json").write_text(tokenizer())
    return folder
