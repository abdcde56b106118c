"""The mistake of a late answer that helps itself: it takes its slot back without asking whether somebody else has it by now."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from annotation import assignments
from annotation.models import Assignment, Slot


def take_free_slot(assignment: Assignment) -> Slot | None:
    """Like annotation.assignments.take_free_slot, but any slot of the pair will do, and nobody is told."""
    return Slot.objects.filter(pair_id=assignment.pair_id, open=True).first()


@contextmanager
def installed() -> Iterator[None]:
    with patch.object(assignments, "take_free_slot", take_free_slot):
        yield
