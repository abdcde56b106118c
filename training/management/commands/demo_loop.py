"""manage.py demo_loop: the whole loop on the tiny family, unattended, against a truth that is known."""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from training import demo, loop, workers


class Command(BaseCommand):
    help = (
        "Import toy samples, generate two answers each, let simulated raters with a planted preference and planted slips judge, freeze, "
        "train by DPO (and controls on shuffled labels), evaluate on held-out pairs against the planted truth, promote, roll back. "
        "Builds the tiny family first when there is none. Uses the running worker, or starts one for itself. "
        "Exit status 1 when the gate refuses."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="end with one JSON line of figures; progress goes to the error stream")
        parser.add_argument("--seed", type=int, default=1, help="moves samples, draws, slips and training (default 1)")
        parser.add_argument("--controls", type=int, default=3, choices=range(10), help="runs on shuffled labels (default %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        self.began = time.monotonic()
        self.stream = self.stderr if options["json"] else self.stdout
        demo.people()
        actor = User.objects.get(username="admin")
        try:
            with workers.ensured(say=self.say):
                loop.build_family(actor=actor, say=self.say)
                figures = loop.Loop(seed=options["seed"], controls=options["controls"], actor=actor, say=self.say).go()
        except (loop.LoopFailed, RuntimeError) as failure:
            raise CommandError(str(failure)) from None
        if options["json"]:
            self.stdout.write(json.dumps(figures))
        else:
            for name, value in figures.items():
                self.stdout.write(f"{name:<28} {value}")
        if not figures["promoted"]:
            raise CommandError("The gate refused: see the figures.", returncode=1)

    def say(self, text: str) -> None:
        # Plain: a step forward is no error, wherever it is written.
        self.stream.write(f"{time.monotonic() - self.began:6.1f} s  {text}", str)
        self.stream.flush()
