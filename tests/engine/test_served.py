"""A server on the operator's list answers in place of a model: a real one on 127.0.0.1, which behaves and misbehaves."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import PROJECT, Done, laid_out
from training.engine import served
from training.engine.errors import SpecError
from training.engine.spec import parse_params

Run = Callable[..., Done]
SECRET = "sk-none-of-your-business"


class Handler(BaseHTTPRequestHandler):
    """Does what its server's ``behave(body, nth)`` returns: (status, headers, body as bytes or JSON), or None for a good answer."""

    server: "Served"

    def do_GET(self) -> None:
        self._send(self.server.listing)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append({"path": self.path, "host": self.headers["Host"], "key": self.headers["Authorization"], **body})
            nth = len(self.server.asked)
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            self._send(self.server.behave(body, nth) or self.server.answer(body))
        finally:
            with self.server.lock:
                self.server.now -= 1

    def _send(self, answer: Any) -> None:
        status, headers, told = answer
        raw = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(raw))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: Any) -> None:
        pass


class Served(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.asked: list[dict[str, Any]] = []
        self.now = self.most = 0
        self.knows_n = True
        self.listing: Any = (200, {}, {"data": [{"id": "phi"}, {"id": "other"}]})
        self.behave: Callable[[dict[str, Any], int], Any] = lambda body, nth: None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Some of those who ask hang up in the middle; that is what is tested."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, body: dict[str, Any]) -> Any:
        """What a good server says: its text tells the seed, so that tests see which was sent."""
        count = body.get("n", 1) if self.knows_n else 1
        said = body["messages"][-1]["content"]
        choices = [
            {"index": n, "message": {"role": "assistant", "content": f" {said} {body['seed']}+{n}\n"}, "finish_reason": "stop"}
            for n in range(count)
        ]
        return 200, {}, {"model": body["model"], "choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 5 * count}}


@contextmanager
def running() -> Iterator[Served]:
    with Served() as made:
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def server() -> Iterator[Served]:
    with running() as made:
        yield made


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "FIRST_WAIT", 0.01)
    monkeypatch.setenv(served.KEY, SECRET)


def params(server: Served, *, endpoint: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    named = {"name": "ward", "url": server.url, "model": "phi", "timeout": 5.0, "tries": 3, "concurrency": 3} | (endpoint or {})
    return {"temperature": 0.8, "max_new_tokens": 20, "endpoint": named} | changes


def asked(count: int) -> dict[str, Any]:
    return {"prompts.jsonl": [{"id": str(index), "messages": [{"role": "user", "content": f"q{index}"}]} for index in range(count)]}


def items(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (done.folder / "output" / "items.jsonl").read_text().splitlines()]


def test_prompts_go_out_and_answers_come_back(run_here: Run, server: Served) -> None:
    done = run_here("generate", params(server, top_p=0.9), {}, asked(5))
    metrics = done.metrics
    assert (metrics["completions"], metrics["tokens"], metrics["unanswered"], metrics["served_models"]) == (5, 25, {}, ["phi"])
    by_prompt = {row["messages"][0]["content"]: row for row in server.asked}
    assert by_prompt["q3"] == {
        "path": "/v1/chat/completions", "host": server.url.split("/")[2], "key": f"Bearer {SECRET}", "model": "phi",
        "messages": [{"role": "user", "content": "q3"}], "max_tokens": 20, "temperature": 0.8, "top_p": 0.9, "stream": False,
        "seed": served.seed_of(1, [{"role": "user", "content": "q3"}], 0),
    }  # fmt: skip
    assert len({row["seed"] for row in server.asked}) == 5
    assert items(done)[3] == {
        "id": "3", "n": 0, "text": f"q3 {by_prompt['q3']['seed']}+0", "finish_reason": "stop", "tokens": 5, "rope": "", "error": "",
    }  # fmt: skip
    assert 1 <= server.most <= 3


def test_the_key_stands_in_no_file(run: Run, server: Served) -> None:
    done = run("generate", params(server), {}, asked(3))
    assert done.metrics["completions"] == 3
    assert server.asked[0]["key"] == f"Bearer {SECRET}"
    assert SECRET not in done.stderr
    for path in done.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_asking_a_server_needs_no_torch() -> None:
    told = "import sys, training.engine.kinds.generate; print(sorted({'torch', 'transformers', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", told], cwd=PROJECT, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_samples_of_a_prompt_are_asked_for_at_once(run_here: Run, server: Served) -> None:
    done = run_here("generate", params(server, n=3), {}, asked(2))
    assert [row["n"] for row in server.asked] == [3, 3]
    seed = next(row["seed"] for row in server.asked if row["messages"][0]["content"] == "q1")
    assert [(row["n"], row["text"], row["tokens"]) for row in items(done) if row["id"] == "1"] == [
        (0, f"q1 {seed}+0", None), (1, f"q1 {seed}+1", None), (2, f"q1 {seed}+2", None),
    ]  # fmt: skip
    assert done.metrics["tokens"] == 30


def test_a_server_that_knows_no_n_is_asked_for_the_rest_one_by_one(run_here: Run, server: Served) -> None:
    server.knows_n = False
    done = run_here("generate", params(server, n=3), {}, asked(1))
    assert [row.get("n") for row in server.asked] == [3, None, None]
    assert len({row["seed"] for row in server.asked}) == 3
    assert len({row["text"] for row in items(done)}) == 3
    server.behave = lambda body, nth: (400, {}, {"error": "n"}) if "n" in body else None
    assert run_here("generate", params(server, n=2), {}, asked(1)).metrics["completions"] == 2


def test_a_busy_server_is_asked_again_after_the_wait_it_asks_for(run_here: Run, server: Served) -> None:
    server.behave = lambda body, nth: (429, {"Retry-After": "0.4"}, b"") if nth == 1 else (503, {}, b"busy") if nth == 2 else None
    began = time.monotonic()
    done = run_here("generate", params(server), {}, asked(1))
    assert (done.metrics["completions"], len(server.asked)) == (1, 3)
    assert time.monotonic() - began > 0.4


def broken(body: dict[str, Any], nth: int) -> Any:
    """Three servers in one: no JSON, JSON of another shape, and half an answer."""
    return (
        (200, {}, b"<html>proxy</html>"),
        (200, {}, {"choices": [{"message": {"content": None}}]}),
        (200, {"Content-Length": "999"}, b'{"cho'),
    )[nth % 3]


def test_what_is_no_answer_is_asked_again_and_then_recorded_as_none(run_here: Run, server: Served) -> None:
    server.behave = lambda body, nth: broken(body, nth) if body["messages"][0]["content"] == "q1" else None
    done = run_here("generate", params(server, endpoint={"timeout": 2.0}), {}, asked(3))
    assert [row["error"] for row in items(done)] == ["", items(done)[1]["error"], ""]
    assert items(done)[1]["error"] in ("malformed", "connection")
    assert items(done)[1]["text"] == ""
    assert done.metrics["completions"] == 2
    assert sum(done.metrics["unanswered"].values()) == 1
    assert len([row for row in server.asked if row["messages"][0]["content"] == "q1"]) == 3


def test_a_prompt_the_server_refuses_is_not_asked_twice(run_here: Run, server: Served) -> None:
    server.behave = lambda body, nth: (400, {}, {"error": "too long"}) if body["messages"][0]["content"] == "q0" else None
    done = run_here("generate", params(server), {}, asked(2))
    assert done.metrics["unanswered"] == {"http_400": 1}
    assert len(server.asked) == 2


def test_a_slow_server_runs_into_the_timeout(run_here: Run, server: Served) -> None:
    def slow(body: dict[str, Any], nth: int) -> Any:
        return time.sleep(1.5) if nth == 1 else None

    server.behave = slow
    done = run_here("generate", params(server, endpoint={"timeout": 0.5, "concurrency": 1}), {}, asked(2))
    assert done.metrics["completions"] == 2
    assert len(server.asked) == 3


def test_a_redirect_is_not_followed(run_here: Run, server: Served) -> None:
    with running() as elsewhere:
        server.behave = lambda body, nth: (307, {"Location": elsewhere.url + "/chat/completions"}, b"")
        done = run_here("generate", params(server), {}, asked(2))
    assert done.result["error"]["code"] == "endpoint_redirects"
    assert done.result["error"]["retryable"] is False
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("listing", "behave", "code"),
    [
        ((200, {}, {"data": [{"id": "llama"}]}), None, "endpoint_model"),
        ((404, {}, b""), lambda body, nth: (404, {}, {"error": {"message": "The model `phi` does not exist."}}), "endpoint_unknown"),
        ((200, {}, {"data": [{"id": "phi"}]}), lambda body, nth: (401, {}, b""), "endpoint_key"),
        ((403, {}, b""), None, "endpoint_key"),
    ],
    ids=["not on its list", "not known", "key refused", "key refused at once"],
)
def test_what_no_second_try_mends_ends_the_job_with_its_reason(run_here: Run, server: Served, listing: Any, behave: Any, code: str) -> None:
    server.listing = listing
    server.behave = behave or server.behave
    done = run_here("generate", params(server), {}, asked(3))
    assert (done.result["error"]["code"], done.result["error"]["retryable"]) == (code, False)
    assert "q0" not in json.dumps(done.result)


