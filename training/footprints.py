"""What a run of a registered model needs of the machine it would run on, and how much of it there is."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from modelhub import artifacts
from modelhub.models import ModelVersion
from training.engine import footprint
from training.engine.footprint import Footprint
from training.engine.spec import parse_params

GB = 1e9
# Above this share of what there is, a run may still start and is warned: formulas leave out what other processes take.
TIGHT = 0.8


@dataclass(frozen=True)
class Room:
    """Bytes of one GPU's own memory, 0 where there is none, and of RAM."""

    gpu: int
    ram: int

    @property
    def device(self) -> footprint.Device:
        return "cuda" if self.gpu else "cpu"

    def demands(self, needed: Footprint) -> list[tuple[str, int, int]]:
        """(what, bytes needed, bytes there are) of every memory the run uses."""
        gpu = [("GPU memory", needed.memory, self.gpu)] if self.gpu else []
        return [*gpu, ("RAM", needed.ram, self.ram)]


def room() -> Room:
    """What there is: a GPU only where the operator has named its memory (`ROUNDS_GPU_MEMORY_GB`), and the RAM this process may use."""
    return Room(int(settings.ROUNDS_GPU_MEMORY_GB * GB), ram())


def ram() -> int:
    """Bytes of RAM of this machine, or of the container that this process is in."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            found = min(found, int(Path(path).read_text(encoding="ascii")))
    return found


def config_of(policy: ModelVersion) -> dict[str, Any]:
    found = json.loads(artifacts.file(policy.artifact, "config.json").read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def of(
    *, config: dict[str, Any], kind: str, params: dict[str, Any], longest: int, prompt: int, device: footprint.Device, processes: int = 1
) -> Footprint:
    """The footprint of a run of `kind` whose longest row has `longest` tokens, `prompt` of them its prompt.

    Raises footprint.Unknown for an architecture that cannot be estimated, and SpecError for parameters that are none.
    """
    return footprint.of_params(config, parse_params(kind, params), tokens=longest, prompt=prompt, device=device, processes=processes)
