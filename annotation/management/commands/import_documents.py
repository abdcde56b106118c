"""manage.py import_documents [FILE] --corpus NAME --group GROUP --licence LICENCE"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation import corpora, documents
from annotation.management.commands.import_samples import actor_named, finish, refuse
from annotation.models import Group
from annotation.records import ImportRefused


class Command(BaseCommand):
    help = (
        "Import documents for experts to read, with the task outputs made of them: all of a file, or nothing. Importing the same again "
        "changes nothing. Formats: jsonl, one {id, title, text, outputs} a line; medquad, one {source, focus, qtype, question, answer} a "
        "line, plain or gzipped; pubmedqa, ori_pqal.json; icd10cm, no file, but the installed package simple-icd-10-cm."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, nargs="?")
        parser.add_argument("--format", choices=corpora.FORMATS, default="jsonl")
        parser.add_argument("--corpus", required=True, help="its name here")
        parser.add_argument("--group", required=True, choices=Group.values)
        parser.add_argument("--licence", required=True, help="for instance CC-BY-4.0")
        parser.add_argument("--source", default="", help="where it comes from, for people")
        parser.add_argument("--actor", metavar="USERNAME", help="whom the audit trail names")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, file: Path | None, format: str, actor: str | None, json: bool, **options: Any) -> None:
        about = {name: options[name] for name in ("corpus", "group", "licence", "source")}
        try:
            report = documents.import_rows(rows=corpora.reader(file, format), actor=actor_named(actor), **about)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}", returncode=2) from error
        except corpora.Unreadable as missing:
            raise CommandError(str(missing), returncode=2) from None
        except ImportRefused as refused:
            refuse(self, refused, json)
        else:
            finish(self, report, json)
