"""The button that has every stored file read again, and what the list of models says afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from jobs.models import Job
from modelhub import imports
from modelhub.models import ModelVersion
from tests.modelhub.test_import import run
from tests.modelhub.test_verify_models import spoil

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


def verified(client: Client, attempt: Path) -> str:
    """Press it, let the job run, and look at the list."""
    client.post("/models/verify/")
    job = Job.objects.latest("pk")
    result = run(job, attempt)
    # The runner's two steps to the end.
    Job.objects.filter(pk=job.pk).update(state="running")
    Job.objects.filter(pk=job.pk).update(state="publishing")
    Job.objects.filter(pk=job.pk).update(state="succeeded", result=result, ended_at="2026-01-01T00:00:00Z")
    return client.get("/models/").content.decode()


def test_it_says_what_is_whole_and_what_is_not(model_folder: Make, as_dan: Client, tmp_path: Path) -> None:
    version = imports.import_folder(folder=model_folder("one")).version
    assert "never read again" in as_dan.get("/models/").content.decode()
    assert "4 files" in (page := verified(as_dan, tmp_path / "first"))
    assert "all whole" in page
    spoil(version)
    page = verified(as_dan, tmp_path / "second")
    assert "1 of 4 files were damaged" in page
    assert "one: model.safetensors is damaged: its digest has changed" in page


def test_two_presses_are_one_job(as_dan: Client) -> None:
    first, second = (as_dan.post("/models/verify/")["Location"] for _ in range(2))
    assert first == second
    assert Job.objects.count() == 1
    assert not ModelVersion.objects.exists()
