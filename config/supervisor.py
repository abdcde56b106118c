"""One command for everything: starts the processes of Rounds, watches them, starts a crashed one again, and ends them in order.

Knows nothing of Django: `manage.py up` says what to run. No child outlives the supervisor: on Linux the kernel signals each when the
supervisor dies, and the next start ends whatever is still there, by pid and time of birth from `data/up.json`.
Each child writes to `data/logs/NAME.log`. What is installed behind the running web part is told in `data/setup.json`, which pages read.
"""

import contextlib
import fcntl
import http.client
import importlib
import importlib.metadata
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from config.embedded import processes
from config.embedded.postgres import tail

PROJECT = Path(__file__).resolve().parent.parent
LARGEST_LOG = 10 * 2**20
LONGEST_PAUSE = 30.0
# A child that has run this long has recovered: the next crash is its first again.
SETTLED = 60.0
HOPELESS = 3

Say = Callable[[str], None]


@dataclass(frozen=True)
class Child:
    """A process to keep running. `stop` asks it to end, `insist` is sent to one that has not after `patience` seconds."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop: int = signal.SIGTERM
    insist: int = signal.SIGKILL
    patience: float = 8.0
    # What the kernel sends it when the supervisor dies.
    orphaned: int = signal.SIGTERM


@dataclass(frozen=True)
class Step:
    """Something that runs once, behind the running web part. `needed` is asked just before."""

    name: str
    title: str
    arguments: Sequence[str]
    needed: Callable[[], bool]
    advice: str


class AlreadyRunning(Exception):
    """Another supervisor holds this data folder."""

    def __init__(self, url: str, pid: int) -> None:
        super().__init__(url)
        self.url = url
        self.pid = pid


class PortTaken(Exception):
    """Another program listens on the wanted address."""


@contextlib.contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Be the only supervisor of this data folder. Raises AlreadyRunning; ends children that a killed one left behind."""
    data_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            noted = read_state(data_dir)
            raise AlreadyRunning(str(noted.get("url", "an address it has not written down yet")), int(str(noted.get("pid", 0)))) from None
        end_leftovers(data_dir)
        yield
    finally:
        os.close(handle)


