"""A version as others open it: the folder that transformers' or PEFT's `from_pretrained` loads, with its card and its sums.

    README.md        the card            LICENSE       where its text is known
    rounds.json      where it came from  SHA256SUMS    of every other file, for `sha256sum -c`

beside the files as they are stored: configuration, tokenizer, chat template, safetensors. The same folder is written to a disk or sent as
a zip that is made on the way.
"""

import json
import os
import re
import shutil
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from accounts import audit
from accounts.models import User
from modelhub import artifacts, cards, lineage, recasting, zipping
from modelhub.errors import Corrupt
from modelhub.models import ModelVersion

FORMATS = {"hf": "whole model", "adapter": "LoRA adapter"}
SUMS = "SHA256SUMS"
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json",
    "merges.txt", "chat_template.jinja",
)  # fmt: skip
BLOCK = 2**20


class NotExported(Exception):
    """This version cannot be exported so; the message says why and what can be done. Nothing was written."""


@dataclass(frozen=True)
class File:
    """One file of an export: stored at `path`, or made now."""

    name: str
    size: int
    sha256: str
    path: Path | None = None
    content: bytes = b""


@dataclass(frozen=True)
class Layout:
    """The files of an export in order, SHA256SUMS last. `name` is the folder's; `digest` is of the sums, and so of everything."""

    name: str
    files: tuple[File, ...]

    @property
    def digest(self) -> str:
        return self.files[-1].sha256

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def layout(version: ModelVersion, *, form: str = "hf") -> Layout:
    """The export of `version` as `form`, a key of FORMATS. Raises NotExported, and Corrupt when a stored file is damaged."""
    card = cards.of(version, adapter=form == "adapter")
    files = _adapter(version, card) if form == "adapter" else _model(version)
    texts = {"README.md": card.text, "rounds.json": json.dumps(card.record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"}
    if not any(file.name == "LICENSE" for file in files) and (licence := licence_text(version)):
        texts["LICENSE"] = licence
    files += [_made(name, text) for name, text in texts.items()]
    files.sort(key=lambda file: file.name)
    return Layout(filename(version, form), (*files, _made(SUMS, sums({file.name: file.sha256 for file in files}))))


def filename(version: ModelVersion, form: str = "hf") -> str:
    """A folder's name of plain characters."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", version.name).strip("-.") or "model"
    return f"{plain}-adapter" if form == "adapter" and version.kind != "adapter" else plain


def adapter_of(version: ModelVersion) -> Any:
    """The artifact of its adapter: kept beside a model that one was merged into, or itself where it is one. None without."""
    return version.artifact if version.kind == "adapter" else version.adapter


def _model(version: ModelVersion) -> list[File]:
    if version.kind == "adapter":
        raise NotExported(f"{version.name} is an adapter and no whole model. Export it as an adapter.")
    folder = artifacts.folder(version.artifact)
    # What its author wrote stays, under a name that leaves ours its place.
    named = {"README.md": "ORIGINAL_README.md"}
    return [
        File(named.get(entry["name"], entry["name"]), int(entry["size"]), entry["sha256"], folder / entry["name"])
        for entry in version.artifact.manifest
    ]


def _adapter(version: ModelVersion, card: cards.Card) -> list[File]:
    artifact = adapter_of(version)
    if artifact is None:
        raise NotExported(
            f"No adapter of {version.name} is kept: it was trained whole, merged from others, or made before adapters were kept. "
            "Export the whole model."
        )
    folder = artifacts.folder(artifact)
    files = [
        File(entry["name"], int(entry["size"]), entry["sha256"], folder / entry["name"])
        for entry in artifact.manifest
        if entry["name"] not in ("README.md", "adapter_config.json")
    ]
    said = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    # Where it is published, else what it is called here: never the path it once lay in.
    said["base_model_name_or_path"] = card.base
    files.append(_made("adapter_config.json", json.dumps(said, indent=2, sort_keys=True) + "\n"))
    here = {file.name for file in files}
    for entry in version.artifact.manifest:
        if entry["name"] in TOKENIZER and entry["name"] not in here:
            files.append(File(entry["name"], int(entry["size"]), entry["sha256"], artifacts.file(version.artifact, entry["name"])))
    return files


def _made(name: str, text: str) -> File:
    content = text.encode()
    return File(name, len(content), sha256(content).hexdigest(), content=content)


def sums(digests: dict[str, str]) -> str:
    """As sha256sum writes and reads them."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))


def licence_text(version: ModelVersion) -> str:
    """The text of its licence: of its nearest ancestor under the same licence that came with one; ours where that is Apache-2.0."""
    if not version.licence:
        return ""
    above = [edge.parent for edges in lineage.edges_above(version).values() for edge in edges if edge.parent]
    for parent in sorted(above, key=lambda parent: -parent.pk):
        names = [entry["name"] for entry in parent.artifact.manifest]
        if "LICENSE" in names and parent.licence.casefold() == version.licence.casefold():
            return artifacts.file(parent.artifact, "LICENSE").read_text(encoding="utf-8", errors="replace")
    if version.licence.casefold() == "apache-2.0":
        ours = Path(__file__).resolve().parent.parent / "LICENSE"
        return ours.read_text(encoding="utf-8") if ours.is_file() else ""
    return ""


# --- to a disk ---------------------------------------------------------------------------------------------------------------------


def write(*, version: ModelVersion, to: Path, form: str = "hf", dtype: str | None = None, actor: User | None = None) -> Layout:
    """Write the export into the new folder `to`: whole or not at all. Returns what was written.

    `dtype` writes floating weights in another precision (a key of recasting.DTYPES); configuration, index and sums follow.
    Raises NotExported when `to` exists or the disk is too small, Corrupt when a stored file is damaged, and OSError from the disk.
    """
    found = layout(version, form=form)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise NotExported(f"{to} exists and is not an empty folder. Choose another place: nothing is overwritten.")
    to.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(to.parent).free) < found.bytes:
        raise NotExported(f"{to.parent} has {free} bytes free, and this export may need {found.bytes}. Nothing was written.")
    aside = to.parent / f".{to.name}-{uuid4().hex[:8]}"
    aside.mkdir()
    try:
        written = [_write(file, aside, dtype) for file in found.files[:-1]]
        done = Layout(found.name, (*written, _made(SUMS, sums({file.name: file.sha256 for file in written}))))
        _write(done.files[-1], aside, None)
        if to.exists():
            to.rmdir()
        aside.rename(to)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    record(version=version, form=form, digest=done.digest, actor=actor)
    return done


def _write(file: File, folder: Path, dtype: str | None) -> File:
    target = folder / file.name
    if dtype and file.path is not None and file.name.endswith(".safetensors"):
        digest, size = recasting.recast(file.path, target, dtype=dtype)
        _sync(target)
        return replace(file, sha256=digest, size=size)
    if dtype and (text := _said_of(file, dtype)):
        file = _made(file.name, text)
    hashed = sha256()
    with target.open("xb") as writer:
        for block in zipping.Member(file.name, file.size, file.path, file.content).blocks(0, file.size):
            hashed.update(block)
            writer.write(block)
    if hashed.hexdigest() != file.sha256:
        raise Corrupt(f"{file.name} is damaged: its digest has changed while it was exported. Nothing was written.")
    _sync(target)
    return file


def _said_of(file: File, dtype: str) -> str:
    """What files that speak of the weights' type must say now; empty for others."""
    if file.name not in ("config.json", "model.safetensors.index.json", "rounds.json"):
        return ""
    said = json.loads(file.path.read_bytes() if file.path else file.content)
    if file.name == "config.json":
        said.pop("torch_dtype", None)
        said["dtype"] = dtype
    elif file.name == "rounds.json":
        said["written_as"] = dtype
    else:
        # Tensors are found by name; their sum in bytes is a remark, and would be of the stored type.
        said.get("metadata", {}).pop("total_size", None)
    return json.dumps(said, indent=2, ensure_ascii=False) + "\n"


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


# --- as a zip ----------------------------------------------------------------------------------------------------------------------


def archive(found: Layout) -> zipping.Archive:
    """The export as a zip that is read from the store as it is sent."""
    by_name = {f"{found.name}/{file.name}": file for file in found.files}
    members = [zipping.Member(name, file.size, file.path, file.content) for name, file in by_name.items()]
    return zipping.Archive(members, lambda member: _crc(by_name[member.name], member))


def _crc(file: File, member: zipping.Member) -> int:
    """Kept by the stored file's digest: a download that is taken up again does not read what it has."""
    if file.path is None:
        return zipping.crc_of(member)
    place = artifacts.store() / "crc32" / file.sha256
    try:
        return int(place.read_text(encoding="ascii"), 16)
    except (FileNotFoundError, ValueError):
        found = zipping.crc_of(member)
    place.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = place.with_name(f"{place.name}.{uuid4().hex}")
    fresh.write_text(f"{found:08x}", encoding="ascii")
    fresh.replace(place)
    return found


def record(*, version: ModelVersion, form: str, digest: str, actor: User | None) -> None:
    """Who took it out of the house, as what: by the digest of its sums."""
    audit.record(actor, "model.exported", version, form=form, digest=digest)
