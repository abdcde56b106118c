"""Evaluating on another snapshot: what counts for this model, what is refused and why, who may see which; and G1 after a hold-out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role, RoleGrant, User
from annotation import campaigns, snapshots
from annotation.models import Campaign, Membership, Sample, Snapshot, Split
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from tests.training import build
from tests.training.test_unseen import ended, frozen
from training import elsewhere, evaluations, gates, promotions, raters, runs, unseen
from training.engine import toysamples
from training.gates import Gate
from training.models import Evaluation, Study, StudyState

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("few_pairs_do")]


@pytest.fixture
def crew() -> list[User]:
    return [person(f"rater-{number}", Role.ANNOTATOR) for number in range(4)]


def made_of(snapshot: Snapshot, folder: Path, actor: User, name: str = "ward-dpo", **sft: Any) -> ModelVersion:
    run = runs.start(
        snapshot=snapshot, policy=build.version(folder, f"{name}-sft", **sft), preset="demo", name=name, actor=actor
    )  # fmt: skip
    build.finish(run.job, number=run.pk + 100.0)
    run.refresh_from_db()
    assert run.output is not None
    return run.output


@pytest.fixture
def spring(crew: list[User]) -> Snapshot:
    """What was trained on, by two of four."""
    return frozen("spring", crew[:2], splits=[(Split.TRAIN, 18), (Split.EVALUATION, 6)])


@pytest.fixture
def policy(spring: Snapshot, dan: User, tmp_path: Path) -> ModelVersion:
    return made_of(spring, tmp_path, dan)


@pytest.fixture
def summer(crew: list[User]) -> Snapshot:
    """Judged by one who taught the model and two who did not: eight of twelve pairs are strangers'."""
    return frozen("summer", crew[1:], splits=[(Split.EVALUATION, 12)])


def address(policy: ModelVersion, **said: Any) -> str:
    return f"/models/{policy.public_id}/evaluate/?against={said.get('against', policy.run.policy).public_id}"


def told(policy: ModelVersion, *found: Snapshot) -> list[tuple[int, int, str]]:
    asked = elsewhere.choices(policy=policy, reference=policy.run.policy, snapshots=list(found))
    return [(each.pairs, each.counted, each.refused) for each in asked]


def test_every_snapshot_says_how_many_of_its_pairs_count_for_this_model(
    policy: ModelVersion, spring: Snapshot, summer: Snapshot, dan: User, crew: list[User], django_assert_num_queries: Callable[..., Any]
) -> None:
    trains = frozen("autumn", [crew[3]], splits=[(Split.TRAIN, 4)])
    assert told(policy, spring, summer, trains) == [
        (6, 0, "Whoever judged its evaluation pairs also taught this model."),
        (12, 8, ""),
        (0, 0, "It has no evaluation pairs."),
    ]
    # The count ahead is what the evaluation counts.
    found = ended(elsewhere.start(policy=policy, reference=policy.run.policy, snapshot=summer, actor=dan), [1.0] * 12)
    assert (found.results["unseen"]["n"], found.results["unseen"]["raters"]) == (8, 2)
    assert elsewhere.choices(policy=policy, reference=policy.run.policy, snapshots=[summer])[0].evaluation == found
    with django_assert_num_queries(6):  # lineage (2), its snapshots, who taught, the counts, what was evaluated
        told(policy, spring, summer, trains)


def test_simulated_raters_say_nothing_of_a_real_model(policy: ModelVersion, dan: User, tmp_path: Path) -> None:
    toys = build.snapshot(simulated=True, name="toys")
    (found,) = told(policy, toys)
    assert found[2] == "Its raters were simulated: they say nothing of a real model."
    with pytest.raises(evaluations.NothingHeldOut, match="say nothing of a real model"):
        elsewhere.start(policy=policy, reference=policy.run.policy, snapshot=toys, actor=dan)
    toy = made_of(toys, tmp_path, dan, "toy-dpo", toy=True)
    pairs = toys.campaign.pairs.filter(prompt__sample__split=Split.EVALUATION).count()
    assert told(toy, toys) == [(pairs, pairs, "")], "a planted truth is nobody's"


