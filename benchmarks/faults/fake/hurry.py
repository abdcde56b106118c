"""The runner with a harness's patience: pauses of seconds become pauses of tenths. What it does is not touched.

Names that are gone raise here, so that the harness does not go on measuring something else.
"""

import datetime as datetimes
import time
from typing import Any

from django.conf import settings
from django.utils import timezone

from benchmarks.faults.fake import warm
from jobs import attempts, sweeper


def replace(owner: Any, name: str, value: Any) -> Any:
    """Set an attribute that must exist; returns what was there."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    return before


def install() -> None:
    replace(attempts, "TICK_SECONDS", 0.05)
    replace(attempts, "CANCEL_GRACE_SECONDS", settings.FAULTS_GRACE)
    replace(sweeper, "RING_AGAIN_SECONDS", settings.FAULTS_RING_AGAIN)
    # ring_again took its default when it was defined.
    replace(sweeper.ring_again, "__kwdefaults__", {"older_than": settings.FAULTS_RING_AGAIN})
    replace(attempts, "subprocess", warm.subprocess_with_forks())
    if settings.FAULTS_SKEW:
        _set_the_clock_wrong(settings.FAULTS_SKEW)


def _set_the_clock_wrong(seconds: float) -> None:
    """This process's wall clock is off, wherever Python code reads it; the monotonic clocks go on."""
    right, now = time.time, timezone.now

    time.time = lambda: right() + seconds
    timezone.now = lambda: now() + datetimes.timedelta(seconds=seconds)
