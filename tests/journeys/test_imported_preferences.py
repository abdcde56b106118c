"""Preferences from elsewhere: a Label Studio export and a TRL data set in by the wizard, frozen by the page, trained by a worker."""

import json
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from annotation.models import Campaign, Import, Judgement, Snapshot
from modelhub import imports
from modelhub.models import Kind, ModelVersion
from tests.engine import tiny
from tests.journeys.toys import corpus, done
from tests.workers import Processes, wait_until
from training.models import MetricPoint, Run

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def files(folder: Path) -> list[Path]:
    """What two tools would have saved of toy samples: forty tasks of a pairwise project, each rated twice, and sixty rows of a data set."""
    rows = [json.loads(line) for line in corpus(100)]
    tasks = [
        {
            "id": number,
            "data": {"instruction": row["instruction"], "input": row["input"], "response_a": row["output"], "response_b": "See the sheet."},
            "annotations": [
                {
                    "completed_by": rater, "was_cancelled": False, "created_at": "2026-03-02T10:00:00Z",
                    "result": [
                        {"from_name": "preference", "to_name": "response_a", "type": "pairwise", "value": {"selected": "left"}},
                        *([{"from_name": "harm_b", "type": "choices", "value": {"choices": ["major"]}}] if number % 10 == rater else []),
                    ],
                }
                for rater in (1, 2)
            ],
        }
        for number, row in enumerate(rows[:40])
    ]  # fmt: skip
    (folder / "label-studio.json").write_text(json.dumps(tasks))
    with (folder / "trl.jsonl").open("w") as lines:
        for row in rows[40:]:
            prompt = [{"role": "system", "content": row["instruction"]}, {"role": "user", "content": row["input"]}]
            sides = {"chosen": row["output"], "rejected": "I do not know."}
            lines.write(
                json.dumps({"prompt": prompt} | {name: [{"role": "assistant", "content": text}] for name, text in sides.items()}) + "\n"
            )
    return [folder / "label-studio.json", folder / "trl.jsonl"]


def bring(client: Client, path: Path) -> Import:
    """Through the wizard: sent, and its own proposals said yes to."""
    sent = client.post("/samples/import/", {"file": SimpleUploadedFile(path.name, path.read_bytes()), "whole": "yes"})
    assert sent.status_code == 302
    form = client.get(sent.url).context["form"]
    proposed = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    said = {name: value for name, value in proposed.items() if value not in (None, False)}
    named = {"seen-shape": said["shape"], "target": "Ward ratings", "licence": "CC-BY-4.0", "do": "store"}
    assert client.post(sent.url, said | named).status_code == 302
    return Import.objects.latest("pk")


def test_preferences_from_elsewhere_are_frozen_and_trained(processes: Processes, as_dan: Client, dan: User, tmp_path: Path) -> None:
    tiny.untrained(tmp_path / "model")
    imports.import_folder(folder=tmp_path / "model", name="ward-sft", kind=Kind.SFT, licence="MIT", actor=dan)
    policy = ModelVersion.objects.get()
    stored = []
    for path in files(tmp_path):
        made = bring(as_dan, path)
        assert made.state == "stored", made.counts
        stored.append(made.counts["stored"])
        assert bring(as_dan, path).counts["already_as"] == str(made.public_id)
    assert stored == [80, 60]
    assert Judgement.objects.count() == Judgement.objects.filter(external=True).count() == 140

    campaign = Campaign.objects.get()
    assert "Nothing stands in its way" in as_dan.get(f"/campaigns/{campaign.public_id}/freeze/").content.decode()
    sent = as_dan.post(f"/campaigns/{campaign.public_id}/freeze/", {"name": "From both tools", "model": policy.public_id})
    assert sent.status_code == 302
    snapshot = Snapshot.objects.get()
    assert (snapshot.external, sum(snapshot.counts["used"].values())) == (True, 100)
    assert snapshot.counts["by_harm"] == 8, "flagged by one of two raters in two of every ten tasks"

    processes.start_sweeper()
    processes.start_worker(slots=1)
    asked = {"policy": policy.public_id, "preset": "demo", "snapshot": snapshot.public_id, "name": "from-elsewhere"}

    def clear() -> bool:
        return not any(check.state == "stop" for check in as_dan.get("/runs/new/", asked).context["checks"])

    wait_until(clear, seconds=60, why="nothing stops the run")
    assert as_dan.post("/runs/new/", asked).status_code == 302
    run = Run.objects.get()
    wait_until(lambda: done(Run.objects.get(pk=run.pk).job), seconds=240, why="the run ended")
    assert MetricPoint.objects.filter(run=run, name="loss").exists()
    assert ModelVersion.objects.filter(name="from-elsewhere").exists()
    assert '<span class="badge badge-external">external</span>' in as_dan.get(f"/runs/{run.pk}/").content.decode()
