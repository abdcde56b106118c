"""The one clock that decides: the database's, at the moment of the statement's work, not of its transaction's start."""

from datetime import timedelta

from django.db import models
from django.db.models.expressions import Combinable


class Clock(models.Func):
    """`clock_timestamp()`. Django's own `Now()` is the start of the statement, and of the transaction to PostgreSQL's `now()`."""

    function = "clock_timestamp"
    template = "%(function)s()"
    output_field = models.DateTimeField()


def after(seconds: float) -> Combinable:
    """`seconds` from now by the database clock."""
    return Clock() + timedelta(seconds=seconds)


__all__ = ["Clock", "after"]
