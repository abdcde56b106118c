"""What comes in, and what is turned away: with the line, the field and nothing stored."""

import io
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import AuditEntry
from annotation import prompts, records, samples, splits
from annotation.models import Prompt, Sample, Source, Split
from annotation.records import ImportRefused
from tests.annotation.build import jsonl, row

pytestmark = pytest.mark.django_db


def take(content: bytes | io.BytesIO) -> records.ImportReport:
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    return samples.import_jsonl(file=file, source="mediflow", licence="CDLA-Permissive-2.0", actor=None)


def refused(content: bytes | io.BytesIO) -> list[tuple[int, str, str]]:
    with pytest.raises(ImportRefused) as error:
        take(content)
    assert not Sample.objects.exists()
    assert not Source.objects.exists()
    assert not AuditEntry.objects.exists()
    return [(p.line, p.field, p.message) for p in error.value.problems]


def line(**changes: Any) -> bytes:
    return json.dumps(row(**changes)).encode() + b"\n"


def test_mediflow_rows_are_stored_with_every_column() -> None:
    scores = {"quality": 3.8, "alignment": 4, "coherence": 3.6, "realism": 3, "difficulty": 1.0}
    report = take(jsonl([row(1, id="m-1", rejected_output="Infarction.", error_type="factual inaccuracy", **scores)]))
    assert (report.rows, report.stored, report.already, report.warning_count) == (1, 1, 0, 0)
    sample = Sample.objects.get()
    assert sample.external_id == "m-1"
    assert sample.instruction == "Summarise the note in one sentence for the discharge letter."
    assert sample.rejected_output == "Infarction."
    assert (sample.quality, sample.alignment, sample.difficulty) == (3.8, 4.0, 1.0)
    entry = AuditEntry.objects.get(verb="samples.imported")
    assert entry.details["stored"] == 1
    assert "chest" not in json.dumps(entry.details)


def test_a_row_without_an_id_is_known_by_its_digest() -> None:
    take(line())
    sample = Sample.objects.get()
    assert sample.external_id == sample.digest
    assert len(sample.digest) == 64


def test_the_same_file_again_changes_nothing() -> None:
    take(jsonl([row(1), row(2, id="two")]))
    report = take(jsonl([row(1), row(2, id="two"), row(3)]))
    assert (report.stored, report.already) == (1, 2)
    assert Sample.objects.count() == 3


def test_a_byte_order_mark_and_a_missing_last_line_feed_are_fine() -> None:
    assert take(b"\xef\xbb\xbf" + line().rstrip(b"\n")).stored == 1


def test_line_separators_inside_a_text_do_not_break_lines() -> None:
    text = "one\u2028two\x85three\x0bfour"
    take(json.dumps(row(input=text), ensure_ascii=False).encode() + b"\n")
    assert Sample.objects.get().input == text


