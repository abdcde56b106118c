"""Two producers answer the same prompts: the form, what is looked at first, the two jobs, and the batches they fill."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from accounts.models import User
from annotation.models import Completion, GenerationBatch, Source, Split
from jobs import claims, kinds
from jobs.attempts import folder_of
from jobs.errors import EngineFailed, Unprepared
from jobs.models import Job
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from tests.annotation import build as annotating
from tests.engine.test_served import Served, running
from tests.training import build
from training import endpoints, generations, specs
from training.engine import rundir
from training.engine.spec import Endpoint

pytestmark = pytest.mark.django_db
SECRET = "sk-none-of-your-business"


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
    batch = generations.start(producer=expert, decoding={"temperature": 0.5, "max_new_tokens": 8}, prompts=prompts, actor=dan)
    job = generations.job_of(batch)
    assert job is not None
    build.finish(job, items=answered(job))
    rows = list(rundir.read_jsonl(folder_of(job, 1) / "inputs" / "prompts.jsonl", {"id": str, "messages": list}))
    assert [row["messages"] for row in rows] == [prompt.messages for prompt in prompts]


def test_an_answer_to_a_prompt_nobody_asked_fails_the_job_and_stores_nothing(dan: User, expert: ModelVersion) -> None:
    annotating.stored_samples(20)
    prompts = generations.choose(counts={"train": 5}, source__name="made-up")
    batch = generations.start(producer=expert, decoding={"temperature": 0.5, "max_new_tokens": 8}, prompts=prompts[:4], actor=dan)
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


# --- servers on the operator's list --------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Served]:
    with running() as made:
        yield made


@pytest.fixture
def ward(server: Served, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setenv("WARD_KEY", SECRET)
    settings.ROUNDS_GENERATION_ENDPOINTS = {"ward": {"url": server.url, "model": "phi", "key_env": "WARD_KEY", "tries": 1, "timeout": 5}}
    return endpoints.allowed()["ward"]


def asked_of(ward: Endpoint, actor: User, count: int = 4) -> tuple[GenerationBatch, Job]:
    annotating.stored_samples(40)
    prompts = generations.choose(counts={"train": count}, source__name="made-up")
    batch = generations.start(producer=ward, decoding={"temperature": 0.5, "max_new_tokens": 8}, prompts=prompts, actor=actor, seed=3)
    job = generations.job_of(batch)
    assert job is not None
    return batch, job


def carried_out(job: Job) -> Job:
    """The job's own child on the attempt as the runner lays it out, and its publication."""
    claim = build.claimed(job)
    kind, folder = kinds.get(job.kind), folder_of(job, claim.number)
    folder.mkdir(parents=True)
    kind.prepare(job, folder)
    environment = {"PATH": os.defpath, **kind.environment(job)}
    subprocess.run(kind.command(job, folder), env=environment, check=True, timeout=60)
    kind.ingest(job, rundir.read_events(folder)[0])
    result = rundir.read_result(folder)
    assert result is not None
    claims.begin_publish(claim)
    return claims.publish(claim, kind=kind, result=result, staged=kind.stage(job, result, folder))


def test_a_server_answers_beside_a_model(as_dan: Client, expert: ModelVersion, ward: Endpoint, server: Served) -> None:
    annotating.stored_samples(60)
    sent = as_dan.post("/generate/", fields(expert, expert, count=10) | {"first": "endpoint:ward"})
    ask, generate = Job.objects.order_by("pk")
    assert (ask.kind, generate.kind) == ("ask", "generate")
    batch = GenerationBatch.objects.get(version=None)
    assert (batch.system, batch.decoding["endpoint"], batch.decoding["model"]) == ("ward", "ward", "phi")
    carried_out(ask)
    batch.refresh_from_db()
    assert batch.completions.count() == 10
    for completion in batch.completions.select_related("prompt"):
        assert completion.text.startswith(completion.prompt.messages[-1]["content"].strip()[:20])
    page = as_dan.get(sent.headers["Location"]).text
    assert "server, phi" in page
    assert "tokens/s" in page


