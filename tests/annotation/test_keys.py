"""Keys: everybody may exchange them and switch them off, and no two actions ever share one."""

import re
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from annotation import keys

pytestmark = pytest.mark.django_db
ADDRESS = "/me/keys/"


def sent(**changes: str) -> dict[str, str]:
    return {f"key-{code}": changes.get(code, key) for code, key in keys.DEFAULTS.items() if code not in keys.FIXED}


def test_the_page_lists_every_action_with_its_key(as_alice: Client) -> None:
    page = as_alice.get(ADDRESS).content.decode()
    for action in keys.ACTIONS:
        assert action.label in page
        if action.code not in keys.FIXED:
            assert re.search(rf'name="key-{action.code}" value="{re.escape(action.default)}"', page)
    assert "Back to how they came" not in page


def test_as_they_come_no_two_actions_share_a_key() -> None:
    assert keys.check(keys.DEFAULTS) == {}
    assert set(keys.DEFAULTS) >= {"a_much", "submit", "undo", "diff", "extend", "harm_a", "next_sentence"}


def test_an_exchanged_key_is_kept_with_the_person_and_reaches_the_compare_screen(as_alice: Client, alice: User) -> None:
    from tests.annotation.build import campaign, lease

    response = as_alice.post(ADDRESS, sent(undo="z", diff="Shift+D"), follow=True)
    assert "Your keys are saved." in response.content.decode()
    alice.refresh_from_db()
    assert alice.preferences == {"keys": {"undo": "z", "diff": "Shift+D"}, "keys_off": False}
    context = as_alice.get(f"/rate/{lease(campaign([alice]), alice).public_id}/").context
    assert (context["keys"]["undo"], context["keys"]["diff"], context["keys"]["submit"]) == ("z", "Shift+D", "Enter")


def test_verdict_keys_on_the_compare_screen_follow(as_alice: Client, alice: User) -> None:
    from tests.annotation.build import campaign, lease

    as_alice.post(ADDRESS, sent(a_much="q", both_unacceptable="w"))
    context = as_alice.get(f"/rate/{lease(campaign([alice]), alice).public_id}/").context
    assert [key for _, _, key, _, _ in context["verdicts"]] == ["q", "2", "3", "4", "5", "w"]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"undo": "d"}, {"diff": "d is taken by “Take back the last answer” already."}),
        ({"undo": "1"}, {"undo": "1 is taken by “A much better” already."}),
        ({"undo": "Enter"}, {"undo": "Enter is kept for sending the answer: choose another key."}),
        ({"undo": ""}, {"undo": "One character, or Shift+ and a letter."}),
        ({"undo": "ab"}, {"undo": "One character, or Shift+ and a letter."}),
        ({"undo": " "}, {"undo": "One character, or Shift+ and a letter."}),
        ({"undo": "Shift+1"}, {"undo": "One character, or Shift+ and a letter."}),
        ({"undo": "\x07"}, {"undo": "One character, or Shift+ and a letter."}),
    ],
)
def test_a_key_that_cannot_be_used_is_said_beside_it_and_nothing_is_saved(
    as_alice: Client, alice: User, changes: dict[str, str], wrong: dict[str, str]
) -> None:
    response = as_alice.post(ADDRESS, sent(find="q", **changes))
    assert response.status_code == 422
    assert response.context["faults"] == wrong
    page = response.content.decode()
    assert "Nothing was saved yet" in page
    assert 'name="key-find" value="q"' in page, "what was right is still there"
    alice.refresh_from_db()
    assert alice.preferences == {}


def test_keys_can_be_exchanged_in_one_go(as_alice: Client, alice: User) -> None:
    assert as_alice.post(ADDRESS, sent(undo="d", diff="u")).status_code == 302
    alice.refresh_from_db()
    assert (keys.of(alice)["undo"], keys.of(alice)["diff"]) == ("d", "u")


def test_single_characters_can_be_switched_off_and_on(as_alice: Client, alice: User) -> None:
    from tests.annotation.build import campaign, lease

    address = f"/rate/{lease(campaign([alice]), alice).public_id}/"
    as_alice.post(ADDRESS, {**sent(), "keys_off": "on"})
    assert as_alice.get(address).context["keys_off"] is True
    assert re.search(r'name="keys_off" checked', as_alice.get(ADDRESS).content.decode())
    as_alice.post(ADDRESS, sent())
    assert as_alice.get(address).context["keys_off"] is False


def test_they_go_back_to_how_they_came(as_alice: Client, alice: User) -> None:
    as_alice.post(ADDRESS, {**sent(undo="z"), "keys_off": "on"})
    as_alice.post(ADDRESS, {**sent(undo="dd"), "keys_off": "on", "reset": "1"})
    alice.refresh_from_db()
    assert keys.of(alice) == keys.DEFAULTS
    assert keys.are_off(alice), "resetting keys is not switching them on"


def test_enter_cannot_be_taken_away(as_alice: Client, alice: User) -> None:
    assert as_alice.post(ADDRESS, {**sent(), "key-submit": "x"}).status_code == 422


def test_other_preferences_stay(alice: User) -> None:
    alice.preferences = {"something": "else"}
    alice.save()
    keys.save(user=alice, chosen={"undo": "z"}, off=True)
    alice.refresh_from_db()
    assert alice.preferences == {"something": "else", "keys": {"undo": "z"}, "keys_off": True}


@pytest.mark.parametrize("kept", [{"undo": "1"}, {"undo": 7}, {"gone": "q"}, {"undo": "\x00"}])
def test_what_was_kept_and_makes_no_sense_any_more_is_passed_over(alice: User, kept: dict[str, Any]) -> None:
    alice.preferences = {"keys": kept}
    assert keys.of(alice) == keys.DEFAULTS


@given(typed=st.text(max_size=8))
def test_whatever_is_typed_is_one_way_of_writing_a_key_or_none(typed: str) -> None:
    key = keys.written(typed)
    assert keys.written(key) == key


@pytest.mark.parametrize(
    ("typed", "key"),
    [("d", "d"), (" D ", "Shift+D"), ("shift+d", "Shift+D"), ("Shift+D", "Shift+D"), ("?", "?"), ("ENTER", "Enter"), ("Tab", "")],
)
def test_a_key_is_written_in_one_way(typed: str, key: str) -> None:
    assert keys.written(typed) == key


def test_trainers_have_no_keys(as_dan: Client) -> None:
    assert as_dan.get(ADDRESS).status_code == 403
