"""Synthesis measured: samples by the grammar, and a server's run that is killed on the way.

    .venv/bin/python benchmarks/synthesis.py --n 5000 --seed 1 --json
    .venv/bin/python benchmarks/synthesis.py --endpoint --n 200 --kills 3 --json
    .venv/bin/python benchmarks/synthesis.py --endpoint --serve transformers --transformers SERVER/bin/transformers --n 200 --json
    .venv/bin/python benchmarks/synthesis.py --model --n 200 --kills 2 --json

The first asks the grammar backend for `--n` samples through the real rows, jobs and a real worker, and looks at what was stored: `tasks`
and `documents` met, `cells_reachable` (share of the grid's task × part × difficulty × format places that the grammar can write an
instruction with valid examples for: `--cells` of them drawn at random, 0 for all), `exact` duplicates, `near` (share of stored inputs that
have an earlier near-duplicate, found anew from the stored text), `json_valid` against each item's own schema, and `digest`, the
same for the same seed; with `--again` a second run has to give it again. Fails unless: all wanted samples of 14 tasks, at least 90 % of
cells, no exact and under 2 % near duplicates, all JSON valid, at most 180 seconds for 5,000 (`--limit`). `processor_seconds` are those
of the worker, the sweeper and their children: what it takes, however busy the machine is.

The second asks a local server that speaks the OpenAI protocol for `--n` instructions. `--serve script` answers well-formed text, so
that all of it runs to samples; `--serve phi` is a tiny Phi-3 with random weights, whose texts the strict parser refuses and counts;
`--serve transformers` is the same model behind somebody else's server, `transformers serve` (`--transformers` names the command of an
installation that has transformers[serving]; it is no dependency of ours). `--critic` is who judges, where that is not the same server:
with a script that writes and transformers that judges, every stage is asked of it. The worker is killed with SIGKILL `--kills` times.
Fails when a row is lost, or stands there twice. A row that was refused is a row that was answered.

`--model` asks the same tiny Phi-3 in process: a registered version, written with by the generation engine as a job of the worker.

Needs a PostgreSQL and a broker (DATABASE_URL, CELERY_BROKER_URL, else the embedded ones), on which it makes a database of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

LIMIT_SECONDS = 180.0  # for 5,000 samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cells", type=int, default=2000, help="cells of the grid that are tried (0: all 16,464)")
    parser.add_argument("--again", action="store_true", help="a second run of the same seed has to give the same digest")
    parser.add_argument("--limit", type=float, help="seconds it may take (180 for each 5,000 samples)")
    parser.add_argument("--patience", type=float, default=900.0, help="seconds after which nobody waits any longer")
    parser.add_argument("--spoilt", type=float, default=0.0)
    parser.add_argument("--endpoint", action="store_true", help="a local server in the grammar's place, and kills")
    parser.add_argument("--model", action="store_true", help="a registered tiny model in the grammar's place, and kills")
    parser.add_argument("--serve", choices=tuple(SERVERS), default="script", help="who answers at the endpoint")
    parser.add_argument("--critic", choices=tuple(SERVERS), help="who judges there (the same)")
    parser.add_argument("--transformers", default=str(Path(sys.executable).with_name("transformers")), help="the command that can serve")
    parser.add_argument("--tokens", type=int, help="at most so many in an answer (400, of a random model 24)")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    with house() as workers:
        found = asked(options, workers) if options.endpoint or options.model else by_grammar(options, workers)
    taken = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["processor_seconds"] = round(taken.ru_utime + taken.ru_stime, 1)
    for name, value in found.items():
        print(f"{name:<18} {value}")
    if options.json:
        print(json.dumps(found))
    if not found["passed"]:
        raise SystemExit(1)


@contextmanager
def house() -> Iterator[Any]:
    """A database, a data folder and a worker of this benchmark's own."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    from config import embedded

    embedded.provide()
    import django
    from django.conf import settings
    from django.db import connection

    django.setup()
    before = connection.settings_dict["NAME"]
    connection.settings_dict.setdefault("TEST", {})["NAME"] = f"rounds_synthesis_{os.getpid()}"
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    from tests.workers import Processes

    with tempfile.TemporaryDirectory(prefix="rounds-synthesis-") as folder:
        settings.DATA_DIR = Path(folder)
        workers = Processes(Path(folder))
        try:
            yield workers
        finally:
            workers.stop_all()
            connection.creation.destroy_test_db(before, verbosity=0)


def follow(run: Any, patience: float, meanwhile: Callable[[], None] = lambda: None) -> float:
    """Seconds until the run is over."""
    from training.synthesis import runs

    began = time.monotonic()
    while not run.over:
        time.sleep(0.25)
        meanwhile()
        run.refresh_from_db()
        if job := runs.blocked(run):
            raise SystemExit(f"A job failed: {job.error_code}.")
        if time.monotonic() - began > patience:
            raise SystemExit(f"Not over within {patience:.0f} s: {dict(run.items.values_list('pk', 'state')[:5])}")
    return time.monotonic() - began


