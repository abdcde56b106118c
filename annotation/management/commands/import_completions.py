"""manage.py import_completions FILE --source NAME"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation import completions
from annotation.management.commands.import_samples import actor_named, finish, refuse
from annotation.records import ImportRefused


class Command(BaseCommand):
    help = "Import what named systems wrote for stored samples: csv or JSONL with a sample id, a system and a text. All of it, or nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--source", required=True, help="the source under which the samples are stored")
        parser.add_argument("--id-column", default="id")
        parser.add_argument("--system-column", default="system")
        parser.add_argument("--text-column", default="text")
        parser.add_argument("--actor", metavar="USERNAME", help="whom the audit trail names")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, file: Path, source: str, actor: str | None, json: bool, **options: Any) -> None:
        columns = {name: options[f"{name}_column"] for name in ("id", "system", "text")}
        try:
            with file.open("rb") as stream:
                report = completions.import_external(
                    file=stream, filename=file.name, source=source, actor=actor_named(actor), columns=columns
                )
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}", returncode=2) from error
        except ImportRefused as refused:
            refuse(self, refused, json)
        else:
            finish(self, report, json)
