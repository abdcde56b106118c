"""What every training on Hugging Face's Trainer shares here: its own order of batches, checkpoints that resume bit for bit, a watch
over the figures, six fixed prompts answered as it goes, and the two ways of being stopped.

``class Mine(Kept, SomeTrainer)`` is all a kind needs; it hands over a ``Course`` (what there is to visit) and calls ``go``.

A checkpoint holds the Trainer's own files (adapter or weights, optimizer, schedule, random states, its state), the order in which rows
were visited, and the best weights so far if the run may end on them. The order of batches itself is no state: it follows from the seed
(training.engine.buckets), and a resumed run takes it up at the batch its step says. Torch files are read only from a checkpoint that
verified, and only as plain tensors (``weights_only``).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.engine import models, ranks, tokens
from training.engine.attempt import Attempt
from training.engine.spec import Watched
from training.engine.watchdogs import Watchdog

ORDER, BEST, INNER, WATCH = "order.jsonl", "best", "trainer", "watch.jsonl"
PROBE_STEPS = 3
# Texts whose divergence is followed when a run has no fixed prompts.
FIXED_ROWS = 4


@dataclass(frozen=True)
class Course:
    """What a run visits. ``plan`` and ``held_plan`` are batches of row numbers; ``ids`` names a row and ``tokens`` is what it costs to
    visit; ``fixed`` are (prompt ids, answer ids) whose divergence from the start is followed when no prompts are given."""

    ids: Sequence[str]
    tokens: Sequence[int]
    plan: Sequence[Sequence[int]]
    held_plan: Sequence[Sequence[int]] = ()
    fixed: Sequence[tuple[list[int], list[int]]] = ()


class Batches:
    """A list of batches as PyTorch and accelerate want a batch sampler to look; the order is all in the list."""

    drop_last = False

    def __init__(self, plan: Sequence[Sequence[int]], batch_size: int) -> None:
        self.plan, self.batch_size = plan, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        return iter([list(batch) for batch in self.plan])

    def __len__(self) -> int:
        return len(self.plan)


@dataclass
class _Fixed:
    """A text whose next-token distributions are compared with those of the start: (n, vocabulary) log-probabilities."""

    ids: list[int]
    answer: int  # how many of the last ids are answer
    reference: torch.Tensor


@dataclass
class _Best:
    loss: float | None = None
    step: int = 0
    since: int = 0  # evaluations without a better one


@dataclass
class _Pace:
    """Seconds and tokens of each step; a step's time leaves out what is done between steps."""

    started: float = 0.0
    tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


