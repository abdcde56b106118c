"""The training loop of every recipe but DPO: AdamW, warm-up and cosine, watched, resumable bit for bit. Read it from ``phase`` down."""

from __future__ import annotations

import contextlib
import itertools
import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from training.engine import language, models, rundir
from training.engine.attempt import Attempt
from training.engine.checkpoints import Checkpoint
from training.engine.errors import EngineError
from training.engine.language import Batch
from training.engine.spec import Loop
from training.engine.watchdogs import Watchdog

WEIGHTS, BEST, OPTIMIZER = "weights.safetensors", "best.safetensors", "optimizer.pt"
# Every n-th step is reported; a chart needs no more points.
REPORT = 5
# Steps of a probe; the first is not timed, it pays for everything that is done once.
PROBED = 3


class Schooling:
    """The training of one attempt, in one phase or several; ``total`` steps in all.

    What an interrupted attempt left (``attempt.resume``) is gone on from: phases that were over are passed by, and the phase it was in
    starts at its step, with weights, optimizer, random state and place in the data as they were.
    """

    def __init__(self, attempt: Attempt, model: Any, settings: Loop, *, total: int, validation: Sequence[Batch] = ()) -> None:
        self.attempt, self.settings, self.total, self.validation = attempt, settings, total, validation
        torch.manual_seed(attempt.spec.seed)
        if settings.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
            model.enable_input_require_grads()
        self.model = models.adapted(model, settings.lora) if settings.lora else model
        self.device = models.device()
        self.model.to(self.device)
        self.done = 0
        self.tokens = 0
        self.losses: list[float] = []  # of every phase that is over
        self.recent: list[float] = []
        self.watchdog = Watchdog(beta=0.0)
        # Called with the step whenever held-out loss is due: what else a recipe wants to know of the model as it is then.
        self.look: Callable[[int], None] = lambda step: None
        self.best_loss, self.last_loss, self.worse = math.inf, math.inf, 0
        self.pace: list[tuple[float, int]] = []  # seconds and tokens of a probe's steps
        self.ended = ""  # "early", "kept", "probed": why no further step is made
        self.resume: Checkpoint | None = attempt.resume
        self.saved_at = time.monotonic()

    # --- one phase -----------------------------------------------------------------------------------------------------------------

    def phase(
        self, batches: Iterator[Any], *, steps: int, learning_rate: float, weight_decay: float | None = None,
        loss_function: Callable[[Any, Any], torch.Tensor] = language.loss_of,
    ) -> float:  # fmt: skip
        """Train for ``steps`` or as long as ``batches`` last; returns the mean loss of the last 20 steps. Stops when it is asked to."""
        number = len(self.losses)
        start, end = self.done, self.done + steps
        if self.resume is not None and number < len(self.resume.state["losses"]):
            self.done = end
            self.losses.append(float(self.resume.state["losses"][number]))
            return self.losses[-1]
        settings = self.settings
        decay = settings.weight_decay if weight_decay is None else weight_decay
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=decay, fused=True)
        self.recent = []
        if self.resume is not None:
            self._go_on(self.resume, optimizer, batches)
        warmup = max(1, round(0.05 * steps)) if settings.warmup_steps is None else max(1, settings.warmup_steps)
        self.model.train()
        clock, since = time.monotonic(), self.tokens
        with self._noise() as quieten:
            while self.done < end and not self.ended:
                self.attempt.check()
                began, before = time.monotonic(), self.tokens
                drawn = list(itertools.islice(batches, settings.gradient_accumulation))
                if not drawn:
                    break
                step = self.done - start + 1
                rate = schedule(step, steps, warmup, settings.floor) * learning_rate
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = self._backward(drawn, loss_function, quieten)
                norm = float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))
                self.watchdog.see(self.done + 1, {"loss": loss, "grad_norm": norm})
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                self.done += 1
                self.recent = [*self.recent[-19:], loss]
                if step <= REPORT or step % REPORT == 0 or step == steps:
                    self.attempt.events.metric(self.done, "loss", loss)
                    self.attempt.events.progress("training", self.done, self.total)
                if step == 1 or step % 25 == 0 or step == steps:
                    now = time.monotonic()
                    self.attempt.events.metric(self.done, "learning_rate", rate)
                    self.attempt.events.metric(self.done, "grad_norm", norm)
                    self.attempt.events.metric(self.done, "tokens_per_second", (self.tokens - since) / max(now - clock, 1e-9))
                    clock, since = now, self.tokens
                if self.attempt.spec.probe:
                    self.pace.append((time.monotonic() - began, self.tokens - before))
                    self.ended = "probed" if len(self.pace) == PROBED else ""
                    continue
                self._look_around(optimizer, last=self.done == self.total)
        self.model.eval()
        self.losses.append(sum(self.recent) / max(1, len(self.recent)))
        return self.losses[-1]

    def _backward(self, drawn: list[Any], loss_function: Callable[[Any, Any], torch.Tensor], quieten: Callable[[Any], None]) -> float:
        """Gradients of the mean loss per token over all batches of a step; returns that loss."""
        counts = [_tokens(batch) for batch in drawn]
        self.tokens += sum(counts)
        total = 0.0
        for batch, count in zip(drawn, counts, strict=True):
            placed = _placed(batch, self.device)
            quieten(placed)
            with self._precision():
                loss = loss_function(self.model, placed)
            share = loss if len(drawn) == 1 else loss * (count / sum(counts))
            share.backward()
            total += float(share.detach())
        return total

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.dtype == "bfloat16")

    @contextlib.contextmanager
    def _noise(self) -> Iterator[Callable[[Any], None]]:
        """NEFTune (arXiv 2310.05914): in training, uniform noise of ±alpha / sqrt(L·d) on every embedding, L its sequence's own length."""
        alpha = self.settings.neftune_alpha
        if not alpha:
            yield lambda batch: None
            return
        sizes: list[torch.Tensor] = []

        def add(layer: Any, given: Any, found: torch.Tensor) -> torch.Tensor:
            # Recomputing under gradient checkpointing does not pass here: embeddings lie outside of it.
            if not layer.training:
                return found
            reach = alpha / torch.sqrt(sizes[0].to(found.dtype) * found.shape[-1])
            return found + torch.empty_like(found).uniform_(-1, 1) * reach[..., None]

        def remember(batch: Batch) -> None:
            sizes[:] = [batch.sizes]

        hook = self.model.get_input_embeddings().register_forward_hook(add)
        try:
            yield remember
        finally:
            hook.remove()

    # --- looking up from it --------------------------------------------------------------------------------------------------------

    def _look_around(self, optimizer: Any, *, last: bool) -> None:
        """After a step: is it time to validate, to keep a checkpoint, or to stop?"""
        settings = self.settings
        every = settings.evaluate_steps or max(1, self.total // 5)
        if self.done % every == 0 or self.done == self.total:
            if self.validation:
                self._validate()
            self.look(self.done)
        if self.attempt.asked_to_keep:
            self.ended = "kept"
        due = settings.checkpoint_steps and self.done % settings.checkpoint_steps == 0
        old = time.monotonic() - self.saved_at > settings.checkpoint_seconds
        if (due or old) and not last and not self.ended:
            self._save(optimizer)

    def _validate(self) -> None:
        self.last_loss = loss = self.validation_loss()
        self.attempt.events.metric(self.done, "eval_loss", loss)
        if loss < self.best_loss:
            self.best_loss, self.worse = loss, 0
            if self.settings.early_stop:
                self._write_weights(self.attempt.folder / BEST)
            return
        self.worse += 1
        if self.settings.early_stop and self.worse >= self.settings.early_stop:
            self.ended = "early"

    def validation_loss(self) -> float:
        """Mean loss per token over all of the validation rows."""
        self.model.eval()
        total, count = 0.0, 0
        with torch.no_grad(), self._precision():
            for batch in self.validation:
                placed = batch.to(self.device)
                total -= float(language.token_logps(self.model, placed).double().sum())
                count += batch.tokens
        self.model.train()
        return total / max(1, count)

    def finish(self) -> tuple[Any, dict[str, Any]]:
        """(the trained model, with any adapter merged in and the best weights in place; what is to be said of the training)."""
        said: dict[str, Any] = {"steps": self.done, "tokens": self.tokens}
        best = self.attempt.folder / BEST
        kept = self.best_loss if self.settings.early_stop else self.last_loss
        if math.isfinite(kept):
            said["validation_loss"] = kept
        if best.exists():
            self._read_weights(best)
            best.unlink()
        if self.ended:
            said |= {"stopped_early": True, "stopped_at": self.done}
        model = self.model
        if self.settings.gradient_checkpointing:
            model.activation_checkpointing_disable()
        if self.settings.lora:
            models.save_adapter(model, self.attempt.folder / rundir.ADAPTER, base=self.attempt.source("policy"))
            model = models.merged(model)
        return model.to("cpu").eval(), said

    def probed(self, began: float) -> dict[str, Any]:
        """What a few steps say about the whole run; ``began`` is when the attempt did, on the monotonic clock."""
        tried = self.pace[1:] or self.pace
        seconds, tokens = sum(seconds for seconds, _ in tried), sum(tokens for _, tokens in tried)
        return {
            "startup_seconds": round(time.monotonic() - began - sum(seconds for seconds, _ in self.pace), 3),
            "seconds_per_step": seconds / len(tried), "tokens_per_second": tokens / seconds, "steps_total": self.total,
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }  # fmt: skip

    # --- keeping and going on ------------------------------------------------------------------------------------------------------

    def _save(self, optimizer: Any) -> None:
        def fill(folder: Path) -> None:
            self._write_weights(folder / WEIGHTS)
            cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
            torch.save({"optimizer": optimizer.state_dict(), "random": torch.get_rng_state(), "cuda": cuda}, folder / OPTIMIZER)
            if (best := self.attempt.folder / BEST).exists():
                (folder / BEST).write_bytes(best.read_bytes())

        began = time.monotonic()
        state = {
            "losses": self.losses, "recent": self.recent, "tokens": self.tokens, "worse": self.worse,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
        }  # fmt: skip
        self.attempt.checkpoint(step=self.done, fill=fill, state=state)
        self.saved_at = time.monotonic()
        self.attempt.events.metric(self.done, "checkpoint_seconds", self.saved_at - began)

    def _go_on(self, saved: Checkpoint, optimizer: Any, batches: Iterator[Any]) -> None:
        passed = saved.step - self.done
        self._read_weights(saved.path / WEIGHTS)
        # Ours, signed with the job's key, and verified a moment ago; weights_only all the same.
        kept = torch.load(saved.path / OPTIMIZER, weights_only=True, map_location=self.device)
        optimizer.load_state_dict(kept["optimizer"])
        if (saved.path / BEST).exists():
            (self.attempt.folder / BEST).write_bytes((saved.path / BEST).read_bytes())
        for _ in itertools.islice(batches, passed * self.settings.gradient_accumulation):
            pass  # the data are drawn from the seed: their place is how many were drawn
        state = saved.state
        self.done, self.recent, self.tokens, self.worse = saved.step, list(state["recent"]), int(state["tokens"]), int(state["worse"])
        self.best_loss = math.inf if state["best_loss"] is None else float(state["best_loss"])
        torch.set_rng_state(kept["random"].cpu())
        if kept["cuda"]:
            torch.cuda.set_rng_state_all([one.cpu() for one in kept["cuda"]])
        self.resume = None
        self.attempt.events.log(f"went on from step {saved.step}")

    def _trained(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach() for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def _write_weights(self, path: Path) -> None:
        save_file({name: tensor.contiguous().cpu() for name, tensor in self._trained().items()}, path)

    def _read_weights(self, path: Path) -> None:
        kept, here = load_file(path), self._trained()
        if kept.keys() != here.keys():
            raise EngineError("the checkpoint is of other weights than this run trains", code="torn_checkpoint")
        with torch.no_grad():
            for name, tensor in here.items():
                tensor.copy_(kept[name])


def schedule(step: int, steps: int, warmup: int, floor: float) -> float:
    """Share of the peak learning rate at ``step`` (1 … ``steps``): linear warm-up times a cosine from 1 to ``floor``."""
    return min(1.0, step / warmup) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps)))


def steps_for(settings: Any, batches_an_epoch: int) -> int:
    """Steps asked for, or as many as the epochs take; every batch is used."""
    if settings.steps is not None:
        return int(settings.steps)
    return math.ceil(batches_an_epoch * float(settings.epochs) / settings.gradient_accumulation)


def _tokens(batch: Any) -> int:
    """An anchored step is a pair of batches: what is learnt, and where to stay."""
    return sum(_tokens(part) for part in batch) if isinstance(batch, tuple) else int(batch.tokens)


def _placed(batch: Any, device: torch.device) -> Any:
    return tuple(part.to(device) for part in batch) if isinstance(batch, tuple) else batch.to(device)
