"""The safety board: every major flag one may see, what kind in which task, how long it waits, and what was ruled."""

import re
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from annotation import adjudications, campaigns, flags, judgements
from annotation.adjudications import Ruling
from annotation.models import Campaign, Dispute, Membership, Verdict
from tests.annotation.build import campaign
from tests.annotation.test_disputes import answer
from tests.cast import person, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def flagged(alice: User) -> Campaign:
    """Three pairs of one task: a wrong dose, two omissions (one on both sides), by systems called north and south."""
    made = campaign([alice], pairs=3, systems=("north", "south"), name="Ward letters")
    answer(made, alice, Verdict.FIRST_MUCH, harm_second="major", harm_second_type="wrong_dose")
    answer(made, alice, Verdict.FIRST_MUCH, harm_second="life_threatening", harm_second_type="omission")
    answer(
        made, alice, Verdict.BOTH_UNACCEPTABLE,
        harm_first="major", harm_first_type="omission", harm_second="major", harm_second_type="omission",
    )  # fmt: skip
    return made


def settle(lead: User, **said: object) -> None:
    for dispute in Dispute.objects.waiting():
        ruling = Ruling(**{"outcome": "equivalent", "rationale": "Looked at it.", **said})
        adjudications.rule(dispute=dispute, adjudicator=lead, ruling=ruling, votes_version=dispute.votes_version, key=uuid4())


def test_it_counts_flags_by_kind_and_task(flagged: Campaign) -> None:
    found = flags.heat([flagged])
    assert found.tasks == ["summarization"]
    assert found.rows == [("Something vital is missing", [3], 3), ("Wrong dose, unit or value", [1], 1)]
    assert (found.most, found.total) == (3, 4)


def test_without_flags_it_says_so(as_carol: Client, as_dan: Client) -> None:
    assert "No rater has flagged major harm." in as_carol.get("/safety/").content.decode()
    assert "No rater has flagged major harm in a campaign you may see." in as_dan.get("/safety/").content.decode()


def test_the_lead_sees_what_waits_and_goes_there(as_carol: Client, flagged: Campaign) -> None:
    page = as_carol.get("/safety/").content.decode()
    assert "Ward letters" in page
    assert page.count("life-threatening</span>") == 1
    assert page.count("major harm</span>") == 2
    assert set(re.findall(r'href="/adjudicate/([^"]+)/"', page)) == {str(row.public_id) for row in Dispute.objects.all()}
    assert Dispute.objects.open_flags().count() == 3


def test_rulings_and_the_time_they_took_are_shown(as_carol: Client, carol: User, flagged: Campaign) -> None:
    settle(carol, must_not_train_second=True, block_promotion_second=True, harm_second="major")
    page = as_carol.get("/safety/?show=ruled").content.decode()
    assert page.count("must not train</span>") == 3
    assert page.count("blocks promotion</span>") == 3
    assert page.count("harm confirmed</span>") == 3
    (row,) = flags.board(carol)
    assert (row.waiting, row.ruled, row.moot) == (0, 3, 0)
    assert row.to_close is not None
    assert row.to_close.total_seconds() >= 0


def test_a_flag_that_was_taken_back_is_kept_apart(as_carol: Client, flagged: Campaign, alice: User) -> None:
    judgements.undo_last(campaign=flagged, annotator=alice)
    page = as_carol.get("/safety/?show=moot").content.decode()
    assert "taken back</span>" in page
    assert flags.heat([flagged]).total == 2


def test_a_trainer_sees_who_wrote_the_flagged_texts_and_a_lead_only_when_all_is_settled(
    as_dan: Client, as_carol: Client, carol: User, flagged: Campaign
) -> None:
    (south, north) = flags.by_producer([flagged])
    assert (south["texts"], north["texts"], south["flags"], north["flags"]) == (3, 3, 3, 1)
    assert "north" in as_dan.get("/safety/").content.decode()
    lead = as_carol.get("/safety/").content.decode()
    assert "north" not in lead
    assert "once a campaign has closed and nothing in it waits" in lead
    campaigns.close(campaign=flagged, actor=None)
    assert "north" not in as_carol.get("/safety/").content.decode(), "closed, but she still has to rule, blinded"
    settle(carol)
    assert "north" in as_carol.get("/safety/").content.decode()


def test_who_judges_in_a_campaign_sees_none_of_its_flags_while_it_runs(as_dan: Client, dan: User, flagged: Campaign) -> None:
    Membership.objects.create(campaign=flagged, user=dan)
    assert "Ward letters" not in as_dan.get("/safety/").content.decode()
    campaigns.pause(campaign=flagged, actor=None)
    assert "Ward letters" not in as_dan.get("/safety/").content.decode()
    campaigns.close(campaign=flagged, actor=None)
    assert "Ward letters" in as_dan.get("/safety/").content.decode()


def test_it_takes_as_many_queries_for_three_flags_as_for_one(as_carol: Client, alice: User) -> None:
    made = campaign([alice], pairs=4)
    counts = []
    for _ in range(2):
        answer(made, alice, Verdict.FIRST_MUCH, harm_second="major")
        as_carol.get("/safety/")
        with CaptureQueriesContext(connection) as queries:
            as_carol.get("/safety/")
        counts.append(len(queries))
        answer(made, alice, Verdict.FIRST_MUCH, harm_second="major")
    assert counts[0] == counts[1]
    assert counts[0] <= 18


def test_an_annotator_has_no_board(flagged: Campaign) -> None:
    assert signed_in(person("rita", "annotator")).get("/safety/").status_code == 403
