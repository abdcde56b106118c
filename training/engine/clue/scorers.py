"""How answers of CLUE+ are scored: from texts to figures in [0, 1], one item at a time; and what lm-evaluation-harness calls by name.

Every scorer gives a name → value for one item, and forgives blanks at either end. A written pack of tasks (pack.py) holds a copy of this
very file for its YAML to name, so it imports nothing of ours: the standard library, and where they are called rouge_score, datasets and
simple_icd_10_cm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Figures = dict[str, float]

ROUGES = ("rouge1", "rouge2", "rougeL")
# CLUE's, in one piece: letter, two digits, then up to four more of either. U is left out as there.
ICD_CODE = re.compile(r"\b[A-TV-Z][0-9]{2}(?:\.?[0-9A-Z]{1,4})?\b")
CHOSEN = re.compile(r"The correct answer is (\w):")


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGES), use_stemmer=False)


def rouge(answer: str, gold: str) -> Figures:
    """F1 of ROUGE-1, -2 and -L (Lin 2004) as the package rouge_score computes them, without stemming, which is how `evaluate` does it."""
    return {name: float(found.fmeasure) for name, found in _rouge().score(gold, answer).items()}


def label_once(answer: str, gold: str) -> Figures:
    """CLUE's MedNLI: right when the gold label stands in the answer exactly once, in any case. Others beside it do no harm."""
    return {"accuracy": float(answer.lower().count(gold.lower()) == 1)}


def lettered(answer: str, gold: str) -> Figures:
    """CLUE's LongHealth: the letter of `The correct answer is X:`; without one the answer is wrong."""
    found = CHOSEN.search(answer)
    return {"accuracy": float(found is not None and found[1] == gold)}


def codes_of(text: str) -> list[str]:
    """Every ICD-10 code in a text, without its dot, in order, each once."""
    return list(dict.fromkeys(found.replace(".", "") for found in ICD_CODE.findall(text)))


def f1(found: Collection[str], gold: Collection[str]) -> float:
    """Harmonic mean of the share of what was found that is gold, and of gold that was found; 0 where they share nothing."""
    found, gold = set(found), set(gold)
    return 2 * len(found & gold) / (len(found) + len(gold)) if found or gold else 1.0


def icd_codes(answer: str, gold: Sequence[str], known: Collection[str]) -> Figures:
    """F1 of whole codes and of their first three characters, and the share of the answer's codes that exist (0 where it has none)."""
    found, wanted = codes_of(answer), [code.replace(".", "") for code in gold]
    return {
        "f1": f1(found, wanted), "f1_3": f1([code[:3] for code in found], [code[:3] for code in wanted]),
        "valid": sum(code in known for code in found) / len(found) if found else 0.0,
    }  # fmt: skip


def medec(answer: str, gold: Mapping[str, Any]) -> Figures:
    """MEDEC (arXiv 2412.19260): is there an error (flag), which sentence (sentence id, −1 for none), and how it is put right (ROUGE-1).

    The answer begins with the sentence's id, perhaps followed by the sentence as it should be. CLUE+ asks for the id alone, so a
    correction that was not offered counts 0 where there was an error; where there was none, saying −1 is the whole answer.
    """
    said = re.match(r"\s*(-?\d+)\b[ \t:.]*(.*)", answer, re.DOTALL)
    chosen, text = (int(said[1]), said[2].strip()) if said else (None, "")
    right = chosen == gold["sentence"]
    if gold["sentence"] == -1:
        corrected = float(right)
    else:
        corrected = rouge(text, gold["corrected"])["rouge1"] if text and chosen != -1 else 0.0
    return {
        "sentence": float(right), "flag": float(chosen is not None and (chosen == -1) == (gold["sentence"] == -1)), "correction": corrected
    }  # fmt: skip


@cache
def known_codes() -> frozenset[str]:
    """Every code of ICD-10-CM there is, without its dot (some seconds to read)."""
    import simple_icd_10_cm as icd

    return frozenset(code for code in icd.get_all_codes(with_dots=False) if not icd.is_chapter_or_block(code))


def coded(answer: str, gold: Sequence[str]) -> Figures:
    return icd_codes(answer, gold, known_codes())


def entities_of(answer: str) -> list[tuple[str, str]]:
    """(tag, text) of each object in the answer's first JSON list; what is not of that form is left out. A tag is `entity:label`."""
    start = answer.find("[")
    if start < 0:
        return []
    try:
        listed, _ = json.JSONDecoder().raw_decode(answer[start:])
    except (ValueError, RecursionError):
        return []
    return [
        (f"{one['entity']}:{one['label']}", one["value"])
        for one in listed
        if isinstance(one, dict) and all(isinstance(one.get(key), str) for key in ("entity", "label", "value"))
    ]


