"""A version as a folder that others open: by the command, and as a zip."""

import io
import json
import struct
import subprocess
import zipfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import AuditEntry
from modelhub import artifacts, cards, exports, recasting, versions, zipping
from modelhub.models import Artifact, ModelVersion
from tests.modelhub import family
from tests.modelhub.conftest import safetensors
from tests.training.build import adapter_folder

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


def run(name: str, to: Path, *arguments: str) -> str:
    out = StringIO()
    call_command("export_model", name, "--to", str(to), *arguments, stdout=out)
    return out.getvalue()


def store(folder: Path) -> Artifact:
    return artifacts.save(artifacts.stage(folder=folder))


@pytest.fixture
def version(model_folder: Make) -> ModelVersion:
    return family.build(model_folder)["dpo"]


def test_the_folder_holds_what_is_stored_with_card_licence_record_and_sums(version: ModelVersion, tmp_path: Path) -> None:
    ModelVersion.objects.filter(pk=version.pk).update(licence="Apache-2.0")
    said = run("dpo", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "LICENSE", "README.md", "SHA256SUMS", "config.json", "model.safetensors", "rounds.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert "dpo was written to" in said
    assert "The card lacks: Intended use: nobody has written it." in said
    checked = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=tmp_path / "out", capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout.count(": OK")) == (0, 7)
    assert cards.problems((tmp_path / "out" / "README.md").read_text()) == []
    record = json.loads((tmp_path / "out" / "rounds.json").read_text())
    assert record["artifact"] == version.artifact.digest
    assert record["lineage_hash"] == versions.lineage_hash(version)
    assert AuditEntry.objects.filter(verb="model.exported").count() == 1


def test_an_authors_own_card_stays_beside_ours(model_folder: Make, tmp_path: Path) -> None:
    artifact = store(model_folder("phi", files={"README.md": b"# The author's"}))
    versions.register(name="phi", kind="base", artifact=artifact, actor=None)
    run("phi", tmp_path / "out")
    assert (tmp_path / "out" / "ORIGINAL_README.md").read_text() == "# The author's"
    assert "# phi" in (tmp_path / "out" / "README.md").read_text()


def test_nothing_is_overwritten_and_nothing_is_left_of_what_failed(version: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(CommandError, match="not an empty folder"):
        run("dpo", tmp_path / "out")
    place = artifacts.folder(version.artifact) / "model.safetensors"
    place.chmod(0o600)
    place.write_bytes(b"x" * place.stat().st_size)
    with pytest.raises(CommandError, match="digest has changed"):
        run("dpo", tmp_path / "other" / "place")
    assert list((tmp_path / "other").iterdir()) == [] if (tmp_path / "other").exists() else True
    with pytest.raises(CommandError, match="No model version is called “nobody”"):
        run("nobody", tmp_path / "third")


def test_an_adapter_goes_out_with_its_tokenizer_and_the_name_of_its_base(version: ModelVersion, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No adapter of dpo is kept"):
        run("dpo", tmp_path / "none", "--format", "adapter")
    ModelVersion.objects.filter(pk=version.pk).update(adapter=store(adapter_folder(tmp_path / "adapter")))
    run("dpo", tmp_path / "out", "--format", "adapter")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "README.md", "SHA256SUMS", "adapter_config.json", "adapter_model.safetensors", "rounds.json", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == "sft"
    assert "library_name: peft" in (tmp_path / "out" / "README.md").read_text()
    assert cards.problems((tmp_path / "out" / "README.md").read_text()) == []
    assert not (tmp_path / "none").exists()


def test_weights_can_be_written_in_another_precision(version: ModelVersion, tmp_path: Path) -> None:
    run("dpo", tmp_path / "out", "--dtype", "bfloat16")
    with (tmp_path / "out" / "model.safetensors").open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        body = stream.read()
    assert header["__metadata__"] == {"format": "pt"}
    assert {name: entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"embed": "BF16", "head": "BF16"}
    assert np.all(recasting.decode(body, "BF16") == 13.0)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    checked = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=tmp_path / "out", capture_output=True, check=False)
    assert checked.returncode == 0


def test_rounding_to_bfloat16_is_to_nearest_even() -> None:
    """Half-way cases, the largest numbers, infinities and what is no number; expected values by IEEE 754's rule."""
    bits = {
        0x3F808000: 0x3F80, 0x3F818000: 0x3F82, 0x3F808001: 0x3F81, 0x3F807FFF: 0x3F80, 0x80000000: 0x8000, 0x7F7FFFFF: 0x7F80,
        0xFF800000: 0xFF80, 0x7FC00001: 0x7FC0, 0x7F800001: 0x7FC0, 0x00000001: 0x0000, 0x00018000: 0x0002,
    }  # fmt: skip
    values = np.array(list(bits), np.uint32).view(np.float32)
    assert [hex(found) for found in np.frombuffer(recasting.encode(values, "BF16"), "<u2")] == [hex(want) for want in bits.values()]
    assert recasting.encode(np.array([1e6, 2.0], np.float32), "F16") == struct.pack("<2e", np.inf, 2.0)


def test_integers_are_left_as_they_are(tmp_path: Path) -> None:
    body = struct.pack("<2q", 5, 7) + struct.pack("<d", 0.1)
    header = {
        "ids": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}, "scale": {"dtype": "F64", "shape": [1], "data_offsets": [16, 24]}
    }  # fmt: skip
    text = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text + body)
    _, size = recasting.recast(tmp_path / "a", tmp_path / "b", dtype="float32")
    made = (tmp_path / "b").read_bytes()
    assert (len(made), made[-20:]) == (size, struct.pack("<2qf", 5, 7, 0.1))


