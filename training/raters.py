"""Simulated raters: they lease and answer pairs as people do, by a planted preference and with planted mistakes.

They judge toy texts only, so that the whole loop can be shown, and measured against a truth that is known.
"""

import random
from dataclasses import dataclass
from uuid import uuid4

from accounts.models import Role, RoleGrant, User
from annotation import assignments, judgements
from annotation.judgements import SideVerdict
from annotation.models import Assignment, Campaign
from training.engine import toysamples

# Share of verdicts a rater gives the wrong way round.
SLIP = 0.12
MUCH = 0.8


@dataclass
class Rated:
    """What raters did: judgements given, and how many of them were slips."""

    judgements: int = 0
    slips: int = 0


def ensure(count: int = 2) -> list[User]:
    """Simulated raters by number; they cannot sign in."""
    made = []
    for number in range(1, count + 1):
        rater, new = User.objects.get_or_create(username=f"simulated-{number}", defaults={"simulated": True})
        if new:
            rater.set_unusable_password()
            rater.save(update_fields=["password"])
        RoleGrant.objects.get_or_create(user=rater, role=Role.ANNOTATOR)
        made.append(rater)
    return made


def rate(*, campaign: Campaign, raters: list[User], seed: int, slip: float = SLIP) -> Rated:
    """Let `raters` take turns until nothing is left for any of them. Resumes where an interrupted call stopped."""
    rated = Rated()
    waiting = list(raters)
    while waiting:
        for rater in list(waiting):
            held = assignments.lease_next(campaign=campaign, annotator=rater)
            if held is None:
                waiting.remove(rater)
                continue
            verdict, slipped = opinion(held, slip=slip, seed=seed)
            judgements.submit(assignment=held, verdict=judgements.by_side(held, verdict), key=uuid4(), active_ms=0)
            rated.judgements += 1
            rated.slips += slipped
    return rated


def opinion(held: Assignment, *, slip: float, seed: int) -> tuple[SideVerdict, bool]:
    """The verdict by side on a leased pair, and whether it is a slip. The same rater, pair and seed give the same verdict."""
    pair = held.pair
    left, right = (pair.first, pair.second) if held.first_on_left else (pair.second, pair.first)
    truth = pair.prompt.sample.output
    difference = toysamples.planted_utility(left.text, truth) - toysamples.planted_utility(right.text, truth)
    draw = random.Random(f"rater {seed} {held.annotator_id} {pair.pk}")  # noqa: S311 - reproducible, not secret
    if difference == 0:
        fine = toysamples.planted(left.text, truth)["correct"]
        return (SideVerdict.BOTH_ACCEPTABLE if fine else SideVerdict.BOTH_UNACCEPTABLE), False
    slipped = draw.random() < slip
    if slipped:
        difference = -difference
    much = abs(difference) >= MUCH
    if difference > 0:
        return (SideVerdict.A_MUCH if much else SideVerdict.A_SLIGHTLY), slipped
    return (SideVerdict.B_MUCH if much else SideVerdict.B_SLIGHTLY), slipped
