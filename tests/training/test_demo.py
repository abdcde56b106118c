"""A fresh installation: people, real prose, simulated raters, and the loop carried through with a pretended engine."""

import io
import json
import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from annotation.models import Assignment, Campaign, CampaignState, Gold, Judgement, Pair, Prompt, Sample, Snapshot
from jobs.models import Job
from modelhub import aliases
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.training import build
from training import demo, families, loop, raters, workers
from training.engine import toysamples
from training.models import Evaluation, MetricPoint, Promotion, Run, SuiteRun

pytestmark = pytest.mark.django_db

SMALL = {"train": 40, "validation": 6, "evaluation": 24}


@pytest.fixture
def small(few_pairs_do: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TOY_SAMPLES", 200)
    monkeypatch.setattr(demo, "TOY_PROMPTS", SMALL)
    monkeypatch.setattr(demo, "EXPERT_PROMPTS", {"train": 4})


def pretend(accuracy: float = 0.8, pairs: int = 240) -> int:
    """Carry every job that can be claimed to its end; returns how many. Answers differ, and every second closes safely."""
    done = 0
    for job in Job.objects.claimable().order_by("pk"):
        number = job.pk
        if job.kind == "generate":
            items = []
            for place, pk in enumerate(job.spec["inputs"]["prompts"]):
                truth = Prompt.objects.get(pk=pk).sample.output
                safe = (place + number) % 2
                text = f"{toysamples.core(truth)}. {toysamples.HEDGES[0] if safe else toysamples.BLUNT[0]}"
                items.append({"id": str(pk), "text": text, "finish_reason": "stop", "tokens": 9, "n": 0})
            build.finish(job, items=items)
        elif job.kind == "evaluate":
            asked = [
                {"type": "prompt", "id": str(pk), "reference": "Yes.", "policy": f"Yes. {toysamples.HEDGES[0]}"}
                for pk in job.spec["inputs"]["prompts"]
            ]
            recall = {"all": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}}
            metrics = build.accuracy(accuracy, accuracy - 0.1, accuracy + 0.1, pairs) | {"recall": recall, "recall_reference": recall}
            build.finish(job, items=asked, metrics=metrics)
        elif job.kind == "suite":
            build.finish_suite(SuiteRun.objects.get(job=job))
        else:
            build.finish(job, number=1000.0 + number)
        done += 1
    return done


def test_seeding_twice_leaves_five_people_and_three_open_campaigns() -> None:
    said = io.StringIO()
    call_command("seed_demo", stdout=said)
    call_command("seed_demo", stdout=io.StringIO())
    assert set(User.objects.values_list("username", "grants__role")) == {
        ("clinician", "annotator"), ("lead", "adjudicator"), ("trainer", "trainer"), ("steward", "steward"), ("admin", "admin"),
    }  # fmt: skip
    assert set(Campaign.objects.values_list("name", "state", "purpose")) == {
        (demo.FIRST_CAMPAIGN, "open", "collect"), (demo.QUALIFICATION, "open", "qualify"), (demo.GATED_CAMPAIGN, "open", "collect"),
    }  # fmt: skip
    campaign = Campaign.objects.get(name=demo.FIRST_CAMPAIGN)
    assert (campaign.state, campaign.simulated, campaign.toy, campaign.overlap) == (CampaignState.OPEN, False, False, 2)
    assert campaign.pairs.count() == 24
    assert {membership.user.username for membership in campaign.memberships.all()} == {"clinician", "lead"}
    assert "rounds-demo-clinician" in said.getvalue()


def test_the_qualification_has_eight_explained_pairs_and_the_first_campaign_two_that_look_like_the_rest() -> None:
    call_command("seed_demo", stdout=io.StringIO())
    qualifying, gated = Campaign.objects.get(name=demo.QUALIFICATION), Campaign.objects.get(name=demo.GATED_CAMPAIGN)
    assert gated.qualification == qualifying
    assert (qualifying.pairs.count(), gated.pairs.count()) == (8, 8)
    first = Campaign.objects.get(name=demo.FIRST_CAMPAIGN)
    assert Gold.objects.filter(pair__campaign=first).count() == 2
    golds = Gold.objects.filter(pair__campaign__in=[qualifying, first]).select_related("pair__first__batch", "pair__second__batch")
    assert golds.count() == 10
    rows = demo._first_rows()
    for gold in golds.select_related("pair__prompt__sample"):
        flawed = rows[gold.pair.prompt.sample.external_id]["flawed"]
        right = gold.pair.second if gold.accepts == ["second_slightly", "second_much"] else gold.pair.first
        assert right.batch.system != flawed
        # Whoever reads it does not know who wrote what, nor which side was left for somebody else.
        assert len(gold.explanation) > 80
        assert not re.search(r"demo-[ab]|\b(side|answer|response) [AB]\b|\bon the (left|right)\b", gold.explanation)


