"""Which questions a merge is asked about what it kept."""

from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from jobs.models import Job
from modelhub.models import ModelVersion
from tests.training import build
from training import families, retained, specs
from training.engine import toytext

pytestmark = pytest.mark.django_db


def taught(tmp_path: Path, name: str, domain: str, **options: Any) -> ModelVersion:
    corpus = ("corpus", "0" * 64, f"toy corpus {domain}", "corpus")
    return build.version(tmp_path, name, "expert", toy=True, sources=[corpus], **options)


def test_an_experts_domain_is_its_corpus_and_its_slerps_too(tmp_path: Path) -> None:
    base = build.version(tmp_path, "toy-base", "base", toy=True)
    expert, other = taught(tmp_path, "one", "medwiki", parents=[(base, "base")]), taught(tmp_path, "two", "clinical")
    slerped = build.version(tmp_path, "three", "expert", toy=True, parents=[(base, "base"), (expert, "expert:medwiki")])
    both = build.version(tmp_path, "four", "merged", toy=True, parents=[(expert, "expert:a"), (other, "expert:b")])
    assert [retained.domain_of(version) for version in (base, expert, other, slerped, both)] == [
        None,
        "medwiki",
        "clinical",
        "medwiki",
        None,
    ]
    rows = retained.rows({"base": base, "x": slerped, "y": both}, base="base")
    assert len(rows) == 32
    assert {(row["expert"], row["domain"]) for row in rows} == {("x", "medwiki")}


def test_only_toys_are_asked_and_never_an_evaluation_question(tmp_path: Path) -> None:
    expert = taught(tmp_path, "one", "guideline")
    held_out = {row["messages"][0]["content"] for row in toytext.questions("guideline", 96, 0, "held_out")}
    assert not {row["messages"][0]["content"] for row in retained.rows({"x": expert}, base=None)} & held_out
    ModelVersion.objects.filter(pk=expert.pk).update(toy=False)
    expert.refresh_from_db()
    assert retained.rows({"x": expert}, base=None) == []


def test_the_familys_merge_is_asked_about_all_five(dan: User) -> None:
    made = families.start(preset="test", actor=dan)
    for number, run in enumerate(made[:11]):
        build.finish(run.job, number=100.0 + number)
    files = dict(specs.inputs(Job.objects.get(run__name="toy-merged")))
    assert {row["domain"] for row in files["retention.jsonl"]} == set(toytext.DOMAINS)
    assert len({row["expert"] for row in files["retention.jsonl"]}) == 5
