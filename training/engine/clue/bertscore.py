"""BERTScore (Zhang et al. 2020, arXiv 1904.09675) over an encoder that lies in a folder: no package, no network.

Every word piece of one text takes the likest of the other, by the cosine of their contextual embeddings. Precision is the mean over the
answer's pieces, recall over the gold's. Pieces count alike (no idf), figures are not rescaled by a baseline. As in the authors' package,
the marks around a text count nothing, and may be what a piece takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.engine import buckets, models
from training.engine.clue import loaders
from training.engine.errors import InputError

BATCH = 32
NAMES = ("bertscore_precision", "bertscore_recall", "bertscore_f1")


class BadEncoder(InputError):
    """The folder holds no encoder that can be read."""

    code = "bad_encoder"


@dataclass(frozen=True)
class Embedded:
    """``vectors`` [pieces, width] of length one; ``counts`` [pieces], 0 for the marks around a text and 1 for all else."""

    vectors: torch.Tensor
    counts: torch.Tensor


def matched(answer: Embedded, gold: Embedded) -> tuple[float, float, float]:
    """(precision, recall, F1) in [-1, 1]; 0 where a text has no piece."""
    if not answer.counts.any() or not gold.counts.any():
        return 0.0, 0.0, 0.0
    alike = answer.vectors @ gold.vectors.T
    precision = float((alike.max(1).values * answer.counts).sum() / answer.counts.sum())
    recall = float((alike.max(0).values * gold.counts).sum() / gold.counts.sum())
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


class Encoder:
    """An encoder of Hugging Face's form with safetensors, read from its folder. ``layer`` is whose output the embeddings are, from 1;
    without one two thirds of the way up, where the paper's search ended for most models (SciBERT, which CLUE names: 8 of 12).

    Raises ``BadEncoder``.
    """

    def __init__(self, folder: Path, layer: int | None = None) -> None:
        from transformers import AutoModel, AutoTokenizer

        if not any(folder.glob("*.safetensors")):
            raise BadEncoder("the encoder's folder has no safetensors weights")
        how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, **how)
            model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **how)
        except (OSError, ValueError, RuntimeError) as problem:
            raise BadEncoder(f"no encoder can be loaded from the folder ({type(problem).__name__})") from None
        self.model = model.eval().to(models.device())
        layers = int(model.config.num_hidden_layers)
        self.layer = layer or max(1, round(layers * 2 / 3))
        if self.layer > layers:
            raise BadEncoder(f"the encoder has {layers} layers, and layer {self.layer} was asked for")
        self.digest = _digest(folder)
        # A length that a tokenizer does not know is said as a huge number; some families leave two of a model's places unused.
        said = int(self.tokenizer.model_max_length)
        self.longest = said if said <= models.context(model) else models.context(model) - 2

    @property
    def settings(self) -> dict[str, Any]:
        """What decides a score, for the record."""
        return {"sha256": self.digest, "layer": self.layer, "idf": False, "longest": self.longest}

    def scores(self, pairs: Sequence[tuple[str, str]], *, check: Callable[[], None] = lambda: None) -> list[tuple[float, float, float]]:
        """(precision, recall, F1) of each (answer, gold). A text's end beyond what the encoder can read is not looked at."""
        texts = dict.fromkeys(text.strip() for pair in pairs for text in pair)
        embedded = dict(self._embedded(list(texts), check))
        return [matched(embedded[answer.strip()], embedded[gold.strip()]) for answer, gold in pairs]

    @torch.inference_mode()
    def _embedded(self, texts: Sequence[str], check: Callable[[], None]) -> Iterator[tuple[str, Embedded]]:
        rows = [
            self.tokenizer(text, truncation=True, max_length=self.longest, return_special_tokens_mask=True, verbose=False) for text in texts
        ]
        for chunk in buckets.by_length([len(row["input_ids"]) for row in rows], batch_size=BATCH):
            check()
            width = max(len(rows[place]["input_ids"]) for place in chunk)
            ids = torch.full((len(chunk), width), self.tokenizer.pad_token_id or 0)
            mask = torch.zeros_like(ids)
            for line, place in enumerate(chunk):
                mine = rows[place]["input_ids"]
                ids[line, : len(mine)], mask[line, : len(mine)] = torch.tensor(mine), 1
            to = self.model.device
            told = self.model(input_ids=ids.to(to), attention_mask=mask.to(to), output_hidden_states=True).hidden_states[self.layer].cpu()
            for line, place in enumerate(chunk):
                mine = told[line, : len(rows[place]["input_ids"])]
                counts = 1 - torch.tensor(rows[place]["special_tokens_mask"])
                yield texts[place], Embedded(torch.nn.functional.normalize(mine, dim=-1), counts)


def _digest(folder: Path) -> str:
    """Of all that decides an embedding: weights, configuration and tokenizer, by their names and digests."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".txt", ".model"))
    return hashlib.sha256("".join(f"{path.name} {loaders.digest(path)}\n" for path in files).encode()).hexdigest()
