"""manage.py freeze_snapshot CAMPAIGN --name NAME [filters]: freeze what a campaign's judgements say now, from the command line."""

import json
import time
from argparse import ArgumentParser
from datetime import date
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from annotation import freeze_jobs, snapshots
from annotation.filters import Asked
from annotation.management.commands.import_samples import actor_named
from annotation.models import Campaign, Snapshot
from jobs.models import State

LOOK_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Freeze a campaign's judgements as they are now; the same content again is the snapshot that is there. Many pairs "
        "(ROUNDS_FREEZE_AT_ONCE) are frozen by a job, which is waited for, or with --no-wait only asked for. Ends with status 1 when "
        "nothing was frozen."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("campaign", type=UUID, help="the campaign's id, as its address has it")
        parser.add_argument("--name", required=True, help="of the snapshot")
        parser.add_argument("--min-judgements", type=int, default=1, metavar="N", help="pairs with so many votes (default: 1)")
        parser.add_argument("--min-margin", type=float, default=0.0, metavar="M", help="how much surer raters are of the chosen side")
        parser.add_argument("--task-type", dest="task_types", action="append", default=[], metavar="TYPE", help="may be said repeatedly")
        parser.add_argument("--document-type", dest="document_types", action="append", default=[], metavar="TYPE")
        parser.add_argument("--field", dest="fields", action="append", default=[], help="votes of raters of this field")
        parser.add_argument("--since", type=date.fromisoformat, metavar="DAY", help="votes from this day on (UTC)")
        parser.add_argument("--until", type=date.fromisoformat, metavar="DAY", help="votes up to this day")
        parser.add_argument("--exclude-external", action="store_true", help="no imported judgements")
        parser.add_argument("--exclude-simulated", action="store_true", help="no simulated raters")
        parser.add_argument("--drop-near-identical", action="store_true", help="no pairs whose two texts are nearly the same")
        parser.add_argument("--hold-out-raters", type=float, default=0.0, metavar="SHARE", help="whose votes train nothing, 0 to 0.5")
        parser.add_argument("--hold-out-seed", type=int, default=1, metavar="N", help="of their draw (default: 1)")
        parser.add_argument("--no-wait", action="store_true", help="do not wait for the job")
        parser.add_argument("--actor", metavar="USERNAME", help="whom the audit trail names")
        parser.add_argument("--json", action="store_true", help="end with one JSON line")

    def handle(self, *args: Any, campaign: UUID, name: str, actor: str | None, **options: Any) -> None:
        found = Campaign.objects.filter(public_id=campaign).first()
        if found is None:
            raise CommandError("There is no such campaign.", returncode=2)
        asked = Asked(**{key: options[key] for key in Asked.__annotations__ if options[key] or key == "hold_out_seed"})  # type: ignore[typeddict-item]
        try:
            if not freeze_jobs.is_long(found):
                self._say(snapshots.freeze(campaign=found, name=name, actor=actor_named(actor), **asked), options["json"])
                return
            job = freeze_jobs.start(campaign=found, name=name, actor=actor_named(actor), **asked)
        except (snapshots.FreezeRefused, ValueError) as refused:
            raise CommandError(str(refused), returncode=1) from refused
        while not options["no_wait"] and not job.ended:
            time.sleep(LOOK_SECONDS)
            job.refresh_from_db()
        if job.state == State.SUCCEEDED and (frozen := freeze_jobs.snapshot_of(job)):
            self._say(frozen, options["json"])
        elif job.ended:
            raise CommandError(f"Nothing was frozen: {job.error_code or 'it was stopped'}. {job.error_detail}".strip(), returncode=1)
        else:
            self.stdout.write(json.dumps({"job": str(job.public_id)}) if options["json"] else f"Asked for, as job {job.public_id}.")

    def _say(self, frozen: Snapshot, as_json: bool) -> None:
        rows = sum(frozen.counts["used"].values())
        told = {"snapshot": str(frozen.public_id), "digest": frozen.digest, "rows": rows, **frozen.counts}
        self.stdout.write(
            json.dumps(told) if as_json else f"{frozen.digest}: {rows} rows, {sum(frozen.counts['dropped'].values())} left out."
        )
