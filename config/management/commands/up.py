"""`manage.py up`: the whole of Rounds with one command."""

import os
import signal
import sys
import time
from argparse import ArgumentParser
from io import StringIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError, call_command, get_commands
from django.core.management.base import BaseCommand
from django.db import connection

from config import embedded, supervisor
from config.supervisor import Child, Step

MANAGE = [sys.executable, str(supervisor.PROJECT / "manage.py")]


class Command(BaseCommand):
    help = "Start the database, the queue, the web part, the workers and the sweeper; Ctrl-C stops all of them."
    requires_system_checks = []
    began = 0.0

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--no-worker", action="store_true", help="the web part only: jobs wait")
        parser.add_argument("--no-demo", action="store_true", help="no demo users, first campaign or tiny model family")
        parser.add_argument("--no-setup", action="store_true", help="do not install the training packages if they are missing")

    def handle(self, *args: Any, **options: Any) -> None:
        # Survives starting over with other settings; the monotonic clock is the machine's.
        self.began = float(os.environ.setdefault("ROUNDS_UP_BEGAN", str(time.monotonic())))
        data_dir: Path = settings.DATA_DIR
        try:
            with supervisor.claimed(data_dir):
                supervisor.refuse_taken_port(options["host"], options["port"])
                status = self._run(data_dir, options)
        except supervisor.AlreadyRunning as running:
            self.say(f"Rounds is already running at {running.url} (process {running.pid}). `make stop` stops it.")
            return
        except supervisor.PortTaken as taken:
            raise CommandError(str(taken)) from taken
        if status:
            raise SystemExit(status)

    def say(self, line: str) -> None:
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except OSError:
            pass  # the terminal is gone; the logs are not

    def _done(self, what: str) -> None:
        self.say(f"  {time.monotonic() - self.began:5.1f} s  {what}")

    def _run(self, data_dir: Path, options: dict[str, Any]) -> int:
        named = (os.environ["DATABASE_URL"], os.environ["CELERY_BROKER_URL"])
        endpoints = embedded.provide()
        if (endpoints.database_url, endpoints.broker_url) != named:
            # A first start may find that the sockets must lie elsewhere, and the settings have been read: read them again.
            connection.close()
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
        self._done("PostgreSQL and Redis run")
        call_command("migrate", interactive=False, verbosity=0)
        self._done("the database is up to date")
        call_command("collectstatic", interactive=False, verbosity=0)
        self._done("style sheets and scripts are in place")
        os.environ.pop("ROUNDS_UP_BEGAN")
        logins = self._seed(options)
        connection.close()
        url = supervisor.address(options["host"], options["port"])

        def when_ready() -> None:
            self._done("the web part answers")
            self.say(f"\nRounds is ready: {url}\n{logins}\nLogs: {data_dir / 'logs'}. Ctrl-C stops everything.\n")

        def watch() -> None:
            try:
                embedded.ensure(data_dir)
            except embedded.EmbeddedError as error:
                self.say(f"rounds: {error}")

        boss = supervisor.Supervisor(data_dir=data_dir, url=url, say=self.say, watch=watch)
        status = boss.run(self._children(options), self._steps(options), when_ready=when_ready)
        embedded.release(data_dir)
        if not embedded.stop(data_dir, if_unused=True):
            self.say("Stopped. PostgreSQL and Redis go on: another command uses them, or `manage.py services start` asked for it.")
        else:
            self.say("Stopped.")
        return status

    def _seed(self, options: dict[str, Any]) -> str:
        """Demo users and the first campaign; what the command prints (the logins) is shown again when the web part answers."""
        if options["no_demo"] or "seed_demo" not in get_commands():
            return ""
        said = StringIO()
        call_command("seed_demo", stdout=said)
        self._done("demo users and the first campaign are there")
        return said.getvalue().rstrip()

    def _children(self, options: dict[str, Any]) -> list[Child]:
        environment = {"DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"], "ROUNDS_DATA_DIR": str(settings.DATA_DIR)}
        # NumPy in the web part adds up votes: threads would only cost memory.
        small = {**environment, "OPENBLAS_NUM_THREADS": "1"}
        hosts = {*settings.ALLOWED_HOSTS, options["host"]} - {"0.0.0.0", "::", "[::]"}  # noqa: S104
        workers = os.environ.get("ROUNDS_WEB_WORKERS", "2")
        web = Child(
            name="web",
            arguments=[
                sys.executable, "-m", "gunicorn", "config.wsgi:application", "--worker-class", "gthread",
                "--workers", workers, "--threads", "4", "--bind", self._bind(options["host"], options["port"]),
                "--timeout", "60", "--graceful-timeout", "5", "--no-control-socket", "--log-level", "warning",
            ],
            environment={**small, "ROUNDS_DB_POOL": "1", "ROUNDS_ALLOWED_HOSTS": ",".join(sorted(hosts))},
        )  # fmt: skip
        children = [web]
        if options["no_worker"]:
            return children
        slots = os.environ.get("ROUNDS_COMPUTE_SLOTS") or str(max(1, os.cpu_count() or 1))
        children += [self._worker("compute", "compute", slots, environment), self._worker("io", "io,default", "1", environment)]
        if "sweep" in get_commands():
            children.append(Child(name="sweeper", arguments=[*MANAGE, "sweep"], environment=small))
        return children

    def _worker(self, name: str, queues: str, slots: str, environment: dict[str, str]) -> Child:
        return Child(
            name=f"worker-{name}",
            arguments=[
                sys.executable, "-m", "celery", "-A", "config.celery", "worker", "-Q", queues, "-n", f"{name}@%h", "-P", "prefork",
                "-c", slots, "-l", "INFO", "--without-mingle", "--without-gossip",
            ],
            environment=environment,
            # Told to stop, a worker stops its jobs' children and gives the jobs back, which takes some seconds. Celery's own warm stop
            # would wait for the training to end; if it does, a cold one follows, and the job's lease runs out.
            stop=signal.SIGTERM,
            insist=signal.SIGQUIT,
            patience=9.0,
        )  # fmt: skip

    def _steps(self, options: dict[str, Any]) -> list[Step]:
        steps = [] if options["no_setup"] else supervisor.install_steps()
        if not options["no_demo"] and not options["no_worker"] and "seed_demo" in get_commands():
            steps.append(
                Step(
                    name="family",
                    title="Building the tiny model family and one simulated round",
                    arguments=[*MANAGE, "seed_demo", "--family"],
                    needed=lambda: not supervisor.missing_packages(supervisor.engine_requirements()),
                    advice="The page Jobs says why; the next start goes on from there.",
                )
            )
        return steps

    @staticmethod
    def _bind(host: str, port: int) -> str:
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
