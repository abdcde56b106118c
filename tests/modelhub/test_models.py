"""The list of models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from modelhub import aliases, artifacts
from modelhub.templatetags.modelhub import count, figure
from tests.modelhub import family

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]
URL = "/models/"


def test_an_empty_house_says_how_a_model_comes_in(as_dan: Client) -> None:
    assert "python manage.py import_model FOLDER" in as_dan.get(URL).content.decode()


def test_it_shows_what_there_is_and_labels_toys(model_folder: Make, dan: User, as_dan: Client) -> None:
    made = family.build(model_folder, dan)
    aliases.move(name="champion", to=made["dpo"], actor=dan, expected=None, reason="first")
    page = as_dan.get(URL).content.decode()
    assert page.count('<th scope="row">') == 14
    assert page.count('badge-toy">toy') == 15  # each, and the one that explains
    assert page.count('badge-simulated">simulated') == 1
    assert '<span class="badge badge-good">champion</span>' in page
    assert made["dpo"].artifact.digest[:8] in page


def test_one_kind_at_a_time(model_folder: Make, as_dan: Client) -> None:
    family.build(model_folder)
    assert as_dan.get(URL, {"kind": "expert"}).content.decode().count('<th scope="row">') == 5
    assert as_dan.get(URL, {"kind": "<script>"}).content.decode().count('<th scope="row">') == 14


def test_a_kind_there_is_none_of(model_folder: Make, as_dan: Client) -> None:
    assert "No model of this kind yet." in as_dan.get(URL, {"kind": "dpo"}).content.decode()


@pytest.mark.parametrize(("who", "status"), [("as_dan", 200), ("as_ada", 200), ("as_sam", 200), ("as_alice", 403), ("as_carol", 403)])
def test_who_may_look(who: str, status: int, request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue(who).get(URL).status_code == status


def test_its_queries_do_not_grow_with_the_models(model_folder: Make, dan: User, as_dan: Client, django_assert_num_queries: Any) -> None:
    family.build(model_folder, dan)
    # session, user with roles, count, models with files, people and uses, aliases, jobs under way, files named, the last verification
    with django_assert_num_queries(8):
        as_dan.get(URL)


def test_it_says_who_uses_a_model_and_what_is_missing(model_folder: Make, as_dan: Client) -> None:
    made = family.build(model_folder)
    artifacts.blob({entry["name"]: entry["sha256"] for entry in made["sft"].artifact.manifest}["model.safetensors"]).unlink()
    page = as_dan.get(URL).content.decode()
    assert "11 models made from it" in page  # five experts, five blends and the merge, from the base
    assert "1 file missing" in page
    assert "sft is not whole here." in page


def test_a_name_an_alias_and_a_state_can_be_asked_for(model_folder: Make, dan: User, as_dan: Client) -> None:
    made = family.build(model_folder)
    aliases.move(name="challenger", to=made["sft"], actor=dan, expected=None, reason="")

    def shown(**asked: str) -> int:
        return as_dan.get(URL, asked).content.decode().count('<th scope="row">')

    assert shown(q="SLERP") == 5
    assert shown(q="100%") == 0
    assert shown(q="\0") == 14
    assert (shown(alias="challenger"), shown(alias="champion"), shown(alias="x")) == (1, 0, 14)
    assert (shown(state="archived"), shown(state="all"), shown(kind="adapter")) == (0, 14, 0)


def test_numbers_read_as_people_say_them() -> None:
    assert [count(n) for n in (0, 1_218_304, 124_439_808, 3_821_079_552)] == ["0", "1,218,304", "124 M", "3.8 B"]
    assert [figure(v) for v in (0.123456, 12, True, None, [0.5, 1], "x")] == ["0.1235", "12", "yes", "–", "0.5, 1", "x"]
