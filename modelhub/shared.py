"""The store that several hosts share: blobs by their SHA-256, in a folder or a bucket, through fsspec. By default there is none.

    <ROUNDS_ARTIFACT_STORE>/blobs/sha256/ab/cdef…

Each host keeps what it has used in its own DATA_DIR/artifacts, and takes nothing from here whose digest is not the one asked for. A file
appears whole: object stores show an object when its upload is complete, and in a folder it is renamed into place.
"""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from django.conf import settings
from fsspec.implementations.local import LocalFileSystem

from modelhub.errors import Corrupt

BLOCK = 2**20


def named() -> bool:
    """Whether there is one."""
    return bool(settings.ROUNDS_ARTIFACT_STORE)


def put(path: Path, digest: str) -> None:
    """Share one file. One that is there already in this size stays: its name says what is in it."""
    system, place = _place(digest)
    with suppress(FileNotFoundError):
        if system.size(place) == path.stat().st_size:
            return
    if isinstance(system, LocalFileSystem):
        system.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH120 - an address of fsspec's, not a path of ours
        aside = f"{place}.{uuid4().hex}"
        try:
            _copy(path, aside)
            Path(aside).replace(place)
        finally:
            Path(aside).unlink(missing_ok=True)
        return
    system.put_file(str(path), place)


def get(digest: str, target: Path) -> None:
    """Bring one file here, under the name `target`, which must not exist. Raises Corrupt when it is missing there or is another."""
    system, place = _place(digest)
    hashed = sha256()
    try:
        with system.open(place, "rb") as reader, target.open("xb") as writer:
            while block := reader.read(BLOCK):
                hashed.update(block)
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
    except FileNotFoundError:
        raise Corrupt(f"The shared store has no file {digest[:12]}.") from None
    if hashed.hexdigest() != digest:
        target.unlink()
        raise Corrupt(f"The shared store's file {digest[:12]} is damaged: its digest has changed. Restore it, or import it again.")
    target.chmod(0o400)


def has(digest: str, size: int) -> bool:
    """Whether it is there in this size; nothing is read."""
    system, place = _place(digest)
    try:
        return int(system.size(place)) == size
    except FileNotFoundError:
        return False


def _place(digest: str) -> tuple[Any, str]:
    system, root = fsspec.core.url_to_fs(settings.ROUNDS_ARTIFACT_STORE)
    return system, f"{root.rstrip('/')}/blobs/sha256/{digest[:2]}/{digest[2:]}"


def _copy(source: Path, target: str) -> None:
    with source.open("rb") as reader, Path(target).open("xb") as writer:
        while block := reader.read(BLOCK):
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
