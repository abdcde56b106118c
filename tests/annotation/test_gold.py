"""What pairs with a known answer show, to trainers and leads; and what leads do about a qualification."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from annotation import campaigns
from annotation.models import Campaign, Gold, Membership, Verdict
from tests.annotation.build import campaign, judge, qualification
from tests.cast import person, signed_in

pytestmark = pytest.mark.django_db


def address(made: Campaign) -> str:
    return f"/campaigns/{made.public_id}/gold/"


def text(client: Client, made: Campaign) -> str:
    response = client.get(address(made))
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


@pytest.fixture
def failed(alice: User) -> Campaign:
    made = qualification([alice], pairs=2)
    for _ in range(4):
        judge(made, alice, Verdict.SECOND_MUCH)
    return made


def test_few_answers_say_nothing_about_a_person(as_dan: Client, alice: User) -> None:
    made = campaign([alice], pairs=3, opened=False)
    from annotation import golds

    golds.mark(pair=made.pairs.earliest("pk"), accepts=golds.FIRST, explanation="", origin="written", actor=None)
    campaigns.open(campaign=made, actor=None)
    for _ in range(3):
        judge(made, alice)
    page = text(as_dan, made)
    assert "1 pair here has a known answer. Raters are not told which" in page
    assert "n too small: fewer than 10 answers say nothing about a person" in page


def test_who_judges_in_a_running_campaign_does_not_see_it(as_carol: Client, alice: User, carol: User) -> None:
    made = campaign([alice, carol])
    assert as_carol.get(address(made)).status_code == 404
    campaigns.close(campaign=made, actor=None)
    assert as_carol.get(address(made)).status_code == 200


def test_a_lead_sees_who_has_no_try_left_and_gives_one(as_carol: Client, alice: User, failed: Campaign) -> None:
    page = text(as_carol, failed)
    assert "no try left" in page
    # The two answers of the last try, not the four of both.
    assert '<td class="num">0</td><td class="num">2</td>' in page
    assert "Give another try" in page
    response = as_carol.post(f"{address(failed)}{alice.pk}/try/")
    assert response["Location"] == address(failed)
    assert "alice may try once more." in text(as_carol, failed)
    assert Membership.objects.get(campaign=failed).attempt == 3
    as_carol.post(f"{address(failed)}{alice.pk}/try/")
    assert "Only somebody who has no try left needs another one." in text(as_carol, failed)


def test_no_try_for_somebody_who_is_no_member(as_carol: Client, eve: User, failed: Campaign) -> None:
    assert as_carol.post(f"{address(failed)}{eve.pk}/try/").status_code == 404


def test_a_draft_takes_settled_pairs(as_dan: Client, alice: User, bob: User, carol: User) -> None:
    earlier = campaign([alice, bob, carol], pairs=2, overlap=3)
    for rater in (alice, bob, carol):
        for _ in range(2):
            judge(earlier, rater)
    campaigns.close(campaign=earlier, actor=None)
    draft = campaign([alice], pairs=2, opened=False)
    assert "Take settled pairs from earlier campaigns" in text(as_dan, draft)
    assert as_dan.post(address(draft) + "settled/", {"count": "5"})["Location"] == address(draft)
    assert "2 settled pairs added as gold." in text(as_dan, draft)
    as_dan.post(address(draft) + "settled/", {"count": "5"})
    assert "No closed campaign has settled a further pair" in text(as_dan, draft)
    assert Gold.objects.filter(pair__campaign=draft).count() == 2


@pytest.mark.parametrize(("count", "words"), [("0", "greater than or equal to 1"), ("", "required"), ("201", "less than or equal to 200")])
def test_a_wrong_number_is_explained(as_dan: Client, alice: User, count: str, words: str) -> None:
    draft = campaign([alice], pairs=2, opened=False)
    response = as_dan.post(address(draft) + "settled/", {"count": count})
    assert response.status_code == 422
    assert words in response.content.decode()


def test_an_open_campaign_takes_none(as_dan: Client, alice: User) -> None:
    made = campaign([alice], pairs=2)
    as_dan.post(address(made) + "settled/", {"count": "1"})
    assert "The campaign has opened: what it asks is fixed." in text(as_dan, made)


def test_its_queries_do_not_grow_with_members(
    as_dan: Client, alice: User, bob: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    for members in ([alice], [alice, bob]):
        made = qualification(members, pairs=2)
        for member in members:
            judge(made, member)
        as_dan.get(address(made))
        with django_assert_num_queries(9):
            as_dan.get(address(made))


def test_nobody_gives_themselves_another_try() -> None:
    lead = person("lee", "adjudicator")
    made = qualification([lead], pairs=2, attempts=1)
    for _ in range(2):
        judge(made, lead, Verdict.SECOND_MUCH)
    as_lee = signed_in(lead)
    assert "Give another try" not in text(as_lee, made)
    answer = as_lee.post(f"{address(made)}{lead.pk}/try/", follow=True)
    assert "Nobody gives themselves another try" in answer.content.decode()
    assert Membership.objects.get(campaign=made, user=lead).failed_at is not None
