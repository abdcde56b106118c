"""The mission in one journey: judged in a browser, frozen, downloaded, trained by a worker, with lineage to the base."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from annotation import campaigns, samples
from annotation.models import Campaign, Judgement, Snapshot
from benchmarks.browser import keyboard
from modelhub.models import ModelVersion
from tests.annotation.build import may_export
from tests.cast import PASSWORD
from tests.journeys.toys import build_family, corpus, done
from tests.workers import Processes, wait_until
from training import families, generations
from training.models import MetricPoint, Run

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(900)]

PAIRS = 30


def longer(source: str, left: str, right: str) -> str:
    """What this clinician likes can be learnt; it never abstains, so that thirty judgements give thirty preferences."""
    return "1" if len(left) >= len(right) else "5"


def open_campaign(dan: User, alice: User) -> Campaign:
    """Expert against merged on the toy corpus's samples, as the worker generated them."""
    with corpus(400) as file:
        samples.import_jsonl(file=file, source="Toy corpus", licence="CC0-1.0", actor=dan)
    prompts = generations.choose(counts={"train": 32, "evaluation": 12})
    decoding = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 24, "batch_size": 32}
    experts = [families.version("expert-clinical"), families.version("merged")]
    batches = [generations.start(producer=one, decoding=decoding, prompts=prompts, actor=dan, seed=7) for one in experts if one]
    assert len(batches) == 2
    jobs = [job for batch in batches if (job := generations.job_of(batch))]
    wait_until(lambda: done(*jobs), seconds=120, why="both batches generated")
    campaign = campaigns.create(
        name="Expert or merged", guideline="Prefer the fuller answer.", batches=batches, overlap=1, members=[alice], actor=dan
    )
    return campaigns.open(campaign=campaign, actor=dan)


def test_a_clinicians_judgements_become_a_model_whose_lineage_reaches_the_base(
    processes: Processes, open_page: Callable[..., Any], alice: User, dan: User
) -> None:
    processes.start_worker()
    processes.start_sweeper()
    build_family(dan)
    campaign = open_campaign(dan, alice)

    # Alice judges thirty pairs with keys alone.
    clinic = open_page(viewport={"width": 1366, "height": 768})
    keyboard.sign_in(clinic, "alice", PASSWORD)
    keyboard.start(clinic)
    keyboard.judge(clinic, PAIRS, longer)
    assert Judgement.objects.filter(assignment__campaign=campaign, assignment__annotator=alice).count() == PAIRS
    assert clinic.complaints == []
    assert clinic.strangers == []

    # Dan freezes, downloads and launches by the form.
    office = open_page(dan, viewport={"width": 1366, "height": 768})
    office.goto(reverse("annotation:campaign", args=[campaign.public_id]))
    office.get_by_role("link", name="Freeze a snapshot").click()
    office.get_by_text("Nothing stands in its way.").wait_for()
    office.get_by_role("button", name="Freeze what was looked over").click()
    office.wait_for_url("**/snapshots/*/")
    snapshot = Snapshot.objects.get()
    assert sum(snapshot.counts["used"].values()) == PAIRS
    may_export(dan)
    office.reload()
    with office.expect_download() as download:
        office.locator(f"a[href='{reverse('annotation:snapshot-download', args=[snapshot.public_id, 'dataset', 'untagged'])}']").click()
    archive = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
    assert any(name.endswith("train-00000-of-00001.parquet") for name in archive.namelist())
    assert any(name.endswith("README.md") for name in archive.namelist())

    office.goto(f"{reverse('training:launch')}?snapshot={snapshot.public_id}")
    sft = ModelVersion.objects.get(name="toy-sft")
    office.locator("[name=policy]").select_option(str(sft.public_id))
    office.locator("[name=preset]").select_option("demo")
    office.locator("[name=name]").fill("first-dpo")
    office.get_by_role("button", name="Launch").click()
    office.wait_for_url("**/runs/*/")
    run = Run.objects.get(name="first-dpo")
    wait_until(lambda: MetricPoint.objects.filter(run=run, name="loss").exists(), seconds=60, why="a first point on the curve")
    wait_until(lambda: done(Run.objects.get(pk=run.pk).job), seconds=240, why="the DPO run ended")

    # The new version says what it is made of.
    version = ModelVersion.objects.get(name="first-dpo")
    office.goto(reverse("modelhub:model", args=[version.public_id]))
    lineage = office.locator("main").inner_text()
    for ancestor in ("toy-sft", "toy-merged", "toy-expert-clinical", "toy-base", snapshot.digest[:8]):
        assert ancestor in lineage
    assert all(f"toy-expert-{domain}" in lineage for domain in ("pubmed", "clinical", "medcode", "guideline", "medwiki"))
    # Leaving a page ends its polls, which htmx calls an error.
    assert [line for line in office.complaints if not line.startswith(("htmx:afterRequest", "htmx:sendAbort"))] == []
    assert office.strangers == []
