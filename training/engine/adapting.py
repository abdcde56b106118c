"""LoRA on the way in, whole weights on the way out: what alignment kinds share around TRL's trainers."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from peft import LoraConfig, PeftModel

from training.engine import models, rundir
from training.engine.attempt import Attempt
from training.engine.spec import Lora


def lora_config(lora: Lora | None) -> LoraConfig | None:
    """An adapter on every linear layer but the head, which TRL computes apart; None trains all weights."""
    if lora is None:
        return None
    return LoraConfig(r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear", task_type="CAUSAL_LM")


def only_adapter_dropout(trainer: Any) -> None:
    """TRL switches all dropout off, the adapter's too, without a word. Ours is told not to; what is left on here is the adapter's alone,
    so that the reference, which has no adapter, stays exact."""
    for name, module in trainer.model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" not in name:
            module.p = 0.0


def save(attempt: Attempt, trainer: Any, tokenizer: Any, *, lora: bool) -> None:
    """The trained model as the attempt's output, the adapter merged and also beside it in ``output_adapter``."""
    attempt.check()
    attempt.events.progress("saving", 0, 1)
    trained = trainer.model
    if lora:
        models.save_adapter(trained, attempt.folder / rundir.ADAPTER, base=attempt.source("policy"))
        if trained.dtype != torch.float32:
            # Onto the start model's own weights: rounded to bfloat16, most of a small change would be lost.
            trained = PeftModel.from_pretrained(models.load(attempt.spec.models["policy"])[0], attempt.folder / rundir.ADAPTER)
        trained = trained.merge_and_unload()
    shutil.rmtree(trainer.args.output_dir, ignore_errors=True)  # the trainer's own folder; nothing is kept in it
    # Into a model that TRL has not patched.
    fresh, _ = models.load(attempt.spec.models["policy"])
    models.untie(fresh)
    weights = trained.state_dict()
    fresh.load_state_dict({name: weights[name] for name in fresh.state_dict()})
    models.save(fresh, tokenizer, attempt.output)
    models.copy_tokenizer(attempt.source("policy"), attempt.output)
