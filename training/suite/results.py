"""What a suite says of one model, as it is kept: the same shape for the mini-suite and for CLUE+. Standard library only."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """``items`` are one score an item, in the suite's fixed order, so that two models can be compared pair by pair; ``outputs_sha256`` is
    the digest of the file of what the model said."""

    metric: str
    higher_is_better: bool
    n: int
    score: float
    items: list[float]
    outputs_sha256: str


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

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError or TypeError for anything that ``to_json`` does not write."""
        raw = json.loads(text)
        if not isinstance(raw, dict) or raw.get("schema") != 1:
            raise ValueError("not a suite's result")
        return cls(**raw | {"tasks": {name: TaskResult(**one) for name, one in raw["tasks"].items()}})
