"""Everything of one kind in a lineage: paged, filtered, of one group."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from annotation.models import Sample
from tests.training.test_lineage import build_world, url

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(dan: User, tmp_path: Path) -> dict[str, Any]:
    return build_world(dan, tmp_path)


def shown(page: str) -> set[int]:
    return {pk for pk in Sample.objects.values_list("pk", flat=True) if f'<a href="/lineage/sample/{pk}/">' in page}


def test_the_samples_behind_a_model_are_those_it_learned_from_or_stopped_by(world: dict[str, Any], as_dan: Client) -> None:
    rows = world["snapshot"].rows.exclude(split="evaluation")
    assert shown(as_dan.get(url("model", world["dpo"].public_id, "list/sample/")).content.decode()) == set(
        rows.values_list("prompt__sample", flat=True)
    )


def test_they_can_be_filtered(world: dict[str, Any], as_dan: Client) -> None:
    address = url("model", world["dpo"].public_id, "list/sample/")
    page = as_dan.get(address + "?split=validation").content.decode()
    assert shown(page) == set(world["snapshot"].rows.filter(split="validation").values_list("prompt__sample", flat=True))
    none = as_dan.get(address + "?split=evaluation").content.decode()
    assert "No sample of this lineage matches the filter." in none
    # What is no split filters nothing and breaks nothing.
    assert as_dan.get(address + "?split=nonsense&page=x&source=y").status_code == 200


def test_one_group_of_the_drawing_can_be_listed(world: dict[str, Any], as_dan: Client) -> None:
    held = world["snapshot"].rows.filter(split="validation").order_by("prompt__sample").values_list("prompt__sample", flat=True)
    address = url("model", world["dpo"].public_id, "list/sample/")
    assert shown(as_dan.get(f"{address}?group=sample-{held[0]}").content.decode()) == set(held)


def test_a_long_list_has_pages(world: dict[str, Any], as_dan: Client) -> None:
    address = url("snapshot", world["snapshot"].public_id, "list/completion/")
    first, second = as_dan.get(address).content.decode(), as_dan.get(address + "?page=2").content.decode()
    assert "Page 1 of 2" in first
    assert first.count("what fed it") + second.count("what fed it") == 64


def test_a_kind_that_is_not_there(world: dict[str, Any], as_dan: Client) -> None:
    address = url("model", world["dpo"].public_id, "list/")
    assert "There are no corpora in this lineage." in as_dan.get(address + "corpus/").content.decode()
    assert as_dan.get(address + "nonsense/").status_code == 404


def test_its_queries_are_counted(world: dict[str, Any], as_dan: Client, django_assert_num_queries: Any) -> None:
    # session, user with roles, the model, what is blinded to its reader (four times), walk, votes, the filter's task types and
    # sources, facts of the samples and of the model
    with django_assert_num_queries(13):
        as_dan.get(url("model", world["dpo"].public_id, "list/sample/"))
