"""A clinician at a keyboard, as bytes on one kept-alive connection: as little Python as possible, for it shares the server's cores."""

from __future__ import annotations

import json
import re
import socket
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from benchmarks.load.server import HOST

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
_COOKIE = re.compile(rb"\r\nset-cookie: *([^=]+)=([^;\r]*)", re.I)
_LOCATION = re.compile(rb"\r\nlocation: *([^\r]*)", re.I)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.I)
_KEY = re.compile(rb'name="key"[^>]*value="([0-9a-f-]{36})"|value="([0-9a-f-]{36})"[^>]*name="key"')
_ACTION = re.compile(rb'<form[^>]*id="compare"[^>]*>')
_ADDRESS = re.compile(rb'action="(/rate/[0-9a-f-]{36}/)"')
_PAIR = re.compile(rb"/rate/[0-9a-f-]{36}/$")
# What people press, roughly: most pairs are decided, a few cannot be told apart.
VERDICTS = ("a_slightly", "b_slightly", "a_much", "both_acceptable", "b_slightly", "a_slightly", "b_much")


class Unexpected(Exception):
    """The server answered something a clinician would stumble over; the message is the status, the address and the page's beginning."""


@dataclass
class Answer:
    status: int
    head: bytes
    body: bytes

    @property
    def location(self) -> bytes:
        found = _LOCATION.search(self.head)
        return found[1].removeprefix(f"https://{HOST}".encode()) if found else b""


@dataclass
class Tally:
    """What one clinician did: milliseconds waited from answering to having the next pair, and how many answers were acknowledged."""

    waits: list[float] = field(default_factory=list)
    submits: list[float] = field(default_factory=list)
    acknowledged: int = 0
    bytes_read: int = 0
    ended: bool = False


