"""A large campaign is counted and frozen for its loop by a worker: once, only when there is enough, and without the sweeper waiting."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role, User
from annotation import freeze_jobs, memberships, snapshots
from annotation.models import Campaign, Sample, Snapshot, Verdict
from jobs import claims, submissions
from jobs.models import Job
from tests.annotation import build as annotating
from tests.cast import person
from tests.threads import at_once
from tests.training import build, looping
from tests.workers import done_here
from training import loop_policies, loop_rounds
from training.models import LoopPolicy, LoopRound

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def few_are_many(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATA_DIR = tmp_path
    settings.ROUNDS_FREEZE_AT_ONCE = 5
    monkeypatch.setattr(loop_rounds, "LOOKING", float("inf"))
    monkeypatch.setattr(loop_rounds, "_next_count", {})


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """Thirty pairs, of which 26 are judged; 24 may be trained on, and so at least twenty of the judged."""
    build.version(tmp_path / "made", "ward-sft")
    return looping.judged(pairs=30, train=24, answered=26)


@pytest.fixture
def train(campaign: Campaign) -> int:
    """How many of the judged may be trained on: it hangs on the order in which they were handed out."""
    judged = campaign.assignments.filter(state="submitted", pair__prompt__sample__split="train").count()
    assert 20 <= judged <= 24
    return judged


@pytest.fixture
def loop(campaign: Campaign) -> LoopPolicy:
    return looping.policy(campaign, pairs_needed=16)


@pytest.fixture
def nothing_is_planned_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks counts and compares nothing: that is the worker's."""

    def planned(**_: Any) -> None:
        raise AssertionError("a large campaign is planned by a worker")

    monkeypatch.setattr(snapshots, "plan", planned)


def the_job() -> Job:
    return Job.objects.filter(kind=freeze_jobs.KIND).order_by("-pk")[0]


def freezes() -> int:
    return Job.objects.filter(kind=freeze_jobs.KIND).count()


def judge_one_more(campaign: Campaign) -> None:
    held = annotating.lease(campaign, User.objects.get(username="rater"))
    annotating.submitted(held, Verdict.FIRST_MUCH)


def test_a_worker_counts_and_freezes_and_the_round_begins_on_what_it_froze(loop: LoopPolicy, train: int, as_dan: Client) -> None:
    told = at_once(*[loop_rounds.look] * 3)
    assert not [one for one in told if isinstance(one, Exception)], told
    assert (freezes(), LoopRound.objects.count(), Snapshot.objects.count()) == (1, 0, 0)
    page = as_dan.get(f"/campaigns/{loop.campaign.public_id}/loop/").text
    assert f'<a href="/jobs/{the_job().public_id}/">A job</a> is counting its votes' in page
    # Its page of freezing shows what people asked for, and not this.
    assert str(the_job().public_id) not in as_dan.get(f"/campaigns/{loop.campaign.public_id}/freeze/").text
    job = done_here(the_job())
    assert (job.state, job.requested_by) == ("succeeded", None)
    assert job.result["ready"] == {"pairs": train, "new": train, "fresh": 0, "needed": 16, "first": True, "unasked": False}
    loop_rounds.look()
    one = LoopRound.objects.get()
    assert one.run is not None
    assert one.snapshot == freeze_jobs.snapshot_of(job) == Snapshot.objects.get()
    assert one.snapshot.name == f"{loop.campaign.name}, round 1"
    assert one.snapshot.counts["used"]["train"] == train
    # Nothing was judged since: the round that has begun is the only one, and no other job is asked for.
    looping.carried_on(one)
    loop_rounds.look()
    assert (freezes(), LoopRound.objects.count()) == (1, 1)


def test_what_was_frozen_before_raters_were_held_out_begins_no_round(
    loop: LoopPolicy, campaign: Campaign, as_dan: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_rounds, "LOOKING", float("inf"))
    loop_rounds.look()
    assert "snapshot" in done_here(the_job()).result
    looping.policy(campaign, pairs_needed=16, hold_out_raters=0.2)
    loop_rounds.look()
    assert (freezes(), LoopRound.objects.count()) == (1, 0), "a single rater judged: it waits, and counts nothing"
    page = as_dan.get(f"/campaigns/{campaign.public_id}/loop/").text
    assert "here it is 1. It waits for another." in page
    other = person("other", Role.ANNOTATOR)
    memberships.add(campaign=campaign, users=[other], actor=None)
    annotating.submitted(annotating.lease(campaign, other), Verdict.FIRST_MUCH)
    loop_rounds.look()
    assert (freezes(), LoopRound.objects.count()) == (2, 0)
    assert the_job().spec["filters"]["hold_out_raters"] == 0.2
    assert "counted" not in as_dan.get(f"/campaigns/{campaign.public_id}/loop/").text.replace("is counting", ""), "not yet for this share"
    # The share is changed under way: what the job found is not kept, and its failure would stop nobody.
    loop = looping.policy(campaign, pairs_needed=16, hold_out_raters=0.5)
    job = done_here(the_job())
    assert (job.state, job.result["not_kept"]) == ("succeeded", "The policy holds out another share of the raters by now.")
    failed: dict[str, Any] = {"state": "failed", "error_code": "freeze_refused", "error_detail": "Nothing is left.", "result": {}}
    annotating.rewrite(Job.objects.filter(pk=job.pk), **failed)
    loop_rounds.look()
    loop.refresh_from_db()
    assert (loop.active, freezes()) == (True, 3)


