"""`manage.py export_model NAME --to FOLDER`: a model version as the folder that transformers or PEFT opens."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from modelhub import cards, exports, recasting
from modelhub.errors import Corrupt
from modelhub.models import ModelVersion


class Command(BaseCommand):
    help = (
        "Write a model version as a folder that from_pretrained opens: configuration, tokenizer, safetensors, its card as README.md, "
        "rounds.json and SHA256SUMS (check them with sha256sum -c). The folder must be new or empty; it is written whole or not at all. "
        "Exit code 0: written; 1: refused or damaged, with the reason; nothing was written."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the version's name, or its number (public id)")
        parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where to: a new or empty folder")
        parser.add_argument("--format", choices=exports.FORMATS, default="hf", help="the whole model (hf, the default) or its LoRA adapter")
        parser.add_argument("--dtype", choices=recasting.DTYPES, help="write weights in this precision (default: as they are stored)")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        version = self._named(options["name"])
        to: Path = options["to"]
        try:
            done = exports.write(version=version, to=to, form=options["format"], dtype=options["dtype"])
        except (exports.NotExported, Corrupt) as problem:
            raise CommandError(str(problem)) from None
        except OSError as problem:
            raise CommandError(f"{to} could not be written: {problem.strerror}. Nothing is left of it.") from None
        lacks = cards.of(version, adapter=options["format"] == "adapter").missing
        if options["json"]:
            said = {"version": str(version.public_id), "files": len(done.files), "bytes": done.bytes, "digest": done.digest}
            self.stdout.write(json.dumps(said | {"missing": list(lacks)}))
            return
        self.stdout.write(f"{version.name} was written to {to}: {len(done.files)} files, {done.bytes:,} bytes.")
        for what in lacks:
            self.stdout.write(f"The card lacks: {what}.")

    @staticmethod
    def _named(name: str) -> ModelVersion:
        found = ModelVersion.objects.select_related("artifact", "adapter")
        version = found.filter(name=name).first()
        if version is None:
            try:
                version = found.filter(public_id=UUID(name)).first()
            except ValueError:
                version = None
        if version is None:
            raise CommandError(f"No model version is called “{name}”.")
        return version
