"""The gate: what may become champion, what is refused and kept on record, and the way back."""

from pathlib import Path
from uuid import uuid4

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client

from accounts.models import AuditEntry, User
from annotation import adjudications, judgements, safety
from annotation.adjudications import Ruling
from annotation.models import Dispute, GenerationBatch, Verdict
from modelhub import aliases
from modelhub.errors import AliasMoved, NothingBefore
from modelhub.models import AliasMove, ModelVersion
from tests.annotation import build as annotating
from tests.training import build
from training import evaluations, promotions
from training.models import Evaluation, Promotion
from training.promotions import OverrideRefused

pytestmark = pytest.mark.django_db


@pytest.fixture
def sft(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-sft")


@pytest.fixture
def dpo(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-dpo", "dpo")


@pytest.fixture
def evaluation(dan: User, sft: ModelVersion, dpo: ModelVersion) -> Evaluation:
    return evaluations.start(policy=dpo, reference=sft, snapshot=build.snapshot(), actor=dan)


WORDS = "A pilot on one ward, read by two physicians each."


@pytest.mark.parametrize(("value", "low", "high", "n"), [(0.70, 0.64, 0.76, 199), (0.55, 0.50, 0.60, 400), (0.40, 0.33, 0.47, 200)])
def test_too_little_held_out_is_refused_kept_on_record_and_no_words_help(
    dan: User, evaluation: Evaluation, value: float, low: float, high: float, n: int
) -> None:
    build.finish_evaluation(evaluation, value=value, low=low, high=high, n=n)
    decided = promotions.decide(evaluation=evaluation, actor=dan, expected=None)
    assert decided.decision == "refused"
    assert "Held-out preference accuracy" in decided.reason
    with pytest.raises(OverrideRefused, match="Held-out preference accuracy"):
        promotions.decide(evaluation=evaluation, actor=dan, expected=None, override=WORDS)
    assert aliases.current("champion") is None
    assert Promotion.objects.count() == 1


def test_what_is_not_known_refuses_too(dan: User, evaluation: Evaluation) -> None:
    build.finish_evaluation(evaluation, value=0.62, low=0.55, high=0.69, n=200)
    decided = promotions.decide(evaluation=evaluation, actor=dan, expected=None)
    assert decided.decision == "refused"
    assert {gate["code"]: gate["state"] for gate in decided.gates} == {
        "evaluation": "passed", "data": "passed", "G1": "passed", "G2": "unknown", "G3": "unknown", "G4": "unknown", "G5": "passed",
        "G6": "unknown", "safety": "passed",
    }  # fmt: skip


def test_only_trainers_decide(alice: User, carol: User, evaluation: Evaluation) -> None:
    build.finish_evaluation(evaluation, value=0.62, low=0.55, high=0.69, n=200)
    for who in (alice, carol, None):
        with pytest.raises(PermissionDenied):
            promotions.decide(evaluation=evaluation, actor=who, expected=None)
    assert not Promotion.objects.exists()


def test_an_evaluation_that_is_still_running_promotes_nothing(dan: User, evaluation: Evaluation) -> None:
    decided = promotions.decide(evaluation=evaluation, actor=dan, expected=None)
    assert decided.decision == "refused"
    assert "Evaluation finished" in decided.reason


def test_a_champion_that_moved_meanwhile_stops_the_promotion_and_records_none(
    dan: User, sft: ModelVersion, tmp_path: Path, evaluation: Evaluation
) -> None:
    other = build.version(tmp_path, "someone-elses")
    aliases.move(name="champion", to=other, actor=dan, expected=None, reason="the first")
    build.finish_evaluation(evaluation, value=0.62, low=0.55, high=0.69, n=200)
    with pytest.raises(AliasMoved):
        promotions.decide(evaluation=evaluation, actor=dan, expected=sft, override=WORDS)
    assert aliases.current("champion") == other
    assert not Promotion.objects.exists()


def test_rolling_back_names_the_one_before_and_deletes_nothing(
    dan: User, sft: ModelVersion, dpo: ModelVersion, evaluation: Evaluation
) -> None:
    aliases.move(name="champion", to=sft, actor=dan, expected=None, reason="the first")
    build.finish_evaluation(evaluation, value=0.62, low=0.55, high=0.69, n=250)
    promotions.decide(evaluation=evaluation, actor=dan, expected=sft, override=WORDS)
    back = promotions.roll_back(actor=dan, expected=dpo, reason="it hedges too much")
    assert (back.decision, back.version, back.replaced, back.reason) == ("rolled_back", sft, dpo, "it hedges too much")
    assert aliases.current("champion") == sft
    assert ModelVersion.objects.filter(pk=dpo.pk).exists()
    assert AliasMove.objects.count() == 3
    assert list(Promotion.objects.order_by("pk").values_list("decision", flat=True)) == ["promoted", "rolled_back"]


def test_there_is_no_way_back_from_the_first(dan: User, sft: ModelVersion) -> None:
    aliases.move(name="champion", to=sft, actor=dan, expected=None, reason="the first")
    with pytest.raises(NothingBefore):
        promotions.roll_back(actor=dan, expected=sft, reason="no")
    assert not Promotion.objects.exists()


@pytest.fixture
def toys(dan: User, tmp_path: Path) -> Evaluation:
    toy, better = build.version(tmp_path, "toy-sft", toy=True), build.version(tmp_path, "toy-dpo", "dpo", toy=True, simulated=True)
    return evaluations.start(policy=better, reference=toy, snapshot=build.snapshot(simulated=True, name="toys"), actor=dan)


def test_a_demo_promotes_toys_unattended_and_says_of_each_gate_that_it_was_not_passed(toys: Evaluation) -> None:
    build.finish_evaluation(toys, value=0.9, low=0.85, high=0.94, n=220)
    decided = promotions.demonstrate(evaluation=toys, actor=None, expected=None)
    assert (decided.decision, decided.simulated, decided.decided_by) == ("promoted", True, None)
    told = {gate["code"]: gate.get("override") for gate in decided.gates if not gate["passed"]}
    assert told.keys() >= {"G2", "G3", "G4", "G6"}
    assert set(told.values()) == {promotions.DEMONSTRATED}
    assert "G1" not in told


def test_a_demo_refuses_what_the_planted_truth_does_not_show(toys: Evaluation) -> None:
    build.finish_evaluation(toys, value=0.55, low=0.48, high=0.61, n=220)
    assert promotions.demonstrate(evaluation=toys, actor=None, expected=None).decision == "refused"


def test_nothing_but_toys_is_promoted_by_a_demo(toys: Evaluation, evaluation: Evaluation, sft: ModelVersion) -> None:
    build.finish_evaluation(evaluation, value=0.9, low=0.85, high=0.94, n=220)
    build.finish_evaluation(toys, value=0.9, low=0.85, high=0.94, n=220)
    for found, expected in ((evaluation, None), (toys, sft)):
        with pytest.raises(OverrideRefused, match="people decide"):
            promotions.demonstrate(evaluation=found, actor=None, expected=expected)
    assert not Promotion.objects.exists()


def test_evidence_of_simulated_raters_is_marked_on_the_decision(dan: User, toys: Evaluation) -> None:
    build.finish_evaluation(toys, value=0.9, low=0.85, high=0.94, n=220)
    assert promotions.decide(evaluation=toys, actor=dan, expected=None, override=WORDS).simulated


def test_a_toy_never_takes_a_real_models_place(dan: User, sft: ModelVersion, tmp_path: Path) -> None:
    aliases.move(name="champion", to=sft, actor=dan, expected=None, reason="the first")
    toy, better = build.version(tmp_path, "toy-sft", toy=True), build.version(tmp_path, "toy-dpo", "dpo", toy=True, simulated=True)
    started = evaluations.start(policy=better, reference=toy, snapshot=build.snapshot(simulated=True), actor=dan)
    build.finish_evaluation(started, value=0.9, low=0.85, high=0.94, n=220)
    decided = promotions.decide(evaluation=started, actor=dan, expected=sft)
    assert decided.decision == "refused"
    assert decided.reason.endswith("Kind of model")
    with pytest.raises(OverrideRefused, match="Kind of model"):
        promotions.decide(evaluation=started, actor=dan, expected=sft, override=WORDS)
    assert aliases.current("champion") == sft


@pytest.fixture
def blocked(carol: User, alice: User, dpo: ModelVersion, evaluation: Evaluation) -> Dispute:
    """Evidence enough, and a lead's ruling that a text which `dpo` wrote blocks its promotion."""
    build.finish_evaluation(evaluation, value=0.62, low=0.55, high=0.69, n=250)
    made = annotating.campaign([alice], pairs=1)
    given = annotating.lease(made, alice)
    judgements.submit(
        assignment=given, verdict=Verdict.SECOND_MUCH, harm_first="life_threatening", harm_first_type="wrong_dose", key=uuid4()
    )
    GenerationBatch.objects.filter(pk=given.pair.first.batch_id).update(version=dpo, system="")
    dispute = Dispute.objects.get()
    rule(carol, dispute, block_promotion_first=True)
    return dispute


def rule(lead: User, dispute: Dispute, **said: object) -> None:
    found = Ruling(**{"outcome": "second", "harm_first": "life_threatening", "rationale": "Ten times the dose.", **said})
    adjudications.rule(dispute=dispute, adjudicator=lead, ruling=found, votes_version=dispute.votes_version, key=uuid4())


def test_a_leads_block_refuses_the_version_that_wrote_the_text(dan: User, blocked: Dispute, evaluation: Evaluation) -> None:
    decided = promotions.decide(evaluation=evaluation, actor=dan, expected=None)
    assert decided.decision == "refused"
    assert decided.reason.endswith("Lead clinicians' blocks")
    assert decided.gates[-1]["value"] == "1 ruling against its texts"
    assert aliases.current("champion") is None


def test_the_other_sides_version_is_not_blocked(dan: User, blocked: Dispute, dpo: ModelVersion, sft: ModelVersion) -> None:
    GenerationBatch.objects.filter(pk=blocked.pair.second.batch_id).update(version=sft, system="")
    assert [len(safety.blocks(version)) for version in (dpo, sft)] == [1, 0]


def test_a_new_ruling_lifts_the_block(dan: User, carol: User, blocked: Dispute, evaluation: Evaluation) -> None:
    rule(carol, blocked, block_promotion_first=False, rationale="The unit was misread; the dose is right.")
    decided = promotions.decide(evaluation=evaluation, actor=dan, expected=None)
    assert decided.gates[-1]["passed"]


def test_an_override_is_written_signed_and_kept_for_ever(dan: User, blocked: Dispute, dpo: ModelVersion, evaluation: Evaluation) -> None:
    words = "Only used on synthetic notes until the next round."
    decided = promotions.decide(evaluation=evaluation, actor=dan, expected=None, override=words)
    assert (decided.decision, decided.decided_by, decided.reason) == ("promoted", dan, f"Overridden: {words}")
    assert {gate["code"]: gate["override"] for gate in decided.gates if "override" in gate} == dict.fromkeys(
        ["G2", "G3", "G4", "G6", "safety"], words
    )
    assert decided.overrides == [
        ("Blinded win-rate, Harm is not more frequent, No regression on the suite, Reproducible, Lead clinicians' blocks", words)
    ]
    assert decided.gates[-1]["passed"] is False, "the gate was not passed, and the record says so"
    assert AliasMove.objects.get().reason == f"Overridden: {words}"
    assert "Lead clinicians' blocks" in AuditEntry.objects.get(verb="promotion.promoted").details["overridden"]
    assert safety.blocks(dpo), "the block itself stands"


def test_an_override_without_words_or_name_or_for_want_of_evidence_is_refused(
    dan: User, blocked: Dispute, evaluation: Evaluation, sft: ModelVersion
) -> None:
    for actor, words in ((dan, "because"), (None, "Nobody signs these twenty letters.")):
        with pytest.raises(OverrideRefused):
            promotions.decide(evaluation=evaluation, actor=actor, expected=None, override=words)
    Evaluation.objects.filter(pk=evaluation.pk).update(results={})
    evaluation.refresh_from_db()
    with pytest.raises(OverrideRefused, match="No override replaces"):
        promotions.decide(evaluation=evaluation, actor=dan, expected=None, override="There was no time to measure it.")
    assert not Promotion.objects.exists()


def test_the_page_asks_for_the_override_and_shows_it_afterwards(as_dan: Client, blocked: Dispute, evaluation: Evaluation) -> None:
    address = f"/evaluations/{evaluation.public_id}/"
    page = as_dan.get(address).content.decode()
    assert "A lead clinician has blocked this version." in page
    assert "Promote all the same" in page
    said = as_dan.post(f"{address}promote/", {"expected": "", "override": "too short"}, follow=True).content.decode()
    assert "Say why in at least 20 letters" in said
    as_dan.post(f"{address}promote/", {"expected": "", "override": "Only used on synthetic notes for now."})
    after = as_dan.get(address).content.decode()
    assert ">override<" in after
    assert "Overridden: Only used on synthetic notes for now." in after
