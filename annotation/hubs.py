"""A hub that the operator named, to which a snapshot's data set can be pushed. There is none until the settings say so."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True)
class Hub:
    """`endpoint` is its address, `space` the account or organisation that data sets go to; the token stays in the settings."""

    endpoint: str
    space: str


def configured() -> Hub | None:
    """The operator's hub, or None."""
    said = settings.ROUNDS_HUB
    return Hub(said["endpoint"].rstrip("/"), said["space"]) if said.get("endpoint") else None
