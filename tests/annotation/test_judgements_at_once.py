"""The same answer several times at the same moment, from threads with connections of their own: once each, whatever arrives first."""

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from accounts.models import User
from annotation import assignments, campaigns, disputes, drafts, judgements, memberships, slots, snapshots
from annotation.judgements import AlreadyAnswered, KeyReused, NothingToUndo
from annotation.models import Assignment, Campaign, Draft, Judgement, Verdict
from tests.annotation.build import campaign, judge, lease, qualification
from tests.threads import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]
TIMES = 5


def leases(made: Campaign, alice: User, count: int) -> list[Assignment]:
    """Pairs of Alice's, three held at a time."""
    held = [lease(made, alice)]
    while len(held) < count:
        ahead = assignments.lease_ahead(campaign=made, annotator=alice, beside=held[0])
        assert ahead is not None
        held.append(assignments.show(assignment=ahead))
    return held


def test_one_key_sent_five_times_at_once_is_stored_once_and_answered_alike(alice: User) -> None:
    made = campaign([alice], pairs=12)
    for _ in range(12):
        held, key = lease(made, alice), uuid4()
        given = at_once(*[lambda h=held, k=key: judgements.submit(assignment=h, verdict=Verdict.FIRST_MUCH, key=k)] * TIMES)  # type: ignore[misc]
        assert {one.pk for one in given} == {Judgement.objects.latest("pk").pk}
    assert Judgement.objects.count() == 12
    assert slots.unbalanced(made) == []


def test_two_tabs_at_once_leave_the_first_answer_that_arrived(alice: User) -> None:
    made = campaign([alice], pairs=12)
    for _ in range(12):
        held = lease(made, alice)
        verdicts = [Verdict.FIRST_MUCH, Verdict.SECOND_MUCH, Verdict.BOTH_ACCEPTABLE]
        given = at_once(*[lambda h=held, v=v: judgements.submit(assignment=h, verdict=v, key=uuid4()) for v in verdicts])  # type: ignore[misc]
        assert sorted(type(one).__name__ for one in given) == ["AlreadyAnswered", "AlreadyAnswered", "Judgement"]
        stored = next(one for one in given if isinstance(one, Judgement))
        assert {one.judgement.pk for one in given if isinstance(one, AlreadyAnswered)} == {stored.pk}
    assert Judgement.objects.count() == 12


def test_one_key_for_two_pairs_at_once_is_refused_for_one(alice: User) -> None:
    made = campaign([alice], pairs=12)
    for _ in range(6):
        held, key = leases(made, alice, 2), uuid4()
        given = at_once(*[lambda h=h, k=key: judgements.submit(assignment=h, verdict=Verdict.FIRST_MUCH, key=k) for h in held])  # type: ignore[misc]
        assert sorted(type(one).__name__ for one in given) == ["Judgement", "KeyReused"]
        assert any(isinstance(one, KeyReused) for one in given)
    assert slots.unbalanced(made) == []


def test_changing_an_answer_twice_at_once_changes_it_once(alice: User) -> None:
    made = campaign([alice], pairs=8)
    for _ in range(8):
        first = judgements.submit(assignment=lease(made, alice), verdict=Verdict.FIRST_MUCH, key=uuid4())
        verdicts = [Verdict.SECOND_MUCH, Verdict.BOTH_ACCEPTABLE]
        given = at_once(*[lambda j=first, v=v: judgements.amend(judgement=j, verdict=v, key=uuid4()) for v in verdicts])  # type: ignore[misc]
        assert sorted(type(one).__name__ for one in given) == ["AlreadyAnswered", "Judgement"]
    assert Judgement.objects.count() == 16


def test_answering_and_taking_back_at_once_balance(alice: User) -> None:
    made = campaign([alice], pairs=20)
    judgements.submit(assignment=lease(made, alice), verdict=Verdict.FIRST_MUCH, key=uuid4())
    for _ in range(8):
        held = lease(made, alice)
        given = at_once(
            lambda h=held: judgements.submit(assignment=h, verdict=Verdict.FIRST_MUCH, key=uuid4()),  # type: ignore[misc]
            lambda: judgements.undo_last(campaign=made, annotator=alice),
            lambda: judgements.undo_last(campaign=made, annotator=alice),
        )
        assert isinstance(given[0], Judgement)
        assert all(isinstance(one, Assignment | NothingToUndo) for one in given[1:]), given
        assert slots.unbalanced(made) == []


def test_a_draft_on_its_way_while_the_answer_arrives_is_not_left_over(alice: User) -> None:
    made = campaign([alice], pairs=10)
    for _ in range(10):
        held = lease(made, alice)
        given = at_once(
            lambda h=held: judgements.submit(assignment=h, verdict=Verdict.FIRST_MUCH, key=uuid4()),  # type: ignore[misc]
            *[lambda h=held, n=n: drafts.save(assignment=h, fields={"verdict": "a_much"}, number=n) for n in range(3)],  # type: ignore[misc]
        )
        assert isinstance(given[0], Judgement)
        assert all(isinstance(one, bool | AlreadyAnswered) for one in given[1:]), given
    assert Draft.objects.count() == 0


def in_a_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start `call` on a connection that waits two seconds for a lock; what it returned or raised is in the list once it has ended."""
    said: list[Any] = []

    def one() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            said.append(call())
        except Exception as raised:
            said.append(raised)
        finally:
            connection.close()

    thread = threading.Thread(target=one)
    thread.start()
    return thread, said


def test_an_answer_that_waits_for_the_closing_is_surplus(alice: User) -> None:
    made = campaign([alice], pairs=4)
    held = lease(made, alice)
    with transaction.atomic():
        campaigns.close(campaign=made, actor=None)
        # It reads the campaign as it was before, and then waits for its lease, which the closing ends.
        thread, said = in_a_thread(lambda: judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4()))
        thread.join(0.5)
        assert thread.is_alive()
    thread.join()
    assert said[0].surplus
    assert Judgement.objects.votes().count() == 0
    assert slots.unbalanced(made) == []


def test_freezing_keeps_nobody_from_judging(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=4)
    judge(made, alice)
    with transaction.atomic():
        snapshots.freeze(campaign=made, name="Early", actor=None)
        thread, said = in_a_thread(lambda: judge(made, bob))
        thread.join()
    assert isinstance(said[0], Judgement)


def test_an_answer_in_a_qualification_and_a_revocation_wait_in_one_order(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    made = qualification([alice], pairs=3)
    held = lease(made, alice)
    answering, considered = threading.Event(), disputes.consider

    def slowly(**pair: Any) -> Any:
        answering.set()
        time.sleep(0.5)
        return considered(**pair)

    monkeypatch.setattr(disputes, "consider", slowly)
    answer, answered = in_a_thread(lambda: judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4()))
    assert answering.wait(5)
    memberships.revoke(campaign=made, user=alice, actor=None)
    answer.join()
    assert isinstance(answered[0], Judgement)
    assert slots.unbalanced(made) == []
