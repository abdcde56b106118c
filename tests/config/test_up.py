"""`manage.py up`, as a user runs it: a fresh data folder, real servers, a real Ctrl-C."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config import embedded, supervisor
from config.embedded import processes

PROJECT = Path(__file__).resolve().parent.parent.parent
LINUX_ONLY = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux's")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that the servers' account can reach; whatever still runs from it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="rounds-up"))
    folder.chmod(0o755)
    yield folder
    if (boss := supervisor.running(folder)) is not None:
        processes.send(boss.pid, signal.SIGKILL)
    supervisor.end_leftovers(folder)
    embedded.destroy(folder)
    shutil.rmtree(folder)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(data_dir: Path) -> dict[str, str]:
    """A user's shell: no address of the test's own services in it."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "CELERY_BROKER_URL")}
    return {**kept, "ROUNDS_DATA_DIR": str(data_dir), "DJANGO_SETTINGS_MODULE": "config.settings.dev", "ROUNDS_COMPUTE_SLOTS": "1"}


def up(data_dir: Path, port: int, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "up", "--port", str(port), "--no-setup", "--no-demo", *more],
        cwd=PROJECT,
        env=environment(data_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def manage(data_dir: Path, *arguments: str) -> str:
    answer = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=PROJECT, env=environment(data_dir), capture_output=True, text=True, check=False
    )
    return answer.stdout + answer.stderr