def test_a_server_without_a_list_of_models_is_taken_at_its_word(run_here: Run, server: Served) -> None:
    server.listing = (404, {}, b"")
    assert run_here("generate", params(server), {}, asked(1)).metrics["completions"] == 1


def test_a_server_that_answers_nobody_ends_the_attempt_and_keeps_what_it_said(
    run_here: Run, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "GIVE_UP_AFTER", 4)
    server.behave = lambda body, nth: (500, {}, b"") if nth > 2 else None
    first = run_here("generate", params(server, endpoint={"concurrency": 1}), {}, asked(8))
    assert (first.result["error"]["code"], first.result["error"]["retryable"]) == ("endpoint_down", True)
    assert [event["step"] for event in first.events if event["type"] == "checkpoint"] == [2]
    server.behave = lambda body, nth: None
    server.asked.clear()
    again = resumed(run_here, first, params(server), asked(8))
    assert (again.metrics["completions"], again.metrics["resumed"]) == (8, 2)
    assert sorted(row["messages"][0]["content"] for row in server.asked) == ["q2", "q3", "q4", "q5", "q6", "q7"]


def resumed(run_here: Run, first: Done, asked_params: dict[str, Any], inputs: dict[str, Any]) -> Done:
    """Another attempt at the same job, which finds what the first kept."""
    from training.engine import attempt as engine
    from training.engine import checkpoints

    folder = laid_out(first.folder.parent / "again", "generate", asked_params, {}, inputs, 1)
    newest = checkpoints.newest(first.folder / checkpoints.FOLDER, checkpoints.BY_HAND)
    assert newest is not None
    checkpoints.keep(newest.path, folder / checkpoints.RESUME, checkpoints.BY_HAND)
    return Done(folder, engine.main(folder), "")


