"""manage.py import_samples FILE --source NAME --licence LICENCE"""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from annotation import samples
from annotation.records import ImportRefused, ImportReport


def finish(command: BaseCommand, report: ImportReport, as_json: bool) -> None:
    if as_json:
        command.stdout.write(json.dumps(report.as_dict()))
        return
    command.stdout.write(
        f"{report.rows} rows: {report.stored} stored, {report.already} were there already, {report.warning_count} warnings."
    )
    for problem in report.warnings:
        command.stderr.write(f"warning: {problem}")


def refuse(command: BaseCommand, refused: ImportRefused, as_json: bool) -> None:
    """Print every problem and leave with status 1: nothing was stored."""
    for problem in refused.problems:
        command.stderr.write(str(problem))
    if as_json:
        problems = [{"line": p.line, "field": p.field, "message": p.message} for p in refused.problems]
        command.stdout.write(json.dumps({"refused": True, "total": refused.total, "problems": problems}))
    raise CommandError(f"{refused.total} problem(s); nothing was stored.", returncode=1)


def actor_named(username: str | None) -> User | None:
    if username is None:
        return None
    try:
        return User.objects.get(username=username, is_active=True)
    except User.DoesNotExist:
        raise CommandError(f"No active user is called {username!r}.", returncode=2) from None


class Command(BaseCommand):
    help = "Import MediFlow-shaped samples from a JSONL file: all of it, or nothing. Importing the same file again changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--source", required=True, help="the data set's name")
        parser.add_argument("--licence", required=True, help="its licence, for instance CDLA-Permissive-2.0")
        parser.add_argument("--real", action="store_true", help="the texts are not synthetic")
        parser.add_argument("--actor", metavar="USERNAME", help="whom the audit trail names")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, file: Path, source: str, licence: str, real: bool, actor: str | None, json: bool, **options: Any) -> None:
        try:
            with file.open("rb") as stream:
                report = samples.import_jsonl(file=stream, source=source, licence=licence, actor=actor_named(actor), synthetic=not real)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}", returncode=2) from error
        except ImportRefused as refused:
            refuse(self, refused, json)
        else:
            finish(self, report, json)
