"""The drop folder: models that an operator has laid into DATA_DIR/incoming-models, what is said of each, and its import as a job.

Nobody types a path into a page: a folder is chosen among those that lie there, by its name.
"""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from accounts.models import User
from jobs import submissions
from jobs.models import Job
from modelhub import adapters, intake, listing
from modelhub.errors import Refused
from modelhub.models import Kind, ModelVersion

FOLDER = "incoming-models"
KIND = "import-model"
# A page is no place to read a hundred megabytes of header; the job reads them.
MOST_HEADER = 4 * 2**20
MOST_FOLDERS = 50
# Nothing is fetched from anywhere: what a hub would call a branch is somebody's to pin before it lies here.
NO_FOLDER = (
    f"is not the name of a folder in {FOLDER}: letters, digits, “-”, “_” and “.”, without “/”. Rounds fetches nothing by itself: "
    "download a hub's model, pin a 40-digit commit, and lay its folder there."
)


@dataclass(frozen=True)
class Offer:
    """A folder that lies there. `refusal` says why it would not be taken, as far as a quick look can tell."""

    name: str
    bytes: int = 0
    adapter: bool = False
    left_out: tuple[str, ...] = ()
    refusal: Refused | None = None


def place() -> Path:
    return Path(settings.DATA_DIR) / FOLDER


def offers() -> list[Offer]:
    """What lies in the drop folder, by name; at most MOST_FOLDERS. Makes the folder when it is not there."""
    place().mkdir(mode=0o700, parents=True, exist_ok=True)
    found = sorted((entry for entry in place().iterdir() if not entry.name.startswith(".")), key=lambda path: path.name)
    return [offer(path) for path in found[:MOST_FOLDERS] if path.is_symlink() or path.is_dir()]


def offer(path: Path) -> Offer:
    """A quick look: names, configuration and headers; no tokenizer, and no tensor."""
    shown = path.name.encode("utf-8", "backslashreplace").decode()
    try:
        _check_place(path)
        names, _ = listing.names(path, outside=True)
        adapter = adapters.looks_like_one(names)
        names, left_out = intake.look(path, adapter=adapter, deep=False, most_header=MOST_HEADER)
    except Refused as refusal:
        return Offer(shown, refusal=refusal)
    return Offer(shown, sum((path / name).stat().st_size for name in names), adapter, tuple(left_out))


def queue(
    *, folder: str, name: str, kind: str, base: ModelVersion | None = None, same_base: bool = False, licence: str = "", actor: User | None
) -> Job:
    """Have a job bring a folder of the drop folder in. Raises Refused when it is not there or is no plain folder of it.

    With `base` it is an adapter for that version, whatever `kind` says. The same folder under the same name is one job while it runs.
    """
    path = place() / folder
    _check_place(path)
    spec = {
        "task": "import", "folder": folder, "name": name, "kind": Kind.ADAPTER.value if base else kind, "licence": licence,
        "same_base": same_base, "base": {"version": base.pk} if base else None,
    }  # fmt: skip
    return submissions.submit(
        kind=KIND, label=f"Import {name}"[:120], spec=spec, requested_by=actor, dedupe_key=f"{KIND}:{submissions.digest_of(spec)}"[:100],
        max_attempts=2,
    )  # fmt: skip


def _check_place(path: Path) -> None:
    """A plain name, and a folder that lies in the drop folder itself. Raises Refused."""
    name = path.name
    if path.parent != place() or name in ("", ".", "..") or not name.isascii() or not name.isprintable() or len(name) > listing.MAX_NAME:
        raise Refused("model.ref", name.encode("ascii", "backslashreplace").decode()[:80], NO_FOLDER)
    if path.is_symlink():
        raise Refused("model.link", name, "is a symbolic link. Copy the folder itself here (cp -rL).")
    if not path.is_dir():
        raise Refused("model.not_a_folder", name, "is not here any more.")