def test_the_page_offers_refuses_and_starts(as_dan: Client, policy: ModelVersion, summer: Snapshot, spring: Snapshot) -> None:
    page = as_dan.get(address(policy)).text
    assert "Gate G1 counts a pair where nobody who judged it taught this model" in page
    assert page.index("summer") < page.index("spring"), "the newest first"
    assert "Whoever judged its evaluation pairs also taught this model." in page
    assert page.count('name="snapshot"') == 1
    assert "the one it learned from" in page
    refused = as_dan.post(address(policy), {"snapshot": str(spring.public_id)})
    assert refused.status_code == 409
    assert "Nothing was started on spring." in refused.text
    answer = as_dan.post(address(policy), {"snapshot": str(summer.public_id)})
    evaluation = Evaluation.objects.get(snapshot=summer)
    assert answer["Location"] == f"/evaluations/{evaluation.public_id}/"
    assert (evaluation.policy, evaluation.reference) == (policy, policy.run.policy)
    page = as_dan.get(address(policy)).text
    assert "Under way" in page
    assert 'name="snapshot"' not in page
    assert as_dan.post(address(policy)).status_code == 200, "nothing chosen: the page again"
    assert as_dan.post(address(policy), {"snapshot": "x"}).status_code == 404


def test_the_run_and_its_evaluation_lead_there(as_dan: Client, policy: ModelVersion, spring: Snapshot, dan: User) -> None:
    assert address(policy) in as_dan.get(f"/runs/{policy.run.pk}/").text
    found = evaluations.start(policy=policy, reference=policy.run.policy, snapshot=spring, actor=dan)
    assert address(policy) in as_dan.get(f"/evaluations/{found.public_id}/").text


def test_without_a_run_it_begins_at_an_evaluation(as_dan: Client, policy: ModelVersion) -> None:
    merged = policy.run.policy
    answer = as_dan.get(f"/models/{merged.public_id}/evaluate/", follow=True)
    assert answer.redirect_chain == [(f"/models/{merged.public_id}/", 302)]
    assert "Begin at one of its evaluations." in answer.text
    assert as_dan.get(address(policy, against=policy)).status_code == 404, "not against itself"


def test_no_snapshot_of_a_campaign_one_is_rating_in_is_offered(as_dan: Client, policy: ModelVersion, summer: Snapshot, dan: User) -> None:
    RoleGrant.objects.create(user=dan, role=Role.ANNOTATOR)
    Membership.objects.create(user=dan, campaign=summer.campaign)
    Campaign.objects.filter(pk=summer.campaign_id).update(state="open", closed_at=None)
    assert "summer" not in as_dan.get(address(policy)).text
    assert as_dan.post(address(policy), {"snapshot": str(summer.public_id)}).status_code == 404


def test_who_rates_in_a_study_of_the_model_is_told_nothing(
    as_dan: Client, policy: ModelVersion, spring: Snapshot, dan: User
) -> None:  # fmt: skip
    found = evaluations.start(policy=policy, reference=policy.run.policy, snapshot=spring, actor=dan)
    text = annotating.stored_batches(1, ("a", "b"), "texts")
    study = Study.objects.create(
        evaluation=found, champion=found.reference, challenger=policy, champion_texts=text[0], challenger_texts=text[1], seed=1
    )
    study.raters.add(dan)
    assert as_dan.get(address(policy)).status_code == 404
    Study.objects.filter(pk=study.pk).update(state=StudyState.FAILED, why_failed="Nobody answered.")
    assert as_dan.get(address(policy)).status_code == 200


# --- gate G1 -----------------------------------------------------------------------------------------------------------------------------


def g1(evaluation: Evaluation) -> Gate:
    return next(gate for gate in gates.of(evaluation=evaluation, champion=None) if gate.code == "G1")


def test_the_gate_leads_to_both_remedies_and_tells_of_other_snapshots(
    as_dan: Client, policy: ModelVersion, spring: Snapshot, summer: Snapshot, dan: User
) -> None:  # fmt: skip
    short = ended(evaluations.start(policy=policy, reference=policy.run.policy, snapshot=spring, actor=dan), [1.0] * 6)
    page = as_dan.get(f"/evaluations/{short.public_id}/").text
    assert ">Evaluate on another snapshot</a>" in page
    anew = f"/campaigns/{spring.campaign.public_id}/freeze/?min_judgements=1&amp;hold_out_raters=20"
    assert f'href="{anew}">Freeze anew with raters held out</a>' in page
    assert 'value="20"' in as_dan.get(anew.replace("&amp;", "&")).text
    ended(elsewhere.start(policy=policy, reference=policy.run.policy, snapshot=summer, actor=dan), [1.0] * 6 + [0.0] * 6)
    value = Evaluation.objects.get(snapshot=summer).results["unseen"]["value"]
    assert f"(on other snapshots: {value:.3f} on 8)" in g1(short).value


