"""Room on the volume of the data folder: how much there is, how much is wanted, and what to say when it is too little."""

import shutil
from pathlib import Path

from django.conf import settings

from jobs.errors import NoRoom
from web.templatetags.rounds import size as words

# Room wanted before an attempt, in sizes of the newest checkpoint: itself, its successor, and a little.
CHECKPOINTS = 2.2


def free() -> int:
    """Bytes that we may still write there."""
    return shutil.disk_usage(_existing(Path(settings.DATA_DIR))).free


def total() -> int:
    """Bytes of the whole volume."""
    return shutil.disk_usage(_existing(Path(settings.DATA_DIR))).total


def missing(need: int) -> str:
    """What to tell a person when there is less room than `need` bytes; nothing when there is enough."""
    need = max(need, settings.ROUNDS_MIN_FREE_BYTES)
    have = free()
    return "" if have >= need else f"Need {words(need)}, have {words(have)} on the volume {volume()}."


def require(kept: Path) -> None:
    """Raises NoRoom when an attempt that goes on from what lies in `kept` would not have room to save."""
    need = max(round(CHECKPOINTS * largest(kept)), settings.ROUNDS_MIN_FREE_BYTES)
    if free() < need:
        raise NoRoom(need)


def largest(folder: Path) -> int:
    """Bytes of the largest folder in `folder`; 0 when there is none."""
    try:
        return max((bytes_in(path) for path in folder.iterdir() if path.is_dir()), default=0)
    except FileNotFoundError:
        return 0


def bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def volume() -> Path:
    """Where the volume of the data folder is mounted: the name an operator knows it by."""
    place = _existing(Path(settings.DATA_DIR)).resolve()
    while not place.is_mount() and place != place.parent:
        place = place.parent
    return place


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
