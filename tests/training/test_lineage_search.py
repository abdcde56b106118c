"""Where a lineage begins: what people type, what they find, and an empty house."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import AuditEntry, User
from annotation.models import Completion, Sample
from tests.training.test_lineage import build_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(dan: User, tmp_path: Path) -> dict[str, Any]:
    return build_world(dan, tmp_path)


def found(client: Client, text: str) -> str:
    response = client.get("/lineage/", {"q": text})
    assert response.status_code == 200
    return str(response.content.decode())


def test_a_thing_is_found_by_what_people_know_of_it(world: dict[str, Any], as_dan: Client) -> None:
    sample, completion = Sample.objects.get(pk=world["train_sample"]), Completion.objects.earliest("pk")
    entry = AuditEntry.objects.filter(verb="samples.imported").latest("pk")
    for text, address in {
        "toy-dpo": f"/lineage/model/{world['dpo'].public_id}/",
        "TOY-DPO-1": f"/lineage/run/{world['run'].pk}/",
        world["dpo"].artifact.digest[:8]: f"/lineage/model/{world['dpo'].public_id}/",
        "spring": f"/lineage/snapshot/{world['snapshot'].public_id}/",
        world["snapshot"].digest[:12]: f"/lineage/snapshot/{world['snapshot'].public_id}/",
        sample.external_id: f"/lineage/sample/{sample.pk}/",
        f"sample {sample.pk}": f"/lineage/sample/{sample.pk}/",
        completion.digest: f"/lineage/completion/{completion.pk}/",
        entry.details["file"][:10]: f"/lineage/file/{entry.pk}/",
    }.items():
        assert f'href="{address}"' in found(as_dan, text), text


@pytest.mark.parametrize("text", ["nobody", "sample 999999999", "%", "\x00", "x" * 500, "<script>"])
def test_what_is_not_there_says_what_to_try(world: dict[str, Any], as_dan: Client, text: str) -> None:
    page = found(as_dan, text)
    assert "Nothing is called that" in page
    assert "<script>" not in page


def test_without_a_question_it_offers_beginnings(world: dict[str, Any], as_dan: Client) -> None:
    page = as_dan.get("/lineage/").content.decode()
    for heading in ("Newest models", "Newest snapshots", "Newest imports"):
        assert heading in page
    assert f'href="/lineage/model/{world["dpo"].public_id}/"' in page


def test_an_empty_house_says_where_to_begin(as_dan: Client, as_sam: Client) -> None:
    assert 'href="/samples/import/"' in as_dan.get("/lineage/").content.decode()
    assert 'href="/samples/import/"' not in as_sam.get("/lineage/").content.decode()


def test_the_command_prints_draws_and_writes_provenance(world: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("lineage", "toy-dpo-1")
    told = capsys.readouterr().out
    assert told.startswith("What fed toy-dpo-1: ")
    assert " judgements [judgement]" in told
    for form, start in (("prov", "{"), ("svg", "<?xml")):
        file = tmp_path / f"made.{form}"
        call_command("lineage", f"model/{world['dpo'].public_id}", "--format", form, "--output", str(file))
        assert file.read_text().startswith(start)
    call_command("lineage", f"sample {world['train_sample']}")
    assert "toy-dpo-1 [model version]" in capsys.readouterr().out


def test_the_command_refuses_what_it_cannot_tell_apart(world: dict[str, Any], tmp_path: Path) -> None:
    for name, problem in (("nobody", "Nothing is called"), ("toy", "may mean"), ("model/x", "Nothing is called")):
        with pytest.raises(CommandError, match=problem):
            call_command("lineage", name)
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("lineage", "toy-dpo-1", "--output", str(tmp_path / "no" / "file"))
