"""`manage.py collect_garbage`: how much room the store gives to files that no model names, and with --delete its way back."""

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from modelhub import garbage
from web.templatetags.rounds import size


class Command(BaseCommand):
    help = (
        "Show what the artifact store holds and what of it no model version names. With --delete, mark that, and remove what an earlier "
        "call marked more than the grace period ago; run it weekly, for example by cron. Safe while imports and jobs run. Versions are "
        "never deleted, archived or not, and the store that hosts share (ROUNDS_ARTIFACT_STORE) is not touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing (the default)")
        parser.add_argument("--delete", action="store_true", help="mark, and remove what was marked before the grace period")
        parser.add_argument("--grace-days", type=float, default=garbage.GRACE.days, help="how long a file stays after it was marked (7)")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["delete"] and options["dry_run"]:
            raise CommandError("Choose one of --delete and --dry-run.")
        # An import writes its row minutes after its files; an hour is a grace period, less is none.
        if options["grace_days"] < 1 / 24:
            raise CommandError("The grace period must be at least an hour (--grace-days 0.042): imports under way need it.")
        grace = timedelta(days=options["grace_days"])
        found = garbage.collect(grace=grace) if options["delete"] else garbage.look(grace=grace)
        if options["json"]:
            self.stdout.write(json.dumps({"deleted": options["delete"], **asdict(found)}))
            return

        def told(heap: garbage.Heap) -> str:
            return f"{heap.files} files, {size(heap.bytes)}"

        if options["delete"]:
            self.stdout.write(f"Removed: {told(found.removed)}.")
        self.stdout.write(f"Named by models: {told(found.kept)}.")
        self.stdout.write(f"Named by none: {told(found.unnamed)}; of these {told(found.marked)} wait for their grace period to end.")
        if not options["delete"]:
            self.stdout.write(
                f"A call with --delete would remove {told(found.due)}, and {told(found.left_over)} of writers that were killed."
            )
