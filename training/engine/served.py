"""Answers from a server that speaks the OpenAI protocol (vLLM, llama.cpp, TGI, transformers serve). Standard library only.

The operator's settings name the server; nobody types an address. Its name is looked up once, every address found must be an
allowed one, and connections go to those addresses and nowhere else: a name that points elsewhere a moment later changes nothing,
and a redirect is an error. Text that goes out is the prompts, and text that comes back is data.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import queue
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from training.engine.answers import Answer, Place
from training.engine.attempt import Attempt
from training.engine.errors import EngineError
from training.engine.spec import Endpoint, Generate

KEY = "ROUNDS_ENDPOINT_KEY"
MOST_BYTES = 16 * 2**20
CONNECT_SECONDS = 10.0
# Waits before the second try, the third, and so on; a server may ask for up to LONGEST_WAIT.
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
# So many failures in a row, with nothing answered between them, are the server's and not the prompts'.
GIVE_UP_AFTER = 12
# Of what a server calls the request's own fault, what is only a matter of time.
AGAIN = (408, 409, 425, 429)
FINISH = {"stop": "stop", "length": "length", "content_filter": "filtered", "eos_token": "stop", "stop_sequence": "stop"}

Messages = Sequence[Mapping[str, Any]]


class Refused(EngineError):
    """What no second try will change: a forbidden address, a redirect, a key or a model that the server does not know."""

    code = "endpoint_refused"


class Unanswered(EngineError):
    """The server answers nobody for now; what it answered before is kept for another attempt."""

    code = "endpoint_down"
    retryable = True


class Failed(Exception):
    """One request failed. ``again`` is whether another try may help, ``wait`` for how long the server asked to be left alone."""

    def __init__(self, code: str, *, again: bool, wait: float = 0.0) -> None:
        super().__init__(code)
        self.code, self.again, self.wait = code, again, wait


@dataclass(frozen=True)
class Reply:
    """``texts`` and why each ended, in the server's order; ``tokens`` of all together, None where it does not say, and of the prompt."""

    texts: list[tuple[str, str]]
    tokens: int | None
    model: str
    prompt_tokens: int = 0


def key_from_environment() -> str:
    return os.environ.get(KEY, "")


def seed_of(seed: int, messages: Messages, number: int) -> int:
    """31 bits of a seed for one prompt and sample number, the same in whatever order prompts are asked."""
    told = json.dumps([seed, number, messages], ensure_ascii=False, sort_keys=True).encode()
    return int.from_bytes(blake2b(told, digest_size=4).digest(), "big") >> 1


def vetted(host: str, port: int, networks: Sequence[str]) -> list[str]:
    """The addresses of a host, looked up once. Raises ``Refused`` when any of them is not allowed, ``Unanswered`` without one.

    Never allowed: link-local (where clouds keep their secrets), multicast, unspecified and reserved ones. Loopback only where the
    settings say ``localhost`` or the address itself. With ``networks``, only what lies in them.
    """
    try:
        found = dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError:
        raise Unanswered(f"the name of the endpoint's host is not known here: {host}") from None
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        told_so = host in ("localhost", text)
        if networks:
            allowed = any(address in ipaddress.ip_network(network) for network in networks)
        else:
            allowed = told_so or not address.is_loopback
        if not allowed or address.is_link_local or address.is_multicast or address.is_unspecified or _reserved(address):
            raise Refused(f"{host} is at {address}, which is no address that endpoints may be at", code="endpoint_address")
    return list(found)


