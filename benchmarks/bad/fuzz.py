"""What hypothesis feeds the readers, and what has to hold of every answer: no failure but a problem, and no change that is not told.

Each check takes one generated input and raises AssertionError. `run` draws many; the tests draw some of the same.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from annotation import reading, records
from annotation.reading import strict_json
from annotation.reading.shapes import VERDICTS, CompletionRow, DocumentRow, PreferenceRow, SampleRow
from annotation.records import Problems

# Everything that JSON can say, and characters that readers stumble over more often than chance would have them.
ODD = st.sampled_from(
    ['"', "\\", "\n", "\r", "\t", "\x0b", "\x85", "\u2028", "\ufeff", "\x00", "\ud800", "\u202e", "<|end|>", "'", ",", "{", "]", "é", "👩‍⚕️"]
)
TEXTS = st.lists(st.one_of(ODD, st.text(max_size=8)), max_size=6).map("".join)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)), max_leaves=12
)
ROWS = st.dictionaries(TEXTS, VALUES, max_size=5)
# Cells that begin with a byte-order mark, or a row of one empty cell, cannot be told apart by anybody.
CELLS = st.lists(
    st.one_of(
        ODD.filter(lambda c: c not in ("\x00", "\ud800")), st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
    ),
    max_size=4,
).map("".join)

WORDS = st.sampled_from(["a", "b", "left", "right", "tie", "model_a", "both_bad", "x", "", *VERDICTS])
TURNS = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXTS}), max_size=4)
ANY = st.one_of(VALUES, TURNS, WORDS)
KEYS = sorted(
    {target.name for shape in reading.SHAPES.values() for target in shape.targets}
    | {"data", "annotations", "fields", "responses", "metadata", "labels", "item", "displayed_text", "response_a", "response_b", "winner",
       "conversation_a", "conversation_b", "model_a", "model_b", "verdict.responses", "verdict.responses.users", "preference.selection"}
)  # fmt: skip
REGIONS = st.lists(
    st.fixed_dictionaries({"from_name": WORDS, "type": st.sampled_from(["pairwise", "choices", "textarea", "labels"]),
        "value": st.dictionaries(
        st.sampled_from(["selected", "choices", "text", "rating", "start", "labels"]), st.one_of(WORDS, st.lists(WORDS, max_size=2),
            LEAVES), max_size=2)}),
    max_size=3,
)  # fmt: skip
FOREIGN = st.one_of(
    st.dictionaries(st.sampled_from(KEYS), ANY, max_size=8),
    st.fixed_dictionaries({
        "data": st.dictionaries(st.sampled_from(["instruction", "input", "response_a", "response_b"]), TEXTS, max_size=4),
        "annotations": st.lists(st.fixed_dictionaries({"result": REGIONS, "completed_by": LEAVES, "was_cancelled": LEAVES}), max_size=2),
    }),
    st.fixed_dictionaries({
        "fields": st.dictionaries(st.sampled_from(["instruction", "input", "response_a", "response_b"]), TEXTS, max_size=4),
        "responses": st.dictionaries(WORDS, st.lists(st.dictionaries(st.sampled_from(["value", "user_id", "status"]), ANY, max_size=3),
        max_size=2), max_size=2),
        "metadata": VALUES,
    }),
    st.fixed_dictionaries({"prompt": st.one_of(TEXTS, TURNS), "chosen": st.one_of(TEXTS, TURNS), "rejected": st.one_of(TEXTS, TURNS)}),
)  # fmt: skip


def same(first: Any, second: Any) -> bool:
    """Equal, and of the same kinds throughout: 1, 1.0 and True are three things here."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float):
        return first == second and math.copysign(1, first) == math.copysign(1, second)
    return bool(first == second)


def read(data: bytes, kind: str) -> tuple[list[tuple[int, Any]], Problems]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        problems = Problems()
        return list(reading.rows(Path(file.name), format=kind, problems=problems)), problems


def objects_come_through(rows: list[dict[str, Any]]) -> None:
    """Whatever Python writes as JSON Lines or as an array is read as exactly that."""
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    found, problems = read(lines, "jsonl")
    assert not problems.total, problems.found
    assert same([row for _, row in found], rows)
    array, problems = read(json.dumps(rows, indent=1).encode(), "json")
    assert not problems.total, problems.found
    assert same([row for _, row in array], rows)


