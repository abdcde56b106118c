"""The list of qualifications: a lead sees at once who waits."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from annotation.models import Verdict
from tests.annotation.build import judge, qualification

pytestmark = pytest.mark.django_db
ADDRESS = "/qualifications/"


def text(client: Client) -> str:
    return " ".join(client.get(ADDRESS).content.decode().split())


def test_who_has_no_try_left_is_counted_first(as_carol: Client, alice: User, bob: User) -> None:
    made = qualification([alice, bob], pairs=1, name="Letters")
    qualification([alice], pairs=1, name="Reports")
    judge(made, bob)
    for _ in range(2):
        judge(made, alice, Verdict.SECOND_MUCH)
    page = text(as_carol)
    assert page.index("Letters") < page.index("Reports")
    assert '<td class="num">2</td><td class="num">1</td>' in page
    assert "1 waits" in page
    assert f"/campaigns/{made.public_id}/gold/" in page


def test_without_any_it_says_how_one_comes_about(as_dan: Client, as_carol: Client) -> None:
    assert "New campaign" in text(as_dan)
    assert "A trainer can make one." in text(as_carol)


def test_its_queries_do_not_grow(as_carol: Client, alice: User, django_assert_num_queries: Callable[[int], Any]) -> None:
    for _ in range(2):
        qualification([alice], pairs=1)
        as_carol.get(ADDRESS)
        with django_assert_num_queries(3):
            as_carol.get(ADDRESS)
