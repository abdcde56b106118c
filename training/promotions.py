"""Who is champion. Gates decide, an alias moves, nothing is deleted; an override is written and shown for ever."""

from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from annotation import safety
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training.models import Evaluation, Promotion

PAIRS_NEEDED = 200
BOUND_NEEDED = 0.5
SAFETY = "Lead clinicians' blocks"
# An override says why in a sentence, not in a word.
OVERRIDE_LETTERS = 20


class OverrideRefused(Exception):
    """The words of an override are missing or stand for nothing; the message says which. Nothing was decided."""


@dataclass(frozen=True)
class Gate:
    """One condition of a promotion: what was found, what is needed."""

    name: str
    passed: bool
    value: str
    needed: str


def gates(evaluation: Evaluation, *, champion: ModelVersion | None) -> list[Gate]:
    """The conditions of this evaluation, in the order they are read. Every one must pass."""
    accuracy: dict[str, Any] = evaluation.results.get("preference_accuracy", {})
    pairs, low = int(accuracy.get("n", 0)), float(accuracy.get("low", 0.0))
    bound = f"{low:.3f}" if accuracy else "none"
    found = [
        Gate("Evaluation finished", evaluation.finished_at is not None, "yes" if evaluation.finished_at else "not yet", "yes"),
        Gate("Held-out pairs", pairs >= PAIRS_NEEDED, str(pairs), f"at least {PAIRS_NEEDED}"),
        Gate("Preference accuracy, lower 95 % bound", low > BOUND_NEEDED, bound, f"above {BOUND_NEEDED:.3f}"),
    ]
    blocks = len(safety.blocks(evaluation.policy))
    standing = f"{blocks} ruling{'s' if blocks != 1 else ''} against its texts" if blocks else "none"
    found.append(Gate(SAFETY, not blocks, standing, "none, or an override in writing"))
    if evaluation.policy.toy and champion is not None and not champion.toy:
        found.append(Gate("Kind of model", False, "a toy", "no toy, for it would replace none"))
    return found


def may_override(found: list[Gate]) -> bool:
    """Whether a written override is all that is missing: only a lead's block can be overridden, never a lack of evidence."""
    return {gate.name for gate in found if not gate.passed} == {SAFETY}


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

    While a lead's ruling blocks a text of this version, it is refused, unless somebody writes why not under their name: `override`
    (at least 20 letters) is kept with the gate it stands against. Lifting the block itself is a new ruling.
    `expected` is the version the decider saw in the alias's place: if it has moved since, nothing happens: raises AliasMoved.
    Raises OverrideRefused when an override has too few words, nobody to sign it, or nothing to override.
    """
    found = gates(evaluation, champion=expected)
    evidence: list[dict[str, Any]] = [asdict(gate) for gate in found]
    passed = all(gate.passed for gate in found)
    if override := override.strip():
        _check_override(override, actor, found)
        passed = True
        evidence = [gate | {"override": override} if gate["name"] == SAFETY else gate for gate in evidence]
        # Whoever looks at the alias later reads it there too.
        reason = f"{reason} Overridden: {override}".strip()
    if passed:
        aliases.move(name=alias, to=evaluation.policy, actor=actor, expected=expected, reason=reason[:200])
    failed = ", ".join(gate.name for gate in found if not gate.passed)
    promotion = Promotion.objects.create(
        decision="promoted" if passed else "refused",
        alias=alias,
        version=evaluation.policy,
        replaced=expected if passed else None,
        evaluation=evaluation,
        gates=evidence,
        simulated=evaluation.simulated or evaluation.policy.simulated,
        reason=(reason or (f"Gates not passed: {failed}" if failed else "All gates passed"))[:500],
        decided_by=actor,
    )
    audit.record(
        actor,
        f"promotion.{promotion.decision}",
        promotion,
        alias=alias,
        version=str(evaluation.policy.public_id),
        **({"overridden": SAFETY} if override else {}),
    )
    return promotion


def _check_override(override: str, actor: User | None, found: list[Gate]) -> None:
    if actor is None:
        raise OverrideRefused("An override needs somebody who signs it.")
    if len(override) < OVERRIDE_LETTERS:
        raise OverrideRefused(f"Say why in at least {OVERRIDE_LETTERS} letters: it is shown for ever.")
    if not may_override(found):
        raise OverrideRefused("Only a lead clinician's block can be overridden, and only when every other gate has passed.")


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
