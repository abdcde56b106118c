"""Ruling: beside the votes, never over them; once a key; by a lead who is blind and independent."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from accounts.models import AuditEntry, User
from annotation import adjudications, campaigns
from annotation.adjudications import KeyReused, NotTheirs, Ruling, RulingRefused, Taken, VotesChanged
from annotation.models import Adjudication, Campaign, Defect, Dispute, DisputeState, Judgement, Membership, Verdict
from tests.annotation.build import campaign
from tests.annotation.test_disputes import answer
from tests.cast import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def opposed(alice: User, bob: User) -> Campaign:
    """One pair; Alice finds the first much better, Bob the second."""
    made = campaign([alice, bob], pairs=1, overlap=2)
    answer(made, alice, Verdict.FIRST_MUCH)
    answer(made, bob, Verdict.SECOND_MUCH)
    return made


def rule(lead: User, *, dispute: Dispute | None = None, key: object = None, version: int | None = None, **said: object) -> Adjudication:
    found = dispute or Dispute.objects.get()
    return adjudications.rule(
        dispute=found, adjudicator=lead, ruling=Ruling(**{"outcome": "first", **said}),
        votes_version=found.votes_version if version is None else version, key=key or uuid4(),
    )  # fmt: skip


def test_a_ruling_stands_beside_the_votes(opposed: Campaign, carol: User) -> None:
    before = list(Judgement.objects.order_by("pk").values())
    made = rule(carol, rationale="The first names the right drug.")
    assert (made.outcome, made.revision, made.votes_version) == ("first", 1, Dispute.objects.get().votes_version)
    assert Dispute.objects.get().state == DisputeState.RULED
    assert list(Judgement.objects.order_by("pk").values()) == before
    entry = AuditEntry.objects.get(verb="dispute.ruled")
    assert (entry.actor_name, entry.details["outcome"]) == ("carol", "first")
    assert "drug" not in str(entry.details)


def test_the_database_refuses_to_change_or_delete_a_ruling(opposed: Campaign, carol: User) -> None:
    rule(carol)
    for change in (lambda: Adjudication.objects.update(outcome="second"), lambda: Adjudication.objects.all().delete()):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_ruling_again_is_a_new_revision_and_the_newest_holds(opposed: Campaign, carol: User) -> None:
    rule(carol)
    rule(carol, outcome="equivalent")
    assert list(Adjudication.objects.values_list("revision", "outcome")) == [(1, "first"), (2, "equivalent")]
    assert Adjudication.objects.newest().get().outcome == "equivalent"


def test_a_form_sent_twice_rules_once_and_with_other_words_not_at_all(opposed: Campaign, carol: User) -> None:
    key = uuid4()
    assert rule(carol, key=key).pk == rule(carol, key=key).pk
    with pytest.raises(KeyReused, match="the first one stands"):
        rule(carol, key=key, outcome="second")
    assert Adjudication.objects.get().outcome == "first"


def test_who_judges_in_the_campaign_does_not_rule_in_it_while_it_runs(opposed: Campaign, carol: User) -> None:
    Membership.objects.create(campaign=opposed, user=carol)
    with pytest.raises(NotTheirs):
        rule(carol)
    campaigns.pause(campaign=opposed, actor=None)
    with pytest.raises(NotTheirs):
        rule(carol)
    campaigns.close(campaign=opposed, actor=None)
    assert rule(carol).outcome == "first", "closed: she judged none of it and never will"


def test_who_judged_the_pair_never_rules_on_it(opposed: Campaign, alice: User) -> None:
    campaigns.close(campaign=opposed, actor=None)
    with pytest.raises(NotTheirs, match="another lead"):
        rule(alice)
    assert not Adjudication.objects.exists()


def test_a_ruling_on_votes_that_changed_meanwhile_is_asked_for_again(alice: User, bob: User, carol: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    answer(made, alice, Verdict.FIRST_MUCH, harm_first="major")
    seen = Dispute.objects.get().votes_version
    answer(made, bob, Verdict.SECOND_SLIGHTLY)
    with pytest.raises(VotesChanged):
        rule(carol, version=seen, harm_first="major")
    rule(carol, harm_first="major")
    assert Dispute.objects.get().state == DisputeState.RULED


def test_a_vote_after_the_ruling_opens_the_dispute_again(alice: User, bob: User, carol: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    answer(made, alice, Verdict.FIRST_MUCH, harm_first="major")
    rule(carol, outcome="second", harm_first="major")
    answer(made, bob, Verdict.SECOND_SLIGHTLY)
    dispute = Dispute.objects.get()
    assert (dispute.state, dispute.ruled_at is not None) == (DisputeState.OPEN, True)


@pytest.mark.parametrize(
    "said",
    [
        {"outcome": "defective"},
        {"outcome": "rubric_unclear"},
        {"must_not_train_second": True, "harm_first": "major"},
        {"block_promotion_first": True, "harm_first": "major"},
        {"harm_first": "minor"},
        {"harm_first": ""},
    ],
)
def test_words_are_needed_where_somebody_else_has_to_act_on_them(said: dict[str, object], alice: User, carol: User) -> None:
    made = campaign([alice], pairs=1)
    answer(made, alice, Verdict.SECOND_MUCH, harm_first="major")
    with pytest.raises(RulingRefused, match="A few words, please"):
        rule(carol, **{"outcome": "second", **said})
    rule(carol, **{"outcome": "second", "rationale": "It is a rounding, not an error.", **said})


def test_confirming_what_raters_flagged_needs_no_words(alice: User, carol: User) -> None:
    made = campaign([alice], pairs=1)
    answer(made, alice, Verdict.SECOND_MUCH, harm_first="major")
    assert rule(carol, outcome="second", harm_first="major").rationale == ""


def test_an_outcome_or_severity_that_does_not_exist_is_refused(opposed: Campaign, carol: User) -> None:
    with pytest.raises(RulingRefused, match="what you decide"):
        rule(carol, outcome="third")
    with pytest.raises(RulingRefused, match="severity"):
        rule(carol, harm_first="awful")


def test_a_defective_sample_goes_back_to_its_owner_with_the_leads_words(opposed: Campaign, carol: User) -> None:
    rule(carol, outcome="defective", rationale="The note stops in mid-sentence.")
    report = Defect.objects.get()
    assert (report.state, report.note) == ("open", "The note stops in mid-sentence.")
    assert report.sample == opposed.pairs.get().prompt.sample


def test_an_unclear_rubric_is_listed_with_its_campaign_until_ruled_otherwise(opposed: Campaign, carol: User) -> None:
    made = rule(carol, outcome="rubric_unclear", rationale="Is a missing date an omission?")
    assert adjudications.unclear(campaign=opposed) == [made]
    rule(carol, outcome="equivalent")
    assert adjudications.unclear(campaign=opposed) == []


def test_one_lead_at_a_time_has_a_dispute_before_them(opposed: Campaign, carol: User) -> None:
    other = person("carla", "adjudicator")
    dispute = Dispute.objects.get()
    assert adjudications.take(dispute=dispute, adjudicator=carol)
    assert not adjudications.take(dispute=dispute, adjudicator=other)
    assert adjudications.take_next(adjudicator=other) is None
    with pytest.raises(Taken):
        rule(other)
    # Carol walked away: her time is over by the database's clock.
    Dispute.objects.update(taken_until=timezone.now() - timedelta(seconds=1))
    assert adjudications.take_next(adjudicator=other) == dispute
    rule(other)
    assert Dispute.objects.get().taken_by is None


def test_the_gravest_comes_first_then_the_oldest(alice: User, bob: User, carol: User) -> None:
    made = campaign([alice, bob], pairs=3, overlap=2)
    given = [answer(made, alice, Verdict.FIRST_MUCH) for _ in range(3)]
    answer(made, bob, Verdict.SECOND_MUCH)
    answer(made, bob, Verdict.SECOND_MUCH, harm_first="life_threatening")
    answer(made, bob, Verdict.SECOND_MUCH)
    order = []
    while (taken := adjudications.take_next(adjudicator=carol)) is not None:
        order.append(taken.pair_id)
        rule(carol, dispute=taken, harm_first="life_threatening" if taken.severity else "")
    assert order == [given[1].assignment.pair_id, given[0].assignment.pair_id, given[2].assignment.pair_id]


def test_what_is_put_off_comes_back_after_a_week(opposed: Campaign, carol: User) -> None:
    dispute = Dispute.objects.get()
    assert adjudications.defer(disputes=[dispute], adjudicator=carol) == 1
    assert adjudications.take_next(adjudicator=carol) is None
    assert list(Dispute.objects.put_off()) == [dispute]
    Dispute.objects.update(deferred_until=timezone.now())
    assert adjudications.take_next(adjudicator=carol) == dispute
    assert adjudications.defer(disputes=[dispute], adjudicator=person("carla", "adjudicator")) == 0, "Carol has it before her"