def read_state(data_dir: Path) -> dict[str, object]:
    """What the supervisor wrote down last: pid, began, url, children. Empty when there is nothing."""
    try:
        noted = json.loads((data_dir / "up.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def children_of(data_dir: Path) -> dict[str, processes.Identity]:
    """The supervised processes that are alive, by name."""
    noted = read_state(data_dir).get("children")
    if not isinstance(noted, dict):
        return {}
    found = {name: processes.Identity(int(each["pid"]), str(each["began"])) for name, each in noted.items()}
    return {name: each for name, each in found.items() if each.alive()}


def running(data_dir: Path) -> processes.Identity | None:
    """The live supervisor of this data folder."""
    noted = read_state(data_dir)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        identity = processes.Identity(int(str(noted["pid"])), str(noted["began"]))
        return identity if identity.alive() else None
    return None


def end_leftovers(data_dir: Path) -> None:
    """End what a killed supervisor left: only processes that began when it said they did."""
    left = list(children_of(data_dir).values())
    family = [pid for each in left for pid in (each.pid, *processes.descendants(each.pid))]
    for each in left:
        processes.send_group(each.pid, signal.SIGTERM)
    for pid in processes.wait_gone(family, seconds=5):
        processes.send(pid, signal.SIGKILL)
    processes.wait_gone(family, seconds=5)
    (data_dir / "up.json").unlink(missing_ok=True)


def refuse_taken_port(host: str, port: int) -> None:
    """Raises PortTaken when nobody could listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise PortTaken(f"{host!r} is no address of this machine ({error.strerror}). Choose one with --host.") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise PortTaken(
                f"Cannot listen on {host}:{port} ({error.strerror}). "
                f"Choose another port: manage.py up --port {port + 1 if port < 65535 else 8000}, or make run PORT={port + 1}."
            ) from error


def address(host: str, port: int) -> str:
    """The address to open in a browser on this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://[{reachable}]:{port}/" if ":" in reachable else f"http://{reachable}:{port}/"


def answers(url: str, *, seconds: float = 5) -> bool:
    """Whether the web part answers with anything but a server error."""
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=seconds)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass
class _Kept:
    child: Child
    process: "subprocess.Popen[bytes] | None" = None
    identity: processes.Identity | None = None
    began: float = 0.0
    crashes: int = 0
    again_at: float = 0.0


class Supervisor:
    """Runs children until it is told to stop. `watch` is called every few seconds and must keep the services alive."""

    def __init__(self, *, data_dir: Path, url: str, say: Say, watch: Callable[[], None]) -> None:
        self.data_dir = data_dir
        self.url = url
        self.say = say
        self.watch = watch
        self._kept: dict[str, _Kept] = {}
        self._asked_to_stop = 0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._me = processes.identify(os.getpid())
        self._setup: _Setup | None = None

    def run(self, children: Sequence[Child], steps: Sequence[Step], *, when_ready: Callable[[], None]) -> int:
        """Start the children (the first is the web part), run the steps behind them, keep all alive. Returns an exit status."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        status = 0
        try:
            for child in children:
                self._kept[child.name] = _Kept(child)
                self._start(self._kept[child.name])
            self._write_state()
            if self._wait_for_web(children[0].name):
                when_ready()
                self._setup = _Setup(steps, data_dir=self.data_dir, say=self.say, launch=self._launch)
                self._keep_alive()
            elif not self._asked_to_stop:
                status = 1
        finally:
            self._stop_all()
            for number, handler in before.items():
                signal.signal(number, handler)
        return status

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked_to_stop += 1
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"!")

    def _sleep(self, seconds: float) -> None:
        """Sleep, but wake at once when a signal came."""
        if select.select([self._wake_read], [], [], seconds)[0]:
            os.read(self._wake_read, 512)

    def _wait_for_web(self, name: str) -> bool:
        web = self._kept[name]
        impatient = time.monotonic() + 20
        while not self._asked_to_stop:
            if time.monotonic() > impatient:
                self.say(f"Still waiting for {self.url} to answer. The end of {self._log(name)}:\n{tail(self._log(name))}")
                impatient += 60
            if answers(self.url):
                return True
            self._tend()
            if web.crashes >= HOPELESS:
                self.say(f"The web part ends each time it starts. The end of {self._log(name)}:\n{tail(self._log(name), 25)}")
                return False
            self._sleep(0.1)
        return False

    def _keep_alive(self) -> None:
        watched = time.monotonic()
        while not self._asked_to_stop:
            self._tend()
            if self._setup is not None:
                self._setup.tend()
            if time.monotonic() - watched > 3:
                self.watch()
                watched = time.monotonic()
            self._sleep(0.25)

    def _tend(self) -> None:
        """Note who has ended, and start again whoever's pause is over."""
        for kept in self._kept.values():
            if kept.process is not None and (code := kept.process.poll()) is not None:
                kept.process = None
                kept.crashes = 1 if time.monotonic() - kept.began > SETTLED else kept.crashes + 1
                pause = min(LONGEST_PAUSE, 2.0 ** (kept.crashes - 1) - 0.5)
                kept.again_at = time.monotonic() + pause
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
                self.say(f"{kept.child.name} {how}; starting it again in {pause:.1f} s (see {self._log(kept.child.name)})")
            if kept.process is None and time.monotonic() >= kept.again_at:
                self._start(kept)
                self._write_state()

    def _start(self, kept: _Kept) -> None:
        kept.process = self._launch(kept.child.name, kept.child.arguments, kept.child.environment, kept.child.orphaned)
        kept.identity = processes.identify(kept.process.pid)
        kept.began = time.monotonic()

    def _launch(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], orphaned: int = signal.SIGTERM
    ) -> "subprocess.Popen[bytes]":
        log = self._log(name)
        log.parent.mkdir(mode=0o700, exist_ok=True)
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            return subprocess.Popen(
                list(arguments),
                cwd=PROJECT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which then stops them in order.
                start_new_session=True,
                preexec_fn=processes.dies_with_parent(orphaned),
            )

    def _log(self, name: str) -> Path:
        return self.data_dir / "logs" / f"{name}.log"

    def _write_state(self) -> None:
        noted = {
            "pid": os.getpid(),
            "began": self._me.began if self._me else "",
            "url": self.url,
            "children": {
                name: {"pid": kept.identity.pid, "began": kept.identity.began} for name, kept in self._kept.items() if kept.identity
            },
        }
        write_json(self.data_dir / "up.json", noted)

    def _stop_all(self) -> None:
        """Ask the last first: the sweeper rings no more, the workers let go of their jobs, the web part answers to the end."""
        if self._setup is not None:
            self._setup.stop()
        live = [kept for kept in self._kept.values() if kept.process is not None and kept.process.poll() is None]
        family = {pid for kept in live if kept.process for pid in (kept.process.pid, *processes.descendants(kept.process.pid))}
        born = [identity for pid in family if (identity := processes.identify(pid))]
        self._asked_to_stop = 0
        for kept in reversed(live):
            if kept.process is not None:
                processes.send(kept.process.pid, kept.child.stop)
        began = time.monotonic()
        while left := [kept for kept in live if kept.process is not None and kept.process.poll() is None]:
            for kept in left:
                assert kept.process is not None
                late = time.monotonic() - began
                # A second Ctrl-C means now.
                if self._asked_to_stop or late > kept.child.patience + 4:
                    processes.send_group(kept.process.pid, signal.SIGKILL)
                elif late > kept.child.patience:
                    processes.send(kept.process.pid, kept.child.insist)
            self._sleep(0.1)
        # Grandchildren (an engine at work) end by themselves when their parent does; they get a moment for it.
        for pid in processes.wait_gone([each.pid for each in born if each.alive()], seconds=6):
            if pid in [each.pid for each in born if each.alive()]:
                processes.send(pid, signal.SIGKILL)
        (self.data_dir / "up.json").unlink(missing_ok=True)


