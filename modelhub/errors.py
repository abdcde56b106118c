"""Why a model was not taken in, or an alias not moved. Each name is a decision for whoever catches it."""

from modelhub.models import ModelVersion
from modelhub.refusals import Refused as Refused


class Corrupt(Exception):
    """A stored file is not what its digest says. Nothing was used; the message names artifact and file."""


class NameTaken(Exception):
    """Another model version has this name already."""


class AliasMoved(Exception):
    """Someone moved the alias since it was looked at; nothing was changed. `current` is where it points now."""

    def __init__(self, name: str, current: ModelVersion | None) -> None:
        super().__init__(f"The alias “{name}” points to {current.name if current else 'nothing'} by now. Look again before you move it.")
        self.current = current


class NothingBefore(Exception):
    """The alias has no earlier version to go back to."""


class InUse(Exception):
    """The version cannot be archived now; the message says what uses it."""
