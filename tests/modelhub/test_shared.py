"""A store that hosts share: what one takes in the other can open, verified on the way, from a folder or through any fsspec address."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from modelhub import artifacts, shared
from modelhub.errors import Corrupt
from modelhub.models import Artifact

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Any:
    """Its file system and root. The memory file system stands for buckets: whole objects, no rename, no links."""
    address = str(tmp_path / "shared") if request.param == "folder" else f"memory://{uuid4().hex}/models"
    settings.ROUNDS_ARTIFACT_STORE = address
    return fsspec.core.url_to_fs(address)


def on_another_host(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "another"


def taken_in(folder: Path) -> Artifact:
    return artifacts.save(artifacts.stage(folder=folder))


def places(store: Any) -> list[str]:
    system, root = store
    return sorted(system.find(root))


def test_another_host_opens_what_this_one_took_in(store: Any, model_folder: Make, settings: Any, tmp_path: Path) -> None:
    source = model_folder("phi")
    artifact = taken_in(source)
    assert len(places(store)) == len(artifact.manifest)
    on_another_host(settings, tmp_path)
    artifacts.check_present(artifact)
    assert not (tmp_path / "another" / "artifacts" / "sets" / artifact.digest).exists(), "looked, and brought nothing"
    opened = artifacts.folder(artifact)
    assert opened.is_relative_to(tmp_path / "another")
    for entry in artifact.manifest:
        assert (opened / entry["name"]).read_bytes() == (source / entry["name"]).read_bytes()


def test_the_same_file_is_shared_once_and_not_sent_again(store: Any, model_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    taken_in(model_folder("phi"))
    before = places(store)
    monkeypatch.setattr(shared, "_copy", lambda *_: pytest.fail("sent again"))
    monkeypatch.setattr(type(store[0]), "put_file", lambda *_, **__: pytest.fail("sent again"))
    taken_in(model_folder("phi-again"))
    assert places(store) == before


def test_one_file_comes_without_the_weights(store: Any, model_folder: Make, settings: Any, tmp_path: Path) -> None:
    artifact = taken_in(model_folder("phi"))
    on_another_host(settings, tmp_path)
    assert b"Phi3ForCausalLM" in artifacts.file(artifact, "config.json").read_bytes()
    here = [path for path in (tmp_path / "another" / "artifacts" / "blobs").rglob("*") if path.is_file()]
    assert len(here) == 1
    with pytest.raises(KeyError):
        artifacts.file(artifact, "nothing.json")


def test_what_was_altered_in_the_store_is_not_taken(store: Any, model_folder: Make, settings: Any, tmp_path: Path) -> None:
    artifact = taken_in(model_folder("phi"))
    system, _ = store
    entry = next(entry for entry in artifact.manifest if entry["name"] == "model.safetensors")
    place = next(place for place in places(store) if place.endswith(entry["sha256"][2:]))
    system.pipe_file(place, b"x" * entry["size"])
    on_another_host(settings, tmp_path)
    with pytest.raises(Corrupt, match="digest has changed"):
        artifacts.folder(artifact)
    assert not list((tmp_path / "another" / "artifacts" / "incoming").iterdir())
    system.rm(place)
    with pytest.raises(Corrupt, match="missing here and from the shared store"):
        artifacts.check_present(artifact)
    with pytest.raises(Corrupt, match="has no file"):
        artifacts.folder(artifact)


def test_what_was_damaged_here_is_healed_from_the_store(store: Any, model_folder: Make, settings: Any) -> None:
    artifact = taken_in(model_folder("phi"))
    weights = next(entry for entry in artifact.manifest if entry["name"] == "model.safetensors")
    place = artifacts.blob(weights["sha256"])
    place.unlink()
    place.write_bytes(b"x" * weights["size"])
    shutil.rmtree(artifacts.store() / "sets", ignore_errors=True)
    assert (artifacts.folder(artifact) / "model.safetensors").read_bytes() != b"x" * weights["size"]
    assert artifacts.hash_of(place) == weights["sha256"]


def test_without_one_nothing_is_copied(model_folder: Make, settings: Any, data_dir: Path) -> None:
    artifact = taken_in(model_folder("phi"))
    opened = artifacts.folder(artifact)
    assert all((opened / entry["name"]).samefile(artifacts.blob(entry["sha256"])) for entry in artifact.manifest)
    assert artifacts.file(artifact, "config.json") == artifacts.blob(
        next(entry["sha256"] for entry in artifact.manifest if entry["name"] == "config.json")
    )
