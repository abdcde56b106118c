"""CLUE+ end to end on real copies: every set that is there asked of an oracle, a constant answer and, twice, a tiny model.

Per data set ``rows`` (as published, shots included), ``oracle``, ``constant``, ``tiny`` (scores in [0, 1]) and ``deterministic`` (the bytes
of the tiny model's answers are the same a second time). Beside them the time our decoding takes for the first rows of each, against
lm-evaluation-harness's own `hf` with the same model, batch size and rows in the same process, in turns (``speedup_vs_lm_eval``), and on how
many answers and scores the two differ. The tiny model knows nothing: its scores show the machinery, not medicine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from training.suite.register import SETS, DataSet
from training.suite.results import file_of

# Sixteen of its prompts, of 9,300 tokens each, took stock `hf` more than 7 GB; ours puts as many together as its budget of tokens allows.
NOT_COMPARED = ("ACI-Bench",)
STEPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of copies (training/suite/register.py says how they lie)")
    parser.add_argument("--sets", nargs="+", metavar="SET", help="only these")
    parser.add_argument("--limit", type=int, help="only the first rows of each set are asked of the tiny model; 0: only the comparison")
    parser.add_argument(
        "--max-new-tokens", type=int, default=16, help="longest answer of the tiny model, which hardly ever ends one (default 16)"
    )
    parser.add_argument("--compare", type=int, default=64, help="rows of each set for the two model classes (default 64)")
    parser.add_argument("--pairs", type=int, default=3, help="how often each of them is asked, in turns (default 3; 0: not compared)")
    parser.add_argument("--batch-size", type=int, default=32, help="of both model classes (default 32)")
    parser.add_argument("--context", type=int, default=16_384, help="of the tiny model (default 16,384: no prompt loses its beginning)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args()
    if not options.data.is_dir():
        parser.error(f"{options.data} is not there: name the folder of your copies")
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        told = measured(options, Path(scratch))
    for name, one in told["sets"].items():
        print(
            f"{name:<24} rows {one['rows']:>5}  oracle {one['oracle']:.3f}  constant {one['constant']:.3f}  tiny {one['tiny']:.3f}  "
            f"{'same bytes' if one['deterministic'] else 'OTHER BYTES'}"
        )
    print(f"not there: {', '.join(told['absent'])}")
    if options.pairs:
        print(
            f"against hf: {told['speedup_vs_lm_eval']:.2f} times as fast ({told['speedup_cpu_vs_lm_eval']:.2f} in processor time), "
            f"{told['different_answers']} of {told['compared_answers']} answers and {told['different_scores']} scores differ"
        )
    if options.json:
        print(json.dumps(told))


def measured(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    from training.engine import models
    from training.engine.clue import asking, loaders
    from training.engine.clue.lm import EngineLM, Scripted
    from training.engine.clue.longhealth import Measured

    models.set_threads(1, 0)
    model, tokenizer = tiny_model(scratch / "model", options.context)
    sets: dict[str, dict[str, Any]] = {}
    absent, copies = [], {}
    for name, wanted in SETS.items():
        if options.sets and name not in options.sets:
            continue
        try:
            copies[name] = loaders.load(wanted, options.data, ruler=Measured(tokenizer, options.context))
        except loaders.MissingSet:
            absent.append(name)
    told = {} if options.pairs == 0 else compared(options, scratch, model, tokenizer, copies)
    for name, copy in copies.items() if options.limit != 0 else ():
        digests, scores, seconds = [], {}, {}
        for who in ("oracle", "constant"):
            say = {row["id"]: oracle(SETS[name], row) for row in copy.rows} if who == "oracle" else "qqq"
            scores[who] = asking.ask(Scripted(say), {name: copy}, output=scratch / who, model=who, seed=0).tasks[name].score
        for turn in range(2):
            lm, begun = EngineLM(attempt(), model, tokenizer, batch_size=options.batch_size), time.monotonic()
            lm.latencies = [0.0] * 5  # what one prompt alone waits is not asked here
            found = asking.ask(
                lm, {name: copy}, output=scratch / f"tiny{turn}", model="tiny", seed=0, limit=options.limit, most_new=options.max_new_tokens
            ).tasks[name]
            seconds[turn] = round(time.monotonic() - begun, 1)
            digests.append(found.outputs_sha256)
        own_shots = SETS[name].shot_file is not None or name in ("MEDEC", "ICD10CM")
        rows = len(copy.rows) + (0 if own_shots else len(copy.shots))
        sets[name] = {
            "rows": rows, "rows_expected": SETS[name].rows, "scored": len(copy.rows), "asked_of_tiny": found.n, **scores,
            "tiny": found.score, "deterministic": digests[0] == digests[1], "outputs_sha256": digests[0], "cut": lm.cut,
            "seconds": list(seconds.values()), "stands_for": SETS[name].stands_for,
        }  # fmt: skip
        print(f"{name}: {sets[name]}", flush=True)
    return {
        "sets": sets, "absent": absent, **told, "max_new_tokens": options.max_new_tokens, "batch_size": options.batch_size,
        "load": os.getloadavg(), "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip


def tiny_model(folder: Path, context: int) -> tuple[Any, Any]:
    """Trained for a moment on the toy world's conversations, so that it writes words and ends its turns. Of medicine it knows nothing."""
    import torch

    from training.engine import models, tokens, toysamples

    tokenizer = tokens.build(2_000, 1)
    model = models.fresh_phi3(tokenizer=tokenizer, hidden=32, layers=2, heads=2, intermediate=64, seed=1, context=context)
    optimizer, said = torch.optim.AdamW(model.parameters(), lr=5e-3), iter(toysamples.samples(8 * STEPS * 6, 1))
    for step in range(STEPS):
        rows = []
        for place in range(8):
            turns = [next(said) for _ in range(1 + (step + place) % 6)]
            asked = [{"role": role, "content": one[part]} for one in turns for role, part in (("user", "input"), ("assistant", "output"))]
            rows.append(tokens.encode_chat(tokenizer, [{"role": "system", "content": turns[0]["instruction"]}, *asked]))
        ids = torch.full((len(rows), max(map(len, rows))), -100)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
        loss = model(input_ids=ids.clamp(min=0), labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"the tiny model's loss after {STEPS} steps: {loss.item():.2f}", flush=True)
    models.save(model, tokenizer, folder)
    model, tokenizer = models.load(str(folder))
    tokenizer.model_max_length = context
    return model, tokenizer