class Kept(Trainer):
    """A Trainer whose attempt can be killed at any moment and goes on from its last checkpoint as if nothing had been.

    Rows of the data set carry their number as ``row``, which the collator passes on; batches are as ``course`` says.
    """

    def __init__(
        self, *args: Any, attempt: Attempt, course: Course, watched: Watched, watchdog: Watchdog, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.attempt, self.course, self.watched, self.watchdog = attempt, course, watched, watchdog
        self.visited: list[str] = []
        self.fixed: list[_Fixed] = []
        self.prompts: list[list[int]] = []
        self.best, self.pace = _Best(), _Pace()
        self.stopped_at: int | None = None
        self.saved_at = time.monotonic()
        super().__init__(*args, **kwargs)
        for callback in (transformers.PrinterCallback, transformers.ProgressCallback):
            self.remove_callback(callback)
        self.add_callback(_Glue(self))

    # --- batches -----------------------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.train_dataset, dealt(self.course.plan), self.args.per_device_train_batch_size)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        given = self.eval_dataset if eval_dataset is None else eval_dataset
        return self._loader(given, self.course.held_plan, self.args.per_device_eval_batch_size)

    def _loader(self, dataset: Any, plan: Sequence[Sequence[int]], batch_size: int) -> DataLoader[Any]:
        loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=Batches(plan, batch_size), collate_fn=self.data_collator)
        if ranks.world() > 1:
            return loader  # accelerate would deal the batches out again, by rules that take them all for equally large
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def note(self, rows: torch.Tensor, tokens_seen: int) -> None:
        """Called by a kind's loss with the numbers of the rows it is computed on."""
        if self.model.training:
            self.visited += [self.course.ids[row] for row in rows.tolist()]
            self.pace.tokens += tokens_seen

    # --- the run -----------------------------------------------------------------------------------------------------------------

    def go(self) -> None:
        """Train to the end, or until asked to stop. Raises ``Cancelled`` after SIGTERM, and what the watchdog raises."""
        resume = self.attempt.resume
        if not self.attempt.spec.probe and ranks.first():
            self._look_at_start(emit=resume is None)
        if ranks.first():
            self._order().write_bytes(b"")
        if resume is not None:
            self.best = _Best(**resume.state["best"])
            if ranks.first():
                shutil.copyfile(resume.path / ORDER, self._order())
            if ranks.first() and (resume.path / BEST).is_dir():
                shutil.copytree(resume.path / BEST, self._best(), dirs_exist_ok=True)
            self.attempt.events.log(f"going on from the checkpoint of step {resume.step}")
        self.saved_at = time.monotonic()
        self.train(resume_from_checkpoint=str(resume.path / INNER) if resume is not None else None)
        ranks.together(None)  # the first may still be writing the best weights
        self.attempt.check()
        if self.watched.early_stop and self._best().is_dir() and self.best.step != self.state.global_step:
            self._load_from_checkpoint(str(self._best()))
            self.attempt.events.log(f"held-out loss was best at step {self.best.step}: its weights are kept")

    def summary(self) -> dict[str, Any]:
        """Metrics of any run: how far it came, and how it ended before its time if it did."""
        made: dict[str, Any] = {"steps": self.state.global_step}
        if self.stopped_at is not None:
            made |= {"stopped_early": True, "stopped_at": self.stopped_at}
        if self.watched.early_stop and self.best.step:
            made["best_step"] = self.best.step
        if self.attempt.resume is not None:
            made["resumed_from"] = self.attempt.resume.step
        return made

    def probed(self, startup_seconds: float) -> dict[str, Any]:
        """What three steps say about the whole run: seconds a step at the mean size of its batches, not of the three tried."""
        tried = list(zip(self.pace.seconds, self.pace.counts, strict=True))[1:] or list(
            zip(self.pace.seconds, self.pace.counts, strict=True)
        )
        rate = sum(count for _, count in tried) / sum(seconds for seconds, _ in tried)
        total = sum(self.course.tokens[row] for batch in self.course.plan for row in batch)
        steps = math.ceil(len(self.course.plan) / (self.args.gradient_accumulation_steps * ranks.world()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {
            "startup_seconds": round(startup_seconds, 3), "seconds_per_step": total / steps / rate, "tokens_per_second": rate,
            "steps_total": steps, "peak_rss_mb": round(peak, 1),
        }  # fmt: skip

    def recent(self, name: str) -> float | None:
        """The mean of a figure over the last fifth of the steps."""
        history = [row for row in self.state.log_history if "loss" in row]
        values = [row[name] for row in history[-max(1, len(history) // 5) :] if name in row]
        return sum(values) / len(values) if values else None

    def held_out(self) -> dict[str, float]:
        """Held-out figures of the weights as they are: those of the last evaluation if it was of these weights."""
        last = next((row for row in reversed(self.state.log_history) if "eval_loss" in row), None)
        moved = self.watched.early_stop and self.best.step and self.best.step != self.state.global_step
        if last is not None and last["step"] == self.state.global_step and not moved:
            return {name: float(value) for name, value in last.items()}
        return dict(self.evaluate())

    # --- checkpoints -------------------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The Trainer's files as a whole checkpoint or none, in place of its own way of writing them."""
        if not self.is_world_process_zero():
            return
        step, began = self.state.global_step, time.monotonic()
        self._look(step)
        if self.watched.early_stop and self.best.step == step:
            shutil.rmtree(self._best(), ignore_errors=True)
            self.save_model(str(self._best()), _internal_call=True)
        self.attempt.checkpoint(step=step, fill=self._fill, state=self.checkpoint_state())
        self.saved_at = time.monotonic()
        self.attempt.events.metric(step, "checkpoint_seconds", self.saved_at - began)

    def checkpoint_state(self) -> dict[str, Any]:
        """What a resumed run needs to know besides the files; a kind adds its own."""
        return {"best": vars(self.best)}

    def _fill(self, folder: Path) -> None:
        inner = folder / INNER
        self.save_model(str(inner), _internal_call=True)
        self._save_optimizer_and_scheduler(str(inner))
        self._save_scaler(str(inner))
        self._save_rng_state(str(inner))
        self.state.save_to_json(str(inner / "trainer_state.json"))
        (inner / "training_args.bin").unlink(missing_ok=True)  # a pickle of settings that nobody reads again
        shutil.copyfile(self._order(), folder / ORDER)
        if self._best().is_dir():
            shutil.copytree(self._best(), folder / BEST, copy_function=linked)

    def _order(self) -> Path:
        return self.attempt.folder / ORDER

    def _best(self) -> Path:
        return self.attempt.folder / BEST

    # --- the fixed prompts -------------------------------------------------------------------------------------------------------

    def _look_at_start(self, *, emit: bool) -> None:
        """Answers and distributions of the model as it is before the first step, from which a resumed run starts too."""
        if (self.attempt.inputs / WATCH).exists():
            for row in self.attempt.rows(WATCH, messages=list):
                self.prompts.append(tokens.encode_chat(self.processing_class, row["messages"], generation_prompt=True))
        with self._quietly():
            texts = [(prompt, self._answer(prompt)) for prompt in self.prompts] or list(self.course.fixed[:FIXED_ROWS])
            for prompt, answer in texts:
                if answer:
                    self.fixed.append(_Fixed(prompt + answer, len(answer), self._distributions(prompt + answer, len(answer))))
        if emit and self.prompts:
            self._show(0, [answer for _, answer in texts])

    def _look(self, step: int) -> None:
        """The fixed prompts answered anew, and how far the distributions have moved: mean KL(policy ‖ start), nats a token."""
        with self._quietly():
            answers = [self._answer(prompt) for prompt in self.prompts]
            apart = [
                (now.exp() * (now - text.reference)).sum(-1) for text in self.fixed for now in (self._distributions(text.ids, text.answer),)
            ]
        if apart:
            self.attempt.events.metric(step, "kl", max(0.0, float(torch.cat(apart).mean())))
        if answers:
            self._show(step, answers)

    def _show(self, step: int, answers: list[list[int]]) -> None:
        for index, ids in enumerate(answers):
            self.attempt.events.sample(step, index, self.processing_class.decode(ids, skip_special_tokens=True).strip())
        self.attempt.events.metric(step, "sample_tokens", sum(map(len, answers)) / len(answers))

    def _answer(self, prompt: list[int]) -> list[int]:
        """Greedy, one prompt at a time: an answer that hangs on its neighbours could not be compared from step to step."""
        room = min(self.watched.watch_tokens, models.context(self.model) - len(prompt))
        if room < 1:
            return []
        self.attempt.check()
        ends = tokens.stop_ids(self.processing_class)
        given = torch.tensor([prompt], device=self.args.device)
        made = self.model.generate(
            input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=room, do_sample=False, temperature=None, top_p=None,
            top_k=None, eos_token_id=ends, pad_token_id=self.processing_class.pad_token_id,
        )[0, len(prompt) :].tolist()  # fmt: skip
        stop = next((index for index, token in enumerate(made) if token in ends), None)
        return list(made if stop is None else made[:stop])

    def _distributions(self, ids: list[int], answer: int) -> torch.Tensor:
        """Log-probabilities (answer, vocabulary) with which each of the last ``answer`` tokens was to be predicted."""
        given = torch.tensor([ids], device=self.args.device)
        logits = self.model(input_ids=given, use_cache=False, logits_to_keep=answer + 1).logits[0, :-1]
        return torch.log_softmax(logits.float(), dim=-1)

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train(training)


class _Glue(TrainerCallback):
    """Between steps: progress and figures out, stops in, and when to evaluate and keep."""

    def __init__(self, trainer: Kept) -> None:
        self.trainer, self.attempt = trainer, trainer.attempt

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.trainer.pace.started = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step, trainer = state.global_step, self.trainer
        pace = trainer.pace
        pace.seconds.append(time.monotonic() - pace.started)
        # One exchange a step: all must stop at the same one, whoever was asked, and one of them writes down what all have visited.
        said = ranks.together((self.attempt.stopping, self.attempt.asked_to_keep, pace.tokens, trainer.visited))
        self.attempt.stopping = any(stopping for stopping, *_ in said)
        pace.counts.append(sum(tokens for _, _, tokens, _ in said))
        pace.tokens = 0
        if ranks.first():
            with (self.attempt.folder / ORDER).open("a", encoding="utf-8") as out:
                out.write(json.dumps({"step": step, "ids": [name for *_, visited in said for name in visited]}) + "\n")
        trainer.visited = []
        self.attempt.events.progress("training", step, state.max_steps)
        if self.attempt.stopping:
            control.should_training_stop = True
            return
        if self.attempt.spec.probe:
            control.should_training_stop |= step >= PROBE_STEPS
            return
        if any(keep for _, keep, *_ in said) and step < state.max_steps:
            trainer.stopped_at = step
            control.should_training_stop = True
            return
        every = trainer.watched.checkpoint_steps or max(1, math.ceil(state.max_steps / 5))
        if step % every == 0 or step == state.max_steps:
            control.should_save = True
            control.should_evaluate = bool(trainer.course.held_plan)
        elif time.monotonic() - trainer.saved_at >= trainer.watched.checkpoint_seconds:
            control.should_save = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        figures = {name: float(value) for name, value in (logs or {}).items() if isinstance(value, int | float)}
        for name, value in figures.items():
            if name not in ("epoch", "total_flos") and not name.startswith("train_") and not name.endswith(("_runtime", "_per_second")):
                self.attempt.events.metric(state.global_step, name, value)
        if "loss" in figures:
            pace = self.trainer.pace
            self.attempt.events.metric(state.global_step, "tokens_per_second", pace.counts[-1] / max(pace.seconds[-1], 1e-9))
            self.trainer.watchdog.see(state.global_step, figures)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        if not self.trainer.watched.early_stop or not metrics or not self.trainer.is_in_train:
            return
        best = self.trainer.best
        if best.loss is None or metrics["eval_loss"] < best.loss:
            best.loss, best.step, best.since = metrics["eval_loss"], state.global_step, 0
            return
        best.since += 1
        if best.since >= self.trainer.watched.early_stop and state.global_step < state.max_steps:
            self.trainer.stopped_at = state.global_step
            control.should_training_stop = True
            self.attempt.events.log(f"held-out loss has not fallen since step {best.step}: stopping")


def dealt(plan: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """This process's batches: every N-th of the plan, so that N processes see in a step what one sees in N times the accumulation.

    Each has equally many: where the plan does not divide, its first batches are visited once more.
    """
    world = ranks.world()
    missing = -len(plan) % world
    return [*plan, *plan[:missing]][ranks.rank() :: world]


def linked(source: str, target: str) -> None:
    """For copytree: the same file under a second name, where that can be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
