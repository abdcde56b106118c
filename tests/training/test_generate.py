"""Two producers answer the same prompts: the form, the two jobs, and the batches they fill."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from annotation.models import Completion, GenerationBatch, Source, Split
from jobs.errors import EngineFailed
from jobs.models import Job
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.training import build
from training import generations
from training.engine import rundir

pytestmark = pytest.mark.django_db


@pytest.fixture
def expert(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "expert", "expert")


@pytest.fixture
def merged(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "merged", "merged")


def fields(first: ModelVersion, second: ModelVersion, **changes: Any) -> dict[str, Any]:
    source = Source.objects.get(name="made-up").pk
    return {
        "first": first.public_id, "first_temperature": 0.3, "second": second.public_id, "second_temperature": 0.9, "source": source,
        "task_type": "", "count": 40, "max_new_tokens": 32, "seed": 5, **changes,
    }  # fmt: skip


def answered(job: Job) -> list[dict[str, Any]]:
    return [
        {"id": str(pk), "text": f"Answer to {pk}.", "finish_reason": "stop", "tokens": 4, "n": 0} for pk in job.spec["inputs"]["prompts"]
    ]


def test_two_jobs_answer_the_same_prompts(as_dan: Client, expert: ModelVersion, merged: ModelVersion) -> None:
    annotating.stored_samples(200)
    sent = as_dan.post("/generate/", fields(expert, merged))
    first, second = Job.objects.filter(kind="generate").order_by("pk")
    assert first.spec["inputs"]["prompts"] == second.spec["inputs"]["prompts"]
    assert (first.spec["params"]["temperature"], second.spec["params"]["temperature"]) == (0.3, 0.9)
    batches = GenerationBatch.objects.order_by("pk")
    assert [batch.version for batch in batches] == [expert, merged]
    page = as_dan.get(sent.headers["Location"]).text
    assert "Generating" in page
    assert "every 2s" in page
    for job in (first, second):
        build.finish(job, items=answered(job))
    page = as_dan.get(sent.headers["Location"]).text
    assert "Make a campaign of these two" in page
    address = "/campaigns/new/?" + "&".join(f"batch={batch.public_id}" for batch in batches)
    assert address.replace("&", "&amp;") in page
    assert as_dan.get(address).context["form"].initial["batches"] == [batch.pk for batch in batches]
    assert Completion.objects.count() == 80


def test_prompts_come_from_the_splits_in_the_wanted_shares(as_dan: Client, expert: ModelVersion, merged: ModelVersion) -> None:
    annotating.stored_samples(250)
    as_dan.post("/generate/", fields(expert, merged, count=100))
    from annotation.models import Prompt

    wanted = Job.objects.filter(kind="generate")[0].spec["inputs"]["prompts"]
    found = {split: Prompt.objects.filter(pk__in=wanted, sample__split=split).count() for split in Split.values}
    assert found == {"train": 70, "validation": 10, "evaluation": 20}


def test_the_engine_is_asked_with_the_prompts_own_messages(dan: User, expert: ModelVersion) -> None:
    annotating.stored_samples(20)
    prompts = generations.choose(counts={"train": 5}, source__name="made-up")
    batch = generations.start(version=expert, decoding={"temperature": 0.5, "max_new_tokens": 8}, prompts=prompts, actor=dan)
    job = generations.job_of(batch)
    assert job is not None
    build.finish(job, items=answered(job))
    from jobs.attempts import folder_of

    rows = list(rundir.read_jsonl(folder_of(job, 1) / "inputs" / "prompts.jsonl", {"id": str, "messages": list}))
    assert [row["messages"] for row in rows] == [prompt.messages for prompt in prompts]


def test_an_answer_to_a_prompt_nobody_asked_fails_the_job_and_stores_nothing(dan: User, expert: ModelVersion) -> None:
    annotating.stored_samples(20)
    prompts = generations.choose(counts={"train": 5}, source__name="made-up")
    batch = generations.start(version=expert, decoding={"temperature": 0.5, "max_new_tokens": 8}, prompts=prompts[:4], actor=dan)
    job = generations.job_of(batch)
    assert job is not None
    foreign = [*answered(job), {"id": str(prompts[4].pk), "text": "x", "finish_reason": "stop", "tokens": 1, "n": 0}]
    with pytest.raises(EngineFailed):
        build.finish(job, items=foreign)
    assert not Completion.objects.exists()


def test_the_same_greedy_model_twice_is_refused(as_dan: Client, expert: ModelVersion) -> None:
    annotating.stored_samples(20)
    page = as_dan.post("/generate/", fields(expert, expert, first_temperature=0, second_temperature=0))
    assert page.status_code == 422
    assert "the same text twice" in page.text
    assert not Job.objects.exists()


def test_without_samples_or_models_it_says_what_comes_first(as_dan: Client, tmp_path: Path) -> None:
    assert "There is no model yet" in as_dan.get("/generate/").text
    build.version(tmp_path, "expert", "expert")
    assert "There are no samples" in as_dan.get("/generate/").text


def test_nonsense_in_the_address_is_not_found(as_dan: Client) -> None:
    assert as_dan.get("/generate/?batches=nonsense").status_code == 404


@pytest.mark.parametrize("who", ["alice", "carol", "sam"])
def test_only_trainers_generate(request: pytest.FixtureRequest, who: str) -> None:
    client = request.getfixturevalue(f"as_{who}")
    assert client.get("/generate/").status_code == 403
    assert client.post("/generate/").status_code == 403
