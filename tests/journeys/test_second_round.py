"""Three rounds of a loop with real training: from the same model while it is champion, from the next once people have promoted one."""

from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from annotation import campaigns, freeze_jobs
from annotation.models import Campaign, GenerationBatch
from jobs.models import Attempt, Job
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from tests.cast import signed_in
from tests.journeys import loops
from tests.workers import Processes, wait_until
from training import loop_policies, loop_rounds
from training.models import LoopPolicy, LoopRound

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1500)]
FIRST, MORE = 60, 40


def policy(campaign: Campaign, dan: User) -> LoopPolicy:
    """Every round starts from whoever is champion then."""
    return loop_policies.put(campaign=campaign, active=True, pairs_needed=12, policy="champion", preset="test", seed=1, actor=dan)


def proposed(loop: LoopPolicy, number: int) -> LoopRound:
    def state() -> str:
        one = LoopRound.objects.filter(loop=loop, number=number).first()
        assert one is None or one.state != "failed", one.why_ended
        return one.state if one else ""

    wait_until(lambda: state() == "proposed", seconds=500, why=f"round {number} is proposed")
    return LoopRound.objects.for_page().get(loop=loop, number=number)


def output(one: LoopRound) -> ModelVersion:
    assert one.run is not None
    assert one.run.output is not None
    return one.run.output


def started_from(one: LoopRound) -> tuple[ModelVersion | None, ModelVersion, ModelVersion]:
    """What was trained, what it was compared with, and round 0."""
    assert one.run is not None
    assert one.evaluation is not None
    assert one.anchor is not None
    return one.run.policy, one.evaluation.reference, one.anchor.reference


def test_a_second_round_starts_from_the_champion_and_a_third_from_the_next(
    processes: Processes, tmp_path: Path, settings: Any, dan: User
) -> None:
    settings.ROUNDS_FREEZE_AT_ONCE = 20
    processes.environment |= {"ROUNDS_LEASE_SECONDS": "5", "ROUNDS_FREEZE_AT_ONCE": "20"}
    base = loops.toy_base(tmp_path / "tiny")
    aliases.move(name=AliasName.CHAMPION, to=base, actor=dan, expected=None, reason="The first")
    campaign = loops.judged("Toys", loops.two_answers(FIRST + MORE, by=base), limit=FIRST)
    processes.start_sweeper()
    processes.start_worker("first", slots=2)
    loop = policy(campaign, dan)

    one = proposed(loop, 1)
    assert started_from(one) == (base, base, base)
    assert one.anchor == one.evaluation
    # It was frozen by a worker, for it is large here.
    frozen = Job.objects.get(kind=freeze_jobs.KIND)
    assert freeze_jobs.snapshot_of(frozen) == one.snapshot

    # Nobody promotes it, and the same votes begin no second round.
    loop_rounds.dismiss(one=one, actor=dan, reason="Let more be judged first.")
    assert loop_rounds.ready(loop).missing == "0 of 12 new training pairs are there."
    # Paused while they judge: it would begin as soon as there is enough, and not at the last vote.
    loop_policies.pause(loop=loop, actor=dan)
    campaigns.extend(campaign=campaign, actor=dan, more_pairs=MORE)
    loops.answered(campaign)
    # Three tenths of what it trains on are new, and compare the champion's texts: a second one begins, from the same model.
    ready = loop_rounds.ready(loop)
    assert (ready.first, ready.missing) == (False, "")
    assert 0.3 * ready.pairs <= ready.fresh == ready.new < ready.pairs
    loop_policies.resume(loop=loop, actor=dan)
    two = proposed(loop, 2)
    assert started_from(two) == (base, base, base)
    assert one.snapshot is not None
    assert two.snapshot is not None
    assert two.snapshot.counts["used"]["train"] == ready.pairs == one.snapshot.counts["used"]["train"] + ready.new
    assert output(two).artifact != output(one).artifact

    # People promote it. No text of it was judged here, so that this campaign has no third round; one that is derived from it has.
    aliases.move(name=AliasName.CHAMPION, to=output(two), actor=dan, expected=base, reason="As if it were better")
    assert loop_rounds.ready(loop).fresh == 0
    texts: list[GenerationBatch] = loops.two_answers(FIRST, seed=5, by=output(two))
    following = campaigns.open(campaign=campaigns.derive(campaign=campaign, name="Toys, again", actor=dan, batches=texts), actor=dan)
    loops.answered(following)
    on = policy(following, dan)
    three = proposed(on, 1)
    assert started_from(three) == (output(two), output(two), base)
    assert output(three).artifact != output(two).artifact
    assert sorted(made.version.name for made in three.suite_runs.all()) == sorted(m.name for m in (output(three), output(two), base))
    assert [gate["code"] for gate in three.gates if gate["code"].startswith("G")] == ["G1", "G2", "G3", "G4", "G5", "G6"]
    # Its page tells both: against the champion, and since round 0.
    page = signed_in(dan).get(f"/proposals/{three.public_id}/").text
    assert "Since round 0" in page
    assert f"Against the champion, {output(two).name}" in page
    assert "Against round 0, tiny-base" in page
    assert page.count("Asked the mini-suite: ") == 3
    assert Attempt.objects.exclude(reason="succeeded").count() == 0
