"""Archiving a version and bringing it back: hidden, never deleted, and not while somebody needs it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from accounts.models import AuditEntry, User
from jobs import submissions
from jobs.models import Job, State
from modelhub import aliases, archiving, artifacts
from modelhub.errors import InUse
from modelhub.models import ModelVersion
from tests.modelhub import family
from training.forms import LaunchForm

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


def post(client: Client, version: ModelVersion, **data: str) -> str:
    return client.post(f"/models/{version.public_id}/archive/", data, follow=True).content.decode()


def test_it_is_hidden_and_comes_back(model_folder: Make, dan: User, as_dan: Client) -> None:
    sft = family.build(model_folder, dan)["sft"]
    assert "sft is archived: nothing of it is deleted" in post(as_dan, sft)
    offered = LaunchForm(user=dan).fields["policy"].queryset  # type: ignore[attr-defined]
    assert sft not in offered
    assert offered.count() == 13
    assert ">sft<" not in as_dan.get("/models/").content.decode()
    assert ">sft<" in as_dan.get("/models/", {"state": "archived"}).content.decode()
    assert artifacts.folder(sft.artifact).is_dir()
    assert "Bring it back" in as_dan.get(f"/models/{sft.public_id}/").content.decode()
    assert "sft is offered again" in post(as_dan, sft, back="1")
    assert sft in offered.all()
    assert list(AuditEntry.objects.filter(verb__startswith="model.").order_by("pk").values_list("verb", flat=True))[-2:] == [
        "model.archived", "model.brought_back",
    ]  # fmt: skip


def test_twice_is_once(model_folder: Make, dan: User) -> None:
    sft = family.build(model_folder)["sft"]
    first = archiving.archive(version=sft, actor=dan).archived_at
    assert archiving.archive(version=sft, actor=dan).archived_at == first
    assert AuditEntry.objects.filter(verb="model.archived").count() == 1


def test_not_while_an_alias_points_to_it(model_folder: Make, dan: User, as_dan: Client) -> None:
    made = family.build(model_folder)
    aliases.move(name="champion", to=made["dpo"], actor=dan, expected=None, reason="")
    assert "dpo is champion. Point the alias to another version first" in post(as_dan, made["dpo"])
    aliases.move(name="champion", to=made["sft"], actor=dan, expected=made["dpo"], reason="")
    assert "dpo is archived" in post(as_dan, made["dpo"])


def test_not_while_a_job_needs_it(model_folder: Make, dan: User) -> None:
    made = family.build(model_folder)
    spec = {"models": {"base": {"version": made["base"].pk}, "experts": [{"model": {"version": made["pubmed"].pk}}]}}
    submissions.submit(kind="merge", label="the merge", spec=spec, requested_by=dan)
    for name in ("base", "pubmed"):
        with pytest.raises(InUse, match="The job “the merge” needs"):
            archiving.archive(version=made[name], actor=dan)
    assert archiving.archive(version=made["clinical"], actor=dan).archived_at
    Job.objects.update(state=State.CANCELLED)
    assert archiving.archive(version=made["pubmed"], actor=dan).archived_at
