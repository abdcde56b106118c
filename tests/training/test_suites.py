"""The list of models and the mini-suite: who was asked and with what result, asking one, and nothing of it for raters."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from jobs.models import Job, State
from tests.training import build
from training import suiteruns
from training.models import SuiteRun

pytestmark = pytest.mark.django_db
LIST = "/suites/"


def test_without_models_it_says_where_they_come_from(as_dan: Client) -> None:
    page = as_dan.get(LIST).content.decode()
    assert "There is no model to ask yet." in page
    assert 'href="/"' in page


def test_each_model_stands_there_with_what_its_newest_run_came_to(as_dan: Client, tmp_path: Path) -> None:
    build.suited(tmp_path, "asked", right={"MEDEC": 40})
    failed = suiteruns.start(version=build.version(tmp_path, "failing"), actor=None)
    Job.objects.filter(pk=failed.job.pk).update(state=State.FAILED)
    suiteruns.start(version=build.version(tmp_path, "waiting"), actor=None)
    never = build.version(tmp_path, "never")
    page = as_dan.get(LIST).content.decode()
    rows = {name: next(row for row in page.split("<tr>") if f">{name}</a>" in row) for name in ("asked", "failing", "waiting", "never")}
    # Eleven tasks at a half and one at the whole.
    for said in (">54.2<", ">2346<", ">12.3<", ">457<", "done"):
        assert said in rows["asked"]
    assert "Ask" not in rows["asked"].replace("Asked", "")
    assert "failed" in rows["failing"]
    assert "Ask again" in rows["failing"]
    assert "waiting" in rows["waiting"]
    assert "<button" not in rows["waiting"]
    assert f'action="/models/{never.public_id}/suite/"' in rows["never"]
    assert 'hx-trigger="every 3s"' in page


def test_asking_queues_it_once_and_comes_back(as_dan: Client, tmp_path: Path) -> None:
    version = build.version(tmp_path, "tiny")
    for _ in range(2):
        answer = as_dan.post(f"/models/{version.public_id}/suite/", {"next": f"{LIST}?page=1"})
        assert answer["Location"] == f"{LIST}?page=1"
    assert SuiteRun.objects.get().job.requested_by is not None
    assert as_dan.post(f"/models/{version.public_id}/suite/", {"next": "https://elsewhere.example/"})["Location"] == LIST


def test_an_adapter_cannot_be_asked(as_dan: Client, tmp_path: Path) -> None:
    version = build.version(tmp_path, "patch", "adapter")
    page = as_dan.post(f"/models/{version.public_id}/suite/", follow=True).content.decode()
    assert "An adapter is no model by itself" in page
    assert not SuiteRun.objects.exists()


def test_a_hundred_models_take_as_many_queries_as_two(as_dan: Client, tmp_path: Path, django_assert_num_queries: Any) -> None:
    for name in ("one", "two"):
        build.suited(tmp_path, name)
    as_dan.get(LIST)
    with django_assert_num_queries(5):
        as_dan.get(LIST)
    for number in range(3, 7):
        build.suited(tmp_path, f"model {number}")
    with django_assert_num_queries(5):
        as_dan.get(LIST)


def test_raters_never_see_it(as_alice: Client, as_carol: Client) -> None:
    for client in (as_alice, as_carol):
        assert client.get(LIST).status_code == 403
