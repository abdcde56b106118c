"""`manage.py loop`: where the unattended loops stand, or one look at all of them."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from training import loop_rounds
from training.models import LoopPolicy


class Command(BaseCommand):
    help = (
        "`status` prints, as JSON, every campaign's policy with its rounds. `step` takes every step that can be taken now, as the "
        "sweeper does every two seconds, and prints how many; running it beside the sweeper does nothing twice. Neither promotes anything."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["status", "step"], nargs="?", default="status", help="default: status")

    def handle(self, *args: Any, **options: Any) -> None:
        told = loop_rounds.look() if options["what"] == "step" else {"loops": [_told(loop) for loop in _loops()]}
        self.stdout.write(json.dumps(told, indent=1))


def _loops() -> Any:
    return LoopPolicy.objects.select_related("campaign").prefetch_related("rounds__run__output").order_by("pk")


def _told(loop: LoopPolicy) -> dict[str, Any]:
    return {
        "campaign": str(loop.campaign.public_id), "active": loop.active, "why_stopped": loop.why_stopped, "pairs_needed": loop.pairs_needed,
        "hold_out_raters": loop.hold_out_raters, **loop.params,
        "rounds": [
            {
                "id": str(one.public_id), "number": one.number, "state": one.state, "why_ended": one.why_ended,
                "run": one.run.name if one.run else None, "made": one.run.output.name if one.run and one.run.output else None,
                "lineage": one.lineage_digest,
            }
            for one in loop.rounds.all()
        ],
    }  # fmt: skip
