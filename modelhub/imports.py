"""Taking in what others made: models that transformers itself knows, and LoRA adapters for models that are here. Safetensors, no code."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from django.db import transaction

from accounts.models import User
from modelhub import adapters, artifacts, intake, versions
from modelhub.artifacts import Staged
from modelhub.errors import Refused
from modelhub.intake import Brought
from modelhub.models import Kind, ModelVersion

ROLE = "base"


@dataclass(frozen=True)
class Imported:
    """What came of an import; `already` when the very same files were here under the same name."""

    version: ModelVersion
    left_out: tuple[str, ...]
    already: bool
    removed: str = ""


def import_folder(
    *, folder: Path, name: str | None = None, kind: str = Kind.BASE, licence: str | None = None, actor: User | None = None
) -> Imported:
    """Check a folder, take its files into the store and register it as a model version. Twice is once.

    Reads the architecture from config.json and the parameter count from safetensors headers; loads no torch. Every float is looked at
    as bits. Raises Refused with a code and the file's name, or NameTaken when another model has that name.
    """
    with _brought(folder) as (brought, staged):
        return register(
            brought=brought, staged=staged, source_name=folder.resolve().name, name=name, kind=kind, licence=licence, actor=actor
        )


def import_adapter(
    *, folder: Path, base: ModelVersion, name: str | None = None, licence: str | None = None, same_base: bool = False,
    actor: User | None = None,
) -> Imported:  # fmt: skip
    """Check a LoRA adapter's folder against the version it is for, and register it as a version whose parent that is. Twice is once.

    `same_base` says that the base goes by another name in the adapter's configuration; sizes are compared all the same. Raises Refused
    or NameTaken.
    """
    with _brought(folder, base=base, same_base=same_base) as (brought, staged):
        return register(
            brought=brought, staged=staged, source_name=folder.resolve().name, name=name, kind=Kind.ADAPTER, licence=licence, base=base,
            actor=actor,
        )  # fmt: skip


@contextmanager
def _brought(folder: Path, *, base: ModelVersion | None = None, same_base: bool = False) -> Iterator[tuple[Brought, Staged]]:
    """A checked copy of the folder and its files in the store. The copy is gone afterwards, whatever happens."""
    if not folder.is_dir():
        raise Refused("model.not_a_folder", "", f"{folder} is not a folder.")
    copy = artifacts.store() / "incoming" / uuid4().hex
    try:
        brought = intake.bring(folder, copy, adapter=base is not None, base=base_of(base) if base else None, same_base=same_base)
        yield brought, artifacts.stage(folder=copy)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


@transaction.atomic
def register(
    *, brought: Brought, staged: Staged, source_name: str, name: str | None, kind: str, licence: str | None = None,
    base: ModelVersion | None = None, origin: str | None = None, actor: User | None = None,
) -> Imported:  # fmt: skip
    """The row of what was brought in: the same files under the same name are the version that is there. Raises NameTaken."""
    called = (name or source_name)[: versions.MAX_NAME]
    artifact = artifacts.save(staged)
    if same := ModelVersion.objects.filter(name=called, artifact=artifact).first():
        return Imported(same, brought.left_out, already=True, removed=brought.removed)
    named = licence if licence is not None else brought.licence
    version = versions.register(
        name=called, kind=kind, artifact=artifact, parents=[(base, ROLE)] if base else [], licence=named or (base.licence if base else ""),
        notes=_notes(source_name, brought), origin=origin, source_name=source_name, actor=actor,
    )  # fmt: skip
    return Imported(version, brought.left_out, already=False, removed=brought.removed)


def _notes(source_name: str, brought: Brought) -> str:
    left_out = f" Not taken: {', '.join(brought.left_out)}." if brought.left_out else ""
    return f"Imported from a folder called {source_name}.{left_out} {brought.removed}".strip()


def base_of(version: ModelVersion) -> adapters.Base:
    """What an adapter's folder is compared with. Raises Refused for an adapter, which can be no base, and Corrupt."""
    if version.kind == Kind.ADAPTER:
        raise Refused("model.base_mismatch", "", f"{version.name} is an adapter itself. Name the model that this one is for.")
    return adapters.Base(names=(version.name, version.source_name), shapes=artifacts.shapes_of(version.artifact))