def type_f1(found: Sequence[tuple[str, str]], gold: Sequence[tuple[str, str]], text: str) -> float:
    """F1 of one document in eval4ner's mode "type" (Chai 2019; after SemEval 2013, 9.1): the tag must be right, the span may only overlap.

    Each prediction takes one gold entity, in this order of preference: same tag and text (correct); same tag, overlapping span
    (correct); same text, other tag (incorrect); overlapping span, other tag (incorrect); else it is spurious. Spans are where a text
    first stands in the document, as in that code, and texts that are not there overlap nothing. Nothing found where nothing was to be
    found is 1.
    """
    if not gold and not found:
        return 1.0
    left = list(gold)
    correct = incorrect = spurious = 0
    for tag, value in found:
        match = next(
            (
                (kind, place)
                for kind in (_same, _same_tag, _same_text, _overlapping)
                for place, one in enumerate(left)
                if kind((tag, value), one, text)
            ),
            None,
        )
        if match is None:
            spurious += 1
            continue
        kind, place = match
        del left[place]
        if kind in (_same, _same_tag):
            correct += 1
        else:
            incorrect += 1
    predicted, wanted = correct + incorrect + spurious, correct + incorrect + len(left)
    precision, recall = correct / predicted if predicted else 0.0, correct / wanted if wanted else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def sdoh(answer: str, gold: Mapping[str, Any]) -> Figures:
    wanted = [(f"{one['entity']}:{one['label']}", one["value"]) for one in gold["entities"]]
    return {"type_f1": type_f1(entities_of(answer), wanted, gold["text"])}


Entity = tuple[str, str]


def _same(one: Entity, other: Entity, text: str) -> bool:
    return one == other


def _same_tag(one: Entity, other: Entity, text: str) -> bool:
    return one[0] == other[0] and _overlapping(one, other, text)


def _same_text(one: Entity, other: Entity, text: str) -> bool:
    return one[1] == other[1]


def _overlapping(one: Entity, other: Entity, text: str) -> bool:
    first, second = text.find(one[1]), text.find(other[1])
    if min(first, second) < 0 or not one[1] or not other[1]:
        return False
    return first < second + len(other[1]) and second < first + len(one[1])


# --- what the harness calls -------------------------------------------------------------------------------------------------------------


def rows(*, asked: str, shown: str | None, system: str, **_: Any) -> dict[str, Any]:
    """A task's data set from files beside this one. The harness also passes whatever else it was told of the model."""
    return splits(_lines(asked), _lines(shown) if shown else [], system)


def splits(asked: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]], system: str) -> dict[str, Any]:
    """Rows to score as "test" and, where there are any, rows to show as "shots"."""
    from datasets import Dataset

    # The system turn as a column: anything else the harness compiles as a template, for every row anew.
    found = {"test": Dataset.from_list([{**row, "system": system} for row in asked])}
    return found | ({"shots": Dataset.from_list([dict(row) for row in shown])} if shown else {})


def _lines(name: str) -> list[dict[str, Any]]:
    # A line ends at a line feed alone: texts may hold other characters that count as ends of lines.
    return [json.loads(line) for line in (Path(__file__).parent / name).read_text(encoding="utf-8").split("\n") if line]


def chosen(doc: Mapping[str, Any], results: Sequence[Any]) -> Figures:
    """Right when the right choice is the likeliest; of equally likely ones the first counts, as in the harness."""
    told = [logp for logp, _ in results]
    return {"accuracy": float(told.index(max(told)) == doc["answer"])}


def over_runs(score: Callable[[str, Any], Figures]) -> Callable[[Mapping[str, Any], Sequence[Any]], Figures]:
    """The mean of each of a written answer's figures over all runs of its item."""

    def scored(doc: Mapping[str, Any], results: Sequence[Any]) -> Figures:
        gold = json.loads(doc["gold"])
        runs = [score(text.strip(), gold) for text in results[0]]
        return {name: mean([run[name] for run in runs]) for name in runs[0]}

    return scored


score_label, score_rouge, score_letter = over_runs(label_once), over_runs(rouge), over_runs(lettered)
score_codes, score_medec, score_sdoh = over_runs(coded), over_runs(medec), over_runs(sdoh)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def twice_the_first(values: Sequence[float]) -> float:
    """The first item counts twice, as CLUE adds it to its running mean."""
    return mean([values[0], *values])
