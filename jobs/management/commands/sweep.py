"""`manage.py sweep`: the process that keeps jobs moving when messages or workers are lost."""

import json
import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from jobs import patience, sweeper


class Command(BaseCommand):
    help = "Ring the bells of waiting jobs, take jobs back from workers that died, and end what was cancelled. Runs until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="pause between two passes (default: 2)")
        parser.add_argument("--once", action="store_true", help="one pass, then print what it did as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            did = sweeper.sweep()
            self.stdout.write(json.dumps({"another_sweeper_is_running": True} if did is None else did | sweeper.look()))
            return
        patience.limit_every_connection()
        # A plain list: a handler that took the lock of a threading.Event could find this very thread holding it.
        told: list[int] = []

        def note(number: int, frame: FrameType | None) -> None:
            told.append(number)

        signal.signal(signal.SIGTERM, note)
        signal.signal(signal.SIGINT, note)
        sweeper.run(stopped=lambda: bool(told), every=options["every"])
