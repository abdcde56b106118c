"""A run to take away: the rows it was trained on, its recipe, the versions that computed it, and a script that trains the same with
nothing but TRL. What TRL has no word for is said in its README and nowhere smoothed over.

The rows are those of the snapshot as the run reads them; no other text is in it: not the prompts it is watched by, nor what is replayed.
"""

import json
import tempfile
import zipfile
from collections.abc import Iterator
from io import TextIOWrapper
from typing import IO, Any

from annotation import export_files
from training import specs
from training.engine import versions
from training.models import Run

ROWS = ("train.jsonl", "validation.jsonl", "kto.jsonl")
TRAINERS = {"dpo": "DPO", "kto": "KTO", "sft": "SFT"}
COLUMNS = {"dpo": ["prompt", "chosen", "rejected"], "kto": ["prompt", "completion", "label"], "sft": ["prompt", "completion"]}
SCRIPT = "train_stock_trl.py"


def filename(run: Run) -> str:
    return f"rounds-run-{run.name}.zip"


def write(run: Run) -> IO[bytes]:
    """The bundle as an open file of its own on the disk, without a name there: it is gone when it is closed.

    Raises Unprepared when rows of the snapshot may not be trained on any more.
    """
    export_files.root().mkdir(parents=True, exist_ok=True, mode=0o700)
    place: IO[bytes] = tempfile.TemporaryFile(dir=export_files.root())  # noqa: SIM115 - whoever reads it closes it
    try:
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as bundle:
            counts = {name: _write_rows(bundle, name, rows) for name, rows in _rows(run)}
            for name, text in _texts(run, counts):
                bundle.writestr(_entry(name), text)
    except BaseException:
        place.close()
        raise
    place.seek(0)
    return place


def _rows(run: Run) -> Iterator[tuple[str, specs.Rows]]:
    if run.snapshot is None:
        return
    for name, rows in specs.inputs(run.job):
        if name in ROWS:
            yield name, rows


