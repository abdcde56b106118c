"""What a lead sees of raters: figures from thirty judgements on, in no order of merit, without names while votes may need a ruling."""

import pytest
from django.test import Client

from accounts.models import User
from annotation import campaigns
from annotation.views.calibration import pseudonym
from tests.annotation.test_progress import judged

pytestmark = pytest.mark.django_db


def text(client: Client, made: object) -> str:
    response = client.get(f"/campaigns/{made.public_id}/calibration/")  # type: ignore[attr-defined]
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_nothing_is_shown_of_a_rater_with_few_judgements(as_carol: Client, alice: User, bob: User) -> None:
    page = text(as_carol, judged([alice, bob], 5))
    assert "Nobody has 30 judgements yet" in page
    assert "n too small" in page


def test_raters_have_pseudonyms_until_the_campaign_closes(as_carol: Client, alice: User, bob: User) -> None:
    made = judged([alice, bob], 31)
    page = text(as_carol, made)
    names = sorted(pseudonym(made, user.pk) for user in (alice, bob))
    assert "alice" not in page
    assert page.index(f'<th scope="row">{names[0]}') < page.index(f'<th scope="row">{names[1]}')
    assert "1.00 (0.89 to 1.00; n = 31)" in page
    campaigns.close(campaign=made, actor=None)
    closed = text(as_carol, made)
    assert closed.index(">alice<") < closed.index(">bob<")


def test_a_pseudonym_differs_between_campaigns(alice: User) -> None:
    one, other = judged([alice], 1), judged([alice], 1)
    assert pseudonym(one, alice.pk) != pseudonym(other, alice.pk)


def test_an_empty_campaign_leads_back(as_carol: Client, alice: User) -> None:
    from tests.annotation.build import campaign

    assert "Nobody has judged here yet" in text(as_carol, campaign([alice]))
