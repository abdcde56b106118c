"""Names that move: champion, challenger, serving. A move says what it replaces; when that is not so any more, nothing moves."""

from django.db import IntegrityError, transaction
from django.db.models import F

from accounts import audit
from accounts.models import User
from modelhub.errors import AliasMoved, NothingBefore
from modelhub.models import Alias, AliasMove, AliasName, ModelVersion

# Who reads a name, and so what a move changes, in words for whoever moves it.
CONSUMERS = {
    AliasName.CHAMPION: "New runs and new completions start from the champion unless they name another, and gates compare with it. Jobs "
    "that wait or run keep the version they named; campaigns and snapshots stay as they are.",
    AliasName.CHALLENGER: "Nothing in this house reads it by itself: it tells people which version is to be compared with the champion.",
    AliasName.SERVING: "Nothing in this house reads it by itself. A server elsewhere keeps what it has loaded until somebody exports this "
    "version again and loads it there.",
}


def current(name: str) -> ModelVersion | None:
    """Where the alias points, or None while it was never set."""
    alias = Alias.objects.select_related("version").filter(name=name).first()
    return alias.version if alias else None


@transaction.atomic
def move(*, name: str, to: ModelVersion, actor: User | None, expected: ModelVersion | None, reason: str) -> AliasMove:
    """Point the alias to `to`, if it still points to `expected` (None: to nothing yet). Raises AliasMoved when it does not."""
    return _move(name, to, actor, expected, reason, rolled_back=False)


@transaction.atomic
def roll_back(*, name: str, actor: User | None, expected: ModelVersion | None, reason: str) -> AliasMove:
    """Point the alias to what it pointed to before, if it still points to `expected`. Nothing is deleted: going back is one more move.

    Going back twice goes two moves back. Raises AliasMoved, or NothingBefore when there is no earlier version.
    """
    alias = Alias.objects.select_for_update().select_related("version").filter(name=name).first()
    if alias is None or alias.version != expected:
        raise AliasMoved(name, alias.version if alias else None)
    before = previous(name)
    if before is None:
        raise NothingBefore(f"The alias “{name}” has never pointed to anything else.")
    return _move(name, before, actor, expected, reason, rolled_back=True)


def previous(name: str) -> ModelVersion | None:
    """Where a roll-back would go. Moves that were undone do not count."""
    stack: list[ModelVersion] = []
    for step in AliasMove.objects.filter(alias__name=name).select_related("to_version").order_by("number"):
        if step.rolled_back:
            stack.pop()
        else:
            stack.append(step.to_version)
    return stack[-2] if len(stack) > 1 else None


def _move(name: str, to: ModelVersion, actor: User | None, expected: ModelVersion | None, reason: str, *, rolled_back: bool) -> AliasMove:
    alias = Alias.objects.select_for_update().select_related("version").filter(name=name).first()
    if (alias.version if alias else None) != expected:
        raise AliasMoved(name, alias.version if alias else None)
    if alias is None:
        try:
            with transaction.atomic():
                alias = Alias.objects.create(name=name, version=to, moves=1)
        except IntegrityError:
            raise AliasMoved(name, current(name)) from None
    else:
        Alias.objects.filter(pk=alias.pk).update(version=to, moves=F("moves") + 1)
        alias.refresh_from_db()
    step = AliasMove.objects.create(
        alias=alias, number=alias.moves, from_version=expected, to_version=to, actor=actor, reason=reason[:200], rolled_back=rolled_back
    )
    verb = "alias.rolled_back" if rolled_back else "alias.moved"
    audit.record(actor, verb, alias, alias=name, of=str(expected.public_id) if expected else None, to=str(to.public_id))
    return step
