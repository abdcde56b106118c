"""JSON outputs: valid or not, strictly and by place; what differs, place by place; and nothing hostile gets far."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation import structure

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=3), below, max_size=4),
    max_leaves=12,
)


@given(value=json_values)
def test_every_document_is_valid_and_equal_to_itself(value: Any) -> None:
    found = structure.check(json.dumps(value))
    assert found.valid
    assert structure.compare(found.value, value).changes == ()


@given(text=st.text(max_size=40))
def test_it_never_fails_on_a_text(text: str) -> None:
    assert isinstance(structure.check(text).message, str)


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("", "The text is empty.", 0, 0),
        ("Sure! {}", "It does not begin like JSON at line 1, column 1.", 1, 1),
        ('{"a": 1} Hope this helps', "Something stands after the document at line 1, column 10.", 1, 10),
        ('{"a": 1,\n "b": }', "Expecting value at line 2, column 7.", 2, 7),
        ('{"a": 1\n "b": 2}', "Expecting ',' delimiter at line 2, column 2.", 2, 2),
        ("{'a': 1}", "Expecting property name enclosed in double quotes at line 1, column 2.", 1, 2),
        ('{"a": NaN}', "NaN is not a JSON value.", 0, 0),
        ('{"a": -Infinity}', "-Infinity is not a JSON value.", 0, 0),
        ('{"a": 1e400}', "A number is too large to be a number.", 0, 0),
        ('{"dose": 1, "dose": 2}', "The key “dose” occurs twice in one object.", 0, 0),
        ("1" * 5000, "A number has too many digits.", 0, 0),
        ("\n```json\n{}\n```", "A code fence stands around it: a program would have to take it off first.", 2, 1),
        ("[" * 101 + "]" * 101, "Nested too deeply: more than 100 levels.", 0, 0),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, message: str, line: int, column: int) -> None:
    found = structure.check(text)
    assert (found.valid, found.message, found.line, found.column) == (False, message, line, column)
    assert found.as_dict() == {"valid": False, "message": message, "line": line, "column": column}


def test_a_hundred_levels_are_fine() -> None:
    assert structure.check("[" * 100 + "]" * 100).valid
    assert structure.check(' {"a": [1, 2.5e3, true, null, "é"]}\n').valid


def test_a_message_names_keys_and_never_values() -> None:
    for text in ('{"name": Mrs Smith}', '{"name": "Mrs Smith" "x"}', '["Mrs Smith', '{"a": "Mrs\tSmith"}'):
        assert "Smith" not in structure.check(text).message


@pytest.mark.parametrize(
    "text",
    ["[" * 10_000_000, '{"a":' * 500_000, '"' + "\\" * 999_999, '{"k": 1, ' * 100_000, "[" + ",".join(["[]"] * 300_000) + "]",
     "{" + ",".join(f'"k{n}": 1' for n in range(60_000)) + ', "k1": 2}', "-" * 999_999, " " * 999_999],
    ids=["10 MB deep", "deep objects", "backslashes", "open objects", "wide", "twice among many", "minus", "spaces"],
)  # fmt: skip
def test_hostile_texts_are_refused_or_read_in_little_time(text: str) -> None:
    started = time.process_time()
    structure.check(text)
    assert time.process_time() - started < 4


def test_it_tells_place_by_place_what_differs() -> None:
    a = {"patient": {"age": 71, "sex": "f"}, "drugs": [{"name": "aspirin", "dose": "75 mg"}, {"name": "statin"}], "icd": ["I20"], "x": 1}
    b = {"patient": {"age": "71", "sex": "f"}, "drugs": [{"name": "aspirin", "dose": "750 mg"}], "icd": ["I20", "I21"], "y": None, "x": 1}
    found = [(one.path, one.kind, one.a, one.b) for one in structure.compare(a, b).changes]
    assert found == [
        ("patient.age", "type", "number: 71", "text: 71"),
        ("drugs[0].dose", "changed", "75 mg", "750 mg"),
        ("drugs[1]", "removed", "object of 1", ""),
        ("icd[1]", "added", "", "I21"),
        ("y", "added", "", "null"),
    ]


def test_true_is_no_number_and_a_whole_number_is_one_with_a_point() -> None:
    assert structure.compare({"a": True}, {"a": 1}).changes[0].kind == "type"
    assert structure.compare({"a": 1}, {"a": 1.0}).changes == ()
    assert structure.compare([], {}).changes[0].path == ""


def test_what_it_shows_is_bounded_and_can_be_sent() -> None:
    found = structure.compare({"k" * 500: "a" * 9_999}, {"k" * 500: "\ud800"})
    assert len(found.changes[0].path) == 61
    assert len(found.changes[0].a) == 201
    assert found.changes[0].b == "\\ud800"
    many = structure.compare(list(range(1000)), [])
    assert (len(many.changes), many.more) == (200, True)
    assert not structure.compare(list(range(200)), []).more


def test_deep_documents_are_compared_without_recursion() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = {"a": deep}
    other: Any = 2
    for _ in range(5_000):
        other = {"a": other}
    assert len(structure.compare(deep, other).changes) == 1
