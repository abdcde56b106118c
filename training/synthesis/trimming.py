"""What is kept of what was written: without invalid answers, copies and texts of evaluation sets, and of the rest a diverse top-K.

The paper (arXiv 2505.10717, section 3.2.1) trims "to a diverse top-K by quality" and does not publish the rule. Ours: pairs are dealt
round by round, in every round one to each stratum task × document × format that still has any, in the order of the strata's best; within
a stratum the best mean score goes first, then the earlier draw. So no stratum has two more than another that still has some.

`python -m training.synthesis.trimming FOLDER` is the job's child: it reads `inputs/` and leaves `output/items.jsonl`. No Django.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from annotation import near
from training.engine import lifeline, rundir
from training.synthesis import passages

# Inputs at least so alike are copies of each other, and texts so alike to a held-out one give it away.
ALIKE, TOO_NEAR = 0.9, 0.8
# Outputs of fewer words are labels and phrases that many answers share, and are nobody's.
FEW = 20
# Held-out texts that are indexed at once, at 700 bytes each.
AT_ONCE = 65_536


@dataclass(frozen=True)
class Candidate:
    """One pair with what decides about it. `place` is (item's number, pair's number)."""

    id: int
    place: tuple[int, int]
    stratum: tuple[str, str, str]
    mean: float
    instruction: str
    input: str
    output: str


@dataclass(frozen=True)
class Rules:
    most: int
    least: float = 1.0
    alike: float = ALIKE


def trim(
    candidates: Sequence[Candidate], rules: Rules, *, evaluation: Iterable[str] = (), named: Iterable[str] = ()
) -> tuple[list[int], dict[int, str]]:
    """(ids kept, the best dealt first; id → reason for every other). `evaluation` are inputs and outputs of held-out samples, `named` texts
    of the operator's files: of those no run of thirteen words may be shared. Both are gone through more than once and never held."""
    dropped: dict[int, str] = {}
    left = sorted(candidates, key=lambda one: (-one.mean, one.place))
    left = _without(left, dropped, _unfit(left, rules))
    left = _without(left, dropped, _contaminated(left, evaluation, named))
    left = _without(left, dropped, _copies(left, rules.alike))
    kept = deal(left, rules.most)
    _without(left, dropped, {one.id: "beyond_top_k" for one in left if one.id not in set(kept)})
    return kept, dropped


def _without(left: list[Candidate], dropped: dict[int, str], reasons: Mapping[int, str]) -> list[Candidate]:
    dropped.update(reasons)
    return [one for one in left if one.id not in reasons]


def _unfit(left: Iterable[Candidate], rules: Rules) -> dict[int, str]:
    found: dict[int, str] = {}
    for one in left:
        if one.mean < rules.least:
            found[one.id] = "below_threshold"
        elif one.stratum[2] == "json" and not _is_json(one.output):
            found[one.id] = "invalid_json"
        elif near.plain(one.output) == near.plain(one.input):
            found[one.id] = "echo"
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _contaminated(left: Sequence[Candidate], evaluation: Iterable[str], named: Iterable[str]) -> dict[int, str]:
    """Inputs and outputs against all held-out texts: alike as a whole, or holding a passage. The first reason that fits is given."""
    asked = [one.input for one in left] + [one.output if len(one.output.split()) >= FEW else "" for one in left]
    found: dict[int, str] = {}
    for places, reason in (
        (_alike(asked, evaluation) | _alike(asked, named), "near_evaluation"),
        (passages.holders(asked, evaluation), "holds_evaluation"),
        (passages.holders([f"{one.input}\n{one.output}" for one in left], named, share=0), "shares_words"),
    ):
        for place in sorted(places):
            found.setdefault(left[place % len(left)].id, reason if place < len(left) else f"output_{reason}")
    return found


def _alike(asked: Sequence[str], others: Iterable[str]) -> set[int]:
    """Places of texts that are nearly one of the others, of which so many are indexed at a time."""
    places = [place for place, text in enumerate(asked) if text.strip()]
    stream = iter(others)
    found: set[int] = set()
    while stretch := list(islice(stream, AT_ONCE)):
        index: near.Index[int] = near.Index(threshold=TOO_NEAR)
        index.add_many(range(len(stretch)), stretch)
        answers = index.ask_many([asked[place] for place in places])
        found.update(place for place, alike in zip(places, answers, strict=True) if alike)
    return found


def _copies(left: Sequence[Candidate], alike: float) -> dict[int, str]:
    """Of equal inputs, and of inputs nearly equal, all but the best. Equal ones under different instructions are different tasks."""
    found: dict[int, str] = {}
    seen: dict[tuple[str, str], int] = {}
    fresh = []
    for one in left:
        if seen.setdefault((near.plain(one.instruction), near.plain(one.input)), one.id) != one.id:
            found[one.id] = "duplicate"
        else:
            fresh.append(one)
    for members in near.groups([one.id for one in fresh], [one.input for one in fresh], threshold=alike):
        found.update(dict.fromkeys(members[1:], "near_duplicate"))
    return found


def deal(left: Sequence[Candidate], most: int) -> list[int]:
    """Ids of at most `most`, round by round, one of each stratum; `left` is sorted, the best first."""
    strata: dict[tuple[str, str, str], list[int]] = {}
    for one in left:
        strata.setdefault(one.stratum, []).append(one.id)
    kept: list[int] = []
    turn = 0
    while len(kept) < most and any(len(ids) > turn for ids in strata.values()):
        kept += [ids[turn] for ids in strata.values() if len(ids) > turn]
        turn += 1
    return kept[:most]


@dataclass(frozen=True)
class _Texts:
    """A file's texts, line by line and as often as they are asked for: there may be more held-out texts than memory."""

    path: Path

    def __iter__(self) -> Iterator[str]:
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]


def main(folder: Path) -> None:
    began = time.monotonic()
    with rundir.Events(folder) as events:
        events.progress("evaluating", 0, 1)
        inputs = folder / rundir.INPUTS
        rules = Rules(**json.loads((inputs / "rules.json").read_text(encoding="utf-8")))
        rows = rundir.read_jsonl(inputs / "candidates.jsonl", {"id": int})
        candidates = [Candidate(**row | {"place": tuple(row["place"]), "stratum": tuple(row["stratum"])}) for row in rows]
        kept, dropped = trim(candidates, rules, evaluation=_Texts(inputs / "evaluation.jsonl"), named=_Texts(inputs / "named.jsonl"))
        (folder / rundir.OUTPUT).mkdir(exist_ok=True)
        made: list[dict[str, Any]] = [{"id": pk, "reason": ""} for pk in kept]
        rundir.write_jsonl(folder / rundir.OUTPUT / "items.jsonl", made + [{"id": pk, "reason": why} for pk, why in dropped.items()])
        events.progress("evaluating", 1, 1)
    metrics = {"kept": len(kept), "dropped": dict(Counter(dropped.values()))}
    told = {"schema": 1, "ok": True, "kind": "trim", "metrics": metrics, "items": "items.jsonl", "seconds": time.monotonic() - began}
    rundir.write_result(folder, told)


if __name__ == "__main__":
    lifeline.hold()
    main(Path(sys.argv[1]).resolve())
