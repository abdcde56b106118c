"""Consent: to a version, by the person alone, withdrawn when they like; a new version asks everybody again."""

import threading
from typing import Any

import pytest
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.test import Client

from accounts import consents
from accounts.models import AuditEntry, Consent, ConsentText, User
from tests.cast import person, signed_in

PAGE = "/me/consent/"
LONGER = "# Once more\n\n" + "We keep what you judge, and say what for. " * 8


@pytest.fixture
def grace(db: None) -> User:
    """A clinician who has just come in."""
    return person("grace", "annotator", consents=False)


def agree(client: Client, **changes: Any) -> Any:
    form = client.get(PAGE).context["form"]
    return client.post(PAGE, {"text": form["text"].value(), "agree": "on", **changes})


def test_the_page_sets_the_current_text_and_asks(grace: User) -> None:
    page = signed_in(grace).get(PAGE).content.decode()
    assert "<h2>Before you judge</h2>" in page
    assert "<strong>What it is used for.</strong>" in page
    assert 'id="consent-form"' in page
    assert 'name="agree"' in page
    assert "Version 1" in page


def test_agreeing_records_the_version_and_leads_to_the_profile_and_back(grace: User) -> None:
    answer = agree(signed_in(grace), next="/rate/")
    assert answer.headers["Location"] == "/me/profile/?next=%2Frate%2F"
    given = Consent.objects.get(user=grace)
    assert (given.text.version, given.withdrawn_at) == ("1", None)
    entry = AuditEntry.objects.get(verb="consent.given")
    assert entry.actor_name == "grace"
    assert entry.details == {"version": "1", "digest": given.text.digest}


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "http:///evil.example", "\\\\evil"]
)
def test_it_never_leads_to_another_house(elsewhere: str, alice: User) -> None:
    Consent.objects.update(withdrawn_at="2026-01-01T00:00Z")
    assert agree(signed_in(alice), next=elsewhere).headers["Location"] == "/"
    assert "evil" not in signed_in(alice).get(PAGE, {"next": elsewhere}).content.decode()


def test_without_the_box_nothing_is_recorded(grace: User) -> None:
    client = signed_in(grace)
    answer = client.post(PAGE, {"text": consents.current().pk, "next": "/rate/"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "Tick the box if you agree." in page
    assert 'name="next" value="/rate/"' in page
    assert not Consent.objects.exists()


def test_nobody_agrees_to_what_they_did_not_read(grace: User, sam: User) -> None:
    client = signed_in(grace)
    read = client.get(PAGE).context["text"]
    consents.publish(version="2", text=LONGER, actor=sam)
    answer = client.post(PAGE, {"text": read.pk, "agree": "on"})
    assert answer.status_code == 409
    assert b"The text has changed while you read it." in answer.content
    assert b"<h2>Once more</h2>" in answer.content
    assert not Consent.objects.filter(user=grace).exists()
    with pytest.raises(ValueError, match="changed meanwhile"):
        consents.give(user=grace, text=read)


def test_agreeing_twice_is_agreeing_once(grace: User) -> None:
    client = signed_in(grace)
    for _ in range(2):
        assert agree(client).status_code == 302
    assert Consent.objects.filter(user=grace).count() == 1
    assert AuditEntry.objects.filter(verb="consent.given").count() == 1
    assert "You agreed to this version" in client.get(PAGE).content.decode()


def test_withdrawing_asks_first_and_says_what_it_means(as_alice: Client, alice: User) -> None:
    page = as_alice.get("/me/consent/withdraw/").content.decode()
    for words in ("nothing new is handed to you", "earlier judgements stay on record", "ask the data steward", "agree again at any time"):
        assert words in page
    assert consents.given(alice)
    answer = as_alice.post("/me/consent/withdraw/", follow=True)
    assert b"Your consent is withdrawn." in answer.content
    assert not consents.given(alice)
    assert AuditEntry.objects.get(verb="consent.withdrawn").actor_name == "alice"
    # The evidence stays, and a second time there is nothing to take back.
    assert Consent.objects.get(user=alice).withdrawn_at is not None
    assert b"There is no consent of yours to withdraw" in as_alice.get("/me/consent/withdraw/").content
    assert consents.withdraw(user=alice) == 0


def test_one_may_agree_again_after_withdrawing(as_alice: Client, alice: User) -> None:
    consents.withdraw(user=alice)
    assert agree(as_alice).headers["Location"] == "/"
    assert consents.given(alice)
    assert Consent.objects.filter(user=alice).count() == 2


def test_a_new_version_asks_everybody_again_and_keeps_the_old_agreement(alice: User, as_alice: Client, sam: User) -> None:
    made = consents.publish(version="2", text=LONGER, actor=sam)
    assert consents.current() == made
    assert not consents.given(alice)
    assert "This text is new." in as_alice.get(PAGE).content.decode()
    assert "Version 2 is asked for now" in as_alice.get("/me/profile/").content.decode()
    agree(as_alice)
    assert consents.given(alice)
    assert list(Consent.objects.filter(user=alice).order_by("pk").values_list("text__version", flat=True)) == ["1", "2"]


def test_programs_are_not_asked(db: None) -> None:
    assert consents.given(person("rater-1", "annotator", simulated=True, consents=False))


def test_a_fresh_house_asks_with_the_text_that_came_with_it(grace: User) -> None:
    assert not ConsentText.objects.exists()
    assert not consents.given(grace)
    with pytest.raises(consents.ConsentMissing) as missing:
        consents.require(grace)
    assert missing.value.address == PAGE
    assert consents.current().version == "1"
    assert consents.current() == consents.current()


@pytest.mark.parametrize("change", ["text", "version"])
def test_the_database_keeps_a_published_text_as_it_is(change: str, db: None) -> None:
    now = consents.current()
    with pytest.raises(DatabaseError), transaction.atomic():
        ConsentText.objects.filter(pk=now.pk).update(**{change: "other"})
    with pytest.raises(DatabaseError), transaction.atomic():
        ConsentText.objects.filter(pk=now.pk).delete()


def test_the_database_keeps_the_evidence(alice: User, bob: User) -> None:
    for change in ({"user": bob}, {"given_at": "2020-01-01T00:00Z"}):
        with pytest.raises(DatabaseError), transaction.atomic():
            Consent.objects.filter(user=alice).update(**change)
    with pytest.raises(DatabaseError), transaction.atomic():
        Consent.objects.filter(user=alice).delete()


@pytest.mark.django_db(transaction=True)
def test_eight_clicks_at_once_are_one_consent() -> None:
    grace = person("grace", "annotator", consents=False)
    text, ready, given = consents.current(), threading.Barrier(8), []

    def click() -> None:
        ready.wait(timeout=60)
        given.append(consents.give(user=grace, text=text).pk)
        connection.close()

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close_old_connections()
    assert len(given) == 8
    assert len(set(given)) == 1
    assert AuditEntry.objects.filter(verb="consent.given").count() == 1
