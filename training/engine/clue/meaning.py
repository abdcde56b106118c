"""What CLUE logs beside ROUGE for some sets: BERTScore and UMLS-F1. Each is there when a house names what it needs, else left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.engine.clue import bertscore, umls
from training.engine.clue.scorers import Figures, mean
from training.suite.register import SETS

# Of each item: what was said in each run, and the gold.
Said = Sequence[tuple[Sequence[str], str]]


@dataclass(frozen=True)
class Means:
    """The folder of an ``encoder`` (and the ``layer`` whose output is taken), and the MRCONSO.RRF of a house's ``umls``."""

    encoder: Path | None = None
    layer: int | None = None
    umls: Path | None = None

    def check(self) -> None:
        """Read both, as a wrong path is better told before hours of asking than after. Raises ``BadEncoder`` and ``BadUmls``."""
        if self.encoder:
            bertscore.Encoder(self.encoder, self.layer)
        if self.umls:
            umls.check(self.umls)

    def lacking(self, names: Sequence[str]) -> list[str]:
        """In words, what is left out of the sets that are asked, and what it would need."""
        asked = {kind for name in names for kind in SETS[name].meaning}
        said = []
        if "bertscore" in asked and not self.encoder:
            said.append("BERTScore is left out: name a folder with an encoder (for instance SciBERT, which CLUE uses)")
        if "umls" in asked and not self.umls:
            said.append(f"UMLS-F1 is left out: name your own MRCONSO.RRF. {umls.WHERE}")
        return said


def figures(
    said: Mapping[str, Said], means: Means, *, check: Callable[[], None] = lambda: None
) -> tuple[dict[str, list[Figures]], dict[str, Any]]:  # fmt: skip
    """(by set one mapping of figures an item, each the mean over its runs; what decided them, for the record)."""
    found: dict[str, list[Figures]] = {name: [{} for _ in items] for name, items in said.items()}
    record: dict[str, Any] = {}

    def add(name: str, names: Sequence[str], told: Sequence[tuple[float, ...]]) -> None:
        rows = iter(told)
        for place, (texts, _) in enumerate(said[name]):
            runs = [next(rows) for _ in texts]
            found[name][place] |= {figure: mean([run[column] for run in runs]) for column, figure in enumerate(names)}

    wanting = {kind: [name for name in said if kind in SETS[name].meaning] for kind in ("bertscore", "umls")}
    if means.encoder and wanting["bertscore"]:
        encoder = bertscore.Encoder(means.encoder, means.layer)
        record["bertscore"] = encoder.settings
        for name in wanting["bertscore"]:
            add(name, bertscore.NAMES, encoder.scores(_pairs(said[name]), check=check))
    if means.umls and wanting["umls"]:
        # One look at a file of gigabytes, for all sets.
        texts = [text for name in wanting["umls"] for pair in _pairs(said[name]) for text in pair]
        concepts = umls.Concepts(means.umls, texts, going=check)
        record["umls"] = concepts.settings
        for name in wanting["umls"]:
            add(name, umls.NAMES, [concepts.scores(answer, gold) for answer, gold in _pairs(said[name])])
    return found, record


def _pairs(said: Said) -> list[tuple[str, str]]:
    return [(text.strip(), gold) for texts, gold in said for text in texts]
