"""A model folder with Phi-3.5-mini's configuration and random weights: the shape of the real work without anybody's weights.

Writes config.json, the toy family's tokenizer (2,700 tokens of the 32,064 the configuration has room for; no Phi tokenizer is on this
machine) and bfloat16 safetensors. What it answers is noise; seconds, memory and files are those of the real model. docs/gpu.md trains it.

Needs: the engine's packages; for all 32 layers 8 GB of RAM and 8 GB of disk. --layers 1 makes a small one of the same width.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

# Sizes of microsoft/Phi-3.5-mini-instruct by its model card. Its LongRoPE factors are not: lists of ones, which leave RoPE as it is.
SIZES: dict[str, Any] = {
    "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "max_position_embeddings": 131072, "original_max_position_embeddings": 4096, "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, "long_factor": [1.0] * 48, "short_factor": [1.0] * 48},
}  # fmt: skip


def make(folder: Path, *, layers: int, seed: int) -> int:
    """Write the folder; returns the number of parameters."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    from training.engine import models, tokens

    tokenizer = tokens.build(2700, seed=0)
    tokenizer.model_max_length = SIZES["max_position_embeddings"]
    config = Phi3Config(
        **SIZES | {"num_hidden_layers": layers}, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = Phi3ForCausalLM(config)
    finally:
        torch.set_default_dtype(usual)
    models.save(model, tokenizer, folder)
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write it; must not exist")
    parser.add_argument("--layers", type=int, default=32, help="how many of the 32 layers (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f"{options.folder} exists")
    count = make(options.folder, layers=options.layers, seed=options.seed)
    print(f"{count:,} parameters in {options.folder}")


if __name__ == "__main__":
    main()
