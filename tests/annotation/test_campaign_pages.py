"""What trainers see and do: files in, campaigns set up, opened, watched and closed."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from annotation.models import Campaign, Completion, GenerationBatch, Sample, Verdict
from tests.annotation.build import GUIDELINE, campaign, jsonl, judge, row, stored_batches, stored_samples

pytestmark = pytest.mark.django_db


def file(name: str, content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def test_with_nothing_stored_every_page_offers_the_first_step(as_dan: Client) -> None:
    assert 'href="/samples/import/"' in as_dan.get("/samples/").content.decode()
    assert "There are no samples yet" in as_dan.get("/samples/completions/import/").content.decode()
    for page in ("/campaigns/", "/campaigns/new/"):
        assert "There is nothing to compare yet" in as_dan.get(page).content.decode()


def test_samples_come_in_through_the_page(as_dan: Client) -> None:
    content = jsonl([row(1, id="m1"), row(2, id="m2", task_type="haiku")]).read()
    response = as_dan.post(
        "/samples/import/", {"file": file("m.jsonl", content), "source": "mediflow", "licence": "CC0-1.0", "synthetic": "on"}
    )
    page = response.content.decode()
    assert response.status_code == 200
    assert "2 of 2 rows stored" in page
    assert "1 warning" in page
    listed = as_dan.get("/samples/").content.decode()
    assert "m1" in listed
    assert "2 samples" in listed
    assert "m2" not in as_dan.get("/samples/?task_type=summarization").content.decode()


def test_a_refused_file_is_explained_and_the_form_kept(as_dan: Client) -> None:
    content = jsonl([row(1), row(2, task_type=None)]).read()
    response = as_dan.post("/samples/import/", {"file": file("m.jsonl", content), "source": "my source", "licence": "CC0-1.0"})
    page = response.content.decode()
    assert response.status_code == 422
    assert "1 problem, nothing was stored" in page
    assert '<td class="num">2</td><td>task_type</td><td class="wrap">The column is missing.</td>' in page
    assert 'value="my source"' in page
    assert not Sample.objects.exists()


def test_a_form_without_a_file_says_so(as_dan: Client) -> None:
    response = as_dan.post("/samples/import/", {"source": "s", "licence": "l"})
    assert response.status_code == 422
    assert "This field is required" in response.content.decode()


def test_other_systems_texts_come_in_through_the_page(as_dan: Client) -> None:
    stored_samples(2)
    source = str(Sample.objects.first().source_id)  # type: ignore[union-attr]
    columns = {"id_column": "case", "system_column": "who", "text_column": "note"}
    good = file("t.csv", b"case,who,note\ns1,north,One\ns1,south,Two\n")
    assert "2 of 2 rows stored" in as_dan.post("/samples/completions/import/", {"file": good, "source": source, **columns}).content.decode()
    assert Completion.objects.count() == 2
    bad = file("t.csv", b"case,who,note\ns9,north,One\n")
    response = as_dan.post("/samples/completions/import/", {"file": bad, "source": source, **columns})
    assert response.status_code == 422
    assert "No sample of this source has the id s9." in response.content.decode()


def test_a_campaign_from_the_form_to_its_close(as_dan: Client, alice: User) -> None:
    stored_batches(6)
    form = {
        "name": "Letters", "batches": [b.pk for b in GenerationBatch.objects.all()], "pairing": "every", "limit": "", "overlap": "1",
        "double_share": "0", "splits": ["train", "validation", "evaluation"], "members": [alice.pk], "guideline": GUIDELINE,
    }  # fmt: skip
    response = as_dan.post("/campaigns/new/", form)
    made = Campaign.objects.get()
    page = f"/campaigns/{made.public_id}/"
    assert response["Location"] == page
    drafted = as_dan.get(page).content.decode()
    assert "6 pairs are ready" in drafted
    assert "Nobody sees it yet" in drafted
    as_dan.post(page + "open/")
    for _ in range(6):
        judge(made, alice, Verdict.FIRST_SLIGHTLY)
    opened = as_dan.get(page).content.decode()
    assert "Every judgement is in. Close the campaign" in opened
    assert "north" in opened
    as_dan.post(page + "close/")
    assert "Closed with 6 of 6 judgements" in as_dan.get(page).content.decode()
    assert "6 of 6" in as_dan.get("/campaigns/").content.decode()


def test_a_form_that_leaves_nothing_says_why_and_is_kept(as_dan: Client, alice: User) -> None:
    (alone,) = stored_batches(2, ["alone"])
    form = {
        "name": "Kept name",
        "batches": [alone.pk],
        "pairing": "every",
        "overlap": "1",
        "splits": ["train"],
        "members": [alice.pk],
        "guideline": "g",
    }
    response = as_dan.post("/campaigns/new/", form)
    assert response.status_code == 422
    assert "No pair is left" in response.content.decode()
    assert 'value="Kept name"' in response.content.decode()
    assert as_dan.post("/campaigns/new/", {}).status_code == 422


def test_opening_twice_is_a_message_not_an_error(as_dan: Client, alice: User) -> None:
    made = campaign([alice])
    response = as_dan.post(f"/campaigns/{made.public_id}/open/", follow=True)
    assert "Only a campaign that was not open yet can be opened" in response.content.decode()


def test_annotators_have_no_managing_pages(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    for page in ("/samples/", "/samples/import/", "/campaigns/", "/campaigns/new/", f"/campaigns/{made.public_id}/", "/snapshots/"):
        assert as_alice.get(page).status_code == 403


def test_the_lists_take_a_fixed_number_of_queries(as_dan: Client, alice: User, django_assert_num_queries: Callable[[int], Any]) -> None:
    for page, queries in (("/samples/", 7), ("/campaigns/", 7)):
        for _ in range(2):
            campaign([alice])
            as_dan.get(page)
            with django_assert_num_queries(queries):
                as_dan.get(page)


def test_import_commands_take_files_and_answer_in_json(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from django.core.management import CommandError, call_command

    samples, texts = tmp_path / "s.jsonl", tmp_path / "t.csv"
    samples.write_bytes(jsonl([row(1, id="a")]).read())
    texts.write_text("id,system,text\na,north,One\na,south,One\n")
    call_command("import_samples", str(samples), source="made-up", licence="CC0-1.0", json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["stored"] == 1
    with pytest.raises(CommandError) as refused:
        call_command("import_completions", str(texts), source="made-up", json=True)
    assert refused.value.returncode == 1
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["problems"][0] == {
        "line": 3,
        "field": "text",
        "message": "Identical to the text of another system for the same sample on line 2: nothing to prefer.",
    }
    with pytest.raises(CommandError) as missing:
        call_command("import_samples", str(tmp_path / "absent.jsonl"), source="x", licence="y")
    assert missing.value.returncode == 2