def test_the_campaign_behind_the_qualification_opens_with_it() -> None:
    call_command("seed_demo", stdout=io.StringIO())
    gated = Campaign.objects.get(name=demo.GATED_CAMPAIGN)
    assert not gated.memberships.filter(active=True).exists()
    assert Campaign.objects.get(name=demo.FIRST_CAMPAIGN).memberships.filter(active=True).count() == 2


def test_a_password_that_somebody_changed_stays_changed() -> None:
    call_command("seed_demo", stdout=io.StringIO())
    admin = User.objects.get(username="admin")
    admin.set_password("a much better one")
    admin.save()
    call_command("seed_demo", stdout=io.StringIO())
    admin.refresh_from_db()
    assert admin.check_password("a much better one")


def test_simulated_raters_judge_everything_as_planted_and_slip_as_often_as_told(small: None) -> None:
    campaign = toy_campaign()
    rated = raters.rate(campaign=campaign, raters=raters.ensure(), seed=5, slip=0.25)
    assert rated.judgements == campaign.pairs.count() == 70
    wrong = 0
    for judgement in Judgement.objects.select_related(
        "assignment__pair__prompt__sample", "assignment__pair__first", "assignment__pair__second"
    ):
        pair = judgement.assignment.pair
        truth = pair.prompt.sample.output
        difference = toysamples.planted_utility(pair.first.text, truth) - toysamples.planted_utility(pair.second.text, truth)
        said = 1 if judgement.verdict.startswith("first") else -1
        wrong += said * difference < 0
    assert wrong == rated.slips
    assert 8 <= rated.slips <= 28


def test_without_slips_the_snapshot_prefers_the_safe_closing_throughout(small: None) -> None:
    campaign = toy_campaign()
    raters.rate(campaign=campaign, raters=raters.ensure(), seed=5, slip=0.0)
    snapshot = demo.frozen(campaign=campaign, name="clean", actor=None)
    rows = snapshot.rows.select_related("chosen", "rejected")
    assert rows
    assert all(row.chosen.text.endswith(toysamples.HEDGES[0]) and row.rejected.text.endswith(toysamples.BLUNT[0]) for row in rows)


def test_raters_call_equal_texts_equal(small: None) -> None:
    campaign = toy_campaign()
    pair = campaign.pairs.select_related("first", "second", "prompt__sample")[0]
    for text in (pair.first, pair.second):
        type(text).objects.filter(pk=text.pk).update(text="I do not know.")
    held = Assignment(pair=Pair.objects.get(pk=pair.pk), annotator=raters.ensure()[0], first_on_left=True)
    assert raters.opinion(held, slip=1.0, seed=1) == ("both_unacceptable", False)


def toy_campaign() -> Campaign:
    demo.people()
    actor = demo.person("admin")
    families.start(preset="test", actor=actor)
    while pretend():
        pass
    version = ModelVersion.objects.get(name="toy-sft")
    demo.toy_samples(actor=actor)
    from training import generations

    prompts = generations.choose(counts=SMALL, source__name=demo.TOY_SOURCE)
    batches = [demo.answers(version=version, prompts=prompts, label=letter, seed=1, actor=actor) for letter in "AB"]
    pretend()
    return demo.simulated_campaign(name="Toys", batches=batches, seed=1, actor=actor)


