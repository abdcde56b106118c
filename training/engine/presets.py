"""Parameters to start a run from. Standard library only."""

from __future__ import annotations

from typing import Any

# "demo" and "test" are for tiny models: their learning rates would ruin a real one. "clinic" and "paper" are for models of some billions.
#
# "paper" is arXiv 2505.10717: the body (3.1.2) and tables 6 to 8, batch sizes through accumulation on one device. Where it says nothing
# these are readings: all weights are trained (no LoRA is mentioned anywhere), in bfloat16 with float32 copies, and without weight decay.
#
# "clinic" is the standard recipe for one 24 GB card: LoRA r 16, alpha 32, dropout 0.05 on every linear layer, bfloat16, cosine with 5 %
# warm-up, sixteen sequences a step, gradient checkpointing, held-out loss five times a run, early stop. Not measured here.
_FULL: dict[str, Any] = {
    "floor": 0.0, "weight_decay": 0.0, "dtype": "bfloat16", "gradient_checkpointing": True,
}  # fmt: skip
_ADAPTER: dict[str, Any] = {
    "lora": {"r": 16, "alpha": 32, "dropout": 0.05}, "dtype": "bfloat16", "gradient_checkpointing": True, "batch_size": 1,
    "gradient_accumulation": 16, "weight_decay": 0.0, "early_stop": 2,
}  # fmt: skip
BUILD_BASE: dict[str, dict[str, Any]] = {
    "demo": {
        "tokenizer": "documents", "steps": 600, "batch_size": 4, "block": 256, "context": 512, "vocab_size": 4096,
        "intermediate_size": 384,
    },
    "test": {
        "tokenizer": "documents", "steps": 8, "batch_size": 2, "block": 64, "context": 256, "vocab_size": 400, "hidden_size": 32,
        "layers": 1, "heads": 2, "intermediate_size": 32,
    },
}  # fmt: skip
DAPT: dict[str, dict[str, Any]] = {
    # Conflict: the body trains DAPT at 5e-5; table 6 (continual pre-training without PIT) has 1e-4. The body's is taken, the rest is
    # table 6: 4,096 tokens, 35 warm-up steps, NEFTune 5, 16 sequences x 16 devices x 2 = 512 a step, one epoch.
    "paper": {
        "learning_rate": 5e-5, "epochs": 1, "block": 4096, "warmup_steps": 35, "neftune_alpha": 5.0, "batch_size": 16,
        "gradient_accumulation": 32, **_FULL,
    },
    "clinic": {"learning_rate": 1e-4, "epochs": 1, "block": 4096, "neftune_alpha": 5.0, **_ADAPTER},
    "demo": {"learning_rate": 1.5e-3, "epochs": 2, "batch_size": 4, "block": 512},
    "test": {"learning_rate": 1e-3, "steps": 3, "batch_size": 2, "block": 64},
}  # fmt: skip
PIT: dict[str, dict[str, Any]] = {
    # The body: phase one, one epoch at 1e-4; phase two, two epochs at 3e-4; summaries for every group. Batch size, warm-up and length
    # are not given: table 6's are taken. Whether there was noise is not given either: table 6 excludes PIT by name, so there is none.
    "paper": {
        "outputs": "summary", "phase_one_epochs": 1, "phase_one_learning_rate": 1e-4, "epochs": 2, "learning_rate": 3e-4,
        "max_length": 4096, "packing": True, "warmup_steps": 35, "batch_size": 16, "gradient_accumulation": 32,
        "freeze_embeddings": False, **_FULL,
    },
    "clinic": {
        "outputs": "summary", "phase_one_epochs": 1, "phase_one_learning_rate": 1e-4, "epochs": 2, "learning_rate": 3e-4,
        "max_length": 4096, "packing": True, "freeze_embeddings": False, **_ADAPTER,
    },
    "demo": {
        "outputs": "qa", "phase_one_epochs": 1, "phase_one_learning_rate": 5e-4, "epochs": 2, "learning_rate": 1.5e-3, "batch_size": 4,
        "freeze_embeddings": False,
    },
    "test": {"outputs": "qa", "steps": 4, "learning_rate": 1e-3, "batch_size": 2, "freeze_embeddings": False},
}  # fmt: skip
SFT: dict[str, dict[str, Any]] = {
    # Table 7: 2e-5, 40 warm-up steps, two epochs, NEFTune 5, 16 x 8 x 2 = 256 a step. The length is not given.
    "paper": {
        "learning_rate": 2e-5, "epochs": 2, "warmup_steps": 40, "neftune_alpha": 5.0, "batch_size": 16, "gradient_accumulation": 16,
        "packing": True, "max_length": 4096, "freeze_embeddings": False, **_FULL,
    },
    "clinic": {
        "learning_rate": 1e-4, "epochs": 2, "neftune_alpha": 5.0, "packing": True, "max_length": 4096, "freeze_embeddings": False,
        **_ADAPTER,
    },
    "demo": {"learning_rate": 1e-3, "epochs": 2, "batch_size": 8},
    "test": {"learning_rate": 1e-3, "steps": 4, "batch_size": 4},
}  # fmt: skip
DPO: dict[str, dict[str, Any]] = {
    "demo": {
        "beta": 0.1, "learning_rate": 5e-4, "epochs": 1.0, "batch_size": 8, "lora": {"r": 16, "alpha": 32, "dropout": 0.0},
        "nll_weight": 0.0, "warmup_steps": 3,
    },
    # Table 8: 1e-6, 50 warm-up steps, one epoch, beta 0.1, 8 x 16 x 1 = 128 a step. A bare beta is read as the sigmoid loss with hard
    # targets, against the model it starts from.
    "paper": {
        "beta": 0.1, "learning_rate": 1e-6, "epochs": 1.0, "batch_size": 8, "gradient_accumulation": 16, "lora": None,
        "warmup_steps": 50, "schedule": "cosine", "loss": "sigmoid", "targets": "hard", "dtype": "bfloat16",
        "gradient_checkpointing": True,
    },
    # Each pair's own probability, and a tenth of the chosen answer's likelihood beside it. Under 300 pairs, beta 0.3 is safer.
    "clinic": {
        "beta": 0.1, "learning_rate": 1e-5, "epochs": 1.0, "schedule": "cosine", "warmup_share": 0.05, "targets": "soft",
        "nll_weight": 0.1, "length_window": 8, **_ADAPTER,
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
# Where a search for a merge's numbers begins, by method, and between what it looks. For the toy family: the start of breadcrumbs_ties is
# the family's own; ties keeps a fifth of each task vector as its paper does; the others are a plain sum.
SEARCH: dict[str, dict[str, Any]] = {
    "breadcrumbs_ties": {
        "start": {"weight": 2.0, "density": 0.18, "gamma": 0.001},
        "ranges": {"weight": [0.0, 4.0], "density": [0.02, 1.0], "gamma": [0.0, 0.1]},
    },
    "ties": {"start": {"weight": 1.0, "density": 0.2}, "ranges": {"weight": [0.0, 3.0], "density": [0.02, 1.0]}},
    "dare_ties": {"start": {"weight": 1.0, "density": 0.5}, "ranges": {"weight": [0.0, 3.0], "density": [0.05, 1.0]}},
    "task_arithmetic": {"start": {"weight": 1.0}, "ranges": {"weight": [0.0, 3.0]}},
}
