"""Two hosts: workers with data folders of their own that share PostgreSQL, the broker, a store of models and a folder for checkpoints."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from modelhub.models import ModelVersion
from tests.jobs.conftest import ask
from tests.jobs.test_worker import House, state
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hosts(runner: str, settings: Any, tmp_path: Path) -> Iterator[dict[str, House]]:
    settings.ROUNDS_ARTIFACT_STORE, settings.ROUNDS_SHARED_DIR = str(tmp_path / "store"), str(tmp_path / "shared")
    made = {}
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        made[name] = House(folder, runner)
        made[name].environment |= {
            "ROUNDS_ARTIFACT_STORE": settings.ROUNDS_ARTIFACT_STORE, "ROUNDS_SHARED_DIR": settings.ROUNDS_SHARED_DIR,
            "ROUNDS_HOST": f"host-{name}",
        }  # fmt: skip
    yield made
    for house in made.values():
        house.stop_all()


def test_what_one_host_made_another_starts_from_and_what_one_began_another_ends(hosts: dict[str, House], dan: User, tmp_path: Path) -> None:
    """The first job runs on A. The second starts on A, which loses its power after a checkpoint; B goes on from it."""
    a, b = hosts["a"], hosts["b"]
    a.worker("a")
    first = ask(dan)
    wait_until(lambda: state(first) == "succeeded", seconds=60, why="A makes a model\n" + a.log("a"))
    second = ask(dan, steps=40, pause=0.15, every=3, starts_from=str(first.public_id))
    kept = tmp_path / "shared" / "checkpoints" / str(second.public_id)
    wait_until(lambda: kept.is_dir() and any(kept.glob("ckpt-*")), seconds=60, why="a checkpoint is kept where B sees it")
    a.kill("a")
    b.start_sweeper()
    b.worker("b")
    wait_until(lambda: state(second) == "succeeded", seconds=90, why="B ends it\n" + b.log("b"))
    second.refresh_from_db()
    assert [(attempt.number, attempt.reason) for attempt in second.history.order_by("number")] == [(1, "lease_expired"), (2, "succeeded")]
    attempts = {name: tmp_path / name / "attempts" / str(second.public_id) for name in hosts}
    assert (attempts["a"] / "1").is_dir()
    assert not (attempts["a"] / "2").exists()
    assert not (attempts["b"] / "1").exists()
    # The model came through the store, into B's own folder; the checkpoint through the shared one.
    parent = Path((attempts["b"] / "2" / "parent").read_text())
    assert parent.is_relative_to(tmp_path / "b")
    assert (parent / "model.safetensors").is_file()
    assert first_step(attempts["b"] / "2") > 1
    assert not (tmp_path / "a" / "checkpoints").exists()
    assert ModelVersion.objects.count() == 2


def first_step(attempt: Path) -> int:
    events = [json.loads(line) for line in (attempt / "events.jsonl").read_text().splitlines()]
    return int(next(event["done"] for event in events if event["type"] == "progress"))
