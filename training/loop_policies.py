"""When a campaign's judgements become a round with nobody pressing a button: that is set, changed, paused and resumed here."""

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation.filters import MOST_HELD_OUT, Filters
from annotation.models import Campaign
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import preflight, presets
from training.models import LoopPolicy

MOST_SEED = 2**32 - 1
# The name stands for whoever carries it when a round begins.
CHAMPION = AliasName.CHAMPION.value


class PolicyRefused(Exception):
    """A policy cannot be so; `problems` says why, by field."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = problems


@transaction.atomic
def put(
    *, campaign: Campaign, active: bool, pairs_needed: int, policy: ModelVersion | str, preset: str, seed: int, actor: User | None,
    hold_out_raters: float = 0.0,
) -> LoopPolicy:  # fmt: skip
    """Set the campaign's policy, or change it from the next round on; a round under way goes on as it began.

    `policy`: the model every round starts from, or "champion" for whoever carries that name then. `hold_out_raters`: the share of raters
    that every snapshot of it holds out (annotation/held_out_raters.py). Raises PolicyRefused.
    """
    problems = wrong(
        campaign=campaign, pairs_needed=pairs_needed, policy=policy, preset=preset, seed=seed, hold_out_raters=hold_out_raters
    )  # fmt: skip
    if problems:
        raise PolicyRefused(problems)
    asked: dict[str, Any] = {
        "active": active, "pairs_needed": pairs_needed, "hold_out_raters": hold_out_raters,
        "params": {"policy": _reference(policy), "preset": preset, "seed": seed},
    }  # fmt: skip
    made, new = LoopPolicy.objects.get_or_create(campaign=campaign, defaults=asked | {"created_by": actor})
    if new:
        audit.record(actor, "loop.set", made, campaign=str(campaign.public_id), **asked)
        return made
    made = LoopPolicy.objects.select_for_update(of=("self",)).get(pk=made.pk)
    was = {name: getattr(made, name) for name in asked}
    if was != asked:
        for name, value in asked.items():
            setattr(made, name, value)
        made.created_by, made.why_stopped = actor, "" if active else made.why_stopped
        made.save(update_fields=[*asked, "created_by", "why_stopped"])
        if active and not was["active"]:
            LoopPolicy.objects.filter(pk=made.pk).update(switched_on_at=Now())
        audit.record(actor, "loop.changed", made, campaign=str(campaign.public_id), was=was, **asked)
    return made


def wrong(
    *, campaign: Campaign, pairs_needed: int, policy: ModelVersion | str, preset: str, seed: int, hold_out_raters: float
) -> dict[str, str]:  # fmt: skip
    """What stands against such a policy, by field; empty when nothing does."""
    problems: dict[str, str] = {}
    if campaign.purpose != "collect":
        problems["campaign"] = "Only a campaign that collects preferences is learnt from."
    if pairs_needed < 1:
        problems["pairs_needed"] = "A round needs at least one new pair."
    if not 0 <= hold_out_raters <= MOST_HELD_OUT:
        problems["hold_out_raters"] = f"Up to {100 * MOST_HELD_OUT:.0f} % of the raters can be held out."
    if not 0 <= seed <= MOST_SEED:
        problems["seed"] = f"A seed lies between 0 and {MOST_SEED}."
    if preset not in {one.key for one in offered()}:
        problems["preset"] = "There is no such recipe that learns from preferences."
    start = policy if isinstance(policy, ModelVersion) else aliases.current(CHAMPION) if policy == CHAMPION else None
    if start is None:
        problems["policy"] = (
            "No model carries the name champion yet: choose a version." if policy == CHAMPION else "There is no such model."
        )
    elif not ModelVersion.objects.usable().filter(pk=start.pk).exists():
        problems["policy"] = f"{start.name} is archived, or an adapter: choose a whole model."
    elif campaign.simulated and not start.toy:
        problems["policy"] = f"Simulated raters judge in this campaign, and {start.name} is no toy: their judgements may only train toys."
    return problems


def offered() -> list[presets.Preset]:
    """The recipes a policy can name: those that learn which of two answers is preferred."""
    return presets.of("dpo")


def _reference(policy: ModelVersion | str) -> dict[str, str]:
    return {"version": str(policy.public_id)} if isinstance(policy, ModelVersion) else {"alias": policy}


def filters_of(loop: LoopPolicy) -> Filters:
    """What each of its snapshots is frozen by. The draw has one seed: who was held out stays so, but for those whom new raters push out."""
    return Filters(hold_out_raters=loop.hold_out_raters)


def start_model(loop: LoopPolicy) -> ModelVersion | None:
    """The model a round would start from now; None when its name points nowhere, or it was archived."""
    named = named_model(loop)
    return named if named is not None and ModelVersion.objects.usable().filter(pk=named.pk).exists() else None


def named_model(loop: LoopPolicy) -> ModelVersion | None:
    """The model the policy names, archived or not; None when its name points nowhere."""
    named: dict[str, Any] = loop.params["policy"]
    if "alias" in named:
        return aliases.current(named["alias"])
    return ModelVersion.objects.filter(public_id=named["version"]).first()


def is_dry(pairs: int) -> bool:
    """Whether so many training pairs are too few to prove anything: such a round shows that the machinery works (product.md 2.11)."""
    return pairs < preflight.PAIRS_EXPLORATORY


@transaction.atomic
def pause(*, loop: LoopPolicy, actor: User | None) -> LoopPolicy:
    """No round begins until it is resumed; one under way goes on to its proposal. Asking twice is one request."""
    if LoopPolicy.objects.filter(pk=loop.pk, active=True).update(active=False):
        audit.record(actor, "loop.paused", loop, campaign=str(loop.campaign.public_id))
    loop.refresh_from_db()
    return loop


@transaction.atomic
def resume(*, loop: LoopPolicy, actor: User | None) -> LoopPolicy:
    """Let rounds begin again, whatever stopped it. Raises PolicyRefused when it could not be set so today."""
    problems = wrong(
        campaign=loop.campaign, pairs_needed=loop.pairs_needed, policy=named_model(loop) or CHAMPION, preset=loop.params["preset"],
        seed=loop.params["seed"], hold_out_raters=loop.hold_out_raters,
    )  # fmt: skip
    if problems:
        raise PolicyRefused(problems)
    if LoopPolicy.objects.filter(pk=loop.pk, active=False).update(active=True, why_stopped="", switched_on_at=Now()):
        audit.record(actor, "loop.resumed", loop, campaign=str(loop.campaign.public_id))
    loop.refresh_from_db()
    return loop


@transaction.atomic
def stop(*, loop: LoopPolicy, why: str) -> bool:
    """It switches itself off and says why; whether it was on."""
    stopped = LoopPolicy.objects.filter(pk=loop.pk, active=True).update(active=False, why_stopped=why[:300])
    if stopped:
        audit.record(None, "loop.stopped", loop, campaign=str(loop.campaign.public_id))
    return bool(stopped)
