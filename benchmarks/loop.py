"""Does the unattended loop run to a proposal, survive a kill at every stage, and say the same of the same inputs?

Carries tests/journeys/test_unattended_loop.py through: simulated raters judge a toy campaign; while it is frozen, trained, compared, asked
the mini-suite and proposed, the sweeper or the worker at it is killed with SIGKILL; then a copy of the campaign goes its way unharmed.
Prints `seconds_to_proposal` (the copy, from the round's beginning to its proposal; asked: at most 300), `seconds_killed` (the same of the
round that was killed), `stages_survived` (of 5), `proposals` (of the killed campaign; exactly 1), `digests_equal` (whether the two came to
the same lineage digest) and the machine's load before and after. Exit code 1 when a limit is not kept.

The model is two layers of 32, taught nothing: what is measured is the machinery, and four children that each load torch. Needs the engine's
packages and a PostgreSQL (the embedded one unless DATABASE_URL names another) on which it may create and drop a database of its own; about
100 seconds of CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MOST_SECONDS = 300


def measure(folder: Path) -> dict[str, Any]:
    from django.conf import settings

    from tests.cast import person
    from tests.journeys import test_unattended_loop as story
    from tests.workers import Processes
    from training.models import LoopRound

    settings.DATA_DIR = folder
    processes, load = Processes(folder), os.getloadavg()[0]
    try:
        survived = story.killed_at_every_stage(processes, folder, person("dan", "trainer"))
    finally:
        processes.stop_all()
    # The story has asserted each kill's end; what it left is counted again here.
    killed, copy = LoopRound.objects.order_by("pk")
    seconds = [(one.proposed_at - one.created_at).total_seconds() for one in (copy, killed) if one.proposed_at]
    return {
        "seconds_to_proposal": round(seconds[0], 1), "seconds_killed": round(seconds[1], 1), "stages_survived": len(survived),
        "stages": survived, "proposals": LoopRound.objects.filter(loop=killed.loop, state="proposed").count(),
        "digests_equal": killed.lineage_digest == copy.lineage_digest, "lineage_digest": copy.lineage_digest,
        "load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1), "cpus": os.cpu_count(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    import django
    from django.db import connection

    import tests.cluster  # noqa: F401 (names the services)

    django.setup()
    before = connection.settings_dict["NAME"]
    connection.settings_dict.setdefault("TEST", {})["NAME"] = f"rounds_loop_{os.getpid()}"
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        with tempfile.TemporaryDirectory(prefix="rounds-loop-") as folder:
            found = measure(Path(folder))
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)
    for name, value in found.items():
        print(f"{name:<20} {value}")
    if arguments.json:
        print(json.dumps(found))
    kept = found["seconds_to_proposal"] <= MOST_SECONDS and found["proposals"] == 1 and found["digests_equal"]
    if not kept:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