def _write_rows(bundle: zipfile.ZipFile, name: str, rows: specs.Rows) -> dict[str, int]:
    """How many rows there are, and how many say something about themselves that TRL does not read."""
    counts = {"rows": 0, "soft": 0, "weighted": 0}
    with bundle.open(_entry(name), "w") as raw, TextIOWrapper(raw, encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            counts["rows"] += 1
            counts["soft"] += row.get("p_chosen", 1.0) != 1.0
            counts["weighted"] += row.get("weight", 1.0) != 1.0
    return counts


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _texts(run: Run, counts: dict[str, dict[str, int]]) -> Iterator[tuple[str, str]]:
    installed = environment(run)
    yield "recipe.json", json.dumps(recipe(run), indent=2, sort_keys=True) + "\n"
    yield "environment.json", json.dumps(installed, indent=2, sort_keys=True) + "\n"
    yield "requirements.txt", "".join(f"{name}=={installed[name].split('+')[0]}\n" for name in versions.PACKAGES if name in installed)
    if counts:
        yield SCRIPT, script(run.job.kind, run.params, run.job.spec["seed"])
    yield "README.md", readme(run, counts)


def recipe(run: Run) -> dict[str, Any]:
    """Everything that decides what the run learns, by digest where it is not in the bundle."""
    job = run.job
    snapshot, policy, output = run.snapshot, run.policy, run.output
    return {
        "run": run.name, "kind": job.kind, "preset": run.preset, "params": run.params, "seed": job.spec["seed"],
        "processes": specs.processes(job), "shuffled": "shuffle" in job.spec.get("inputs", {}),
        "half_of_the_prompts": bool(job.spec.get("inputs", {}).get("half")),
        "snapshot": snapshot and {"name": snapshot.name, "digest": snapshot.digest},
        "corpora": job.spec.get("inputs", {}).get("corpora"),
        "start_model": policy and {"name": policy.name, "artifact": policy.artifact.digest, "parameters": policy.parameters},
        "made": output and {"name": output.name, "artifact": output.artifact.digest},
    }  # fmt: skip


def environment(run: Run) -> dict[str, str]:
    """What computed the run, by its own account; before it has ended, what is installed here."""
    said = run.job.result.get("environment")
    if isinstance(said, dict):
        return {str(name): str(version) for name, version in said.items()}
    return versions.environment()


# --- the script --------------------------------------------------------------------------------------------------------------------


def script(kind: str, params: dict[str, Any], seed: int) -> str:
    """A program of TRL's own trainer of this kind, unmodified, with the run's hyper-parameters."""
    lora = params.get("lora")
    steps = params.get("max_steps") or params.get("steps")
    warmup = params.get("warmup_steps")
    config: dict[str, Any] = {
        "learning_rate": params["learning_rate"],
        "num_train_epochs": params.get("epochs") or 1.0,
        "max_steps": steps or -1,
        "per_device_train_batch_size": params["batch_size"],
        "per_device_eval_batch_size": params["batch_size"],
        "gradient_accumulation_steps": params["gradient_accumulation"],
        # TRL cuts what is longer, silently; its usual limit is 1,024 tokens. None cuts nothing.
        "max_length": None,
        # Below 1 it is a share of the steps.
        "warmup_steps": params.get("warmup_share") or (0.05 if warmup is None else warmup),
        "lr_scheduler_type": params.get("schedule", "cosine"),
        "weight_decay": params["weight_decay"],
        "activation_checkpointing": params["gradient_checkpointing"],
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
    }
    if kind == "dpo":
        config |= {
            "beta": params["beta"],
            "loss_type": [params["loss"], "sft"] if params["nll_weight"] else [params["loss"]],
            "loss_weights": [1.0, params["nll_weight"]] if params["nll_weight"] else None,
            "label_smoothing": params["label_smoothing"],
            "ld_alpha": params["ld_alpha"],
            "precompute_ref_log_probs": params["reference"] == "stored",
        }
    elif kind == "kto":
        config |= {
            "beta": params["beta"],
            "loss_type": params["loss"],
            "desirable_weight": params["desirable_weight"],
            "undesirable_weight": params["undesirable_weight"],
        }
    else:
        config |= {"completion_only_loss": True, "packing": False, "neftune_noise_alpha": params["neftune_alpha"] or None}
    if kind != "sft":
        config["disable_dropout"] = not (lora and lora["dropout"])
    adapter = lora and {
        "r": lora["r"], "lora_alpha": lora["alpha"], "lora_dropout": lora["dropout"], "target_modules": "all-linear",
        "task_type": "CAUSAL_LM",
    }  # fmt: skip
    narrow = params["dtype"] == "bfloat16"
    filled = {
        "TRAINER": TRAINERS[kind],
        "CONFIG": _literal(config),
        "ADAPTER": _literal(adapter) if adapter else "None",
        "COLUMNS": repr(COLUMNS[kind]),
        "FILE": "kto.jsonl" if kind == "kto" else "train.jsonl",
        "DTYPE": "bfloat16" if narrow and lora else "float32",
        "BF16": str(narrow and not lora),
    }
    made = _SCRIPT
    for name, text in filled.items():
        made = made.replace(f"@{name}@", text)
    return made


def _literal(values: dict[str, Any]) -> str:
    lines = "".join(f"    {name!r}: {value!r},\n" for name, value in values.items())
    return "{\n" + lines + "}"


_SCRIPT = '''"""Trains the run of this folder with TRL's own @TRAINER@Trainer, unmodified. README.md says what TRL cannot express of it.

    pip install -r requirements.txt
    python train_stock_trl.py --model FOLDER --output FOLDER

FOLDER of --model is the start model that recipe.json names by its digest.
"""

import argparse
import json
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from trl import @TRAINER@Config, @TRAINER@Trainer

HERE = Path(__file__).resolve().parent
CONFIG = @CONFIG@
ADAPTER = @ADAPTER@
COLUMNS = @COLUMNS@


def rows(name):
    path = HERE / name
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="\\n") as stream:
        found = [json.loads(line) for line in stream]
    return Dataset.from_list([{column: row[column] for column in COLUMNS} for row in found])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the start model's folder")
    parser.add_argument("--output", required=True, help="where the trained model goes")
    parser.add_argument("--max-steps", type=int, help="stop after so many steps")
    given = parser.parse_args()
    settings = dict(CONFIG)
    if given.max_steps:
        settings["max_steps"] = given.max_steps
    held_out = rows("validation.jsonl")
    gpu = torch.cuda.is_available()
    config = @TRAINER@Config(
        output_dir=given.output,
        use_cpu=not gpu,
        bf16=@BF16@,
        model_init_kwargs={"dtype": "@DTYPE@"},
        eval_strategy="no" if held_out is None else "epoch",
        **settings,
    )
    trainer = @TRAINER@Trainer(
        model=given.model,
        args=config,
        train_dataset=rows("@FILE@"),
        eval_dataset=held_out,
        peft_config=LoraConfig(**ADAPTER) if ADAPTER else None,
    )
    trainer.train()
    trainer.save_model(given.output)


if __name__ == "__main__":
    main()
'''


# --- what it says of itself --------------------------------------------------------------------------------------------------------


def readme(run: Run, counts: dict[str, dict[str, int]]) -> str:
    """What is in the bundle, and what its script does not do as the run did."""
    files = [f"- `{name}`: {found['rows']} rows" for name, found in counts.items()]
    files += [
        "- `recipe.json`: parameters, seed, and the digests of snapshot and models",
        "- `environment.json`, `requirements.txt`: versions",
    ]
    if not counts:
        made = {"merge": "a merge", "search": "a merge", "extract": "the difference of two models"}
        what = made.get(run.job.kind, "documents of a corpus, or generated text")
        return _page(run, files, f"This run was no training on a snapshot: it was made of {what}, and no stock trainer does it.\n")
    files.append(f"- `{SCRIPT}`: TRL's {TRAINERS[run.job.kind]}Trainer, unmodified")
    said = "\n".join(f"- **{name}.** {text}" for name, text in lost(run, counts))
    return _page(run, files, f"## What TRL cannot express of this run\n\n{said}\n\nSo its figures will be near the run's, and not equal.\n")


def _page(run: Run, files: list[str], rest: str) -> str:
    listed = "\n".join(files)
    marks = "".join(
        f"> **{mark}.** {text}\n\n"
        for mark, text, holds in (
            ("Simulated", "A program played the raters.", bool(run.snapshot and run.snapshot.simulated)),
            ("Toy", "Toy models and generated text.", bool(run.snapshot and run.snapshot.toy)),
        )
        if holds
    )
    return f"# Run {run.name}\n\n{marks}{listed}\n\nNo model is in here: the start model's digest is in `recipe.json`.\n\n{rest}"


def lost(run: Run, counts: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    """(what, how it differs) of all in this run that its script leaves out; what the run did not use is not listed."""
    params, job = run.params, run.job
    soft, weighted = (sum(found[name] for found in counts.values()) for name in ("soft", "weighted"))
    share = "The same figures, later."
    listed: list[tuple[object, str, str]] = [
        (
            params.get("targets") == "soft" and soft,
            "Soft targets",
            f"{soft} pairs carry `p_chosen`, how surely the chosen side is better. TRL does not read it: every pair is certain to it.",
        ),
        (params.get("targets") == "soft" and weighted, "Weights", f"{weighted} pairs carry a `weight`. TRL counts all alike."),
        (
            params.get("reference") == "stored",
            "Stored reference",
            f"The run took its reference's log-probabilities from a store that other runs share; TRL computes them anew each time. {share}",
        ),
        (params.get("shared_prefix"), "Shared prefix", f"The run read a prompt once for both answers; TRL reads it twice. {share}"),
        (params.get("length_window", 1) > 1, "Length buckets", "Batches were made of pairs of like length; TRL shuffles all."),
        (params.get("replay"), "Replay", f"A share of {params.get('replay')} came from other rows, which are not in here."),
        (params.get("packing"), "Packing", "Rows lay side by side, and none saw another; the script does not pack."),
        (
            params.get("freeze_embeddings") and not params.get("lora"),
            "Frozen embeddings",
            "The run left the embeddings as they were; TRL trains them too.",
        ),
        (
            job.kind == "sft",
            "Optimizer",
            f"AdamW's betas were 0.9 and 0.98, and the rate fell to {params.get('floor')} of its peak; here it falls to nothing.",
        ),
        (
            params.get("early_stop"),
            "Early stop",
            f"The run could end when held-out loss had not fallen for {params.get('early_stop')} checkpoints, and keep its best weights.",
        ),
        (
            specs.processes(job) > 1,
            "Processes",
            f"{specs.processes(job)} trained together; start the script with `torchrun --nproc-per-node {specs.processes(job)}`.",
        ),
        (True, "Control tokens", "Written in a text, the run took them for plain text; TRL takes `<|end|>` for the token."),
        (True, "Order", "The run's batches follow from its seed by a rule of its own, and never cross a RoPE switch; TRL draws others."),
        (True, "Watch", "Watchdogs, the check of the first loss, fixed prompts, and checkpoints to go on from are the run's own."),
    ]
    return [(name, text) for holds, name, text in listed if holds]
