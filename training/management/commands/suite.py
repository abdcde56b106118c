"""manage.py suite --model NAME: the mini-suite asked of models as jobs, and the table of what they said beside what they were made from."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation.management.commands.import_samples import actor_named
from modelhub.models import ModelVersion
from training import loop, suiteruns, suitetables, workers


class Command(BaseCommand):
    help = (
        "Ask models the mini-suite: twelve tasks in the shapes of CLUE+ (arXiv 2505.10717), forty questions each, about the toy world. A "
        "model that was asked by the same settings is not asked again. Ends with the table of each against what it was made from. Uses "
        "the running worker, or starts one."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", action="append", default=[], metavar="NAME", help="a model version, by name; may be repeated")
        parser.add_argument("--family", metavar="NAME", help="every model of a family that is built here, and what was trained from it")
        parser.add_argument("--table", action="store_true", help="ask nobody: print what stands; of one model beside all it was made from")
        parser.add_argument("--again", action="store_true", help="ask also those whose result stands")
        parser.add_argument("--actor", metavar="USERNAME", help="whom the jobs belong to")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        versions = self._versions(options)
        if options["table"]:
            if len(versions) == 1:
                versions = suitetables.lineage_of(versions[0])
        else:
            self._ask(versions, options)
        shown = suitetables.table(versions, focus=versions[-1])
        if options["json"]:
            self.stdout.write(json.dumps(suitetables.as_json(shown)))
        else:
            self.stdout.write("\n".join(suitetables.as_markdown(shown)))

    def _versions(self, options: dict[str, Any]) -> list[ModelVersion]:
        if not (options["model"] or options["family"]):
            raise CommandError("Say --model NAME, or --family NAME.", returncode=2)
        found: dict[int, ModelVersion] = {}
        for name in options["model"]:
            version = ModelVersion.objects.filter(name=name).first()
            if version is None:
                raise CommandError(f"No model version is called {name!r}.", returncode=2)
            found[version.pk] = version
        if options["family"]:
            family = suitetables.of_family(options["family"])
            if not family:
                raise CommandError(f"No family is called {options['family']!r}.", returncode=2)
            found |= {version.pk: version for version in family}
        return suitetables.in_order(found.values())

    def _ask(self, versions: list[ModelVersion], options: dict[str, Any]) -> None:
        actor = actor_named(options["actor"])
        try:
            asked = [suiteruns.start(version=version, actor=actor, again=options["again"]) for version in versions]
            waiting = [run.job.pk for run in asked if run.finished_at is None]
            if waiting:
                with workers.ensured(say=self.stderr.write):
                    loop.wait_for(waiting)
        except (suiteruns.NotAskable, loop.LoopFailed, RuntimeError) as failure:
            raise CommandError(str(failure)) from None
