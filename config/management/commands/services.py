"""`manage.py services`: the embedded PostgreSQL and Redis, and the memory of every process of Rounds."""

import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config import embedded, supervisor
from config.embedded import processes


class Command(BaseCommand):
    help = "Start, stop or show the embedded PostgreSQL and Redis; `stop` also stops a running `manage.py up`."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["start", "stop", "status"])

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        data_dir: Path = settings.DATA_DIR
        try:
            {"start": self._start, "stop": self._stop, "status": self._status}[action](data_dir)
        except embedded.EmbeddedError as error:
            raise CommandError(str(error)) from error

    def _start(self, data_dir: Path) -> None:
        embedded.ensure(data_dir)
        embedded.keep(data_dir)
        self._status(data_dir)

    def _stop(self, data_dir: Path) -> None:
        if (boss := supervisor.running(data_dir)) is not None:
            processes.send(boss.pid, signal.SIGTERM)
            if processes.wait_gone([boss.pid], seconds=60):
                raise CommandError(f"`manage.py up` (process {boss.pid}) does not stop; see {data_dir / 'logs'}.")
        embedded.stop(data_dir)
        self.stdout.write("Stopped.")

    def _status(self, data_dir: Path) -> None:
        self.stdout.write(f"{'':<16}{'state':<12}{'process':>8}{'resident MB':>14}{'its share MB':>14}")
        total = 0
        for service in embedded.status(data_dir):
            total += self._line(service.name, service.state, service.pid, service.resident, service.proportional)
        found: dict[str, int] = {}
        if (boss := supervisor.running(data_dir)) is not None:
            found = {"up": boss.pid, **{name: each.pid for name, each in supervisor.children_of(data_dir).items()}}
        for name, pid in found.items():
            family = [pid] if name == "up" else [pid, *processes.descendants(pid)]
            total += self._line(name, "running", pid, processes.resident_bytes(family), processes.proportional_bytes(family))
        self.stdout.write(f"{'together':<36}{'':>14}{total / 2**20:>14.0f}")
        if found:
            self.stdout.write(f"Open {supervisor.read_state(data_dir).get('url')}")

    def _line(self, name: str, state: str, pid: int | None, resident: int, proportional: int | None) -> int:
        share = f"{proportional / 2**20:.0f}" if proportional is not None and pid else "-"
        self.stdout.write(f"{name:<16}{state:<12}{pid or '-':>8}{resident / 2**20:>14.0f}{share:>14}")
        return proportional if proportional is not None else resident
