"""The page on which people write their parts of a model card."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from accounts.models import AuditEntry, User
from modelhub import cards
from modelhub.models import CardRevision, ModelVersion
from tests.modelhub import family

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


@pytest.fixture
def version(model_folder: Make) -> ModelVersion:
    return family.build(model_folder)["dpo"]


def url(version: ModelVersion) -> str:
    return f"/models/{version.public_id}/card/"


def test_what_is_written_stands_on_the_card_and_is_on_record(version: ModelVersion, as_dan: Client, dan: User) -> None:
    said = {"expected": 0, "intended_use": "Drafts of **ward** letters.", "hub_id": "ward/letters", "datasets": "microsoft/mediflow\n"}
    assert as_dan.post(url(version), said).status_code == 302
    revision = CardRevision.objects.get()
    assert (revision.number, revision.author, revision.prose) == (1, dan, {"intended_use": "Drafts of **ward** letters."})
    page = as_dan.get(f"/models/{version.public_id}/").content.decode()
    assert "Drafts of <strong>ward</strong> letters." in page
    assert "Intended use: nobody has written it" not in page
    assert "datasets:\n- microsoft/mediflow" in cards.of(version).text
    assert AuditEntry.objects.get(verb="model.card_revised").details == {"revision": 1, "parts": ["intended_use"]}


def test_two_people_at_once_lose_nothing(version: ModelVersion, as_dan: Client, dan: User) -> None:
    cards.revise(version=version, prose={"limits": "Hers."}, expected=0, actor=dan)
    answer = as_dan.post(url(version), {"expected": 0, "limits": "His."})
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "His." in page
    assert "<p>Hers.</p>" in page
    assert 'name="expected" value="1"' in page
    assert CardRevision.objects.count() == 1
    with pytest.raises(cards.CardChanged):
        cards.revise(version=version, prose={"limits": "His."}, expected=0, actor=dan)


@pytest.mark.parametrize("name", ["no-slash", "a/b/c", "-a/b", "a/b--c", "a/" + "b" * 95, "a b/c", "a/b.git"])
def test_a_name_that_could_not_be_on_the_hub_is_refused_and_stays_in_its_field(version: ModelVersion, as_dan: Client, name: str) -> None:
    answer = as_dan.post(url(version), {"expected": 0, "limits": "Mine.", "hub_id": name})
    assert answer.status_code == 422
    assert "Mine." in answer.content.decode()
    assert not CardRevision.objects.exists()


def test_the_same_words_again_make_no_revision_and_what_is_generated_cannot_be_sent(version: ModelVersion, dan: User) -> None:
    cards.revise(version=version, prose={"limits": "Mine."}, expected=0, actor=dan)
    assert cards.revise(version=version, prose={"limits": "Mine. \r\n"}, expected=1, actor=dan).number == 1
    with pytest.raises(cards.CardRefused):
        cards.revise(version=version, prose={"gates": "all passed"}, expected=1, actor=dan)


def test_what_people_write_is_text_wherever_it_is_shown(version: ModelVersion, as_dan: Client, dan: User) -> None:
    cards.revise(version=version, prose={"limits": "<script>alert(1)</script> [x](javascript:1)"}, expected=0, actor=dan)
    page = as_dan.get(f"/models/{version.public_id}/").content.decode()
    assert "<script>alert" not in page
    assert "[x](javascript:1)" in page
    assert 'href="javascript' not in page
