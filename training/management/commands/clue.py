"""manage.py clue --model NAME --data FOLDER: CLUE+ and the medical multiple choice sets asked of a model version, as a job."""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from annotation.management.commands.import_samples import actor_named
from modelhub import artifacts
from modelhub.models import ModelVersion
from training import clue_runs, launch, loop, suiteruns, workers
from training.engine.errors import SpecError
from training.suite.register import SETS


class Command(BaseCommand):
    help = (
        "Ask a model version the tasks of CLUE+ (arXiv 2505.10717) from your own copies of the data sets, as a job one can watch. Rounds "
        "brings no data set: --list says where each is to be had and how its files are to lie. Uses the running worker, or starts one."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--list", action="store_true", help="name the sets, their access and their files, and stop")
        parser.add_argument("--model", help="the model version, by name")
        parser.add_argument("--data", type=Path, help="the folder your copies are in")
        parser.add_argument(
            "--sets", nargs="+", default=[], metavar="SET", help="only these, all of which must be there (default: what is)"
        )
        parser.add_argument("--mode", choices=["greedy", "clue_compat"], default="greedy", help="(default %(default)s, as the paper)")
        parser.add_argument("--limit", type=int, help="only the first rows of each set, for trying")
        parser.add_argument("--max-new-tokens", type=int, help="cut answers shorter than the sets' own caps, for trying")
        parser.add_argument(
            "--allow-other-files", action="store_true", help="read files that are not the published ones; the result says which"
        )
        parser.add_argument("--encoder", type=Path, metavar="FOLDER", help="an encoder of your own, for BERTScore (left out without it)")
        parser.add_argument("--encoder-layer", type=int, help="whose output is compared (default: two thirds of the way up)")
        parser.add_argument("--umls", type=Path, metavar="MRCONSO.RRF", help="of your own UMLS, for UMLS-F1 (left out without it)")
        parser.add_argument(
            "--write-tasks", type=Path, metavar="FOLDER",
            help="ask nobody: write the tasks, and their rows, as YAML for a stock lm-evaluation-harness into a new folder",
        )  # fmt: skip
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--actor", metavar="USERNAME", help="whom the job belongs to")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            self._list()
            return
        if not options["data"] or not (options["model"] or options["write_tasks"]):
            raise CommandError("Say --model NAME and --data FOLDER, --write-tasks FOLDER and --data FOLDER, or --list.", returncode=2)
        if not options["data"].is_dir():
            raise CommandError(f"{options['data']} is not a folder.", returncode=2)
        version = ModelVersion.objects.filter(name=options["model"]).first()
        if version is None and options["model"]:
            raise CommandError(f"No model version is called {options['model']!r}.", returncode=2)
        if options["write_tasks"]:
            self._write(version, options)
        elif version is not None:
            self._ask(version, options)

    def _ask(self, version: ModelVersion, options: dict[str, Any]) -> None:
        try:
            with workers.ensured(say=self.stderr.write):
                job = clue_runs.start(
                    version=version, data=options["data"].resolve(), actor=actor_named(options["actor"]), sets=options["sets"],
                    mode=options["mode"], limit=options["limit"], max_new_tokens=options["max_new_tokens"],
                    allow_other_files=options["allow_other_files"], seed=options["seed"], encoder_layer=options["encoder_layer"],
                    **{name: options[name].resolve() for name in ("encoder", "umls") if options[name]},
                )  # fmt: skip
                loop.wait_for([job.pk])
        except (SpecError, suiteruns.NotAskable, loop.LoopFailed, RuntimeError) as failure:
            raise CommandError(str(failure)) from None
        job.refresh_from_db()
        folder = suiteruns.folder_of(job)
        if options["json"]:
            self.stdout.write(json.dumps({"result": str(folder / "suite.json"), **job.result}))
            return
        for name, one in job.result["scores"].items():
            self.stdout.write(f"{name:<24} {one['metric']:<9} {100 * one['score']:6.1f}  of {one['n']}")
            beside = {key: value for key, value in job.result["figures"][name].items() if key != one["metric"]}
            if beside:
                self.stdout.write("  " + ", ".join(f"{key} {100 * value:.1f}" for key, value in beside.items()))
        if job.result["absent"]:
            self.stdout.write("not there: " + ", ".join(job.result["absent"]))
        for lacking in job.result["lacking"]:
            self.stdout.write(lacking)
        self.stdout.write(f"{folder / 'suite.json'}")

    def _write(self, version: ModelVersion | None, options: dict[str, Any]) -> None:
        """By a child: whoever writes tasks reads data sets with the engine's libraries, which no process of ours loads."""
        said = ["--data", str(options["data"].resolve()), "--mode", options["mode"], "--seed", str(options["seed"])]
        if version is not None:
            said += ["--model", str(artifacts.folder(version.artifact))]
        if options["allow_other_files"]:
            said.append("--allow-other-files")
        if options["sets"]:
            said += ["--sets", *options["sets"]]
        done = subprocess.run(
            [sys.executable, "-m", "training.engine.clue.pack", str(options["write_tasks"].resolve()), *said], cwd=settings.PROJECT,
            env={"PATH": os.defpath} | launch.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise CommandError(done.stderr.strip() or "The tasks could not be written.", returncode=done.returncode)
        self.stderr.write(done.stderr.rstrip())
        self.stdout.write(f"{done.stdout.rstrip()}\n{options['write_tasks']}")

    def _list(self) -> None:
        for one in SETS.values():
            rows = "" if one.rows is None else f", {one.rows:,} rows"
            self.stdout.write(f"{one.name} ({one.access}{rows}; {one.licence})\n  {one.where}")
            for file in (*one.files, *([one.shot_file] if one.shot_file else [])):
                self.stdout.write(f"  {file.path}  {file.sha256 or ''}".rstrip())
            self.stdout.write(f"  {one.layout}")
            if one.other:
                self.stdout.write(f"  or {', '.join(file.path for file in one.other)}: {one.other_layout}")
