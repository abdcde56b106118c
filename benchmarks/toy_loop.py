"""Does DPO on the tiny family learn a planted preference, and what does it cost in knowledge?

Measures, on the family's SFT model (a toy of 1.9 million parameters): two completions for every prompt of a campaign,
labelled by a planted preference (correct counts 1, a safe closing sentence 0.6) with 12 % of labels flipped, then DPO,
then, on prompts of their own, held-out preference accuracy against the planted truth, style and correctness of greedy
answers scored apart, and plain recall before and after. Against: the same run with labels that say nothing (in every
stratum of equal closings and correctness half of them are turned over), and the model before DPO.

Needs: the engine's packages, and a built family (--family FOLDER with sft/output and merged/output, as family_table.py --keep leaves them).
About 90 seconds of CPU a seed and labelling.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from training.engine import presets, rundir, spec, toysamples, toytext  # noqa: E402

Rows = list[dict[str, Any]]
NOISE = 0.12


def run(
    folder: Path,
    kind: str,
    params: Mapping[str, Any],
    models: Mapping[str, Path],
    inputs: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """One attempt as a child process; its result. Raises ``SystemExit`` with the error when it fails."""
    raw = {
        "schema": 1, "kind": kind, "job": folder.name, "seed": seed, "threads": 1, "params": dict(params),
        "models": {name: str(path.resolve()) for name, path in models.items()},
    }  # fmt: skip
    rundir.create(folder, spec.parse(raw), inputs)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-m", "training.engine", str(folder)], cwd=PROJECT, env=environment, stderr=subprocess.PIPE, check=False
    )
    result = rundir.read_result(folder)
    if result is None or not result["ok"]:
        raise SystemExit(f"{kind} in {folder} failed: {result and result['error']}\n{child.stderr.decode()[-2000:]}")
    return result


def items(folder: Path) -> Rows:
    return [json.loads(line) for line in (folder / "output" / "items.jsonl").read_text(encoding="utf-8").splitlines()]


def answer(text: str) -> list[toytext.Message]:
    return [{"role": "assistant", "content": text}]


def pairs_of(rows: Rows, completions: Rows) -> Rows:
    """One pair a prompt whose two completions differ in planted utility, the better one as chosen."""
    texts: dict[str, list[str]] = {}
    for item in completions:
        texts.setdefault(item["id"], []).append(item["text"])
    made = []
    for index, row in enumerate(rows):
        first, second = texts[str(index)]
        by_worth = sorted((first, second), key=lambda text: toysamples.planted_utility(text, row["output"]))
        worths = [toysamples.planted_utility(text, row["output"]) for text in by_worth]
        if worths[0] != worths[1]:
            made.append({
                "id": str(index), "prompt": toysamples.messages(row), "chosen": answer(by_worth[1]), "rejected": answer(by_worth[0]),
                "stratum": stratum(row["output"], *by_worth),
            })  # fmt: skip
    return made


def closing(text: str) -> str:
    """The closing sentence a completion ends with, if it is one of the toy world's."""
    said = toytext.normalise(text)
    return next((sentence for sentence in (*toysamples.HEDGES, *toysamples.BLUNT) if said.endswith(toytext.normalise(sentence))), "")


def stratum(reference: str, worse: str, better: str) -> list[int | str]:
    """What planted truth sees in a pair, coarsest first: differences in style and correctness, then the closings."""
    low, high = (toysamples.planted(text, reference) for text in (worse, better))
    return [high["style"] - low["style"], high["correct"] - low["correct"], closing(better), closing(worse)]


def turned(pair: dict[str, Any]) -> dict[str, Any]:
    return pair | {"chosen": pair["rejected"], "rejected": pair["chosen"]}


def noisy(pairs: Rows, seed: int) -> Rows:
    rng = random.Random(f"noise {seed}")
    return [turned(pair) if rng.random() < NOISE else pair for pair in pairs]


def shuffled(pairs: Rows, seed: int) -> Rows:
    """Labels that carry nothing: pairs are ordered by what planted truth sees in them, and every second is turned over.

    Coins alone would leave one closing a little ahead by chance, and the sign of a margin shows the smallest lead whole.
    """
    rng = random.Random(f"shuffle {seed}")
    drawn = rng.sample(pairs, len(pairs))
    drawn.sort(key=lambda pair: pair["stratum"])
    start = rng.randrange(2)
    made = [turned(pair) if index % 2 == start else pair for index, pair in enumerate(drawn)]
    rng.shuffle(made)
    return made


