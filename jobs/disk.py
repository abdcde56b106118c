"""Room on the volumes that jobs write to: how much there is, how much is wanted, and what to say when it is too little."""

import shutil
from pathlib import Path

from django.conf import settings

from jobs.errors import NoRoom
from web.templatetags.rounds import size as words

# Room wanted before an attempt, in sizes of the newest checkpoint: itself, its successor, and a little.
CHECKPOINTS = 2.2


def free() -> int:
    """Bytes that we may still write into the data folder."""
    return _free(_places()[0])


def total() -> int:
    """Bytes of the whole volume of the data folder."""
    return shutil.disk_usage(_places()[0]).total


def tightest() -> tuple[int, Path]:
    """Bytes free where there is least room, of the data folder and the one that hosts share; and which it is."""
    return min((_free(place), place) for place in _places())


def missing(need: int) -> str:
    """What to tell a person when there is less room than `need` bytes on one of them; nothing when there is enough."""
    need = max(need, settings.ROUNDS_MIN_FREE_BYTES)
    have, place = tightest()
    return "" if have >= need else f"Need {words(need)}, have {words(have)} on the volume {volume(place)}."


def require(kept: Path) -> None:
    """Raises NoRoom when an attempt that goes on from what lies in `kept` would not have room to save."""
    need = max(round(CHECKPOINTS * largest(kept)), settings.ROUNDS_MIN_FREE_BYTES)
    if tightest()[0] < need:
        raise NoRoom(need)


def largest(folder: Path) -> int:
    """Bytes of the largest folder in `folder`; 0 when there is none."""
    try:
        return max((bytes_in(path) for path in folder.iterdir() if path.is_dir()), default=0)
    except FileNotFoundError:
        return 0


def bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def volume(place: Path | None = None) -> Path:
    """Where the volume of `place`, the data folder unless one is named, is mounted: the name an operator knows it by."""
    place = (place or _places()[0]).resolve()
    while not place.is_mount() and place != place.parent:
        place = place.parent
    return place


def _places() -> list[Path]:
    """Attempts lie in the data folder, and checkpoints in the one that hosts share, if there is one."""
    return [_existing(Path(root)) for root in (settings.DATA_DIR, settings.ROUNDS_SHARED_DIR) if root]


def _free(place: Path) -> int:
    return shutil.disk_usage(place).free


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
