"""`manage.py import_model FOLDER`: a model, or a LoRA adapter, from outside becomes a model version."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from modelhub import imports
from modelhub.errors import Corrupt, NameTaken, Refused
from modelhub.models import Kind, ModelVersion


class Command(BaseCommand):
    help = (
        "Take in a folder that save_pretrained wrote: any causal language model that transformers knows, weights in safetensors, "
        "no code of its own; or, with --adapter-of, a LoRA adapter for a model that is here. The folder is only read; its files are copied "
        "into the store. Importing it again changes nothing. "
        "Exit code 0: imported or already here; 1: refused, with the file and the reason; nothing was registered."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="the model folder, with config.json, *.safetensors and the tokenizer")
        parser.add_argument("--name", help="its name in Rounds (default: the folder's)")
        parser.add_argument(
            "--kind",
            choices=[kind for kind in Kind.values if kind != Kind.ADAPTER],
            default=Kind.BASE,
            help="what it is in a lineage (default: base)",
        )
        parser.add_argument("--licence", help="its licence (default: what its README names)")
        parser.add_argument("--adapter-of", metavar="NAME", help="the folder is a LoRA adapter for this model version")
        parser.add_argument("--same-base", action="store_true", help="that is the adapter's base, though the adapter calls it otherwise")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = self._import(options)
        except Refused as refusal:
            raise CommandError(self._refusal(refusal, as_json=options["json"])) from None
        except Corrupt as damaged:
            raise CommandError(str(damaged)) from None
        except NameTaken as taken:
            raise CommandError(f"{taken} Use --name.") from None
        version = done.version
        if options["json"]:
            self.stdout.write(
                json.dumps(
                    {
                        "version": str(version.public_id), "name": version.name, "architecture": version.architecture,
                        "parameters": version.parameters, "bytes": version.artifact.bytes, "digest": version.artifact.digest,
                        "licence": version.licence, "left_out": list(done.left_out),
                        "removed": done.removed, "already": done.already,
                    }
                )
            )  # fmt: skip
            return
        verb = "is here already" if done.already else "was imported"
        what = f"{version.architecture}, {version.parameters:,} parameters, digest {version.artifact.digest[:12]}"
        self.stdout.write(f"{version.name} {verb}: {what}.")
        if done.left_out:
            self.stdout.write(f"Not taken: {', '.join(done.left_out)}.")
        if done.removed:
            self.stdout.write(done.removed)
        if not version.licence:
            self.stdout.write("No licence is named; say it with --licence before you share what comes of this model.")

    @staticmethod
    def _import(options: dict[str, Any]) -> imports.Imported:
        common = {"folder": options["folder"], "name": options["name"], "licence": options["licence"]}
        if not options["adapter_of"]:
            return imports.import_folder(kind=options["kind"], **common)
        base = ModelVersion.objects.select_related("artifact").filter(name=options["adapter_of"]).first()
        if base is None:
            raise CommandError(
                f"There is no model called “{options['adapter_of']}”. Import the adapter's base first, or give its name here."
            )
        return imports.import_adapter(base=base, same_base=options["same_base"], **common)

    @staticmethod
    def _refusal(refusal: Refused, *, as_json: bool) -> str:
        if as_json:
            return json.dumps({"refused": refusal.code, "file": refusal.file, "message": refusal.message})
        return f"Refused ({refusal.code}). {refusal}"
