"""Pushing a data set to the operator's hub: refused until one is named, then sent by the hub's own client to a server of the test's."""

import json
import os
import subprocess
import threading
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEntry, User
from annotation import export_files, hubs, snapshots
from annotation.models import Snapshot
from jobs import kinds
from jobs.models import Job
from tests.annotation.build import campaign, judge, may_export

pytestmark = pytest.mark.django_db
PROJECT = Path(hubs.__file__).parent.parent


@pytest.fixture
def frozen(alice: User, settings: Any, tmp_path: Path) -> Snapshot:
    settings.DATA_DIR = tmp_path / "data"
    made = campaign([alice], pairs=3)
    judge(made, alice)
    return snapshots.freeze(campaign=made, name="Sent", actor=None)


class FakeHub(ThreadingHTTPServer):
    """As much of the Hub's API as a push of small files uses; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.refuses = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *_: Any) -> None:
        """Nothing: the test looks at what was kept."""

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self) -> None:
        self._note()
        if self.server.refuses:
            self._answer({"error": "no"}, 403)
        else:
            self._answer({"id": "ward/sent", "sha": "a" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self._body()
        self._note()
        if self.server.refuses:
            self._answer({"error": "no"}, 403)
        elif self.path.endswith("/repos/create"):
            said = json.loads(body)
            assert (said["type"], said.get("visibility", "private" if said.get("private") else "")) == ("dataset", "private")
            self._answer({"url": f"{self.server.url}/datasets/ward/sent", "name": "ward/sent"})
        elif "/preupload/" in self.path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for one in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            for line in filter(None, body.splitlines()):
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = b64decode(entry["value"]["content"])
            self._answer({"success": True, "commitOid": "b" * 40, "commitUrl": f"{self.server.url}/datasets/ward/sent/commit/{'b' * 40}"})
        else:
            self._answer({"errors": [], "warnings": []})

    def _note(self) -> None:
        self.server.asked.append(self.path)
        self.server.tokens.add(self.headers.get("Authorization", ""))


@pytest.fixture
def hub(settings: Any) -> Iterator[FakeHub]:
    server = FakeHub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.ROUNDS_HUB = {"endpoint": server.url, "space": "ward"}
    settings.ROUNDS_HUB_TOKEN = "hf_secret"
    yield server
    server.shutdown()
    server.server_close()


def run(job: Job, folder: Path) -> dict[str, Any]:
    """Prepare the attempt and start its child, as the runner does."""
    kind = kinds.get("push")
    assert (kind.queue, kind.network) == ("io", True)
    folder.mkdir()
    kind.prepare(job, folder)
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **kind.environment(job)}
    subprocess.run(kind.command(job, folder), env=bare, check=False, timeout=120, capture_output=True)
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_without_a_hub_nothing_is_sent_and_the_sentence_says_what_to_do(frozen: Snapshot, dan: User, as_dan: Client) -> None:
    may_export(dan)
    page = f"/snapshots/{frozen.public_id}/"
    assert "Push the data set" not in as_dan.get(page).text
    answer = as_dan.post(f"{page}push/", {"level": "untagged", "name": "sent"}, follow=True)
    assert "No hub is configured, and this house sends nothing anywhere by itself." in answer.text
    assert not Job.objects.exists()


@pytest.mark.engine
def test_the_whole_data_set_arrives_in_a_private_repository(
    frozen: Snapshot, dan: User, as_dan: Client, hub: FakeHub, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    page = f"/snapshots/{frozen.public_id}/"
    assert as_dan.post(f"{page}push/", {"level": "untagged", "name": "sent"}).status_code == 403
    may_export(dan)
    assert f"Push the data set to {hub.url}" in as_dan.get(page).text
    assert as_dan.post(f"{page}push/", {"level": "untagged", "name": "../x"})["Location"].endswith("#export")
    as_dan.post(f"{page}push/", {"level": "untagged", "name": "sent"})
    job = Job.objects.get()
    assert "hf_secret" not in json.dumps(job.spec)
    assert AuditEntry.objects.get(verb="snapshot.pushed").details["repository"] == "ward/sent"
    result = run(job, tmp_path / "attempt")
    assert result == {"schema": 1, "ok": True, "commit": "b" * 40}
    made = export_files.folder(snapshot=frozen, level="untagged")
    names = set(export_files.manifest(made)["files"]) | {"manifest.json"}
    assert {name: content for name, content in hub.files.items() if name in names} == {name: (made / name).read_bytes() for name in names}
    assert set(hub.files) == names
    assert hub.tokens == {"Bearer hf_secret"}
    hub.refuses = True
    refused = run(job, tmp_path / "again")
    assert (refused["ok"], refused["error"]["code"]) == (False, "hub_refused")
    assert "hf_secret" not in (tmp_path / "again" / "result.json").read_text()