REFUSALS: dict[str, tuple[bytes, tuple[int, str, str]]] = {
    "an empty file": (b"", (0, "", "no records")),
    "blank lines only": (b"\n \n", (0, "", "no records")),
    "Latin-1": (line() + b'{"instruction": "caf\xe9"}\n', (2, "", "Byte 0xE9 at byte 21")),
    "UTF-16": ('{"instruction": "x"}\n'.encode("utf-16"), (1, "", "UTF-16")),
    "a zip archive": (b"PK\x03\x04rest", (1, "", "zip archive")),
    "broken JSON": (line(number=1) + line(number=2) + b'{"instruction": }\n', (3, "", "Not valid JSON at column 17")),
    "two objects on a line": (line().rstrip(b"\n") + line(), (1, "", "extra data")),
    "an array": (b'[{"instruction": "x"}]\n', (1, "", "a list")),
    "a missing column": (line(task_type=None), (1, "task_type", "missing")),
    "an unknown column": (line(doctor="x"), (1, "doctor", "Unknown column")),
    "a wrong type": (line(output=5), (1, "output", "not a number")),
    "null for text": (line() + b'{"instruction": null}\n', (2, "instruction", "not null")),
    "an empty instruction": (line(instruction=" "), (1, "instruction", "empty")),
    "NaN": (line(quality=float("nan")), (1, "", "NaN is not a JSON number")),
    "a number beyond floats": (line(quality=1).replace(b'"quality": 1', b'"quality": 1e400'), (1, "", "too large")),
    "a number of 5,000 digits": (line(quality=1).replace(b'"quality": 1', b'"quality": ' + b"9" * 5000), (1, "", "too many digits")),
    "true as a score": (line(quality=True), (1, "quality", "A number is expected")),
    "a score off the scale": (line(quality=4.5), (1, "quality", "from 1 to 4")),
    "a number as text": (line(quality="3"), (1, "quality", "A number is expected")),
    "an id twice": (line(number=1, id="a") + line(number=2) + line(number=3, id="a"), (3, "id", "line 1")),
    "a record twice": (line(number=1) + line(number=2) + line(number=1), (3, "", "line 1")),
    "a key twice": (b'{"input": "a", "input": "b"}\n', (1, "input", "twice")),
    "a NUL": (line(input="ab\x00c"), (1, "input", "NUL character at position 3")),
    "half a character": (line(input="ab").replace(b'"ab"', b'"a\\ud800"'), (1, "input", "surrogate")),
    "a control character in an id": (line(id="a\x07b"), (1, "id", "control character")),
    "a text too long": (line(output="x" * 200_001), (1, "output", "200,001 characters")),
    "a line too long": (line() + b'"' + b"x" * (4 * 2**20 + 10) + b'"\n', (2, "", "longer than 4 MiB")),
    "a label too long": (line(task_type="t" * 61), (1, "task_type", "60 are allowed")),
    "nesting without end": (b"[" * 100_000 + b"\n", (1, "", "")),
    "identical output and rejected output": (line(rejected_output=row(1)["output"]), (1, "rejected_output", "identical")),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_refuses(case: str) -> None:
    content, (number, column, words) = REFUSALS[case]
    problems = refused(content)
    assert any(p[0] == number and p[1] == column and words in p[2] for p in problems), problems


def test_it_refuses_with_every_problem_up_to_fifty_and_the_total() -> None:
    with pytest.raises(ImportRefused) as error:
        take(b"".join(line(number=n, task_type=None) for n in range(60)))
    assert len(error.value.problems) == 50
    assert error.value.total == 60


def test_a_refusal_after_two_thousand_good_rows_stores_none() -> None:
    assert refused(jsonl([*(row(n) for n in range(2000)), row(1, task_type=None)]))[0][0] == 2001


def test_messages_never_repeat_the_text_they_complain_about() -> None:
    secret = "Mrs Canary of Elm Street has syphilis and nobody may know of it at all"
    for content in (line(input=secret + "\x00"), line(doctor=secret), line(**{secret: "x"}), b'{"input": "' + secret.encode() + b'"\n'):
        assert secret not in str(refused(content))
    report = take(line(task_type=secret[:60]))
    assert "Canary" not in str(report.warnings)


def test_another_record_under_a_stored_id_is_refused() -> None:
    take(line(number=1, id="a"))
    with pytest.raises(ImportRefused, match="different record is stored under this id"):
        take(line(number=2, id="a"))
    assert Sample.objects.count() == 1


def test_a_stored_record_under_another_id_is_refused() -> None:
    take(line(number=1, id="a"))
    with pytest.raises(ImportRefused, match="under another id"):
        take(line(number=1, id="b"))


def test_a_source_keeps_its_licence() -> None:
    take(line(number=1))
    with pytest.raises(ImportRefused, match="another licence"):
        samples.import_jsonl(file=jsonl([row(2)]), source="mediflow", licence="CC0-1.0", actor=None)


def test_unknown_labels_are_kept_with_a_warning() -> None:
    report = take(line(task_type="haiku writing"))
    assert Sample.objects.get().task_type == "haiku writing"
    assert [(w.line, w.field) for w in report.warnings] == [(1, "task_type")]
    assert "haiku writing" in report.warnings[0].message


@pytest.mark.parametrize("spelling", ["question-answering", "Question Answering", "question_answering", "error detection and correction"])
def test_mediflows_labels_are_known_in_any_spelling(spelling: str) -> None:
    assert take(line(task_type=spelling)).warning_count == 0


def test_what_looks_like_a_control_token_is_kept_with_a_warning() -> None:
    report = take(line(input="ends here <|end|> or not"))
    assert [w.field for w in report.warnings] == ["input"]
    assert Sample.objects.get().input == "ends here <|end|> or not"


def test_samples_are_split_70_10_20_by_their_key_for_ever() -> None:
    keys = [splits.key_of("Summarise.", f"Case {n}") for n in range(20_000)]
    shares = Counter(splits.split_of(key) for key in keys)
    assert shares[Split.TRAIN] / 20_000 == pytest.approx(0.70, abs=0.015)
    assert shares[Split.VALIDATION] / 20_000 == pytest.approx(0.10, abs=0.01)
    assert shares[Split.EVALUATION] / 20_000 == pytest.approx(0.20, abs=0.015)
    # Written out: a changed salt or share would move samples into what gates are measured on.
    assert [splits.split_of(key) for key in keys[:6]] == ["train", "evaluation", "train", "validation", "evaluation", "train"]


def test_rows_that_differ_in_case_space_or_output_only_share_a_split() -> None:
    take(jsonl([row(1, output="One."), row(1, output="Two."), row(1, input=row(1)["input"].upper() + " ")]))
    assert Sample.objects.values("split_key").distinct().count() == 1


def test_a_samples_split_cannot_be_changed() -> None:
    from django.db import DatabaseError

    take(line())
    with pytest.raises(DatabaseError):
        Sample.objects.update(split=Split.EVALUATION, split_key="x")


def test_a_prompt_puts_the_instruction_in_the_system_turn_and_is_made_once() -> None:
    take(jsonl([row(1), row(2)]))
    first = prompts.render(samples=Sample.objects.order_by("-pk"))
    again = prompts.render(samples=Sample.objects.order_by("-pk"))
    assert [p.pk for p in first] == [p.pk for p in again]
    assert Prompt.objects.count() == 2
    assert first[0].messages == [
        {"role": "system", "content": "Summarise the note in one sentence for the discharge letter."},
        {"role": "user", "content": "Patient 2 was admitted with chest pain; troponin stayed normal twice."},
    ]
    assert first[0].layout == "mediflow-1"


def test_import_streams_in_bounded_queries(django_assert_max_num_queries: Callable[[int], Any]) -> None:
    with django_assert_max_num_queries(25):
        take(jsonl(row(n) for n in range(2500)))
