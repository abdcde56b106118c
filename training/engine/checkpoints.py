"""Checkpoints that are whole or are not there: temporary folder, fsync, signed manifest, rename. Standard library only.

A checkpoint is a folder ``ckpt-<step>`` of plain files and a ``manifest.json`` that names each with its size and SHA-256 and is
signed with a key of the job's own. Whatever does not verify is treated as absent, so a torn file costs steps and never a wrong
model, and a pickled optimizer state is only ever read where we wrote it.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError

FOLDER, RESUME, MANIFEST = "checkpoints", "resume", "manifest.json"
KEY = "ROUNDS_CHECKPOINT_KEY"
# For attempts repeated by hand: their checkpoints are checked for damage, not for who wrote them, and the runner takes none of them.
BY_HAND = b"rounds: run by hand"
NAME = re.compile(r"ckpt-(\d{1,12})")
SCHEMA = 1
READ_BYTES = 2**20


class Torn(EngineError):
    """A checkpoint that is incomplete, altered, or signed by somebody else."""

    code = "torn_checkpoint"


class LeaseOver(EngineError):
    """The attempt's lease ended while the checkpoint was written; it was taken away again."""

    code = "lease_over"
    retryable = True


@dataclass(frozen=True)
class Checkpoint:
    """A folder that verified: ``state`` is what its writer put into the manifest (JSON values)."""

    path: Path
    step: int
    state: dict[str, Any]

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in _files(self.path))


def key_from_environment() -> bytes:
    """The job's key as its supervisor gave it, else the one for attempts run by hand."""
    return bytes.fromhex(os.environ[KEY]) if os.environ.get(KEY) else BY_HAND


def write(
    root: Path, *, step: int, fill: Callable[[Path], object], state: Mapping[str, Any], key: bytes, live: Callable[[], bool] | None = None
) -> Checkpoint:
    """Make ``root/ckpt-<step>``: ``fill`` writes its files into a temporary folder beside it. One that is there is replaced.

    ``live`` is asked last of all, before the rename: when it says no, nothing is left and ``LeaseOver`` is raised. Whatever
    ``fill`` raises (a full disk is an ``OSError``) leaves nothing behind either, and the checkpoints before it stay whole.
    """
    root.mkdir(parents=True, exist_ok=True)
    staging, final = root / f".ckpt-{step}.{os.getpid()}.tmp", root / f"ckpt-{step}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(mode=0o700)
        fill(staging)
        _seal(staging, step, state, key)
        _ask(live)
        _put(staging, final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return Checkpoint(final, step, dict(state))


def _ask(live: Callable[[], bool] | None) -> None:
    if live is not None and not live():
        raise LeaseOver("the lease ended before the checkpoint was complete")


def _seal(folder: Path, step: int, state: Mapping[str, Any], key: bytes) -> None:
    files: dict[str, dict[str, Any]] = {}
    for path in _files(folder):
        with path.open("rb+") as stream:
            digest = _digest(stream)
            os.fsync(stream.fileno())
            files[path.relative_to(folder).as_posix()] = {"bytes": stream.tell(), "sha256": digest}
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        _sync(inner)
    manifest: dict[str, Any] = {"schema": SCHEMA, "step": step, "files": files, "state": dict(state)}
    manifest["hmac"] = _signature(manifest, key)
    with (folder / MANIFEST).open("w", encoding="utf-8") as out:
        json.dump(manifest, out, ensure_ascii=False, sort_keys=True, allow_nan=False)
        out.flush()
        os.fsync(out.fileno())
    _sync(folder)


def _put(staging: Path, final: Path) -> None:
    """Into place in one step. A folder cannot be renamed over one that holds files, so an older one steps aside first."""
    aside = final.with_name(f".{final.name}.{os.getpid()}.old")
    if final.exists():
        shutil.rmtree(aside, ignore_errors=True)
        final.rename(aside)
    staging.rename(final)
    _sync(final.parent)
    shutil.rmtree(aside, ignore_errors=True)


def verify(path: Path, key: bytes) -> Checkpoint:
    """Read everything and compare. Raises ``Torn`` naming the first thing that is wrong."""
    named = NAME.fullmatch(path.name)
    if named is None or path.is_symlink() or not path.is_dir():
        raise Torn(f"{path.name} is no checkpoint folder")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError):
        raise Torn(f"{path.name}: the manifest is missing or is not JSON") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("hmac"), str):
        raise Torn(f"{path.name}: the manifest is not signed")
    if not hmac.compare_digest(manifest["hmac"], _signature(manifest, key)):
        raise Torn(f"{path.name}: the manifest's signature is not ours")
    if manifest.get("schema") != SCHEMA or manifest.get("step") != int(named[1]):
        raise Torn(f"{path.name}: the manifest is for another step or another version of Rounds")
    files: dict[str, dict[str, Any]] = manifest["files"]
    if found := {one.relative_to(path).as_posix() for one in _files(path)} ^ files.keys():
        raise Torn(f"{path.name}: {min(found)} is missing or does not belong to it")
    for name, wanted in files.items():
        with (path / name).open("rb") as stream:
            if _digest(stream) != wanted["sha256"] or stream.tell() != wanted["bytes"]:
                raise Torn(f"{path.name}: {name} is not what was written")
    return Checkpoint(path, int(named[1]), manifest["state"])


