"""Who is champion. Gates decide, an alias moves, nothing is deleted; an override is written and shown for ever."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts import access, audit
from accounts.access import TRAINERS
from accounts.models import User
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import gates
from training.gates import Gate
from training.models import Evaluation, Promotion, Study

# An override says why in a sentence, not in a word.
OVERRIDE_LETTERS = 20
# What a name needs that only tells people which version is to be compared: the study itself is still to come.
OF_A_CHALLENGER = frozenset({gates.EVALUATED, gates.DATA, gates.G1, gates.SAFETY, gates.KIND})
DEMONSTRATED = "Simulated demo: it shows that a name can move, and proves no model."


class OverrideRefused(Exception):
    """The words of an override are missing or stand for nothing; the message says which. Nothing was decided."""


class SecondPersonNeeded(Exception):
    """Who made the evidence cannot be the one who promotes on it; the message says why. Nothing was decided."""


def found(*, evaluation: Evaluation, alias: str, replaces: ModelVersion | None) -> list[Gate]:
    """The gates that moving `alias` from `replaces` to the evaluated policy has to pass: against the champion, whichever name moves."""
    own = alias != AliasName.CHAMPION or replaces == evaluation.policy
    champion = _held_against(evaluation.policy) if own else replaces
    told = gates.of(evaluation=evaluation, champion=champion, replaces=replaces)
    return told if alias != AliasName.CHALLENGER else [gate for gate in told if gate.code in OF_A_CHALLENGER]


def _held_against(version: ModelVersion) -> ModelVersion | None:
    """The champion; for the champion itself the one it took the name from."""
    champion = aliases.current(AliasName.CHAMPION)
    if champion != version:
        return champion
    won = Promotion.objects.filter(version=version, alias=AliasName.CHAMPION, decision="promoted").select_related("replaced").first()
    return won.replaced if won else None


@transaction.atomic
def decide(
    *,
    evaluation: Evaluation,
    actor: User | None,
    expected: ModelVersion | None,
    alias: str = AliasName.CHAMPION,
    reason: str = "",
    override: str = "",
) -> Promotion:
    """Move `alias` to the evaluated policy if every gate passes, else record the refusal; either way the evidence is kept.

    G2 to G6 and a lead clinician's block may be overridden, in writing and under one's name: `override` (at least 20 letters) is kept with
    each gate it stands against. What G1, the pairs it learned from and the kind of model say can never be. Lifting a block is a new ruling.
    `expected` is the version the decider saw in the alias's place: if it has moved since, nothing happens: raises AliasMoved.
    Raises PermissionDenied for who is no trainer; SecondPersonNeeded where two people are asked for and this is the same; OverrideRefused
    when an override has too few words, nobody to sign it, or nothing to override.
    """
    override = override.strip()
    if override and actor is None:
        raise OverrideRefused("An override needs somebody who signs it.")
    who = access.require(actor, *TRAINERS)
    if why := same_person(evaluation=evaluation, actor=who):
        raise SecondPersonNeeded(why)
    told = found(evaluation=evaluation, alias=alias, replaces=expected)
    if override:
        _check_override(override, told)
    return _decided(evaluation, told, actor=who, expected=expected, alias=alias, reason=reason, override=override)


@transaction.atomic
def demonstrate(*, evaluation: Evaluation, actor: User | None, expected: ModelVersion | None) -> Promotion:
    """What the demo's own loop does unattended: make a toy champion on a simulated truth. The decision is marked simulated, and each gate
    that no clinician, suite or replay has passed says so in place of an override. Raises OverrideRefused for anything but toys.
    """
    toys = evaluation.policy.toy and evaluation.reference.toy and (expected is None or expected.toy)
    if not (toys and evaluation.simulated):
        raise OverrideRefused("Only toys on a simulated truth are promoted by a demo; people decide about everything else.")
    told = found(evaluation=evaluation, alias=AliasName.CHAMPION, replaces=expected)
    shown = DEMONSTRATED if gates.may_override(told) and all(gate.code != gates.SAFETY for gate in told if not gate.passed) else ""
    return _decided(evaluation, told, actor=actor, expected=expected, alias=AliasName.CHAMPION, reason="", override=shown)


def _decided(
    evaluation: Evaluation, told: Sequence[Gate], *, actor: User | None, expected: ModelVersion | None, alias: str, reason: str,
    override: str,
) -> Promotion:  # fmt: skip
    missing = [gate for gate in told if not gate.passed]
    passed = not missing or bool(override)
    kept: list[dict[str, Any]] = [gate.record() | ({"override": override} if override and not gate.passed else {}) for gate in told]
    if override:
        # Whoever looks at the alias later reads it there too.
        reason = f"{reason} Overridden: {override}".strip()
    if passed:
        aliases.move(name=alias, to=evaluation.policy, actor=actor, expected=expected, reason=reason[:200])
    study = _study(evaluation, told)
    names = ", ".join(gate.name for gate in missing)
    promotion = Promotion.objects.create(
        decision="promoted" if passed else "refused",
        alias=alias,
        version=evaluation.policy,
        replaced=expected if passed else None,
        evaluation=evaluation,
        study=study,
        gates=kept,
        simulated=evaluation.simulated or evaluation.policy.simulated or bool(study and study.campaign and study.campaign.simulated),
        reason=(reason or (f"Gates not passed: {names}" if missing else "All gates passed"))[:500],
        decided_by=actor,
    )
    audit.record(
        actor,
        f"promotion.{promotion.decision}",
        promotion,
        alias=alias,
        version=str(evaluation.policy.public_id),
        **({"overridden": names} if override else {}),
    )
    return promotion


def _study(evaluation: Evaluation, told: Sequence[Gate]) -> Any:
    """The study that the gates stood on."""
    named = next((gate.evidence["study"] for gate in told if "study" in gate.evidence), None)
    return Study.objects.select_related("campaign").filter(public_id=named).first() if named else None


def _check_override(override: str, told: Sequence[Gate]) -> None:
    if len(override) < OVERRIDE_LETTERS:
        raise OverrideRefused(f"Say why in at least {OVERRIDE_LETTERS} letters: it is shown for ever.")
    if gates.passed(told):
        raise OverrideRefused("Every gate has passed: there is nothing to override.")
    if not gates.may_override(told):
        never = ", ".join(gate.name for gate in told if not gate.passed and not gate.may_be_overridden)
        raise OverrideRefused(f"No override replaces what is missing here: {never}.")


def same_person(*, evaluation: Evaluation, actor: User) -> str:
    """Why `actor` cannot be the one who promotes, where the installation asks for two people; else nothing."""
    if not settings.ROUNDS_TWO_PERSON_PROMOTIONS:
        return ""
    run = getattr(evaluation.policy, "run", None)
    if run is not None and run.job.requested_by_id == actor.pk:
        return "You launched the run that made it: here somebody else has to promote it."
    if Study.objects.filter(challenger=evaluation.policy, started_by=actor).exists():
        return "You started a study of it: here somebody else has to promote it."
    return ""


@transaction.atomic
def roll_back(*, actor: User | None, expected: ModelVersion, alias: str = AliasName.CHAMPION, reason: str) -> Promotion:
    """Point `alias` to the version it named before `expected`. Nothing is deleted; a roll-back is one more move.

    Raises AliasMoved when it does not point to `expected` any more, NothingBefore when it never named another.
    """
    back = aliases.roll_back(name=alias, actor=actor, expected=expected, reason=reason[:200]).to_version
    promotion = Promotion.objects.create(
        decision="rolled_back", alias=alias, version=back, replaced=expected, simulated=expected.simulated or back.simulated,
        reason=reason, decided_by=actor,
    )  # fmt: skip
    audit.record(actor, "promotion.rolled_back", promotion, alias=alias, version=str(back.public_id), from_version=str(expected.public_id))
    return promotion
