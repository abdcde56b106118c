"""The campaign's figures on a page: at once where they are few, on request where they are many, and never to those who judge."""

from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from annotation import campaigns
from annotation.models import Campaign, Verdict
from annotation.views import progress as view
from tests.annotation.build import campaign, judge
from tests.cast import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """Keys of the cache name campaigns by their number, which tests use again."""
    cache.clear()


def judged(members: list[User], pairs: int, verdict: Verdict = Verdict.FIRST_MUCH, **options: Any) -> Campaign:
    made = campaign(members, pairs=pairs, overlap=len(members), **options)
    for member in members:
        for _ in range(pairs):
            judge(made, member, verdict)
    return made


def text(client: Client, made: Campaign, **headers: str) -> str:
    response = client.get(f"/campaigns/{made.public_id}/progress/", headers=headers)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_an_empty_campaign_says_so(as_dan: Client, alice: User) -> None:
    page = text(as_dan, campaign([alice]))
    assert "No judgement yet" in page
    assert "0 of 6 judgements are in" in page


def test_few_judgements_show_no_number(as_dan: Client, alice: User, bob: User) -> None:
    page = text(as_dan, judged([alice, bob], 5))
    assert "n too small" in page
    assert "1.000" not in page


def test_agreement_is_shown_with_its_interval_from_thirty_pairs_on(as_dan: Client, alice: User, bob: User) -> None:
    page = text(as_dan, judged([alice, bob], 31))
    assert '<th scope="row">Raw agreement</th><td class="num">1.000</td>' in page
    # Unanimous: beyond chance there is nothing to say.
    assert '<th scope="row">Krippendorff’s alpha</th><td class="num muted" colspan="2">undefined</td>' in page


def test_a_member_of_the_open_campaign_is_turned_away(alice: User) -> None:
    from accounts.models import Role, RoleGrant

    made = campaign([alice])
    RoleGrant.objects.create(user=alice, role=Role.TRAINER)
    assert signed_in(alice).get(f"/campaigns/{made.public_id}/progress/").status_code == 404
    campaigns.close(campaign=made, actor=None)
    assert signed_in(alice).get(f"/campaigns/{made.public_id}/progress/").status_code == 200


def test_a_lead_sees_no_producer_before_the_campaign_has_closed(as_carol: Client, as_dan: Client, alice: User) -> None:
    made = judged([alice], 31, systems=("canary-north", "canary-south"))
    assert "canary" not in text(as_carol, made)
    assert "Text source 1" in text(as_carol, made)
    assert "canary-north" in text(as_dan, made)
    campaigns.close(campaign=made, actor=None)
    assert "canary-north" in text(as_carol, made)


def test_many_judgements_are_worked_out_on_request_and_kept(
    as_dan: Client, alice: User, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    made = judged([alice], 4)
    monkeypatch.setattr(view, "AT_ONCE", 3)
    waiting = text(as_dan, made)
    assert "Being worked out from 4 judgements" in waiting
    assert "Agreement on the side" not in waiting
    assert "Agreement on the side" in text(as_dan, made, **{"HX-Request": "true"})
    # Kept: the page has them now.
    with django_assert_max_num_queries(12):
        assert "Agreement on the side" in text(as_dan, made)


def test_without_scripts_a_link_shows_them(as_dan: Client, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    made = judged([alice], 4)
    monkeypatch.setattr(view, "AT_ONCE", 3)
    assert "?figures=1" in text(as_dan, made)
    response = as_dan.get(f"/campaigns/{made.public_id}/progress/?figures=1")
    assert "Agreement on the side" in response.content.decode()


def test_the_forecast_follows_the_last_weeks_pace() -> None:
    days = Counter({date(2026, 1, day): 10 for day in range(1, 8)})
    found = view.burn_up(days, wanted=100, today=date(2026, 1, 7), ended=False)
    assert found["forecast"] == {"day": date(2026, 1, 10), "pace": 10.0, "window": 7}
    assert "forecast" in found["burn_up"]


def test_a_closed_or_stalled_campaign_has_no_forecast() -> None:
    days = Counter({date(2026, 1, 1): 10})
    assert view.burn_up(days, wanted=100, today=date(2026, 1, 2), ended=True)["forecast"] is None
    stalled = view.burn_up(days, wanted=100, today=date(2026, 2, 2), ended=False)
    assert (stalled["forecast"], stalled["stalled"]) == (None, True)
