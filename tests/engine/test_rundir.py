"""The attempt folder: whole events, an atomic result, inputs whose faults have an address."""

import json
from pathlib import Path

import pytest

from training.engine import rundir, spec
from training.engine.errors import InputError, SpecError

SPEC = spec.parse({
    "schema": 1, "kind": "generate", "job": "j", "seed": 1, "threads": 1, "models": {"policy": "/m"},
    "params": {"temperature": 0.5, "max_new_tokens": 4},
})  # fmt: skip


def test_a_created_folder_reads_back_as_the_spec(tmp_path: Path) -> None:
    rows = [{"id": "1", "messages": [{"role": "user", "content": "é\u2028?"}]}]
    rundir.create(tmp_path / "attempt", SPEC, {"prompts.jsonl": rows})
    assert rundir.read_spec(tmp_path / "attempt") == SPEC
    assert list(rundir.read_jsonl(tmp_path / "attempt" / "inputs" / "prompts.jsonl", {"id": str, "messages": list})) == rows


@pytest.mark.parametrize("text", [None, "", "{", "[1]", '{"schema": 1}'])
def test_a_missing_or_broken_spec_is_a_spec_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "spec.json").write_text(text)
    with pytest.raises(SpecError):
        rundir.read_spec(tmp_path)


def test_events_are_read_from_where_one_stopped_and_never_in_halves(tmp_path: Path) -> None:
    with rundir.Events(tmp_path) as events:
        events.progress("training", 1, 9)
        seen, offset = rundir.read_events(tmp_path)
        assert [(event["phase"], event["done"], event["total"]) for event in seen] == [("training", 1, 9)]
        events.metric(1, "loss", 0.69)
        events.metric(2, "loss", float("nan"))
    with open(tmp_path / "events.jsonl", "ab") as torn:
        torn.write(b'{"type": "metric", "st')
    seen, offset = rundir.read_events(tmp_path, offset)
    assert [(event["step"], event["value"]) for event in seen] == [(1, 0.69)]
    assert rundir.read_events(tmp_path, offset) == ([], offset)
    with open(tmp_path / "events.jsonl", "ab") as finished:
        finished.write(b'ep": 3, "name": "loss", "value": 0.5}\n')
    assert [event["step"] for event in rundir.read_events(tmp_path, offset)[0]] == [3]


def test_a_killed_writers_half_line_spoils_only_itself(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"type": "log", "mess\n[]\n{"type": "log", "message": "on"}\n')
    assert [event["message"] for event in rundir.read_events(tmp_path)[0]] == ["on"]


def test_a_result_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    assert rundir.read_result(tmp_path) is None
    rundir.write_result(tmp_path, {"schema": 1, "ok": True})
    with pytest.raises(ValueError, match="JSON"):
        rundir.write_result(tmp_path, {"ok": True, "loss": float("nan")})
    assert rundir.read_result(tmp_path) == {"schema": 1, "ok": True}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"ok": 1}'])
def test_a_broken_result_is_an_error_and_not_a_success(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError):
        rundir.read_result(tmp_path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "line 2: is not JSON"),
        (b"\xff", "line 2: is not JSON"),
        (b"[]", "line 2: is not an object"),
        (b'{"id": "2"}', "line 2: messages is missing"),
        (b'{"id": 2, "messages": []}', "line 2: id is not str"),
        (b'{"id": "2", "messages": []}', "line 2: messages is empty"),
        (b'{"id": "2", "messages": ["hi"]}', "line 2: messages is not a list of messages"),
        (b'{"id": "2", "messages": [{"role": "root", "content": "secret"}]}', "line 2: messages is not a list of messages"),
    ],
)
def test_a_faulty_row_is_named_by_file_line_and_field(tmp_path: Path, line: bytes, problem: str) -> None:
    good = json.dumps({"id": "1", "messages": [{"role": "user", "content": "hi"}]}).encode()
    (tmp_path / "prompts.jsonl").write_bytes(good + b"\n" + line + b"\n")
    with pytest.raises(InputError, match=f"inputs/prompts.jsonl {problem}") as raised:
        list(rundir.read_jsonl(tmp_path / "prompts.jsonl", {"id": str, "messages": list}))
    assert "secret" not in raised.value.message
