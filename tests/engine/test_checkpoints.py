"""A checkpoint is whole and ours, or it is not there."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from training.engine import checkpoints
from training.engine.checkpoints import LeaseOver, Torn

KEY, OTHER = b"a key of this job", b"somebody else's key"


def save(root: Path, step: int, text: str = "weights", **options: object) -> checkpoints.Checkpoint:
    def fill(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "model.safetensors").write_text(f"{text} at {step}" * 50)
        (folder / "inner" / "optimizer.pt").write_bytes(bytes(range(256)))

    return checkpoints.write(root, step=step, fill=fill, state={"epoch": 0.5}, key=KEY, **options)  # type: ignore[arg-type]


def test_what_was_written_verifies_and_carries_its_state(tmp_path: Path) -> None:
    made = save(tmp_path, 7)
    assert made.path == tmp_path / "ckpt-7"
    assert checkpoints.verify(made.path, KEY) == made
    assert (made.step, made.state) == (7, {"epoch": 0.5})
    assert made.bytes == 50 * len("weights at 7") + 256
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt-7"]


def truncate(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 100)


def flip(folder: Path) -> None:
    path = folder / "inner" / "optimizer.pt"
    data = bytearray(path.read_bytes())
    data[17] ^= 1
    path.write_bytes(data)


def drop(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def add(folder: Path) -> None:
    (folder / "surprise.pt").write_bytes(b"x")


def drop_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def tear_manifest(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 60)


def alter_state(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["state"]["epoch"] = 0.0
    (folder / "manifest.json").write_text(json.dumps(manifest))


def link(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("spoil", [truncate, flip, drop, add, drop_manifest, tear_manifest, alter_state, link])
def test_a_spoilt_newest_gives_way_to_the_one_before(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    save(tmp_path, 9)
    save(tmp_path, 10)
    spoil(tmp_path / "ckpt-10")
    with pytest.raises(Torn):
        checkpoints.verify(tmp_path / "ckpt-10", KEY)
    found = checkpoints.newest(tmp_path, KEY)
    assert found is not None
    assert found.step == 9


def test_a_checkpoint_signed_by_somebody_else_is_absent(tmp_path: Path) -> None:
    save(tmp_path, 3)
    assert checkpoints.newest(tmp_path, OTHER) is None
    with pytest.raises(Torn, match="not ours"):
        checkpoints.verify(tmp_path / "ckpt-3", OTHER)


def test_a_renamed_checkpoint_does_not_pass_for_a_newer_one(tmp_path: Path) -> None:
    save(tmp_path, 3)
    (tmp_path / "ckpt-3").rename(tmp_path / "ckpt-30")
    with pytest.raises(Torn, match="another step"):
        checkpoints.verify(tmp_path / "ckpt-30", KEY)


def test_the_newest_is_by_number_and_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        save(tmp_path, step)
    (tmp_path / "ckpt-x").mkdir()
    found = checkpoints.newest(tmp_path, KEY)
    assert found is not None
    assert found.step == 100
    assert checkpoints.newest(tmp_path / "nowhere", KEY) is None


def test_a_full_disk_leaves_the_earlier_ones_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, 1)

    def fill(folder: Path) -> None:
        (folder / "model.safetensors").write_text("half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        checkpoints.write(tmp_path, step=2, fill=fill, state={}, key=KEY)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt-1"]


def test_who_lost_the_lease_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(LeaseOver):
        save(tmp_path, 2, live=lambda: False)
    assert list(tmp_path.iterdir()) == []


def test_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 2, "first")
    save(tmp_path, 2, "second")
    assert (tmp_path / "ckpt-2" / "model.safetensors").read_text().startswith("second")
    assert checkpoints.verify(tmp_path / "ckpt-2", KEY).step == 2
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt-2"]


def test_two_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    assert checkpoints.prune(tmp_path, KEY, keep=2, best=2) == [3, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt-2", "ckpt-4", "ckpt-5"]


def test_an_old_one_goes_only_when_two_newer_ones_verify(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    flip(tmp_path / "ckpt-3")
    assert checkpoints.prune(tmp_path, KEY, keep=2) == []
    save(tmp_path, 4)
    assert checkpoints.prune(tmp_path, KEY, keep=2) == [1]


def test_keeping_links_it_into_another_folder_and_checks_it_there(tmp_path: Path) -> None:
    made = save(tmp_path / "attempt", 4)
    kept = checkpoints.keep(made.path, tmp_path / "kept", KEY)
    assert kept.path == tmp_path / "kept" / "ckpt-4"
    assert kept.path.joinpath("model.safetensors").samefile(made.path / "model.safetensors")
    assert checkpoints.keep(made.path, tmp_path / "kept", KEY) == kept
    shutil.rmtree(tmp_path / "attempt")
    assert checkpoints.verify(kept.path, KEY).state == {"epoch": 0.5}


def test_a_torn_checkpoint_is_not_kept(tmp_path: Path) -> None:
    made = save(tmp_path / "attempt", 4)
    drop(made.path)
    with pytest.raises(Torn):
        checkpoints.keep(made.path, tmp_path / "kept", KEY)
    assert not (tmp_path / "kept" / "ckpt-4").exists()


def test_a_run_by_hand_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROUNDS_CHECKPOINT_KEY", raising=False)
    assert checkpoints.key_from_environment() == checkpoints.BY_HAND
    monkeypatch.setenv("ROUNDS_CHECKPOINT_KEY", "00ff")
    assert checkpoints.key_from_environment() == b"\x00\xff"