@pytest.mark.usefixtures("nothing_is_planned_here")
def test_looking_and_the_loops_page_plan_nothing(loop: LoopPolicy, as_dan: Client) -> None:
    loop_rounds.look()
    loop_rounds.look()
    assert freezes() == 1
    for address in ("", "?count=1"):
        assert as_dan.get(f"/campaigns/{loop.campaign.public_id}/loop/{address}").status_code == 200


def test_what_is_not_enough_is_not_kept_and_asked_again_only_after_more_was_judged(campaign: Campaign, train: int, as_dan: Client) -> None:
    # Of those that were judged two teach nothing.
    judged = campaign.assignments.filter(state="submitted", pair__prompt__sample__split="train")
    Sample.objects.filter(pk__in=judged.values("pair__prompt__sample")[:2]).update(withdrawn_at="2026-01-01T00:00:00Z")
    loop = looping.policy(campaign, pairs_needed=train)
    loop_rounds.look()
    job = done_here(the_job())
    assert job.state == "succeeded"
    assert job.result["not_kept"] == f"{train - 2} of {train} new training pairs are there."
    assert "snapshot" not in job.result
    assert not Snapshot.objects.exists()
    loop_rounds.look()
    assert (freezes(), LoopRound.objects.count()) == (1, 0)
    page = as_dan.get(f"/campaigns/{campaign.public_id}/loop/").text
    assert job.result["not_kept"] in page
    assert f'As <a href="/jobs/{job.public_id}/">a job</a> counted' in page
    judge_one_more(campaign)
    loop_rounds.look()
    assert freezes() == 2
    assert loop.rounds.count() == 0


def test_no_job_counts_what_cannot_be_enough(campaign: Campaign, train: int) -> None:
    looping.policy(campaign, pairs_needed=train + 1)
    loop_rounds.look()
    assert freezes() == 0


def test_counting_again_waits_its_share_of_time(loop: LoopPolicy, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_rounds, "ready", lambda *_: loop_rounds.Ready(pairs=15, new=15, fresh=0, needed=16, first=True))
    loop_rounds.look()
    done_here(the_job())
    judge_one_more(campaign)
    for share, asked in ((1e-6, 1), (float("inf"), 2)):
        monkeypatch.setattr(loop_rounds, "_next_count", {})
        monkeypatch.setattr(loop_rounds, "LOOKING", share)
        loop_rounds.look()
        assert freezes() == asked


def test_a_job_that_failed_switches_the_policy_off_until_somebody_switches_it_on(loop: LoopPolicy) -> None:
    loop_rounds.look()
    claims.fail(build.claimed(the_job()), code="out_of_memory", detail="")
    loop_rounds.look()
    loop.refresh_from_db()
    assert not loop.active
    assert loop.why_stopped == f"“Freeze {loop.campaign.name}” failed: out_of_memory."
    assert freezes() == 1
    loop_policies.resume(loop=loop, actor=None)
    loop_rounds.look()
    assert freezes() == 2
    # One that somebody cancels is not asked for again until there is something else to count.
    submissions.cancel(job=the_job(), actor=None)
    loop_rounds.look()
    assert freezes() == 2
    judge_one_more(loop.campaign)
    loop_rounds.look()
    assert freezes() == 3


def test_what_can_never_be_frozen_switches_it_off_in_words(loop: LoopPolicy) -> None:
    User.objects.filter(username="rater").update(simulated=True)
    loop_rounds.look()
    assert done_here(the_job()).error_code == "freeze_refused"
    loop_rounds.look()
    loop.refresh_from_db()
    assert not loop.active
    assert loop.why_stopped.startswith("Simulated raters judged in this campaign")


def test_a_round_that_came_to_nothing_is_counted_anew(loop: LoopPolicy) -> None:
    loop_rounds.look()
    done_here(the_job())
    loop_rounds.look()
    one = LoopRound.objects.get()
    assert one.run is not None
    submissions.cancel(job=one.run.job, actor=None)
    # The look that ends it asks for the next count; its pairs are new again.
    loop_rounds.look()
    assert freezes() == 2
    done_here(the_job())
    loop_rounds.look()
    second = LoopRound.objects.get(number=2)
    assert second.snapshot == one.snapshot
