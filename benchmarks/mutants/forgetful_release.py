"""The mistake of an unfinished session: a lease is given back, and its place with nobody's name on it stays closed for ever."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from django.db.models import QuerySet

from annotation import assignments
from annotation.models import Assignment, AssignmentState


def _release(leases: QuerySet[Assignment]) -> int:
    """Like annotation.assignments._release, but forgetting the slot."""
    return leases.filter(state=AssignmentState.LEASED).update(state=AssignmentState.RELEASED)


@contextmanager
def installed() -> Iterator[None]:
    with patch.object(assignments, "_release", _release):
        yield
