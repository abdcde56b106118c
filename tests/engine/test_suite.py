"""The mini-suite asked of a real tiny model: ends of the scale, the same bytes whenever and however it is asked, and what it cost."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine import tiny
from training.engine import spec
from training.engine.answers import Answer
from training.engine.errors import SpecError
from training.suite import mini
from training.suite.results import SuiteResult, file_of

pytestmark = pytest.mark.engine
MEASURED = ("tokens_per_s", "p50_latency_ms", "peak_rss_mb")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.untrained(tmp_path_factory.mktemp("model"))


def asked(folder: Path, model: Path, **params: Any) -> Any:
    return tiny.in_fork(tiny.lay_out(folder, {"max_new_tokens": 5, "alone": 1} | params, model, {}, kind="suite"))


def told(done: Any) -> SuiteResult:
    return SuiteResult.from_json((done.model / "suite.json").read_text(encoding="utf-8"))


def unmeasured(result: SuiteResult) -> dict[str, Any]:
    return {key: value for key, value in result.as_json().items() if key not in MEASURED}


def said(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob("answers-*.jsonl"))}


def test_an_oracle_gets_one_everywhere_and_a_constant_answer_little(tmp_path: Path) -> None:
    from training.engine.kinds import suite

    items = mini.items()
    oracle = suite.write(tmp_path / "oracle", items, [Answer(item.answer, "stop", 1) for item in items])
    assert {name: one.score for name, one in oracle.items()} == dict.fromkeys(mini.TASKS, 1.0)
    constant = suite.write(tmp_path / "constant", items, [Answer("none", "stop", 1)] * len(items))
    # Every second record of MEDEC has no error; nowhere else does anybody answer so.
    assert {name: one.score for name, one in constant.items()} == dict.fromkeys(mini.TASKS, 0.0) | {"MEDEC": 0.5}
    for name, one in oracle.items():
        text = (tmp_path / "oracle" / file_of(name)).read_bytes()
        assert (hashlib.sha256(text).hexdigest(), len(text.splitlines()), one.n) == (one.outputs_sha256, 40, 40)


def test_a_model_asked_twice_says_the_same_bytes_and_what_it_cost_stands_apart(model: Path, tmp_path: Path) -> None:
    first = asked(tmp_path / "one", model)
    result = told(first)
    assert result.tasks.keys() == mini.TASKS.keys()
    assert {name: one["score"] for name, one in first.metrics["scores"].items()} == {n: one.score for n, one in result.tasks.items()}
    assert result.settings["items_sha256"] == mini.digest(mini.items())
    assert (result.settings["arithmetic"], result.settings["decoding"]) == ("float32 on cpu", {"temperature": 0.0})
    assert all(getattr(result, name) > 0 for name in MEASURED)
    assert first.metrics["asked_alone"] == 12
    rows = [json.loads(line) for line in (first.model / file_of("MEDEC")).read_text(encoding="utf-8").splitlines()]
    assert [row["score"] for row in rows] == result.tasks["MEDEC"].items
    told_of = [event for event in first.events if event["type"] == "progress" and event["phase"] == "evaluating"]
    assert (told_of[-1]["done"], told_of[-1]["total"]) == (492, 492)
    # Other batches, another seed: greedy answers hang on neither.
    second = asked(tmp_path / "two", model, batch_size=23)
    assert said(second.model) == said(first.model)
    assert unmeasured(told(second)) == unmeasured(result)


def test_an_attempt_that_was_killed_leaves_nothing_and_the_next_one_says_the_same(model: Path, tmp_path: Path) -> None:
    folder = tiny.lay_out(tmp_path / "killed", {"max_new_tokens": 5, "alone": 1}, model, {}, kind="suite")
    killed = tiny.in_fork(folder, kill=lambda event: event.get("phase") == "evaluating" and event["done"] > 480)
    assert killed.returncode == -9
    assert not (folder / "result.json").exists()
    assert not list(folder.glob("output/*"))
    again = tiny.in_fork(tiny.go_on(folder, tmp_path / "again"))
    whole = asked(tmp_path / "whole", model)
    assert said(again.model) == said(whole.model)
    assert unmeasured(told(again)) == unmeasured(told(whole))


@pytest.mark.parametrize(
    ("params", "field"),
    [({"max_new_tokens": 0}, "max_new_tokens"), ({"batch_size": 0}, "batch_size"), ({"alone": 41}, "alone"), ({"each": 3}, "each")],
    ids=str,
)
def test_parameters_that_make_no_sense_are_named(params: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError, match=field):
        spec.parse_params("suite", params)


def test_a_context_too_short_for_question_and_answer_ends_the_attempt_politely(model: Path, tmp_path: Path) -> None:
    assert asked(tmp_path / "long", model, max_new_tokens=500).result["error"]["code"] == "too_long"
