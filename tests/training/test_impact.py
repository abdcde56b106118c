"""My impact: one's own judgements followed to what came of them; no name of a model, and nothing that would prejudice."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from annotation import campaigns, judgements, snapshots
from annotation.answers import Answer
from annotation.models import Assignment, Campaign, Judgement, Snapshot, Verdict
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.training import build
from training import evaluations, impact, runs
from training.models import Evaluation, Run

pytestmark = pytest.mark.django_db
ADDRESS = "/me/impact/"


def text(client: Client) -> str:
    response = client.get(ADDRESS)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def judged(alice: User, *, pairs: int = 8, **options: Any) -> Campaign:
    made = annotating.campaign([alice], pairs=pairs, **options)
    for _ in range(pairs):
        annotating.judge(made, alice)
    return made


def frozen(alice: User, **options: Any) -> Snapshot:
    made = judged(alice, pairs=40, **options)
    campaigns.close(campaign=made, actor=None)
    return snapshots.freeze(campaign=made, name="Names frosty-model", actor=None)


@pytest.fixture
def policy(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "frosty-sft")


def trained(snapshot: Snapshot, policy: ModelVersion) -> Run:
    build.everything_runs()
    run = runs.start(snapshot=snapshot, policy=policy, preset="demo", name="frosty-dpo", actor=None)
    build.finish(run.job)
    return Run.objects.get(pk=run.pk)


def compared(run: Run, snapshot: Snapshot) -> Evaluation:
    assert run.output is not None
    assert run.policy is not None
    evaluation = evaluations.start(policy=run.output, reference=run.policy, snapshot=snapshot, actor=None)
    return build.finish_evaluation(evaluation, value=0.61, low=0.54, high=0.67, n=212)


# --- what came of it ---------------------------------------------------------------------------------------------------------------------


def test_before_the_first_judgement_it_says_what_will_happen(as_alice: Client, alice: User) -> None:
    annotating.campaign([alice], pairs=2)
    page = text(as_alice)
    assert "You have not judged a pair yet" in page
    assert "into a data set when their campaign closes, into a model" in page


def test_an_open_campaign_says_what_comes_next(as_alice: Client, alice: User) -> None:
    judged(alice, pairs=3, deadline=timezone.localdate() + timedelta(days=3))
    page = text(as_alice)
    assert "3 judgements of yours. The campaign is still open until" in page
    assert "Next: a trainer closes it and freezes its judgements into a data set" in page


def test_it_follows_judgements_from_closing_to_comparison(as_alice: Client, alice: User, policy: ModelVersion) -> None:
    made = judged(alice, pairs=40)
    campaigns.close(campaign=made, actor=None)
    assert "Next: a trainer freezes its judgements into a data set" in text(as_alice)
    snapshot = snapshots.freeze(campaign=made, name="Names frosty-model", actor=None)
    page = text(as_alice)
    assert "Next: a model is trained on what was frozen" in page
    assert "40 of the 40 rows of snapshot" in page
    assert snapshot.digest[:8] in page

    build.everything_runs()
    run = runs.start(snapshot=snapshot, policy=policy, preset="demo", name="frosty-dpo", actor=None)
    assert "A model is being trained on it" in text(as_alice)
    build.finish(run.job)
    run.refresh_from_db()
    assert "A model was trained on it. Next: it is compared" in text(as_alice)
    compared(run, snapshot)
    page = text(as_alice)
    assert "The trained model agrees with its raters on 61 % of 212 held-out pairs" in page
    assert "54 % to 67 %" in page


def test_it_names_no_model_no_run_and_no_snapshot(as_alice: Client, alice: User, policy: ModelVersion) -> None:
    snapshot = frozen(alice)
    compared(trained(snapshot, policy), snapshot)
    page = text(as_alice)
    assert "61 %" in page
    assert "frosty" not in page
    assert not any(batch in page for batch in ("-north", "-south"))


def test_a_control_on_shuffled_labels_says_nothing_about_judgements(as_alice: Client, alice: User, policy: ModelVersion) -> None:
    snapshot = frozen(alice)
    run = trained(snapshot, policy)
    compared(run, snapshot)
    job = run.job
    job.spec["inputs"]["shuffle"] = 1
    type(job).objects.filter(pk=job.pk).update(spec=job.spec)
    page = text(as_alice)
    assert "61 %" not in page
    assert "Next: a model is trained on what was frozen" in page


def test_only_rows_that_rest_on_ones_own_answers_count(as_alice: Client, alice: User, bob: User) -> None:
    made = annotating.campaign([alice, bob], pairs=10)
    for rater, many in ((alice, 3), (bob, 7)):
        for _ in range(many):
            annotating.judge(made, rater)
    campaigns.close(campaign=made, actor=None)
    snapshots.freeze(campaign=made, name="Both", actor=None)
    assert "3 of the 10 rows of snapshot" in text(as_alice)
    assert impact.of(user=bob).in_snapshots == 7


def test_an_answer_that_was_changed_after_the_freezing_is_still_in_it(alice: User) -> None:
    made = judged(alice, pairs=6)
    snapshots.freeze(campaign=made, name="Early", actor=None)
    last = Judgement.objects.latest("pk")
    judgements.amend(judgement=last, verdict=Verdict.SECOND_MUCH, key=uuid4())
    campaigns.close(campaign=made, actor=None)
    assert impact.of(user=alice).in_snapshots == 6


def test_while_one_judges_the_same_writers_it_waits(as_alice: Client, alice: User, policy: ModelVersion) -> None:
    snapshot = frozen(alice, source="first", systems=("north", "south"))
    compared(trained(snapshot, policy), snapshot)
    assert "61 %" in text(as_alice)
    # The same writers, by their texts for the same samples.
    batches = {pair.first.batch for pair in snapshot.campaign.pairs.all()} | {pair.second.batch for pair in snapshot.campaign.pairs.all()}
    again = campaigns.create(name="Again", guideline=annotating.GUIDELINE, batches=batches, overlap=1, members=[alice], actor=None, seed=3)
    assert "61 %" in text(as_alice)
    campaigns.open(campaign=again, actor=None)
    page = text(as_alice)
    assert "61 %" not in page
    assert "you judge texts by the same writers in a campaign that is still running" in page
    campaigns.pause(campaign=again, actor=None)
    assert "61 %" not in text(as_alice)
    campaigns.close(campaign=again, actor=None)
    assert "61 %" in text(as_alice)


def test_a_qualification_does_not_keep_it_back(as_alice: Client, alice: User, policy: ModelVersion) -> None:
    snapshot = frozen(alice)
    compared(trained(snapshot, policy), snapshot)
    qualifying = annotating.qualification([alice], pairs=2)
    annotating.judge(qualifying, alice)
    assert "61 %" in text(as_alice)
    assert "Qualify for letters" not in text(as_alice)


def test_a_closed_study_tells_how_often_clinicians_preferred_the_trained_models_text(
    as_alice: Client, alice: User, bob: User, policy: ModelVersion
) -> None:
    snapshot = frozen(alice)
    run = trained(snapshot, policy)
    study = annotating.campaign([bob], pairs=40, purpose="study", name="Before and after")
    for number in range(40):
        annotating.judge(study, bob, Verdict.SECOND_MUCH if number < 28 else Verdict.FIRST_SLIGHTLY)
    assert run.output is not None
    before, after = study.pairs.first().first.batch, study.pairs.first().second.batch  # type: ignore[union-attr]
    type(before).objects.filter(pk=before.pk).update(system="", version=run.policy)
    type(after).objects.filter(pk=after.pk).update(system="", version=run.output)
    assert "blinded comparison" not in text(as_alice)
    campaigns.close(campaign=study, actor=None)
    page = text(as_alice)
    assert "In a blinded comparison clinicians preferred the trained model’s text in 70 % of 40 judgements" in page
    assert "frosty" not in page


# --- oneself -----------------------------------------------------------------------------------------------------------------------------


def repeats(alice: User, count: int, same: int) -> None:
    """`count` pairs asked twice with sides swapped, of which `same` got the same answer."""
    made = annotating.campaign([alice], pairs=count, repeat_share=0.5, repeat_after_hours=0)
    for number in range(count):
        first = annotating.judge(made, alice, Verdict.FIRST_MUCH).assignment
        again = Assignment.objects.create(
            campaign=made, pair=first.pair, annotator=alice, first_on_left=not first.first_on_left, repeat=1, lease_number=1,
            slot=first.pair.slots.create(
                campaign=made, number=9, position=0, kind="repeat", first_on_left=not first.first_on_left, reserved_for=alice, repeat=1,
                open=False,
            ),
            expires_at=timezone.now() + timedelta(hours=1),
        )  # fmt: skip
        verdict = Verdict.FIRST_MUCH if number < same else Verdict.SECOND_MUCH
        judgements.submit(assignment=again, verdict=verdict, key=uuid4())


def test_consistency_is_told_from_ten_repeats_on(as_alice: Client, alice: User) -> None:
    repeats(alice, 9, 6)
    assert "n too small" in text(as_alice)
    found = impact.of(user=alice).consistency.same_side
    assert (found.value, found.n) == (None, 9)


def test_consistency_comes_with_its_interval(as_alice: Client, alice: User) -> None:
    repeats(alice, 12, 9)
    found = impact.of(user=alice).consistency
    assert (found.same_side.value, found.same_side.n) == (0.75, 12)
    page = text(as_alice)
    assert '<td class="num">75 %</td><td class="num">47 % to 91 %</td><td class="num">12</td>' in page


def test_the_left_share_is_of_ones_own_preferences(as_alice: Client, alice: User) -> None:
    made = annotating.campaign([alice], pairs=30)
    for number in range(30):
        held = annotating.lease(made, alice)
        left = Verdict.FIRST_SLIGHTLY if held.first_on_left else Verdict.SECOND_SLIGHTLY
        right = Verdict.SECOND_SLIGHTLY if held.first_on_left else Verdict.FIRST_SLIGHTLY
        judgements.submit(assignment=held, verdict=left if number < 24 else right, key=uuid4())
    share = impact.of(user=alice).left.share
    assert (share.value, share.n) == (0.8, 30)
    assert "Yours leans to one side by more than chance explains" in text(as_alice)


def test_nobody_sees_anothers(as_alice: Client, alice: User, bob: User) -> None:
    judged(bob, pairs=3)
    assert "You have not judged a pair yet" in text(as_alice)
    assert json.loads(as_alice.get(ADDRESS + "data/").content)["judgements"] == []


def test_its_queries_do_not_grow_with_campaigns(
    as_alice: Client, alice: User, django_assert_num_queries: Callable[[int], Any], policy: ModelVersion
) -> None:
    snapshot = frozen(alice)
    compared(trained(snapshot, policy), snapshot)
    for _ in range(2):
        as_alice.get(ADDRESS)
        with django_assert_num_queries(12):
            as_alice.get(ADDRESS)
        frozen(alice, name="One more")


# --- one's own data ----------------------------------------------------------------------------------------------------------------------


def test_the_download_has_ones_own_words_by_side_and_no_more(as_alice: Client, alice: User) -> None:
    made = annotating.campaign([alice], pairs=3)
    held = annotating.lease(made, alice)
    worse = "second" if held.first_on_left else "first"
    answer = Answer(
        verdict=Verdict.FIRST_MUCH if held.first_on_left else Verdict.SECOND_MUCH, reasons=("safer",), rationale="It has the dose right.",
        active_ms=61_500, **{f"harm_{worse}": "major", f"harm_{worse}_type": "wrong_dose"},
    )  # fmt: skip
    judgements.submit(assignment=held, answer=answer, key=uuid4())
    response = as_alice.get(ADDRESS + "data/")
    assert response["Content-Disposition"] == 'attachment; filename="my-judgements.json"'
    told = json.loads(response.content)
    (row,) = told["judgements"]
    assert row.pop("submitted_at")
    assert told["username"] == "alice"
    assert row == {
        "campaign": "Chest pain letters", "pair": str(held.public_id), "revision": 1, "verdict": "a_much", "cannot_reason": "",
        "reasons": ["safer"], "harm_a": {"severity": "", "type": ""}, "harm_b": {"severity": "major", "type": "wrong_dose"}, "hard": "",
        "rationale": "It has the dose right.", "edited_text": "", "marked": [], "seconds": 61.5, "taken_back_at": None,
    }  # fmt: skip


def test_the_download_does_not_tell_which_answers_were_known_or_asked_again(as_alice: Client, alice: User) -> None:
    repeats(alice, 2, 1)
    annotating.judge(annotating.qualification([alice], pairs=1), alice)
    body = as_alice.get(ADDRESS + "data/").content.decode()
    assert len(json.loads(body)["judgements"]) == Judgement.objects.count() == 5
    assert not any(word in body for word in ("gold", "repeat", "slot", "north", "south"))
