"""What a suite says of one model, as it is kept: the same shape for the mini-suite and for CLUE+. Standard library only."""

import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """``items`` are one score an item, in the suite's fixed order, so that two models can be compared pair by pair; ``outputs_sha256`` is
    the digest of the file of what the model said. Raises ValueError for what no run of a task says."""

    metric: str
    higher_is_better: bool
    n: int
    score: float
    items: list[float]
    outputs_sha256: str

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or type(self.higher_is_better) is not bool or not isinstance(self.items, list):
            raise ValueError("a metric's name, whether more is better, and a list of scores are expected")
        if not all(_finite(score) for score in (self.score, *self.items)):
            raise ValueError("a score is a finite number")
        if type(self.n) is not int or self.n != len(self.items):
            raise ValueError("there is one score an item")
        if not isinstance(self.outputs_sha256, str) or not _SHA256.fullmatch(self.outputs_sha256):
            raise ValueError("the digest of what was said is 64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class SuiteResult:
    """``model`` is the digest of the model asked, ``settings`` what else decides the scores: system prompts, template, decoding, mode."""

    suite: Literal["mini", "clue"]
    model: str
    seed: int
    settings: dict[str, Any]
    tasks: dict[str, TaskResult]
    tokens_per_s: float | None = None
    p50_latency_ms: float | None = None
    peak_rss_mb: float | None = None
    schema: int = field(default=1)

    def __post_init__(self) -> None:
        if self.suite not in ("mini", "clue"):
            raise ValueError("there is no such suite")
        if not isinstance(self.model, str) or type(self.seed) is not int or not isinstance(self.settings, dict):
            raise ValueError("a model's digest, a seed and settings are expected")
        if not all(figure is None or _finite(figure) for figure in (self.tokens_per_s, self.p50_latency_ms, self.peak_rss_mb)):
            raise ValueError("what was measured is a finite number, or nothing")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.as_json(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError, TypeError, KeyError or AttributeError for anything that ``to_json`` does not write."""
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, raw: Any) -> Self:
        """As ``from_json``, of what is decoded already."""
        if not isinstance(raw, dict) or raw.get("schema") != 1:
            raise ValueError("not a suite's result")
        return cls(**raw | {"tasks": {name: TaskResult(**one) for name, one in raw["tasks"].items()}})


def file_of(task: str) -> str:
    """Where a task's answers stand, beside ``suite.json``."""
    return f"answers-{task.lower().replace(' ', '-')}.jsonl"


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
