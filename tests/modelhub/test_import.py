"""The page that brings a model in: what lies in the drop folder, what a quick look says of it, and the job that takes it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from jobs import kinds as known
from jobs.errors import EngineFailed
from jobs.models import Job
from modelhub import imports, incoming
from modelhub.models import Artifact, Kind, ModelVersion
from tests.modelhub import real
from tests.workers import done_here

pytestmark = pytest.mark.django_db
URL = "/models/import/"
Drop = Callable[[str], Path]


@pytest.fixture
def drop(data_dir: Path) -> Drop:
    return lambda name: data_dir / "incoming-models" / name


def run(job: Job, folder: Path) -> dict[str, Any]:
    """What a worker does with it, without the worker: the child is the real one. Raises EngineFailed as the child says."""
    kind = known.get(job.kind)
    folder.mkdir()
    kind.prepare(job, folder)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(kind.command(job, folder), capture_output=True, text=True, timeout=120, check=False, env=environment)
    result = json.loads((folder / "result.json").read_text())
    assert done.returncode == (0 if result["ok"] else 1), done.stderr
    if not result["ok"]:
        raise EngineFailed(result["error"]["code"], result["error"]["message"])
    return kind.publish(job, result, kind.stage(job, result, folder))


def test_an_empty_drop_folder_says_what_to_bring(as_dan: Client, drop: Drop) -> None:
    page = as_dan.get(URL).content.decode()
    assert "No folder lies there yet." in page
    assert "model.safetensors.index.json" in page
    assert "hf download microsoft/Phi-3.5-mini-instruct --revision COMMIT" in page
    assert drop("").is_dir()


def test_a_reference_is_not_followed_and_the_page_says_so_though_nothing_lies_there(as_dan: Client, drop: Drop) -> None:
    for reference in ("../../etc", "https://hub.example/a/b"):
        answer = as_dan.post(URL, {"folder": reference, "name": "x", "kind": "base"})
        assert answer.status_code == 422
        assert "is not the name of a folder in" in answer.text
    assert not Job.objects.exists()


def test_a_quick_look_says_what_would_be_taken_and_why_not(as_dan: Client, drop: Drop) -> None:
    real.phi(drop("Phi-3.5-mini-instruct"))
    real.lora(drop("triage"))
    (real.phi(drop("pickled")) / "pytorch_model.bin").write_bytes(b"x")
    (drop("linked")).symlink_to("/etc")
    page = as_dan.get(URL).content.decode()
    assert page.count("looks right") == 2
    assert page.count('badge-danger">refused') == 2
    assert "pytorch_model.bin" in page
    assert '<option value="triage">triage · adapter</option>' in page
    assert '<option value="pickled"' not in page
    assert "root:" not in page


def test_a_model_comes_in_by_a_job(as_dan: Client, dan: User, drop: Drop, tmp_path: Path) -> None:
    real.phi(drop("Phi-3.5-mini-instruct"))
    answer = as_dan.post(URL, {"folder": "Phi-3.5-mini-instruct", "name": "phi", "kind": "base"})
    job = Job.objects.get()
    assert answer["Location"] == f"/jobs/{job.public_id}/"
    assert (job.queue, job.requested_by) == ("io", dan)
    said = run(job, tmp_path / "attempt")
    version = ModelVersion.objects.get()
    assert (version.name, version.kind, version.licence, version.origin) == ("phi", "base", "mit", str(job.public_id))
    assert (version.created_by, version.source_name) == (dan, "Phi-3.5-mini-instruct")
    assert said["version"] == str(version.public_id)
    assert "modeling_phi3.py" in said["left_out"]
    phases = [json.loads(line)["phase"] for line in (tmp_path / "attempt" / "events.jsonl").read_text().splitlines()]
    assert phases[0] == "copying"


def test_an_adapter_comes_in_for_its_base(as_dan: Client, drop: Drop, tmp_path: Path) -> None:
    base = imports.import_folder(folder=real.phi(tmp_path / "Phi-3.5-mini-instruct"), name="phi").version
    real.lora(drop("triage"))
    refused = as_dan.post(URL, {"folder": "triage", "kind": "base"})
    assert refused.status_code == 422
    assert "choose the model it was made for" in refused.content.decode()
    as_dan.post(URL, {"folder": "triage", "kind": "base", "base": str(base.public_id)})
    run(Job.objects.get(), tmp_path / "attempt")
    adapter = ModelVersion.objects.get(name="triage")
    assert (adapter.kind, adapter.parent_edges.get().parent) == (Kind.ADAPTER, base)


def test_what_only_reading_the_weights_shows_fails_the_job_by_name(as_dan: Client, drop: Drop, tmp_path: Path) -> None:
    folder = real.lora(drop("broken"))
    base = imports.import_folder(folder=real.phi(tmp_path / "Phi-3.5-mini-instruct")).version
    first = next(iter(real.lora_tensors()))
    (folder / "adapter_model.safetensors").write_bytes(real.bf16(real.lora_tensors(), spoil=first))
    as_dan.post(URL, {"folder": "broken", "kind": "base", "base": str(base.public_id)})
    with pytest.raises(EngineFailed, match="infinite or no numbers") as failed:
        run(Job.objects.get(), tmp_path / "attempt")
    assert failed.value.code == "model.nonfinite"
    assert ModelVersion.objects.count() == 1


BAD = (
    "../outside",
    "/etc",
    "..",
    "",
    "nothing",
    "a/../Phi",
    "Phi\n",
    "org/name",
    "microsoft/Phi-3.5-mini-instruct",
    "https://evil.example/x",
)


@pytest.mark.parametrize("folder", BAD)
def test_only_a_folder_that_lies_there_can_be_named(folder: str, as_dan: Client, dan: User, drop: Drop, tmp_path: Path) -> None:
    real.phi(drop("Phi"))
    real.phi(tmp_path / "data" / "outside")
    assert as_dan.post(URL, {"folder": folder, "name": "x", "kind": "base"}).status_code == 422
    with pytest.raises(incoming.Refused):
        incoming.queue(folder=folder, name="x", kind="base", actor=dan)
    assert not Job.objects.exists()


def test_a_name_that_is_taken_is_said_at_once(as_dan: Client, drop: Drop, tmp_path: Path) -> None:
    imports.import_folder(folder=real.phi(tmp_path / "phi"))
    real.phi(drop("phi"))
    page = as_dan.post(URL, {"folder": "phi", "kind": "base", "licence": "mit"}).content.decode()
    assert "A model is called “phi” already." in page
    assert 'value="mit"' in page, "what was typed stays"


def test_its_queries_do_not_grow_with_the_folders(as_dan: Client, drop: Drop, django_assert_num_queries: Any) -> None:
    for number in range(5):
        real.lora(drop(f"lora-{number}"))
    # session, user with roles, bases to choose from
    with django_assert_num_queries(3):
        as_dan.get(URL)


@pytest.mark.django_db(transaction=True)
def test_the_runner_itself_brings_one_in_and_says_why_not(dan: User, drop: Drop, settings: Any) -> None:
    """Claimed, confined, supervised and published, as on a worker; the second folder is refused, and leaves nothing in the store."""
    settings.ROUNDS_MIN_FREE_BYTES = 1_000_000
    settings.ROUNDS_GPUS = "none"
    real.phi(drop("phi"))
    (real.phi(drop("hostile")) / "config.json").write_text(json.dumps(real.config(auto_map={"AutoConfig": "evil/x--y.Z"})))
    ended = {}
    for name in ("phi", "hostile"):
        job = incoming.queue(folder=name, name=name, kind="base", actor=dan)
        ended[name] = done_here(job)
    assert (ended["phi"].state, ended["phi"].error_code) == ("succeeded", "")
    assert ended["phi"].result["version"] == str(ModelVersion.objects.get().public_id)
    assert (ended["hostile"].state, ended["hostile"].error_code) == ("failed", "model.remote_code")
    assert "config.json: asks for code of its own" in ended["hostile"].error_detail
    assert Artifact.objects.count() == 1