def until(true: Callable[[], object], *, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def web_status(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def everything(data_dir: Path) -> set[int]:
    """Every process of this installation but the supervisor: children, servers, and all theirs."""
    tops = [each.pid for each in supervisor.children_of(data_dir).values()]
    tops += [service.pid for service in embedded.status(data_dir, environ={}) if service.pid]
    return {pid for top in tops for pid in (top, *processes.descendants(top))}


def test_one_command_runs_all_of_it_and_ctrl_c_ends_all_of_it(data_dir: Path, port: int) -> None:
    boss = up(data_dir, port)
    try:
        until(lambda: (web_status(port) or 500) < 500)
        until(lambda: {"web", "worker-compute", "worker-io", "sweeper"} <= set(supervisor.children_of(data_dir)))

        assert f"already running at http://127.0.0.1:{port}/" in manage(data_dir, "up", "--port", str(port + 1))
        table = manage(data_dir, "services", "status")
        for name in ("postgres", "redis", "web", "worker-compute", "worker-io", "sweeper", "together"):
            assert name in table, table
        until(lambda: "compute@" in manage(data_dir, "doctor"))

        # Crashed things come back: a worker, and the database under everyone's feet.
        worker = supervisor.children_of(data_dir)["worker-io"].pid
        os.kill(worker, signal.SIGKILL)
        until(lambda: supervisor.children_of(data_dir).get("worker-io", processes.Identity(worker, "")).pid != worker)
        postgres = next(service.pid for service in embedded.status(data_dir, environ={}) if service.name == "postgres")
        assert postgres is not None
        os.kill(postgres, signal.SIGKILL)
        until(lambda: (again := embedded.status(data_dir, environ={})[0].pid) and again != postgres)

        alive = everything(data_dir)
        assert len(alive) > 10
        boss.send_signal(signal.SIGINT)
        said, _ = boss.communicate(timeout=90)
        assert boss.returncode == 0, said
        assert f"Rounds is ready: http://127.0.0.1:{port}/" in said
        assert "worker-io was killed by SIGKILL; starting it again" in said
        assert [(pid, processes.arguments(pid)) for pid in alive if processes.alive(pid)] == []
        assert not (data_dir / "up.json").exists()
        assert web_status(port) is None
    finally:
        boss.kill()
        boss.communicate()


@LINUX_ONLY
def test_a_killed_supervisor_leaves_no_child_and_the_next_start_works(data_dir: Path, port: int) -> None:
    boss = up(data_dir, port)
    until(lambda: web_status(port) is not None and len(supervisor.children_of(data_dir)) == 4)
    children = [pid for each in supervisor.children_of(data_dir).values() for pid in (each.pid, *processes.descendants(each.pid))]
    boss.kill()
    boss.communicate()
    assert processes.wait_gone(children, seconds=20) == []

    again = up(data_dir, port, "--no-worker")
    try:
        until(lambda: web_status(port) is not None)
        assert set(supervisor.children_of(data_dir)) == {"web"}
        assert "Stopped." in manage(data_dir, "services", "stop")
        assert again.wait(timeout=10) == 0
        assert everything(data_dir) == set()
    finally:
        again.kill()
        again.communicate()


def test_a_taken_port_is_named_with_the_option_that_helps(data_dir: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        boss = up(data_dir, port)
        said, _ = boss.communicate(timeout=30)
    assert boss.returncode == 1
    assert f"--port {port + 1}" in said
    assert "Traceback" not in said
    assert not (data_dir / "services").exists(), "a database was made for nothing"


def run_steps(data_dir: Path, port: int, steps: str) -> str:
    """A supervisor of a small web server that runs these steps behind it, stopped after the last."""
    code = f"""
import signal, sys, threading, time
from pathlib import Path
from config.supervisor import *
data_dir = Path({str(data_dir)!r})
def python(code): return [sys.executable, "-c", code]
steps = {steps}
boss = Supervisor(data_dir=data_dir, url=address("127.0.0.1", {port}), say=print, watch=lambda: None)
web = Child("web", [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}", "--directory", "/var/empty"])
def stop_when_told():
    while not (data_dir / "enough").exists(): time.sleep(0.05)
    signal.raise_signal(signal.SIGINT)
threading.Thread(target=stop_when_told, daemon=True).start()
sys.exit(boss.run([web], steps, when_ready=lambda: print("ready")))
"""
    boss = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seen: list[str] = []

    def ended() -> bool:
        try:
            told = (data_dir / "setup.json").read_text()
        except FileNotFoundError:
            return False
        if told not in seen:
            seen.append(told)
        return json.loads(told)["state"] == "failed" or (json.loads(told)["state"], json.loads(told)["step"]) == ("done", "last")

    try:
        until(ended, seconds=20)
        (data_dir / "enough").touch()
        said, _ = boss.communicate(timeout=20)
    finally:
        boss.kill()
        boss.communicate()
    assert boss.returncode == 0, said
    return "\n".join(seen)


def test_pages_can_read_what_is_being_installed(data_dir: Path, port: int) -> None:
    told = run_steps(
        data_dir,
        port,
        """[
        Step("torch", "Installing torch", python(
            "import time; print('Downloading https://u:secret@pypi/torch-2.whl'); print('Progress 43 of 100', flush=True); time.sleep(1)"
        ), lambda: True, "advice"),
        Step("never", "Not needed", python("raise SystemExit(1)"), lambda: False, "advice"),
        Step("last", "The last", python("pass"), lambda: True, "advice"),
    ]""",
    )
    assert '"percent": 43' in told
    assert "Downloading torch-2.whl" in told
    assert "secret" not in told
    assert "never" not in told


def test_a_step_that_fails_says_what_to_do_and_stops_the_rest(data_dir: Path, port: int) -> None:
    told = run_steps(
        data_dir,
        port,
        """[
        Step("torch", "Installing torch", python("raise SystemExit('no network')"), lambda: True, "Run make setup."),
        Step("last", "The last", python("pass"), lambda: True, "advice"),
    ]""",
    )
    failed = json.loads((data_dir / "setup.json").read_text())
    assert (failed["step"], failed["state"], failed["detail"]) == ("torch", "failed", "Run make setup.")
    assert failed["finished"] >= failed["started"]
    assert '"last"' not in told


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Collecting torch==2.13.0 (from x)\n", (None, "Collecting torch==2.13.0")),
        (
            "Downloading torch-2.13.0-cp311.whl (190.4 MB)\nProgress 0 of 190\nProgress 95 of 190\n",
            (50, "Downloading torch-2.13.0-cp311.whl"),
        ),
        ("Progress 190 of 190\nInstalling collected packages: mpmath, torch\n", (None, "Installing collected packages mpmath")),
        ("Progress 3 of 12\nWaiting for the merged model\n", (25, "Waiting for the merged model")),
        ("", (None, "")),
    ],
)
def test_progress_is_read_from_the_end_of_pips_output(said: str, expected: tuple[int | None, str]) -> None:
    assert supervisor.progress(said) == expected


def test_an_address_for_everyone_is_opened_on_this_machine() -> None:
    assert supervisor.address("0.0.0.0", 8000) == "http://127.0.0.1:8000/"
    assert supervisor.address("::", 8000) == "http://[::1]:8000/"
    assert supervisor.address("10.0.0.5", 80) == "http://10.0.0.5:80/"
