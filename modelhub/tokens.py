"""How many tokens a text has for a model: by its own tokenizer where that can be read, else by a third of its characters."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from modelhub import artifacts
from modelhub.errors import Corrupt
from modelhub.models import ModelVersion

# Special tokens that a turn costs in the chat templates we know.
A_TURN = 4


@dataclass(frozen=True)
class Counter:
    """`count(text)` without special tokens; `estimated` where no tokenizer could be read."""

    count: Callable[[str], int]
    estimated: bool


def guess(text: str) -> int:
    # Clinical English in a small vocabulary.
    return len(text) // 3 + 1


def file_of(version: ModelVersion | None) -> str:
    """Where the model's tokenizer.json lies; "" for no model, or one that has none or cannot be read."""
    try:
        return str(artifacts.file(version.artifact, "tokenizer.json")) if version else ""
    except (KeyError, Corrupt):
        return ""


def counter(tokenizer: str) -> Counter:
    """By the tokenizer of that file (`file_of`); the guess where there is none, or no tokenizers package."""
    try:
        return Counter(_tokenizer(tokenizer), estimated=False)
    except (ImportError, OSError, ValueError):
        return Counter(guess, estimated=True)


def context(version: ModelVersion | None) -> int:
    """Positions the model has, by its configuration; 0 where it does not say."""
    try:
        config = json.loads(artifacts.file(version.artifact, "config.json").read_text()) if version else {}
    except (OSError, ValueError, KeyError, Corrupt):
        return 0
    return int(config.get("max_position_embeddings") or 0)


@lru_cache(maxsize=4)
def _tokenizer(path: str) -> Callable[[str], int]:
    if not path:
        raise FileNotFoundError("no tokenizer.json")
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(path)
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)