# --- the grammar -----------------------------------------------------------------------------------------------------------------------


def by_grammar(options: argparse.Namespace, workers: Any) -> dict[str, Any]:
    from annotation import near
    from annotation.models import Sample
    from training.engine.grammar import grid
    from training.synthesis import backends, runs

    workers.start_worker(slots=1)
    workers.start_sweeper()

    def ask(name: str) -> Any:
        return runs.start(
            name=name, wanted=runs.Wanted(count=options.n, spoilt=options.spoilt), generator=backends.find("grammar"),
            judge=backends.find("grammar", judging=True), seed=options.seed, licence="CDLA-Permissive-2.0", actor=None,
        )  # fmt: skip

    run = ask("first")
    seconds = follow(run, options.patience)
    samples = list(Sample.objects.filter(source=run.source).order_by("pk"))
    inputs = [sample.input for sample in samples]
    groups = near.groups(range(len(inputs)), inputs)
    asked = {(sample.instruction, sample.input) for sample in samples}
    found: dict[str, Any] = {
        "samples": len(samples), "seconds": round(seconds, 1), "tasks": len({sample.task_type for sample in samples}),
        "documents": len({sample.input_data.partition(":")[0] for sample in samples}),
        "task_by_document": len(runs.coverage(run)), "exact": len(samples) - len(asked),
        "near": round(sum(len(group) - 1 for group in groups) / max(1, len(inputs)), 4), "dropped": runs.counts(run)["reasons"],
        "cells_reachable": reachable(options.cells, options.seed), "json_valid": valid(run), "digest": digest(samples),
        "rejected_outputs": sum(bool(sample.rejected_output) for sample in samples),
    }  # fmt: skip
    if options.again:
        Sample.objects.filter(source=run.source).update(withdrawn_at="2000-01-01T00:00Z")
        second = ask("second")
        follow(second, options.patience)
        found["again"] = digest(Sample.objects.filter(source=second.source)) == found["digest"]
    limit = options.limit or LIMIT_SECONDS * max(1, options.n / 5000)
    found["passed"] = (
        found["samples"] == options.n and found["tasks"] == len(grid.TASKS) and found["cells_reachable"] >= 0.9 and found["exact"] == 0
        and found["near"] < 0.02 and found["json_valid"] == 1.0 and seconds <= limit and found.get("again", True)
    )  # fmt: skip
    return found


def digest(samples: Any) -> str:
    from hashlib import sha256

    return sha256("\n".join(sorted(sample.digest for sample in samples)).encode()).hexdigest()


def reachable(wanted: int, seed: int) -> float:
    """Share of the grid's cells that get an instruction whose every example fits its schema and passes the strict parser."""
    import jsonschema

    from training.engine.grammar import grid, tasks, writing
    from training.synthesis import parsing

    every = [
        grid.Cell(task, document, part, level, form, 1.0, 3)
        for task in grid.TASKS for document, parts in grid.DOCUMENTS.items() for part in parts for level in grid.DIFFICULTIES
        for form in grid.FORMATS
    ]  # fmt: skip
    tried = random.Random(seed).sample(every, min(wanted or len(every), len(every)))

    def holds(cell: grid.Cell) -> bool:
        made = writing.write(cell, f"cell {seed}")
        fits = jsonschema.Draft202012Validator(tasks.TASKS[cell.task].schema(made.options)).is_valid
        try:
            return len(parsing.written(made.text(cell)).pairs) == 3 and all(fits(value) for _, value in made.examples)
        except parsing.Refused:
            return False

    return round(sum(map(holds, tried)) / len(tried), 4)


def valid(run: Any) -> float:
    """Share of stored JSON outputs that fit the schema of the instruction they answer."""
    import jsonschema

    from training.engine.grammar import tasks, writing
    from training.synthesis.models import SynthesisPair
    from training.synthesis.requests import cell_of

    pairs = SynthesisPair.objects.filter(item__run=run, state="stored", item__output_format="json").select_related("item")
    good = 0
    for pair in pairs:
        cell = cell_of(pair.item)
        made = writing.write(cell, f"{run.seed} {pair.item.number} 0")
        assert made.instruction == pair.item.instruction
        good += jsonschema.Draft202012Validator(tasks.TASKS[cell.task].schema(made.options)).is_valid(json.loads(pair.output))
    return good / len(pairs) if pairs else 1.0


