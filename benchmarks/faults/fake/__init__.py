"""A kind of work that obeys the whole contract and needs no library: its child is forked from the warm worker."""

from typing import Any

DEFAULTS = {"steps": 40, "pause": 0.005, "every": 5, "bytes": 200_000, "behaviour": "cooperative"}


def ask(*, kind: str = "fake", requested_by: Any = None, label: str = "", **spec: Any) -> Any:
    """Submit one pretended training. `seed` makes its result; see `trainer` for the rest of `spec`."""
    from jobs import submissions

    spec = {**DEFAULTS, "seed": 0, **spec}
    return submissions.submit(kind=kind, label=label or f"Pretend {spec['seed']}", spec=spec, requested_by=requested_by)