def broken_bytes_are_told(case: tuple[list[dict[str, Any]], list[tuple[int, bytes, int]]]) -> None:
    """Bytes changed, cut or put in anywhere: every row that is read is what its line says, and every other line is told of."""
    rows, changes = case
    data = bytearray("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "surrogatepass"))
    for at, more, gone in changes:
        place = at % (len(data) + 1)
        data[place : place + gone] = more
    found, problems = read(bytes(data), "jsonl")
    lines = bytes(data).split(b"\n")
    for place, row in found:
        said = json.loads(lines[place - 1].decode().removeprefix("\ufeff" if place == 1 else ""))
        assert same(row, said), "a row differs from its line"
    # A byte-order mark and nothing after it is an empty line.
    lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
    silent = {n for n, line in enumerate(lines, start=1) if line.strip(b" \t\r")} - {place for place, _ in found}
    assert not silent or problems.total, "a line is missing, and nothing was said"
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        reading.detect(Path(file.name))
        for kind in ("json", "csv", "csv_tab", "csv_no_header", "iob", "jsonl.gz", "jsonl.zst", "parquet", "arrow", "xlsx"):
            again = Problems()
            taken = list(reading.rows(Path(file.name), format=kind, problems=again))
            assert taken or again.total or not bytes(data).strip() or kind.startswith(("csv", "iob", "json")), kind


def tables_come_through(rows: list[list[str]]) -> None:
    """What Python writes as CSV is read as exactly that, cell by cell."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow([f"c{number}" for number in range(len(rows[0]))])
    writer.writerows(rows)
    found, problems = read(out.getvalue().encode(), "csv")
    assert not problems.total, problems.found
    assert [list(row.values()) for _, row in found] == [row for row in rows if any(row)]
    assert problems.counts["import.empty_row"] == sum(not any(row) for row in rows)


def rows_are_taken_or_refused(case: tuple[dict[str, Any], bool]) -> None:
    """Any row under any shape, as proposed or as defaults have it: records whose every text stood in the row, or a problem."""
    row, proposed = case
    guesses = reading.detection.guess([row], tuple(row)) if row else []
    for shape in reading.SHAPES.values():
        mapping = next((guess.mapping for guess in guesses if guess.shape == shape.name), {}) if proposed else {}
        for options in (reading.Options(), reading.Options(nul="replace", pairs="exclude")):
            problems = Problems()
            made = list(shape.convert(1, row, mapping, problems, options))
            assert made or problems.total or sum(problems.left_out.values()) or shape.name in ("label_studio", "argilla"), shape.name
            for record in made:
                _stands_in(record, row, options)


def _stands_in(record: Any, row: dict[str, Any], options: reading.Options) -> None:
    match record:
        case SampleRow():
            texts = [record.output, record.rejected_output]
        case CompletionRow():
            texts = [record.text]
        case DocumentRow():
            texts = [record.title]
        case PreferenceRow():
            texts = [record.first_text, record.second_text, record.rationale]
            assert record.verdict in VERDICTS
            assert record.first_text != record.second_text
            assert record.first_text.strip()
            assert record.second_text.strip()
    said = _texts(row)
    if options.nul == "replace":
        said = {text.replace("\x00", "\ufffd") for text in said}
    whole = "\n".join(said)
    for text in texts:
        assert "\x00" not in text
        text.encode()
        assert text in said or all(part in whole for part in text.split("\n")), "a text came from nowhere"


def _texts(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return set().union(*map(_texts, value.values()))
    if isinstance(value, list):
        return set().union(*map(_texts, value))
    return {str(value)}


def values_are_json(text: str) -> None:
    """What is taken as a value is what Python takes, and never NaN, infinite or with a key twice."""
    problems = Problems()
    value = strict_json.parse(text, problems, 1)
    if value is ...:
        assert problems.total == 1
        assert len(str(problems.found[0])) < 400
        return
    assert same(value, json.loads(text))
    assert "NaN" not in json.dumps(value) or "NaN" in json.dumps(_texts_only(value))


def _texts_only(value: Any) -> Any:
    return sorted(_texts(value)) + (sorted(value) if isinstance(value, dict) else [])


def texts_are_unremarkable_or_told(text: str) -> None:
    """The quick look and the long look at a text agree."""
    problems = Problems()
    taken = records.check_text(text, problems, 1, "x", required=False)
    if taken is not None:
        records.notice_oddities(taken, problems, 1, "x")
    assert records.unremarkable(text) == (not problems.total and not problems.warning_count)


JSONISH = st.lists(
    st.sampled_from(["{", "}", "[", "]", ":", ",", '"a"', '"b"', "1", "-", "0", ".5", "1e400", "NaN", "Infinity", "true", "null", " ",
        '"\\ud800"', "\\", "'"]),
    max_size=14,
).map("".join)  # fmt: skip
CHANGES = st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=4), st.integers(0, 6)), min_size=1, max_size=4)
# (check, what it is given, its share of the cases)
CHECKS: list[tuple[Callable[[Any], None], st.SearchStrategy[Any], float]] = [
    (objects_come_through, st.lists(ROWS, max_size=4), 0.15),
    (broken_bytes_are_told, st.tuples(st.lists(ROWS, min_size=1, max_size=3), CHANGES), 0.2),
    (tables_come_through, st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=4)),
    0.1),
    (rows_are_taken_or_refused, st.tuples(FOREIGN, st.booleans()), 0.3),
    (values_are_json, JSONISH, 0.15),
    (texts_are_unremarkable_or_told, TEXTS, 0.1),
]  # fmt: skip


def run(cases: int, *, start: int = 1) -> dict[str, int]:
    """Draw so many inputs in all; the number by check. Raises AssertionError with the smallest input that fails."""
    return {check.__name__: _drawn(check, inputs, max(1, round(cases * share)), start) for check, inputs, share in CHECKS}


def _drawn(check: Callable[[Any], None], inputs: st.SearchStrategy[Any], many: int, start: int) -> int:
    count = 0

    @settings(max_examples=many, deadline=None, database=None, phases=[Phase.generate, Phase.shrink], suppress_health_check=[*HealthCheck])
    @seed(start)
    @given(inputs)
    def drawn(one: Any) -> None:
        nonlocal count
        count += 1
        check(one)

    drawn()
    return count
