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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from annotation import near
from training.engine import lifeline, rundir

# Inputs at least so alike are copies of each other, and so alike to an evaluation text they give its answers away.
ALIKE, TOO_NEAR = 0.9, 0.8
# Words in a row that a sample may not share with an operator's evaluation file (Brown et al. 2020, appendix C).
SHARED = 13


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
    """(ids kept, the best dealt first; id → reason for every other). `evaluation` are inputs of held-out samples, `named` texts of the
    operator's files: those also may not share thirteen words in a row."""
    dropped: dict[int, str] = {}
    left = sorted(candidates, key=lambda one: (-one.mean, one.place))
    left = _without(left, dropped, _unfit(left, rules))
    left = _without(left, dropped, _contaminated(left, list(evaluation), list(named)))
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


def _contaminated(left: Sequence[Candidate], evaluation: list[str], named: list[str]) -> dict[int, str]:
    if not evaluation and not named:
        return {}
    index: near.Index[int] = near.Index(threshold=TOO_NEAR)
    index.add_many(range(len(evaluation) + len(named)), [*evaluation, *named])
    runs = {run for text in named for run in _runs(text)}
    answers = index.ask_many([one.input for one in left])
    return {
        one.id: "near_evaluation" if found else "shares_words"
        for one, found in zip(left, answers, strict=True)
        if found or (runs and not runs.isdisjoint(_runs(f"{one.input}\n{one.output}")))
    }


def _runs(text: str) -> Iterable[bytes]:
    words = near.plain(text).split()
    for at in range(len(words) - SHARED + 1):
        yield blake2b(" ".join(words[at : at + SHARED]).encode("utf-8", "surrogatepass"), digest_size=8).digest()


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


def main(folder: Path) -> None:
    began = time.monotonic()
    with rundir.Events(folder) as events:
        events.progress("evaluating", 0, 1)
        inputs = folder / rundir.INPUTS
        rules = Rules(**json.loads((inputs / "rules.json").read_text(encoding="utf-8")))
        texts = {
            name: [row["text"] for row in rundir.read_jsonl(inputs / f"{name}.jsonl", {"text": str})] for name in ("evaluation", "named")
        }
        rows = rundir.read_jsonl(inputs / "candidates.jsonl", {"id": int})
        candidates = [Candidate(**row | {"place": tuple(row["place"]), "stratum": tuple(row["stratum"])}) for row in rows]
        kept, dropped = trim(candidates, rules, **texts)
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