class _Setup:
    """The steps that run behind the web part, one after the other, each a child; what they do is told in `setup.json`."""

    def __init__(self, steps: Sequence[Step], *, data_dir: Path, say: Say, launch: Callable[..., "subprocess.Popen[bytes]"]) -> None:
        self.data_dir = data_dir
        self.say = say
        self.launch = launch
        self.waiting = list(steps)
        self.current: Step | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.started = ""
        self.log_from = 0
        self.told: tuple[int | None, str] = (None, "")

    def tend(self) -> None:
        """Look how the running step is doing; begin the next."""
        if self.process is not None and self.current is not None:
            code = self.process.poll()
            percent, detail = progress(self._said())
            if code is None:
                self._tell("running", detail or self.current.title, percent)
                return
            self.process = None
            importlib.invalidate_caches()
            if code:
                self._tell("failed", self.current.advice, percent)
                self.say(f"{self.current.title}: failed. {self.current.advice} The end of {self._log()}:\n{tail(self._log(), 8)}")
                self.waiting.clear()
                return
            self._tell("done", self.current.title, 100)
            self.say(f"{self.current.title}: done")
        while self.process is None and self.waiting:
            self.current = self.waiting.pop(0)
            if not self.current.needed():
                continue
            self.started = now()
            self.log_from = self._log().stat().st_size if self._log().exists() else 0
            self.say(f"{self.current.title} (behind the running web part; {self._log()})")
            self.process = self.launch("setup", self.current.arguments, {})
            self._tell("running", self.current.title, 0)

    def stop(self) -> None:
        """Break off: the next start takes it up again."""
        self.waiting.clear()
        if self.process is None or self.process.poll() is not None:
            return
        processes.send_group(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        processes.send_group(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._tell("failed", "Interrupted; the next start takes it up again.", None)

    def _log(self) -> Path:
        return self.data_dir / "logs" / "setup.log"

    def _said(self) -> str:
        try:
            with self._log().open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self.log_from, size - 4096))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _tell(self, state: str, detail: str, percent: int | None) -> None:
        assert self.current is not None
        if state == "running" and (percent, detail) == self.told:
            return
        if state == "running" and (detail != self.told[1] or (percent or 0) // 20 != (self.told[0] or 0) // 20):
            self.say(f"  {bar(percent)} {detail}")
        self.told = (percent, detail)
        finished = None if state == "running" else now()
        told = {"step": self.current.name, "state": state, "detail": detail, "started": self.started, "finished": finished}
        write_json(self.data_dir / "setup.json", told if percent is None else {**told, "percent": percent})


def progress(said: str) -> tuple[int | None, str]:
    """Percent and what is being done now, from the end of a step's output: pip's raw progress, or "Progress n of m" and "Waiting for …"."""
    percent: int | None = None
    doing = ""
    for line in re.split(r"[\r\n]+", said):
        if match := re.fullmatch(r"Progress (\d+) of (\d+)", line.strip()):
            percent = 100 * int(match[1]) // max(1, int(match[2]))
        elif match := re.match(r"\s*(Collecting|Downloading|Installing collected packages|Preparing|Building)\b[: ]*([^\s(,;]*)", line):
            # The address of an index may hold a password: the last part of a path is enough.
            doing = f"{match[1]} {match[2].rpartition('/')[2]}".strip()
            percent = None if match[1] != "Downloading" else percent
        elif match := re.fullmatch(r"Waiting for (.{1,100})", line.strip()):
            doing = match[0]
    return percent, doing


def bar(percent: int | None, width: int = 20) -> str:
    """A progress bar for a terminal; blank where nobody knows how far it is."""
    return " " * (width + 7) if percent is None else f"[{'#' * (percent * width // 100):<{width}}] {percent:>3} %"


def engine_requirements() -> list[str]:
    """Names of the packages in the `engine` extra of pyproject.toml."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in project["optional-dependencies"]["engine"]]


def missing_packages(names: Sequence[str]) -> list[str]:
    """Those of these packages that are not installed. Looks at their metadata and imports none of them."""
    importlib.invalidate_caches()
    missing = []
    for name in names:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing


def install_steps() -> list[Step]:
    """Install the training packages: torch alone first (by far the largest), then the rest of the extra."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-c", "constraints.txt"]
    version = importlib.metadata.version("pip") if not missing_packages(["pip"]) else "0"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= (24, 1):
        pip.append("--progress-bar=raw")
    # The usual index option chooses the CPU or a CUDA build of torch.
    index = os.environ.get("ROUNDS_TORCH_INDEX", "")
    advice = "`make setup` installs it in the foreground and shows the cause."
    return [
        Step(
            "torch",
            "Installing torch",
            [*pip, *(["--index-url", index] if index else []), "torch"],
            lambda: bool(missing_packages(["torch"])),
            advice,
        ),
        Step(
            "engine",
            "Installing the training packages",
            [*pip, "-e", ".[engine]"],
            lambda: bool(missing_packages(engine_requirements())),
            advice,
        ),
    ]


def write_json(path: Path, value: object) -> None:
    """Write whole: a reader sees the old file or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    fresh.rename(path)


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
