"""Files of models, kept by content: each file once under its SHA-256, each set of files under the digest of its manifest.

    DATA_DIR/artifacts/blobs/sha256/ab/cdef…   one file, read-only
    DATA_DIR/artifacts/sets/<digest>/          a model folder made of hard links to blobs, for transformers to open

Files arrive whole (temporary name, fsync, link) or not at all; the same file twice is stored once; two writers cannot disturb each other.
Where hosts share a store (modelhub.shared), what is taken in here goes there too, and what is missing or damaged here comes from there.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings

from modelhub import listing, scanning, shared, weights
from modelhub.errors import Corrupt
from modelhub.models import Artifact

BLOCK = 2**20


@dataclass(frozen=True)
class Staged:
    """Files that are in the store already, and the row they will become. `left_out` are harmless names that were not taken."""

    digest: str
    manifest: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(int(entry["size"]) for entry in self.manifest)


def store() -> Path:
    """The root of the store, made on first use; for this account only."""
    root = Path(settings.DATA_DIR) / "artifacts"
    for path in (root, root / "blobs" / "sha256", root / "sets", root / "incoming"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return root


def blob(digest: str) -> Path:
    return store() / "blobs" / "sha256" / digest[:2] / digest[2:]


def digest_of(manifest: list[dict[str, Any]]) -> str:
    """SHA-256 of the manifest's canonical JSON: same files under the same names, same digest."""
    return sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextmanager
def together() -> Iterator[None]:
    """Hold the store's lock with others who take files in; never for longer than a link takes."""
    with _locked(fcntl.LOCK_SH):
        yield


