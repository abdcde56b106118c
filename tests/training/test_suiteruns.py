"""Suites asked of models: once for the same settings whoever asks at once, kept with their answers, and compared only with their like."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import IntegrityError, transaction

from accounts.models import AuditEntry
from jobs import submissions
from jobs.errors import EngineFailed
from jobs.models import Job, State
from modelhub.models import Kind, ModelVersion
from tests.threads import at_once
from tests.training import build
from training import clue_runs, specs, suiteruns
from training.models import SuiteRun
from training.suite import mini
from training.suite.results import SuiteResult

pytestmark = pytest.mark.django_db


@pytest.fixture
def version(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "tiny")


def test_it_is_queued_with_what_the_engine_will_read(version: ModelVersion) -> None:
    run = suiteruns.start(version=version, actor=None, seed=7)
    assert (run.suite, run.results, run.finished_at, run.job.kind) == ("mini", {}, None, "suite")
    spec = specs.engine_spec(run.job)
    assert (spec.kind, spec.seed, spec.params.max_new_tokens) == ("suite", 7, 64)  # type: ignore[union-attr]
    assert dict(specs.inputs(run.job)) == {}
    assert AuditEntry.objects.filter(verb="suite.asked", object_id=str(run.public_id)).count() == 1


def test_what_is_under_way_or_stands_is_returned_and_a_failed_one_is_not(version: ModelVersion) -> None:
    run = suiteruns.start(version=version, actor=None)
    assert suiteruns.start(version=version, actor=None, seed=5) == run
    Job.objects.filter(pk=run.job.pk).update(state=State.FAILED)
    second = suiteruns.start(version=version, actor=None)
    assert second != run
    build.finish_suite(second)
    assert suiteruns.start(version=version, actor=None) == second == suiteruns.standing(version=version)
    third = suiteruns.start(version=version, actor=None, again=True)
    assert third != second
    # Until it has finished the second stands.
    assert suiteruns.standing(version=version) == second
    build.finish_suite(third)
    assert suiteruns.standing(version=version) == third


@pytest.mark.django_db(transaction=True)
def test_eight_who_ask_at_once_get_the_same_run(version: ModelVersion) -> None:
    found = at_once(*[lambda: suiteruns.start(version=version, actor=None)] * 8)
    assert len({run.pk for run in found}) == 1
    assert SuiteRun.objects.count() == Job.objects.filter(kind="suite").count() == 1


def test_a_result_of_other_settings_does_not_stand(version: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    build.finish_suite(suiteruns.start(version=version, actor=None))
    monkeypatch.setattr(mini, "SCORING", mini.SCORING + 1)
    assert suiteruns.standing(version=version) is None


def test_its_result_is_read_back_and_its_answers_outlive_the_attempt(version: ModelVersion) -> None:
    run = build.finish_suite(suiteruns.start(version=version, actor=None), right={"MEDEC": 10})
    told = suiteruns.result(run)
    assert isinstance(told, SuiteResult)
    assert told.tasks["MEDEC"].score == 0.25
    assert run.job.result["suite_run"] == str(run.public_id)
    assert (suiteruns.folder_of(run.job) / "suite.json").read_text(encoding="utf-8") == told.to_json()
    with pytest.raises(IntegrityError), transaction.atomic():
        SuiteRun.objects.filter(pk=run.pk).update(finished_at=None)


def test_a_result_that_cannot_be_read_or_is_another_suites_fails_the_job(version: ModelVersion, tmp_path: Path) -> None:
    run = suiteruns.start(version=version, actor=None)
    output = tmp_path / "output"
    output.mkdir()
    (output / "suite.json").write_text("{}")
    with pytest.raises(EngineFailed):
        suiteruns.keep(run.job, output)
    with pytest.raises(EngineFailed, match="clue"), transaction.atomic():
        suiteruns.fill(job=run.job, told=dataclasses.replace(build.suite_result(), suite="clue"))


def test_a_failed_job_tried_again_takes_its_run_along(version: ModelVersion) -> None:
    run = suiteruns.start(version=version, actor=None)
    Job.objects.filter(pk=run.job.pk).update(state=State.FAILED)
    new = submissions.again(job=run.job, actor=None)
    run.refresh_from_db()
    assert run.job == new
    assert suiteruns.start(version=version, actor=None) == run


def test_a_failed_job_tried_again_after_somebody_asked_anew_is_that_one(version: ModelVersion) -> None:
    run = suiteruns.start(version=version, actor=None)
    Job.objects.filter(pk=run.job.pk).update(state=State.FAILED)
    second = suiteruns.start(version=version, actor=None)
    assert submissions.again(job=run.job, actor=None) == second.job


def test_a_planted_regression_in_one_task_of_twelve_is_found_and_the_same_model_again_has_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    before = build.suited(tmp_path, "champion", right={name: int(rng.integers(15, 30)) for name in mini.TASKS})
    right = {name: sum(task.items) for name, task in suiteruns.result(before).tasks.items()}
    worse = build.suited(tmp_path, "worse", right=right | {"LongHealth": right["LongHealth"] - 14})
    again = build.suited(tmp_path, "again", right=right)
    found = suiteruns.compare(before=before, after=worse)
    assert found.regressions == ("LongHealth", "mean")
    assert found.tasks["LongHealth"].value == pytest.approx(-14 / 40)
    assert found.tasks["LongHealth"].p is not None
    assert found.tasks["LongHealth"].p < 0.001
    assert suiteruns.compare(before=before, after=again).regressions == ()
    assert suiteruns.compare(before=worse, after=before).tasks["LongHealth"].value == pytest.approx(14 / 40)


def test_results_that_were_not_asked_in_the_same_way_are_refused(tmp_path: Path) -> None:
    before = build.suited(tmp_path, "one")
    unfinished = suiteruns.start(version=build.version(tmp_path, "two"), actor=None)
    with pytest.raises(suiteruns.SuitesDiffer, match="two has not been asked"):
        suiteruns.compare(before=before, after=unfinished)
    other = build.suited(tmp_path, "three", settings=build.suite_settings() | {"arithmetic": "bfloat16 on cuda"})
    with pytest.raises(suiteruns.SuitesDiffer, match=r"one and three were not asked in the same way \(arithmetic\)"):
        suiteruns.compare(before=before, after=other)


def test_what_cannot_be_asked_says_so(tmp_path: Path, version: ModelVersion) -> None:
    with pytest.raises(suiteruns.NotAskable, match="folder with your copies"):
        suiteruns.start(version=version, actor=None, suite="clue")
    ModelVersion.objects.filter(pk=version.pk).update(kind=Kind.ADAPTER)
    version.refresh_from_db()
    with pytest.raises(suiteruns.NotAskable, match="adapter"):
        suiteruns.start(version=version, actor=None)


def test_clue_has_a_run_too_and_stands_by_its_own_settings(tmp_path: Path, version: ModelVersion) -> None:
    job = clue_runs.start(version=version, data=tmp_path, actor=None)
    run = SuiteRun.objects.get(job=job)
    assert (run.suite, run.version) == ("clue", version)
    assert clue_runs.start(version=version, data=tmp_path / "elsewhere", actor=None) == job
    short = clue_runs.start(version=version, data=tmp_path, actor=None, limit=5)
    assert short != job
    told: dict[str, Any] = json.loads(build.suite_result().to_json()) | {"suite": "clue"}
    build.finish_suite(SuiteRun.objects.get(job=short), told=SuiteResult.of(told))
    assert suiteruns.standing(version=version, suite="clue") is None
    build.finish_suite(run, told=SuiteResult.of(told))
    assert suiteruns.standing(version=version, suite="clue") == run
    # It is asked anew whenever it is asked: the folder may hold other files.
    assert clue_runs.start(version=version, data=tmp_path, actor=None) != job
