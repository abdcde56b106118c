"""Kahneman-Tversky optimisation by TRL: single answers, wanted or not, where there is nothing to prefer between two.

TRL's trainer with our tokenising and our order of batches; the reference is computed live, for its divergence is estimated from answers
set against other prompts of the same batch, which no store could hold.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import datasets
import torch
import transformers
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from training.engine import adapting, buckets, models, tokens
from training.engine.attempt import Attempt, Outcome
from training.engine.errors import InputError, TooFewPairs, TooLong
from training.engine.spec import Kto
from training.engine.trainer import Course, Kept
from training.engine.watchdogs import Watchdog

ROWS = "kto.jsonl"


class UnpairedTrainer(Kept, KTOTrainer):
    """KTO over answers that already are ids. Pinned to TRL 1.16, whose private steps of tokenising and loss it stands before."""

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        inputs = dict(inputs)
        self.note(inputs.pop("row"), int(inputs["attention_mask"].sum()))
        return super()._compute_loss(model, inputs, return_outputs)


@dataclass
class Collator(DataCollatorForUnpairedPreference):
    """TRL's batch with row numbers, each prompt beside the answer of the row before it for the divergence."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        turned = [examples[-1], *examples[:-1]]
        beside = [row | {"KL_completion_ids": other["completion_ids"]} for row, other in zip(examples, turned, strict=True)]
        made: dict[str, Any] = super().torch_call(beside)
        made["row"] = torch.tensor([example["row"] for example in examples])
        return made


def run(attempt: Attempt) -> Outcome:
    began = time.monotonic()
    params, seed = attempt.spec.params, attempt.spec.seed
    assert isinstance(params, Kto)
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    models.set_threads(attempt.spec.threads, seed)
    given = _rows(attempt, params)
    model, tokenizer = models.load(attempt.spec.models["policy"])
    if params.dtype == "bfloat16" and params.lora is not None:
        model = model.to(torch.bfloat16)
    attempt.events.progress("tokenizing", 0, 1)
    rows = _tokenise(tokenizer, given)
    lengths = [len(row["prompt_ids"]) + len(row["completion_ids"]) for row in rows]
    limit = min(params.max_length or max(lengths), models.context(model))
    for number, size in enumerate(lengths, start=1):
        if size > limit:
            raise TooLong(f"row {number} of {ROWS} has {size} tokens, the limit is {limit}; nothing is cut silently")
    plan = _plan(params, rows, lengths, seed=seed, switch=models.switch_of(model), context=models.context(model))
    steps = -(-len(plan) // params.gradient_accumulation)
    config = KTOConfig(
        output_dir=str(attempt.folder / "trainer"), use_cpu=not torch.cuda.is_available(), seed=seed, data_seed=seed,
        bf16=params.dtype == "bfloat16" and params.lora is None, beta=params.beta, learning_rate=params.learning_rate, num_train_epochs=1,
        per_device_train_batch_size=params.batch_size, gradient_accumulation_steps=params.gradient_accumulation, max_length=None,
        warmup_steps=round(params.warmup_share * steps), lr_scheduler_type=params.schedule, weight_decay=params.weight_decay,
        desirable_weight=params.desirable_weight, undesirable_weight=params.undesirable_weight, loss_type=params.loss, logging_steps=1,
        logging_nan_inf_filter=False, save_strategy="no", eval_strategy="no", activation_checkpointing=params.gradient_checkpointing,
        report_to=[], disable_tqdm=True, disable_dropout=not (params.lora and params.lora.dropout), remove_unused_columns=False,
        dataloader_num_workers=0, dataloader_pin_memory=False, train_sampling_strategy="sequential",
    )  # fmt: skip
    attempt.check()
    trainer = UnpairedTrainer(
        attempt=attempt, watched=params,
        course=Course(
            ids=[row["id"] for row in rows], tokens=[2 * size for size in lengths], plan=plan,
            fixed=[(row["prompt_ids"], row["completion_ids"]) for row in rows if row["label"]][:4],
        ),
        watchdog=Watchdog(
            beta=params.beta, collapse_steps=params.collapse_steps, margin_limit=params.margin_limit, falling_limit=params.falling_limit
        ),
        model=model, ref_model=None if params.lora else models.load(attempt.spec.models["policy"])[0], args=config,
        data_collator=Collator(pad_token_id=tokenizer.pad_token_id), train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer, peft_config=adapting.lora_config(params.lora),
    )  # fmt: skip
    adapting.only_adapter_dropout(trainer)
    attempt.events.log(f"{len(rows)} answers to train on, {sum(row['label'] for row in rows)} of them wanted")
    startup = time.monotonic() - began
    trainer.go()
    if attempt.spec.probe:
        return Outcome(trainer.probed(startup))
    metrics: dict[str, Any] = {
        "answers": len(rows), "wanted": sum(row["label"] for row in rows), "max_length": limit,
    } | trainer.summary()  # fmt: skip
    for name, key in (("loss", "loss"), ("train_margin", "rewards/margins")):
        if (value := trainer.recent(key)) is not None:
            metrics[name] = value
    adapting.save(attempt, trainer, tokenizer, lora=params.lora is not None)
    return Outcome(metrics, model=True)


def _rows(attempt: Attempt, params: Kto) -> list[dict[str, Any]]:
    rows = attempt.rows(ROWS, prompt=list, completion=list, label=bool)
    if len(rows) < params.minimum_pairs:
        raise TooFewPairs(f"{len(rows)} answers, and this run asks for at least {params.minimum_pairs}")
    for number, row in enumerate(rows, start=1):
        if row.get("weight", 1.0) != 1.0:
            raise InputError(f"inputs/{ROWS} line {number}: weight would be ignored; weigh by desirable_weight and undesirable_weight")
    return rows


def _tokenise(tokenizer: Any, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for number, row in enumerate(given):
        start, rest = tokens.split_completion(tokenizer, row["prompt"], row["completion"])
        rows.append({
            "prompt_ids": start, "completion_ids": rest, "label": row["label"], "row": number, "id": str(row.get("id", number)),
        })  # fmt: skip
    return rows


def _plan(params: Kto, rows: list[dict[str, Any]], lengths: list[int], *, seed: int, switch: int | None, context: int) -> list[list[int]]:
    """Batches of at least two: a last one of one row would set its answer against its own prompt, and is left out."""
    batches = params.max_steps and params.max_steps * params.gradient_accumulation
    plan = buckets.plan(
        lengths, batch_size=params.batch_size, seed=seed, epochs=params.epochs, switch=switch, window=params.length_window, batches=batches
    )
    plan = [batch for batch in plan if len(batch) > 1]
    for batch in plan:
        for number, other in zip(batch, [batch[-1], *batch[:-1]], strict=True):
            size = len(rows[number]["prompt_ids"]) + len(rows[other]["completion_ids"])
            if size > context:
                raise TooLong(f"rows {number + 1} and {other + 1} of {ROWS} together have {size} tokens, the context is {context}")
    return plan
