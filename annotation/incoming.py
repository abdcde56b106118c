"""Foreign files on their way in: received whole or not at all, or taken where they lie, before anybody looks at them.

A received file lies under the data folder until its rows are stored, or for three days; one in the operator's import folder stays there.
"""

import os
import shutil
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from annotation import staging
from annotation.models import Import, ImportState
from annotation.records import Problem

FOLDER, FILE = "imports", "file"
BLOCK = 2**20
MOST_LISTED = 200


class UploadRefused(Exception):
    """A file was not received; nothing of it was kept. `code` is stable, `status` what HTTP says of it."""

    def __init__(self, code: str, message: str, status: int = 422) -> None:
        self.code, self.status = code, status
        super().__init__(message)

    def problem(self) -> Problem:
        return Problem(0, "file", str(self), self.code)


def place() -> Path:
    return Path(settings.DATA_DIR) / FOLDER


def folder_of(imported: Import) -> Path:
    return place() / str(imported.public_id)


def path_of(imported: Import) -> Path:
    """Where its file lies: ours, or the operator's."""
    return Path(settings.ROUNDS_IMPORT_FOLDER) / imported.label if imported.on_server else folder_of(imported) / FILE


class Incoming:
    """A file on its way to the disk: written, counted and hashed block by block. `whole` gives it to an import, `discard` removes it."""

    def __init__(self) -> None:
        place().mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = Path(mkdtemp(prefix=".part-", dir=place())) / FILE
        self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._digest = sha256()
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Raises UploadRefused as soon as it is larger than the operator allows."""
        self.bytes += len(data)
        check_size(self.bytes)
        self._file.write(data)
        self._digest.update(data)

    def discard(self) -> None:
        self._file.close()
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def whole(self, *, name: str, actor: User | None, length: int | None = None, digest: str = "", key: UUID | None = None) -> Import:
        """The file is complete: what was declared of it, if anything, is compared, and only then is there an import.

        Raises UploadRefused (`upload.incomplete`, `upload.digest`) and removes it.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        try:
            self._compare(length, digest)
            with transaction.atomic():
                made = Import.objects.create(
                    label=_label(name), bytes=self.bytes, sha256=self._digest.hexdigest(), actor=actor, idempotency_key=key
                )
                self.path.parent.rename(folder_of(made))
        except BaseException:
            self.discard()
            raise
        clear_abandoned()
        return made

    def _compare(self, length: int | None, digest: str) -> None:
        if length is not None and length != self.bytes:
            raise UploadRefused("upload.incomplete", f"Incomplete upload: {self.bytes} of {length} bytes arrived. Send it again.")
        if digest and digest.lower() != self._digest.hexdigest():
            raise UploadRefused("upload.digest", "The file that arrived is not the one that was declared: its SHA-256 differs.")


def check_size(size: int) -> None:
    """Raises UploadRefused for more than the operator allows."""
    if size > settings.ROUNDS_IMPORT_MAX_BYTES:
        most = settings.ROUNDS_IMPORT_MAX_BYTES
        raise UploadRefused("upload.too_large", f"The file is larger than this server takes ({most:,} bytes).", 413)


def receive(*, path: Path, actor: User | None, name: str = "") -> Import:
    """Copy a file, or a data-set folder, that this process can read, for a command. Raises UploadRefused, OSError."""
    if path.is_dir():
        check_size(size := size_of(path))
        made = Import.objects.create(label=_label(name or path.name), bytes=size, actor=actor)
        folder_of(made).mkdir(mode=0o700, parents=True)
        shutil.copytree(path, path_of(made), symlinks=True)
        return made
    incoming = Incoming()
    try:
        with path.open("rb") as source:
            while block := source.read(BLOCK):
                incoming.write(block)
    except BaseException:
        incoming.discard()
        raise
    return incoming.whole(name=name or path.name, actor=actor)


def offers() -> list[tuple[str, int]]:
    """(name, bytes) of what lies in the operator's import folder: files and data-set folders, at most MOST_LISTED, by name."""
    here = Path(settings.ROUNDS_IMPORT_FOLDER)
    if not here.is_dir():
        return []
    found = sorted((one for one in here.iterdir() if not one.name.startswith(".") and not one.is_symlink()), key=lambda one: one.name)
    return [(one.name, size_of(one)) for one in found[:MOST_LISTED] if one.is_file() or one.is_dir()]


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def from_server(*, name: str, actor: User | None) -> Import:
    """Take a file or data-set folder of the operator's import folder where it lies. Raises UploadRefused."""
    path = Path(settings.ROUNDS_IMPORT_FOLDER) / name
    plain = bool(name) and path.name == name and name not in {".", ".."} and not name.startswith(".") and name.isprintable()
    if not plain or len(name) > 120 or path.is_symlink() or not path.exists():
        raise UploadRefused("upload.name", "No file of that name lies in the server's import folder.")
    size = size_of(path)
    check_size(size)
    return Import.objects.create(label=name, on_server=True, bytes=size, actor=actor)


def clear_abandoned() -> int:
    """Remove received files whose rows nobody asked for in three days, and staged tables that no job works on: both hold clinical text.
    Returns how many files."""
    for key in staging.leftovers():
        held = Import.objects.filter(public_id=key).select_related("job").first()
        if held is None or not held.working:
            staging.drop(key)
    old = timezone.now() - timedelta(hours=settings.ROUNDS_KEEP_ATTEMPT_HOURS)
    count = 0
    for one in Import.objects.filter(created_at__lt=old, on_server=False).exclude(state=ImportState.STORED).select_related("job")[:100]:
        if not one.working and path_of(one).exists():
            forget(path_of(one))
            count += 1
    return count


def _label(name: str) -> str:
    shown = "".join(character if character.isprintable() else "\ufffd" for character in name.replace("\\", "/").rpartition("/")[2])
    return shown[-120:] or "file"


def forget(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