def compared(options: argparse.Namespace, scratch: Path, model: Any, tokenizer: Any, copies: dict[str, Any]) -> dict[str, Any]:
    """Both model classes on the same rows, in turns, the median of ``--pairs`` of each: requests built and scored by the same harness, so
    its own time is in both. Time of the wall and of the processor."""
    from lm_eval.models.huggingface import HFLM

    from training.engine.clue import asking
    from training.engine.clue.lm import EngineLM

    per_set: dict[str, dict[str, Any]] = {}
    answers, different, other_scores = 0, 0, 0
    for name, copy in copies.items():
        if name in NOT_COMPARED:
            continue
        said, scores = {}, {}
        wall: dict[str, list[float]] = {"ours": [], "hf": []}
        cpu: dict[str, list[float]] = {"ours": [], "hf": []}
        # The first of each loads what is only loaded when it is needed, and is not counted.
        for pair in range(-1, options.pairs):
            for who in ("ours", "hf") if pair % 2 == 0 else ("hf", "ours"):
                lm: Any
                if who == "ours":
                    lm = EngineLM(attempt(), model, tokenizer, batch_size=options.batch_size)
                    lm.latencies = [0.0] * 5
                else:
                    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=options.batch_size, device="cpu")
                begun, used = time.monotonic(), time.process_time()
                result = asking.ask(
                    lm, {name: copy}, output=scratch / who, model="tiny", seed=0, limit=options.compare if pair >= 0 else 2,
                    most_new=options.max_new_tokens,
                )  # fmt: skip
                if pair >= 0:
                    wall[who].append(time.monotonic() - begun)
                    cpu[who].append(time.process_time() - used)
                scores[who] = result.tasks[name].items
                said[who] = [json.loads(line)["answer"] for line in (scratch / who / file_of(name)).read_text().splitlines()]
        answers += len(said["ours"])
        different += sum(not alike(one, other) for one, other in zip(said["ours"], said["hf"], strict=True))
        other_scores += sum(one != other for one, other in zip(scores["ours"], scores["hf"], strict=True))
        middle = {
            f"{who}_{what}_s": statistics.median(times[who]) for what, times in (("wall", wall), ("cpu", cpu)) for who in ("ours", "hf")
        }
        per_set[name] = middle | {
            "rows": len(said["ours"]), "speedup": middle["hf_wall_s"] / middle["ours_wall_s"],
            "speedup_cpu": middle["hf_cpu_s"] / middle["ours_cpu_s"],
        }  # fmt: skip
        print(f"{name}: {per_set[name]}", flush=True)

    def ratio(what: str) -> float:
        return float(sum(one[f"hf_{what}_s"] for one in per_set.values()) / sum(one[f"ours_{what}_s"] for one in per_set.values()))

    return {
        "speedup_vs_lm_eval": ratio("wall"), "speedup_cpu_vs_lm_eval": ratio("cpu"), "compared": per_set, "pairs": options.pairs,
        "compared_answers": answers, "different_answers": different, "different_scores": other_scores,
    }  # fmt: skip


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, str):
        return bool(one.strip() == other.strip())
    return all(abs(a - b) < 1e-3 for a, b in zip(one, other, strict=True))


def oracle(wanted: DataSet, row: dict[str, Any]) -> str:
    """The gold answer; MEDEC's with the sentence put right, which CLUE+ does not ask for."""
    gold = json.loads(row["gold"])
    if wanted.task == "error" and gold["sentence"] >= 0:
        return f"{gold['sentence']} {gold['corrected']}"
    if wanted.name == "LongHealth":
        return f"The correct answer is {gold}: it."
    return str(row["target"])


def attempt() -> Any:
    """What decoding needs of an attempt: nobody to tell, nothing to stop for."""
    quiet = types.SimpleNamespace(progress=lambda *_: None, metric=lambda *_: None, log=lambda *_: None)
    return types.SimpleNamespace(check=lambda: None, events=quiet, spec=types.SimpleNamespace(seed=0))


if __name__ == "__main__":
    main()
