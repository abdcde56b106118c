"""`manage.py plan_run`: what a run would need, before there is anything to run it on."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from modelhub.models import ModelVersion
from training import footprints, plans, presets
from training.engine.errors import SpecError
from training.engine.footprint import Unknown

CANNOT = 2


class Command(BaseCommand):
    help = (
        "Print parameters, steps, memory, disk and compute of a run, each with its formula, from a model's config.json and a recipe. "
        "Needs no weights, no GPU and no data. Exit code 0: it fits the machine (or the GPU named with --gpu-memory); 1: it does not; "
        "2: it cannot be planned, because of the file, the architecture or the recipe."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        model = parser.add_mutually_exclusive_group(required=True)
        model.add_argument("--config", type=Path, help="a config.json, or a model folder that holds one")
        model.add_argument("--model", help="the name of a registered model version")
        parser.add_argument("--preset", default="clinic", help=f"the recipe: {', '.join(preset.key for preset in presets.ALL)}")
        parser.add_argument("--full", action="store_true", help="train all weights in place of a LoRA adapter")
        parser.add_argument("--pairs", type=int, default=1000, help="training rows (default: 1000)")
        parser.add_argument(
            "--tokens", type=int, default=2048, help="tokens of the longest row's longer side, prompt included (default: 2048)"
        )
        parser.add_argument("--prompt", type=int, default=0, help="how many of them are the prompt (default: 0, the careful answer)")
        parser.add_argument("--processes", type=int, default=1, help="processes that train side by side (default: 1)")
        parser.add_argument("--gpu-memory", type=float, metavar="GB", help="plan for a GPU with this much memory (default: as configured)")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            planned = plans.plan(
                config=self._config(options), preset=options["preset"], full=options["full"],
                pairs=options["pairs"], tokens=options["tokens"], prompt=options["prompt"], processes=options["processes"],
                room=plans.room(gpu_memory_gb=options["gpu_memory"]),
            )  # fmt: skip
        except KeyError as unknown:
            raise CommandError(f"There is no recipe {unknown}.", returncode=CANNOT) from None
        except (Unknown, SpecError) as why:
            raise CommandError(f"Cannot be planned: {why}.", returncode=CANNOT) from None
        self.stdout.write(json.dumps(planned.as_json()) if options["json"] else "\n".join(planned.lines()))
        if planned.check.stops:
            raise CommandError("It does not fit.", returncode=1)

    @staticmethod
    def _config(options: dict[str, Any]) -> dict[str, Any]:
        if options["model"]:
            version = ModelVersion.objects.select_related("artifact").filter(name=options["model"]).first()
            if version is None:
                raise CommandError(f"No model version is called {options['model']}.", returncode=CANNOT)
            return footprints.config_of(version)
        path: Path = options["config"] / "config.json" if options["config"].is_dir() else options["config"]
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as why:
            raise CommandError(f"{path} cannot be read as JSON ({type(why).__name__}).", returncode=CANNOT) from None
        if not isinstance(found, dict):
            raise CommandError(f"{path} holds no JSON object.", returncode=CANNOT)
        return found
