"""Batched generation and scoring. Prompts of like length go together, so that little is padding; a prompt is encoded once for all
its samples; an answer that has ended leaves the batch.

What a sample says depends on seed, prompt and sample number, and on nothing that it shares a batch with: ``sampling`` says how, and
``Decoder`` draws again alone what the arithmetic of a batch leaves open. That holds in float32, on one machine and thread count.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache

from training.engine import beginnings, buckets, models, sampling
from training.engine.answers import Answer, Pace, Place
from training.engine.attempt import Attempt
from training.engine.beginnings import Beginning
from training.engine.errors import RopeSide, TooLong
from training.engine.sampling import Sampling
from training.engine.tokens import stop_ids

# Tokens in one batch, prompts and longest answers together: what its keys and values take. 393 kB a token for Phi-3.5-mini in bf16.
TOKEN_BUDGET = 32_768


def generate(
    attempt: Attempt, model: Any, tokenizer: Any, prompts: Sequence[list[int]], *, max_new_tokens: int, batch_size: int,
    temperature: float = 0.0, top_p: float = 1.0, phase: str = "generating", done: int = 0, total: int | None = None,
) -> list[Answer]:  # fmt: skip
    """One answer a prompt, in the order given. Greedy at temperature 0, else by the spec's seed. Raises as ``Decoder.answers``."""
    how = Sampling(temperature=temperature, top_p=top_p)
    decoder = Decoder(attempt, model, tokenizer, how, max_new_tokens=max_new_tokens, batch_size=batch_size)
    pace = Pace(attempt, phase=phase, done=done, total=total or len(prompts))
    answers: dict[Place, Answer] = {}
    for found in decoder.answers(prompts):
        answers |= found
        pace.add(found.values())
    pace.say()
    return [answers[index, 0] for index in range(len(prompts))]


@dataclass
class Row:
    """A sample that is being written."""

    place: Place
    prompt: list[int]
    stream: sampling.Stream | None
    made: list[int] = field(default_factory=list)


