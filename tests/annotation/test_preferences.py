"""Preferences given elsewhere: stored once by their content, marked external by the database, never mixed with what our raters said."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import AuditEntry, User
from annotation import campaigns, figures, golds, preferences, snapshots
from annotation.models import (
    Assignment,
    AssignmentState,
    Campaign,
    CampaignState,
    Completion,
    Judgement,
    Pair,
    Sample,
    Slot,
    Source,
    Verdict,
)
from annotation.reading.shapes import PreferenceRow, SampleRow
from annotation.records import ImportRefused
from tests.annotation.build import campaign, judge

pytestmark = pytest.mark.django_db

TOPICS = ("chest pain", "a fall at home", "fever after travel", "a swollen knee", "double vision", "a first seizure")


def source(name: str = "Elsewhere") -> Source:
    return Source.objects.get_or_create(name=name, defaults={"licence": "CC-BY-4.0"})[0]


def row(number: int = 1, **said: Any) -> PreferenceRow:
    topic = TOPICS[number % len(TOPICS)]
    sample = SampleRow(
        external_id=said.pop("id", f"case-{number}"), instruction=f"Write the letter for {topic}.", output="", task_type="summarization",
        input=f"Case {number}: {topic}, seen on day {number} by team {number * 7 % 13}.", input_data="other", output_format="plain_text",
        difficulty_level="",
    )  # fmt: skip
    usual = {
        "first_text": f"{topic} {number}, explained.", "first_system": "Model X", "second_text": f"{topic} {number}: see above.",
        "second_system": "Model Y", "verdict": "first_slightly", "rater": "7",
    }  # fmt: skip
    return PreferenceRow(sample=sample, **{**usual, **said})


def store(*rows: PreferenceRow, name: str = "LMArena, October") -> preferences.Stored:
    return preferences.store(source=source(), rows=rows, actor=None, name=name)


def test_rows_become_judgements_marked_external_in_a_closed_campaign() -> None:
    done = store(row(1), row(2, verdict="second_much", rationale="Names the dose.", rated_at="2026-03-04T10:00:00Z"))
    assert (done.rows, done.stored, done.already, done.repeats) == (2, 2, 0, 0)
    made = done.campaign
    assert (made.external, made.state, made.name, made.counts["pairs"]) == (True, CampaignState.CLOSED, "LMArena, October", 2)
    assert Sample.objects.filter(source__name="Elsewhere").count() == 2
    assert Completion.objects.values_list("batch__system", flat=True).distinct().count() == 2
    judgement = Judgement.objects.get(rationale="Names the dose.")
    assert judgement.external
    assert f"{judgement.submitted_at:%Y-%m-%d %H:%M}" == "2026-03-04 10:00"
    assert (judgement.harm_first, judgement.harm_second) == ("", ""), "unknown, and nothing is said of it"
    winner = judgement.assignment.pair.first if judgement.verdict == Verdict.FIRST_MUCH else judgement.assignment.pair.second
    assert (winner.batch.system, winner.text) == ("Model Y", "fever after travel 2: see above.")
    assert AuditEntry.objects.get(verb="preferences.imported").details["stored"] == 2


def test_the_same_rows_again_add_nothing_whatever_their_order_and_sides() -> None:
    first = store(row(1), row(2), row(3, verdict="both_unacceptable"))
    turned = row(
        1,
        first_text=row(1).second_text,
        second_text=row(1).first_text,
        first_system="Model Y",
        second_system="Model X",
        verdict="second_slightly",
    )
    again = store(row(3, verdict="both_unacceptable"), turned, row(2), row(2), name="Under another name")
    assert (again.campaign, again.stored, again.already) == (first.campaign, 0, 4)
    assert (Campaign.objects.count(), Judgement.objects.count(), Pair.objects.count(), Sample.objects.count()) == (1, 3, 3, 3)
    more = store(row(1), row(4))
    assert (more.campaign, more.stored, more.already) == (first.campaign, 1, 1)
    assert more.campaign.counts["pairs"] == 4
    assert store(row(5), name="November").campaign != first.campaign


def test_raters_are_pseudonyms_who_can_never_sign_in_and_differ_between_imports() -> None:
    store(
        row(1, rater="dr.meyer@example.org"),
        row(2, rater="dr.meyer@example.org"),
        row(2, rater="b"),
        row(3, rater=""),
        row(3, rater="", verdict="second_much"),
    )
    there = set(User.objects.filter(external=True).values_list("username", flat=True))
    assert len(there) == 4, "Meyer, b, and two whom the file does not name"
    assert not any("meyer" in name for name in there)
    store(row(4, rater="dr.meyer@example.org"), name="November")
    assert User.objects.filter(external=True).count() == 5
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(external=True).update(is_active=True)
    assert not User.objects.for_list().filter(external=True).exists()


def test_a_second_answer_of_one_rater_to_one_pair_is_no_vote() -> None:
    done = store(row(1), row(1, verdict="second_much"), row(1, rater="8"))
    assert (done.stored, done.repeats) == (3, 1)
    assert Judgement.objects.votes(external=True).count() == 2
    assert snapshots.freeze(campaign=done.campaign, name="S", actor=None).counts["judgements"] == 2


def test_what_cannot_be_a_preference_is_left_out_and_counted() -> None:
    done = store(
        row(1),
        row(2, first_text="Same.", second_text="Same."),
        row(3, verdict="cannot_judge"),
        row(4, verdict="cannot_judge", extra={"cannot_reason": "outside_field"}),
    )
    assert (done.stored, done.as_dict()["left_out"]) == (2, {"identical": 1, "cannot_judge": 1})
    with pytest.raises(ImportRefused, match="No row tells a preference"):
        store(row(5, first_text="Same.", second_text="Same."), name="Nothing")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"verdict": "left"}, "verdict"),
        ({"first_text": ""}, "first"),
        ({"second_text": "a\x00b"}, "second"),
        ({"second_system": "x" * 81}, "second_system"),
        ({"extra": {"harm_first": "terrible"}}, "harm_first"),
    ],
)
def test_nonsense_is_refused_by_row_and_field_and_nothing_is_stored(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        store(row(1), row(2, **wrong))
    assert [(one.line, one.field) for one in refused.value.problems] == [(2, field)]
    assert not Judgement.objects.exists()
    assert not Sample.objects.exists()


def test_another_record_under_a_known_id_is_refused() -> None:
    store(row(1))
    with pytest.raises(ImportRefused, match="id: A different record"):
        store(row(2, id="case-1"))
    with pytest.raises(ImportRefused, match="no preferences"):
        store()


def test_a_sample_that_was_imported_before_is_the_same_sample() -> None:
    from annotation import samples
    from tests.annotation.build import jsonl
    from tests.annotation.build import row as mediflow

    samples.import_jsonl(file=jsonl([mediflow(1)]), source="Elsewhere", licence="CC-BY-4.0", actor=None)
    there = Sample.objects.get()
    fields = ("instruction", "input", "output", "task_type", "input_data", "output_format", "difficulty_level")
    same = SampleRow(external_id="", **{name: getattr(there, name) for name in fields})
    store(PreferenceRow(sample=same, first_text="One.", first_system="", second_text="Two.", second_system="", verdict="first_much"))
    assert Sample.objects.get().pk == there.pk
    assert Completion.objects.values_list("batch__system", flat=True).distinct().get() == "Elsewhere", "writers it does not name"


def test_a_sample_in_quarantine_is_asked_about_by_nobody() -> None:
    store(row(1))
    known = Sample.objects.get()
    held = {"input": "Seen by Dr. Miller.", "external_id": "case-2", "digest": "0" * 64, "privacy": "quarantined", "pk": None}
    for name, value in held.items():
        setattr(known, name, value)
    known.save(force_insert=True)
    shown = row(2, id="case-2")
    same = replace(shown, sample=replace(shown.sample, instruction=known.instruction, input=known.input))
    done = store(same, row(3))
    assert (done.stored, done.as_dict()["left_out"]) == (1, {"quarantined": 1})


def test_harm_that_was_flagged_elsewhere_is_never_favoured_there() -> None:
    flagged = row(1, verdict="first_much", extra={"harm_a": ["major"], "harm_b": "none"})
    frozen = snapshots.freeze(campaign=store(flagged, row(2)).campaign, name="S", actor=None)
    told = {
        one.prompt.sample.external_id: (one.chosen.text, one.votes["basis"])
        for one in frozen.rows.select_related("prompt__sample", "chosen")
    }
    assert told["case-1"] == ("a fall at home 1: see above.", "harm")
    assert told["case-2"][1] == "votes"


# --- apart -------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def both(alice: User) -> tuple[Campaign, Campaign]:
    """A campaign of Alice's, and an imported one."""
    ours = campaign([alice], pairs=3)
    judge(ours, alice)
    return ours, store(*(row(number, rater=str(rater)) for number in range(4) for rater in range(3))).campaign


