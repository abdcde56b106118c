"""What other systems wrote for the same inputs: taken whole, or turned away with line and field."""

import io
import json
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import AuditEntry
from annotation import completions
from annotation.models import Completion, GenerationBatch, Prompt
from annotation.records import ImportRefused, ImportReport
from tests.annotation.build import jsonl, stored_batches, stored_samples

pytestmark = pytest.mark.django_db


def take(content: bytes, filename: str = "texts.csv", **options: Any) -> ImportReport:
    return completions.import_external(file=io.BytesIO(content), filename=filename, source="made-up", actor=None, **options)


def refused(content: bytes, filename: str = "texts.csv", **options: Any) -> list[tuple[int, str, str]]:
    with pytest.raises(ImportRefused) as error:
        take(content, filename, **options)
    assert not Completion.objects.exists()
    assert not GenerationBatch.objects.exists()
    assert not Prompt.objects.exists()
    return [(p.line, p.field, p.message) for p in error.value.problems]


def test_csv_becomes_a_batch_a_system() -> None:
    stored_samples(2)
    report = take(b'id,system,text\ns1,north,"One,\nwith a line break"\ns1,south,Two\ns2,north,Three\n')
    assert (report.stored, report.by_group) == (3, {"north": 2, "south": 1})
    assert Completion.objects.get(batch__system="north", prompt__sample__external_id="s1").text == "One,\nwith a line break"
    assert AuditEntry.objects.filter(verb="completions.imported").count() == 1


def test_jsonl_does_too_and_again_changes_nothing() -> None:
    stored_batches(3)
    rows = [{"id": f"s{n}", "system": "east", "text": f"East on {n}."} for n in (1, 2, 3)]
    first = completions.import_external(file=jsonl(rows), filename="e.jsonl", source="made-up", actor=None)
    again = completions.import_external(file=jsonl(rows), filename="e.jsonl", source="made-up", actor=None)
    assert (first.stored, again.stored, again.already) == (3, 0, 3)
    assert GenerationBatch.objects.filter(system="east").count() == 1


def test_columns_may_be_called_otherwise() -> None:
    stored_samples(1)
    assert take(b"encounter,model,note\ns1,north,Text\n", columns={"id": "encounter", "system": "model", "text": "note"}).stored == 1


REFUSALS: dict[str, tuple[bytes, tuple[int, str, str]]] = {
    "an empty file": (b"", (0, "", "no records")),
    "a header alone": (b"id,system,text\n", (0, "", "no records")),
    "Latin-1": (b"id,system,text\ns1,north,caf\xe9\n", (2, "", "Byte 0xE9 at byte 13")),
    "a missing column": (b"id,system\ns1,north\n", (1, "text", "lacks")),
    "an unknown column": (b"id,system,text,score\ns1,north,x,1\n", (1, "score", "Unknown column")),
    "a cell too many": (b"id,system,text\ns1,north,a,b\n", (2, "", "4 cells")),
    "an open quote": (b'id,system,text\ns1,north,"a\n', (2, "", "Not valid csv")),
    "an unknown sample": (b'id,system,text\ns1,north,"a\nb"\ns9,north,x\n', (4, "id", "No sample of this source has the id s9")),
    "a system twice": (b"id,system,text\ns1,north,a\ns1,north,b\n", (3, "system", "Line 2 holds this system's text")),
    "identical A and B": (
        b"id,system,text\ns1,north,same\ns2,north,x\ns1,south,same\n",
        (4, "text", "Identical to the text of another system"),
    ),
    "an empty text": (b"id,system,text\ns1,north,\n", (2, "text", "empty")),
    "a NUL": (b'id,system,text\ns1,north,"a\x00b"\n', (2, "text", "NUL")),
    "a system's name too long": (b"id,system,text\ns1," + b"n" * 81 + b",x\n", (2, "system", "80 are allowed")),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_refuses_csv_with(case: str) -> None:
    stored_samples(2)
    content, (number, column, words) = REFUSALS[case]
    problems = refused(content)
    assert any(p[0] == number and p[1] == column and words in p[2] for p in problems), problems


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"id": "s1", "system": "north", "text": "a"}\n{"id": "s1"}\n', (2, "system")),
        (b'{"id": "s1", "system": "north", "text": null}\n', (1, "text")),
        (b'{"id": 1, "system": "north", "text": "a"}\n', (1, "id")),
        (b'{"id": "s1", "system": "north", "text": "a"}\n{"id": "s1", "system": "south", "text": "a"}\n', (2, "text")),
        (b'{"id": "s1", "system": "north", "text": "a", "rank": 1}\n', (1, "rank")),
        (b'{"id": "s1", broken}\n', (1, "")),
    ],
)
def test_it_refuses_jsonl_too(content: bytes, where: tuple[int, str]) -> None:
    stored_samples(2)
    assert where in [(line, column) for line, column, _ in refused(content, "texts.jsonl")]


def test_it_refuses_other_files_and_unknown_sources() -> None:
    stored_samples(1)
    assert "must end in" in refused(b"x", "texts.xlsx")[0][2]
    with pytest.raises(ImportRefused, match="Import the samples first"):
        completions.import_external(file=io.BytesIO(b"id,system,text\ns1,a,b\n"), filename="t.csv", source="unheard of", actor=None)


def test_another_text_for_a_stored_sample_and_system_is_refused() -> None:
    stored_batches(1, ["north"])
    with pytest.raises(ImportRefused, match="Another text of this system is stored"):
        take(b"id,system,text\ns1,north,Something else\n")
    assert Completion.objects.count() == 1


def test_what_a_model_wrote_is_recorded_once_and_a_nul_becomes_a_visible_mark() -> None:
    stored_batches(1, ["north"])
    own = GenerationBatch.objects.create(system="ours", decoding={"temperature": 0.7})
    prompt = Prompt.objects.get()
    items = [{"prompt": prompt.pk, "text": f"draw {n}\x00", "finish_reason": "stop", "tokens": 3, "number": n} for n in range(2)]
    assert completions.record(batch=own, items=items) == 2
    assert completions.record(batch=own, items=items) == 0
    assert [c.text for c in own.completions.order_by("number")] == ["draw 0\ufffd", "draw 1\ufffd"]


def test_messages_do_not_repeat_texts() -> None:
    stored_samples(1)
    secret = f"Mrs Canary {uuid4()} of Elm Street"
    assert secret not in json.dumps(refused(f'id,system,text\ns1,north,"{secret}\x00"\n{secret * 3},north,x\n'.encode()))
