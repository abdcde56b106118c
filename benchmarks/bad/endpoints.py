"""The import endpoints of the API under schemathesis: its own program, from a virtual environment of its own, against a real server.

`pip install schemathesis` (4.x, MIT) into any environment; it shares nothing with ours but HTTP.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler


def run(program: str, examples: int, seed: int) -> dict[str, Any]:
    """Serve the application from this process, let `program` (schemathesis) try every import endpoint, and say what it found.

    {"requests", "server_errors", "failures"}; the caller has set up Django and a database that other connections see.
    """
    from django.core.handlers.wsgi import WSGIHandler
    from django.core.servers.basehttp import ThreadedWSGIServer

    from accounts import tokens
    from tests.cast import Role, person

    _, secret = tokens.create(user=person("program", Role.TRAINER), label="schemathesis", scopes=["read", "manage"], days=1)
    server = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet)
    server.set_app(WSGIHandler())
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "events.ndjson"
            done = subprocess.run(
                [
                    program, "run", f"http://127.0.0.1:{server.server_address[1]}/api/v1/schema/?format=json",
                    "--include-path-regex", "/imports/", "-H", f"Authorization: Bearer {secret}", "-c", "not_a_server_error",
                    "-n", str(examples), "--seed", str(seed), "--phases", "examples,coverage,fuzzing",
                    "--report-ndjson-path", str(report), "--continue-on-failure", "--no-color", "--generation-database", "none",
                ],
                capture_output=True, text=True, timeout=1800, check=False, cwd=folder,
            )  # fmt: skip
            return _told(report, done)
    finally:
        server.shutdown()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A line a request would drown what is found."""


def _told(report: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    statuses: list[int] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("status_code"), int):
                statuses.append(value["status_code"])
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    for line in report.read_text().splitlines() if report.exists() else ():
        walk(json.loads(line))
    return {
        "requests": len(statuses), "server_errors": sum(status >= 500 for status in statuses), "exit": done.returncode,
        "tail": "" if done.returncode == 0 else done.stdout[-1500:],
    }  # fmt: skip
