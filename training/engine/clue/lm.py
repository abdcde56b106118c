"""Our own decoding as a language model of lm-evaluation-harness: evaluation answers on the path on which pairs are generated.

What makes it quicker than the harness's own `hf`: what the prompts of a task begin with, its instruction and shots, is read once for all
of them; answers leave a batch as they end; the output layer computes only the places that are asked for. What a row scores is the same.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Any

import torch
from lm_eval.api.model import TemplateLM

from training.engine import beginnings, buckets, continuous, decoding, models, tokens
from training.engine.answers import Answer, Pace, Place
from training.engine.beginnings import Beginning
from training.engine.errors import EngineError
from training.engine.sampling import Sampling
from training.engine.spec import Generate
from training.engine.toytext import Message

# Turns of a conversation whose tokens are kept, and how many texts are encoded whole as well, to see that it is the same.
TURNS_KEPT, TRIED = 512, 8


class Laid(str):
    """A prompt as its template lays it out, which remembers its messages: a control token that is written in one stays plain text."""

    messages: Sequence[Message]


class EngineLM(TemplateLM):
    """``written`` and ``seconds`` count new tokens and the time they took; ``cut`` the prompts that lost their beginning, because with
    their answer they did not fit the context (or the side of LongRoPE they are on)."""

    def __init__(self, attempt: Any, model: Any, tokenizer: Any, *, batch_size: int, temperature: float = 0.0) -> None:
        super().__init__()
        self.attempt, self.model, self.tokenizer = attempt, model, tokenizer
        self.batch_size, self.how = batch_size, Sampling(temperature=temperature)
        self.written, self.seconds, self.cut = 0, 0.0, 0
        self.latencies: list[float] = []
        self._controls = re.compile("|".join(map(re.escape, sorted(tokens.controls(tokenizer), key=len, reverse=True))))
        self._turns: dict[str, list[int]] = {}
        self._by_turns, self._tried = True, 0
        model.eval()

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def tokenizer_name(self) -> str:
        return "policy"

    def chat_template(self, chat_template: bool | str = False) -> str:
        return str(self.tokenizer.chat_template)

    def apply_chat_template(self, chat_history: Sequence[Message], add_generation_prompt: bool = True) -> Laid:
        text = self.tokenizer.apply_chat_template(
            list(chat_history),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        laid = Laid(text)
        laid.messages = list(chat_history)
        return laid

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Turn by turn, as a tokenizer cuts at its control tokens before all else: instruction and shots stand in every prompt, and are
        encoded once. Should a tokenizer not do so, which is tried on the first texts, whole."""
        cuts = [found.start() for found in self._controls.finditer(string)]
        if not self._by_turns or len(cuts) < 2:
            return tokens.encode_markup(self.tokenizer, string)
        ids = []
        for start, end in pairwise([0, *cuts, len(string)]):
            turn = string[start:end]
            if turn and turn not in self._turns:
                if len(self._turns) >= TURNS_KEPT:
                    self._turns.clear()  # most were said once only
                self._turns[turn] = tokens.encode_markup(self.tokenizer, turn)
            ids += self._turns.get(turn, [])
        if self._tried < TRIED:
            self._tried += 1
            whole = tokens.encode_markup(self.tokenizer, string)
            self._by_turns, ids = self._by_turns and ids == whole, whole
        return ids

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Texts in the requests' order, cut before the first of their stop texts. A request that comes again is answered anew, by the next
        sample number: greedy decoding says the same."""
        texts = [""] * len(requests)
        for most in sorted({request.args[1]["max_gen_toks"] for request in requests}):
            asked: dict[int, list[int]] = {}
            for index, request in enumerate(requests):
                if request.args[1]["max_gen_toks"] == most:
                    asked.setdefault(id(request), []).append(index)
            turns = list(asked.values())
            prompts = [self._fitting(self._prompt(requests[mine[0]].args[0]), most) for mine in turns]
            begun = time.monotonic()
            found = self._write(prompts, most, max(map(len, turns)))
            self.seconds += time.monotonic() - begun
            for place, mine in enumerate(turns):
                for number, index in enumerate(mine):
                    self.written += found[place, number].tokens or 0
                    texts[index] = _until(found[place, number].text, requests[index].args[1].get("until", []))
            self._time_alone(prompts, most)
        return texts

    def _prompt(self, text: str) -> list[int]:
        if isinstance(text, Laid) and self._is_hostile(text):
            return tokens.encode_chat(self.tokenizer, text.messages, generation_prompt=True)
        return self.tok_encode(text)

    def _is_hostile(self, text: Laid) -> bool:
        """Whether a control token is written in a message."""
        return any(self._controls.search(one["content"]) for one in text.messages)

    def _fitting(self, prompt: list[int], most: int) -> list[int]:
        """The end of a prompt that with ``most`` new tokens is too long, as the harness does it: what is asked stands last."""
        room = models.context(self.model) - most
        if room < 1:
            raise EngineError(f"answers of {most} tokens do not fit the model's context of {models.context(self.model)}", code="too_long")
        switch = models.switch_of(self.model)
        if switch is not None and len(prompt) <= switch < len(prompt) + most:
            room = min(room, switch - most)
        self.cut += len(prompt) > room
        return prompt[-room:]

    def _write(self, prompts: Sequence[list[int]], most: int, n: int) -> dict[Place, Answer]:
        decoder = decoding.Decoder(
            self.attempt, self.model, self.tokenizer, self.how, max_new_tokens=most, batch_size=self.batch_size, share_beginnings=True
        )
        pace = Pace(self.attempt, phase="evaluating", done=0, total=n * len(prompts))
        answers: dict[Place, Answer] = {}
        if continuous.is_wanted(Generate(temperature=self.how.temperature, max_new_tokens=most)):
            try:
                for found in continuous.answers(decoder, prompts, n=n, seed=self.attempt.spec.seed):
                    answers |= found
            except continuous.Stopped as stopped:
                self.attempt.events.log(f"continuous batching stopped ({stopped}): the rest is written in static batches")
        for found in decoder.answers(prompts, n=n, skip=frozenset(answers)):
            answers |= found
            pace.add(found.values())
        pace.say()
        return answers

    def _time_alone(self, prompts: Sequence[list[int]], most: int) -> None:
        """What one prompt alone waits for its answer: of a suite's first generated task, the first five."""
        for prompt in prompts[: 5 - len(self.latencies)]:
            begun = time.monotonic()
            decoder = decoding.Decoder(self.attempt, self.model, self.tokenizer, self.how, max_new_tokens=most, batch_size=1)
            for _ in decoder.answers([prompt]):
                pass
            self.latencies.append(1000 * (time.monotonic() - begun))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """As the harness cuts them, blanks at the end of the context going over to the continuation."""
        if not isinstance(context, Laid) or not self._is_hostile(context):
            pair: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            return pair
        return self._prompt(context), tokens.encode_plain(self.tokenizer, continuation)

    def _loglikelihood_tokens(self, requests: Sequence[Any], disable_tqdm: bool = False, **kwargs: Any) -> list[tuple[float, bool]]:
        """(log probability of each continuation, whether it is what greedy decoding writes). One pass for all those that share everything
        but their last token, as letters after a question do."""
        limit = models.context(self.model)
        rows: dict[tuple[tuple[int, ...], int], list[int]] = {}
        for index, (_, context, continuation) in enumerate(requests):
            whole = (context + continuation)[-(limit + 1) :]
            self.cut += len(context) + len(continuation) > limit + 1
            rows.setdefault((tuple(whole[:-1]), len(continuation)), []).append(index)
        keys = list(rows)
        scores: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        pace = Pace(self.attempt, phase="evaluating", done=0, total=len(requests))
        for beginning, chunk in self._chunks(keys):
            self.attempt.check()
            for place, told in zip(chunk, self._read([keys[place] for place in chunk], beginning), strict=True):
                for index in rows[keys[place]]:
                    scores[index] = _scored(told, requests[index][2])
            pace.move(sum(len(rows[keys[place]]) for place in chunk))
        pace.say()
        return scores

    def _chunks(self, rows: Sequence[tuple[Sequence[int], int]]) -> Iterator[tuple[Beginning, list[int]]]:
        """Batches of like length, each with what its rows begin with; those on the long side of LongRoPE share nothing."""
        switch = models.switch_of(self.model)
        # The last `size` places are what is asked for, so they are nobody's beginning.
        contexts = [read[: len(read) - size + 1] if buckets.side(len(read), switch) == buckets.SHORT else () for read, size in rows]
        with torch.inference_mode():
            beginning = Beginning(self.model, beginnings.shared([context for context in contexts if context]))
        has = [bool(beginning.tokens) and beginning.starts(context) for context in contexts]
        for wanted, start in ((False, Beginning(self.model, [])), (True, beginning)):
            mine = [place for place in range(len(rows)) if has[place] == wanted]
            lengths = [len(rows[place][0]) for place in mine]
            for chunk in buckets.by_length(lengths, batch_size=self.batch_size, switch=switch):
                # Only rows that go on from a beginning hold keys and values of all their tokens.
                size = max(1, decoding.TOKEN_BUDGET // lengths[chunk[-1]]) if wanted else len(chunk)
                for first in range(0, len(chunk), size):
                    yield start, [mine[place] for place in chunk[first : first + size]]

    @torch.inference_mode()
    def _read(self, rows: Sequence[tuple[Sequence[int], int]], beginning: Beginning) -> list[torch.Tensor]:
        """Log probabilities of what follows each of the last places of each row: [tokens of its continuation, vocabulary]."""
        done, to = len(beginning), self.model.device
        width, deepest = max(len(read) for read, _ in rows), min(len(read) - size for read, size in rows)
        inputs = torch.full((len(rows), width - done), self.tokenizer.pad_token_id)
        for place, (read, _) in enumerate(rows):
            inputs[place, : len(read) - done] = torch.tensor(read[done:])  # padding stands behind, where no token looks
        from_beginning = (
            {
                "past_key_values": beginning.cache(len(rows), width),
                "position_ids": torch.arange(done, width, device=to)[None],
                "use_cache": True,
            }
            if done
            else {"use_cache": False}
        )
        logits = self.model(input_ids=inputs.to(to), logits_to_keep=width - deepest, **from_beginning).logits
        return [
            logits[place, len(read) - size - deepest : len(read) - deepest].double().cpu().log_softmax(-1)
            for place, (read, size) in enumerate(rows)
        ]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError("no task of ours asks for it")


def _scored(told: torch.Tensor, continuation: Sequence[int]) -> tuple[float, bool]:
    wanted = torch.tensor(continuation)
    return float(told.gather(-1, wanted[:, None]).sum()), bool((told.argmax(-1) == wanted).all())


def _until(text: str, stops: Sequence[str]) -> str:
    for stop in takewhile(bool, stops):
        text = text.split(stop)[0]
    return text


class Scripted(TemplateLM):
    """Answers that are known before: the same to everything, or by the gold of each row. For showing where a task's 0 and 1 lie."""

    tokenizer = None
    eot_token_id = 0

    def __init__(self, say: Mapping[str, str] | str) -> None:
        super().__init__()
        self.say = say

    def _said(self, doc: Mapping[str, Any]) -> str:
        return self.say if isinstance(self.say, str) else self.say[doc["id"]]

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return list(string.encode())

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return [self._said(request.doc) for request in requests]

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [(0.0, True) if request.args[1].strip() == self._said(request.doc) else (-1.0, False) for request in requests]

    def _loglikelihood_tokens(self, requests: Sequence[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        raise NotImplementedError("whole texts are compared")

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError("no task of ours asks for it")

    @property
    def tokenizer_name(self) -> str:
        return "none"

    def chat_template(self, chat_template: bool | str = False) -> str:
        return ""

    def apply_chat_template(self, chat_history: Sequence[Message], add_generation_prompt: bool = True) -> str:
        return "\n".join(one["content"] for one in chat_history)
