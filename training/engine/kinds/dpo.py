"""Direct preference optimisation by TRL, of a LoRA adapter or of all weights.

The trainer is TRL's own with the additions of training.engine.preferences. Tokenising is ours, because there a control token written in
a clinician's text would become one, and a pair that is too long would be cut or dropped without a word.
"""

from __future__ import annotations

import time
from typing import Any

import datasets
import torch
import transformers
from trl import DPOConfig

from training.engine import adapting, buckets, models, ranks, tokens
from training.engine.attempt import Attempt, Outcome
from training.engine.errors import InputError, SpecError, TooFewPairs, TooLong
from training.engine.preferences import Collator, PreferenceTrainer, ReferenceStore, Tokenised, length
from training.engine.spec import Dpo
from training.engine.trainer import Course
from training.engine.watchdogs import Watchdog

TRAIN, HELD, REPLAY = "train.jsonl", "validation.jsonl", "replay.jsonl"


def run(attempt: Attempt) -> Outcome:
    began = time.monotonic()
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Dpo)
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    models.set_threads(attempt.spec.threads, seed)
    pairs = _pairs(attempt, params, TRAIN)
    if len(pairs) < params.minimum_pairs:
        raise TooFewPairs(f"{len(pairs)} pairs, and this run asks for at least {params.minimum_pairs}")
    replayed = _pairs(attempt, params, REPLAY) if params.replay else []
    model, tokenizer = models.load(attempt.spec.models["policy"])
    if params.dtype == "bfloat16" and params.lora is not None:
        model = model.to(torch.bfloat16)
    attempt.events.progress("tokenizing", 0, 1)
    train, held = _tokenise(tokenizer, pairs + replayed), []
    longest = max(map(length, train))
    limit = min(params.max_length or longest, models.context(model))
    _refuse_long(train[: len(pairs)], limit, TRAIN)
    _refuse_long(train[len(pairs) :], limit, REPLAY)
    if (attempt.inputs / HELD).exists():
        held = _tokenise(tokenizer, _pairs(attempt, params, HELD))
        _refuse_long(held, models.context(model), HELD)

    trainer = build(attempt, params, model, tokenizer, train, held, replay_rows=len(replayed))
    attempt.events.log(f"{len(pairs)} pairs to train on, {len(held)} held out, {len(replayed)} to replay from, longest {longest} tokens")
    startup = time.monotonic() - began
    trainer.go()
    if attempt.spec.probe:
        return Outcome(trainer.probed(startup))
    metrics = _metrics(attempt, trainer, pairs=len(pairs), replayed=len(replayed), held=len(held), limit=limit)
    if ranks.first():
        adapting.save(attempt, trainer, tokenizer, lora=params.lora is not None)
    return Outcome(metrics, model=True)