class Decoder:
    """A model and how it chooses its tokens. ``drawn_alone`` counts the tokens that were drawn again for their row alone.

    With ``share_beginnings`` what most prompts begin with is read once for all of them; it changes nothing that is said.
    """

    def __init__(
        self, attempt: Attempt, model: Any, tokenizer: Any, how: Sampling, *, max_new_tokens: int, batch_size: int,
        token_budget: int = TOKEN_BUDGET, share_beginnings: bool = False,
    ) -> None:  # fmt: skip
        self.attempt, self.model, self.tokenizer, self.how = attempt, model, tokenizer, how
        self.max_new_tokens, self.batch_size, self.token_budget = max_new_tokens, batch_size, token_budget
        self.share_beginnings, self.ends = share_beginnings, ends(model, tokenizer)
        self.drawn_alone = 0

    def answers(self, prompts: Sequence[list[int]], *, n: int = 1, skip: Collection[Place] = frozenset()) -> Iterator[dict[Place, Answer]]:
        """Answers as they end, ``n`` a prompt without those in ``skip``; the longest prompts first, which need the most room.

        Raises ``TooLong`` when prompt and answer do not fit the model's context, and ``RopeSide`` when an answer might cross from
        the short to the long side of LongRoPE, where every key already cached would have to be another.
        """
        sides = self.sides(prompts)
        self.model.eval()
        for side in (buckets.LONG, buckets.SHORT, ""):
            mine = [index for index in range(len(prompts)) if sides[index] == side]
            rows = [
                Row((index, number), prompts[index], self._stream(prompts[index], number))
                for index in sorted(mine, key=lambda index: -len(prompts[index]))
                for number in range(n)
                if (index, number) not in skip
            ]
            for beginning, going_on in self._by_beginning(rows, side):
                for batch in self._batches(going_on):
                    for ended in self._write(batch, beginning):
                        yield {row.place: self.answer(row.made, side) for row in ended}

    def _by_beginning(self, rows: Sequence[Row], side: str) -> list[tuple[Beginning, list[Row]]]:
        """The rows that have nothing to share, then those that do, each with what they begin with."""
        nothing = Beginning(self.model, [])
        if not self.share_beginnings or side == buckets.LONG:
            return [(nothing, list(rows))]
        with torch.inference_mode():
            beginning = Beginning(self.model, beginnings.shared([row.prompt for row in rows]))
        if not beginning.tokens:
            return [(nothing, list(rows))]
        going_on = [beginning.starts(row.prompt) for row in rows]
        others = [row for row, has in zip(rows, going_on, strict=True) if not has]
        return [(nothing, others), (beginning, [row for row, has in zip(rows, going_on, strict=True) if has])]

    def sides(self, prompts: Sequence[list[int]]) -> list[str]:
        """The side of LongRoPE each is on, empty for a model with one. Raises as ``answers``."""
        limit, switch = models.context(self.model), models.switch_of(self.model)
        for index, ids in enumerate(prompts):
            if len(ids) + self.max_new_tokens > limit:
                raise TooLong(
                    f"prompt {index + 1} has {len(ids)} tokens; with {self.max_new_tokens} new ones it exceeds the context of {limit}"
                )
        if switch is None:
            return [""] * len(prompts)
        if crossing := [index + 1 for index, ids in enumerate(prompts) if len(ids) <= switch < len(ids) + self.max_new_tokens]:
            raise RopeSide(crossing, switch, self.max_new_tokens)
        return [buckets.side(len(ids), switch) for ids in prompts]

    def _stream(self, prompt: list[int], number: int) -> sampling.Stream | None:
        if self.how.temperature == 0:
            return None
        return sampling.Stream(seed=self.attempt.spec.seed, prompt=prompt, number=number, size=self.model.config.vocab_size)

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """As many rows as ``batch_size`` and ``token_budget`` allow; the first of each has the longest prompt."""
        start = 0
        while start < len(rows):
            width = len(rows[start].prompt) + self.max_new_tokens
            size = max(1, min(self.batch_size, self.token_budget // width))
            yield list(rows[start : start + size])
            start += size

    @torch.inference_mode()
    def _write(self, rows: list[Row], beginning: Beginning) -> Iterator[list[Row]]:
        """Write ``rows`` to their ends; those that have ended come out, a step at a time."""
        firsts = [place for place, row in enumerate(rows) if place == 0 or row.place[0] != rows[place - 1].place[0]]
        # What is shared stands first, then padding, then what is each row's own.
        own, read = [rows[place].prompt[len(beginning) :] for place in firsts], torch.ones((len(firsts), len(beginning)), dtype=torch.long)
        inputs, mask = _left_padded(own, self.tokenizer.pad_token_id, self.max_new_tokens)
        mask = torch.cat([read, mask], dim=1)
        width, cache = len(beginning) + inputs.shape[1], beginning.cache(len(firsts), mask.shape[1])
        logits = self._forward(inputs, mask[:, :width], (mask[:, :width].cumsum(-1) - 1).clamp(min=0)[:, len(beginning) :], cache)
        if len(firsts) < len(rows):
            owner = torch.tensor([bisect.bisect(firsts, place) - 1 for place in range(len(rows))])
            cache.batch_select_indices(owner.to(self.model.device))
            logits, mask = logits[owner], mask[owner]
        while True:
            self.attempt.check()
            chosen = self._next(logits, rows)
            for row, token in zip(rows, chosen.tolist(), strict=True):
                row.made.append(token)
            going = [place for place, row in enumerate(rows) if row.made[-1] not in self.ends and len(row.made) < self.max_new_tokens]
            if len(going) < len(rows):
                yield [row for place, row in enumerate(rows) if place not in set(going)]
                if not going:
                    return
                index = torch.tensor(going)
                cache.batch_select_indices(index.to(self.model.device))
                rows, chosen, mask = [rows[place] for place in going], chosen[index], mask[index]
            width += 1
            logits = self._forward(chosen[:, None], mask[:, :width], mask[:, :width].sum(-1, keepdim=True) - 1, cache)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Logits of the next token, on the CPU whatever the model is on: choosing is little work, and the same everywhere."""
        to = self.model.device
        made = self.model(
            input_ids=ids.to(to), attention_mask=mask.to(to), position_ids=positions.to(to), past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        logits: torch.Tensor = made.logits[:, -1].float().cpu()
        return logits

    def _next(self, logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        """The next token of each row; all rows of a batch are at the same step."""
        noise = None
        if self.how.temperature > 0:
            noise = sampling.exponentials(np.stack([row.stream.block() for row in rows if row.stream]))
        # Short of float32 batches differ by more than any margin, and a text may depend on its batch.
        margin = sampling.MARGIN if self.model.dtype == torch.float32 else 0.0
        chosen, decided = sampling.choose(self._without_early_ends(logits, rows[0]), self.how, noise, margin=margin)
        for place in (~decided).nonzero()[:, 0].tolist():
            row = rows[place]
            ids = torch.tensor([row.prompt + row.made], device=self.model.device)
            alone = self.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1].float().cpu()
            own = noise[place : place + 1] if noise is not None else None
            chosen[place] = sampling.choose(self._without_early_ends(alone, row), self.how, own, margin=0.0)[0][0]
            self.drawn_alone += 1
        return chosen

    def _without_early_ends(self, logits: torch.Tensor, row: Row) -> torch.Tensor:
        if len(row.made) < self.how.min_new_tokens:
            logits[:, sorted(self.ends)] = -torch.inf
        return logits

    def answer(self, made: Sequence[int], side: str) -> Answer:
        """The tokens that were written, with the one that ends them or without, as an answer."""
        stopped = made[-1] in self.ends
        ids = list(made[:-1] if stopped else made)
        text = self.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return Answer(text, "stop" if stopped else "length", len(ids), side)


def ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer: the tokenizer's, and those the model's own generation settings name besides."""
    named = model.generation_config.eos_token_id
    return frozenset(stop_ids(tokenizer)) | frozenset([named] if isinstance(named, int) else named or ())


def completion_logps(
    attempt: Attempt, model: Any, pad: int, rows: Sequence[tuple[list[int], list[int]]], batch_size: int, *,
    done: int = 0, total: int | None = None,
) -> list[float]:  # fmt: skip
    """Sum of log probabilities of each completion's tokens given its prompt: log pi(y | x), in nats, in rows' order.

    Summed in float64, and rows of the two sides of LongRoPE never meet: what a row scores is its own, to the last digits of float32.
    """
    limit, switch = models.context(model), models.switch_of(model)
    lengths = [len(prompt) + len(completion) for prompt, completion in rows]
    for index, length in enumerate(lengths):
        if length > limit:
            raise TooLong(f"row {index + 1} has {length} tokens, the context is {limit}")
    scores = [0.0] * len(rows)
    model.eval()
    pace = Pace(attempt, phase="evaluating", done=done, total=total or len(rows))
    for chunk in buckets.by_length(lengths, batch_size=batch_size, switch=switch):
        attempt.check()
        for index, score in zip(chunk, _scored(model, pad, [rows[index] for index in chunk]), strict=True):
            scores[index] = score
        pace.done += len(chunk)
        pace.say()
    return scores


@torch.inference_mode()
def _scored(model: Any, pad: int, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    inputs = torch.full((len(rows), max(len(prompt) + len(completion) for prompt, completion in rows)), pad)
    for place, (prompt, completion) in enumerate(rows):
        inputs[place, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
    # Padding stands behind, where no token looks. What is predicted inside the shortest prompt is not asked for.
    first = max(1, min(len(prompt) for prompt, _ in rows))
    logits = model(input_ids=inputs.to(model.device), use_cache=False, logits_to_keep=inputs.shape[1] - first + 1).logits
    scores = []
    for place, (prompt, completion) in enumerate(rows):
        start = max(1, len(prompt))
        told = logits[place, start - first : len(prompt) + len(completion) - first].double().cpu()
        wanted = inputs[place, start : len(prompt) + len(completion), None]
        scores.append(float((told.gather(-1, wanted)[:, 0] - told.logsumexp(-1)).sum()))
    return scores


def _left_padded(prompts: Sequence[list[int]], pad: int, room: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids [rows, width], mask [rows, width + room]): the prompts end together, and ``room`` tokens may follow each."""
    width = max(map(len, prompts))
    inputs = torch.full((len(prompts), width), pad)
    mask = torch.ones((len(prompts), width + room), dtype=torch.long)
    for index, ids in enumerate(prompts):
        inputs[index, width - len(ids) :] = torch.tensor(ids)
        mask[index, : width - len(ids)] = 0
    return inputs, mask
