"""Parameters to start a run from. Standard library only."""

from __future__ import annotations

from typing import Any

# "demo" is for the tiny family: its learning rate would ruin a real model. "clinic" is for models of some billions.
DPO: dict[str, dict[str, Any]] = {
    "demo": {
        "beta": 0.1, "learning_rate": 5e-4, "epochs": 1.0, "batch_size": 8, "lora": {"r": 16, "alpha": 32, "dropout": 0.0},
        "nll_weight": 0.0, "warmup_steps": 3,
    },
    "clinic": {
        "beta": 0.1, "learning_rate": 1e-5, "epochs": 1.0, "batch_size": 1, "gradient_accumulation": 16,
        "lora": {"r": 16, "alpha": 32, "dropout": 0.05}, "warmup_share": 0.05, "schedule": "cosine", "targets": "soft", "nll_weight": 0.1,
        "gradient_checkpointing": True, "length_window": 8, "early_stop": 2, "dtype": "bfloat16",
    },
    "test": {
        "beta": 0.1, "learning_rate": 1e-3, "max_steps": 6, "batch_size": 4, "lora": {"r": 4, "alpha": 8, "dropout": 0.0},
    },
}  # fmt: skip
KTO: dict[str, dict[str, Any]] = {
    "kto_demo": {"beta": 0.1, "learning_rate": 5e-4, "epochs": 1.0, "batch_size": 8, "lora": {"r": 16, "alpha": 32}},
    "kto": {
        "beta": 0.1, "learning_rate": 1e-5, "epochs": 1.0, "batch_size": 4, "gradient_accumulation": 4,
        "lora": {"r": 16, "alpha": 32, "dropout": 0.05}, "warmup_share": 0.05, "schedule": "cosine", "gradient_checkpointing": True,
        "length_window": 8,
    },
}  # fmt: skip
GENERATE: dict[str, dict[str, Any]] = {
    "demo": {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 40, "batch_size": 64, "n": 2},
    "clinic": {"temperature": 0.7, "top_p": 0.95, "max_new_tokens": 768, "batch_size": 4, "n": 1},
    "test": {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 16, "batch_size": 32, "n": 2},
}
EVALUATE: dict[str, dict[str, Any]] = {
    "demo": {"max_new_tokens": 40, "batch_size": 64, "indifference": 0.02},
    "clinic": {"max_new_tokens": 768, "batch_size": 4},
    "test": {"max_new_tokens": 16, "batch_size": 32, "bootstrap": 200},
}