def test_nobody_home_is_worth_another_try(run_here: Run, server: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        done = run_here("generate", params(server, endpoint={"url": url}), {}, asked(1))
    assert done.result["error"] == {
        "code": "endpoint_down", "message": "the endpoint ward does not say what it serves: connection", "retryable": True,
    }  # fmt: skip


def test_a_stopped_job_does_not_wait_for_its_server(run: Run, server: Served, tmp_path: Path) -> None:
    server.behave = lambda body, nth: time.sleep(30)
    folder = laid_out(tmp_path / "attempt", "generate", params(server, endpoint={"timeout": 60.0}), {}, asked(2), 1)
    child = subprocess.Popen([sys.executable, "-m", "training.engine", str(folder)], cwd=PROJECT)
    deadline = time.monotonic() + 60
    while not server.asked and time.monotonic() < deadline:
        time.sleep(0.05)
    child.terminate()
    assert child.wait(20) == 143


# --- where connections may go -------------------------------------------------------------------------------------------------------


def resolved(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """The resolver says ``addresses`` from here on; the names it was asked are in the list returned."""
    names: list[str] = []

    def look_up(host: str, port: int, *args: Any, **how: Any) -> Any:
        names.append(host)
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


@pytest.mark.parametrize(
    ("host", "addresses", "networks", "allowed"),
    [
        ("gpu.ward", ["10.1.2.3"], [], True),
        ("gpu.ward", ["10.1.2.3"], ["10.1.0.0/16"], True),
        ("gpu.ward", ["10.2.2.3"], ["10.1.0.0/16"], False),
        ("gpu.ward", ["10.1.2.3", "10.2.2.3"], ["10.1.0.0/16"], False),  # one wrong address spoils the name
        ("gpu.ward", ["127.0.0.1"], [], False),
        ("gpu.ward", ["::1"], [], False),
        ("gpu.ward", ["::ffff:127.0.0.1"], [], False),
        ("gpu.ward", ["169.254.169.254"], [], False),
        ("169.254.169.254", ["169.254.169.254"], ["169.254.0.0/16"], False),
        ("gpu.ward", ["0.0.0.0"], [], False),
        ("gpu.ward", ["224.0.0.1"], [], False),
        ("gpu.ward", ["fe80::1%eth0"], [], False),
        ("gpu.ward", ["240.0.0.1"], [], False),
        ("localhost", ["127.0.0.1"], [], True),
        ("127.0.0.1", ["127.0.0.1"], [], True),
        ("gpu.ward", ["127.0.0.1"], ["127.0.0.0/8"], True),
    ],
)
def test_only_allowed_addresses_are_connected_to(
    monkeypatch: pytest.MonkeyPatch, host: str, addresses: list[str], networks: list[str], allowed: bool
) -> None:
    resolved(monkeypatch, *addresses)
    if allowed:
        assert served.vetted(host, 80, networks) == addresses
    else:
        with pytest.raises(served.Refused) as refused:
            served.vetted(host, 80, networks)
        assert refused.value.code == "endpoint_address"


def test_a_name_is_looked_up_once_however_often_it_is_asked(run_here: Run, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    names = resolved(monkeypatch, "127.0.0.1")
    url = server.url.replace("127.0.0.1", "gpu.ward.example")
    done = run_here("generate", params(server, endpoint={"url": url, "networks": ["127.0.0.0/8"]}), {}, asked(4))
    assert done.metrics["completions"] == 4
    # create_connection asks the resolver too, of an address, which no name server hears of.
    assert [name for name in names if name != "127.0.0.1"] == ["gpu.ward.example"]
    assert {row["host"] for row in server.asked} == {f"gpu.ward.example:{server.server_address[1]}"}


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://a/v1", "http://", "http://user:pass@a/v1", "http://a/v1?x=1", "http://a/v1#x", "http://a b/v1",
     "http://a:0/v1", "http://a:99999/v1", "gpu:8000/v1"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_before_anything_runs(url: str) -> None:
    with pytest.raises(SpecError, match=r"params\.endpoint\.url"):
        parse_params("generate", {"temperature": 0, "max_new_tokens": 1, "endpoint": {"name": "a", "url": url, "model": "m"}})


@pytest.mark.parametrize("name", ["top_k", "min_new_tokens"])
def test_what_the_protocol_has_no_word_for_is_refused(name: str) -> None:
    endpoint = {"name": "a", "url": "http://a/v1", "model": "m"}
    with pytest.raises(SpecError, match=rf"params\.{name}: is no part of the protocol"):
        parse_params("generate", {"temperature": 1, "max_new_tokens": 9, name: 5, "endpoint": endpoint})
