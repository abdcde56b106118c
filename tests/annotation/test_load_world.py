"""The load test's world is what the verbs would have made: it can be judged through the same door, and its books balance."""

import pytest
from django.test import Client

from annotation import assignments, slots
from annotation.models import Campaign, Completion, Judgement, Pair, Slot
from benchmarks.load import world
from benchmarks.load.clinician import Answer, Clinician
from tests.annotation import build
from tests.cast import person, signed_in

# The world is copied with ids from 1: into empty tables whose numbering starts anew.
pytestmark = pytest.mark.django_db(transaction=True, reset_sequences=True)


def columns(row: object, *without: str) -> dict[str, object]:
    return {
        field.attname: getattr(row, field.attname)
        for field in row._meta.concrete_fields  # type: ignore[attr-defined]
        if field.attname not in {"id", "campaign_id", "pair_id", "prompt_id", "first_id", "second_id", "batch_id", *without}
    }


def test_its_rows_are_those_the_verbs_write() -> None:
    raters = world.people(2)
    copied = world.campaign(raters, pairs=6, overlap=2)
    made = build.campaign([person("zoe", "annotator")], pairs=6, overlap=2)
    for model, without in ((Pair, ()), (Slot, ("first_on_left",))):
        ours = [columns(row, *without) for row in model.objects.filter(campaign=copied).order_by("position", "id")]  # type: ignore[attr-defined]
        theirs = [columns(row, *without) for row in model.objects.filter(campaign=made).order_by("position", "id")]  # type: ignore[attr-defined]
        assert ours == theirs
    # Each pair is shown both ways round, and the newest id is the sequence's.
    assert {pair.slots.filter(first_on_left=True).count() for pair in copied.pairs.all()} == {1}
    assert Completion.objects.create(prompt_id=1, batch_id=1, number=5, text="x", digest="x").pk > 12
    assert slots.unbalanced(copied) == []


def test_its_people_judge_it_through_the_pages() -> None:
    first, second = world.people(2)
    copied = world.campaign([first, second], pairs=3, overlap=2)
    world.answered_before(copied, second, 2)
    assert slots.unbalanced(copied) == []
    held = assignments.lease_next(campaign=copied, annotator=first)
    assert held is not None
    client: Client = signed_in(first)
    page = client.get(f"/rate/{held.public_id}/")
    clinician = Clinician.__new__(Clinician)
    clinician.sent = 0
    address, fields = clinician._filled(Answer(200, b"", page.content))
    assert address.decode() == f"/rate/{held.public_id}/"
    assert client.post(address.decode(), fields).status_code == 302
    assert Judgement.objects.get().assignment_id == held.pk
    row = Campaign.objects.for_queue(second).get(pk=copied.pk)
    assert (row.answered, row.left) == (2, 1)