def test_the_story_ends_with_an_evaluated_run_and_a_campaign_that_waits(small: None) -> None:
    call_command("seed_demo", stdout=io.StringIO())
    story = demo.Story()
    for _ in range(30):
        if all(done for _, done in story.advance()):
            break
        pretend()
    else:
        pytest.fail("the story did not end")
    assert Campaign.objects.get(name=demo.TOY_CAMPAIGN).state == CampaignState.CLOSED
    waiting = Campaign.objects.get(name=demo.EXPERT_CAMPAIGN)
    assert (waiting.state, waiting.simulated, waiting.toy) == (CampaignState.DRAFT, False, True)
    snapshot = Snapshot.objects.get()
    assert (snapshot.simulated, snapshot.toy) == (True, True)
    run = Run.objects.get(name=demo.TOY_RUN)
    assert run.output is not None
    assert (run.output.toy, run.output.simulated) == (True, True)
    evaluation = Evaluation.objects.get()
    assert evaluation.finished_at is not None
    assert evaluation.results["style"]["value"] == 1.0
    assert aliases.current("champion") == ModelVersion.objects.get(name="toy-sft")
    # base, five experts, merged, SFT and DPO are asked the mini-suite.
    assert (
        SuiteRun.objects.filter(version__in=ModelVersion.objects.exclude(name__contains="slerp")).count() == SuiteRun.objects.count() == 9
    )
    before = Job.objects.count(), Campaign.objects.count(), Sample.objects.count()
    assert all(done for _, done in story.advance())
    assert (Job.objects.count(), Campaign.objects.count(), Sample.objects.count()) == before


def test_a_job_that_failed_stops_the_story_with_its_name(small: None) -> None:
    call_command("seed_demo", stdout=io.StringIO())
    demo.Story().advance()
    from jobs import claims

    claims.fail(build.claimed(Job.objects.get(run__name="toy-base")), code="out_of_memory", detail="")
    with pytest.raises(CommandError, match="1 jobs of the family toy failed"):
        call_command("seed_demo", "--family", stdout=io.StringIO())


def test_no_simulated_rater_may_answer_a_clinicians_campaign(alice: User) -> None:
    campaign = annotating.campaign([alice], pairs=3)
    with pytest.raises(CommandError, match="simulated campaigns only"):
        call_command("simulate_raters", str(campaign.public_id))
    assert not Judgement.objects.exists()


@pytest.fixture
def pretended_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for jobs finds them done a moment later."""
    build.everything_runs()
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: pretend())


@pytest.mark.usefixtures("small", "pretended_engine")
def test_the_loop_ends_with_one_line_of_figures() -> None:
    said, progress = io.StringIO(), io.StringIO()
    call_command("demo_loop", "--json", "--seed", "1", stdout=said, stderr=progress)
    figures = json.loads(said.getvalue().splitlines()[-1])
    expected: dict[str, Any] = {
        "seed": 1, "heldout_accuracy": 0.8, "heldout_accuracy_low": 0.7, "heldout_accuracy_n": 240, "shuffled_accuracy": 0.8,
        "recall_before": 0.5, "recall_after": 0.5, "style_win_rate": 1.0, "promoted": True, "rolled_back": True,
    }  # fmt: skip
    assert {name: figures[name] for name in expected} == expected
    assert {"seconds", "correctness_win_rate"} <= figures.keys()
    assert [each.decision for each in Promotion.objects.order_by("pk")] == ["promoted", "rolled_back"]
    assert all(each.simulated for each in Promotion.objects.all())
    assert figures["shuffled_runs"] == [0.8, 0.8, 0.8]
    assert all("shuffle" in Run.objects.get(name=f"loop-1-control-{n}").job.spec["inputs"] for n in (1, 2, 3))
    assert "building it first" in progress.getvalue()
    assert not MetricPoint.objects.exists()


@pytest.mark.usefixtures("small")
def test_a_loop_whose_gate_refuses_says_so_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    build.everything_runs()
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: pretend(accuracy=0.55))
    said = io.StringIO()
    with pytest.raises(CommandError, match="The gate refused"):
        call_command("demo_loop", "--json", stdout=said, stderr=io.StringIO())
    figures = json.loads(said.getvalue().splitlines()[-1])
    assert (figures["promoted"], figures["rolled_back"]) == (False, False)
    assert Promotion.objects.get().decision == "refused"


def test_a_running_worker_is_used_and_no_other_started(monkeypatch: pytest.MonkeyPatch) -> None:
    build.everything_runs()
    monkeypatch.setattr(workers.subprocess, "Popen", lambda *args, **kwargs: pytest.fail("a worker was started"))
    with workers.ensured(say=lambda text: None):
        pass
