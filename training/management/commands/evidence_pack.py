"""manage.py evidence_pack: everything a study's verdict rests on, as one zip that anybody can verify without Rounds."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from training.evidence import pack
from training.models import Study


class Command(BaseCommand):
    help = (
        "Write the evidence pack of a study that has ended, and print its digest. Whoever runs this owns the machine; the pack is recorded "
        "in the audit trail with its digest. Verify it with verify_pack, or anywhere with the verify.py in it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("study", help="the study's number, or its id as in its page's address")
        parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the zip goes; a file that is there is kept")

    def handle(self, *args: Any, **options: Any) -> None:
        study = self._named(options["study"])
        try:
            made = pack.assemble(study)
            with options["out"].open("xb") as out:
                for block in made.archive.blocks():
                    out.write(block)
        except pack.NotPacked as problem:
            raise CommandError(str(problem)) from None
        except FileExistsError:
            raise CommandError(f"{options['out']} is there already; nothing is overwritten.") from None
        except OSError as error:
            raise CommandError(f"{options['out']} cannot be written: {error.strerror}.") from None
        pack.record(study=study, digest=made.digest, actor=None, via="command")
        self.stdout.write(f"{options['out']}: {len(made.files)} files, {made.archive.size:,} bytes. Digest {made.digest}")

    def _named(self, name: str) -> Study:
        try:
            wanted: dict[str, Any] = {"pk": int(name)} if name.isdecimal() else {"public_id": UUID(name)}
        except ValueError:
            raise CommandError(f"“{name}” is no study's number and no id.") from None
        study = Study.objects.filter(**wanted).first()
        if study is None:
            raise CommandError(f"There is no study {name}.")
        return study