# --- a server --------------------------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    server: Serving

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        texts = [self.server.write(body["messages"], body.get("max_tokens", 64), body["seed"] + n) for n in range(body.get("n", 1))]
        choices = [{"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} for n, text in enumerate(texts)]
        words = sum(len(text.split()) for text in texts)
        self._send({"model": "tiny", "choices": choices, "usage": {"completion_tokens": words, "prompt_tokens": 50}})

    def _send(self, answer: Any) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: Any) -> None:
        pass


class Serving(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, write: Callable[[list[dict[str, str]], int, int], str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.write, self.asked = write, 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A killed client is no news."""


def scripted(messages: list[dict[str, str]], most: int, seed: int) -> str:
    """Well-formed answers to each of our prompts, about as slow as a busy server."""
    from training.engine.grammar import answering, grid
    from training.synthesis import prompts

    time.sleep(0.05)
    told = messages[-1]["content"]
    if told.startswith(prompts.WRITE[:40]):
        task = next(task for task in grid.TASKS if f"Task type: {task}\n" in told)
        form = grid.JSON if "Output format: JSON" in told else grid.PLAIN
        document = next(name for name in sorted(grid.DOCUMENTS, key=len, reverse=True) if f"Input: {name};" in told)
        cell = grid.Cell(task, document, grid.DOCUMENTS[document][0], "hard", form, 1.0, 4 if "then 4 examples" in told else 3)
        return answering.answer({"stage": "write", "cell": cell.as_json(), "seed": seed})
    if told.startswith(prompts.JUDGE[:40]):
        return answering.answer({"stage": "judge", "instruction": told.rpartition("Instruction:\n")[2], "seed": seed})
    if told.startswith(prompts.SPOIL[:40]):
        error = next(error for error in grid.ERRORS if f'"error_type": "{error}"' in told)
        output, given = told.rpartition("Output:\n")[2], told.partition("Input:\n")[2]
        return answering.answer({"stage": "reject", "error": error, "output": output, "input": given, "seed": seed})
    first, second = told.partition("Answer A:\n")[2].split("\n\nAnswer B:\n")
    return json.dumps({"rationale": "By length.", "better": "A" if len(first) >= len(second) else "B"})


def tiny() -> tuple[Any, Any]:
    """A tiny Phi-3 with random weights and its tokenizer: real tokens, no sense."""
    import torch

    from training.engine import models, tokens

    torch.set_num_threads(1)
    tokenizer = tokens.build(2700, 1)
    return models.fresh_phi3(tokenizer=tokenizer, hidden=64, layers=2, heads=2, intermediate=128, seed=1, context=2048).eval(), tokenizer


def tiny_folder(folder: Path) -> Path:
    from training.engine import models

    models.save(*tiny(), folder)
    return folder


def phi() -> Callable[[list[dict[str, str]], int, int], str]:
    import torch

    from training.engine import tokens

    model, tokenizer = tiny()
    lock = threading.Lock()

    def write(messages: list[dict[str, str]], most: int, seed: int) -> str:
        ids = tokens.encode_chat(tokenizer, messages, generation_prompt=True)[-256:]
        with lock, torch.inference_mode():
            torch.manual_seed(seed)
            made = model.generate(
                input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=min(most, 24),
                do_sample=True, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        return str(tokenizer.decode(made[0, len(ids) :].tolist()))

    return write


@dataclass(frozen=True)
class At:
    """A server that runs: where, under which name its model goes, how many requests it was asked, and how it ends."""

    url: str
    model: str
    asked: Callable[[], int]
    close: Callable[[], None]


def scripted_server(folder: Path, options: argparse.Namespace) -> At:
    return _served(scripted)


def phi_server(folder: Path, options: argparse.Namespace) -> At:
    return _served(phi())


def _served(write: Callable[[list[dict[str, str]], int, int], str]) -> At:
    server = Serving(write)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return At(f"http://127.0.0.1:{server.server_port}/v1", "tiny", lambda: server.asked, server.shutdown)


def transformers_server(folder: Path, options: argparse.Namespace) -> At:
    """`transformers serve` as a process of its own, pinned to the tiny model's folder."""
    home = tiny_folder(folder / "served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "serve.log"
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": "1"}
    (folder / "hub" / "hub").mkdir(parents=True)
    command = [options.transformers, "serve", str(home), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("wb") as out:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | offline
        child = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def close() -> None:
        child.terminate()
        child.wait(timeout=30)

    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            # Its list holds what its cache holds, which is nothing: the model it is pinned to goes by its folder.
            return At(f"http://127.0.0.1:{port}/v1", str(home), lambda: log.read_text(errors="replace").count("POST /v1/chat"), close)
        if child.poll() is not None:
            break
        time.sleep(0.2)
    child.kill()
    raise SystemExit(f"transformers serve did not start:\n{log.read_text(errors='replace')[-2000:]}")


SERVERS = {"script": scripted_server, "phi": phi_server, "transformers": transformers_server}


def asked(options: argparse.Namespace, workers: Any) -> dict[str, Any]:
    """`--n` instructions, and a worker that is killed on the way: what of it is there afterwards, and how often."""
    from django.conf import settings

    from annotation.models import Sample
    from training.synthesis import backends, runs
    from training.synthesis.models import SynthesisAnswer, SynthesisPair

    # So that a killed worker's job is taken up again in seconds.
    workers.environment |= {"ROUNDS_BACK_OFF": "0.5,0.5,0.5", "ROUNDS_LEASE_SECONDS": "10", "ROUNDS_HEARTBEAT_SECONDS": "1"}
    servers: dict[str, At] = {}
    if options.model:
        generator, judge = f"model:{registered(settings.DATA_DIR)}", "grammar"
    else:
        who = {"writer": options.serve, "critic": options.critic or options.serve}
        servers = {name: SERVERS[name](settings.DATA_DIR / f"server-{name}", options) for name in dict.fromkeys(who.values())}
        told = {"concurrency": 4, "timeout": 60, "price_in": 1, "price_out": 4}
        settings.ROUNDS_GENERATION_ENDPOINTS = {
            role: {"url": servers[name].url, "model": servers[name].model, "family": role, **told} for role, name in who.items()
        }
        workers.environment["ROUNDS_GENERATION_ENDPOINTS"] = json.dumps(settings.ROUNDS_GENERATION_ENDPOINTS)
        generator, judge = "endpoint:writer", "endpoint:critic"
    try:
        workers.start_worker(slots=2)
        workers.start_sweeper()
        writer = backends.find(generator)
        # So many samples that `--n` instructions are drawn.
        count = int(options.n * runs.PAIRS / runs.SPARE[writer.kind])
        most = options.tokens or (400 if options.serve == (options.critic or options.serve) == "script" and not options.model else 24)
        run = runs.start(
            name="asked", wanted=runs.Wanted(count=count, spoilt=0.3, max_new_tokens=most), generator=writer,
            judge=backends.find(judge, judging=True), seed=options.seed, licence="CDLA-Permissive-2.0", actor=None,
        )  # fmt: skip
        chance, killed = random.Random(options.seed), 0
        wait = time.monotonic() + chance.uniform(3, 5)

        def kill() -> None:
            nonlocal killed, wait
            begun = sum(server.asked() for server in servers.values()) if servers else run.steps.filter(job__state="running").count()
            if killed < options.kills and time.monotonic() > wait and begun:
                workers.kill("worker")
                killed += 1
                time.sleep(chance.uniform(0.2, 1.0))
                workers.start_worker(slots=2)
                wait = time.monotonic() + chance.uniform(3, 8)

        seconds = follow(run, options.patience, kill)
        requests = sum(server.asked() for server in servers.values())
    finally:
        for server in servers.values():
            server.close()
    items = list(run.items.order_by("number").values_list("number", "state"))
    answers = list(SynthesisAnswer.objects.filter(item__run=run).values_list("item", "stage", "number"))
    pairs = SynthesisPair.objects.filter(item__run=run)
    samples = Sample.objects.filter(source=run.source) if run.source else Sample.objects.none()
    whole = {
        "every_item_once": [number for number, _ in items] == list(range(1, len(items) + 1)),
        "every_item_ended": {state for _, state in items} <= {"done", "refused"},
        "one_answer_a_place": len(answers) == len(set(answers)),
        "every_item_written": sum(stage == "write" for _, stage, _ in answers) == len(items),
        "pairs_ended": set(pairs.values_list("state", flat=True)) <= {"stored", "dropped"},
        "samples_are_pairs": samples.count()
        == pairs.filter(state="stored").count()
        == samples.values("input", "instruction").distinct().count(),
    }
    attempts = [step.job.attempts for step in run.steps.select_related("job")]
    return {
        "serving": "model" if options.model else f"{options.serve}, judged by {options.critic or options.serve}",
        "instructions": len(items),
        "samples": samples.count(), "seconds": round(seconds, 1), "kills": killed, "jobs": len(attempts), "attempts": sum(attempts),
        "requests": requests, "states": dict(Counter(state for _, state in items)),
        "answers": dict(Counter(stage for _, stage, _ in answers)),
        "reasons": runs.counts(run)["reasons"], "price": round(sum(row["price"] for row in runs.spent(run)), 4), **whole,
        "passed": all(whole.values()) and killed == options.kills,
    }  # fmt: skip


def registered(folder: Path) -> str:
    """The public id of the tiny model, registered as a house registers one."""
    from modelhub import artifacts, versions
    from modelhub.models import Kind

    kept = artifacts.save(artifacts.stage(folder=tiny_folder(folder / "tiny")))
    return str(versions.register(name="tiny", kind=Kind.BASE, artifact=kept, actor=None, licence="Apache-2.0").public_id)


if __name__ == "__main__":
    main()
