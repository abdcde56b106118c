"""CLUE+'s tasks written out for a stock lm-evaluation-harness: ``python -m training.engine.clue.pack FOLDER --data FOLDER``.

A pack is a folder: a YAML a task and one for the group, all said by tasks.definition, which is what we ask ourselves; their rows as JSON
lines; and scorers.py, a copy of ours, which the YAML reaches by `!function`. It needs no Rounds: lm-eval, rouge-score and, for the coding
task, simple-icd-10-cm. The rows are the data sets' own texts: files are the owner's alone, and no other library's cache gets a copy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from training.engine.attempt import OFFLINE
from training.engine.clue import loaders, prompts, scorers, tasks
from training.engine.clue.loaders import Loaded, Row
from training.engine.clue.longhealth import Measured
from training.engine.errors import EngineError, InputError
from training.suite.register import SETS

MANIFEST, ABOUT = "pack.json", "README.txt"


def write(folder: Path, loaded: Mapping[str, Loaded], *, mode: str = tasks.GREEDY, seed: int = 0) -> list[str]:
    """The pack, whole or not at all; the names of its tasks. Raises ``InputError`` where something lies in ``folder`` already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("the folder for the tasks is not empty: name a new one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = folder.with_name(f".{folder.name}.{os.getpid()}")
    half.mkdir(mode=0o700)
    try:
        for name, copy in loaded.items():
            _task(half, name, copy, mode)
        _put(half / f"{tasks.GROUP}.yaml", _yaml({"group": tasks.GROUP, "task": [tasks.named(SETS[name]) for name in loaded]}))
        _put(half / "scorers.py", Path(scorers.__file__).read_text(encoding="utf-8"))
        _put(half / ABOUT, _about(mode))
        _put(half / MANIFEST, json.dumps(_manifest(half, loaded, mode, seed), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        half.replace(folder)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return [tasks.named(SETS[name]) for name in loaded]


def _task(folder: Path, name: str, copy: Loaded, mode: str) -> None:
    task = tasks.named(SETS[name])
    asked, shown = f"{task}.jsonl", f"{task}-shots.jsonl" if copy.shots else None
    _put(folder / asked, _lines(copy.rows))
    if shown:
        _put(folder / shown, _lines(copy.shots))
    where = {
        "custom_dataset": tasks.Function("rows"),
        "dataset_kwargs": {"asked": asked, "shown": shown, "system": prompts.SYSTEM[name]},
    }  # fmt: skip
    _put(folder / f"{task}.yaml", _yaml(tasks.definition(SETS[name], copy, mode=mode) | where))


def _lines(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _put(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8", newline="\n") as stream:
        path.chmod(0o600)
        stream.write(text)


class _Dumper(yaml.SafeDumper):
    """Functions by name, and every list and mapping written out: an anchor would be a riddle to whoever reads."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(tasks.Function, lambda dumper, one: dumper.represent_scalar("!function", f"scorers.{one.name}"))


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140)


def _manifest(folder: Path, loaded: Mapping[str, Loaded], mode: str, seed: int) -> dict[str, Any]:
    return {
        "schema": 1, "mode": mode, "seed": seed, "harness": tasks.HARNESS,
        "tasks": {
            tasks.named(SETS[name]): {
                "set": name, "rows": len(copy.rows), "shots": len(copy.shots), "metric": SETS[name].metric, "read_from": copy.digests,
                "other_files": list(copy.differing), "stands_for": list(SETS[name].stands_for), "licence": SETS[name].licence,
            }
            for name, copy in loaded.items()
        },
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
    }  # fmt: skip


def _about(mode: str) -> str:
    drawn = "Answers are drawn at temperature 1, five times each (clue_compat).\n" if mode == tasks.COMPAT else ""
    return (
        "Tasks of CLUE+ (arXiv 2505.10717) for lm-evaluation-harness 0.4.13, written by Rounds.\n\n"
        "    lm_eval run --model hf --model_args pretrained=MODEL,dtype=float32 --include_path THIS_FOLDER \\\n"
        f"        --tasks {tasks.GROUP} --apply_chat_template --batch_size 8 --output_path RESULTS\n\n"
        f"{drawn}"
        "Without --apply_chat_template the system turns and shots are plain text before the question, and scores are others.\n"
        "Needed besides lm-eval: rouge-score, and simple-icd-10-cm for the coding task.\n\n"
        "The .jsonl files hold the data sets' own texts. What you agreed to for a data set holds for them too.\n"
        "Which copies they were made of, and the SHA-256 of every file here, stands in pack.json.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.engine.clue.pack", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--data", type=Path, required=True, help="the folder the copies are in")
    parser.add_argument("--sets", nargs="+", default=[], metavar="SET", choices=list(SETS))
    parser.add_argument("--mode", choices=[tasks.GREEDY, tasks.COMPAT], default=tasks.GREEDY)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--allow-other-files", action="store_true")
    parser.add_argument("--model", type=Path, help="a model's folder: LongHealth's letters are measured with its tokenizer")
    options = parser.parse_args(arguments)
    os.environ |= OFFLINE
    names = options.sets or [name for name in SETS if name != "LongHealth" or options.model]
    try:
        loaded = loaders.everything(
            names, options.data, seed=options.seed, allow_other_files=options.allow_other_files, all_of_them=bool(options.sets),
            ruler=_ruler(options.model) if options.model else None, say=_tell,
        )  # fmt: skip
        write(options.folder, loaded, mode=options.mode, seed=options.seed)
    except EngineError as problem:
        _tell(problem.message)
        return 1
    except OSError as problem:
        _tell(f"the tasks cannot be written ({type(problem).__name__})")
        return 1
    if "LongHealth" not in names and not options.sets:
        _tell("LongHealth is left out: its letters fill a model's context, so name the model")
    for name, copy in loaded.items():
        sys.stdout.write(f"{tasks.named(SETS[name]):<36} {len(copy.rows):>7,} rows, {len(copy.shots)} shots\n")
    return 0


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _ruler(folder: Path) -> Measured:
    from transformers import AutoConfig

    from training.engine import models, tokens

    config = types.SimpleNamespace(config=AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    return Measured(tokens.load(folder), models.training_context(config))


if __name__ == "__main__":
    sys.exit(main())
