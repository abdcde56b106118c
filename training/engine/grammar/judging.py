"""Scores by a planted rule: what makes an instruction good here is known, so that a pipeline that loses it is seen to. Standard library only."""

from __future__ import annotations

import random
import re

from training.engine.grammar.grid import CRITERIA, HIGHEST, LOWEST


def planted(instruction: str) -> dict[str, float]:
    """The true score of each criterion, 1…4, before a judge's noise.

    Quality grows with how much is laid down, alignment with a description of the answer, coherence with short sentences, realism with
    who reads it and why, difficulty with the number of rules.
    """
    sentences = [one for one in re.split(r"(?<=[.:!?])\s+", instruction) if one.strip()]
    words = len(instruction.split())
    described = bool(re.search(r"\b(JSON|plain text|nothing around|markup)\b", instruction))
    placed = bool(re.search(r"\b(You|Take the part|A medical coding office)\b", instruction))
    longest = max((len(one.split()) for one in sentences), default=0)
    raw = {
        "quality": 1.9 + len(sentences) / 8 + words / 240,
        "alignment": 2.2 + 0.9 * described + words / 400,
        "coherence": 4.0 - max(0, longest - 16) / 30,
        "realism": 2.7 + 0.7 * placed + 0.02 * len(sentences),
        "difficulty": 1.4 + len(sentences) / 6 + words / 300,
    }
    return {name: min(float(HIGHEST), max(float(LOWEST), raw[name])) for name in CRITERIA}


def judge(instruction: str, seed: str) -> dict[str, dict[str, object]]:
    """One judge's answer: each criterion with a rationale and an integer from 1 to 4 around the planted score."""
    chance = random.Random(f"judge {seed}")  # noqa: S311 - reproducible, not secret
    made: dict[str, dict[str, object]] = {}
    for name, true in planted(instruction).items():
        score = min(HIGHEST, max(LOWEST, round(true + chance.gauss(0, 0.35))))
        made[name] = {"rationale": f"The instruction is {('weak', 'fair', 'good', 'strong')[score - 1]} in {name}.", "score": score}
    return made


def prefer(better: str, seed: str) -> str:
    """A or B: mostly the side that is better, sometimes the other, and a little too often A."""
    chance = random.Random(f"prefer {seed}")  # noqa: S311 - reproducible, not secret
    if chance.random() < 0.05:
        return "A"
    return better if chance.random() < 0.93 else {"A": "B", "B": "A"}[better]