def test_the_database_keeps_external_and_our_own_apart(both: tuple[Campaign, Campaign], alice: User) -> None:
    ours, theirs = both
    stranger = User.objects.filter(external=True).first()
    free = Slot.objects.filter(campaign=ours, open=True).first()
    assert free is not None
    held = {
        "campaign": ours,
        "pair": free.pair,
        "slot": free,
        "first_on_left": True,
        "state": AssignmentState.SUBMITTED,
        "expires_at": "2026-01-01T00:00Z",
    }
    mine = Assignment.objects.get(campaign=ours, annotator=alice)

    def changes() -> Iterator[Any]:
        yield lambda: Assignment.objects.create(annotator=stranger, **held)
        yield lambda: Assignment.objects.filter(pk=mine.pk).update(annotator=stranger)
        yield lambda: Judgement.objects.create(assignment=mine, revision=2, idempotency_key=uuid4(), verdict="first_much", external=True)
        yield lambda: Judgement.objects.filter(external=True).update(external=False)
        yield lambda: Campaign.objects.filter(pk=theirs.pk).update(external=False)
        yield lambda: Campaign.objects.filter(pk=ours.pk).update(external=True)
        yield lambda: Campaign.objects.filter(pk=theirs.pk).update(state="open")

    for change in changes():
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_no_read_of_our_raters_judgements_holds_imported_ones_unless_asked(both: tuple[Campaign, Campaign], alice: User) -> None:
    ours, theirs = both
    for read in (Judgement.objects.current, Judgement.objects.speaking, Judgement.objects.votes):
        assert {one.assignment.campaign_id for one in read()} == {ours.pk}
        assert {one.assignment.campaign_id for one in read(external=True)} == {theirs.pk}
    assert figures.rows(theirs) == []
    draft = campaign([alice], pairs=2, opened=False)
    assert golds.add_settled(campaign=draft, count=5, actor=None) == 0, "three imported votes settle nothing for our raters"


