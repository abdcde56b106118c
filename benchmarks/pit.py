"""Does pre-instruction tuning teach a tiny model to answer about documents, at equal tokens?

Data: Wiki2023 as published with the method (github Edward-Sun/PIT: doc.jsonl, qa.jsonl), given by --data FOLDER. Half of the documents
come with their questions, of the other half only the text is ever read; asked are the questions of that other half. From one base a seed
(a tokenizer and a Phi-3 of 1.4 million parameters that has read the first half's text), equally many tokens each:

  dapt    plain continued pre-training on all documents
  after   all documents, then the first half's questions and answers: instruction tuning as usual
  pit     the first half's questions and answers, then these and their documents with the other half's documents (arXiv 2505.10717, 2.3)

Measured: which of four answers (the others belong to other documents' questions that begin with the same two words) has the highest mean
log-probability per token, and that of the right answer. Intervals redraw seeds and documents together.

Needs: the engine's packages; on two quiet cores about three minutes a seed. --json ends with one line of figures.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[0] = str(PROJECT)

from benchmarks.family_table import attempt  # noqa: E402
from training.engine import documents  # noqa: E402

FILES = ("doc.jsonl", "qa.jsonl")
ARMS = ("base", "dapt", "after", "pit")
BASE = {
    "tokenizer": "documents", "steps": 120, "batch_size": 8, "block": 128, "context": 512, "vocab_size": 2048, "learning_rate": 3e-3,
}  # fmt: skip
RATE, BATCH = 2e-3, 8
# Rows of documents packed side by side, and the share of one that best fit fills with tokens to predict.
BLOCK, FILLED = 256, 0.98
DRAWS = 2000


def read(folder: Path, most: int) -> list[dict[str, Any]]:
    """{"id", "text", "qa"} of the first documents that have questions. Says what is missing."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        sys.exit(f"{folder} has no {' and no '.join(missing)}. Get them from github.com/Edward-Sun/PIT and name their folder with --data.")
    asked: dict[int, list[list[str]]] = {}
    for line in (folder / "qa.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        asked.setdefault(row["wiki_id"], []).append([row["question"].strip(), row["answer"].strip()])
    rows = [json.loads(line) for line in (folder / "doc.jsonl").open(encoding="utf-8")]
    found = [
        {"id": str(row["wiki_id"]), "text": row["text"].strip(), "qa": asked[row["wiki_id"]]} for row in rows if row["wiki_id"] in asked
    ]
    return found[:most]


def halves(rows: list[dict[str, Any]], seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    order = random.Random(f"halves {seed}").sample(rows, len(rows))
    return order[: len(order) // 2], order[len(order) // 2 :]


def choices(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Every question of ``rows`` with its answer first and three of other documents' questions of the same form."""
    draw = random.Random(f"choices {seed}")
    asked = [(row["id"], question, answer) for row in rows for question, answer in row["qa"]]

    def form(question: str) -> str:
        return " ".join(question.casefold().split()[:2])

    made = []
    for number, (group, question, answer) in enumerate(asked):
        alike = {text for other, one, text in asked if other != group and form(one) == form(question)}
        if len(alike - {answer}) < 3:
            alike = {text for other, _, text in asked if other != group}
        answers = [answer, *draw.sample(sorted(alike - {answer}), 3)]
        made.append({"id": str(number), "group": group, "domain": "wiki2023", "question": question, "answers": answers})
    return made


def one_seed(root: Path, rows: list[dict[str, Any]], seed: int, say: Any) -> tuple[dict[str, int], dict[str, dict[str, list[float]]]]:
    """(tokens by arm, {arm: {"right" | "logp": a value a question, in the questions' order}, "groups"}) of one base and its three arms."""
    with_questions, text_only = halves(rows, seed)
    told = [{"text": row["text"], "outputs": {"qa": row["qa"]}} for row in with_questions]
    bare = [{"text": row["text"], "outputs": {}} for row in text_only]
    answered = [{"text": documents.answered(question, answer)} for row in with_questions for question, answer in row["qa"]]
    base = root / "base" / "output"
    attempt(root / "base", "build-base", BASE, {}, {"documents.jsonl": [{"text": row["text"]} for row in told]}, seed)
    say(f"seed {seed}: base")

    common = {"learning_rate": RATE, "batch_size": BATCH}
    pit = attempt(
        root / "pit", "pit", common | {"phase_one_epochs": 2, "epochs": 3, "freeze_embeddings": False}, {"policy": base},
        {"documents.jsonl": told + bare}, seed,
    )  # fmt: skip
    wanted = int(pit["metrics"]["tokens"])
    texts = [{"text": row["text"]} for row in told + bare]
    plain = pretrained(root / "dapt", base, texts, wanted, common, seed)
    # As usual: three quarters of the tokens for the documents, the rest for the answers that show how to use them.
    first = pretrained(root / "before", base, texts, wanted * 3 // 4, common, seed)
    last = pretrained(root / "after", root / "before" / "output", answered, wanted - first, common, seed)
    say(f"seed {seed}: three arms of about {wanted} tokens")

    asked = choices(text_only, seed)
    scores: dict[str, dict[str, list[float]]] = {}
    for pair in (ARMS[:2], ARMS[2:]):
        folder = root / f"ask-{pair[0]}"
        asked_of = dict(zip(("reference", "policy"), (root / arm / "output" for arm in pair), strict=True))
        attempt(folder, "evaluate", {"bootstrap": 10, "batch_size": 64}, asked_of, {"choices.jsonl": asked}, seed)
        items = [json.loads(line) for line in (folder / "output" / "items.jsonl").open()]
        for side, arm in zip(("reference", "policy"), pair, strict=True):
            given = [item[side] for item in items]
            scores[arm] = {"right": [float(one[0] > max(one[1:])) for one in given], "logp": [one[0] for one in given]}
    scores["groups"] = {"group": [row["group"] for row in asked]}  # type: ignore[dict-item]
    say(f"seed {seed}: " + ", ".join(f"{arm} {sum(scores[arm]['right']) / len(asked):.3f}" for arm in ARMS))
    return {"dapt": plain, "after": first + last, "pit": wanted}, scores


def pretrained(folder: Path, model: Path, rows: list[dict[str, Any]], tokens: int, common: dict[str, Any], seed: int) -> int:
    """Pretrain for about ``tokens`` tokens; returns how many it was. Rows are accumulated one by one: every step has as many."""
    accumulated = BATCH * 128 // BLOCK
    params = common | {"batch_size": 1, "gradient_accumulation": accumulated, "block": BLOCK}
    params["steps"] = max(1, round(tokens / (FILLED * accumulated * BLOCK)))
    return int(attempt(folder, "pretrain", params, {"policy": model}, {"documents.jsonl": rows}, seed)["metrics"]["tokens"])


def interval(by_seed: list[tuple[list[float], list[str]]]) -> dict[str, float]:
    """Mean of all seeds with a 95 % interval: seeds are redrawn, and within each its documents."""
    totals = []
    for values, groups in by_seed:
        together: dict[str, list[float]] = {}
        for value, group in zip(values, groups, strict=True):
            together.setdefault(group, []).append(value)
        totals.append([(sum(found), len(found)) for found in together.values()])
    draw, means = random.Random("interval"), []
    for _ in range(DRAWS):
        per_seed = []
        for found in draw.choices(totals, k=len(totals)):
            drawn = draw.choices(found, k=len(found))
            per_seed.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
        means.append(sum(per_seed) / len(per_seed))
    means.sort()
    value = sum(sum(values) / len(values) for values, _ in by_seed) / len(by_seed)
    return {"value": round(value, 4), "low": round(means[int(0.025 * DRAWS)], 4), "high": round(means[int(0.975 * DRAWS)], 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with doc.jsonl and qa.jsonl")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=96, help="how many documents, both halves together (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    rows = read(options.data, options.documents)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    tokens: list[dict[str, int]] = []
    scores: list[dict[str, dict[str, list[Any]]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(1, options.seeds + 1):
            spent, found = one_seed(Path(scratch) / str(seed), rows, seed, say)
            tokens.append(spent)
            scores.append(found)
    questions = sum(len(found["groups"]["group"]) for found in scores)
    figures: dict[str, Any] = {"documents": len(rows), "seeds": options.seeds, "questions": questions, "tokens": tokens}
    for name in ("right", "logp"):
        for arm in ARMS:
            figures[f"{name}_{arm}"] = interval([(found[arm][name], found["groups"]["group"]) for found in scores])
        for other in ("dapt", "after"):
            less = [
                ([a - b for a, b in zip(found["pit"][name], found[other][name], strict=True)], found["groups"]["group"]) for found in scores
            ]
            figures[f"{name}_pit_minus_{other}"] = interval(less)
    spent_by_children = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures["cpu_seconds"] = round(spent_by_children.ru_utime + spent_by_children.ru_stime)
    figures["seconds"] = round(time.monotonic() - began)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<24} {value}")


if __name__ == "__main__":
    main()
