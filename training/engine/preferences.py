"""TRL's DPO trainer with a pair's own probability and weight, stored reference log-probabilities, and a prompt read once for both answers.

Pinned to TRL 1.16: besides ``compute_loss`` it replaces three private steps (tokenising, the precomputed reference, and the loss, around
which it wraps itself). tests/engine/test_preferences.py compares losses and gradients with TRL's own.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from training.engine import buckets, ranks, references, sharing
from training.engine.attempt import Attempt
from training.engine.errors import ReferenceMismatch
from training.engine.trainer import Kept, linked

LN2 = math.log(2)
# How far the first loss may be from ln 2: rounding in the reference's batches, which are not the policy's.
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}
OURS = ("row", "p_chosen", "weight")
Tokenised = dict[str, Any]  # prompt_ids, chosen_ids, rejected_ids, row, p_chosen, weight


@dataclass
class Collator(DataCollatorForPreference):
    """TRL's batch, and with it each pair's row number, probability and weight; with ``share``, the shared rows too."""

    share: bool = False

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = super().torch_call(examples)
        made["row"] = torch.tensor([example["row"] for example in examples])
        for name in ("p_chosen", "weight"):
            made[name] = torch.tensor([example[name] for example in examples], dtype=torch.float32)
        if self.share:
            made |= sharing.lay_out(examples, pad=self.pad_token_id, width=made["input_ids"].shape[1])
        return made


def soft_loss(delta: torch.Tensor, p_chosen: torch.Tensor, weight: torch.Tensor, beta: float) -> torch.Tensor:
    """mean of −w·[p·log σ(βΔ) + (1−p)·log σ(−βΔ)] over a batch of pairs (n,) (product.md 2.7; cDPO with an ε of each pair's own).

    Its minimum is where σ(βΔ) = p; p = 1 and w = 1 is DPO's loss (arXiv 2305.18290, eq. 7).
    """
    logits = beta * delta
    losses = -p_chosen * functional.logsigmoid(logits) - (1 - p_chosen) * functional.logsigmoid(-logits)
    return (weight * losses).mean()


class _Seen:
    """The model as TRL calls it, keeping what it answered: the per-token log-probabilities the soft loss is made of."""

    def __init__(self, model: Callable[..., Any]) -> None:
        self.model = model
        self.log_probs = torch.empty(0)

    def __call__(self, **kwargs: Any) -> Any:
        outputs = self.model(**kwargs)
        self.log_probs = outputs.log_probs
        return outputs


class PreferenceTrainer(Kept, DPOTrainer):
    """DPO over pairs that already are ids: ``soft`` takes p and w of each pair, else TRL's own ``loss_type`` stands."""

    def __init__(
        self, *args: Any, attempt: Attempt, soft: bool, store: ReferenceStore | None, rows: Mapping[str, Sequence[Tokenised]], **kwargs: Any
    ) -> None:
        self.soft, self.store, self.rows = soft, store, rows
        self.first_loss = math.nan
        if attempt.resume is not None:
            self.first_loss = attempt.resume.state["first_loss"]
        super().__init__(*args, attempt=attempt, **kwargs)
        # From here on every batch brings its reference along: from the store, or computed for it just before.
        self.precompute_ref_logps = True
        if soft:
            assert self.args.loss_type[0] == "sigmoid"
            self.loss_types, self.loss_weights = self.args.loss_type[1:], (self.args.loss_weights or [1.0])[1:]

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        assert self.store is not None
        rows = self.rows[name]
        plan = self.store.missing(rows, batch_size)[ranks.rank() :: ranks.world()]
        for done, batch in enumerate(plan):
            self.attempt.check()
            self.attempt.events.progress("preparing", done, len(plan))
            examples = [rows[number] for number in batch]
            self.store.put(examples, *self._reference(self._prepare_inputs(self.data_collator(examples))))
        self.store.share(len(plan))
        self.store.save(rows)
        chosen, rejected = zip(*(self.store.get(row) for row in rows), strict=True)
        return dataset.add_column("ref_chosen_logps", list(chosen)).add_column("ref_rejected_logps", list(rejected))

    def _reference(self, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        plain = {name: value for name, value in inputs.items() if name not in (*OURS, *sharing.FIELDS)}
        chosen, rejected = self.compute_ref_log_probs(self._as_shared(self.ref_model or self.model, inputs), plain)
        return chosen, rejected

    def _as_shared(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """The model, or in its place one that reads the batch's prompts once."""
        if sharing.FIELDS[0] not in inputs:
            return model
        fields = {name: inputs[name] for name in sharing.FIELDS}
        return sharing.Shared(model, fields, self.model.config._attn_implementation, self.model.dtype)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        inputs = dict(inputs)
        if "ref_chosen_logps" not in inputs:
            inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = self._reference(inputs)
        row, p_chosen, weight = (inputs.pop(name) for name in OURS)
        self.note(row, int(inputs["attention_mask"].sum()))
        seen = _Seen(self._as_shared(model, inputs))
        for name in sharing.FIELDS:
            inputs.pop(name, None)
        loss = super()._compute_loss(seen, inputs, return_outputs)
        chosen, rejected = seen.log_probs.sum(dim=1).chunk(2)
        delta = (chosen - inputs["ref_chosen_logps"]) - (rejected - inputs["ref_rejected_logps"])
        if self.ld_alpha is None:
            self._check_start(delta.detach())
        if self.soft:
            loss = loss + soft_loss(delta, p_chosen, weight, self.beta)
        return loss

    def _check_start(self, delta: torch.Tensor) -> None:
        """Before the first step policy and reference are one model: every Δ is 0, and −log σ(βΔ) is ln 2, whatever the targets.

        A wrong reference, adapter or template shows here, at the cost of a comparison.
        """
        if not math.isnan(self.first_loss) or not self.model.training:
            return
        losses = -functional.logsigmoid(self.beta * delta)
        self.first_loss = float(losses.mean())
        worst = float((losses - LN2).abs().max())
        if not worst < TOLERANCE["float32" if self.model.dtype == torch.float32 and not self.args.bf16 else "bfloat16"]:
            raise ReferenceMismatch(f"the first loss is {self.first_loss:.4f} and not ln 2 = {LN2:.4f} (a pair is off by {worst:.4f})")

    def _fill(self, folder: Path) -> None:
        super()._fill(folder)
        if self.store is not None:
            shutil.copytree(self.store.used, folder / references.NEW, copy_function=linked)

    def checkpoint_state(self) -> dict[str, Any]:
        return super().checkpoint_state() | {"first_loss": self.first_loss}


class ReferenceStore:
    """The reference's log-probabilities of this run: those that are stored, those a checkpoint brought, and new ones."""

    def __init__(self, attempt: Attempt, folder: Path, *, dtype: str, switch: int | None) -> None:
        self.switch, self.forwards, self.reused = switch, 0, 0
        self.group = references.group(folder, dtype=dtype)
        self.new: dict[references.Entry, references.Logps] = {}
        self.mine = attempt.folder / references.NEW / self.group
        self.used = attempt.folder / "references_used"
        self.known: dict[references.Entry, references.Logps] = {}
        if attempt.spec.reference_store is not None:
            self.known |= references.read(Path(attempt.spec.reference_store) / self.group)
        if attempt.resume is not None:
            # To the last bit what the run began with, whatever others have stored since.
            self.known |= references.read(attempt.resume.path / references.NEW)

    def key(self, row: Tokenised) -> references.Entry:
        """Digest and side; the side is the pair's, by its longer half, for both halves share a forward pass."""
        return references.pair(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]), buckets.side(length(row), self.switch)

    def missing(self, rows: Sequence[Tokenised], batch_size: int) -> list[list[int]]:
        """Batches of the rows not known, each once, by the same rule whatever their number."""
        wanted: dict[references.Entry, int] = {}
        for number, row in enumerate(rows):
            if self.key(row) not in self.known:
                wanted.setdefault(self.key(row), number)
        self.reused += len(rows) - len(wanted)
        numbers = list(wanted.values())
        batches = buckets.by_length([length(rows[number]) for number in numbers], batch_size=batch_size, switch=self.switch)
        return [[numbers[place] for place in batch] for batch in batches]

    def put(self, rows: Sequence[Tokenised], chosen: torch.Tensor, rejected: torch.Tensor) -> None:
        self.forwards += 1
        for row, one, other in zip(rows, chosen.tolist(), rejected.tolist(), strict=True):
            self.new[self.key(row)] = self.known[self.key(row)] = (one, other)

    def get(self, row: Tokenised) -> references.Logps:
        return self.known[self.key(row)]

    def share(self, forwards: int) -> None:
        """Each process has computed some, in so many forward passes; from here on all know all."""
        said = ranks.together((forwards, self.new))
        self.forwards += sum(others for others, _ in said) - forwards
        for _, new in said:
            self.new |= new
        self.known |= self.new

    def save(self, rows: Sequence[Tokenised]) -> None:
        """New entries for other runs, and all entries of ``rows`` for this run's checkpoints."""
        if ranks.first():
            references.write(self.mine, self.new)
            references.write(self.used, {self.key(row): self.get(row) for row in rows})
        self.new = {}


def length(row: Tokenised) -> int:
    """Tokens of the longer of a pair's two sequences."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
