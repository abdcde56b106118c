"""A suite's result: read back as it was written, and refused where no suite says such a thing."""

import json
from typing import Any

import pytest

from training.suite.results import SuiteResult, TaskResult

TASK: dict[str, Any] = {
    "metric": "accuracy", "higher_is_better": True, "n": 2, "score": 0.5, "items": [1.0, 0.0], "outputs_sha256": "a" * 64,
}  # fmt: skip
RESULT: dict[str, Any] = {"suite": "mini", "model": "b" * 64, "seed": 1, "settings": {}, "tasks": {"nli": TASK}, "schema": 1}


def test_it_is_read_back_as_it_was_written() -> None:
    made = SuiteResult(suite="mini", model="b" * 64, seed=1, settings={"mode": "greedy"}, tasks={"nli": TaskResult(**TASK)})
    assert SuiteResult.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "changes",
    [{"n": 3}, {"n": True}, {"items": [1.0, "0"]}, {"score": None}, {"score": float("inf")}, {"outputs_sha256": "A" * 64}, {"more": 1}],
    ids=str,
)
def test_a_task_that_no_suite_says_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        SuiteResult.from_json(json.dumps(RESULT | {"tasks": {"nli": TASK | changes}}))


@pytest.mark.parametrize(
    "changes", [{"suite": "maxi"}, {"seed": "1"}, {"settings": []}, {"tokens_per_s": "fast"}, {"schema": 2}, {"tasks": []}], ids=str
)
def test_a_result_that_no_suite_says_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        SuiteResult.from_json(json.dumps(RESULT | changes))
