"""What a child may not do: real children, real limits of the kernel. Where a machine cannot, the test says so."""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from config.management.commands import doctor
from jobs import confinement, kinds
from jobs.confinement import Able
from tests.jobs.conftest import ask, gone
from tests.jobs.test_attempts import folder_of, pid_of
from tests.workers import done_here

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux confines a child"),
]


def needs(able: str) -> None:
    if able:
        pytest.skip(f"this machine does not let us: {able}")


def curious(dan: User, tmp_path: Path, **changes: Any) -> dict[str, str]:
    """A child that tries what it may not; what came of each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "services").mkdir()
        (tmp_path / "services" / "cluster").touch()
        job = done_here(ask(dan, behaviour="curious", address=server.getsockname(), services=str(tmp_path / "services"), **changes))
    assert job.state == "succeeded"
    return dict(json.loads((folder_of(job) / "tried.json").read_text()))


def test_a_child_reaches_no_server_no_database_and_no_folder_but_its_own(runner: str, dan: User, tmp_path: Path) -> None:
    needs(confinement.able().namespaces or confinement.able().files)
    tried = curious(dan, tmp_path)
    # To root, which may look into any folder, this one is empty.
    assert tried.pop("database") in ("EACCES", "ENOENT")
    assert tried == {
        # A server on this very machine that all others reach: in the child's network nobody listens there.
        "network": "ECONNREFUSED",
        "loopback": "done",
        "other_folder": "EACCES",
        "own_folder": "done",
        "core": "0",
    }


def test_work_that_asks_a_server_keeps_the_network(runner: str, dan: User, tmp_path: Path) -> None:
    kinds.register(kinds.Kind(**{**kinds.get("fake").__dict__, "network": True}))
    tried = curious(dan, tmp_path)
    assert tried["network"] == "done"


def test_a_child_that_takes_more_memory_than_it_may_is_ended_and_said_so(runner: str, dan: User, settings: Any) -> None:
    """Its first 30 MB are allowed; a child of its own takes the rest."""
    settings.ROUNDS_CHILD_MEMORY_GB = 0.037
    job = done_here(ask(dan, behaviour="hungry"))
    assert (job.state, job.error_code) == ("failed", "out_of_memory")
    told = re.fullmatch(r"It held (\d+\.\d) MB of memory and may have 37\.0 MB on this machine; it was ended\.", job.error_detail)
    assert told
    assert 37 < float(told[1]) < 80
    assert gone(pid_of(job))


def test_what_two_processes_share_is_counted_once(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.ROUNDS_CHILD_MEMORY_GB = 1.5 * confinement._held(os.getpid()) / 1e9
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        alone, both = confinement._held(child), sum(map(confinement._held, (os.getpid(), child)))
        assert both > settings.ROUNDS_CHILD_MEMORY_GB * 1e9 > alone
        confinement.Memory(os.getpid()).look()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_file_beyond_the_limit_is_an_error_with_a_name(runner: str, dan: User, settings: Any) -> None:
    settings.ROUNDS_CHILD_FILE_GB = 0.002
    job = done_here(ask(dan, behaviour="large_file"))
    assert (job.state, job.error_code) == ("failed", "file_too_large")
    assert job.error_detail == "a file would be larger than the 0.002 GB that one may have here"


def test_where_the_network_cannot_be_cut_a_job_runs_unless_that_is_required(
    runner: str, dan: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confinement, "able", lambda: Able("unshare: Operation not permitted", "landlock: Function not implemented"))
    assert done_here(ask(dan)).state == "succeeded"
    first, second, third = doctor.confined()
    assert (first.state, first.what) == ("note", "jobs keep the network on this machine (unshare: Operation not permitted)")
    assert (second.state, second.what) == ("note", "jobs may write outside their folders (landlock: Function not implemented)")
    assert third.what.startswith("jobs may have ")
    settings.ROUNDS_CHILD_NETWORK = "required"
    job = done_here(ask(dan))
    assert (job.state, job.error_code) == ("failed", "network_not_cut")
    assert next(iter(doctor.confined())).state == "broken"


def test_a_child_that_cannot_be_confined_is_not_begun(runner: str, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(confinement.able().files)
    door = confinement._door
    monkeypatch.setattr(confinement, "_door", lambda wanted: door(wanted | {"write": [__file__]}))  # only folders can be named
    job = done_here(ask(dan))
    assert (job.state, job.error_code) == ("retry_wait", "not_confined")
    assert not (folder_of(job) / "pid").exists()
    assert (folder_of(job) / "engine.log").read_text() == "Not confined: syscall: Invalid argument\n"


def test_doctor_says_what_a_job_may_have(settings: Any) -> None:
    needs(confinement.able().namespaces or confinement.able().files)
    settings.ROUNDS_CHILD_MEMORY_GB = 3.0
    assert [(found.state, found.what) for found in doctor.confined()] == [
        ("ok", "jobs run without network, write in their own folders only, and may have 3.0 GB of memory each"),
    ]


def test_a_limit_is_a_number_of_gigabytes_and_usually_most_of_the_memory(settings: Any) -> None:
    total = confinement.machine.memory()
    assert total is not None
    settings.ROUNDS_CHILD_MEMORY_GB = None
    assert confinement.most_memory() == round(0.9 * total)
    settings.ROUNDS_CHILD_MEMORY_GB = 0.0
    assert confinement.most_memory() is None
    settings.ROUNDS_CHILD_MEMORY_GB = 1.5
    assert confinement.most_memory() == 1_500_000_000