def build(
    attempt: Attempt, params: Dpo, model: Any, tokenizer: Any, train: list[Tokenised], held: list[Tokenised], *, replay_rows: int = 0
) -> PreferenceTrainer:
    """The trainer, its reference log-probabilities computed or found. The last ``replay_rows`` of ``train`` are the replay pool."""
    seed, switch, lora = attempt.spec.seed, models.switch_of(model), params.lora
    lengths = list(map(length, train))
    window = getattr(model.config, "sliding_window", None)
    if params.shared_prefix and window is not None and window < max(lengths):
        raise SpecError("params.shared_prefix", f"the model's attention reaches back {window} tokens, and a pair has {max(lengths)}")
    accumulation = params.gradient_accumulation * ranks.world()
    plan = buckets.plan(
        lengths, batch_size=params.batch_size, seed=seed, epochs=params.epochs, switch=switch, window=params.length_window,
        batches=params.max_steps and params.max_steps * accumulation, replay=params.replay, replay_rows=replay_rows,
    )  # fmt: skip
    steps = -(-len(plan) // accumulation)
    stored = params.reference == "stored"
    soft = params.loss == "sigmoid" and params.ld_alpha is None
    course = Course(
        ids=[row["id"] for row in train],
        tokens=[2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in train],
        plan=plan,
        held_plan=buckets.by_length([length(row) for row in held], batch_size=params.batch_size, switch=switch),
        fixed=[(row["prompt_ids"], row["chosen_ids"]) for row in train[:4]],
    )
    config = DPOConfig(
        output_dir=str(attempt.folder / "trainer"), use_cpu=not torch.cuda.is_available(), seed=seed, data_seed=seed,
        bf16=params.dtype == "bfloat16" and lora is None, beta=params.beta, learning_rate=params.learning_rate, num_train_epochs=1,
        per_device_train_batch_size=params.batch_size, per_device_eval_batch_size=params.batch_size,
        gradient_accumulation_steps=params.gradient_accumulation, max_length=None,
        warmup_steps=round(params.warmup_share * steps) or params.warmup_steps, lr_scheduler_type=params.schedule,
        weight_decay=params.weight_decay, logging_steps=1, logging_nan_inf_filter=False, save_strategy="no", eval_strategy="no",
        activation_checkpointing=params.gradient_checkpointing, report_to=[], disable_tqdm=True,
        disable_dropout=not (lora and lora.dropout), remove_unused_columns=False,
        loss_type=[params.loss, "sft"] if params.nll_weight else [params.loss], label_smoothing=params.label_smoothing,
        loss_weights=[1.0, params.nll_weight] if params.nll_weight else None, ld_alpha=params.ld_alpha,
        dataloader_num_workers=0, dataloader_pin_memory=False, precompute_ref_log_probs=stored,
    )  # fmt: skip
    reference = None
    if lora is None and not stored:
        reference, _ = models.load(attempt.spec.models["policy"])
    attempt.check()
    trainer = PreferenceTrainer(
        attempt=attempt, course=course, watched=params, soft=soft, rows={"train": train, "eval": held},
        watchdog=Watchdog(
            beta=params.beta, collapse_steps=params.collapse_steps, margin_limit=params.margin_limit, falling_limit=params.falling_limit
        ),
        store=ReferenceStore(attempt, attempt.source("policy"), dtype=params.dtype, switch=switch) if stored else None,
        model=model, ref_model=reference, args=config,
        data_collator=Collator(pad_token_id=tokenizer.pad_token_id, share=params.shared_prefix),
        train_dataset=datasets.Dataset.from_list(train), eval_dataset=datasets.Dataset.from_list(held) if held else None,
        processing_class=tokenizer,
        peft_config=adapting.lora_config(lora),
    )  # fmt: skip
    adapting.only_adapter_dropout(trainer)
    return trainer


def _metrics(attempt: Attempt, trainer: PreferenceTrainer, *, pairs: int, replayed: int, held: int, limit: int) -> dict[str, Any]:
    metrics = {"pairs": pairs, "max_length": limit, "first_loss": trainer.first_loss} | trainer.summary()
    if replayed:
        metrics["replay_pairs"] = replayed
    if trainer.store is not None:
        metrics |= {"reference_forwards": trainer.store.forwards, "reference_reused": trainer.store.reused}
    for name, key in (("loss", "loss"), ("train_accuracy", "rewards/accuracies"), ("train_margin", "rewards/margins")):
        if (value := trainer.recent(key)) is not None:
            metrics[name] = value
    if held:
        attempt.events.progress("evaluating", 0, held)
        seen = trainer.held_out()
        metrics |= {
            "validation_pairs": held, "validation_loss": seen["eval_loss"], "validation_accuracy": seen["eval_rewards/accuracies"],
        }  # fmt: skip
    return metrics


def _pairs(attempt: Attempt, params: Dpo, name: str) -> list[dict[str, Any]]:
    """The rows of a file with p and w as the loss shall see them. Raises when the loss would ignore what they say."""
    rows = attempt.rows(name, prompt=list, chosen=list, rejected=list)
    for number, row in enumerate(rows, start=1):
        for key, low, high in (("p_chosen", 0.0, 1.0), ("weight", 0.0, float("inf"))):
            value = row.setdefault(key, 1.0)
            if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high or value == float("inf"):
                raise InputError(f"inputs/{name} line {number}: {key} is not a number from {low:g} to {high:g}")
        row["id"] = str(row.get("id", f"{name}:{number}"))
        if params.targets == "hard":
            row["p_chosen"] = row["weight"] = 1.0
    return rows


def _tokenise(tokenizer: Any, pairs: list[dict[str, Any]]) -> list[Tokenised]:
    rows = []
    for number, pair in enumerate(pairs):
        start, chosen = tokens.split_completion(tokenizer, pair["prompt"], pair["chosen"])
        again, rejected = tokens.split_completion(tokenizer, pair["prompt"], pair["rejected"])
        shared = min(len(start), len(again))  # both must leave the same prompt
        rows.append({
            "prompt_ids": start[:shared], "chosen_ids": start[shared:] + chosen, "rejected_ids": again[shared:] + rejected,
            "row": number, "id": pair["id"], "p_chosen": float(pair["p_chosen"]), "weight": float(pair["weight"]),
        })  # fmt: skip
    return rows


def _refuse_long(rows: list[Tokenised], limit: int, name: str) -> None:
    for number, row in enumerate(rows, start=1):
        if length(row) > limit:
            raise TooLong(f"pair {number} of {name} has {length(row)} tokens, the limit is {limit}; nothing is cut silently")
