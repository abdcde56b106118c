"""Names that move by compare-and-set, and go back."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.db.utils import InternalError, ProgrammingError

from accounts.models import AuditEntry, User
from modelhub import aliases, artifacts, versions
from modelhub.errors import AliasMoved, NothingBefore
from modelhub.models import Alias, AliasMove, ModelVersion

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


@pytest.fixture
def abc(model_folder: Make) -> list[ModelVersion]:
    artifact = artifacts.save(artifacts.stage(folder=model_folder()))
    return [versions.register(name=name, kind="dpo", artifact=artifact, actor=None) for name in "abc"]


def move(to: ModelVersion, expected: ModelVersion | None, actor: User | None = None) -> AliasMove:
    return aliases.move(name="champion", to=to, actor=actor, expected=expected, reason="won")


def back(expected: ModelVersion) -> AliasMove:
    return aliases.roll_back(name="champion", actor=None, expected=expected, reason="worse after all")


def test_a_move_says_what_it_replaces(abc: list[ModelVersion], dan: User) -> None:
    a, b, _ = abc
    assert aliases.current("champion") is None
    move(a, None, dan)
    step = move(b, a, dan)
    assert aliases.current("champion") == b
    assert (step.number, step.from_version, step.to_version, step.actor, step.rolled_back) == (2, a, b, dan, False)
    assert AuditEntry.objects.filter(verb="alias.moved").count() == 2


def test_a_move_from_what_is_not_there_any_more_is_refused(abc: list[ModelVersion]) -> None:
    a, b, c = abc
    move(a, None)
    for wrong in (None, b):
        with pytest.raises(AliasMoved) as refusal:
            move(c, wrong)
        assert refusal.value.current == a
    assert aliases.current("champion") == a
    assert AliasMove.objects.count() == 1


def test_going_back_twice_goes_two_moves_back(abc: list[ModelVersion]) -> None:
    a, b, c = abc
    move(a, None)
    move(b, a)
    move(c, b)
    assert back(c).to_version == b
    assert back(b).to_version == a
    with pytest.raises(NothingBefore):
        back(a)
    assert aliases.current("champion") == a
    assert [step.rolled_back for step in AliasMove.objects.order_by("number")] == [False, False, False, True, True]


def test_after_going_back_one_may_move_on(abc: list[ModelVersion]) -> None:
    a, b, c = abc
    move(a, None)
    move(b, a)
    back(b)
    move(c, a)
    assert back(c).to_version == a


def test_going_back_from_what_is_not_there_any_more_is_refused(abc: list[ModelVersion]) -> None:
    a, b, _ = abc
    move(a, None)
    move(b, a)
    with pytest.raises(AliasMoved):
        back(a)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_set", [False, True])
def test_of_eight_moves_at_once_one_wins(abc: list[ModelVersion], is_set: bool) -> None:
    a, b, _ = abc
    if is_set:
        move(a, None)
    barrier = threading.Barrier(8)
    outcomes: list[str] = []

    def promote() -> None:
        barrier.wait()
        try:
            move(b, a if is_set else None)
            outcomes.append("moved")
        except AliasMoved:
            outcomes.append("refused")
        connection.close()

    threads = [threading.Thread(target=promote) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["moved"] + ["refused"] * 7
    assert Alias.objects.get().moves == AliasMove.objects.count() == (2 if is_set else 1)


def test_the_history_cannot_be_rewritten(abc: list[ModelVersion]) -> None:
    move(abc[0], None)
    for change in (lambda: AliasMove.objects.update(reason="x"), lambda: AliasMove.objects.all().delete()):
        with pytest.raises((InternalError, ProgrammingError), match="Cannot"), transaction.atomic():
            change()
