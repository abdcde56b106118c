"""What a line may hold, and what stops it: each with its code, its line and its field, and no word of the text."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from annotation import reading
from annotation.reading.shapes import SampleRow
from annotation.records import MAX_PROBLEMS, Problems
from tests.annotation.reading.build import INPUT, jsonl, mediflow, put, take


def line(**changes: Any) -> bytes:
    return jsonl([mediflow(**changes)])


def raw(**texts: str) -> bytes:
    """A row in which a value is written as it stands here, JSON or not."""
    row = {**mediflow(), **dict.fromkeys(texts, "@")}
    text = json.dumps(row)
    for name, value in texts.items():
        text = text.replace(f'"{name}": "@"', f'"{name}": {value}')
    return text.encode() + b"\n"


CASES: dict[str, tuple[bytes, str, int, str]] = {
    "empty": (b"", "import.empty", 0, ""),
    "Latin-1": (line() + b'{"instruction": "caf\xe9"}\n', "import.encoding", 2, ""),
    "UTF-16": ('{"instruction": "x"}\n'.encode("utf-16"), "import.encoding", 1, ""),
    "broken": (line() + b'{"instruction": }\n', "import.json", 2, ""),
    "two objects": (line().rstrip() + line(), "import.not_jsonl", 1, ""),
    "an array on a line": (b"[" + line().rstrip() + b"]\n", "import.not_jsonl", 1, ""),
    "an array over lines": (json.dumps([mediflow()], indent=1).encode(), "import.not_jsonl", 1, ""),
    "a number": (line() + b"7\n", "import.not_jsonl", 2, ""),
    "NaN": (raw(quality="NaN"), "import.number", 1, ""),
    "Infinity": (raw(quality="-Infinity"), "import.number", 1, ""),
    "1e400": (raw(quality="1e400"), "import.number", 1, ""),
    "1e-400": (raw(quality="1e-400"), "import.number", 1, ""),
    "5,000 digits": (raw(quality="9" * 5000), "import.type", 1, ""),
    "off the scale": (raw(quality="4.5"), "import.type", 1, "quality"),
    "true for a number": (raw(quality="true"), "import.type", 1, "quality"),
    "text for a number": (raw(quality='"3"'), "import.type", 1, "quality"),
    "a number for text": (raw(output="3"), "import.type", 1, "output"),
    "a list for a label": (raw(task_type='["a"]'), "import.type", 1, "task_type"),
    "null for text": (raw(output="null"), "import.type", 1, "output"),
    "100,000 deep": (line() + b"[" * 100_000 + b"\n", "import.depth", 2, ""),
    "33 deep": (raw(output="[" * 33 + "]" * 33), "import.depth", 1, ""),
    "a million lists": (raw(output="[" + "[]," * 1_000_000 + "[]]"), "import.values", 1, ""),
    "a key twice": (b'{"input": "a", "input": "b"}\n', "import.duplicate_key", 1, "input"),
    "a key twice, inside": (raw(output='{"a": 1, "a": 2}'), "import.duplicate_key", 1, "a"),
    "NUL": (line(input="ab\x00c"), "text.nul", 1, "input"),
    "half a character": (raw(input='"a\\ud800"'), "text.surrogate", 1, "input"),
    "half a character in a label": (raw(task_type='"a\\udc00"'), "text.surrogate", 1, "task_type"),
    "a bell in an id": (line(id="a\x07b"), "text.control", 1, "id"),
    "a bell in a label": (line(task_type="a\x07b"), "text.control", 1, "task_type"),
    "identical": (line(rejected_output=mediflow()["output"]), "pair.identical", 1, "rejected_output"),
    "too long": (line(output="x" * 200_001), "text.too_long", 1, "output"),
    "an empty text": (line(instruction=" "), "text.empty", 1, "instruction"),
    "a long line": (line() + b'"' + b"x" * (4 * 2**20 + 10) + b'"\n', "upload.line_too_long", 2, ""),
    "a column that is missing": (line(task_type=None), "import.column", 1, "task_type"),
    "a column that is unknown": (line(doctor="x"), "import.unknown_column", 1, "doctor"),
    "a web page": (b"<!DOCTYPE html>\n<p>Not found\n", "upload.type", 1, ""),
    "a program": (b"\x7fELF\x02\x01\x01" + b"\x00" * 100, "upload.type", 1, ""),
    "a pickle": (b"\x80\x04\x95\x10" + b"\x00" * 100, "upload.type", 1, ""),
    "a zip archive": (b"PK\x03\x04rest", "upload.type", 0, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_it_refuses(case: str, tmp_path: Path) -> None:
    content, code, place, column = CASES[case]
    taken = take(put(tmp_path, "rows.jsonl", content), shape="mediflow", mapping={})
    assert (code, place, column) in [(p.code, p.line, p.field) for p in taken.problems.found]
    assert all(p.status in (413, 422) for p in taken.problems.found)


def test_texts_that_look_dangerous_and_are_not_come_through_unchanged(tmp_path: Path) -> None:
    text = 'one\u2028two\u2029three\x85four\x0bfive six\tseven\r\neight 👩‍⚕️ naïve ½ \\u0000 "" {}[] 1e400 NaN'
    taken = take(put(tmp_path, "rows.jsonl", jsonl([mediflow(input=text)])))
    assert [record.input for record in taken.records] == [text]  # type: ignore[union-attr]
    assert not taken.problems.total


def test_odd_characters_and_control_tokens_are_kept_and_counted(tmp_path: Path) -> None:
    texts = {"input": "a\u202eb\u200bc\U000e0041", "output": "<|im_end|> and <s>", "instruction": "Levels <5 and [a] >3: say why."}
    taken = take(put(tmp_path, "rows.jsonl", jsonl([mediflow(**texts)])))
    assert [(p.code, p.field) for p in taken.problems.warnings] == [("text.control", "input"), ("text.special_token", "output")]
    assert "holds 3 control" in taken.problems.warnings[0].message
    assert "2 marks" in taken.problems.warnings[1].message
    assert taken.records[0].input == texts["input"]  # type: ignore[union-attr]


def test_a_byte_order_mark_is_told_of_and_not_taken_as_text(tmp_path: Path) -> None:
    taken = take(put(tmp_path, "rows.jsonl", b"\xef\xbb\xbf" + line()))
    assert len(taken.records) == 1
    assert taken.problems.counts == {"import.bom": 1}


def test_a_nul_may_be_replaced_on_request_and_is_counted(tmp_path: Path) -> None:
    path = put(tmp_path, "rows.jsonl", line(input="a\x00b\x00"))
    taken = take(path, nul="replace")
    assert taken.records[0].input == "a\ufffdb\ufffd"  # type: ignore[union-attr]
    assert taken.problems.counts == {"text.nul_replaced": 1}


def test_what_is_said_twice_is_left_out_on_request_and_counted() -> None:
    first, other = (SampleRow("", "a", text, "", "other", "other", "plain_text", "", scores={"quality": 3.0}) for text in ("x", "y"))
    problems = Problems()
    doubles = reading.Doubles(reading.Options(doubles="exclude"))
    again = [
        doubles.again(place, record, problems) for place, record in enumerate((first, other, replace(first, external_id="z")), start=1)
    ]
    assert again == [False, False, True]
    assert [(p.line, p.code) for p in problems.warnings] == [(3, "import.duplicate")]
    assert problems.left_out == {"import.duplicate": 1}
    strict = reading.Doubles(reading.Options())
    assert not any(strict.again(1, first, problems) for _ in range(2))


def test_fifty_problems_are_told_and_all_are_counted(tmp_path: Path) -> None:
    taken = take(put(tmp_path, "rows.jsonl", jsonl(mediflow(n, task_type=None) for n in range(70))), shape="mediflow", mapping={})
    assert len(taken.problems.found) == MAX_PROBLEMS
    assert taken.problems.total == 70


def test_a_file_that_is_wrong_throughout_is_not_read_to_its_end(tmp_path: Path) -> None:
    taken = take(put(tmp_path, "rows.jsonl", b"x\n" * 200_000))
    assert taken.problems.total == 10_000


def test_no_message_repeats_the_text(tmp_path: Path) -> None:
    secret = "Mrs Canary of Elm Street has syphilis and nobody may know of it at all"
    lines = [
        line(input=secret + "\x00"), line(doctor=secret), line(**{secret: "x"}), b'{"input": "' + secret.encode() + b'"\n',
        line().rstrip() + secret.encode() + b"\n", raw(output='{"' + secret + '": 1, "' + secret + '": 2}'),
    ]  # fmt: skip
    taken = take(put(tmp_path, "rows.jsonl", b"".join(lines)), shape="mediflow", mapping={})
    assert taken.problems.total >= len(lines)
    told = " ".join(str(problem) for problem in taken.problems.found)
    assert "Canary" not in told
    assert 'xx xx xx xxx"' in told, "the shape of what stands there is shown, without its letters"


def test_the_usual_row_and_the_odd_row_are_read_alike(tmp_path: Path) -> None:
    """Most rows take a short way. What comes out does not tell which."""
    scores = {"quality": 3.5, "alignment": 4, "coherence": 3, "realism": 2.25, "difficulty": None}
    rows = [mediflow(1, id="a", **scores), mediflow(2, id="b", **scores), mediflow(3, id="c", rejected_output=INPUT, error_type="brevity")]
    first, second, third = take(put(tmp_path, "rows.jsonl", jsonl(rows))).records
    assert first.scores == second.scores == {"quality": 3.5, "alignment": 4.0, "coherence": 3.0, "realism": 2.25}  # type: ignore[union-attr]
    assert (first.task_type, third.error_type, third.rejected_output) == ("summarization", "brevity", INPUT)  # type: ignore[union-attr]


def test_the_readers_know_no_django() -> None:
    code = (
        "import sys; from annotation import reading; print([m for m in sys.modules if m.split('.')[0] in ('django', 'torch', 'datasets')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": "", "PYTHONPATH": "."})
    assert done.stdout.strip() == "[]"


def test_a_format_nobody_reads_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        list(reading.rows(put(tmp_path, "a.txt", "x"), format="word", problems=Problems()))
