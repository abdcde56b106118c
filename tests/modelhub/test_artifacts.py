"""Files kept by content: each once, whole, verified when given out; and what is not let in."""

import json
import os
import pickle
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection

from modelhub import artifacts
from modelhub.errors import Corrupt, Refused
from modelhub.models import Artifact
from tests.modelhub.conftest import PHI3, safetensors

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


def blobs(data_dir: Path) -> list[Path]:
    return sorted(path for path in (data_dir / "artifacts" / "blobs").rglob("*") if path.is_file())


def test_a_folder_comes_back_as_it_went_in(model_folder: Make) -> None:
    source = model_folder()
    artifact = artifacts.save(artifacts.stage(folder=source))
    made = artifacts.folder(artifact)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == {path.name: path.read_bytes() for path in source.iterdir()}
    assert [entry["name"] for entry in artifact.manifest] == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert artifact.bytes == sum(path.stat().st_size for path in source.iterdir())


def test_the_same_files_are_kept_once(model_folder: Make, data_dir: Path) -> None:
    first = artifacts.stage(folder=model_folder("one"))
    second = artifacts.stage(folder=model_folder("two"))
    third = artifacts.stage(folder=model_folder("three", value=0.25))
    assert first.digest == second.digest != third.digest
    assert artifacts.save(first) == artifacts.save(second)
    assert len(blobs(data_dir)) == 5  # four, and the other weights
    assert not list((data_dir / "artifacts" / "incoming").iterdir())


def test_what_is_kept_is_ours_alone(model_folder: Make, data_dir: Path) -> None:
    source = model_folder()
    artifact = artifacts.save(artifacts.stage(folder=source))
    (source / "config.json").write_text("{}")  # the owner goes on working with their copy
    artifacts.folder(artifact)
    for path in blobs(data_dir):
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert stat.S_IMODE((data_dir / "artifacts").stat().st_mode) == 0o700


def test_an_attempts_output_is_linked_not_copied(model_folder: Make, data_dir: Path) -> None:
    output = data_dir / "attempts" / "job" / "1" / "output"
    output.parent.mkdir(parents=True)
    model_folder().rename(output)
    staged = artifacts.stage(folder=output)
    digest = {entry["name"]: entry["sha256"] for entry in staged.manifest}["model.safetensors"]
    assert artifacts.blob(digest).samefile(output / "model.safetensors")
    assert artifacts.folder(artifacts.save(staged)).is_dir()


@pytest.mark.django_db(transaction=True)
def test_eight_writers_at_once_agree(model_folder: Make, data_dir: Path) -> None:
    source = model_folder()
    barrier = threading.Barrier(8)
    got: list[tuple[int, Path]] = []

    def work() -> None:
        barrier.wait()
        artifact = artifacts.save(artifacts.stage(folder=source))
        got.append((artifact.pk, artifacts.folder(artifact)))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len(set(got)) == 1
    assert Artifact.objects.count() == 1
    assert len(blobs(data_dir)) == 4
    assert not list((data_dir / "artifacts" / "incoming").iterdir())


def damage(path: Path, *, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(bytes(content))


def weights_blob(artifact: Artifact) -> Path:
    return artifacts.blob({entry["name"]: entry["sha256"] for entry in artifact.manifest}["model.safetensors"])


def test_a_damaged_blob_is_found_when_the_folder_is_made(model_folder: Make) -> None:
    artifact = artifacts.save(artifacts.stage(folder=model_folder()))
    damage(weights_blob(artifact))
    with pytest.raises(Corrupt, match=r"model\.safetensors is damaged"):
        artifacts.folder(artifact)


def test_a_damaged_blob_is_found_in_a_folder_that_was_made(model_folder: Make) -> None:
    artifact = artifacts.save(artifacts.stage(folder=model_folder()))
    artifacts.folder(artifact)
    damage(weights_blob(artifact))
    with pytest.raises(Corrupt, match=r"model\.safetensors is damaged"):
        artifacts.folder(artifact)


def test_a_cut_blob_and_a_missing_one_are_named(model_folder: Make) -> None:
    artifact = artifacts.save(artifacts.stage(folder=model_folder()))
    path = weights_blob(artifact)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt, match=r"model\.safetensors has \d+ bytes, not \d+"):
        artifacts.folder(artifact)
    path.unlink()
    with pytest.raises(Corrupt, match=r"model\.safetensors is missing from the store"):
        artifacts.folder(artifact)


