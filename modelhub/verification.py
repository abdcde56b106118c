"""Whether every stored file still is what its name says: read whole, hashed, compared."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelhub import artifacts, shared
from modelhub.child import rehash
from modelhub.models import Artifact, ModelVersion


@dataclass(frozen=True)
class Damage:
    """A file that is not what it was; `what` says how, `versions` whose it is."""

    file: str
    sha256: str
    what: str
    versions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.versions) or 'no version'}: {self.file} {self.what}"


def blobs(found: Iterable[Artifact]) -> list[dict[str, Any]]:
    """Each file of these artifacts once, with its place: what `child.rehash` reads. Files that only the shared store has are not read."""
    seen: dict[str, dict[str, Any]] = {}
    for artifact in found:
        for entry in artifact.manifest:
            digest, size = entry["sha256"], int(entry["size"])
            place = artifacts.blob(digest)
            if digest in seen or (not place.exists() and shared.named() and shared.has(digest, size)):
                continue
            seen[digest] = {"path": str(place), "sha256": digest, "size": size}
    return list(seen.values())


def verify(
    *, versions: Sequence[ModelVersion] | None = None, tell: Callable[[str, int, int], None] | None = None
) -> tuple[int, list[Damage]]:
    """Rehash every file of these versions, or of the whole hub; (files read, what is damaged). A damaged set is hashed again before use."""
    if versions is None:
        wanted = list(Artifact.objects.all())
    else:
        wanted = [artifact for version in versions for artifact in (version.artifact, version.adapter) if artifact]
    listed = blobs(wanted)
    return len(listed), name(rehash(listed, tell or (lambda phase, done, total: None)))


def name(damaged: list[dict[str, Any]]) -> list[Damage]:
    """Whose files these are. Stamps of the sets concerned are dropped, so that nothing damaged is opened on their word."""
    named = []
    for entry in damaged:
        holders = list(Artifact.objects.filter(manifest__contains=[{"sha256": entry["sha256"]}]).prefetch_related("versions", "adapter_of"))
        files = [item["name"] for holder in holders for item in holder.manifest if item["sha256"] == entry["sha256"]]
        names = sorted({version.name for holder in holders for version in (*holder.versions.all(), *holder.adapter_of.all())})
        for holder in holders:
            artifacts.doubt(holder)
        named.append(
            Damage(file=files[0] if files else Path(entry["path"]).name, sha256=entry["sha256"], what=entry["what"], versions=tuple(names))
        )
    return named
