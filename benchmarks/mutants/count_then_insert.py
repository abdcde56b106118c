"""The mistake annotation tools make: count a pair's holders, find room, insert. Two who count at once both find room."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection
from django.db.models import Count, Q
from django.db.models.functions import Now

from accounts.models import User
from annotation.models import Assignment, Campaign, Pair


def lease_next(*, campaign: Campaign, annotator: User) -> Assignment | None:
    """Like annotation.assignments.lease_next, but deciding by a count read before the insert."""
    answered = Assignment.objects.filter(campaign=campaign, annotator=annotator).values("pair")
    holders = Count("assignments", filter=Q(assignments__state__in=["leased", "submitted"]))
    pairs = Pair.objects.filter(campaign=campaign).exclude(pk__in=answered).annotate(holders=holders)
    pair = pairs.filter(holders__lt=campaign.overlap).order_by("position").first()
    if pair is None:
        return None
    slot = pair.slots.get(number=pair.holders + 1)
    return Assignment.objects.create(
        campaign=campaign,
        pair=pair,
        slot=slot,
        annotator=annotator,
        first_on_left=slot.first_on_left,
        expires_at=Now() + timedelta(minutes=30),
    )


@contextmanager
def no_constraint() -> Iterator[None]:
    """One holder a slot is no longer the database's promise. For test databases only; empties the leases before putting it back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'one_holder_per_slot'")
        (definition,) = cursor.fetchone()
        cursor.execute("DROP INDEX one_holder_per_slot")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE annotation_assignment CASCADE")
            cursor.execute(definition)
