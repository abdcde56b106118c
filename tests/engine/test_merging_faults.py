"""A merge that is killed, or runs out of room, at any point: nothing half there, and the next attempt ends with the same bytes."""

import errno
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the engine's packages are not installed")

from jobs import kinds  # noqa: E402
from jobs.models import Job  # noqa: E402
from tests.engine import merges, tiny  # noqa: E402
from tests.engine.conftest import laid_out  # noqa: E402
from tests.engine.merges import KEY, TIES  # noqa: E402
from training.engine import attempt, checkpoints  # noqa: E402
from training.engine.errors import Cancelled, DiskFull  # noqa: E402
from training.engine.merging import journal  # noqa: E402


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return merges.family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def whole(models: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """(digest of the uninterrupted merge, calls in which it changed the disk)."""
    root = tmp_path_factory.mktemp("whole")
    code, calls = merges.in_fork(lambda: merges.merged(TIES, models, root))
    assert code == 0
    return merges.digest(root / "output"), calls


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.65, 0.8, 0.99])
def test_killed_anywhere_the_next_attempt_makes_the_same_bytes(models: Any, whole: Any, tmp_path: Path, share: float) -> None:
    """Half a write, and SIGKILL; the next attempt is given what lies among the checkpoints."""
    digest, calls = whole
    first, second = tmp_path / "1", tmp_path / "2"
    code, _ = merges.in_fork(lambda: merges.merged(TIES, models, first), call=max(1, round(share * calls)))
    assert code == -signal.SIGKILL
    kept = journal.hand_over(first / "checkpoints", second / "resume", KEY)
    made = merges.merged(TIES, models, second, handed=second / "resume")
    assert merges.digest(second / "output") == digest
    assert made.resumed == (kept or 0)
    assert [line["name"] for line in made.report] == list(merges.SHAPES)  # of what was done before the kill too
    assert share < 0.6 or made.resumed > 0


def test_killed_again_and_again_it_ends(models: Any, whole: Any, tmp_path: Path) -> None:
    digest, calls = whole
    draw = random.Random(5)
    for _ in range(4):
        merges.in_fork(lambda: merges.merged(TIES, models, tmp_path), call=draw.randrange(4, calls // 2))
    merges.merged(TIES, models, tmp_path)
    assert merges.digest(tmp_path / "output") == digest


@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_a_full_disk_is_said_so_and_costs_nothing_that_was_done(models: Any, whole: Any, tmp_path: Path, share: float) -> None:
    digest, calls = whole

    def full(original: Any, args: tuple[Any, ...]) -> None:
        if original.__name__ == "pwrite":  # a disk that is nearly full takes some of it
            original(args[0], memoryview(args[1])[:3], args[2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def work() -> None:
        with pytest.raises(DiskFull, match=r"need 0\.\d MB, have .* on the volume /") as problem:
            merges.merged(TIES, models, tmp_path)
        assert 0 <= problem.value.need < 600_000

    assert merges.in_fork(work, call=max(1, round(share * calls)), act=full)[0] == 0
    assert not (tmp_path / "output").exists()
    assert not list(tmp_path.glob(".output*"))
    merges.merged(TIES, models, tmp_path)
    assert merges.digest(tmp_path / "output") == digest


def test_what_was_altered_or_is_anothers_is_made_again(models: Any, whole: Any, tmp_path: Path) -> None:
    digest, calls = whole
    merges.in_fork(lambda: merges.merged(TIES, models, tmp_path), call=calls - 2)
    [half] = (tmp_path / "checkpoints").iterdir()
    lines, _ = journal.read(half, KEY, half.name.removeprefix(journal.PREFIX))
    assert len(lines) == 4
    with (half / "model.safetensors").open("rb+") as stream:
        stream.seek(lines[0].begin)
        stream.write(b"\x00\x01")
    with (half / journal.JOURNAL).open("ab") as stream:
        stream.write(b'[{"name": "torn')
    assert merges.merged(TIES, models, tmp_path).resumed == 3
    assert merges.digest(tmp_path / "output") == digest
    assert journal.hand_over(tmp_path / "checkpoints", tmp_path / "stolen", b"another job's key") is None


def test_another_recipe_begins_anew(models: Any, whole: Any, tmp_path: Path) -> None:
    merges.in_fork(lambda: merges.merged(TIES, models, tmp_path), call=whole[1] - 2)
    assert merges.merged(TIES | {"parameters": {"weight": 0.5, "density": 0.4}}, models, tmp_path).resumed == 0


def test_where_links_cannot_be_finished_tensors_are_copied_once(
    models: Any, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    digest, calls = whole
    merges.in_fork(lambda: merges.merged(TIES, models, tmp_path / "1"), call=round(0.65 * calls))
    monkeypatch.setattr(os, "link", no_links)
    kept = journal.hand_over(tmp_path / "1" / "checkpoints", tmp_path / "kept", KEY)
    assert kept is not None
    assert journal.hand_over(tmp_path / "1" / "checkpoints", tmp_path / "kept", KEY) == kept
    assert merges.merged(TIES, models, tmp_path / "2", handed=tmp_path / "kept").resumed == kept
    assert merges.digest(tmp_path / "2" / "output") == digest


def test_a_merge_can_be_stopped(models: Any, tmp_path: Path) -> None:
    def check() -> None:
        raise Cancelled("stopped on request")

    with pytest.raises(Cancelled):
        merges.merged(TIES, models, tmp_path, check=check)
    assert not (tmp_path / "output").exists()


def test_the_runner_gives_half_a_merge_to_the_next_attempt(models: Any, tmp_path: Path) -> None:
    """Through the door the runner uses: kept from a killed attempt, resumed by the next, and published whole."""
    kind = kinds.get("merge")
    wanted = {name: models[name] for name in ("base", "x", "y")}
    first, second, kept = laid_out(tmp_path / "1", "merge", TIES, wanted, None, 1), tmp_path / "2", tmp_path / "kept"
    code, calls = merges.in_fork(lambda: attempt.main(laid_out(tmp_path / "whole", "merge", TIES, wanted, None, 1)))
    assert code == 0
    code, _ = merges.in_fork(lambda: attempt.main(first), call=calls - 8)
    assert code == -signal.SIGKILL
    key = checkpoints.key_from_environment()
    job = Job(kind="merge")
    step = kind.keep(job, first, kept, key)
    assert step is not None
    assert kind.resume(job, kept, second, key) == step
    done = tiny.in_fork(laid_out(second, "merge", TIES, wanted, None, 1))
    assert done.metrics["resumed"] == step
    assert [line["name"] for line in done.metrics["merge_report"]["tensors"]] == list(merges.SHAPES)
    assert merges.digest(done.model) == merges.digest(tmp_path / "whole" / "output")
