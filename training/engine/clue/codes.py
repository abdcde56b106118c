"""ICD-10-CM as a tree, and multiple choice made of it as MedConceptsQA makes it (arXiv 2405.07348): what does this code mean?

Distractors are codes at a graph distance from the code asked about: hard 2 (siblings, mostly), medium 3 to 5, easy anywhere.
"""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

LEVELS = {"easy": None, "medium": (3, 5), "hard": (2, 2)}
LETTERS = "ABCD"


@dataclass(frozen=True)
class Tree:
    """``meaning`` of every code proper (with its dot), ``parent`` of every node, chapters and blocks among them."""

    meaning: Mapping[str, str]
    parent: Mapping[str, str]
    children: Mapping[str, Sequence[str]]
    leaves: Sequence[str]

    def around(self, code: str, nearest: int, furthest: int) -> list[str]:
        """Codes at ``nearest`` to ``furthest`` steps from ``code``, without regard to direction, in the list's order of discovery."""
        seen, edge, found = {code}, [code], []
        for distance in range(1, furthest + 1):
            edge = [
                other
                for one in edge
                for other in (*([self.parent[one]] if self.parent.get(one) else []), *self.children.get(one, ()))
                if not (other in seen or seen.add(other))  # type: ignore[func-returns-value]
            ]
            if distance >= nearest:
                found += [one for one in edge if one in self.meaning]
        return found


def tree_of(rows: Sequence[tuple[str, str, str, bool]]) -> Tree:
    """From (node, parent or "", meaning, is a code proper) in the list's order."""
    parent = {node: above for node, above, _, _ in rows if above}
    children: dict[str, list[str]] = {}
    for node, above in parent.items():
        children.setdefault(above, []).append(node)
    meaning = {node: text for node, _, text, proper in rows if proper}
    return Tree(meaning, parent, children, [node for node in meaning if node not in children])


@cache
def full() -> Tree:
    """The whole list of the package simple-icd-10-cm (5 s to read)."""
    import simple_icd_10_cm as icd

    codes = dict.fromkeys(icd.get_all_codes(with_dots=True))
    return tree_of([(code, icd.get_parent(code), icd.get_description(code), not icd.is_chapter_or_block(code)) for code in codes])


def questions(tree: Tree, *, level: str, most: int, seed: int) -> list[dict[str, Any]]:
    """At most ``most`` questions of a level about leaves drawn by the seed: {"code", "options", "answer"}, the answer a place in options.

    A code around which there are no three others with meanings of their own at that distance is passed over.
    """
    draw = random.Random(f"icd10cm {level} {seed}")
    reach, everything = LEVELS[level], list(tree.meaning)
    made: list[dict[str, Any]] = []
    for code in draw.sample(list(tree.leaves), len(tree.leaves)):
        if len(made) == most:
            break
        right = tree.meaning[code]
        pool = everything if reach is None else tree.around(code, *reach)
        wrong: list[str] = []
        for other in draw.sample(pool, min(len(pool), 12)):
            if (text := tree.meaning[other]) != right and text not in wrong and len(wrong) < 3:
                wrong.append(text)
        if len(wrong) < 3:
            continue
        options = [right, *wrong]
        draw.shuffle(options)
        made.append({"code": code, "options": options, "answer": options.index(right)})
    return made
