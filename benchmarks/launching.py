"""Does a run take what its launch promised? Real DPO of a tiny model on a real worker: a probe, then one run after another.

Prints each run's promise (before it, from what was known then), what it took, and how far off the promise was; `third_run_error` is the
third one's, of which ±30 % is asked. Runs differ in length, so that a promise is more than the last run's time. Needs the engine's
packages and a PostgreSQL (the embedded one unless DATABASE_URL names another) on which it may create and drop a database of its own;
a minute of CPU a run. On a machine that does other work the figures are that machine's.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import own_house

EPOCHS = (4.0, 8.0, 6.0, 12.0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=3, choices=range(1, len(EPOCHS) + 1), help="how many runs after the probe")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args()


def measure(runs_wanted: int, folder: Path) -> dict[str, Any]:
    from django.conf import settings

    from tests.cast import person
    from tests.journeys.toys import done
    from tests.training import build
    from tests.workers import Processes, wait_until
    from training import estimates, runs
    from training.models import Run

    settings.DATA_DIR = folder
    processes = Processes(folder)
    try:
        processes.start_worker(slots=1)
        processes.start_sweeper()
        base = runs.build(
            kind="build-base", name="small-base", label="Build small-base",
            params={"steps": 10, "batch_size": 4, "block": 64, "learning_rate": 3e-3, "hidden_size": 64, "layers": 2},
            models={}, publish={"kind": "base", "toy": True, "simulated": False, "roles": {}, "corpus": "toy corpus base"}, waits_for=[],
            seed=1, preset="", actor=None,
        )  # fmt: skip
        wait_until(lambda: done(base.job), seconds=240, why="the base is built")
        policy = Run.objects.get(pk=base.pk).output
        assert policy is not None
        trainer, snapshot = person("trainer", "trainer"), build.snapshot(pairs=96)
        changes = {"batch_size": 4}
        probe = runs.probe(snapshot=snapshot, policy=policy, preset="demo", changes=changes, actor=trainer)
        wait_until(lambda: done(probe), seconds=240, why="three steps are measured")
        rows = []
        for number, epochs in enumerate(EPOCHS[:runs_wanted], start=1):
            run = runs.start(
                snapshot=snapshot, policy=policy, preset="demo", name=f"run-{number}", changes=changes | {"epochs": epochs}, actor=trainer
            )
            wait_until(lambda job=run.job: done(job), seconds=600, why=f"run {number} ended")  # type: ignore[misc]
            run = Run.objects.for_page().get(pk=run.pk)
            kept = estimates.kept(run)
            assert kept is not None
            assert kept.took is not None
            promised = float(run.estimate["seconds"])
            rows.append({
                "run": number, "epochs": epochs, "basis": kept.basis, "promised": promised, "low": kept.low, "high": kept.high,
                "took": kept.took, "error": round(promised / kept.took - 1, 3), "within": kept.low <= kept.took <= kept.high,
            })  # fmt: skip
        return {"runs": rows, "third_run_error": rows[2]["error"] if len(rows) > 2 else None}
    finally:
        processes.stop_all()


def main() -> None:
    arguments = parse()
    with own_house.standing("launching", services=True) as folder:
        found = measure(arguments.runs, folder)
    print("run  epochs  promised (range)            took   error  known from")
    for row in found["runs"]:
        promise = f"{row['promised']:6.1f} s ({row['low']:.0f} to {row['high']:.0f})"
        print(f"{row['run']:>3}  {row['epochs']:>6}  {promise:<26} {row['took']:6.1f} s {row['error']:+7.1%}  {row['basis']}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
