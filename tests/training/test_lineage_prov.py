"""PROV-JSON: as the W3C's member submission says, read back by the prov package, without texts, source ids or raters' names."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from annotation.models import Sample
from tests.training.test_lineage import build_world, url

pytestmark = pytest.mark.django_db

# W3C member submission PROV-JSON, 24 April 2013: the ends each relation must have.
RELATIONS = {
    "wasGeneratedBy": {"prov:entity", "prov:activity"},
    "used": {"prov:activity", "prov:entity"},
    "wasInformedBy": {"prov:informed", "prov:informant"},
    "wasDerivedFrom": {"prov:generatedEntity", "prov:usedEntity"},
    "wasAttributedTo": {"prov:entity", "prov:agent"},
    "wasAssociatedWith": {"prov:activity", "prov:agent"},
    "hadMember": {"prov:collection", "prov:entity"},
}
SECTION = {
    "prov:entity": "entity", "prov:generatedEntity": "entity", "prov:usedEntity": "entity", "prov:collection": "entity",
    "prov:activity": "activity", "prov:informed": "activity", "prov:informant": "activity", "prov:agent": "agent",
}  # fmt: skip


@pytest.fixture
def world(dan: User, tmp_path: Path) -> dict[str, Any]:
    return build_world(dan, tmp_path)


def fetch(client: Client, kind: str, key: object, direction: str) -> tuple[Any, dict[str, Any]]:
    response = client.get(url(kind, key, "prov.json") + f"?direction={direction}")
    assert response.status_code == 200
    return response, json.loads(response.content)


def check(document: dict[str, Any]) -> None:
    """Every record is of a known section, every relation has its ends, and every end is there, in the section it must be of."""
    assert set(document) <= {"prefix", "entity", "activity", "agent", *RELATIONS}
    for relation, ends in RELATIONS.items():
        for record in document.get(relation, {}).values():
            assert ends <= set(record), record
            for end in ends:
                assert record[end] in document[SECTION[end]], (relation, end)
    for section in ("entity", "activity", "agent"):
        for name, record in document.get(section, {}).items():
            prefix, _, local = name.partition(":")
            assert prefix in document["prefix"]
            assert local
            assert all(key.split(":")[0] in {"prov", *document["prefix"]} for key in record)


@pytest.mark.parametrize(("kind", "direction"), [("dpo", "up"), ("evaluation", "up"), ("sample", "down"), ("snapshot", "down")])
def test_it_is_provenance_as_the_w3c_means_it(world: dict[str, Any], as_dan: Client, kind: str, direction: str) -> None:
    from prov.model import ProvDocument

    key = world["train_sample"] if kind == "sample" else world[kind].public_id
    _, document = fetch(as_dan, {"dpo": "model"}.get(kind, kind), key, direction)
    check(document)
    read = ProvDocument.deserialize(content=json.dumps(document), format="json")
    records = sum(len(found) for section, found in document.items() if section != "prefix")
    assert len(read.get_records()) == records
    assert json.loads(read.serialize(format="json")).keys() == document.keys()


def test_every_vote_has_a_numbered_rater_and_nobody_a_name(world: dict[str, Any], as_dan: Client) -> None:
    response, document = fetch(as_dan, "model", world["dpo"].public_id, "up")
    votes = {name for name in document["entity"] if name.startswith("rounds:judgement.")}
    attributed = {record["prov:entity"]: record["prov:agent"] for record in document["wasAttributedTo"].values()}
    assert votes
    assert {attributed[vote] for vote in votes} == {"rounds:rater.1"}
    sample = Sample.objects.get(pk=world["train_sample"])
    said = response.content.decode()
    assert not [word for word in ("rater-of-spring", sample.input, sample.instruction, sample.output) if word in said]
    assert f'"{sample.external_id}"' not in said
    assert sample.digest in said


def test_a_run_used_its_rows_and_generated_its_model(world: dict[str, Any], as_dan: Client) -> None:
    _, document = fetch(as_dan, "model", world["dpo"].public_id, "up")
    run, model = f"rounds:run.{world['run'].pk}", f"rounds:model.{world['dpo'].pk}"
    assert {"prov:entity": model, "prov:activity": run} in document["wasGeneratedBy"].values()
    used = [(record["prov:entity"], record["prov:role"]) for record in document["used"].values() if record["prov:activity"] == run]
    parts = world["snapshot"].pk * 4
    sft = f"rounds:model.{world['sft'].pk}"
    assert sorted(used) == sorted(
        [(sft, "policy"), (sft, "reference"), (f"rounds:part.{parts}", "learned from"), (f"rounds:part.{parts + 1}", "stopped by")]
    )


def test_it_is_a_file_that_runs_nothing(world: dict[str, Any], as_dan: Client) -> None:
    response, _ = fetch(as_dan, "model", world["dpo"].public_id, "up")
    assert response["Content-Type"] == "application/json"
    assert response["Content-Disposition"] == f'attachment; filename="lineage-model-{world["dpo"].public_id}-up.prov.json"'
    assert response["Content-Security-Policy"] == "sandbox"