def newest(root: Path, key: bytes) -> Checkpoint | None:
    """The newest checkpoint under ``root`` that verifies, whatever newer ones there are that do not."""
    for path in named(root):
        try:
            return verify(path, key)
        except (Torn, OSError):
            continue
    return None


def prune(root: Path, key: bytes, *, keep: int = 2, best: int | None = None) -> list[int]:
    """Delete all but the ``keep`` newest that verify, and the one of step ``best``. Returns the steps that went.

    One is deleted only when ``keep`` newer ones verify, so a torn newest never costs a good older one.
    """
    good, gone = 0, []
    for path in named(root):
        step = step_of(path)
        if good >= keep and step != best:
            shutil.rmtree(path, ignore_errors=True)
            gone.append(step)
            continue
        try:
            verify(path, key)
        except (Torn, OSError):
            continue
        good += 1
    return gone


def keep(path: Path, into: Path, key: bytes) -> Checkpoint:
    """Put a checkpoint that verifies under the folder ``into`` too, by hard links where that can be. Raises ``Torn``.

    What is linked is verified once more at its new place: its writer may be altering it this very moment.
    """
    checkpoint = verify(path, key)
    final = into / path.name
    if final.exists():
        try:
            return verify(final, key)
        except Torn:
            shutil.rmtree(final)
    into.mkdir(parents=True, exist_ok=True)
    staging = into / f".{path.name}.{os.getpid()}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for one in [*_files(path), path / MANIFEST]:
            target = staging / one.relative_to(path)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _link(one, target)
        for inner in sorted((found for found in staging.rglob("*") if found.is_dir()), reverse=True):
            _sync(inner)
        _sync(staging)
        staging.rename(final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync(into)
    try:
        kept = verify(final, key)
    except Torn:
        shutil.rmtree(final)
        raise
    assert kept.step == checkpoint.step
    return kept


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(source, target)
        with target.open("rb+") as stream:
            os.fsync(stream.fileno())


def named(root: Path) -> list[Path]:
    """Checkpoint folders by their names, the newest first."""
    try:
        found = [path for path in root.iterdir() if NAME.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    return sorted(found, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """The step that a checkpoint folder is named for."""
    return int(path.name.removeprefix("ckpt-"))


def _files(folder: Path) -> Iterator[Path]:
    """Every file but the manifest. A link is refused: what it points at is not in the folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise Torn(f"{path.name} is a link")
        if path.is_file() and path != folder / MANIFEST:
            yield path


def _digest(stream: Any) -> str:
    digest = sha256()
    while block := stream.read(READ_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _signature(manifest: Mapping[str, Any], key: bytes) -> str:
    told = {name: value for name, value in manifest.items() if name != "hmac"}
    text = json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.new(key, text.encode(), sha256).hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
