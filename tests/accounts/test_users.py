"""The list of people, for administrators: who is here, in which role and state, and who still has to join."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts import consents, invitations, tokens
from accounts.models import Profile, User
from tests.cast import PASSWORD, person

PAGE = "/users/"


def names(client: Client, **choice: str) -> list[str]:
    return [one.username for one in client.get(PAGE, choice).context["people"]]


@pytest.fixture
def house(alice: User, carol: User, frank: User, dan: User, ada: User) -> None:
    person("grace", "annotator", consents=False)
    person("rater-1", "annotator", simulated=True, consents=False)
    made, _ = invitations.create(name="Dr. Amina Khan", roles=["annotator"], purpose="To judge.", minutes=30, days=7, actor=ada)
    invitations.accept(invitation=made, username="ak", password=PASSWORD)


def test_it_shows_roles_state_and_live_tokens(alice: User, frank: User, dan: User, as_ada: Client) -> None:
    tokens.create(user=dan, label="script", scopes=["read"], days=7)
    page = as_ada.get(PAGE).content.decode()
    for word in ("alice", "Clinician", "frank", "disabled", "Trainer", "Administrator", "consent 1, profile"):
        assert word in page
    listed = {user.username: user.live_tokens for user in as_ada.get(PAGE).context["people"].object_list}
    assert listed == {"ada": 0, "alice": 0, "dan": 1, "frank": 0}


def test_simulated_raters_say_so(as_ada: Client) -> None:
    person("rater-1", "annotator", simulated=True)
    assert '<span class="badge badge-simulated">simulated</span>' in as_ada.get(PAGE).content.decode()


def test_those_who_are_here_come_first_and_programs_and_the_disabled_last(house: None, as_ada: Client) -> None:
    assert names(as_ada) == ["ada", "ak", "alice", "carol", "dan", "grace", "rater-1", "frank"]


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ({"role": "adjudicator"}, ["carol"]),
        ({"role": "annotator"}, ["ak", "alice", "grace", "rater-1", "frank"]),
        ({"role": "king"}, ["ada", "ak", "alice", "carol", "dan", "grace", "rater-1", "frank"]),
        ({"state": "disabled"}, ["frank"]),
        ({"state": "simulated"}, ["rater-1"]),
        ({"state": "joining"}, ["ak", "grace"]),
        ({"state": "idle"}, ["ak", "alice", "carol", "dan", "grace"]),
        ({"state": "active"}, ["ada", "ak", "alice", "carol", "dan", "grace"]),
        ({"q": "LIC"}, ["alice"]),
        ({"q": "khan"}, ["ak"]),
        ({"q": "a", "role": "annotator", "state": "joining"}, ["ak", "grace"]),
        ({"q": "%"}, []),
    ],
)
def test_it_narrows(choice: dict[str, str], found: list[str], house: None, as_ada: Client) -> None:
    assert names(as_ada, **choice) == found


def test_nobody_found_says_so_and_leads_back(as_ada: Client) -> None:
    page = as_ada.get(PAGE, {"q": "nobody"}).content.decode()
    assert "Nobody matches this choice." in page
    assert 'value="nobody"' in page


def test_it_tells_what_is_missing(alice: User, as_ada: Client, sam: User) -> None:
    grace = person("grace", "annotator", consents=False)
    assert "no consent, no profile" in as_ada.get(PAGE, {"q": "grace"}).content.decode()
    consents.give(user=grace, text=consents.current())
    assert "no profile" in as_ada.get(PAGE, {"q": "grace"}).content.decode()
    Profile.objects.create(user=grace, specialties=["nursing"], profession="nurse", years=1, languages=["English"])
    assert "consent 1, profile" in as_ada.get(PAGE, {"q": "grace"}).content.decode()
    consents.publish(version="2", text="A longer text. " * 20, actor=sam)
    assert "asked again" in as_ada.get(PAGE, {"q": "alice"}).content.decode()


def test_its_cost_does_not_grow_with_people(as_ada: Client, django_assert_num_queries: Callable[[int], Any]) -> None:
    for size in (2, 14):
        while User.objects.count() < size:
            made, _ = invitations.create(name="Guest", roles=["annotator"], purpose="x", minutes=1, days=1, actor=None)
            invitations.accept(invitation=made, username=f"guest-{made.pk}", password=PASSWORD)
        # Session, user with roles; invited people waiting, count, people, their roles.
        with django_assert_num_queries(6):
            as_ada.get(PAGE)


def test_a_name_that_the_database_cannot_hold_is_nobodys(as_ada: Client, as_sam: Client) -> None:
    assert as_ada.get(PAGE, {"q": "a\x00d"}).status_code == 200
    assert as_sam.get("/audit/", {"actor": "\x00", "verb": "a\x00b"}).status_code == 200
