"""Exports opened by the clients they are for: datasets, TRL's four trainers, label-studio-sdk, argilla, evalica.

Makes a small snapshot's export in every form (the writers need no database), then: `datasets.load_dataset` opens each config; TRL's DPO,
KTO, Reward and SFT trainers each run one step on it with a tiny untrained Phi-3; label-studio-sdk validates the configuration and every
task; argilla builds the settings and every record; evalica ranks the arena's rows. Needs the engine's packages (datasets, trl); for
label-studio-sdk and argilla a Python of its own with `pip install label-studio-sdk argilla`, named by --clients (they are no dependency of
ours). Prints a line for each client: its version, and what it opened. A client that is absent is a failure, unless --without names it.

    python -m venv /tmp/clients && /tmp/clients/bin/pip install label-studio-sdk argilla
    python benchmarks/export_clients.py --clients /tmp/clients/bin/python --json
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
# In place of this folder, whose own statistics.py would hide the library's.
sys.path[0] = str(PROJECT)

from annotation.exports import levels  # noqa: E402
from annotation.exports.forms import FORMS  # noqa: E402

PAIRS = 24
VERDICTS = ("first_much", "second_slightly", "first_slightly", "both_unacceptable", "both_acceptable", "second_much")


def lay_out(folder: Path) -> None:
    """What the database lays out for a snapshot of `PAIRS` pairs, two raters each; a sixth is unfit on both sides, a sixth a tie."""
    folder.mkdir()
    rows, pairs, answers = [], [], []
    for n in range(PAIRS):
        split = ("train", "train", "validation", "evaluation")[n // 6]
        verdict = VERDICTS[n % 6]
        chosen = {"f": "first", "s": "second"}.get(verdict[0])
        where = {"split": split, "pair_id": n + 1, "sample_id": f"s{n}", "task_type": "summarization"}
        prompt = [{"role": "system", "content": "Summarise the note."}, {"role": "user", "content": f"Patient {n}: chest pain, “stable”."}]
        texts = {"first": f"No infarction, {n}.\n=1+1", "second": f"Discharged well, {n} 👩‍⚕️."}
        votes = {"chosen": 2, "rejected": 0, "tie": 0, "strength": 2.0, "basis": "votes"}
        if chosen:
            other = "second" if chosen == "first" else "first"
            rows.append({**where, "prompt": prompt, "chosen": texts[chosen], "rejected": texts[other], "p_chosen": 0.78, "votes": votes})
        pairs.append(
            {**where, "document_type": "Note", "output_format": "plain_text", "difficulty_level": "easy", "prompt": prompt, **texts,
             "first_by": "model-1", "second_by": "model-2", "chosen": chosen, "p_chosen": 0.78 if chosen else None, "votes": votes,
             "judgements": 2, "answers": 2, "verdicts": {name: 2 * (name == verdict) for name in (*VERDICTS, "cannot_judge")},
             "harm_first": False, "harm_second": False, "selection_policy": "random", "selection_probability": 1,
             "unfit": verdict == "both_unacceptable"}
        )  # fmt: skip
        answers += [_answer(where, number, verdict, chosen, 2 * n + number) for number in (1, 2)]
    used = {split: sum(row["split"] == split for row in rows) for split in ("train", "validation", "evaluation")}
    _write(folder / "rows.jsonl", rows)
    _write(folder / "pairs.jsonl", pairs)
    _write(folder / "answers.jsonl", answers)
    (folder / "facts.json").write_text(json.dumps(_facts(used, len(answers))))


def _answer(where: dict[str, Any], number: int, verdict: str, chosen: str | None, key: int) -> dict[str, Any]:
    edited = chosen if chosen and number == 1 else ""
    return {
        **where, "judgment_id": key, "revision": 1, "rater": f"r{number}", "specialty": None, "kind": "vote", "counted": True,
        "is_repeat": False, "is_gold": False, "displayed_left": ("first", "second")[number % 2], "verdict": verdict, "cannot_reason": "",
        "reasons": [], "harm_first": "", "harm_first_type": "", "harm_second": "minor" if number == 2 else "",
        "harm_second_type": "other" if number == 2 else "", "axes": {"facts": 1, "risk": {"first": 1, "second": 2}}, "hard": "",
        "rationale": "The dose is right." if number == 1 else "",
        "spans": [{"of": "first", "start": 0, "end": 2, "kind": "fabrication", "severity": "minor"}] if number == 1 else None,
        "edited": edited, "edited_text": "No infarction; discharged." if edited else None, "selection_policy": "random",
        "served_at": "2026-01-01T10:00:00.000000Z", "submitted_at": "2026-01-01T10:01:00.000000Z", "active_ms": 41_000,
        "layout": "compare-2",
    }  # fmt: skip


def _facts(used: dict[str, int], answers: int) -> dict[str, Any]:
    unknown = {"value": None, "low": None, "high": None, "n": 0, "note": "too few"}
    sixth = PAIRS // 6
    return {
        "level": levels.FULL, "layout": "mediflow-1", "code": "0", "aggregation": "mean-1", "drop_reasons": {}, "answers": answers,
        "total": 4 * PAIRS, "sources": [{"name": "made up", "licence": "CC0-1.0", "synthetic": True}],
        "snapshot": {
            "name": "Clients", "digest": "c" * 64, "format": "snapshot-2", "filters": {}, "simulated": False, "toy": True,
            "counts": {"used": used, "dropped": {"both_unacceptable": sixth, "tie": sixth}, "judgements": answers, "raters": 2},
        },
        "campaign": {
            "id": "campaign", "protocol": "p", "guideline_version": "g", "form_version": "T0 v1", "overlap": 2, "double_share": 0,
            "repeat_share": 0, "selection": "random", "axes": [
                {"key": "facts", "label": "Facts", "scale": "comparative"}, {"key": "risk", "label": "Risk", "scale": "risk"},
            ], "marks": [{"key": "fabrication", "label": "Made up"}],
        },
        "raters": {"fields": {}, "others": 2, "shared_by": 3},
        "figures": {**dict.fromkeys(("raw", "alpha", "ac1", "left", "longer"), unknown), "length_ratio": 1.0},
    }  # fmt: skip


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


TRAINERS = r"""
import json, os, sys
from pathlib import Path
place, out = Path(sys.argv[1]), Path(sys.argv[2])
import torch
from datasets import load_dataset
from transformers import Phi3Config, Phi3ForCausalLM, Phi3ForSequenceClassification
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer
from training.engine import tokens

