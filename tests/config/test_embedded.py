"""The embedded PostgreSQL and Redis, as real servers: started once, found again, killed, recovered, stopped without a trace."""

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from config import embedded
from config.embedded import places, processes

PROJECT = Path(__file__).resolve().parent.parent.parent
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="lending the servers to another account needs root")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that the servers' account can reach, with a blank and a quote in its name; nothing of it is left behind."""
    top = Path(tempfile.mkdtemp(prefix="rounds-t"))
    top.chmod(0o755)
    folder = top / "clinic's data"
    yield folder
    embedded.destroy(folder)
    shutil.rmtree(top)


def start(data_dir: Path) -> embedded.Endpoints:
    return embedded.ensure(data_dir, throwaway=True, environ={})


def pids(data_dir: Path) -> dict[str, int]:
    return {service.name: service.pid for service in embedded.status(data_dir, environ={}) if service.pid}


def redis_at(endpoints: embedded.Endpoints) -> "redis.Redis":
    return redis.Redis.from_url(endpoints.broker_url.replace("redis+socket://", "unix://"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_they_start_once_and_are_found_again_at_once(data_dir: Path) -> None:
    first = start(data_dir)
    servers = pids(data_dir)
    with psycopg.connect(first.database_url) as database:
        assert database.execute("SHOW listen_addresses").fetchone() == ("",)
        assert database.execute("SELECT current_database(), current_user").fetchone() == ("rounds", "rounds")
        locale = "SELECT pg_encoding_to_char(encoding), datlocprovider::text, datlocale FROM pg_database WHERE datname = 'rounds'"
        assert database.execute(locale).fetchone() == ("UTF8", "b", "C.UTF-8")
    with redis_at(first) as broker:
        settings = broker.config_get("*")
        assert (settings["port"], settings["appendonly"], settings["maxmemory-policy"]) == ("0", "yes", "noeviction")

    began = time.perf_counter()
    second = start(data_dir)
    assert time.perf_counter() - began < 0.2
    assert second == first
    assert pids(data_dir) == servers


def test_only_their_owner_can_enter_and_no_parent_changes(data_dir: Path) -> None:
    parents = [data_dir.parent, *data_dir.parent.parents]
    before = [mode(parent) for parent in parents]
    start(data_dir)
    found = places.remembered(data_dir)
    assert found is not None
    for folder in (found.home, found.run, found.cluster, found.redis, found.logs):
        assert mode(folder) == 0o700, folder
    assert mode(found.redis_socket) == 0o700
    assert mode(found.postgres_socket) == 0o700
    assert [mode(parent) for parent in parents] == before


def test_what_was_written_survives_kill_9_of_both(data_dir: Path) -> None:
    endpoints = embedded.ensure(data_dir, environ={})  # with fsync, as in use
    with psycopg.connect(endpoints.database_url) as database:
        database.execute("CREATE TABLE note (words text)")
        database.execute("INSERT INTO note VALUES ('kept')")
    with redis_at(endpoints) as broker:
        broker.lpush("bell", "ring")
    time.sleep(1.2)  # Redis writes its journal to disk every second
    killed = pids(data_dir)
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)

    again = embedded.ensure(data_dir, environ={})
    assert again == endpoints
    assert not set(pids(data_dir).values()) & set(killed.values())
    with psycopg.connect(again.database_url) as database:
        assert database.execute("SELECT words FROM note").fetchone() == ("kept",)
    with redis_at(again) as broker:
        assert broker.llen("bell") == 1


def test_a_pid_file_that_names_somebody_else_does_not_stop_the_start(data_dir: Path) -> None:
    start(data_dir)
    found = places.remembered(data_dir)
    assert found is not None
    pid_file = found.cluster / "postmaster.pid"
    written = pid_file.read_text().splitlines()
    embedded.stop(data_dir)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        found.account.write(pid_file, "\n".join([str(stranger.pid), *written[1:]]) + "\n")
        found.account.write(found.redis / "redis.pid", f"{stranger.pid}\n")
        endpoints = start(data_dir)
        psycopg.connect(endpoints.database_url).close()
        assert stranger.poll() is None, "a process that is not ours was killed"
        embedded.stop(data_dir)
        assert stranger.poll() is None, "a process that is not ours was killed"
    finally:
        stranger.kill()
        stranger.wait()


def test_stop_leaves_no_process_and_no_socket(data_dir: Path) -> None:
    start(data_dir)
    found = places.remembered(data_dir)
    assert found is not None
    everything = [each for pid in pids(data_dir).values() for each in (pid, *processes.descendants(pid))]
    assert len(everything) > 3
    assert embedded.stop(data_dir)
    assert [pid for pid in everything if processes.alive(pid)] == []
    assert not found.postgres_socket.exists()
    assert not found.redis_socket.exists()
    assert {service.state for service in embedded.status(data_dir, environ={})} == {"stopped"}


def test_two_that_come_at_once_share_one_pair_of_servers(data_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from config import embedded; "
        "print(embedded.ensure(Path(sys.argv[1]), throwaway=True, environ={}).database_url); sys.stdout.flush(); sys.stdin.read()"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(data_dir)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        answers = []
        for one in both:
            assert one.stdout is not None
            answers.append(one.stdout.readline().strip())
        assert answers[0] == answers[1] != ""
        assert set(pids(data_dir)) == {"postgres", "redis"}
        assert not embedded.stop(data_dir, if_unused=True), "stopped under a process that uses them"
        both[0].kill()
        both[0].wait()
        assert not embedded.stop(data_dir, if_unused=True), "stopped under the other"
        both[1].kill()  # -9: no exit function runs, and still it is not counted
        both[1].wait()
        assert embedded.stop(data_dir, if_unused=True)
    finally:
        for one in both:
            one.kill()
            one.communicate()


def test_a_path_too_long_for_a_socket_gets_a_short_private_folder(data_dir: Path) -> None:
    deep = data_dir / ("ward-" * 20) / "data"
    try:
        endpoints = start(deep)
        found = places.remembered(deep)
        assert found is not None
        assert len(os.fsencode(found.postgres_socket)) <= 107
        assert found.home == deep / "services"
        assert mode(found.run) == 0o700
        psycopg.connect(endpoints.database_url).close()
        run = found.run
    finally:
        embedded.destroy(deep)
    assert not run.exists()


def test_a_short_folder_that_somebody_else_made_is_refused(data_dir: Path) -> None:
    deep = data_dir / ("ward-" * 20) / "data"
    deep.mkdir(parents=True)
    planned = places._choose(deep, throwaway=True)
    planned.run.mkdir()
    planned.run.chmod(0o777)
    try:
        with pytest.raises(embedded.EmbeddedError, match="nobody else can enter"):
            start(deep)
    finally:
        planned.run.rmdir()


def test_addresses_in_the_environment_win_and_nothing_is_started(data_dir: Path) -> None:
    theirs = {"DATABASE_URL": "postgresql://db.clinic/rounds", "CELERY_BROKER_URL": "amqp://queue.clinic"}
    assert embedded.ensure(data_dir, environ=theirs) == embedded.Endpoints("postgresql://db.clinic/rounds", "amqp://queue.clinic")
    assert not data_dir.exists()
    mixed = embedded.ensure(data_dir, throwaway=True, environ={"DATABASE_URL": "postgresql://db.clinic/rounds"})
    assert mixed.database_url == "postgresql://db.clinic/rounds"
    assert set(pids(data_dir)) == {"redis"}


def test_what_the_database_logs_holds_no_row(data_dir: Path) -> None:
    endpoints = start(data_dir)
    with psycopg.connect(endpoints.database_url, autocommit=True) as database:
        database.execute("CREATE TABLE note (words text UNIQUE)")
        database.execute("INSERT INTO note VALUES ('haemoptysis')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            database.execute("INSERT INTO note VALUES (%s)", ["haemoptysis"])
    found = places.remembered(data_dir)
    assert found is not None
    log = (found.logs / "postgres.log").read_text()
    assert "duplicate key" in log
    assert "haemoptysis" not in log


def test_a_damaged_queue_is_set_aside_because_jobs_live_in_the_database(data_dir: Path) -> None:
    endpoints = start(data_dir)
    with redis_at(endpoints) as broker:
        broker.lpush("bell", "one", "two")
    embedded.stop(data_dir)
    found = places.remembered(data_dir)
    assert found is not None
    journal = found.redis / "appendonly.aof"
    journal.write_bytes(b"garbage that is no journal\n" + journal.read_bytes())
    with redis_at(start(data_dir)) as broker:
        assert broker.ping()
        assert broker.llen("bell") == 0


def test_no_shell_character_reaches_postgres_tools(data_dir: Path) -> None:
    with pytest.raises(embedded.EmbeddedError, match="dollar"):
        start(data_dir / "$(touch gotcha)")


@ROOT_ONLY
def test_root_lends_the_servers_to_an_account_that_exists(data_dir: Path) -> None:
    before = [entry.pw_name for entry in pwd.getpwall()]
    start(data_dir)
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in pids(data_dir).values()}
    assert owners
    assert 0 not in owners
    assert [entry.pw_name for entry in pwd.getpwall()] == before


@ROOT_ONLY
def test_under_a_private_home_the_cluster_lives_elsewhere_and_is_remembered(data_dir: Path) -> None:
    private = data_dir / "root's home"
    private.mkdir(parents=True, mode=0o700)
    project_data = private / "rounds" / "data"
    try:
        endpoints = start(project_data)
        found = places.remembered(project_data)
        assert found is not None
        assert not found.home.is_relative_to(data_dir)
        assert mode(private) == 0o700
        assert mode(found.home) == 0o700
        embedded.stop(project_data)
        assert start(project_data) == endpoints, "the second start did not find the first one's cluster"
        home = found.home
    finally:
        embedded.destroy(project_data)
    assert not home.parent.exists()


def as_user(uid: int, data_dir: Path) -> str:
    """Start, ask and stop in a child that has become this user. It forks: the interpreter itself may lie under a private home."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                embedded.ensure(data_dir, throwaway=True, environ={})
                answer = json.dumps([service.state for service in embedded.status(data_dir, environ={})])
                embedded.stop(data_dir)
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(writing, answer.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return answer


@ROOT_ONLY
def test_an_ordinary_user_needs_no_root_and_a_stranger_is_told_so(data_dir: Path) -> None:
    nobody, daemon = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")
    data_dir.mkdir()
    os.chown(data_dir, nobody.pw_uid, -1)
    assert as_user(nobody.pw_uid, data_dir) == '["running", "running"]'
    assert data_dir.joinpath("services").stat().st_uid == nobody.pw_uid
    assert "belongs to another user" in as_user(daemon.pw_uid, data_dir)


def test_a_relative_data_folder_means_the_same_to_every_child(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir.mkdir()
    monkeypatch.chdir(data_dir)
    environment = {"ROUNDS_DATA_DIR": "here"}
    embedded.name_endpoints(environment)
    assert environment["ROUNDS_DATA_DIR"] == str(data_dir / "here")
    assert environment["DATABASE_URL"].endswith("here%2Fservices%2Frun")
    assert not (data_dir / "here" / "services").exists()


def test_an_address_of_our_own_that_a_child_inherited_is_no_override(data_dir: Path) -> None:
    first = start(data_dir)
    embedded.stop(data_dir)
    inherited = {"DATABASE_URL": first.database_url, "CELERY_BROKER_URL": first.broker_url}
    assert embedded.ensure(data_dir, throwaway=True, environ=inherited) == first
    assert set(pids(data_dir)) == {"postgres", "redis"}


@ROOT_ONLY
def test_a_database_whose_data_folder_is_gone_is_named_and_kept(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lasting = data_dir.parent / "lasting"
    lasting.mkdir()
    monkeypatch.setattr(places, "LASTING", lasting)
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: "/nowhere")
    monkeypatch.setattr(places, "TEMPORARY", Path("/nowhere"))
    private = data_dir / "private"
    private.mkdir(parents=True, mode=0o700)
    (private / "data").mkdir()
    found = places.settle(private / "data")
    assert found.home.is_relative_to(lasting)
    assert places.unclaimed() == []
    (private / "data" / "services.json").unlink()
    assert places.unclaimed() == [found.home.parent]
    assert found.home.exists()
