"""Answers as they come, wherever from: how far the job is, and what an attempt after this one need not ask for again.
Standard library only."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.engine import rundir
from training.engine.attempt import Attempt

SAY_EVERY_SECONDS = 0.5
PARTIAL = "items.partial.jsonl"

Place = tuple[int, int]  # (index of the prompt, number of the sample)


@dataclass(frozen=True)
class Answer:
    """What was written in one place, or in ``error`` why nothing was."""

    text: str
    finish_reason: str  # "stop": the model ended its turn; "length": it was cut at max_new_tokens
    tokens: int | None
    rope: str = ""  # "short" or "long": the side of LongRoPE it was written on; empty where the model has but one
    error: str = ""


class Pace:
    """Says how far a job is, about twice a second: answers done, tokens a second, seconds left."""

    def __init__(self, attempt: Attempt, *, phase: str, done: int, total: int) -> None:
        self.attempt, self.phase, self.done, self.total = attempt, phase, done, total
        self.tokens, self._before = 0, done
        self._begun = self._said = time.monotonic()

    def add(self, found: Collection[Answer], tokens: int | None = None) -> None:
        """``tokens`` is what they took together, where their own numbers do not say it."""
        self.tokens += sum(answer.tokens or 0 for answer in found) if tokens is None else tokens
        self.move(len(found))

    def move(self, count: int) -> None:
        """So many more are done, whatever they are."""
        self.done += count
        if time.monotonic() - self._said >= SAY_EVERY_SECONDS:
            self.say()

    def say(self) -> None:
        self._said = time.monotonic()
        self.attempt.events.progress(self.phase, self.done, self.total)
        if self.tokens and self.seconds:
            self.attempt.events.metric(self.done, "tokens_per_second", round(self.tokens_per_second, 1))
            answered = self.done - self._before
            self.attempt.events.metric(self.done, "seconds_left", round(self.seconds / answered * (self.total - self.done), 1))

    @property
    def seconds(self) -> float:
        return self._said - self._begun

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


class Ledger:
    """Answers to ``rows``, ``n`` each: kept in a file as they come, and in a checkpoint every ``checkpoint_seconds``.

    What an earlier attempt answered is there from the beginning; what it failed to answer is not, and is asked again.
    """

    def __init__(self, attempt: Attempt, rows: Sequence[Mapping[str, Any]], *, n: int, checkpoint_seconds: float) -> None:
        self.attempt, self.ids, self.n, self.checkpoint_seconds = attempt, [str(row["id"]) for row in rows], n, checkpoint_seconds
        self.answers: dict[Place, Answer] = {}
        self._path = attempt.folder / PARTIAL
        self._path.write_bytes(b"")
        if attempt.resume is not None:
            places = {row: index for index, row in enumerate(self.ids)}
            for item in rundir.read_jsonl(attempt.resume.path / PARTIAL, {"id": str, "n": int, "text": str}):
                self._note({(places[item.pop("id")], item.pop("n")): Answer(**item)})
            attempt.events.log(f"{len(self.answers)} answers of an earlier attempt are kept")
        self.resumed = len(self.answers)
        self._saved = time.monotonic()

    def add(self, found: Mapping[Place, Answer]) -> None:
        self._note(found)
        if time.monotonic() - self._saved >= self.checkpoint_seconds:
            self.checkpoint()

    def checkpoint(self) -> None:
        """What is answered so far, as an attempt after this one finds it."""
        if done := sum(not answer.error for answer in self.answers.values()):
            self.attempt.checkpoint(step=done, fill=lambda folder: shutil.copyfile(self._path, folder / PARTIAL), state={})
        self._saved = time.monotonic()

    def items(self) -> list[dict[str, Any]]:
        return [self._item(place, self.answers[place]) for place in sorted(self.answers)]

    def _note(self, found: Mapping[Place, Answer]) -> None:
        self.answers.update(found)
        with self._path.open("a", encoding="utf-8") as out:
            for place, answer in found.items():
                if not answer.error:
                    out.write(json.dumps(self._item(place, answer), ensure_ascii=False) + "\n")

    def _item(self, place: Place, answer: Answer) -> dict[str, Any]:
        return {"id": self.ids[place[0]], "n": place[1]} | asdict(answer)