def test_taking_the_files_in_again_heals_a_damaged_blob(model_folder: Make) -> None:
    source = model_folder()
    artifact = artifacts.save(artifacts.stage(folder=source))
    artifacts.folder(artifact)
    damage(weights_blob(artifact))
    artifacts.stage(folder=source)
    made = artifacts.folder(artifact)
    assert (made / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()


def test_a_file_removed_from_a_made_folder_comes_back(model_folder: Make) -> None:
    artifact = artifacts.save(artifacts.stage(folder=model_folder()))
    made = artifacts.folder(artifact)
    (made / "tokenizer.json").unlink()
    assert (artifacts.folder(artifact) / "tokenizer.json").exists()


def test_harmless_others_are_left_out_and_told(model_folder: Make) -> None:
    source = model_folder(files={"training_args.json": b"{}", ".gitattributes": b""})
    (source / "images").mkdir()
    staged = artifacts.stage(folder=source)
    assert staged.left_out == (".gitattributes", "images/", "training_args.json")
    assert len(staged.manifest) == 4


def index(place: str, tensor: str = "embed") -> dict[str, bytes]:
    return {"model.safetensors.index.json": json.dumps({"weight_map": {tensor: place}}).encode()}


def config(**fields: object) -> dict[str, bytes]:
    return {"config.json": json.dumps({**PHI3, **fields}).encode()}


# What is in the folder, the code of the refusal, and the file it names.
REFUSED: dict[str, tuple[dict[str, bytes], str, str]] = {
    "a pickle": ({"pytorch_model.bin": pickle.dumps([1])}, "model.unsafe_format", "pytorch_model.bin"),
    "a pickle in capitals": ({"OPTIMIZER.PT": pickle.dumps([1])}, "model.unsafe_format", "OPTIMIZER.PT"),
    "code": ({"modeling_phi3.py": b"import os"}, "model.remote_code", "modeling_phi3.py"),
    "remote code": (config(auto_map={"AutoModel": "x.Y"}), "model.remote_code", "config.json"),
    "remote code, nested": (config(text_config=[{"auto_map": {"AutoConfig": "x.Y"}}]), "model.remote_code", "config.json"),
    "remote code, tokenizer": ({"tokenizer_config.json": b'{"auto_map": {"A": ["x.Y"]}}'}, "model.remote_code", "tokenizer_config.json"),
    "trust switched on": (config(sub={"trust_remote_code": True}), "model.remote_code", "config.json"),
    "a configuration that is none": ({"config.json": b"\xff\xfe{"}, "model.not_json", "config.json"),
    "weights that lie": ({"model.safetensors": safetensors({"a": [4]})[:-1]}, "model.corrupt", "model.safetensors"),
    "a second file that lies": ({"extra.safetensors": b"123"}, "model.corrupt", "extra.safetensors"),
    "an index that leads out": (index("../../etc/passwd"), "model.path", "model.safetensors.index.json"),
    "an index to a missing file": (index("model-2.safetensors"), "model.bad_index", "model.safetensors.index.json"),
    "an index to a missing tensor": (index("model.safetensors", "lost"), "model.bad_index", "model.safetensors.index.json"),
    "a name with a line break": ({"a\nb.safetensors": safetensors({"a": [1]})}, "model.path", "a\nb.safetensors"),
    "a name with a backslash": ({"..\\x.safetensors": safetensors({"a": [1]})}, "model.path", "..\\x.safetensors"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_not_let_in(model_folder: Make, what: str, data_dir: Path) -> None:
    files, code, name = REFUSED[what]
    source = model_folder(files=files)
    with pytest.raises(Refused) as refusal:
        artifacts.stage(folder=source)
    assert (refusal.value.code, refusal.value.file) == (code, name)
    assert not blobs(data_dir)


def test_links_are_not_followed(model_folder: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    source = model_folder()
    (source / "README.md").symlink_to(secret)
    with pytest.raises(Refused, match="symbolic link") as refusal:
        artifacts.stage(folder=source)
    assert refusal.value.code == "model.link"


def test_a_pipe_is_no_file(model_folder: Make) -> None:
    source = model_folder()
    os.mkfifo(source / "LICENSE")
    with pytest.raises(Refused, match="neither a file nor a folder"):
        artifacts.stage(folder=source)


def test_a_folder_without_weights_is_no_model(model_folder: Make) -> None:
    source = model_folder()
    (source / "model.safetensors").unlink()
    with pytest.raises(Refused, match=r"holds no \*\.safetensors"):
        artifacts.stage(folder=source)


def test_a_manifest_may_not_lead_out_of_the_store(db: None) -> None:
    artifact = Artifact.objects.create(digest="a" * 64, manifest=[{"name": "../x", "size": 1, "sha256": "b" * 64}], bytes=1)
    with pytest.raises(Corrupt, match="no plain file name"):
        artifacts.folder(artifact)


def test_facts_are_read_from_configuration_and_headers(model_folder: Make) -> None:
    shards = {
        "model-00001-of-00002.safetensors": safetensors({"embed": [7, 2]}),
        "model-00002-of-00002.safetensors": safetensors({"head": [2, 7]}),
        "adapter_model.safetensors": safetensors({"lora": [100]}),
        "chat_template.jinja": b"{{ messages }}",
    }
    source = model_folder(files=shards)
    (source / "model.safetensors").unlink()
    facts = artifacts.facts(artifacts.save(artifacts.stage(folder=source)))
    assert (facts.architecture, facts.model_type, facts.parameters) == ("Phi3ForCausalLM", "phi3", 28)
    assert facts.tokenizer_digest == artifacts.hash_of(source / "tokenizer.json")
    assert facts.chat_template_digest == artifacts.hash_of(source / "chat_template.jinja")


def test_a_template_inside_the_configuration_counts_too(model_folder: Make) -> None:
    folders = model_folder("inside"), model_folder("beside", files={"chat_template.jinja": b"{{ messages }}"})
    inside, beside = (artifacts.facts(artifacts.save(artifacts.stage(folder=folder))) for folder in folders)
    assert inside.chat_template_digest == beside.chat_template_digest != ""
