"""Sixty-four people at once: every pair gets exactly the judgements it wants. And the test that says so can fail."""

import threading
from collections import Counter
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import close_old_connections, connection

from accounts import consents
from accounts.models import Consent, Role, RoleGrant, User
from annotation import assignments, judgements
from annotation.models import Assignment, Campaign, Judgement, Verdict
from benchmarks.mutants import count_then_insert
from tests.annotation.build import campaign
from tests.threads import connect

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(280)]

Lease = Callable[..., Assignment | None]


def crowd(size: int) -> list[User]:
    people = User.objects.bulk_create([User(username=f"rater-{n}") for n in range(size)])
    RoleGrant.objects.bulk_create([RoleGrant(user=person, role=Role.ANNOTATOR) for person in people])
    text = consents.current()
    Consent.objects.bulk_create([Consent(user=person, text=text) for person in people])
    return people


def all_at_once(made: Campaign, people: list[User], lease: Lease, answer: Callable[[Assignment], object]) -> list[BaseException]:
    """Every person, each in a thread with a connection of their own, leases and answers until nothing is left. Returns what went wrong."""
    wrong: list[BaseException] = []
    ready = threading.Barrier(len(people))

    def work(person: User) -> None:
        try:
            connect()
            ready.wait(timeout=120)
            while held := lease(campaign=made, annotator=person):
                answer(held)
        except BaseException as error:
            wrong.append(error)
            ready.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[person]) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close_old_connections()
    return wrong


def judge(held: Assignment) -> None:
    judgements.submit(assignment=held, verdict=Verdict.FIRST_SLIGHTLY, key=uuid4())


def mark_submitted(held: Assignment) -> None:
    Assignment.objects.filter(pk=held.pk).update(state="submitted")


def assert_every_pair_is_judged_as_often_as_it_wants(made: Campaign) -> None:
    held = Assignment.objects.filter(campaign=made, state="submitted")
    holders = Counter(held.values_list("pair", flat=True))
    over = [pair for pair in made.pairs.all() if holders[pair.pk] > made.overlap]
    lost = [pair for pair in made.pairs.all() if holders[pair.pk] < made.overlap]
    assert not over + lost, f"{len(over)} over, {len(lost)} lost"
    assert held.count() == made.pairs.count() * made.overlap
    assert held.values("pair", "annotator").distinct().count() == held.count()


def test_64_threads_make_exactly_1000_assignments_of_500_pairs_at_overlap_2() -> None:
    people = crowd(64)
    made = campaign(people, pairs=500, overlap=2)
    assert all_at_once(made, people, assignments.lease_next, judge) == []
    assert_every_pair_is_judged_as_often_as_it_wants(made)
    assert Assignment.objects.filter(campaign=made).count() == 1000
    assert Judgement.objects.filter(surplus=False).count() == 1000
    assert not made.slots.filter(open=True).exists()


def test_the_same_test_turns_red_with_count_then_insert_and_no_constraint() -> None:
    people = crowd(64)
    made = campaign(people, pairs=500, overlap=2)
    # Without a promise to end the queue, as many leases are granted as the right number of them.
    budget = iter(range(1000))

    def lease(**who: object) -> Assignment | None:
        return None if next(budget, None) is None else count_then_insert.lease_next(**who)  # type: ignore[arg-type]

    with count_then_insert.no_constraint():
        assert all_at_once(made, people, lease, mark_submitted) == []
        with pytest.raises(AssertionError, match=r"^[1-9]\d* over"):
            assert_every_pair_is_judged_as_often_as_it_wants(made)


def test_two_tabs_of_one_person_get_the_same_lease() -> None:
    (person,) = crowd(1)
    made = campaign([person], pairs=30)
    seen: list[int] = []
    ready = threading.Barrier(8)

    def tab() -> None:
        connect()
        ready.wait(timeout=60)
        held = assignments.lease_next(campaign=made, annotator=person)
        assert held is not None
        seen.append(held.pk)
        connection.close()

    threads = [threading.Thread(target=tab) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_a_double_click_saves_once() -> None:
    (person,) = crowd(1)
    made = campaign([person], pairs=3)
    held = assignments.lease_next(campaign=made, annotator=person)
    assert held is not None
    key, saved, ready = uuid4(), [], threading.Barrier(8)

    def click() -> None:
        connect()
        ready.wait(timeout=60)
        saved.append(judgements.submit(assignment=held, verdict=Verdict.SECOND_MUCH, key=key).pk)
        connection.close()

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(saved) == 8
    assert len(set(saved)) == 1
    assert Judgement.objects.count() == 1
