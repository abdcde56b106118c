"""`manage.py lineage`: what fed a thing or what it reached, as text, PROV-JSON or a drawing."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from training.provenance import drawing, facts, prov, search
from training.provenance.facts import Facts
from training.provenance.kinds import KINDS
from training.provenance.walk import walk


class Command(BaseCommand):
    help = (
        "Print what fed a model, snapshot, run or any other thing, or what it reached. Name it as people do (a name, a sample's id, the "
        "beginning of a digest) or by kind and key as in its page's address (model/1f0c…). No clinical text and no rater's name is "
        "printed. Exit code 1: nothing, or more than one thing, is called that."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what it is called, or KIND/KEY")
        parser.add_argument("--direction", choices=["up", "down"], help="up: what fed it; down: what it reached (default: as on its page)")
        parser.add_argument("--format", choices=["text", "prov", "svg"], default="text", help="default: text")
        parser.add_argument("--kind", choices=sorted(KINDS), help="of several things called so, the one of this kind")
        parser.add_argument("--output", type=Path, metavar="FILE", help="write to a file; one that is there is replaced")

    def handle(self, *args: Any, **options: Any) -> None:
        root = self._named(options["name"], options["kind"])
        direction = options["direction"] or facts.usual_direction(root.kind)
        graph = walk(kind=root.kind, pk=root.pk, direction=direction, user=None)
        if options["format"] == "prov":
            written = json.dumps(prov.document(graph), ensure_ascii=False, indent=1)
        else:
            drawn = drawing.draw(graph)
            written = drawing.as_file(drawn) if options["format"] == "svg" else drawing.as_text(drawn)
        if options["output"] is None:
            self.stdout.write(written)
            return
        try:
            options["output"].write_text(written, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}.") from None
        self.stderr.write(f"{len(graph.nodes):,} things in {options['output']}.")

    def _named(self, name: str, kind: str | None) -> Facts:
        start, _, key = name.partition("/")
        if key and (pk := facts.find(start, key)) is not None:
            return facts.of([(start, pk)])[start, pk]
        found = [hit for hit in search.hits(name, user=None) if kind in (None, hit.kind)]
        # A whole name beats a part of one; of a run and the model it made, the model is meant.
        exact = [hit for hit in found if hit.label == name] or found
        if models := [hit for hit in exact if hit.kind == "model" and hit.label == name]:
            exact = models
        if not exact:
            raise CommandError(f"Nothing is called “{name}”, and no digest begins with it.")
        if len(exact) > 1:
            several = ", ".join(f"{hit.kind}/{hit.key} ({hit.label})" for hit in exact[:8])
            raise CommandError(f"“{name}” may mean {len(exact)} things; name one by kind and key: {several}.")
        return exact[0]
