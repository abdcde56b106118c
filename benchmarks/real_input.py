"""Rounds on real input: ACI-Bench's 40 test encounters and the notes six real systems wrote for them.

csv → samples and external completions → 600 pairs → 30 judged in headless Chromium by keyboard alone → frozen snapshot →
export → opened by `datasets.load_dataset` → one epoch by unmodified `trl.DPOTrainer`, max_length taken from the data, so that
rows trained = rows exported in `train`. (TRL's default of 1,024 tokens would drop or cut these dialogues without a word.)

Needs the folder of github.com/wyim/aci-bench's csv files (clinicalnlp_taskB_test1.csv and predictions/), the engine extra and a
Chromium. Works in a data folder of its own, on an embedded database of its own, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
TEST_FILE = "clinicalnlp_taskB_test1.csv"
# The csv files carry no instruction, so this is ours, one for all encounters.
INSTRUCTION = (
    "You are given the transcript of a visit between a doctor and a patient. Write the clinical note of this visit as the doctor "
    "would file it, with the sections Chief Complaint, History of Present Illness, Review of Systems, Physical Examination, Results, "
    "and Assessment and Plan as far as the transcript supports them. State only what was said or follows from it; leave out greetings "
    "and small talk."
)
JUDGEMENTS = 30
PASSWORD = "a clinician's long passphrase"


def read_rows(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(2**27)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def convert(folder: Path, out: Path) -> dict[str, Any]:
    """csv → samples.jsonl (MediFlow's columns) and completions.csv (id, system, text). Returns what was read and what was left."""
    encounters = read_rows(folder / TEST_FILE)
    used = [TEST_FILE]
    with (out / "samples.jsonl").open("w", encoding="utf-8") as file:
        for row in encounters:
            sample = {
                "id": row["encounter_id"],
                "instruction": INSTRUCTION,
                "input": row["dialogue"],
                "output": row["note"],
                "task_type": "summarization",
                "input_data": "Doctor-Patient Conversation",
                "output_format": "plain_text",
                "difficulty_level": "hard",
            }
            file.write(json.dumps(sample) + "\n")
    systems: dict[str, int] = {}
    with (out / "completions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "system", "text"])
        for path in sorted((folder / "predictions").glob("*.csv")):
            system = re.sub(r"_?clinicalnlp_taskB_test1(_full)?$", "", path.stem)
            rows = read_rows(path)
            writer.writerows([row["encounter_id"], system, row["note"]] for row in rows)
            systems[system] = len(rows)
            used.append(f"predictions/{path.name}")
    everything = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return {"encounters": len(encounters), "systems": systems, "used": used, "unused": [name for name in everything if name not in used]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def web_server() -> Iterator[str]:
    """The real web server over the same database, as `manage.py up` runs it."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "config.wsgi",
        "-k",
        "gthread",
        "--threads",
        "4",
        "-b",
        f"127.0.0.1:{port}",
        "--log-level",
        "warning",
    ]
    server = subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "ROUNDS_DB_POOL": "1"})
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{address}/accounts/login/", timeout=2).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", text.lower()))


def choose_key(source: str, left: str, right: str) -> str:
    """The scripted clinician: prefers the note that keeps more of what was said. Blinded like anyone: it sees the page's text alone."""
    said = words(source)
    gap = len(words(left) & said) - len(words(right) & said)
    return ("1" if gap > 15 else "2") if gap >= 0 else ("5" if gap < -15 else "4")


def judge_by_keyboard(address: str, username: str, how_many: int) -> dict[str, float]:
    """Sign in and judge in headless Chromium, touching nothing but keys."""
    from playwright.sync_api import sync_playwright

    from benchmarks.browser import keyboard
    from benchmarks.browser.chromium import launch

    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(base_url=address, viewport={"width": 1366, "height": 768})
        keyboard.sign_in(page, username, PASSWORD)
        keyboard.start(page)
        seconds = keyboard.judge(page, how_many, choose_key)
        browser.close()
    return {"judged": len(seconds), "submit_to_next_median_s": round(statistics.median(seconds), 3)}


def train_with_trl(export: Path, out: Path) -> dict[str, Any]:
    """One epoch of unmodified trl.DPOTrainer on the exported folder, on a tiny untrained Phi-3 with a tokenizer built from the data."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HOME": str(out / "hf")}
    import torch
    from datasets import load_dataset
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    data = load_dataset(str(export))
    train = data["train"]
    special = ["<unk>", "<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    texts = [message["content"] for row in train for key in ("prompt", "chosen", "rejected") for message in row[key]]
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|end|>", pad_token="<|endoftext|>", bos_token="<s>", unk_token="<unk>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
    longest = max(
        len(tokenizer.apply_chat_template(row["prompt"] + row[side], return_dict=True)["input_ids"])
        for row in train
        for side in ("chosen", "rejected")
    )
    max_length = longest + 8
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=max_length, original_max_position_embeddings=max_length,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    folder = out / "untrained"
    Phi3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = Phi3ForCausalLM.from_pretrained(folder)
    reference = Phi3ForCausalLM.from_pretrained(folder)
    arguments = DPOConfig(
        output_dir=str(out / "dpo"),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        learning_rate=1e-4,
        max_length=max_length,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    dpo = DPOTrainer(model=model, ref_model=reference, args=arguments, train_dataset=train, processing_class=tokenizer)
    result = dpo.train()
    losses = [entry["loss"] for entry in dpo.state.log_history if "loss" in entry]
    return {
        "rows_exported": {name: split.num_rows for name, split in data.items()},
        "rows_trained": len(dpo.train_dataset),
        "steps": dpo.state.global_step,
        "max_length": max_length,
        "longest_tokens": longest,
        "first_loss": round(float(losses[0]), 4),
        "train_loss": round(float(result.training_loss), 4),
    }


def prepare_project(data_dir: Path) -> None:
    """Django on an embedded database of this script's own, migrated."""
    os.environ["ROUNDS_DATA_DIR"] = str(data_dir)
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings.dev"
    os.environ["ROUNDS_DEMO"] = "false"
    # An empty database of our own, whatever the caller's environment names.
    os.environ.pop("DATABASE_URL", None)
    os.environ.pop("CELERY_BROKER_URL", None)
    from config import embedded

    embedded.provide()
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    # The web server gives out what was collected.
    call_command("collectstatic", interactive=False, verbosity=0)


def import_and_open(out: Path) -> tuple[Any, dict[str, Any]]:
    """Through the verbs the wizard and the commands use. Returns the open campaign and the counts."""
    from accounts.models import Role, RoleGrant, User
    from annotation import campaigns, completions, samples
    from annotation.models import Completion, GenerationBatch

    trainer = User.objects.create_user("trainer", password=PASSWORD)
    clinician = User.objects.create_user("clinician", password=PASSWORD)
    RoleGrant.objects.create(user=trainer, role=Role.TRAINER)
    RoleGrant.objects.create(user=clinician, role=Role.ANNOTATOR)
    with (out / "samples.jsonl").open("rb") as file:
        imported = samples.import_jsonl(file=file, source="ACI-Bench test1", licence="CC BY 4.0", actor=trainer)
    with (out / "completions.csv").open("rb") as file:
        completions.import_external(file=file, filename="completions.csv", source="ACI-Bench test1", actor=trainer)
    batches = list(GenerationBatch.objects.order_by("id"))
    campaign = campaigns.create(
        name="Six systems' notes",
        guideline="Prefer the note a colleague could work from. Wrong or invented facts weigh more than missing ones.",
        batches=batches,
        overlap=1,
        members=[clinician],
        seed=7,
        actor=trainer,
    )
    campaigns.open(campaign=campaign, actor=trainer)
    counts = {
        "samples": imported.stored,
        "completions": Completion.objects.count(),
        "systems": len(batches),
        "pairs": campaign.pairs.count(),
    }
    return campaign, counts


def freeze_and_export(campaign: Any) -> tuple[Path, dict[str, Any]]:
    from accounts.models import User
    from annotation import export_files, snapshots

    snapshot = snapshots.freeze(campaign=campaign, name="ACI-Bench, 30 judgements", actor=User.objects.get(username="trainer"))
    return export_files.folder(snapshot=snapshot), {"digest": snapshot.digest, "counts": snapshot.counts}


def run(folder: Path) -> dict[str, Any]:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rounds-real-") as scratch:
        out = Path(scratch)
        converted = convert(folder, out)
        print(f"read {converted['encounters']} encounters and {len(converted['systems'])} systems; not used:")
        for name in converted["unused"]:
            print(f"  {name}")
        prepare_project(out / "data")
        from config import embedded

        try:
            campaign, counts = import_and_open(out)
            print(f"imported {counts}")
            with web_server() as address:
                judged = judge_by_keyboard(address, "clinician", JUDGEMENTS)
            print(f"judged {judged}")
            export, frozen = freeze_and_export(campaign)
            print(f"frozen {frozen}")
            trained = train_with_trl(export, out)
            print(f"trained {trained}")
        finally:
            from django.db import connections

            connections.close_all()
            embedded.stop(out / "data")
    exported = trained["rows_exported"]["train"]
    return {
        **converted, **counts, **judged, "snapshot": frozen, **trained,
        "all_rows_trained": trained["rows_trained"] == exported and exported >= 16,
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help=f"the aci-bench folder: {TEST_FILE} and predictions/*.csv")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    if not (options.folder / TEST_FILE).is_file() or not any((options.folder / "predictions").glob("*.csv")):
        print(f"{options.folder} holds no {TEST_FILE} with a predictions/ folder beside it.", file=sys.stderr)
        return 2
    sys.path.insert(0, str(PROJECT))
    report = run(options.folder.resolve())
    if options.json:
        print(json.dumps(report))
    return 0 if report["all_rows_trained"] else 1


if __name__ == "__main__":
    sys.exit(main())
