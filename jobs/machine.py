"""What this machine is doing, from /proc: shares of its processors and memory, and room on the volume of the data folder."""

import os
from pathlib import Path
from typing import Any

from jobs import disk

PROC = Path("/proc")
# What a container may have, in either form of control groups; "max", or a number beyond any memory, where it is not limited.
GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Load:
    """The processors' share since the last look: a snapshot alone would say nothing."""

    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None

    def figures(self) -> dict[str, Any]:
        """{"processors", "processor" (share used since the last call), "memory" and "memory_used", "disk" and "disk_free" (bytes)}.

        What this system does not tell is left out.
        """
        found: dict[str, Any] = {"processors": os.cpu_count() or 1, "disk_free": disk.free(), "disk": disk.total()}
        if (share := self._share()) is not None:
            found["processor"] = round(share, 3)
        if memory := _memory():
            found["memory"], found["memory_used"] = memory
        return found

    def _share(self) -> float | None:
        now = _ticks()
        before, self._before = self._before, now
        if now is None or before is None or now[1] <= before[1]:
            return None
        return (now[0] - before[0]) / (now[1] - before[1])


def _ticks() -> tuple[int, int] | None:
    """Busy and all ticks of all processors since the start."""
    try:
        first = (PROC / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except (OSError, ValueError):
        return None
    # user nice system idle iowait irq softirq steal; guests are counted in user already.
    ticks = [int(part) for part in first[1:9]]
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)


def memory() -> int | None:
    """Bytes of memory that we may use: the machine's, or our control group's where that is less. None where it is not told."""
    found = _memory()
    given = [int(text) for text in map(_text, GROUPS) if text.isdigit()]
    return min([*given, found[0]]) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _memory() -> tuple[int, int] | None:
    """All of the memory, and what programs use of it."""
    try:
        lines = dict(line.split(":", 1) for line in (PROC / "meminfo").read_text(encoding="ascii").splitlines())
        total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError):
        return None
    return total, total - available
