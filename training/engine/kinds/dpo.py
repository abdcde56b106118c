"""Direct preference optimisation by TRL, of a LoRA adapter or of all weights.

The trainer is TRL's own; the one thing replaced is its tokenising, because there a control token written in a
clinician's text would become one, and a pair that is too long would be cut or dropped without a word.
"""

from __future__ import annotations

import math
import shutil
from typing import Any

import datasets
import torch
import transformers
from peft import LoraConfig
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import DPOConfig, DPOTrainer

from training.engine import models, tokens
from training.engine.attempt import Attempt, Outcome
from training.engine.errors import ReferenceMismatch, TooFewPairs, TooLong
from training.engine.spec import Dpo

LN2 = math.log(2)
TOLERANCE = 1e-3


class TokenisedDPOTrainer(DPOTrainer):
    """TRL's trainer for pairs that already are ids. Pinned to TRL 1.16, whose private step this replaces."""

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        return dataset


class _Report(TrainerCallback):
    """Metrics as they come, the check of the first loss, and a stop at the next step when asked."""

    def __init__(self, attempt: Attempt, nll_weight: float) -> None:
        self.attempt, self.nll_weight, self.first_loss = attempt, nll_weight, math.nan

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        for name, value in (logs or {}).items():
            if isinstance(value, int | float) and name not in ("epoch", "total_flos"):
                self.attempt.events.metric(state.global_step, name, float(value))
        if logs and "rewards/margins" in logs and math.isnan(self.first_loss):
            self.first_loss = LN2 if logs["rewards/margins"] == 0 else math.inf
            # With no other term the loss itself says so too, and it is the figure people know.
            if not self.nll_weight:
                self.first_loss = float(logs.get("loss", math.nan))
            if not abs(self.first_loss - LN2) < TOLERANCE:
                control.should_training_stop = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.attempt.events.progress("training", state.global_step, state.max_steps)
        if self.attempt.stopping:
            control.should_training_stop = True


def run(attempt: Attempt) -> Outcome:
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Dpo)
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    models.set_threads(attempt.spec.threads, seed)
    pairs = attempt.rows("train.jsonl", prompt=list, chosen=list, rejected=list)
    if len(pairs) < params.minimum_pairs:
        raise TooFewPairs(f"{len(pairs)} pairs, and this run asks for at least {params.minimum_pairs}")
    model, tokenizer = models.load(attempt.spec.models["policy"])
    attempt.events.progress("tokenizing", 0, 1)
    train = _tokenise(tokenizer, pairs)
    longest = max(len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in train)
    limit = min(params.max_length or longest, models.context(model))
    _refuse_long(train, limit, "train.jsonl")
    held: list[dict[str, list[int]]] = []
    if (attempt.inputs / "validation.jsonl").exists():
        held = _tokenise(tokenizer, attempt.rows("validation.jsonl", prompt=list, chosen=list, rejected=list))
        _refuse_long(held, models.context(model), "validation.jsonl")

    reference = None
    if params.lora is None:
        reference, _ = models.load(attempt.spec.models["policy"])
    steps = params.max_steps or -1
    config = DPOConfig(
        output_dir=str(attempt.folder / "trainer"), use_cpu=not torch.cuda.is_available(), bf16=False, seed=seed,
        data_seed=seed, beta=params.beta, learning_rate=params.learning_rate, num_train_epochs=params.epochs,
        max_steps=steps, per_device_train_batch_size=params.batch_size, per_device_eval_batch_size=params.batch_size,
        gradient_accumulation_steps=params.gradient_accumulation, max_length=None, warmup_steps=params.warmup_steps,
        lr_scheduler_type=params.schedule, weight_decay=params.weight_decay, logging_steps=1, save_strategy="no",
        activation_checkpointing=params.gradient_checkpointing, report_to=[], disable_tqdm=True,
        loss_type=["sigmoid", "sft"] if params.nll_weight else ["sigmoid"],
        loss_weights=[1.0, params.nll_weight] if params.nll_weight else None, eval_strategy="no", dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )  # fmt: skip
    report = _Report(attempt, params.nll_weight)
    lora = params.lora
    attempt.check()
    trainer = TokenisedDPOTrainer(
        model=model, ref_model=reference, args=config, train_dataset=datasets.Dataset.from_list(train),
        eval_dataset=datasets.Dataset.from_list(held) if held else None, processing_class=tokenizer, callbacks=[report],
        peft_config=lora and LoraConfig(
            r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )  # fmt: skip
    for callback in (transformers.PrinterCallback, transformers.ProgressCallback):
        trainer.remove_callback(callback)
    attempt.events.log(f"{len(train)} pairs to train on, {len(held)} held out, longest {longest} tokens")
    trainer.train()
    attempt.check()
    if not abs(report.first_loss - LN2) < TOLERANCE:
        raise ReferenceMismatch(f"the first loss is {report.first_loss:.4f} and not ln 2 = {LN2:.4f}")
    metrics: dict[str, Any] = {
        "pairs": len(train), "steps": trainer.state.global_step, "max_length": limit, "first_loss": report.first_loss,
    }  # fmt: skip
    history = [row for row in trainer.state.log_history if "rewards/accuracies" in row]
    tail = history[-max(1, len(history) // 5) :]
    for name, key in (("loss", "loss"), ("train_accuracy", "rewards/accuracies"), ("train_margin", "rewards/margins")):
        values = [row[key] for row in tail if key in row]
        if values:
            metrics[name] = sum(values) / len(values)
    if held:
        attempt.events.progress("evaluating", 0, len(held))
        seen = trainer.evaluate()
        metrics |= {
            "validation_pairs": len(held), "validation_loss": float(seen["eval_loss"]),
            "validation_accuracy": float(seen["eval_rewards/accuracies"]),
        }  # fmt: skip
    attempt.check()
    attempt.events.progress("saving", 0, 1)
    trained = trainer.model
    if lora is not None:
        trained.save_pretrained(attempt.folder / "output_adapter")
        trained = trained.merge_and_unload()
    shutil.rmtree(config.output_dir, ignore_errors=True)  # the trainer's own folder; nothing is kept in it
    models.save(_clean(trained, attempt), tokenizer, attempt.output)
    models.copy_tokenizer(attempt.source("policy"), attempt.output)
    return Outcome(metrics, model=True)


def _tokenise(tokenizer: Any, pairs: list[dict[str, Any]]) -> list[dict[str, list[int]]]:
    rows = []
    for pair in pairs:
        start, chosen = tokens.split_completion(tokenizer, pair["prompt"], pair["chosen"])
        again, rejected = tokens.split_completion(tokenizer, pair["prompt"], pair["rejected"])
        shared = min(len(start), len(again))  # both must leave the same prompt
        rows.append({
            "prompt_ids": start[:shared], "chosen_ids": start[shared:] + chosen, "rejected_ids": again[shared:] + rejected,
        })  # fmt: skip
    return rows


def _refuse_long(rows: list[dict[str, list[int]]], limit: int, name: str) -> None:
    for number, row in enumerate(rows, start=1):
        size = len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
        if size > limit:
            raise TooLong(f"pair {number} of {name} has {size} tokens, the limit is {limit}; nothing is cut silently")


def _clean(trained: Any, attempt: Attempt) -> Any:
    """The trained weights in a model that TRL has not patched, ready to save."""
    fresh, _ = models.load(attempt.spec.models["policy"])
    models.untie(fresh)
    weights = trained.state_dict()
    fresh.load_state_dict({name: weights[name] for name in fresh.state_dict()})
    return fresh
