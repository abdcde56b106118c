"""manage.py rebuild_snapshot DIGEST: whether a snapshot still follows from what it was frozen from."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation import snapshots
from annotation.models import Snapshot


class Command(BaseCommand):
    help = (
        "Resolve a snapshot anew from the answers, flags and rulings it was frozen from, whatever was said since. "
        "Ends with status 1 when its digest comes out another, and 2 when it cannot be told."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("digest", help="the snapshot's digest, or the beginning of it")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, digest: str, **options: Any) -> None:
        found = list(Snapshot.objects.filter(digest__startswith=digest.lower())[:2])
        if len(found) != 1:
            raise CommandError("No snapshot begins like this." if not found else "Several snapshots begin like this.", returncode=2)
        (snapshot,) = found
        try:
            rebuilt = snapshots.rebuild(snapshot)
        except LookupError as untold:
            raise CommandError(str(untold), returncode=2) from None
        if options["json"]:
            self.stdout.write(json.dumps({"snapshot": snapshot.digest, "rebuilt": rebuilt, "same": rebuilt == snapshot.digest}))
        if rebuilt != snapshot.digest:
            raise CommandError(f"Rebuilt, it is {rebuilt}: something it rests on was changed.", returncode=1)
        if not options["json"]:
            self.stdout.write("The same, rebuilt from its evidence.")
