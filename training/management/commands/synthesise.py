"""manage.py synthesise: samples over the grid from the command line, through the same rows and jobs as the page."""

import json
import time
from argparse import ArgumentParser
from collections import Counter
from hashlib import sha256
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation.models import Sample
from training import workers
from training.engine.grammar import grid
from training.synthesis import backends, runs
from training.synthesis.models import RunState, SynthesisPair, SynthesisRun


class Command(BaseCommand):
    help = (
        "Synthesise MediFlow-shaped samples: write, judge, trim, spoil. Uses the running worker, or starts one for itself. A run that was "
        "interrupted goes on when asked for by the same name."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--n", type=int, default=500, help="samples wanted (default %(default)s)")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--backend", default="grammar", help="grammar, endpoint:NAME or model:PUBLIC-ID (default %(default)s)")
        parser.add_argument("--judge", default="grammar", help="the same for who judges")
        parser.add_argument("--override", default="", help="why a judge of the generator's own family will do")
        parser.add_argument("--spoilt", type=float, default=0.0, help="share that gets a rejected output, 0 to 1 (default %(default)s)")
        parser.add_argument("--least", type=float, default=1.0, help="least mean score, 1 to 4 (default %(default)s)")
        parser.add_argument("--max-new-tokens", type=int, help="longest answer of any stage")
        parser.add_argument("--task", action="append", choices=grid.TASKS, default=[], help="this task only; may be repeated")
        parser.add_argument("--document", action="append", choices=list(grid.DOCUMENTS), default=[], help="this document type only")
        parser.add_argument("--name", help="of the run and its source (default: from backend, number and seed)")
        parser.add_argument("--licence", default="CDLA-Permissive-2.0")
        parser.add_argument("--json", action="store_true", help="end with one JSON line of figures; progress goes to the error stream")

    def handle(self, *args: Any, **options: Any) -> None:
        self.began = time.monotonic()
        self.stream = self.stderr if options["json"] else self.stdout
        name = options["name"] or f"synthesis {options['backend']} {options['n']} seed {options['seed']}"[:80]
        try:
            with workers.ensured(say=self.say):
                run = SynthesisRun.objects.filter(name=name).first() or self.start(name, options)
                self.follow(run)
        except RuntimeError as failure:
            raise CommandError(str(failure)) from None
        figures = self.figures(run)
        if options["json"]:
            self.stdout.write(json.dumps(figures))
        else:
            for key, value in figures.items():
                self.stdout.write(f"{key:<22} {value}")

    def start(self, name: str, options: dict[str, Any]) -> SynthesisRun:
        wanted = runs.Wanted(
            count=options["n"], tasks=options["task"], documents=options["document"], least=options["least"], spoilt=options["spoilt"],
            max_new_tokens=options["max_new_tokens"],
        )  # fmt: skip
        try:
            return runs.start(
                name=name, wanted=wanted, generator=backends.find(options["backend"]), judge=backends.find(options["judge"], judging=True),
                seed=options["seed"], licence=options["licence"], actor=None, override=options["override"],
            )  # fmt: skip
        except runs.NotStarted as no:
            raise CommandError(f"{no.field}: {no.message}") from None
        except backends.Unknown as unknown:
            raise CommandError(f"No such backend: {unknown}.") from None

    def follow(self, run: SynthesisRun) -> None:
        if runs.blocked(run) or run.state == RunState.PAUSED:
            runs.resume(run=run, actor=None)
        said = ""
        while not run.over:
            time.sleep(0.5)
            run.refresh_from_db()
            counted = runs.counts(run)
            line = ", ".join(f"{n} {state}" for state, n in {**counted["items"], **counted["pairs"]}.items())
            if line != said:
                self.say(line)
            said = line
            if job := runs.blocked(run):
                raise CommandError(f"A job failed: {job.error_code}. Ask again by the same name to go on.")

    def figures(self, run: SynthesisRun) -> dict[str, Any]:
        counted = runs.counts(run)
        stored = Sample.objects.filter(synthesis__item__run=run)
        digest = sha256()
        for row in stored.order_by("digest").values_list("digest", flat=True):
            digest.update(row.encode())
        spent = runs.spent(run)
        return {
            "run": str(run.public_id), "name": run.name, "state": run.state, "samples": stored.count(),
            "rejected_outputs": stored.exclude(rejected_output="").count(), "instructions": run.items.count(),
            "tasks": dict(Counter(stored.values_list("task_type", flat=True))), "cells": len(runs.coverage(run)),
            "refused": counted["reasons"], "quarantined": SynthesisPair.objects.filter(item__run=run, state="stored", sample=None).count(),
            "tokens": sum(row["tokens"] for row in spent), "prompt_tokens": sum(row["prompt_tokens"] for row in spent),
            "price": round(sum(row["price"] for row in spent), 4), "digest": digest.hexdigest(),
            "seconds": round(time.monotonic() - self.began, 1),
        }  # fmt: skip

    def say(self, text: str) -> None:
        # Plain: a step forward is no error, wherever it is written.
        self.stream.write(f"{time.monotonic() - self.began:6.1f} s  {text}", str)
        self.stream.flush()