# --- the zip -----------------------------------------------------------------------------------------------------------------------


def test_the_zip_opens_and_any_part_of_it_is_the_same_part(version: ModelVersion) -> None:
    found = exports.layout(version)
    archive = exports.archive(found)
    whole = b"".join(archive.blocks())
    assert len(whole) == archive.size
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == [f"dpo/{file.name}" for file in found.files]
        assert {entry.compress_type for entry in opened.infolist()} == {zipfile.ZIP_STORED}
        assert opened.read("dpo/model.safetensors") == safetensors({"embed": [7, 2], "head": [2, 7]}, value=13.0)
    for start, stop in ((0, 1), (17, 800), (len(whole) - 30, len(whole)), (1, len(whole) - 1)):
        assert b"".join(exports.archive(exports.layout(version)).blocks(start, stop)) == whole[start:stop]


def test_a_trainer_downloads_it_and_a_broken_download_goes_on(version: ModelVersion, as_dan: Client) -> None:
    url = f"/models/{version.public_id}/export/hf.zip"
    answer = as_dan.get(url)
    whole = b"".join(answer.streaming_content)
    assert (answer.status_code, answer["Content-Length"], answer["Content-Type"]) == (200, str(len(whole)), "application/zip")
    assert answer["Content-Disposition"] == 'attachment; filename="dpo.zip"'
    assert zipfile.ZipFile(io.BytesIO(whole)).testzip() is None
    tag = {"HTTP_IF_RANGE": answer["ETag"]}
    for asked, start, stop in (("bytes=100-199", 100, 200), ("bytes=500-", 500, len(whole)), ("bytes=-7", len(whole) - 7, len(whole))):
        part = as_dan.get(url, HTTP_RANGE=asked, **tag)
        assert (part.status_code, part["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{len(whole)}")
        assert b"".join(part.streaming_content) == whole[start:stop]
    beyond = as_dan.get(url, HTTP_RANGE=f"bytes={len(whole)}-")
    assert (beyond.status_code, beyond["Content-Range"]) == (416, f"bytes */{len(whole)}")
    # The card has changed meanwhile: half of one archive and half of another would be no archive.
    cards.revise(version=version, prose={"limits": "Small."}, expected=0, actor=None)
    anew = as_dan.get(url, HTTP_RANGE="bytes=100-199", **tag)
    assert anew.status_code == 200
    assert as_dan.head(url).status_code == 200
    assert AuditEntry.objects.filter(verb="model.exported").count() == 2


def test_what_cannot_be_taken_says_why_on_the_models_page(version: ModelVersion, as_dan: Client) -> None:
    page = as_dan.get(f"/models/{version.public_id}/export/adapter.zip", follow=True).content.decode()
    assert "No adapter of dpo is kept" in page
    assert as_dan.get(f"/models/{version.public_id}/export/pickle.zip").status_code == 404


def test_files_beyond_four_gigabytes_are_placed_by_zip64(tmp_path: Path) -> None:
    """A sparse file: nothing is read but the ends, and zipfile finds what lies behind it."""
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(2**32 + 5)
    members = [zipping.Member("large", 2**32 + 5, path=large), zipping.Member("small", 5, content=b"hello")]
    archive = zipping.Archive(members, lambda member: 0 if member.name == "large" else zipping.crc_of(member))
    head = b"".join(archive.blocks(0, 55))
    tail = b"".join(archive.blocks(55 + 2**32 + 5))
    made = tmp_path / "made.zip"
    with made.open("wb") as stream:
        stream.write(head)
        stream.seek(55 + 2**32 + 5)
        stream.write(tail)
    assert made.stat().st_size == archive.size
    with zipfile.ZipFile(made) as opened:
        assert [(entry.filename, entry.file_size) for entry in opened.infolist()] == [("large", 2**32 + 5), ("small", 5)]
        assert opened.read("small") == b"hello"
        with opened.open("large") as inner:
            assert inner.read(8) == b"\0" * 8
