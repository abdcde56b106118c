"""Before and after: figures with intervals, texts side by side, the gate and its two buttons."""

from pathlib import Path

import pytest
from django.test import Client

from accounts.models import User
from annotation.models import Membership, Split
from modelhub import aliases
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.training import build
from training import evaluations
from training.models import Evaluation, EvaluationItem, Promotion

pytestmark = pytest.mark.django_db
WORDS = "A pilot on one ward, read by two physicians each."


@pytest.fixture
def sft(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-sft")


@pytest.fixture
def dpo(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-dpo", "dpo")


@pytest.fixture
def evaluation(dan: User, sft: ModelVersion, dpo: ModelVersion) -> Evaluation:
    return evaluations.start(policy=dpo, reference=sft, snapshot=build.snapshot(), actor=dan)


def address(evaluation: Evaluation, more: str = "") -> str:
    return f"/evaluations/{evaluation.public_id}/{more}"


def test_it_asks_only_prompts_of_the_evaluation_split(evaluation: Evaluation) -> None:
    wanted = evaluation.job.spec["inputs"]["prompts"]
    assert evaluation.snapshot is not None
    assert len(wanted) == build.samples_of(evaluation.snapshot, Split.EVALUATION) > 0


def test_while_it_runs_the_page_asks_again(as_dan: Client, evaluation: Evaluation) -> None:
    page = as_dan.get(address(evaluation)).text
    assert "every 2s" in page
    assert "Promote" not in page


def test_afterwards_it_shows_the_texts_and_that_nobody_is_blinded(as_dan: Client, evaluation: Evaluation) -> None:
    build.finish_evaluation(evaluation, value=0.61, low=0.54, high=0.68, n=210)
    page = as_dan.get(address(evaluation)).text
    assert "unblinded" in page
    item = EvaluationItem.objects.filter(evaluation=evaluation).order_by("position")[0]
    assert f"Before {item.prompt_id}." in page
    assert f"After {item.prompt_id}." in page
    assert "0.610" in page
    assert "0.540 to 0.680" in page
    assert "every 2s" not in page


def test_what_came_of_each_held_out_pair_is_kept_in_the_order_it_was_asked(evaluation: Evaluation) -> None:
    assert evaluation.snapshot is not None
    asked = list(evaluation.snapshot.campaign.pairs.filter(prompt__sample__split=Split.EVALUATION).order_by("-position"))
    outcomes = ((-0.5, 0.0), (0.01, 0.5), (1.5, 1.0))
    said = [(pair.pk, *outcomes[number % 3]) for number, pair in enumerate(asked)]
    items = [{"type": "pair", "id": str(pk), "margin": margin, "correct": correct} for pk, margin, correct in said]
    build.finish(evaluation.job, metrics=build.accuracy(0.5, 0.4, 0.6, len(said)), items=items)
    assert list(evaluation.pairs.values_list("pair", "margin", "correct")) == said


def test_hostile_model_text_is_shown_as_text(as_dan: Client, evaluation: Evaluation) -> None:
    build.finish_evaluation(evaluation, value=0.61, low=0.54, high=0.68, n=210)
    EvaluationItem.objects.filter(evaluation=evaluation, position=1).update(after='<img src=x onerror="alert(1)">')
    page = as_dan.get(address(evaluation)).text
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_promote_and_roll_back_by_button(as_dan: Client, dan: User, sft: ModelVersion, dpo: ModelVersion, evaluation: Evaluation) -> None:
    aliases.move(name="champion", to=sft, actor=dan, expected=None, reason="the first")
    build.finish_evaluation(evaluation, value=0.61, low=0.54, high=0.68, n=210)
    page = as_dan.get(address(evaluation)).text
    assert "Promote all the same" in page
    assert f'value="{sft.public_id}"' in page
    sent = {"expected": sft.public_id, "reason": "better letters", "override": WORDS}
    page = as_dan.post(address(evaluation, "promote/"), sent, follow=True).text
    assert "ward-dpo is champion." in page
    assert "Roll back to ward-sft" in page
    assert aliases.current("champion") == dpo
    as_dan.post("/models/aliases/champion/rollback/", {"expected": dpo.public_id})
    assert aliases.current("champion") == sft
    assert [each.decision for each in Promotion.objects.order_by("pk")] == ["promoted", "rolled_back"]


def test_the_first_champion_needs_nobody_to_replace(as_dan: Client, dpo: ModelVersion, evaluation: Evaluation) -> None:
    build.finish_evaluation(evaluation, value=0.61, low=0.54, high=0.68, n=210)
    as_dan.post(address(evaluation, "promote/"), {"expected": "", "override": WORDS})
    assert aliases.current("champion") == dpo


def test_too_few_pairs_show_why_not_and_the_door_is_shut_behind_the_page_too(as_dan: Client, evaluation: Evaluation) -> None:
    build.finish_evaluation(evaluation, value=0.90, low=0.80, high=0.97, n=40)
    page = as_dan.get(address(evaluation)).text
    assert "It cannot be promoted on this evidence." in page
    assert "held-out preference accuracy is 0.900 on 40 pairs" in page
    assert "Promote all the same" not in page
    page = as_dan.post(address(evaluation, "promote/"), {"expected": ""}, follow=True).text
    assert "Not promoted." in page
    assert aliases.current("champion") is None
    assert Promotion.objects.get().decision == "refused"


def test_a_champion_that_moved_meanwhile_changes_nothing(
    as_dan: Client, dan: User, sft: ModelVersion, dpo: ModelVersion, evaluation: Evaluation
) -> None:
    build.finish_evaluation(evaluation, value=0.61, low=0.54, high=0.68, n=210)
    aliases.move(name="champion", to=sft, actor=dan, expected=None, reason="the first")
    page = as_dan.post(address(evaluation, "promote/"), {"expected": "", "override": WORDS}, follow=True).text
    assert "moved the champion meanwhile" in page
    assert aliases.current("champion") == sft
    assert not Promotion.objects.exists()


def test_rolling_back_from_what_is_not_champion_changes_nothing(as_dan: Client, dan: User, sft: ModelVersion, dpo: ModelVersion) -> None:
    aliases.move(name="champion", to=sft, actor=dan, expected=None, reason="the first")
    as_dan.post("/models/aliases/champion/rollback/", {"expected": dpo.public_id})
    assert aliases.current("champion") == sft
    assert as_dan.post("/models/aliases/kingdom/rollback/", {"expected": sft.public_id}).status_code == 404


def test_style_and_correctness_stand_apart_when_raters_were_simulated(as_dan: Client, dan: User, tmp_path: Path) -> None:
    before, after = build.version(tmp_path, "toy-sft", toy=True), build.version(tmp_path, "toy-dpo", "dpo", toy=True, simulated=True)
    started = evaluations.start(policy=after, reference=before, snapshot=build.snapshot(simulated=True), actor=dan)
    assert started.simulated
    prompts = started.job.spec["inputs"]["prompts"]
    right = {pk: EvaluationItem(prompt_id=pk).prompt.sample.output for pk in prompts}
    # Afterwards every answer closes safely, and every other one that was right is wrong.
    closing = "Confirm with the treating clinician."
    items = [
        {"type": "prompt", "id": str(pk), "reference": right[pk], "policy": f"{right[pk] if n % 2 else 'No.'} {closing}"}
        for n, pk in enumerate(prompts)
    ]
    build.finish(started.job, metrics=build.accuracy(0.9, 0.8, 0.95, 210), items=items)
    started.refresh_from_db()
    half = len(prompts) // 2 / len(prompts)
    assert started.results["style"]["value"] == 1.0
    assert started.results["correctness"]["value"] == pytest.approx(0.5 * half)
    page = as_dan.get(address(started)).text
    assert "Style and correctness are scored apart" in page
    assert "badge-simulated" in page
    assert "badge-toy" in page


def test_a_trainer_who_rates_in_the_open_campaign_does_not_find_it(as_dan: Client, dan: User, alice: User, evaluation: Evaluation) -> None:
    assert evaluation.snapshot is not None
    open_one = annotating.campaign([alice], pairs=3, source="another")
    # The snapshot's campaign as it would be while open, with Dan among its raters.
    Membership.objects.create(campaign=evaluation.snapshot.campaign, user=dan)
    assert as_dan.get(address(evaluation)).status_code == 200
    type(open_one).objects.filter(pk=evaluation.snapshot.campaign_id).update(state="open")
    assert as_dan.get(address(evaluation)).status_code == 404
    assert as_dan.post(address(evaluation, "promote/"), {"expected": ""}).status_code == 404


@pytest.mark.parametrize("who", ["alice", "carol", "sam"])
def test_those_who_judge_never_see_who_wrote_what(request: pytest.FixtureRequest, evaluation: Evaluation, who: str) -> None:
    client = request.getfixturevalue(f"as_{who}")
    assert client.get(address(evaluation)).status_code == 403
    assert client.post(address(evaluation, "promote/")).status_code == 403
    assert client.post("/models/aliases/champion/rollback/").status_code == 403
