"""What the runner keeps of an attempt, and what it gives the next one."""

from pathlib import Path

from jobs import kinds
from jobs.models import Job
from training.engine import checkpoints

KEY = b"a key of this job"
KIND = kinds.get("dpo")


def write(folder: Path, step: int, key: bytes = KEY) -> Path:
    fill = lambda at: (at / "weights").write_text(f"weights at {step}")  # noqa: E731
    return checkpoints.write(folder / "checkpoints", step=step, fill=fill, state={}, key=key).path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def test_the_newest_checkpoint_is_kept_and_the_next_attempt_goes_on_from_it(tmp_path: Path) -> None:
    first, second, kept = tmp_path / "1", tmp_path / "2", tmp_path / "kept"
    assert KIND.keep(Job(), first, kept, KEY) is None
    assert KIND.resume(Job(), kept, second, KEY) is None
    for step in (10, 20, 30):
        made = write(first, step)
        assert KIND.keep(Job(), first, kept, KEY) == step
        assert KIND.keep(Job(), first, kept, KEY) == step  # once more is no other
    assert names(kept) == ["ckpt-20", "ckpt-30"]
    assert (kept / "ckpt-30" / "weights").stat().st_ino == (made / "weights").stat().st_ino
    assert KIND.resume(Job(), kept, second, KEY) == 30
    assert names(second / "resume") == ["ckpt-30"]


def test_what_is_torn_or_not_ours_is_passed_over(tmp_path: Path) -> None:
    first, second, kept = tmp_path / "1", tmp_path / "2", tmp_path / "kept"
    write(first, 10)
    (write(first, 20) / "weights").write_text("weights at 21")
    write(first, 30, key=b"somebody else's")
    assert KIND.keep(Job(), first, kept, KEY) == 10
    assert names(kept) == ["ckpt-10"]
    write(first, 40)
    assert KIND.keep(Job(), first, kept, KEY) == 40
    (kept / "ckpt-40" / "manifest.json").unlink()
    assert KIND.resume(Job(), kept, second, KEY) == 10
