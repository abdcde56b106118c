"""Judgements become a proposal by themselves, though whoever is at work is killed at every stage; once, and the same again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from accounts.models import User
from annotation.models import Snapshot
from jobs import attempts
from jobs.models import Attempt, Job, State
from modelhub import aliases
from modelhub.models import AliasMove, AliasName, ModelVersion
from tests.journeys import loops
from tests.journeys.loops import World
from tests.journeys.toys import done
from tests.workers import Processes, wait_until
from training import loop_digests, loop_policies
from training.engine import checkpoints
from training.models import Evaluation, LoopPolicy, LoopRound, Promotion, Run, SuiteRun

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]
# Enough that training takes steps after its first checkpoint.
SAMPLES = 240


def running(kind: str) -> Job | None:
    """The job of this kind whose child has said something."""
    return Job.objects.filter(kind=kind, state=State.RUNNING).exclude(phase="").first()


def checkpointed(kind: str) -> Job | None:
    """The job of this kind whose running attempt has written a whole checkpoint, and has not ended training."""
    job = running(kind)
    if job is None:
        return None
    written = list(attempts.folder_of(job, job.attempts).glob(f"{checkpoints.FOLDER}/ckpt-*/{checkpoints.MANIFEST}"))
    return job if written else None


def killed_at(
    processes: Processes, worker: str, kind: str, following: str, at: Callable[[str], Job | None] = running, every: float = 0.05
) -> Job:  # fmt: skip
    """Kill the worker in the middle of a job of `kind`; another takes its place."""
    wait_until(lambda: at(kind), seconds=900, why=f"a job of the kind {kind} runs", every=every)
    hit = running(kind)
    processes.kill(worker)
    assert hit is not None
    hit.refresh_from_db()
    assert hit.state == State.RUNNING
    processes.start_worker(following, slots=1)
    return hit


def policy(name: str, world: World, dan: User) -> LoopPolicy:
    campaign = loops.judged(name, world.batches)
    return loop_policies.put(
        campaign=campaign, active=True, pairs_needed=world.pairs_needed, policy=world.start, preset=world.preset, seed=1, actor=dan
    )


def state_of(loop: LoopPolicy) -> str:
    one = LoopRound.objects.filter(loop=loop).first()
    assert one is None or one.state != "failed", one.why_ended
    return one.state if one else ""


def proposed_in_peace(processes: Processes, world: World, dan: User, slots: int) -> LoopRound:
    """A round to its proposal, while nobody is killed."""
    processes.start_sweeper()
    processes.start_worker("calm", slots=slots)
    calm = policy("Toys", world, dan)
    wait_until(lambda: state_of(calm) == "proposed", seconds=900, why="the unharmed round is proposed")
    processes.stop_all()
    unharmed = LoopRound.objects.get()
    assert unharmed.run is not None
    assert unharmed.run.output is not None
    assert "resumed_from" not in unharmed.run.output.metrics
    return unharmed


def killed_at_every_stage(processes: Processes, world: World, dan: User, slots: int = 1) -> list[str]:
    """The story; the stages at which whoever was at work was killed, each noted once what it left was seen. No process runs yet.

    `slots`: of the first worker, which nobody kills.
    """
    survived = []
    # On a busy machine no beat may come for seconds.
    processes.environment["ROUNDS_LEASE_SECONDS"] = "10"
    aliases.move(name=AliasName.CHAMPION, to=world.start, actor=dan, expected=None, reason="The first")

    # Once unharmed, in a house where nothing was asked yet.
    unharmed = proposed_in_peace(processes, world, dan, slots)
    loop = policy("Toys, a copy", world, dan)

    # Freezing: the sweeper is killed while it waits for the campaign's row, and nothing is there.
    with loops.held(loop.campaign):
        processes.start_sweeper()
        loops.until_somebody_waits()
        processes.kill("sweeper")
        processes.start_worker("first", slots=1)
    assert not loop.rounds.exists()
    assert not loop.campaign.snapshots.exists()
    survived.append("snapshot")
    processes.start_sweeper()

    # Training: the worker and its child are killed after a checkpoint, and another goes on from there.
    trained = killed_at(processes, "first", "dpo", "second", at=checkpointed, every=0.01)
    # Comparing, asking: another worker begins the job anew.
    hit = [trained, killed_at(processes, "second", "evaluate", "third"), killed_at(processes, "third", "suite", "fourth")]

    # Proposing: the worker and the sweeper are killed while they wait for the round's row, after its last job has ended.
    one = loop.rounds.get()
    asked = [made.job for made in one.suite_runs.select_related("job")]
    assert len(asked) == 2
    with loops.held(one):
        # The one whose worker was killed may well come last: its lease has to run out first.
        wait_until(lambda: all(done(job) for job in asked), seconds=900, why="both have been asked", every=0.1)
        loops.until_somebody_waits()
        processes.kill("fourth")
        processes.kill("sweeper")
    assert state_of(loop) == "working"
    processes.start_sweeper()
    wait_until(lambda: state_of(loop) == "proposed", seconds=300, why="the round is proposed")

    one.refresh_from_db()
    seen_once(one, unharmed, world)
    for job in hit:
        assert list(Attempt.objects.filter(job=job).order_by("number").values_list("reason", flat=True)) == ["lease_expired", "succeeded"]
        survived.append(job.kind)
    survived.append("proposing")
    # The training went on in its middle, and was not begun anew.
    assert one.run is not None
    assert one.run.output is not None
    metrics = one.run.output.metrics
    assert metrics["steps"] > metrics["resumed_from"] >= 1
    resumed = Attempt.objects.filter(job=trained).order_by("number").values_list("resumed_from", flat=True)
    assert list(resumed) == [None, metrics["resumed_from"]]
    return survived


def seen_once(one: LoopRound, unharmed: LoopRound, world: World) -> None:
    """One of each a round, however often whoever was at work was killed; and what came of it is what came of the unharmed round."""
    assert one.run is not None
    assert unharmed.run is not None
    made, calm = one.run.output, unharmed.run.output
    assert made is not None
    assert calm is not None
    assert (Snapshot.objects.count(), Run.objects.count(), Evaluation.objects.count(), LoopRound.objects.count()) == (2, 2, 2, 2)
    assert ModelVersion.objects.filter(kind="dpo").count() == 2
    models = [made.name, calm.name, world.start.name]
    assert sorted(SuiteRun.objects.values_list("version__name", flat=True)) == sorted(models)
    assert Job.objects.exclude(state=State.SUCCEEDED).count() == 0
    # Nothing was promoted.
    assert aliases.current(AliasName.CHAMPION) == world.start
    assert AliasMove.objects.count() == 1
    assert not Promotion.objects.exists()

    # Killed or not: another model version of the same bytes, the same digest.
    assert made != calm
    assert made.artifact == calm.artifact
    assert one.lineage_digest == unharmed.lineage_digest == loop_digests.of(one)


def test_the_loop_runs_to_one_proposal_though_it_is_killed_at_every_stage(processes: Processes, tmp_path: Path, dan: User) -> None:
    told = killed_at_every_stage(processes, loops.tiny_world(tmp_path / "tiny", SAMPLES), dan)
    assert told == ["snapshot", "dpo", "evaluate", "suite", "proposing"]
