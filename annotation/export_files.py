"""Exports on the disk: made once, whole or not at all, addressed by what they are of, and sent as they lie there."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation import export_facts, snapshot_heard, snapshot_rows
from annotation.exports import card, laid, levels, sealing
from annotation.exports.forms import FORMS
from annotation.models import Snapshot
from annotation.staging import Tell, quiet
from modelhub import zipping

# Changes with what is written: files of an earlier layout are made anew.
LAYOUT = "3"


def root() -> Path:
    return Path(settings.DATA_DIR) / "exports"


def place_of(snapshot: Snapshot, form: str, level: str) -> Path:
    return root() / f"{snapshot.digest}-{LAYOUT}-{level}-{form}"


def is_made(snapshot: Snapshot, form: str, level: str) -> bool:
    return place_of(snapshot, form, level).is_dir()


def folder(*, snapshot: Snapshot, form: str = "dataset", level: str = levels.FULL) -> Path:
    """The export's folder under DATA_DIR/exports, written on first use; raises OSError when the disk refuses.

    Written aside and renamed, so that a folder that exists is whole. The same snapshot, form and level give the same bytes.
    """
    if is_made(snapshot, form, level):
        return place_of(snapshot, form, level)
    with _aside() as aside:
        (aside / "laid").mkdir()
        (aside / "made").mkdir()
        lay_out(snapshot, level, aside / "laid")
        FORMS[form].write(aside / "laid", aside / "made", None)
        return keep(snapshot, form, level, aside / "made")


def lay_out(snapshot: Snapshot, level: str, place: Path, tell: Tell = quiet) -> None:
    """What a writer needs, from the database: rows, pairs, answers and facts. `tell` hears how far it is."""
    with snapshot_heard.gathered(snapshot, tell):
        snapshot_rows.lay_out_gathered(snapshot, place, tell)
        tell("working out figures", 0, 0)
        text = json.dumps(export_facts.of_gathered(snapshot, level), ensure_ascii=False, default=str)
    (place / laid.FACTS).write_text(text, encoding="utf-8")


def keep(snapshot: Snapshot, form: str, level: str, made: Path) -> Path:
    """Give what was made its place; somebody else's of the same name is the same."""
    place = place_of(snapshot, form, level)
    root().mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        made.rename(place)
    except OSError:
        if not place.is_dir():
            raise
    return place


@contextmanager
def _aside() -> Iterator[Path]:
    """A folder beside the exports that goes when it is left."""
    root().mkdir(parents=True, exist_ok=True, mode=0o700)
    place = Path(tempfile.mkdtemp(prefix=".writing-", dir=root()))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def size_of(place: Path) -> int:
    """Bytes of a made export, without what is only kept beside it."""
    return sum(int(told["bytes"]) for told in manifest(place)["files"].values())


def manifest(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / sealing.MANIFEST).read_text(encoding="utf-8"))
    return found


def archive(snapshot: Snapshot, place: Path) -> zipping.Archive:
    """A made export as a zip that is made while it is sent, any part of it: nothing is compressed, so its length is known."""
    sums = json.loads((place / sealing.CHECKSUMS).read_text(encoding="ascii"))
    name = card.filename(snapshot.digest)
    members = [zipping.Member(f"{name}/{file}", (place / file).stat().st_size, place / file) for file in sorted(sums)]
    return zipping.Archive(members, lambda member: int(sums[member.name.removeprefix(f"{name}/")]))
