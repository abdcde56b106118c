"""What a scan found waits for a steward, and until then nothing can be made of it."""

import io
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.test import Client

from accounts.models import AuditEntry
from annotation import prompts, samples
from annotation.models import Prompt, Sample
from tests.annotation.build import jsonl, row
from training import generations

pytestmark = pytest.mark.django_db

NAMED = "Mrs. Canary, DOB: 01/02/1970, has chest pain."


def held() -> Sample:
    content: io.BytesIO = jsonl([row(1, id="a", input=NAMED), row(2, id="b")])
    samples.import_jsonl(file=content, source="made-up", licence="CC0-1.0", actor=None)
    return Sample.objects.get(external_id="a")


def test_a_row_that_names_somebody_is_held_and_its_places_are_known() -> None:
    sample = held()
    assert sample.privacy == "quarantined"
    assert [(rule, column, NAMED[start:end]) for rule, column, start, end in sample.privacy_hits] == [
        ("titled_name", "input", "Mrs. Canary"), ("date_of_birth", "input", "01/02/1970"),
    ]  # fmt: skip
    assert Sample.objects.get(external_id="b").privacy == "clear"


def test_no_prompt_is_made_of_it_whoever_asks() -> None:
    sample = held()
    with pytest.raises(IntegrityError, match="quarantine"), transaction.atomic():
        prompts.render(samples=[sample])
    other = prompts.render(samples=[Sample.objects.get(external_id="b")])[0]
    with pytest.raises(IntegrityError, match="quarantine"), transaction.atomic():
        Prompt.objects.filter(pk=other.pk).update(sample=sample)


def test_nothing_hands_it_out(as_dan: Client) -> None:
    sample = held()
    counts = {"train": 9, "validation": 9, "evaluation": 9}
    assert {prompt.sample_id for prompt in generations.choose(counts=counts)} == {Sample.objects.get(external_id="b").pk}
    assert [one["external_id"] for one in as_dan.get("/api/v1/samples/").json()["results"]] == ["b"]
    assert as_dan.get(f"/api/v1/samples/{sample.pk}/").status_code == 404
    assert "Canary" not in as_dan.get("/samples/").content.decode()
    assert as_dan.get("/quarantine/").status_code == 403


def test_it_only_opens_and_never_closes() -> None:
    held()
    with pytest.raises(DatabaseError), transaction.atomic():
        Sample.objects.filter(external_id="b").update(privacy="quarantined")


def test_a_steward_reads_what_was_found_and_releases(as_sam: Client) -> None:
    sample = held()
    page = as_sam.get("/quarantine/").content.decode()
    assert '<mark class="marked">Mrs. Canary</mark>' in page
    assert "1 waits" in page
    as_sam.post("/quarantine/decide/", {"sample": sample.pk, "do": "release"})
    assert Sample.objects.get(pk=sample.pk).privacy == "released"
    entry = AuditEntry.objects.get(verb="sample.released")
    assert entry.actor_name == "sam"
    assert entry.details == {"rules": ["date_of_birth", "titled_name"]}
    assert prompts.render(samples=[sample])
    assert "Nothing is in quarantine" in as_sam.get("/quarantine/").content.decode()


def test_redacting_makes_a_version_without_the_places_and_withdraws_the_first(as_sam: Client) -> None:
    sample = held()
    as_sam.post("/quarantine/decide/", {"sample": sample.pk, "do": "redact"})
    first, second = Sample.objects.filter(external_id="a").order_by("version")
    assert (first.privacy, first.withdrawn_at is not None) == ("quarantined", True)
    assert (second.version, second.privacy, second.input) == (2, "clear", "[titled name], DOB: [date of birth], has chest pain.")
    assert "Canary" not in str(list(AuditEntry.objects.values_list("details", flat=True)))


def test_what_is_withdrawn_stays_out_and_was_decided_once(as_sam: Client) -> None:
    sample = held()
    as_sam.post("/quarantine/decide/", {"sample": sample.pk, "do": "keep-out"})
    answer = as_sam.post("/quarantine/decide/", {"sample": sample.pk, "do": "release"}, follow=True).content.decode()
    assert "1 had been decided meanwhile" in answer
    assert not Sample.objects.usable().filter(pk=sample.pk).exists()


def test_a_page_of_the_quarantine_costs_a_fixed_number_of_queries(as_sam: Client, django_assert_max_num_queries: Any) -> None:
    content = jsonl([row(n, input=f"{NAMED} {n}") for n in range(12)])
    samples.import_jsonl(file=content, source="made-up", licence="CC0-1.0", actor=None)
    with django_assert_max_num_queries(6):
        as_sam.get("/quarantine/")
    assert "12 wait" in as_sam.get("/quarantine/?rule=titled_name").content.decode()
    assert "Nothing of this kind waits" in as_sam.get("/quarantine/?rule=ssn").content.decode()