def _reserved(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_reserved and not address.is_loopback


class _Connection(http.client.HTTPConnection):
    """To an address that was vetted; host, and for TLS the name that the certificate must bear, stay the endpoint's own."""

    def __init__(self, host: str, port: int, addresses: Sequence[str], tls: ssl.SSLContext | None, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._addresses, self._tls, self._wait = addresses, tls, timeout
        if tls is not None:
            self.default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        for address in self._addresses:
            try:
                self.sock = socket.create_connection((address, self.port), min(CONNECT_SECONDS, self._wait))
            except OSError as problem:
                trouble = problem
            else:
                break
        else:
            raise trouble
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)
        self.sock.settimeout(self._wait)


class Server:
    """One endpoint. Raises ``Refused`` or ``Unanswered`` when its name leads nowhere it may."""

    def __init__(self, endpoint: Endpoint, *, key: str) -> None:
        self.endpoint, self._key = endpoint, key
        parts = urlsplit(endpoint.url)
        assert parts.hostname is not None
        self._host, self._path = parts.hostname, parts.path.rstrip("/")
        self._tls = ssl.create_default_context(cafile=endpoint.ca_file) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._addresses = vetted(self._host, self._port, endpoint.networks)

    def models(self, *, timeout: float | None = None) -> list[str] | None:
        """Names of the models it serves; None where it does not say. Raises ``Failed`` or ``Refused``."""
        try:
            found = self._call("GET", "/models", None, timeout or self.endpoint.timeout)
        except Refused as refused:
            if refused.code == "endpoint_unknown":
                return None
            raise
        rows = found.get("data") if isinstance(found, dict) else None
        if not isinstance(rows, list):
            raise Failed("malformed", again=True)
        return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]

    def check(self) -> None:
        """Before the first prompt goes out: it is there, takes the key and serves the model. Raises ``Refused`` or ``Unanswered``."""
        try:
            offered = self.models(timeout=min(30.0, self.endpoint.timeout))
        except Failed as failed:
            raise Unanswered(f"the endpoint {self.endpoint.name} does not say what it serves: {failed.code}") from None
        if offered and self.endpoint.model not in offered:
            named = ", ".join(name[:60] for name in offered[:5])
            raise Refused(
                f"the endpoint {self.endpoint.name} serves {named}, and not {self.endpoint.model}, which the settings name",
                code="endpoint_model",
            )

    def complete(self, body: Mapping[str, Any]) -> Reply:
        """One request for one prompt. Raises ``Failed`` or ``Refused``."""
        found = self._call("POST", "/chat/completions", {"model": self.endpoint.model, **body}, self.endpoint.timeout)
        try:
            texts = [(_text(choice), str(choice.get("finish_reason") or "")) for choice in found["choices"]]
            used = found.get("usage") or {}
            tokens = used.get("completion_tokens")
            read = used.get("prompt_tokens")
            return Reply(
                texts,
                tokens if isinstance(tokens, int) else None,
                str(found.get("model") or "")[:200],
                read if isinstance(read, int) else 0,
            )
        except (KeyError, TypeError, AttributeError):
            raise Failed("malformed", again=True) from None

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        ends = time.monotonic() + timeout
        connection = _Connection(self._host, self._port, self._addresses, self._tls, timeout)
        headers = {"Accept": "application/json", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request(method, self._path + path, json.dumps(body).encode() if body is not None else None, headers)
            response = connection.getresponse()
            status, wait = response.status, _asked_wait(response.getheader("Retry-After"))
            raw = _read(response, ends)
        except TimeoutError:
            raise Failed("timeout", again=True) from None
        except ssl.SSLCertVerificationError:
            raise Refused(f"the certificate of the endpoint {self.endpoint.name} is not valid here", code="endpoint_certificate") from None
        except (OSError, http.client.HTTPException):
            raise Failed("connection", again=True) from None
        finally:
            connection.close()
        self._judge(status, wait)
        try:
            return json.loads(raw)
        except ValueError:  # also what is not UTF-8, and the unending number
            raise Failed("malformed", again=True) from None
        except RecursionError:
            raise Failed("malformed", again=False) from None

    def _judge(self, status: int, wait: float) -> None:
        name = self.endpoint.name
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise Refused(f"the endpoint {name} sends us elsewhere (HTTP {status}), and we do not go there", code="endpoint_redirects")
        if status in (401, 403):
            raise Refused(f"the endpoint {name} does not take the key (HTTP {status})", code="endpoint_key")
        if status in (404, 405):
            raise Refused(
                f"the endpoint {name} knows no model {self.endpoint.model}, or no such path (HTTP {status})", code="endpoint_unknown"
            )
        raise Failed(f"http_{status}", again=status in AGAIN or status >= 500, wait=wait)


def _text(choice: Mapping[str, Any]) -> str:
    content = choice["message"]["content"]
    if not isinstance(content, str):
        raise TypeError
    return content.strip()


def _read(response: http.client.HTTPResponse, ends: float) -> bytes:
    """The body, within a size and until a time: a server that sends a byte a minute would never run into the socket's own timeout."""
    parts, size = [], 0
    while part := response.read1(65_536):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise Failed("too_large", again=False)
        if time.monotonic() > ends:
            raise TimeoutError
    if response.length:  # less came than was promised
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _asked_wait(header: str | None) -> float:
    try:
        return min(LONGEST_WAIT, max(0.0, float(header or 0)))
    except ValueError:  # a date: the usual wait will do
        return 0.0


class _Gate:
    """Lets requests begin evenly, so many a minute; all at once where that is 0."""

    def __init__(self, per_minute: int) -> None:
        self._apart = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Seconds until the caller's turn."""
        if not self._apart:
            return 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._apart
            return turn - now


class Asker:
    """Asks a server for all that is wanted, a few prompts at a time, each until it is answered or has failed ``tries`` times."""

    def __init__(self, attempt: Attempt, server: Server, params: Generate) -> None:
        self.attempt, self.server, self.params = attempt, server, params
        self.tokens = self.prompt_tokens = 0
        self.models: set[str] = set()
        self._gate = _Gate(server.endpoint.per_minute)
        self._work: queue.SimpleQueue[tuple[int, list[int], Messages] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[dict[Place, Answer] | BaseException] = queue.SimpleQueue()
        self._over = threading.Event()
        self._lock = threading.Lock()

    def answers(self, prompts: Sequence[Messages], *, skip: Collection[Place] = frozenset()) -> Iterator[dict[Place, Answer]]:
        """Answers as they come, with ``error`` where there is none. Raises ``Refused`` or ``Unanswered`` once all fail."""
        wanted = 0
        for index, messages in enumerate(prompts):
            if numbers := [number for number in range(self.params.n) if (index, number) not in skip]:
                self._work.put((index, numbers, messages))
                wanted += 1
        for _ in range(min(wanted, self.server.endpoint.concurrency)):
            # Daemons: whoever stops this job need not wait for a slow server.
            threading.Thread(target=self._serve, name="asker", daemon=True).start()
        lost: Counter[str] = Counter()
        answered = False
        try:
            while wanted:
                self.attempt.check()
                try:
                    found = self._done.get(timeout=0.25)
                except queue.Empty:
                    continue
                if isinstance(found, BaseException):
                    raise found
                wanted -= 1
                yield found
                errors = {answer.error for answer in found.values()}
                answered = answered or "" in errors
                lost = Counter() if "" in errors else lost + Counter(errors)
                if lost.total() >= GIVE_UP_AFTER or (lost and not answered and not wanted):
                    raise self._nothing(lost.most_common(1)[0][0])
        finally:
            self._over.set()

    def _nothing(self, why: str) -> EngineError:
        told = f"the endpoint {self.server.endpoint.name} answers nothing: {why}"
        lasting = why in ("too_large", "malformed") or (why.startswith("http_4") and int(why.removeprefix("http_")) not in AGAIN)
        return Refused(told) if lasting else Unanswered(told)

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                index, numbers, messages = self._work.get_nowait() or (0, [], [])
            except queue.Empty:
                return
            try:
                self._done.put({(index, number): answer for number, answer in self._ask(messages, numbers).items()})
            except BaseException as problem:
                self._done.put(problem)
                return

    def _ask(self, messages: Messages, numbers: Sequence[int]) -> dict[int, Answer]:
        """All samples of a prompt in one request; what a server leaves out of it (many know no ``n``) is asked one by one."""
        made = self._try(messages, numbers)
        for number in numbers:
            if number not in made:
                made |= self._try(messages, [number])
        return made

    def _try(self, messages: Messages, numbers: Sequence[int]) -> dict[int, Answer]:
        for turn in range(1, self.server.endpoint.tries + 1):
            self._over.wait(self._gate.wait())
            try:
                return self._answers(self.server.complete(self._body(messages, numbers)), numbers)
            except Failed as failed:
                if not failed.again and len(numbers) > 1:
                    return {}  # perhaps it takes no n: each by itself
                wait = max(failed.wait, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (turn - 1)))
                if not failed.again or turn == self.server.endpoint.tries or self._over.wait(wait):
                    return {number: Answer("", "error", None, error=failed.code) for number in numbers}
        raise AssertionError("tries is above 0")

    def _body(self, messages: Messages, numbers: Sequence[int]) -> dict[str, Any]:
        params = self.params
        body = {
            "messages": list(messages), "max_tokens": params.max_new_tokens, "temperature": params.temperature, "stream": False,
            "seed": seed_of(self.attempt.spec.seed, messages, numbers[0]),
        }  # fmt: skip
        if params.top_p < 1:
            body["top_p"] = params.top_p
        if len(numbers) > 1:
            body["n"] = len(numbers)
        if params.schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": params.schema}}
        return body

    def _answers(self, reply: Reply, numbers: Sequence[int]) -> dict[int, Answer]:
        if not reply.texts:
            raise Failed("malformed", again=True)
        with self._lock:
            self.tokens += reply.tokens or 0
            self.prompt_tokens += reply.prompt_tokens
            self.models.add(reply.model)
        alone = len(reply.texts) == 1
        return {
            number: Answer(text, FINISH.get(why, why[:20]), reply.tokens if alone else None)
            for number, (text, why) in zip(numbers, reply.texts, strict=False)
        }
