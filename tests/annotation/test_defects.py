"""Samples that are sent back: reported by answers and rulings, settled by whoever owns the data, and gone from then on."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEntry, User
from annotation import assignments, defects, judgements, slots
from annotation.defects import DefectRefused
from annotation.models import Campaign, Defect, Sample, Slot, Verdict
from tests.annotation.build import campaign, lease
from tests.annotation.test_disputes import answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def reported(alice: User, bob: User) -> Campaign:
    """Two samples, each judged twice; Alice finds the input of the first defective."""
    made = campaign([alice, bob], pairs=2, overlap=2, source="letters")
    answer(made, alice, Verdict.CANNOT_JUDGE, cannot_reason="defective_input")
    return made


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ({"cannot_reason": "outside_field"}, False),
        ({"cannot_reason": "needs_information"}, False),
        ({"cannot_reason": "defective_input"}, True),
        ({"hard": "missing_context"}, True),
        ({"hard": "ambiguous"}, True),
        ({"hard": "both_plausible"}, False),
        ({"hard": "outside_field"}, False),
    ],
)
def test_only_what_a_better_sample_would_cure_is_a_report(alice: User, said: dict[str, str], counts: bool) -> None:
    made = campaign([alice], pairs=1)
    answer(made, alice, Verdict.CANNOT_JUDGE if "cannot_reason" in said else Verdict.FIRST_MUCH, **said)
    assert Defect.objects.exists() is counts


def test_a_second_report_joins_the_first(reported: Campaign, bob: User) -> None:
    answer(reported, bob, Verdict.FIRST_MUCH, hard="ambiguous")
    found = Defect.objects.get()
    assert defects.reasons([found])[found.sample_id] == defects.Reported(1, 0, 1, 0, 1)


def test_a_kept_sample_is_not_asked_about_again_for_a_chip_but_for_a_defect(reported: Campaign, bob: User, dan: User) -> None:
    defects.decide(defect=Defect.objects.get(), actor=dan, decision="kept")
    given = answer(reported, bob, Verdict.FIRST_MUCH, hard="ambiguous")
    assert not Defect.objects.filter(state="open").exists()
    judgements.amend(judgement=given, verdict=Verdict.CANNOT_JUDGE, cannot_reason="defective_input", key=uuid4())
    assert Defect.objects.filter(state="open").count() == 1


def test_a_withdrawn_sample_is_handed_to_nobody_and_the_books_stay_balanced(reported: Campaign, alice: User, bob: User, dan: User) -> None:
    sample = Defect.objects.get().sample
    held = lease(reported, bob)
    assert held.pair.prompt.sample == sample
    decided = defects.decide(defect=Defect.objects.get(), actor=dan, decision="withdrawn", note="Cut off in the scan.")
    sample.refresh_from_db()
    assert sample.withdrawn_at is not None
    assert (decided.state, decided.decided_by, decided.note) == ("withdrawn", dan, "Cut off in the scan.")
    assert slots.unbalanced(reported) == []
    assert not Slot.objects.filter(pair__prompt__sample=sample, open=True).exists()
    nexts = {lease(reported, rater).pair.prompt.sample_id for rater in (alice, bob)}
    assert sample.pk not in nexts
    entry = AuditEntry.objects.get(verb="defect.withdrawn")
    assert "scan" not in str(entry.details)


def test_what_was_typed_before_the_withdrawal_is_kept_as_surplus(reported: Campaign, bob: User, dan: User) -> None:
    held = lease(reported, bob)
    defects.decide(defect=Defect.objects.get(), actor=dan, decision="withdrawn")
    assert judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4()).surplus


def test_a_replacement_is_another_sample_that_is_there(reported: Campaign, dan: User) -> None:
    report = Defect.objects.get()
    other = Sample.objects.exclude(pk=report.sample_id).first()
    for wrong in (None, report.sample):
        with pytest.raises(DefectRefused):
            defects.decide(defect=report, actor=dan, decision="fixed", replaced_by=wrong)
    assert defects.decide(defect=report, actor=dan, decision="fixed", replaced_by=other).replaced_by == other
    with pytest.raises(DefectRefused, match="settled before"):
        defects.decide(defect=report, actor=dan, decision="kept")


def test_the_page_says_what_was_said_and_settles(as_dan: Client, reported: Campaign) -> None:
    report = Defect.objects.get()
    page = as_dan.get("/defects/").content.decode()
    assert "1 × the input is defective" in page
    assert "letters " + report.sample.external_id in page
    address = f"/defects/{report.public_id}/decide/"
    assert as_dan.post(address, {"decision": "withdrawn", "note": "Cut off."})["Location"] == "/defects/"
    assert "No sample has been reported." in as_dan.get("/defects/").content.decode()
    settled = as_dan.get("/defects/?show=settled").content.decode()
    assert "Withdrawn" in settled
    assert "Cut off." in settled


def test_a_replacement_is_named_by_its_id_and_mistakes_keep_what_was_typed(as_carol: Client, reported: Campaign) -> None:
    report = Defect.objects.get()
    other = Sample.objects.exclude(pk=report.sample_id).earliest("pk")
    address = f"/defects/{report.public_id}/decide/"
    for sent, said in (
        ({}, "Choose what becomes of it."),
        ({"decision": "fixed"}, "Name a sample of the same source by its id."),
        ({"decision": "fixed", "replacement": "s99"}, "There is no sample s99."),
        ({"decision": "kept", "replacement": other.external_id}, "Only a replaced sample has another in its place"),
        ({"decision": "fixed", "replacement": report.sample.external_id}, "Name another sample"),
        ({"decision": "kept", "note": "a\x00b"}, "cannot be stored"),
    ):
        refused = as_carol.post(address, {"note": "Typed already", **sent})
        assert refused.status_code == 422, sent
        page = refused.content.decode()
        assert said in page
        if "note" not in sent:
            assert "Typed already" in page
    assert as_carol.post(address, {"decision": "fixed", "replacement": other.external_id}).status_code == 302
    report.refresh_from_db()
    assert (report.state, report.replaced_by) == ("fixed", other)
    again = as_carol.post(address, {"decision": "kept"}, follow=True)
    assert "settled before" in again.content.decode()
    report.refresh_from_db()
    assert report.state == "fixed"


def test_it_takes_as_many_queries_for_two_reports_as_for_one(as_dan: Client, reported: Campaign, alice: User) -> None:
    counts = []
    for _ in range(2):
        as_dan.get("/defects/")
        with CaptureQueriesContext(connection) as queries:
            as_dan.get("/defects/")
        counts.append(len(queries))
        if assignments.lease_next(campaign=reported, annotator=alice):
            answer(reported, alice, Verdict.CANNOT_JUDGE, cannot_reason="defective_input")
    assert counts[0] == counts[1]
    assert Defect.objects.count() == 2