def test_the_key_is_in_no_row_and_no_file(dan: User, ward: Endpoint, server: Served, data_dir: Path) -> None:
    _, job = asked_of(ward, dan)
    done = carried_out(job)
    assert server.asked[0]["key"] == f"Bearer {SECRET}"
    assert SECRET not in json.dumps([done.spec, done.result])
    assert not [path for path in data_dir.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_what_a_server_left_unanswered_can_be_asked_again(as_dan: Client, dan: User, ward: Endpoint, server: Served) -> None:
    batch, job = asked_of(ward, dan)
    server.behave = lambda body, nth: (500, {}, b"") if nth == 2 else None
    carried_out(job)
    assert batch.completions.count() == 3
    page = as_dan.get(f"/generate/?batches={batch.public_id}").text
    assert "1 unanswered" in page
    sent = as_dan.post(f"/generate/{batch.public_id}/again/", {"batches": str(batch.public_id)})
    assert sent.headers["Location"] == f"/generate/?batches={batch.public_id}"
    batch.refresh_from_db()
    again = generations.job_of(batch)
    assert again is not None
    assert len(again.spec["inputs"]["prompts"]) == 1
    carried_out(again)
    assert batch.completions.count() == 4
    assert "unanswered" not in as_dan.get(f"/generate/?batches={batch.public_id}").text
    with pytest.raises(generations.NothingMissing):
        generations.ask_again(batch=batch, actor=dan)


def test_a_server_that_was_struck_off_the_list_is_not_asked(dan: User, ward: Endpoint, server: Served, settings: Any) -> None:
    _, job = asked_of(ward, dan)
    settings.ROUNDS_GENERATION_ENDPOINTS = {}
    with pytest.raises(Unprepared, match="name no endpoint ward"):
        specs.engine_spec(job)
    assert server.asked == []


def test_a_worker_without_the_key_says_which_variable_it_lacks(dan: User, ward: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    _, job = asked_of(ward, dan)
    monkeypatch.delenv("WARD_KEY")
    with pytest.raises(Unprepared, match="has no WARD_KEY"):
        specs.engine_spec(job)


def test_nobody_types_an_address(as_dan: Client, expert: ModelVersion, ward: Endpoint, server: Served) -> None:
    annotating.stored_samples(40)
    for wrong in (server.url, "endpoint:http://127.0.0.1/v1", "endpoint:elsewhere", "endpoint:"):
        assert as_dan.post("/generate/", fields(expert, expert) | {"first": wrong}).status_code == 422
    assert not Job.objects.exists()
    assert server.asked == []


def test_before_it_starts_a_trainer_sees_whether_the_server_is_there_and_where_texts_go(
    as_dan: Client, expert: ModelVersion, ward: Endpoint, server: Served
) -> None:
    annotating.stored_samples(40)
    sent = fields(expert, expert) | {"first": "endpoint:ward"}
    page = as_dan.get("/generate/", sent, headers={"HX-Request": "true"}).text
    assert "ward serves phi" in page
    assert "127.0.0.1, the server behind ward" in page
    server.listing = (200, {}, {"data": [{"id": "llama"}]})
    page = as_dan.get("/generate/", sent, headers={"HX-Request": "true"}).text
    assert "ward serves llama, and not phi" in page
    assert as_dan.post("/generate/", sent).status_code == 422
    assert not Job.objects.exists()


def test_past_batches_tell_how_long_it_will_take(as_dan: Client, dan: User, expert: ModelVersion, merged: ModelVersion) -> None:
    annotating.stored_samples(60)
    pace = {"completions": 10, "tokens": 400, "tokens_per_second": 20.0, "seconds": 26.0}
    GenerationBatch.objects.create(version=expert, pace=pace)
    assert generations.forecast(expert, completions=30) == generations.Forecast(tokens=1200, seconds=66.0, batches=1)
    assert generations.forecast(merged, completions=30) is None
    page = as_dan.get("/generate/", fields(expert, merged, count=30), headers={"HX-Request": "true"}).text
    assert "about 1,200 tokens in <strong>1 min 6 s</strong>" in page
    assert "no past batch to tell how long" in page


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"url": "ftp://a", "model": "m"}, "url"),
        ({"url": "http://a/v1"}, "model: is missing"),
        ({"url": "http://a/v1", "model": "m", "key": "sk-1"}, "key: is unknown"),
        ({"url": "http://a/v1", "model": "m", "key_env": "sk-secret"}, "never the key"),
        ({"url": "http://a/v1", "model": "m", "networks": ["10.0.0.0/33"]}, "networks"),
    ],
)
def test_settings_that_are_wrong_stop_the_start(settings: Any, entry: dict[str, Any], complaint: str) -> None:
    settings.ROUNDS_GENERATION_ENDPOINTS = {"ward": entry}
    with pytest.raises(ImproperlyConfigured, match=complaint) as wrong:
        endpoints.allowed()
    assert "sk-" not in str(wrong.value)


def test_what_is_often_compared_is_one_press_away(as_dan: Client, tmp_path: Path, expert: ModelVersion) -> None:
    """Only what there are models for: a merge and its expert first, then champion and challenger."""
    merge = build.version(tmp_path, "merge", "merged", parents=[(expert, "expert")])
    assert [preset.name for preset in generations.presets()] == ["expert-merged", "two-temperatures"]
    aliases.move(name=AliasName.CHAMPION, to=expert, actor=None, expected=None, reason="the first")
    aliases.move(name=AliasName.CHALLENGER, to=merge, actor=None, expected=None, reason="the next")
    assert [preset.name for preset in generations.presets()] == ["expert-merged", "two-temperatures", "self-play", "challenger"]
    annotating.stored_samples(3)
    page = as_dan.get("/generate/?preset=challenger").content.decode()
    assert 'href="?preset=self-play"' in page
    assert f'<option value="{expert.public_id}" selected>' in page
    assert f'<option value="{merge.public_id}" selected>' in page
    assert page.count('value="0.7"') == 2


def test_a_generation_that_was_stopped_and_kept_goes_on_with_the_rest(
    as_dan: Client, dan: User, ward: Endpoint, server: Served, data_dir: Path
) -> None:
    """A pause: what was written by then can be compared, and the rest is asked for later, nothing twice."""
    batch, job = asked_of(ward, dan, count=24)
    assert kinds.get("generate").can_keep

    def stop_early(body: dict[str, Any], nth: int) -> None:
        if nth == 3:
            (folder_of(job, 1) / rundir.STOP).write_text(rundir.KEEP, encoding="ascii")

    server.behave = stop_early
    done = carried_out(job)
    written = batch.completions.count()
    assert 1 <= written < 24
    assert done.result is not None
    assert done.result["unanswered"] == {"stopped": 24 - written}
    page = as_dan.get(f"/generate/?batches={batch.public_id}").text
    assert f"{24 - written} unanswered" in page
    as_dan.post(f"/generate/{batch.public_id}/again/", {"batches": str(batch.public_id)})
    batch.refresh_from_db()
    again = generations.job_of(batch)
    assert again is not None
    carried_out(again)
    assert batch.completions.count() == 24
