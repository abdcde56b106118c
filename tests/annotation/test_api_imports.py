"""A program brings a file in: what it declares is compared, what came of it is told, and a second time adds nothing."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from annotation import imports
from annotation.models import Import, Sample
from annotation.records import Problem
from tests.annotation.build import jsonl, row

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def send(client: Client, content: bytes, key: object = None, **changes: Any) -> Any:
    said = {
        "file": SimpleUploadedFile("m.jsonl", content), "length": len(content), "sha256": hashlib.sha256(content).hexdigest(),
        "target": "mediflow", "licence": "CC0-1.0", **changes,
    }  # fmt: skip
    return client.post("/api/v1/imports/", said, headers={"Idempotency-Key": str(key or uuid4())})


def test_a_file_comes_in_and_a_repeated_request_adds_nothing(as_dan: Client) -> None:
    content, key = jsonl([row(1, id="a"), row(2, id="b")]).read(), uuid4()
    answer = send(as_dan, content, key)
    said = answer.json()
    assert (answer.status_code, said["state"], said["counts"]["stored"], said["problems"]) == (201, "stored", 2, [])
    again = send(as_dan, content, key)
    assert (again.status_code, again.json()["id"]) == (200, said["id"])
    other = send(as_dan, jsonl([row(3)]).read(), key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.mismatch")
    assert Sample.objects.count() == 2
    assert as_dan.get(f"/api/v1/imports/{said['id']}/").json()["counts"]["stored"] == 2


def test_a_refusal_is_a_problem_document_that_names_place_column_and_code(as_dan: Client) -> None:
    content, key = jsonl([row(1), row(2, input="Mrs Canary\x00")]).read(), uuid4()
    answer = send(as_dan, content, key)
    said = answer.json()
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    assert (said["code"], said["total"], said["status"]) == ("text.nul", 1, 422)
    assert [(one["line"], one["field"], one["code"]) for one in said["errors"]] == [(2, "input", "text.nul")]
    assert said["detail"].startswith("Nothing was stored. Line 2, input: The text holds a NUL character")
    assert b"Canary" not in answer.content
    report = b"".join(as_dan.get(said["report"]).streaming_content)  # type: ignore[attr-defined]
    assert b"text.nul" in report
    assert b"Canary" not in report
    assert not Sample.objects.exists()
    told = as_dan.get(said["address"]).json()
    assert (told["id"], told["state"], told["code"], told["problems"]) == (said["id"], "refused", "text.nul", said["errors"])
    assert send(as_dan, content, key).json() == said


def test_a_clash_with_what_is_stored_is_409_and_the_same_file_again_200(as_dan: Client) -> None:
    first = send(as_dan, jsonl([row(1, id="a")]).read()).json()
    again = send(as_dan, jsonl([row(1, id="a")]).read())
    assert (again.status_code, again.json()["code"], again.json()["counts"]["already_as"]) == (200, "import.already", first["id"])
    clash = send(as_dan, jsonl([row(2, id="a")]).read())
    assert (clash.status_code, clash.json()["code"]) == (409, "import.conflict")
    assert Sample.objects.count() == 1


def test_what_a_job_finds_out_is_told_of_the_import_with_the_same_code(as_dan: Client, settings: Any) -> None:
    settings.ROUNDS_IMPORT_AT_ONCE_BYTES = 1
    content, key = jsonl([row(1, input="a\x00")]).read(), uuid4()
    begun = send(as_dan, content, key)
    assert (begun.status_code, begun.json()["code"]) == (202, "")
    made = Import.objects.get()
    imports.refuse(made, [Problem(1, "input", "The text holds a NUL character.", "text.nul")], 1)
    told = as_dan.get(f"/api/v1/imports/{made.public_id}/").json()
    assert (told["state"], told["code"]) == ("refused", "text.nul")
    assert send(as_dan, content, key).status_code == 422


def test_bad_rows_are_left_out_where_the_program_says_so(as_dan: Client) -> None:
    content = jsonl([row(1), row(2, task_type=None), row(3)]).read()
    strict = send(as_dan, content)
    assert (strict.status_code, strict.json()["code"], Sample.objects.count()) == (422, "import.column", 0)
    tried = send(as_dan, content, skip_bad_rows=True, dry=True).json()
    assert (tried["counts"]["rows"], tried["counts"]["bad_rows"], Sample.objects.count()) == (2, 1, 0)
    said = send(as_dan, content, skip_bad_rows=True).json()
    assert (said["state"], said["counts"]["stored"], said["counts"]["bad_rows"], said["problems"]) == ("stored", 2, 1, [])
    assert b"Line,2,task_type,left out,import.column" in b"".join(as_dan.get(said["report"]).streaming_content)  # type: ignore[attr-defined]
    cut = send(as_dan, content + b"\xff\n", skip_bad_rows=True, target="other")
    assert (cut.status_code, cut.json()["code"], Sample.objects.count()) == (422, "import.encoding", 2)


@pytest.mark.parametrize(
    ("changes", "code"), [({"length": 5}, "upload.incomplete"), ({"sha256": "0" * 64}, "upload.digest")], ids=["length", "digest"]
)
def test_what_is_not_what_was_declared_is_not_received(as_dan: Client, data: Path, changes: dict[str, Any], code: str) -> None:
    answer = send(as_dan, jsonl([row(1)]).read(), **changes)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)
    assert not Import.objects.exists()
    assert list((data / "imports").glob("*")) == []


def test_too_large_is_413_and_nothing_is_kept(as_dan: Client, settings: Any, data: Path) -> None:
    settings.ROUNDS_IMPORT_MAX_BYTES = 500
    assert send(as_dan, b"x" * 5000).status_code == 413
    assert not list((data / "imports").glob("*"))


def test_without_a_key_or_a_file_it_says_so(as_dan: Client) -> None:
    assert as_dan.post("/api/v1/imports/", {"target": "x"}).status_code == 400
    answer = as_dan.post("/api/v1/imports/", {"target": "x"}, headers={"Idempotency-Key": str(uuid4())})
    assert {"file", "length", "sha256", "licence"} <= {one["field"] for one in answer.json()["errors"]}