from importlib.metadata import version
found = {"versions": {name: version(name) for name in ("datasets", "trl", "transformers", "torch")}, "load_dataset": {}, "trl": {}}
names = [path.name for path in sorted(place.iterdir()) if path.is_dir() and path.name != "jsonl"]
data = {name: load_dataset(str(place), name, cache_dir=str(out / "cache")) for name in names}
for name, splits in data.items():
    found["load_dataset"][name] = {split: rows.num_rows for split, rows in splits.items()}
found["default_is_dpo"] = load_dataset(str(place), cache_dir=str(out / "cache"))["train"].column_names == data["dpo"]["train"].column_names
tokenizer = tokens.build(2700, seed=0)
tokenizer.model_max_length = 512
config = dict(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
              num_key_value_heads=2, max_position_embeddings=512, original_max_position_embeddings=512,
              pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
torch.manual_seed(0)
Phi3ForCausalLM(Phi3Config(**config)).save_pretrained(out / "model")
tokenizer.save_pretrained(out / "model")
common = dict(output_dir=str(out / "run"), max_steps=1, per_device_train_batch_size=4, use_cpu=True, bf16=False, report_to="none",
              save_strategy="no", logging_steps=1, disable_tqdm=True, max_length=400, gradient_checkpointing=False)
model = lambda: Phi3ForCausalLM.from_pretrained(out / "model")
scorer = lambda: Phi3ForSequenceClassification.from_pretrained(out / "model", num_labels=1)
cases = {
    "dpo": lambda **given: DPOTrainer(model=model(), ref_model=model(), args=DPOConfig(**common), **given),
    "dpo_soft": lambda **given: DPOTrainer(model=model(), ref_model=model(), args=DPOConfig(**common), **given),
    "kto": lambda **given: KTOTrainer(model=model(), ref_model=model(), args=KTOConfig(**common), **given),
    "reward": lambda **given: RewardTrainer(model=scorer(), args=RewardConfig(**common), **given),
    "sft_edits": lambda **given: SFTTrainer(model=model(), args=SFTConfig(**common), **given),
}
for name, make in cases.items():
    trainer = make(train_dataset=data[name]["train"], processing_class=tokenizer)
    before = len(data[name]["train"])
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    kept = len(trainer.train_dataset)
    found["trl"][name] = {"steps": trainer.state.global_step, "loss": round(float(losses[0]), 4), "rows": before, "kept": kept}
print(json.dumps(found))
"""

LABEL_STUDIO = r"""
import json, sys
from importlib.metadata import version
from pathlib import Path
place = Path(sys.argv[1])
from label_studio_sdk.label_interface import LabelInterface
view = LabelInterface((place / "label-studio" / "label_config.xml").read_text())
view.validate()
tasks = json.loads((place / "label-studio" / "tasks.json").read_text())
wrong = []
for task in tasks:
    if not view.validate_task({"data": task["data"]}):
        wrong.append(["task", task["data"]["pair_id"]])
    for annotation in task["annotations"]:
        if not view.validate_annotation(annotation):
            wrong += [error for region in annotation["result"] for error in view.validate_region(region, return_errors=True)]
print(json.dumps({"version": version("label-studio-sdk"), "tasks": len(tasks), "wrong": wrong,
                  "annotations": sum(len(task["annotations"]) for task in tasks)}))
"""

ARGILLA = r"""
import json, sys
from importlib.metadata import version
from pathlib import Path
from unittest.mock import MagicMock
place = Path(sys.argv[1])
import argilla as rg
from argilla.client import Argilla
# Its classes ask for a server when they are made; none is needed to build them.
Argilla._default_client = MagicMock()
settings = rg.Settings.from_json(place / "argilla" / "settings.json")
records = [rg.Record.from_dict(row) for row in json.loads((place / "argilla" / "records.json").read_text())]
questions = {question.name for question in settings.questions}
asked = {response.question_name for record in records for response in record.responses}
options = {q.name: [option["value"] for option in q.serialize()["settings"].get("options") or []] for q in settings.questions}
responses = [response for record in records for response in record.responses]
unfit = [r.value for r in responses if options[r.question_name] and r.value not in options[r.question_name]]
print(json.dumps({"version": version("argilla"), "records": len(records), "responses": len(responses),
                  "wrong": [*sorted(asked - questions), *unfit], "fields": [field.name for field in settings.fields],
                  "ids": len({record.id for record in records})}))
"""
# Clients that need a Python of their own, by the package's name: what to have it do.
ELSEWHERE = {"label-studio-sdk": LABEL_STUDIO, "argilla": ARGILLA}


def ranked(place: Path) -> dict[str, Any]:
    """evalica's Bradley–Terry over the arena's rows."""
    import evalica

    version = importlib.metadata.version("evalica")
    rows = [json.loads(line) for path in sorted(place.glob("*.jsonl")) for line in path.read_text().splitlines()]
    winner = {"model_a": evalica.Winner.X, "model_b": evalica.Winner.Y}
    scores = evalica.bradley_terry(
        [row["model_a"] for row in rows], [row["model_b"] for row in rows], [winner.get(row["winner"], evalica.Winner.Draw) for row in rows]
    ).scores
    return {"version": version, "rows": len(rows), "scores": {name: round(float(score), 3) for name, score in scores.items()}}


def child(python: str, code: str, *arguments: str) -> dict[str, Any]:
    bare = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, env={**os.environ, **bare}, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-12:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def have(python: str, package: str) -> bool:
    asked = [python, "-c", f"import importlib.metadata as m; m.version({package!r})"]
    return bool(python) and subprocess.run(asked, capture_output=True, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="", help="a Python that has label-studio-sdk and argilla")
    parser.add_argument("--without", action="append", default=[], choices=[*ELSEWHERE, "trl", "evalica"], help="pass over this client")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="rounds-clients-") as scratch:
        place = Path(scratch)
        lay_out(place / "laid")
        for form in FORMS.values():
            (place / form.key).mkdir()
            form.write(place / "laid", place / form.key, None)
        (place / "out").mkdir()
        if "trl" not in given.without:
            found["trl"] = child(sys.executable, TRAINERS, str(place / "dataset"), str(place / "out"))
        if "evalica" not in given.without:
            found["evalica"] = ranked(place / "lmarena")
        for package, code in ELSEWHERE.items():
            if package in given.without:
                continue
            there = have(given.clients, package)
            found[package] = child(given.clients, code, scratch) if there else {"absent": "install it into the Python that --clients names"}
    for name, told in found.items():
        print(f"{name}: {json.dumps(told)}")
    for name in given.without:
        print(f"{name}: passed over, as asked")
    bad = sorted(name for name, told in found.items() if {"failed", "absent"} & told.keys() or told.get("wrong"))
    print(f"{len(found) - len(bad)} of {len(found)} clients opened what is theirs" + (f"; not: {', '.join(bad)}" if bad else ""))
    if given.json:
        print(json.dumps({"clients": found, "opened": len(found) - len(bad), "not": bad, "passed_over": given.without}))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
