"""GPUs: which this machine has, found without torch, and who holds each. A device is taken in the transaction that claims its job."""

import logging
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction

from jobs import outbox
from jobs.clock import Clock, after
from jobs.errors import DeviceBusy
from jobs.models import Device, Job

log = logging.getLogger(__name__)

PROC = Path("/proc/driver/nvidia/gpus")
LISTED = re.compile(r"GPU \d+: (?P<label>.+) \(UUID: (?P<name>[^)]+)\)")


@dataclass(frozen=True)
class Found:
    """A GPU as CUDA_VISIBLE_DEVICES names it, and what its maker calls it."""

    name: str
    label: str = ""


def here() -> str:
    """The name of this machine in rows that tell machines apart."""
    return str(settings.ROUNDS_HOST or socket.gethostname())[:60]


def found() -> list[Found]:
    """The GPUs of this machine: those that ROUNDS_GPUS names ("none" for none), else those that CUDA_VISIBLE_DEVICES leaves this worker,
    else those the driver tells of."""
    wanted = str(settings.ROUNDS_GPUS).strip() or os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if wanted == "none":
        return []
    if wanted:
        return [Found(name.strip()) for name in wanted.split(",") if name.strip()]
    return _in_proc(PROC) or _listed()


def _in_proc(root: Path) -> list[Found]:
    """What the kernel driver writes down: one folder a GPU, with "Model:" and "GPU UUID:" lines."""
    devices = []
    for path in sorted(root.glob("*/information")):
        try:
            lines = dict(line.partition(":")[::2] for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
        except OSError:
            continue
        # The driver writes question marks for a GPU that nothing has used yet.
        if (name := lines.get("GPU UUID", "").strip()) and "?" not in name:
            devices.append(Found(name, lines.get("Model", "").strip()))
    return devices


def _listed() -> list[Found]:
    """`nvidia-smi -L`, for machines and containers whose /proc says nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        said = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("nvidia-smi does not answer (%s): GPUs are not handed out here.", type(error).__name__)
        return []
    return [Found(match["name"], match["label"]) for match in LISTED.finditer(said)]


def register() -> int:
    """Write this machine's GPUs down; returns how many. One that is gone is forgotten when nobody holds it."""
    mine = found()
    Device.objects.bulk_create(
        [Device(host=here(), name=one.name[:80], label=one.label[:120], seen_at=Clock()) for one in mine],
        update_conflicts=True,
        unique_fields=["host", "name"],
        update_fields=["label", "seen_at"],
    )
    Device.objects.filter(host=here(), holder=None).exclude(name__in=[one.name[:80] for one in mine]).delete()
    return len(mine)


def take(*, job_id: int, token: int) -> str:
    """Hold one of this machine's free GPUs for the job, inside its claim's transaction; its name, or "" where the machine has none.

    Raises DeviceBusy when every one is held: the claim must not go through.
    """
    mine = Device.objects.filter(host=here())
    free = mine.filter(holder=None).select_for_update(skip_locked=True).order_by("pk").first()
    if free is None:
        if mine.exists():
            raise DeviceBusy
        return ""
    Device.objects.filter(pk=free.pk).update(holder=job_id, token=token, lease_until=after(settings.ROUNDS_LEASE_SECONDS))
    return free.name


def renew(*, job_id: int, token: int) -> None:
    Device.objects.filter(holder=job_id, token=token).update(lease_until=after(settings.ROUNDS_LEASE_SECONDS))


@transaction.atomic
def let_go(*, job_id: int, token: int) -> None:
    """Free what the job held with this token, and ring for the next that waits for a GPU."""
    if Device.objects.filter(holder=job_id, token=token).update(holder=None, token=None, lease_until=None):
        outbox.ring_later(Job.objects.claimable().filter(needs_device=True).in_turn()[:1])


def any_here() -> bool:
    return Device.objects.filter(host=here()).exists()


def all_held(host: str | None = None) -> bool:
    """Whether the machine (this one, unless `host` names another) has GPUs and every one is held: only jobs that need none can begin."""
    states = list(Device.objects.filter(host=here() if host is None else host).values_list("holder", flat=True))
    return bool(states) and all(holder is not None for holder in states)
