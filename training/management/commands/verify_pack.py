"""manage.py verify_pack: is an evidence pack whole, and does its verdict follow from its votes? Nothing that is in the pack is run."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.evidence import verify


class Command(BaseCommand):
    help = (
        "Verify an evidence pack with the verifier of this installation: nothing that is in the pack is run. Exit code 0: not a byte has "
        "changed and the verdict follows from the votes; 1: the wrong files are named. Where no Rounds is, verify.py does the same."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("pack", help="the zip, or the folder it was unpacked into")
        parser.add_argument("--digest", default="", help="the pack's digest, as the study's evidence page and the audit trail have it")

    def handle(self, *args: Any, **options: Any) -> None:
        report = verify.verify(options["pack"], digest=options["digest"])
        if report.faults:
            raise CommandError(verify.tell(report))
        self.stdout.write(verify.tell(report))
