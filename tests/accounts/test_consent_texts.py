"""Publishing consent texts: looked at before it is published, never changed after, and how many agreed to which."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts import consents
from accounts.models import AuditEntry, ConsentText, User
from tests.cast import person

PAGE = "/consent-texts/"
TEXT = "# How your answers are used\n\n- **Kept** as you gave them.\n- Never <b>sold</b>.\n\n" + "One more sentence about it. " * 8


def look(client: Client, **changes: str) -> Any:
    return client.post(PAGE, {"version": "2", "text": TEXT, "preview": "1", **changes})


def publish(client: Client, text: str = TEXT, **changes: str) -> Any:
    """Look at a text and publish what was seen."""
    seen = look(client, text=text).context["seen"]
    return client.post(PAGE, {"version": "2", "text": text, "publish": "1", "seen": seen, **changes})


def test_the_steward_sees_every_version_and_who_agreed(alice: User, bob: User, carol: User, as_sam: Client, sam: User) -> None:
    person("grace", "annotator", consents=False)
    consents.withdraw(user=bob)
    consents.publish(version="2", text=TEXT, actor=sam)
    consents.give(user=alice, text=consents.current())
    answer = as_sam.get(PAGE)
    shown = [(text.version, text.standing, text.withdrawn) for text, _ in answer.context["texts"]]
    # Alice and Carol stand by the first, Bob withdrew; Sam, who does not rate, is not counted.
    assert shown == [("2", 1, 0), ("1", 2, 1)]
    assert "4 active people rate" in answer.content.decode()


def test_a_text_is_looked_at_before_it_is_published(as_sam: Client) -> None:
    answer = look(as_sam)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "Not published yet." in page
    assert "<h2>How your answers are used</h2>" in page
    assert "Never &lt;b&gt;sold&lt;/b&gt;." in page
    assert [text.version for text in ConsentText.objects.all()] == ["1"]


def test_publishing_asks_everybody_again(as_sam: Client, alice: User) -> None:
    answer = publish(as_sam)
    assert (answer.status_code, answer.headers["Location"]) == (302, PAGE)
    made = consents.current()
    assert (made.version, made.published_by.username) == ("2", "sam")  # type: ignore[union-attr]
    assert not consents.given(alice)
    entry = AuditEntry.objects.get(verb="consent_text.published")
    assert entry.details == {"version": "2", "digest": made.digest}
    assert "sold" not in str(entry.details)


def test_what_is_published_is_what_was_seen(as_sam: Client) -> None:
    seen = look(as_sam).context["seen"]
    answer = as_sam.post(PAGE, {"version": "2", "text": TEXT + "And we sell it.", "publish": "1", "seen": seen})
    assert b"You changed the text after looking at it" in answer.content
    assert b"And we sell it." in answer.content
    # Nor without looking at all.
    assert b"Not published yet." in as_sam.post(PAGE, {"version": "2", "text": TEXT, "publish": "1"}).content
    assert ConsentText.objects.count() == 1


def test_line_ends_of_a_browser_make_no_difference(as_sam: Client) -> None:
    assert look(as_sam).context["seen"] == look(as_sam, text=TEXT.replace("\n", "\r\n") + "\r\n").context["seen"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": ""}, "This field is required."),
        ({"version": "1"}, "There is a version of this name already."),
        ({"version": "x" * 21}, "at most 20 characters"),
    ],
)
def test_a_mistake_publishes_nothing_and_keeps_the_text(changes: dict[str, str], message: str, as_sam: Client) -> None:
    answer = publish(as_sam, **changes)
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assert "One more sentence about it." in answer.content.decode()
    assert ConsentText.objects.count() == 1


def test_a_text_too_short_to_say_anything_is_refused(as_sam: Client) -> None:
    answer = look(as_sam, text="Do you agree?")
    assert answer.status_code == 422
    assert b"A consent text that short cannot say" in answer.content


def test_the_same_text_twice_is_refused(as_sam: Client) -> None:
    publish(as_sam)
    answer = publish(as_sam, version="3")
    assert answer.status_code == 422
    assert b"This is the text of version 2, word for word." in answer.content
    assert consents.current().version == "2"


def test_the_next_version_is_suggested(as_sam: Client, sam: User) -> None:
    assert as_sam.get(PAGE).context["form"]["version"].value() == "2"
    consents.publish(version="2027-01", text=TEXT, actor=sam)
    consents.publish(version="7", text=TEXT + "Seven.", actor=sam)
    assert as_sam.get(PAGE).context["form"]["version"].value() == "8"


def test_its_cost_does_not_grow(as_sam: Client, sam: User, django_assert_num_queries: Callable[[int], Any]) -> None:
    for number in (2, 9):
        while ConsentText.objects.count() < number:
            consents.publish(version=f"v{ConsentText.objects.count()}", text=f"{TEXT} {ConsentText.objects.count()}", actor=sam)
        # Session, user with roles; current, versions, names for the suggestion, raters.
        with django_assert_num_queries(6):
            as_sam.get(PAGE)