def test_a_study_speaks_of_its_two_models_whichever_evaluation_began_it(
    policy: ModelVersion, spring: Snapshot, summer: Snapshot, dan: User, as_dan: Client
) -> None:  # fmt: skip
    first = ended(evaluations.start(policy=policy, reference=policy.run.policy, snapshot=spring, actor=dan), [1.0] * 6)
    second = ended(elsewhere.start(policy=policy, reference=policy.run.policy, snapshot=summer, actor=dan), [1.0] * 12)
    text = annotating.stored_batches(1, ("a", "b"), "texts")
    study = Study.objects.create(
        evaluation=first, champion=first.reference, challenger=policy, champion_texts=text[0], challenger_texts=text[1], seed=1,
        started_by=dan,
    )  # fmt: skip
    assert gates.study_of(second, second.reference) == study
    shown = as_dan.get(f"/evaluations/{second.public_id}/").text
    assert f"/studies/{study.public_id}/" in shown
    decision = promotions.decide(evaluation=second, actor=dan, expected=None)
    assert (decision.decision, decision.study) == ("refused", study)


@pytest.fixture
def toy_campaign(settings: Any, tmp_path: Path) -> Campaign:
    """Sixty toy pairs, each judged by two of five simulated raters who lease and answer as people do, by what was planted in them."""
    settings.DATA_DIR = tmp_path
    people = raters.ensure(5)
    made = annotating.campaign(people, pairs=60, overlap=2, simulated=True, toy=True)
    samples = list(Sample.objects.order_by("pk").values_list("pk", flat=True))
    annotating.rewrite(Sample.objects.filter(pk__in=samples[:36]), split=Split.TRAIN)
    annotating.rewrite(Sample.objects.filter(pk__in=samples[36:]), split=Split.EVALUATION)
    for number, pair in enumerate(made.pairs.select_related("first", "second")):
        for side, closing in ((pair.first, toysamples.HEDGES[0]), (pair.second, toysamples.BLUNT[0])):
            side.text = f"{side.text} Case {number}. {closing}"
            side.save(update_fields=["text"])
    raters.rate(campaign=made, raters=people, seed=1)
    campaigns.close(campaign=made, actor=None)
    return made


@pytest.mark.parametrize("held", [False, True])
def test_holding_simulated_raters_out_turns_g1_from_unknown_to_a_verdict(
    toy_campaign: Campaign, dan: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    asked: dict[str, Any] = {"hold_out_raters": 0.4} if held else {}
    snapshot = snapshots.freeze(campaign=toy_campaign, name="held" if held else "all", actor=dan, **asked)
    # By what the raters said: with nobody held out toys are otherwise asked about the planted truth.
    if not held:
        monkeypatch.setattr(Snapshot, "planted", False)
    policy = made_of(snapshot, tmp_path, dan, "toy-dpo", toy=True)
    found = evaluations.start(policy=policy, reference=policy.run.policy, snapshot=snapshot, actor=dan)
    assert (found.simulated, found.planted) == (True, False)
    rows = snapshot.counts["used"]["evaluation"]
    ended(found, [1.0] * rows)
    assert found.results["labels"] == "raters"
    monkeypatch.setattr(gates, "PAIRS_NEEDED", 6)
    gate = g1(found)
    if held:
        people = {person for pair in unseen.voters(snapshot, snapshot.rows.values("pair")).values() for person in pair}
        assert unseen.taught(policy) < people
        assert (found.results["unseen"]["n"], found.results["unseen"]["left_out"]) == (rows, [])
        # Of 24 pairs about 17 were judged by one of the two held out of five; who they are differs from campaign to campaign.
        assert rows >= 6
        assert gate.state == "passed"
        assert "by simulated raters" in gate.value
    else:
        assert found.results["unseen"]["n"] == 0
        assert gate.state == "unknown"
        assert gate.remedies