class Clinician:
    def __init__(self, port: int, username: str, password: str) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}
        self.connection = self._connect()
        self.used = time.perf_counter()
        self.sent = 0
        self.tally = Tally()
        self._sign_in(username, password)

    def _connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _sign_in(self, username: str, password: str) -> None:
        self.get(b"/accounts/login/")
        answer = self.post(b"/accounts/login/", {"login": username, "password": password})
        if answer.status != 302:
            raise Unexpected(f"Signing in: {answer.status} {answer.body[:300]!r}")

    def get(self, path: bytes) -> Answer:
        return self._send(b"GET", path, b"")

    def post(self, path: bytes, fields: dict[str, str], *, background: bool = False) -> Answer:
        body = urlencode({**fields, "csrfmiddlewaretoken": self.cookies.get("csrftoken", "")}, quote_via=quote).encode()
        return self._send(b"POST", path, body, b"X-Rounds: background\r\n" if background else b"")

    def post_json(self, path: bytes, fields: dict[str, object], *, key: str = "") -> Answer:
        """To the API, with the session; `key` is the idempotency key."""
        extra = f"X-CSRFToken: {self.cookies.get('csrftoken', '')}\r\nReferer: https://{HOST}/\r\n"
        extra += f"Idempotency-Key: {key}\r\n" if key else ""
        return self._send(b"POST", path, json.dumps(fields).encode(), extra.encode(), b"application/json")

    def _send(
        self, method: bytes, path: bytes, body: bytes, extra: bytes = b"", kind: bytes = b"application/x-www-form-urlencoded"
    ) -> Answer:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items()).encode()
        request = (
            method + b" " + path + b" HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\nX-Forwarded-Proto: https\r\nOrigin: https://"
            + HOST.encode() + b"\r\nAccept: text/html,*/*;q=0.8\r\nCookie: " + cookies + b"\r\n" + extra
        )  # fmt: skip
        if method == b"POST":
            request += b"Content-Type: " + kind + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n"
        if time.perf_counter() - self.used > 1:
            # As a browser does: what lay idle may have been closed at the other end.
            self.connection.close()
            self.connection = self._connect()
        self.connection.sendall(request + b"\r\n" + body)
        answer = self._receive()
        self.used = time.perf_counter()
        return answer

    def _receive(self) -> Answer:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, rest = data.partition(b"\r\n\r\n")
        status = int(head[9:12])
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        parts, have = [rest], len(rest)
        while have < length:
            parts.append(self._read())
            have += len(parts[-1])
        for name, value in _COOKIE.findall(head):
            self.cookies[name.decode()] = value.decode()
        self.tally.bytes_read += have
        if _CLOSE.search(head):
            self.connection.close()
            self.connection = self._connect()
        return Answer(status, head, b"".join(parts))

    def _read(self) -> bytes:
        chunk = self.connection.recv(65536)
        if not chunk:
            raise Unexpected("The server hung up in the middle of an answer.")
        return chunk

    def begin(self, campaign: str) -> Answer:
        """Press “Start”: the first pair's page."""
        self.start = f"/rate/campaigns/{campaign}/next/".encode()
        return self._follow(self.post(self.start, {"minutes": "30"}))

    def _follow(self, answer: Answer) -> Answer:
        """Where the server sends; on a session's card, press “Start” again."""
        for _ in range(4):
            if answer.status != 302:
                return answer
            address = answer.location
            if not _PAIR.match(address):
                self.get(address)
                if address.startswith(b"/rate/sittings/"):
                    answer = self.post(self.start, {"minutes": "30"})
                    continue
                self.tally.ended = True
                return answer
            answer = self.get(address)
        return answer

    def judge_by_pages(self, campaign: str, until: float) -> None:
        """As a browser without script: the answer is a form, the next pair a whole page. What is waited for is both."""
        page = self.begin(campaign)
        while time.perf_counter() < until and not self.tally.ended:
            address, fields = self._filled(page)
            began = time.perf_counter()
            answer = self.post(address, fields)
            submitted = time.perf_counter()
            if answer.status != 302:
                raise Unexpected(f"{answer.status} to an answer: {answer.body[:300]!r}")
            self.tally.acknowledged += 1
            page = self._follow(answer)
            self.tally.waits.append(1000 * (time.perf_counter() - began))
            self.tally.submits.append(1000 * (submitted - began))

    def judge_by_script(self, campaign: str, until: float) -> None:
        """As the page's script does, with the next pair in hand, but waiting for everything: the answer stored, the next pair said to be
        on screen, and the one after it fetched. On the real page people wait for none of it."""
        page = self.begin(campaign)
        ready = self._ahead(page)
        while time.perf_counter() < until and not self.tally.ended:
            address, fields = self._filled(page)
            began = time.perf_counter()
            answer = self.post(address, fields, background=True)
            submitted = time.perf_counter()
            if answer.status != 204:
                raise Unexpected(f"{answer.status} to an answer: {answer.body[:300]!r}")
            self.tally.acknowledged += 1
            if ready.status == 200:
                page = ready
                self.post(self._filled(page)[0] + b"extend/?shown=1", {}, background=True)
            else:
                page = self.begin(campaign)
            ready = self._ahead(page)
            self.tally.waits.append(1000 * (time.perf_counter() - began))
            self.tally.submits.append(1000 * (submitted - began))

    def judge_by_api(self, campaign: str, until: float) -> None:
        """As a program with the session does over /api/v1: the answer stored, the next comparison leased and read."""
        onward = f"/api/v1/campaigns/{campaign}/next/".encode()
        held = self.post_json(onward, {})
        while time.perf_counter() < until:
            if held.status == 204:
                self.tally.ended = True
                return
            if held.status != 200:
                raise Unexpected(f"{held.status} to a lease: {held.body[:300]!r}")
            address = f"/api/v1/assignments/{json.loads(held.body)['id']}/submit/".encode()
            self.sent += 1
            began = time.perf_counter()
            answer = self.post_json(address, {"verdict": VERDICTS[self.sent % len(VERDICTS)], "active_ms": 75000}, key=str(uuid.uuid4()))
            submitted = time.perf_counter()
            if answer.status != 200:
                raise Unexpected(f"{answer.status} to an answer: {answer.body[:300]!r}")
            self.tally.acknowledged += 1
            held = self.post_json(onward, {})
            self.tally.waits.append(1000 * (time.perf_counter() - began))
            self.tally.submits.append(1000 * (submitted - began))

    def _ahead(self, page: Answer) -> Answer:
        return page if self.tally.ended else self.post(self._filled(page)[0] + b"ahead/", {}, background=True)

    def _filled(self, page: Answer) -> tuple[bytes, dict[str, str]]:
        """The form's address and its answer. The key is the one made with the form."""
        form = _ACTION.search(page.body)
        address = _ADDRESS.search(form[0]) if form else None
        key = _KEY.search(page.body)
        if address is None or key is None:
            raise Unexpected(f"{page.status}: no pair on the page: {page.body[:300]!r}")
        self.sent += 1
        verdict = VERDICTS[self.sent % len(VERDICTS)]
        return address[1], {"verdict": verdict, "key": (key[1] or key[2]).decode(), "active_ms": "75000"}
