"""Does the unattended loop run to a proposal, survive a kill at every stage, and say the same of the same inputs?

Carries tests/journeys/test_unattended_loop.py through: simulated raters judge a toy campaign, which goes its way unharmed; while a copy of
it is frozen, trained, compared, asked the mini-suite and proposed, the sweeper or the worker at it is killed with SIGKILL, in training
after a checkpoint. Prints `seconds_to_proposal` (the unharmed one, from the moment its policy is switched on, every vote being there, to
its proposal; asked: at most 300), `stages_s` and `stages_cpu_s` (how long its stages took, and their processor seconds), `seconds_killed`
(the copy), `resumed_from` (the step at which its training went on) of `steps`, `stages_survived` (of 5), `proposals` (of the copy; exactly
1), `digests_equal` (whether the two came to the same lineage digest) and the machine's load before and after. Exit code 1 when a limit is
not kept.

With --family FOLDER it is told of the toy family: its taught SFT model writes two answers to each of 1,040 prompts, and the demo's recipe
trains on all that differ in what raters look at. Nobody errs, so that the copy is judged alike. FOLDER is as benchmarks/family_table.py
--keep leaves it; what is not there is built first. Neither that nor writing the answers counts in any figure. Without it the model is two
layers of 32, taught nothing: what is measured is the machinery. The unharmed round's worker does --slots jobs at a time.

Needs the engine's packages and a PostgreSQL (the embedded one unless DATABASE_URL names another) on which it may create and drop a
database of its own; about three minutes, and ten to build a family.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.journeys.loops import World
    from tests.workers import Processes
    from training.models import LoopRound

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import own_house

MOST_SECONDS = 300


def measure(folder: Path, family: Path | None, slots: int) -> dict[str, Any]:
    from django.conf import settings

    from tests.cast import person
    from tests.journeys import loops
    from tests.journeys import test_unattended_loop as story
    from tests.workers import Processes
    from training.models import LoopRound

    settings.DATA_DIR = folder
    processes, load, dan = Processes(folder), os.getloadavg()[0], person("dan", "trainer")
    try:
        world = loops.tiny_world(folder / "tiny", story.SAMPLES) if family is None else toy_world(processes, family)
        survived = story.killed_at_every_stage(processes, world, dan, slots=slots)
    finally:
        processes.stop_all()
    # The story has asserted each kill's end; what it left is counted again here.
    unharmed, killed = LoopRound.objects.order_by("pk")
    assert killed.run is not None
    assert killed.run.output is not None
    trained = killed.run.output.metrics
    return {
        "model": "the toy family's SFT model" if family else "two layers, untaught",
        "pairs": unharmed.snapshot.counts["used"] if unharmed.snapshot else {},
        "seconds_to_proposal": seconds(unharmed), **stages(unharmed), "seconds_killed": seconds(killed),
        "resumed_from": trained["resumed_from"], "steps": trained["steps"], "stages_survived": len(survived),
        "stages": survived, "proposals": LoopRound.objects.filter(loop=killed.loop, state="proposed").count(),
        "digests_equal": killed.lineage_digest == unharmed.lineage_digest, "lineage_digest": killed.lineage_digest,
        "load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1), "cpus": os.cpu_count(), "slots": slots,
    }  # fmt: skip


def seconds(one: LoopRound) -> float:
    assert one.proposed_at is not None
    return round((one.proposed_at - one.loop.switched_on_at).total_seconds(), 1)


def stages(one: LoopRound) -> dict[str, Any]:
    """By stage how long it took, from its job's first attempt to its end, and its processor seconds. Stages overlap where slots allow."""
    assert one.run is not None
    assert one.evaluation is not None
    took = {"freeze": round((one.created_at - one.loop.switched_on_at).total_seconds(), 1)}
    cpu: dict[str, float] = {}
    suites = {f"suite of {made.version.name}": made.job for made in one.suite_runs.select_related("version", "job").order_by("pk")}
    for name, job in ({"train": one.run.job, "evaluate": one.evaluation.job} | suites).items():
        assert job.started_at is not None
        assert job.ended_at is not None
        took[name] = round((job.ended_at - job.started_at).total_seconds(), 1)
        cpu[name] = round(job.result["cpu_seconds"], 1)
    return {"stages_s": took, "stages_cpu_s": cpu, "cpu_s": round(sum(cpu.values()), 1)}


def toy_world(processes: Processes, family: Path) -> World:
    """The family's SFT model and two draws of its answers, written by a worker that is stopped again."""
    from benchmarks import family_table
    from modelhub import artifacts, versions
    from modelhub.models import Kind
    from tests.journeys import loops
    from tests.journeys.toys import done
    from tests.workers import wait_until
    from training import demo, generations

    if not (family / "1" / "sft" / "output").is_dir():
        print("building the family first (not counted)", flush=True)
        family_table.build(family / "1", "demo", 1, 2)
    start = versions.register(
        name="toy-sft", kind=Kind.SFT, artifact=artifacts.save(artifacts.stage(folder=family / "1" / "sft" / "output")), toy=True,
        licence="Apache-2.0", actor=None,
    )  # fmt: skip
    prompts = generations.choose(counts=demo.TOY_PROMPTS, source=demo.toy_samples(actor=None))
    batches = [demo.answers(version=start, prompts=prompts, label=f"draw {n}", seed=n, actor=None) for n in (1, 2)]
    processes.start_worker("writing", slots=1)
    processes.start_sweeper()
    jobs = [job for batch in batches if (job := generations.job_of(batch))]
    wait_until(lambda: done(*jobs), seconds=1800, why="both draws are written")
    processes.stop_all()
    return loops.World(start, batches, preset="demo", pairs_needed=300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--family", type=Path, help="tell it of the toy family, which is kept in this folder")
    parser.add_argument("--slots", type=int, default=2, help="how many jobs the unharmed round's worker does at a time (default: 2)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    with own_house.standing("loop", services=True) as folder:
        found = measure(folder, arguments.family, arguments.slots)
    for name, value in found.items():
        print(f"{name:<20} {value}")
    if arguments.json:
        print(json.dumps(found))
    kept = found["seconds_to_proposal"] <= MOST_SECONDS and found["proposals"] == 1 and found["digests_equal"]
    if not kept:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
