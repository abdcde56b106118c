"""How much of what each expert learnt a merge still knows: from right and wrong answers, question by question. Standard library only."""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

DRAWS = 2000


def retention(
    base: Mapping[str, Sequence[bool]], experts: Mapping[str, Sequence[bool]], merged: Mapping[str, Sequence[bool]], *,
    groups: Mapping[str, Sequence[str]] | None = None, draws: int = DRAWS, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Each expert's gain over the base on its own domain, and the share of it that the merge keeps: (merged − base) / (expert − base).

    All are right or wrong answers by domain, to the same questions in the same order; an expert is named by its domain. The 95 % interval
    redraws questions for all three models together (paired); questions of one of ``groups``, such as one answer asked in several wordings,
    are redrawn as a whole. ``kept`` is null where the expert gained nothing, and ``interval`` where more than a fortieth of the draws
    leave no gain to keep a share of. Above 1 the merge knows more than the expert did.

    >>> retention({"a": [False] * 4}, {"a": [True] * 4}, {"a": [True, True, True, False]}, draws=10)["experts"]["a"]["kept"]
    0.75
    """
    told = {}
    for domain, right in experts.items():
        rows = list(zip(base[domain], right, merged[domain], strict=True))
        named = list(groups[domain]) if groups else [str(number) for number in range(len(rows))]
        told[domain] = _one(rows, named, draws, f"retention {seed} {domain}")
    return {"questions": sum(len(right) for right in experts.values()), "experts": told}


def _one(rows: list[tuple[bool, bool, bool]], groups: list[str], draws: int, seed: str) -> dict[str, Any]:
    together: dict[str, list[tuple[bool, bool, bool]]] = {}
    for row, group in zip(rows, groups, strict=True):
        together.setdefault(group, []).append(row)
    # Of each group: its questions, and how many of them base, expert and merge have right.
    totals = [(len(found), *(sum(column) for column in zip(*found, strict=True))) for found in together.values()]
    rng, shares = random.Random(seed), []
    for _ in range(draws):
        drawn = rng.choices(totals, k=len(totals))
        was, learnt, has = (sum(total[place] for total in drawn) for place in (1, 2, 3))
        if learnt > was:
            shares.append((has - was) / (learnt - was))
    n = len(rows)
    was, learnt, has = (sum(row[place] for row in rows) for place in (0, 1, 2))
    return {
        "base": was / n, "expert": learnt / n, "merged": has / n, "gain": (learnt - was) / n,
        "kept": (has - was) / (learnt - was) if learnt > was else None, "interval": _interval(shares, draws),
    }  # fmt: skip


def _interval(shares: list[float], draws: int) -> list[float] | None:
    if len(shares) < draws * 39 / 40:
        return None
    shares.sort()
    return [shares[int(0.025 * (len(shares) - 1))], shares[math.ceil(0.975 * (len(shares) - 1))]]
