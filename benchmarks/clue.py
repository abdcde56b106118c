"""CLUE+ end to end on real copies: every set that is there asked of an oracle, a constant answer and a tiny untrained model, twice over.

Per data set ``rows`` (as published, shots included), ``oracle``, ``constant``, ``tiny`` (scores in [0, 1]) and ``deterministic`` (the bytes
of the tiny model's answers are the same a second time). Beside them the time our decoding takes for the sets named in COMPARED, against
lm-evaluation-harness's own `hf` with the same model, batch size and rows in the same process (``speedup_vs_lm_eval``), and on how many
answers the two differ.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import types
from pathlib import Path
from typing import Any

from training.suite.register import SETS, DataSet
from training.suite.results import file_of

COMPARED = ("MeQSum", "MedQA", "PubMedQA", "ICD10CM", "SDOH-NLI")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of copies (training/suite/register.py says how they lie)")
    parser.add_argument("--limit", type=int, help="only the first rows of each set are asked of the tiny model")
    parser.add_argument(
        "--max-new-tokens", type=int, default=16, help="longest answer of the tiny model, which never ends one (default 16)"
    )
    parser.add_argument("--compare", type=int, default=48, help="rows of each compared set for the two model classes (default 48)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--context", type=int, default=2048, help="of the tiny model; longer prompts lose their beginning (default 2048)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args()
    if not options.data.is_dir():
        parser.error(f"{options.data} is not there: name the folder of your copies")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as scratch:
        told = measured(options, Path(scratch))
    for name, one in told["sets"].items():
        print(
            f"{name:<24} rows {one['rows']:>5}  oracle {one['oracle']:.3f}  constant {one['constant']:.3f}  tiny {one['tiny']:.3f}  "
            f"{'same bytes' if one['deterministic'] else 'OTHER BYTES'}"
        )
    print(f"not there: {', '.join(told['absent'])}")
    print(
        f"against hf: {told['speedup_vs_lm_eval']:.2f} times as fast, "
        f"{told['different_answers']} of {told['compared_answers']} answers differ"
    )
    if options.json:
        print(json.dumps(told))


def measured(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    from training.engine import models, tokens
    from training.engine.clue import asking, loaders
    from training.engine.clue.lm import EngineLM, Scripted
    from training.engine.errors import EngineError

    tokenizer = tokens.build(2_000, 1)
    models.save(
        models.fresh_phi3(tokenizer=tokenizer, hidden=32, layers=2, heads=2, intermediate=64, seed=1, context=options.context),
        tokenizer, scratch / "model",
    )  # fmt: skip
    model, tokenizer = models.load(str(scratch / "model"))
    models.set_threads(1, 0)
    sets: dict[str, dict[str, Any]] = {}
    absent, copies = [], {}
    for name, wanted in SETS.items():
        try:
            copies[name] = loaders.load(wanted, options.data)
        except EngineError as refused:
            if refused.code not in ("missing_set", "bad_input"):
                raise
            absent.append(name)
    for name, copy in copies.items():
        digests, scores = [], {}
        for who in ("oracle", "constant"):
            say = {row["id"]: oracle(SETS[name], row) for row in copy.rows} if who == "oracle" else "qqq"
            scores[who] = asking.ask(Scripted(say), {name: copy}, output=scratch / who, model=who, seed=0).tasks[name].score
        for turn in range(2):
            lm = EngineLM(attempt(), model, tokenizer, batch_size=options.batch_size)
            found = asking.ask(
                lm, {name: copy}, output=scratch / f"tiny{turn}", model="tiny", seed=0, limit=options.limit, most_new=options.max_new_tokens
            ).tasks[name]
            digests.append(found.outputs_sha256)
        own_shots = SETS[name].shot_file is not None or name in ("MEDEC", "ICD10CM")
        rows = len(copy.rows) + (0 if own_shots else len(copy.shots))
        sets[name] = {
            "rows": rows, "rows_expected": SETS[name].rows, "scored": len(copy.rows), "asked_of_tiny": found.n, **scores,
            "tiny": found.score, "deterministic": digests[0] == digests[1],
        }  # fmt: skip
        print(f"{name}: {sets[name]}", flush=True)
    return {"sets": sets, "absent": absent, **compared(options, scratch, model, tokenizer, copies), "load": os.getloadavg()[0]}


def compared(options: argparse.Namespace, scratch: Path, model: Any, tokenizer: Any, copies: dict[str, Any]) -> dict[str, Any]:
    """Both model classes on the same rows: requests built by the same harness, so its own time is in both."""
    from lm_eval.models.huggingface import HFLM

    from training.engine.clue import asking
    from training.engine.clue.lm import EngineLM

    seconds = {"ours": 0.0, "hf": 0.0}
    answers, different, scores_equal = 0, 0, True
    for name in [name for name in COMPARED if name in copies]:
        said, scores = {}, {}
        for who in ("ours", "hf"):
            lm: Any
            if who == "ours":
                lm = EngineLM(attempt(), model, tokenizer, batch_size=options.batch_size)
                lm.latencies = [0.0] * 5  # what one prompt alone waits is not part of the comparison
            else:
                lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=options.batch_size, device="cpu")
            begun = time.monotonic()
            result = asking.ask(
                lm, {name: copies[name]}, output=scratch / who, model="tiny", seed=0, limit=options.compare, most_new=options.max_new_tokens
            )
            seconds[who] += time.monotonic() - begun
            scores[who] = result.tasks[name].items
            said[who] = [json.loads(line)["answer"] for line in (scratch / who / file_of(name)).read_text().splitlines()]
        scores_equal &= scores["ours"] == scores["hf"]
        answers += len(said["ours"])
        different += sum(not alike(one, other) for one, other in zip(said["ours"], said["hf"], strict=True))
    return {
        "speedup_vs_lm_eval": seconds["hf"] / seconds["ours"], "seconds": seconds, "compared_answers": answers,
        "different_answers": different, "scores_equal": scores_equal, "batch_size": options.batch_size,
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
