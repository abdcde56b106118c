"""`manage.py verify_models`: every stored file is read and hashed; what is damaged is named."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from modelhub import verification
from modelhub.models import ModelVersion


class Command(BaseCommand):
    help = (
        "Read every file of the artifact store that a model names and compare it with its SHA-256. A damaged model is mended by importing "
        "it again, or from a backup. Exit code 0: all is whole; 1: something is damaged, each file named."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", help="only these model versions")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = None
        if options["names"]:
            wanted = list(ModelVersion.objects.select_related("artifact").filter(name__in=options["names"]))
            if missing := set(options["names"]) - {version.name for version in wanted}:
                raise CommandError(f"There is no model called “{sorted(missing)[0]}”.")
        files, damaged = verification.verify(versions=wanted)
        if options["json"]:
            found = [{"file": one.file, "sha256": one.sha256, "what": one.what, "versions": list(one.versions)} for one in damaged]
            self.stdout.write(json.dumps({"files": files, "damaged": found}))
        else:
            for one in damaged:
                self.stdout.write(f"{one}.")
            self.stdout.write(f"{files} files read, {len(damaged)} damaged.")
        if damaged:
            raise CommandError("Import the models named above again, or restore the files from a backup.")