@contextmanager
def alone() -> Iterator[None]:
    """Hold the store's lock alone: nobody takes a file in meanwhile."""
    with _locked(fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(how: int) -> Iterator[None]:
    descriptor = os.open(store() / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


# --- taking files in ---------------------------------------------------------------------------------------------------------------


def stage(*, folder: Path) -> Staged:
    """Check a model folder and take its files into the store. Idempotent; needs no transaction, and leaves no row.

    Files of an attempt's own folder, or of one in the store's `incoming`, are linked; others are copied: an owner may edit theirs later.
    Raises Refused, with nothing stored that a row will ever name, for a pickle, code, a link, remote code in a configuration,
    a safetensors header that lies, or an index that points elsewhere.
    """
    names, left_out = listing.names(folder)
    scanning.check(folder, names)
    ours = any(folder.resolve().is_relative_to(place.resolve()) for place in (Path(settings.DATA_DIR) / "attempts", store() / "incoming"))
    manifest = [_take(folder / name, name, link=ours) for name in names]
    return Staged(digest=digest_of(manifest), manifest=tuple(manifest), left_out=tuple(left_out))


def save(staged: Staged) -> Artifact:
    """The row of a staged set, made when it is new."""
    artifact, _ = Artifact.objects.get_or_create(digest=staged.digest, defaults={"manifest": list(staged.manifest), "bytes": staged.bytes})
    return artifact


def _take(source: Path, name: str, *, link: bool) -> dict[str, Any]:
    """One file into the store; returns its manifest entry."""
    incoming = store() / "incoming" / uuid4().hex
    try:
        digest, size = _link(source, incoming) if link else _copy(source, incoming)
        final = blob(digest)
        final.parent.mkdir(mode=0o700, exist_ok=True)
        here = False
        with together():
            try:
                os.link(incoming, final)
            except FileExistsError:
                here = True
            # Somebody wants it again: a collection that had found it unnamed begins anew (modelhub.garbage).
            (store() / "marks" / digest).unlink(missing_ok=True)
        # Here already. One that was damaged is healed by the whole one at hand.
        if here and (final.stat().st_size != size or hash_of(final) != digest):
            incoming.replace(final)
        _sync_folder(final.parent)
    finally:
        incoming.unlink(missing_ok=True)
    if shared.named():
        shared.put(final, digest)
    return {"name": name, "size": size, "sha256": digest}


def _copy(source: Path, target: Path) -> tuple[str, int]:
    """Copy while hashing, so that what was hashed is what is stored. Never follows a link."""
    hashed, size = sha256(), 0
    descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
        while block := reader.read(BLOCK):
            hashed.update(block)
            writer.write(block)
            size += len(block)
        writer.flush()
        os.fsync(writer.fileno())
    target.chmod(0o400)
    return hashed.hexdigest(), size


def _link(source: Path, target: Path) -> tuple[str, int]:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            return _copy(source, target)
        raise
    target.chmod(0o400)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())
    return hash_of(target), target.stat().st_size


def hash_of(path: Path) -> str:
    hashed = sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            hashed.update(block)
    return hashed.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- giving files out --------------------------------------------------------------------------------------------------------------


def folder(artifact: Artifact) -> Path:
    """The model folder of a set, as hard links to verified blobs. Made once, checked at every call.

    A file whose size, place or time of change is not the one that was verified is hashed again. Raises Corrupt, naming the file.
    """
    made = store() / "sets" / artifact.digest
    if made.is_dir():
        try:
            _verify(artifact, made)
        except Corrupt:
            # The blob may have been healed since; the folder's old link was not. If it was not either, making it says so.
            shutil.rmtree(made)
    if not made.is_dir():
        _make(artifact, made)
    return made


def _make(artifact: Artifact, made: Path) -> None:
    fresh = store() / "incoming" / uuid4().hex
    fresh.mkdir(mode=0o700)
    try:
        for entry in artifact.manifest:
            name = _plain(entry["name"])
            try:
                _link_blob(artifact, name, entry, fresh / name)
            except Corrupt:
                if not shared.named():
                    raise
                _bring(entry)
                (fresh / name).unlink(missing_ok=True)
                _link_blob(artifact, name, entry, fresh / name)
        _stamp(artifact, fresh, made)
        try:
            fresh.rename(made)
        except OSError as error:
            # Another process made the same folder first: its links are as good as ours.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        _sync_folder(made.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _link_blob(artifact: Artifact, name: str, entry: dict[str, Any], target: Path) -> None:
    try:
        os.link(blob(entry["sha256"]), target)
    except FileNotFoundError:
        raise Corrupt(f"Artifact {artifact.digest[:12]}: the file {name} is missing from the store.") from None
    _whole(artifact, target, entry)


def _bring(entry: dict[str, Any]) -> None:
    """A blob from the shared store, verified, in place of what is missing or damaged here."""
    final, incoming = blob(entry["sha256"]), store() / "incoming" / uuid4().hex
    try:
        shared.get(entry["sha256"], incoming)
        final.parent.mkdir(mode=0o700, exist_ok=True)
        incoming.replace(final)
        _sync_folder(final.parent)
    finally:
        incoming.unlink(missing_ok=True)


def file(artifact: Artifact, name: str) -> Path:
    """One file of a set, which need not be here as a whole: configuration, tokenizer. Raises Corrupt, and KeyError for no such name."""
    entry = next((entry for entry in artifact.manifest if entry["name"] == name), None)
    if entry is None:
        raise KeyError(name)
    place = blob(entry["sha256"])
    try:
        _whole(artifact, place, entry)
    except Corrupt:
        if not shared.named():
            raise
        _bring(entry)
    return place


def missing(artifact: Artifact) -> list[str]:
    """Names of files that are not here in their size; nothing is read. Where hosts share a store, what lies there counts as here."""
    if shared.named():
        return []
    found = []
    for entry in artifact.manifest:
        try:
            whole = blob(entry["sha256"]).stat().st_size == entry["size"]
        except FileNotFoundError:
            whole = False
        if not whole:
            found.append(entry["name"])
    return found


def check_present(artifact: Artifact) -> None:
    """Whether every file is here, whole, or could be brought here. Raises Corrupt; reads no file that only the shared store has."""
    if not shared.named():
        folder(artifact)
        return
    for entry in artifact.manifest:
        place = blob(entry["sha256"])
        here = place.is_file() and place.stat().st_size == entry["size"]
        if not here and not shared.has(entry["sha256"], int(entry["size"])):
            raise Corrupt(f"Artifact {artifact.digest[:12]}: the file {entry['name']} is missing here and from the shared store.")


def _verify(artifact: Artifact, made: Path) -> None:
    try:
        stamps = json.loads(_stamp_path(made).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        stamps = {}
    changed = [entry for entry in artifact.manifest if stamps.get(entry["name"]) != _state(made / _plain(entry["name"]))]
    for entry in changed:
        _whole(artifact, made / entry["name"], entry)
    if changed:
        _stamp(artifact, made, made)


def _whole(artifact: Artifact, path: Path, entry: dict[str, Any]) -> None:
    where = f"Artifact {artifact.digest[:12]}: {entry['name']}"
    found = path.stat().st_size if path.is_file() else 0
    if found != entry["size"]:
        raise Corrupt(f"{where} has {found} bytes, not {entry['size']}. Restore it, or import it again.")
    if hash_of(path) != entry["sha256"]:
        raise Corrupt(f"{where} is damaged: its digest has changed. Restore it, or import it again.")


def doubt(artifact: Artifact) -> None:
    """Have every file of its folder hashed again before it is next given out."""
    _stamp_path(store() / "sets" / artifact.digest).unlink(missing_ok=True)


def _stamp(artifact: Artifact, held: Path, made: Path) -> None:
    path = _stamp_path(made)
    fresh = path.with_name(f"{path.name}.{uuid4().hex}")
    fresh.write_text(json.dumps({entry["name"]: _state(held / entry["name"]) for entry in artifact.manifest}), encoding="ascii")
    fresh.replace(path)


def _stamp_path(made: Path) -> Path:
    return made.with_name(f"{made.name}.verified")


def _state(path: Path) -> list[int]:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return []
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _plain(name: str) -> str:
    """A manifest comes from our own rows, and is checked all the same."""
    if Path(name).name != name or name in (".", ".."):
        raise Corrupt(f"A manifest names {name[:80]!r}, which is no plain file name.")
    return name


# --- what a set is -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What the files of a set say about the model."""

    architecture: str
    model_type: str
    parameters: int
    tokenizer_digest: str
    chat_template_digest: str


def facts(artifact: Artifact) -> Facts:
    """Read from configuration and safetensors headers; no tensor is loaded."""
    digests = {entry["name"]: entry["sha256"] for entry in artifact.manifest}
    config = _config(digests, "config.json")
    architectures = config.get("architectures")
    template = _config(digests, "tokenizer_config.json").get("chat_template")
    inline = sha256(template.encode()).hexdigest() if isinstance(template, str) else ""
    return Facts(
        architecture=str(architectures[0])[:60] if isinstance(architectures, list) and architectures else "",
        model_type=str(config.get("model_type", ""))[:60],
        parameters=sum(weights.read_header(blob(digests[name]), name=name).parameters for name in _weight_files(digests)),
        tokenizer_digest=_tokenizer_digest(digests),
        chat_template_digest=digests.get("chat_template.jinja", inline),
    )


def shapes_of(artifact: Artifact) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model's own weights, from the headers. Raises Corrupt when a file is not here."""
    digests = {entry["name"]: entry["sha256"] for entry in artifact.manifest}
    found: dict[str, tuple[int, ...]] = {}
    for name in _weight_files(digests):
        found |= weights.read_header(file(artifact, name), name=name).shapes
    return found


def _weight_files(digests: dict[str, str]) -> Iterator[str]:
    """The model's own weights; an adapter that lies beside them does not count."""
    names = [name for name in digests if name.endswith(".safetensors")]
    yield from [name for name in names if name.startswith("model")] or names


def _config(digests: dict[str, str], name: str) -> dict[str, Any]:
    if name not in digests:
        return {}
    found = listing.read_json(blob(digests[name]), name)
    return found if isinstance(found, dict) else {}


def _tokenizer_digest(digests: dict[str, str]) -> str:
    if "tokenizer.json" in digests:
        return digests["tokenizer.json"]
    parts = [digests[name] for name in ("tokenizer.model", "vocab.json", "merges.txt") if name in digests]
    return sha256("".join(parts).encode()).hexdigest() if parts else ""
