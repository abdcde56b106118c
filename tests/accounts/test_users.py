"""The list of people, for administrators."""

from django.test import Client

from accounts import tokens
from accounts.models import User
from tests.cast import person


def test_it_shows_roles_state_and_live_tokens(alice: User, frank: User, dan: User, as_ada: Client) -> None:
    tokens.create(user=dan, label="script", scopes=["read"], days=7)
    page = as_ada.get("/users/").content.decode()
    for word in ("alice", "Clinician", "frank", "disabled", "Trainer", "Administrator"):
        assert word in page
    listed = {user.username: user.live_tokens for user in as_ada.get("/users/").context["people"].object_list}
    assert listed == {"ada": 0, "alice": 0, "dan": 1, "frank": 0}


def test_simulated_raters_say_so(as_ada: Client) -> None:
    person("rater-1", "annotator", simulated=True)
    assert '<span class="badge badge-simulated">simulated</span>' in as_ada.get("/users/").content.decode()


def test_its_cost_does_not_grow_with_people(as_ada: Client, django_assert_max_num_queries: object) -> None:
    for number in range(12):
        person(f"clinician-{number}", "annotator", "adjudicator")
    with django_assert_max_num_queries(7):  # type: ignore[operator]
        as_ada.get("/users/")
