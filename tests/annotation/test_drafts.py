"""Drafts: every change of the form is kept on the server, the newest wins, and an answer ends them."""

from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import AuditEntry, User
from annotation import judgements
from annotation.models import Assignment, Draft, Verdict
from tests.annotation.build import campaign, judge, lease

pytestmark = pytest.mark.django_db


def save(client: Client, held: Assignment, **fields: Any) -> Any:
    data = {"verdict": "a_slightly", "key": str(uuid4()), **fields}
    return client.post(f"/rate/{held.public_id}/draft/", {name: value for name, value in data.items() if value is not None})


def page_of(client: Client, held: Assignment) -> str:
    return client.get(f"/rate/{held.public_id}/").content.decode()


@pytest.fixture
def held(alice: User) -> Assignment:
    return lease(campaign([alice]), alice)


def test_what_was_entered_is_there_again(as_alice: Client, held: Assignment) -> None:
    key = str(uuid4())
    spans = '[{"side": "a", "start": 0, "end": 3, "kind": "fabrication", "severity": "minor"}]'
    answer = save(
        as_alice, held, key=key, draft_number=3, rationale="B leaves “the dose” out", reasons=["facts", "safer"], harm_b="major",
        harm_b_type="omission", hard="ambiguous", spans=spans, edited="Line one\r\nline <two>", edited_side="a",
        quote_side=["a", "", ""], quote_text=["chest pain", "", ""], quote_kind=["omission", "", ""], quote_severity=["minor", "", ""],
    )  # fmt: skip
    assert (answer.status_code, answer.content) == (204, b"")
    form = as_alice.get(f"/rate/{held.public_id}/").context["form"]
    assert {name: form.held(name) for name in ("verdict", "key", "rationale", "harm_b", "hard", "edited_side", "spans")} == {
        "verdict": "a_slightly", "key": key, "rationale": "B leaves “the dose” out", "harm_b": "major", "hard": "ambiguous",
        "edited_side": "a", "spans": spans,
    }  # fmt: skip
    assert form.held("reasons") == ["facts", "safer"]
    assert form.quotes()[0] == {"side": "a", "text": "chest pain", "kind": "omission", "severity": "minor"}
    assert form.held("draft_number") == "3"
    page = page_of(as_alice, held)
    assert "B leaves “the dose” out" in page
    assert "line &lt;two&gt;" in page


def test_sent_from_the_draft_with_its_key_an_answer_counts_once(as_alice: Client, held: Assignment) -> None:
    key = str(uuid4())
    save(as_alice, held, key=key)
    for _ in range(2):
        as_alice.post(f"/rate/{held.public_id}/", {"verdict": "a_slightly", "key": key})
    assert held.judgements.count() == 1
    assert not Draft.objects.exists()


def test_an_older_draft_that_comes_late_does_not_overwrite(as_alice: Client, held: Assignment) -> None:
    for number, words in ((2, "second"), (1, "first"), (2, "second again"), (10, "tenth"), (9, "ninth")):
        assert save(as_alice, held, draft_number=number, rationale=words).status_code == 204
    draft = Draft.objects.get()
    assert (draft.number, draft.answer["rationale"]) == (10, "tenth")


@pytest.mark.parametrize("number", ["x", "-1", "99999999999999999999", "٣٤", ""])
def test_a_number_that_is_none_counts_as_nothing(as_alice: Client, held: Assignment, number: str) -> None:
    assert save(as_alice, held, draft_number=number).status_code == 204
    assert Draft.objects.get().number in (0, 34)


def test_after_the_answer_there_is_nothing_to_draft(as_alice: Client, held: Assignment) -> None:
    save(as_alice, held)
    judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
    answer = save(as_alice, held, draft_number=99)
    assert answer.status_code == 409
    assert answer.json()["address"] == f"/rate/{held.public_id}/"
    assert not Draft.objects.exists()


def test_changing_an_answer_can_be_drafted(as_alice: Client, alice: User) -> None:
    first = judge(campaign([alice]), alice)
    assert save(as_alice, first.assignment, amends="1", rationale="On second thoughts").status_code == 204
    assert "On second thoughts" in page_of(as_alice, first.assignment)
    # Once that answer was changed elsewhere, the draft is of an answer that stands no more.
    Draft.objects.all().delete()
    judgements.amend(judgement=first, verdict=Verdict.SECOND_MUCH, key=uuid4())
    assert save(as_alice, first.assignment, amends="1").status_code == 409
    Draft.objects.create(assignment=first.assignment, answer={"amends": "1", "rationale": "Too late"})
    assert "Too late" not in page_of(as_alice, first.assignment)


def test_more_than_a_draft_holds_is_refused_and_the_last_one_stays(as_alice: Client, held: Assignment) -> None:
    save(as_alice, held, draft_number=1, edited="short")
    answer = save(as_alice, held, draft_number=2, edited="ä" * 50_001)
    assert answer.status_code == 413
    assert "100 kB" in answer.json()["detail"]
    assert Draft.objects.get().answer["edited"] == "short"


def test_what_no_database_can_hold_is_replaced_and_shows(as_alice: Client, held: Assignment) -> None:
    assert save(as_alice, held, rationale="a\x00b").status_code == 204
    assert Draft.objects.get().answer["rationale"] == "a\ufffdb"


def test_unknown_fields_are_left_out_and_scales_are_kept(as_alice: Client, held: Assignment) -> None:
    sent = {"axis-complete": "2", "axis-missing-b": "3", "csrfmiddlewaretoken": "t", "is_gold": "yes", "axis-<script>": "1"}
    save(as_alice, held, **sent)
    assert set(Draft.objects.get().answer) == {"verdict", "key", "axis-complete", "axis-missing-b"}


def test_a_page_that_is_being_left_can_still_send_it(alice: User, held: Assignment) -> None:
    """As sendBeacon does: a form in the body, its token with it, no header of ours."""
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    page = strict.get(f"/rate/{held.public_id}/")
    token = page.context["csrf_token"]
    body = urlencode({"verdict": "b_much", "key": str(uuid4()), "csrfmiddlewaretoken": str(token)})
    address = f"/rate/{held.public_id}/draft/"
    kind = "application/x-www-form-urlencoded"
    assert strict.post(address, body.split("&csrf")[0], content_type=kind).status_code == 403
    assert strict.post(address, body, content_type=kind).status_code == 204
    assert Draft.objects.get().answer["verdict"] == "b_much"


def test_nobody_else_sees_or_writes_a_draft(as_bob: Client, bob: User, alice: User) -> None:
    held = lease(campaign([alice, bob]), alice)
    assert save(as_bob, held).status_code == 404
    assert not Draft.objects.exists()


def test_drafts_leave_no_trace_in_the_audit_trail_or_the_log(as_alice: Client, held: Assignment, caplog: pytest.LogCaptureFixture) -> None:
    before = AuditEntry.objects.count()
    with caplog.at_level("DEBUG"):
        save(as_alice, held, rationale="canary-words")
        save(as_alice, held, edited="canary-words" * 10_000)
        save(as_alice, held, draft_number="canary-words")
    assert AuditEntry.objects.count() == before
    assert "canary-words" not in "".join(record.getMessage() for record in caplog.records if record.name != "django.db.backends")


def test_saving_takes_few_queries(as_alice: Client, held: Assignment, django_assert_max_num_queries: Any) -> None:
    save(as_alice, held, draft_number=1)
    # Session, user with roles, assignment; two for the savepoint of the test's own transaction, the lock, the update.
    with django_assert_max_num_queries(8):
        save(as_alice, held, draft_number=2)
