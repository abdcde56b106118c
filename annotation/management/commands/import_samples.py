"""manage.py import_samples FILE --source NAME --licence LICENCE [--shape SHAPE] [--map field=column …]"""

import json as json_module
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from annotation import imports, incoming, reading
from annotation.models import Import
from annotation.records import ImportRefused, ImportReport

# What a command may take: there is no page that waits.
SECONDS = 24 * 3600.0


def finish(command: BaseCommand, report: ImportReport, as_json: bool) -> None:
    if as_json:
        command.stdout.write(json_module.dumps(report.as_dict()))
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
        problems = [{"line": p.line, "field": p.field, "message": p.message, "code": p.code} for p in refused.problems]
        command.stdout.write(json_module.dumps({"refused": True, "total": refused.total, "problems": problems}))
    raise CommandError(f"{refused.total} problem(s); nothing was stored.", returncode=1)


def actor_named(username: str | None) -> User | None:
    if username is None:
        return None
    try:
        return User.objects.get(username=username, is_active=True)
    except User.DoesNotExist:
        raise CommandError(f"No active user is called {username!r}.", returncode=2) from None


class Command(BaseCommand):
    help = (
        "Import a file whatever tool wrote it: all of it, or nothing. What it is is found by looking at it. The same file again changes "
        "nothing. Without a worker: this process waits until it is done. Ends with status 1 when the file is refused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="a file, or a data-set folder of Hugging Face")
        parser.add_argument("--source", required=True, help="the data set's name; for documents the corpus's")
        parser.add_argument("--licence", required=True, help="its licence, for instance CDLA-Permissive-2.0")
        parser.add_argument("--shape", choices=sorted(reading.SHAPES), default="", help="what the rows are, where it is not found right")
        parser.add_argument("--map", action="append", default=[], metavar="FIELD=COLUMN", help="FIELD==TEXT is the same in every row")
        parser.add_argument("--group", default="other", help="of a corpus")
        parser.add_argument("--on-conflict", choices=sorted(imports.CONFLICTS), default="refuse", help="an id is stored with other content")
        parser.add_argument("--skip-bad-rows", action="store_true", help="leave out rows that cannot be stored, and say how many")
        parser.add_argument("--real", action="store_true", help="the texts are not synthetic")
        parser.add_argument("--no-quarantine", action="store_true", help="what the privacy scan finds is only counted")
        parser.add_argument("--dry-run", action="store_true", help="read and check all of it, store nothing")
        parser.add_argument("--actor", metavar="USERNAME", help="whom the audit trail names")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, file: Path, json: bool, actor: str | None, **options: Any) -> None:
        who = actor_named(actor)
        try:
            made = incoming.receive(path=file, actor=who)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}", returncode=2) from error
        except incoming.UploadRefused as refused:
            raise CommandError(str(refused), returncode=1) from refused
        try:
            made = self._configured(made, options)
        except ImportRefused as stopped:
            imports.refuse(made, stopped.problems, stopped.total)
            refuse(self, stopped, json)
        made = imports.at_once(imported=made, actor=who, dry=options["dry_run"], seconds=SECONDS)
        self._say(made, json)

    def _configured(self, made: Import, options: dict[str, Any]) -> Import:
        said = {"synthetic": not options["real"], "quarantine": not options["no_quarantine"], "on_conflict": options["on_conflict"]}
        said |= {"bad": "skip" if options["skip_bad_rows"] else "refuse", "group": options["group"]}
        return imports.recognise(
            imported=made, target=options["source"], licence=options["licence"], shape=options["shape"],
            mapping=dict(one.split("=", 1) for one in options["map"] if "=" in one), options=said,
        )  # fmt: skip

    def _say(self, made: Import, as_json: bool) -> None:
        counts = made.counts
        if made.state == "refused":
            for problem in counts["first"]:
                where = f"{problem['unit']} {problem['line']}" if problem["line"] else "The file"
                self.stderr.write(f"{where}{', ' + problem['field'] if problem['field'] else ''}: {problem['message']}")
        if as_json:
            told = {name: value for name, value in counts.items() if name not in ("lengths", "told")}
            about = {"id": str(made.public_id), "state": made.state, "content": made.content, "source": made.target}
            self.stdout.write(json_module.dumps({**about, "shape": made.shape, "format": made.format, "file_digest": made.sha256, **told}))
        elif "already_as" in counts:
            self.stdout.write(f"Already imported as {counts['already_as']}: 0 rows were added.")
        elif made.state == "stored":
            held = f", {counts['quarantined']} of them in quarantine" if counts["quarantined"] else ""
            held += f", {counts['bad_rows']} more left out" if counts["bad_rows"] else ""
            self.stdout.write(
                f"{counts['rows']} rows: {counts['stored']} stored{held}, {counts['already']} were there already, "
                f"{counts['warnings']} warnings."
            )
        elif counts.get("dry"):
            self.stdout.write(
                f"{counts['rows']} rows, {counts['warnings']} warnings, {counts['quarantined']} for the quarantine, "
                f"{counts['bad_rows']} more that would be left out: not stored."
            )
        if made.state == "refused":
            raise CommandError(f"{counts['problems']} problem(s); nothing was stored.", returncode=1)