def test_an_imported_campaign_cannot_be_opened_extended_or_derived_from(both: tuple[Campaign, Campaign], alice: User) -> None:
    theirs = both[1]
    for verb in (campaigns.open, campaigns.resume, campaigns.pause):
        with pytest.raises(campaigns.CampaignRefused):
            verb(campaign=theirs, actor=None)
    with pytest.raises(campaigns.CampaignRefused, match="imported"):
        campaigns.derive(campaign=theirs, actor=None, name="Next")
    with pytest.raises(campaigns.CampaignRefused):
        campaigns.add_members(campaign=theirs, members=[alice], actor=None)


def test_it_is_marked_external_on_every_page_that_lists_it(both: tuple[Campaign, Campaign], as_dan: Client) -> None:
    theirs = both[1]
    frozen = snapshots.freeze(campaign=theirs, name="Frozen", actor=None)
    assert frozen.external
    mark = '<span class="badge badge-external">external</span>'
    for address in ("/campaigns/", f"/campaigns/{theirs.public_id}/", "/snapshots/", f"/snapshots/{frozen.public_id}/"):
        assert mark in as_dan.get(address).content.decode(), address
    assert as_dan.get(f"/campaigns/{theirs.public_id}/progress/").status_code == 404
    assert as_dan.get(f"/api/v1/snapshots/{frozen.public_id}/").json()["external"] is True
    assert as_dan.get(f"/api/v1/campaigns/{theirs.public_id}/").json()["external"] is True
    page = as_dan.get(f"/campaigns/{theirs.public_id}/").content.decode()
    assert "<span>raters elsewhere, by pseudonym</span>" in page
    for verb in ("open", "extend", "derive", "members"):
        assert f"/campaigns/{theirs.public_id}/{verb}/" not in page, verb


VERDICTS = st.sampled_from([value for value in Verdict.values if value != "cannot_judge"])
ROWS = st.lists(st.tuples(st.integers(1, 4), VERDICTS, st.sampled_from(["", "a", "b"]), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_any_rows_are_stored_once_and_every_one_is_accounted_for(rows: list[tuple[int, str, str, bool]]) -> None:
    """In any order, on any side, in chunks or together: what is stored twice is stored once."""
    name = uuid4().hex
    mine = source(name)
    made = []
    for number, verdict, rater, turned in rows:
        one = row(number, verdict=verdict, rater=rater)
        if turned:
            said = preferences._SWAPPED.get(Verdict(verdict), verdict)
            one = row(
                number,
                verdict=said,
                rater=rater,
                first_text=one.second_text,
                second_text=one.first_text,
                first_system="Model Y",
                second_system="Model X",
            )
        made.append(one)
    done = preferences.store(source=mine, rows=made, actor=None, name=name)
    assert done.stored + done.already + sum(done.left_out.values()) == len(rows)
    stored = Judgement.objects.filter(assignment__campaign=done.campaign).count()
    assert stored == done.stored == len({(number, verdict, rater) for number, verdict, rater, _ in rows})
    again = preferences.store(source=mine, rows=reversed(made), actor=None, name=f"{name} again")
    assert (again.campaign, again.stored, again.already) == (done.campaign, 0, len(rows))
