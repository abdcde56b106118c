"""The wizard: a file is received whole, seen, imported, reported on; what is wrong with it is said, and nothing is stored."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from accounts.models import AuditEntry
from annotation import incoming
from annotation.models import Import, Sample
from jobs.models import Job
from tests.annotation.build import jsonl, row

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    settings.ROUNDS_IMPORT_FOLDER = tmp_path / "incoming"
    return tmp_path


def send(client: Client, content: bytes, name: str = "m.jsonl", **more: str) -> Any:
    return client.post("/samples/import/", {"file": SimpleUploadedFile(name, content), **more, "whole": "yes"})


def the_import() -> Import:
    return Import.objects.latest("pk")


FIELDS = {
    "shape": "mediflow", "seen-shape": "mediflow", "target": "mediflow", "licence": "CC0-1.0", "synthetic": "on", "quarantine": "on",
    "on_conflict": "refuse", "nul": "refuse", "do": "store",
}  # fmt: skip


def bring(client: Client, content: bytes, name: str = "m.jsonl", **more: str) -> Import:
    response = send(client, content, name)
    assert response.status_code == 302, response.content
    client.post(response.url, FIELDS | more)
    return the_import()


def test_a_small_file_is_seen_imported_and_reported_on(as_dan: Client, django_capture_on_commit_callbacks: Any) -> None:
    content = jsonl([row(1, id="m1"), row(2, id="m2", task_type="haiku", input="<script>x</script> 31 years")]).read()
    response = send(as_dan, content)
    page = as_dan.get(response.url).content.decode()
    assert "Format <strong>jsonl</strong>, rows of <strong>MediFlow</strong>" in page
    assert "All 2 rows were looked at: 0 problems, 1 warning, 0 doubles" in page
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert "<script>x" not in page
    assert "Characters of instruction and input" in page
    assert not Sample.objects.exists()

    with django_capture_on_commit_callbacks(execute=True):
        done = as_dan.post(response.url, FIELDS, follow=True).content.decode()
    assert "2 of 2 rows stored" in done
    assert the_import().state == "stored"
    assert not incoming.path_of(the_import()).exists()
    listed = as_dan.get("/samples/").content.decode()
    assert "m1" in listed
    assert "2 samples" in listed
    assert "m2" not in as_dan.get("/samples/?task_type=summarization").content.decode()
    assert "chest" not in json.dumps(list(AuditEntry.objects.values_list("details", flat=True)))


def test_all_said_on_the_first_page_it_comes_in_at_once(as_dan: Client) -> None:
    page = as_dan.get(send(as_dan, jsonl([row(1)]).read(), target="mediflow", licence="CC0-1.0").url).content.decode()
    assert "1 of 1 rows stored" in page


def test_a_gzipped_file_is_read_as_what_it_is(as_dan: Client) -> None:
    assert bring(as_dan, gzip.compress(jsonl([row(1), row(2)]).read()), "m.bin").counts["stored"] == 2


def test_a_refused_file_is_explained_and_its_report_can_be_had(as_dan: Client) -> None:
    made = bring(as_dan, jsonl([row(1), row(2, task_type=None, input="Mrs Canary has syphilis")]).read())
    assert made.state == "refused"
    page = as_dan.get(f"/samples/imports/{made.public_id}/").content.decode()
    assert "1 problem, nothing was stored" in page
    assert '<td class="num nowrap">Line 2</td><td>task_type</td><td class="wrap">The column is missing.</td>' in page
    report = b"".join(as_dan.get(f"/samples/imports/{made.public_id}/report/").streaming_content)  # type: ignore[attr-defined]
    assert b"Line,2,task_type,problem,import.column,The column is missing." in report
    assert b"Canary" not in report
    assert not Sample.objects.exists()


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "holds no records"), (b"PK\x03\x04rest", "archive"), (b"\n\n", "no records")], ids=["empty", "zip", "blank"]
)
def test_what_is_no_data_is_said_at_once(as_dan: Client, content: bytes, said: str) -> None:
    response = send(as_dan, content)
    page = as_dan.get(response.url).content.decode() if response.status_code == 302 else response.content.decode()
    assert "There is nothing in it that could be stored" in page or said in page
    assert not Sample.objects.exists()


def test_without_a_file_it_says_so(as_dan: Client) -> None:
    response = as_dan.post("/samples/import/", {"whole": "yes"})
    assert response.status_code == 422
    assert "Choose a file" in response.content.decode()


def test_without_a_licence_nothing_is_begun(as_dan: Client) -> None:
    address = send(as_dan, jsonl([row(1)]).read()).url
    assert as_dan.post(address, FIELDS | {"licence": " "}).status_code == 422
    assert not Sample.objects.exists()


def test_who_looks_again_is_not_told_that_fields_are_empty(as_dan: Client) -> None:
    address = send(as_dan, jsonl([row(1)]).read()).url
    looked = as_dan.post(address, FIELDS | {"licence": "", "target": "", "do": "look"})
    assert looked.status_code == 200
    assert "This field is required" not in looked.text
    assert as_dan.post(address, FIELDS | {"licence": ""}).text.count("This field is required") == 1
    assert not Sample.objects.exists()


def test_many_problems_are_folded_below_the_first(as_dan: Client) -> None:
    page = as_dan.get(send(as_dan, jsonl([row(1)] * 13).read()).url).text
    shown, folded = page.split("<summary>4 more</summary>")
    assert (shown.count("The same record"), folded.count("The same record")) == (8, 4)


def test_the_same_file_again_adds_nothing_and_names_the_first(as_dan: Client) -> None:
    content = jsonl([row(1), row(2)]).read()
    first, again = bring(as_dan, content), bring(as_dan, content, "copy.jsonl")
    page = as_dan.get(f"/samples/imports/{again.public_id}/").content.decode()
    assert "Already imported as" in page
    assert str(first.public_id) in page
    assert Sample.objects.count() == 2
    other = bring(as_dan, content + jsonl([row(3)]).read())
    assert (other.counts["stored"], other.counts["already"]) == (1, 2)


def test_a_conflicting_id_stops_is_skipped_or_becomes_a_new_version(as_dan: Client) -> None:
    bring(as_dan, jsonl([row(1, id="a")]).read())
    changed = jsonl([row(1, id="a", output="Something else."), row(2, id="b")]).read()
    refused = bring(as_dan, changed)
    assert (refused.state, refused.counts["first"][0]["code"]) == ("refused", "import.conflict")
    assert Sample.objects.count() == 1
    skipped = bring(as_dan, changed, on_conflict="skip")
    assert (skipped.counts["stored"], skipped.counts["skipped"]) == (1, 1)
    version = bring(as_dan, jsonl([row(1, id="a", output="Something new.")]).read(), on_conflict="version")
    assert (version.counts["stored"], version.counts["replaced"]) == (1, 1)
    stored = Sample.objects.filter(external_id="a").order_by("version").values_list("version", "withdrawn_at")
    assert [(number, withdrawn is not None) for number, withdrawn in stored] == [(1, True), (2, False)]


def test_an_upload_that_is_cut_off_leaves_nothing(as_dan: Client, data: Path) -> None:
    body = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile("m.jsonl", jsonl([row(n) for n in range(20)]).read()), "whole": "yes"})
    ends = body.rindex(b"yes")
    for cut in range(1, ends, max(1, ends // 50)):
        half = {"wsgi.input": io.BytesIO(body[:cut]), "CONTENT_LENGTH": str(len(body))}
        response = as_dan.generic("POST", "/samples/import/", b"", MULTIPART_CONTENT, **half)
        assert response.status_code == 422, cut
        assert "Incomplete upload" in response.content.decode(), cut
    assert not Import.objects.exists()
    assert list((data / "imports").glob("*")) == []


def test_what_is_larger_than_the_operator_allows_is_refused_before_it_is_read(as_dan: Client, settings: Any, data: Path) -> None:
    settings.ROUNDS_IMPORT_MAX_BYTES = 1000
    response = send(as_dan, b"x" * 2000)
    assert response.status_code == 413
    assert "larger than this server takes" in response.content.decode()
    assert not (data / "imports").exists()


def test_a_foreign_form_is_turned_away_and_its_file_removed(dan: Any, data: Path) -> None:
    stranger = Client(enforce_csrf_checks=True)
    stranger.force_login(dan)
    assert send(stranger, b"{}").status_code == 403
    assert list((data / "imports").glob("*")) == []


def test_a_file_on_the_server_is_chosen_by_name_and_stays(as_dan: Client, data: Path) -> None:
    (data / "incoming").mkdir()
    (data / "incoming" / "big.jsonl").write_bytes(jsonl([row(1)]).read())
    (data / "outside.jsonl").write_bytes(b"{}")
    assert "big.jsonl" in as_dan.get("/samples/import/").content.decode()
    assert as_dan.post("/samples/import/", {"server": "../outside.jsonl", "whole": "yes"}).status_code == 422
    address = as_dan.post("/samples/import/", {"server": "big.jsonl", "whole": "yes"}).url  # type: ignore[attr-defined]
    as_dan.post(address, FIELDS)
    assert the_import().counts["stored"] == 1
    assert (data / "incoming" / "big.jsonl").exists()


def test_a_large_file_becomes_a_job_that_can_be_cancelled(as_dan: Client, settings: Any) -> None:
    settings.ROUNDS_IMPORT_AT_ONCE_BYTES = 10
    made = bring(as_dan, jsonl([row(1)]).read())
    assert made.job is not None
    assert (made.job.kind, made.job.queue) == ("import", "io")
    assert "chest" not in json.dumps(made.job.spec)
    page = as_dan.get(f"/samples/imports/{made.public_id}/").content.decode()
    assert "All rows are stored in one moment at the end" in page
    as_dan.post(f"/samples/imports/{made.public_id}/cancel/")
    assert Job.objects.get().state == "cancelled"
    page = as_dan.get(f"/samples/imports/{made.public_id}/").content.decode()
    assert "The last try was cancelled" in page
    assert "Import as a job" in page


def test_a_dry_run_reads_all_and_stores_nothing(as_dan: Client) -> None:
    made = bring(as_dan, jsonl([row(1), row(2)]).read(), do="try")
    assert (made.state, made.counts["rows"], made.counts["dry"]) == ("received", 2, True)
    assert "The dry run found nothing in the way: 2 rows" in as_dan.get(f"/samples/imports/{made.public_id}/").content.decode()
    assert not Sample.objects.exists()


def test_half_a_character_is_named_and_shown_as_a_question_mark(as_dan: Client) -> None:
    content = jsonl([row(1)]).read().replace(b"Patient 1", rb"Patient \ud800", 1)
    page = as_dan.get(send(as_dan, content).url)
    assert page.status_code == 200
    assert "text.surrogate" in page.text
    assert "Patient ? was admitted" in page.text


def test_rows_that_cannot_be_stored_are_counted_before_and_left_out_on_request(as_dan: Client) -> None:
    content = jsonl([row(1), row(2, task_type=None), row(3, output=5, quality=9), row(4)]).read()
    url = send(as_dan, content).url
    page = as_dan.get(url).content.decode()
    assert "2 of the rows looked at cannot be stored: the file would be refused." in page
    assert "All 4 rows were looked at" in page
    again = as_dan.post(url, FIELDS | {"bad": "skip", "do": "look"}).content.decode()
    assert "2 of the rows looked at cannot be stored: they would be left out." in again
    tried = as_dan.post(url, FIELDS | {"bad": "skip", "do": "try"}, follow=True).content.decode()
    assert "The dry run found nothing in the way: 2 rows, 3 warnings, 2 more that would be left out" in tried
    assert not Sample.objects.exists()
    done = as_dan.post(url, FIELDS | {"bad": "skip"}, follow=True).content.decode()
    assert "2 of 4 rows stored" in done
    assert "2 rows of the file could not be stored and were left out: the report names them." in done
    report = b"".join(as_dan.get(f"{url}report/").streaming_content).decode()  # type: ignore[attr-defined]
    assert [line.split(",")[:5] for line in report.splitlines()[1:]] == [
        ["Line", "2", "task_type", "left out", "import.column"],
        ["Line", "3", "output", "left out", "import.type"],
        ["Line", "3", "quality", "left out", "import.type"],
    ]


def test_unless_that_is_asked_one_bad_row_refuses_the_file(as_dan: Client) -> None:
    made = bring(as_dan, jsonl([row(1), row(2, task_type=None)]).read())
    assert (made.state, Sample.objects.count()) == ("refused", 0)


def test_what_other_systems_wrote_comes_in_by_the_same_door(as_dan: Client) -> None:
    bring(as_dan, jsonl([row(1, id="s1")]).read())
    fields = {"shape": "completions", "seen-shape": "completions", "map-id": "case", "map-system": "who", "map-text": "note"}
    good = bring(as_dan, b"case,who,note\ns1,north,One\ns1,south,Two\n", "t.csv", **fields)
    assert (good.content, good.counts["stored"]) == ("completions", 2)
    bad = bring(as_dan, b"case,who,note\ns9,north,One\n", "t.csv", **fields)
    assert "No sample of this source has the id s9." in bad.counts["first"][0]["message"]


def test_documents_come_in_by_the_same_door(as_dan: Client) -> None:
    content = jsonl([{"id": "d1", "title": "Aspirin", "text": "Take with water.", "outputs": {"summary": "With water."}}]).read()
    made = bring(as_dan, content, shape="documents", **{"seen-shape": "documents", "group": "medwiki"})
    assert (made.content, made.counts["stored"]) == ("documents", 1)