def win_rate(rows: Rows, said: Rows, key: str) -> float:
    """Share of prompts where DPO's greedy answer beats SFT's on one planted property, ties half."""
    total = 0.0
    for row, item in zip(rows, said, strict=True):
        after, before = (toysamples.planted(item[side], row["output"])[key] for side in ("policy", "reference"))
        total += 0.5 + 0.5 * (after - before)
    return total / len(rows)


def one_seed(work: Path, family: Path, seed: int, params: dict[str, Any], train_prompts: int, held_prompts: int) -> dict[str, Any]:
    started = time.monotonic()
    sft, merged = (family / key / "output" for key in ("sft", "merged"))
    rows = toysamples.samples(train_prompts + held_prompts, seed)
    prompts = [{"id": str(index), "messages": toysamples.messages(row)} for index, row in enumerate(rows)]
    run(work / "generate", "generate", presets.GENERATE["demo"], {"policy": sft}, {"prompts.jsonl": prompts}, seed)
    every = pairs_of(rows, items(work / "generate"))
    train = [pair for pair in every if int(pair["id"]) < train_prompts]
    held = [pair for pair in every if int(pair["id"]) >= train_prompts]
    questions = [row for domain in toytext.DOMAINS for row in toytext.questions(domain, 96, 0)]
    figures: dict[str, Any] = {"seed": seed, "train_pairs": len(train), "held_pairs": len(held)}
    before = run(work / "recall", "evaluate", presets.EVALUATE["demo"], {"policy": merged}, {"questions.jsonl": questions}, seed)
    figures["recall_merged"] = before["metrics"]["recall"]["all"]["value"]
    for labels, chosen in (("signal", noisy(train, seed)), ("shuffled", shuffled(train, seed))):
        made = run(work / f"dpo-{labels}", "dpo", params, {"policy": sft}, {"train.jsonl": chosen}, seed)
        inputs: dict[str, Rows] = {"pairs.jsonl": held}
        if labels == "signal":
            inputs |= {"questions.jsonl": questions, "prompts.jsonl": prompts[train_prompts:]}
        policy = work / f"dpo-{labels}" / "output"
        seen = run(work / f"evaluate-{labels}", "evaluate", presets.EVALUATE["demo"], {"policy": policy, "reference": sft}, inputs, seed)
        figures[labels] = seen["metrics"]["preference_accuracy"] | {"seconds_dpo": made["seconds"], "cpu_dpo": made["cpu_seconds"]}
        if labels == "signal":
            said = [item for item in items(work / "evaluate-signal") if item["type"] == "prompt"]
            figures["recall_sft"] = seen["metrics"]["recall_reference"]["all"]["value"]
            figures["recall_dpo"] = seen["metrics"]["recall"]["all"]["value"]
            for key in ("style", "correct"):
                figures[f"{key}_win_rate"] = win_rate(rows[train_prompts:], said, key)
                asked = rows[train_prompts:]
                for side in ("reference", "policy"):
                    has = [toysamples.planted(item[side], row["output"])[key] for row, item in zip(asked, said, strict=True)]
                    figures[f"{key}_{side}"] = sum(has) / len(has)
    figures["seconds"] = round(time.monotonic() - started, 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--family", type=Path, required=True, nargs="+", help="folders with sft/output and merged/output; seeds take them in turn"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-prompts", type=int, default=400)
    parser.add_argument("--held-prompts", type=int, default=440)
    parser.add_argument("--dpo", type=json.loads, default={}, help="JSON of parameters that differ from the demo's")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    params = presets.DPO["demo"] | options.dpo
    found = []
    with tempfile.TemporaryDirectory() as work:
        for seed in range(1, options.seeds + 1):
            found.append(
                one_seed(
                    Path(work) / str(seed),
                    options.family[(seed - 1) % len(options.family)],
                    seed,
                    params,
                    options.train_prompts,
                    options.held_prompts,
                )
            )
            seen = found[-1]
            print(
                f"seed {seed}: signal {seen['signal']['value']:.3f} [{seen['signal']['low']:.3f}, {seen['signal']['high']:.3f}], "
                f"shuffled {seen['shuffled']['value']:.3f} [{seen['shuffled']['low']:.3f}, {seen['shuffled']['high']:.3f}], "
                f"style win {seen['style_win_rate']:.3f}, correct win {seen['correct_win_rate']:.3f} "
                f"({seen['correct_reference']:.2f} to {seen['correct_policy']:.2f}), recall merged {seen['recall_merged']:.3f} "
                f"SFT {seen['recall_sft']:.3f} DPO {seen['recall_dpo']:.3f}, {seen['seconds']} s",
                flush=True,
            )
    if options.json:
        print(json.dumps({"toy": True, "seeds": found}))


if __name__ == "__main__":
    main()
