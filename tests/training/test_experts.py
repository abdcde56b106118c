"""Experts from documents: what a job may read, what it is called, what its lineage says, and what is asked of it."""

import contextlib
import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from accounts.models import AuditEntry, User
from annotation import documents
from annotation.models import Corpus, Document
from jobs import claims, kinds
from jobs.attempts import folder_of
from jobs.errors import Unprepared
from jobs.models import Job
from modelhub.models import LineageEdge, ModelVersion
from tests.cast import signed_in
from tests.training import build
from training import evaluations, experts, runs, specs
from training.engine import rundir
from training.engine.errors import SpecError
from training.models import Run

pytestmark = pytest.mark.django_db
SPLITS = ("train", "validation")
GROUPS = ("pubmed", "clinical", "medcode", "guideline", "medwiki", "other")


def corpus(name: str = "wiki", group: str = "medwiki", *, n: int = 60, outputs: bool = True) -> Corpus:
    rows = [
        {
            "id": str(number), "title": f"Illness {number}", "text": f"Illness {number} hurts in place {number}.",
            **({"outputs": {"qa": [[f"Where does illness {number} hurt?", f"In place {number}."]]}} if outputs else {}),
        }
        for number in range(n)
    ]  # fmt: skip
    file = io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode())
    documents.import_jsonl(file=file, corpus=name, group=group, licence="CC-BY-4.0", actor=None)
    return Corpus.objects.get(name=name)


@pytest.fixture
def base(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-base", "base", licence="MIT")


def given(run: Run, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder_of(run.job, 1) / "inputs" / name).open()]


def test_an_expert_reads_the_training_documents_and_nothing_that_is_held_out(dan: User, base: ModelVersion) -> None:
    wiki = corpus()
    run = experts.start(corpus=wiki, policy=base, preset="pit-demo", name="wiki-expert", actor=dan)
    build.finish(run.job, metrics={"loss_phase_2": 1.0})
    assert rundir.read_spec(folder_of(run.job, 1)).kind == "pit"
    read = {
        split: {str(pk) for pk in Document.objects.filter(split=split).values_list("pk", flat=True)} for split in ("train", "validation")
    }
    assert {row["id"] for row in given(run, "documents.jsonl")} == read["train"]
    assert {row["id"] for row in given(run, "validation.jsonl")} == read["validation"]
    assert given(run, "documents.jsonl")[0]["outputs"]["qa"]


def test_it_becomes_a_version_whose_lineage_names_the_corpus_as_it_was(dan: User, base: ModelVersion) -> None:
    wiki = corpus()
    run = experts.start(corpus=wiki, policy=base, preset="pit-demo", name="wiki-expert", actor=dan)
    build.finish(run.job)
    made = ModelVersion.objects.get(name="wiki-expert")
    assert (made.kind, made.toy, made.licence) == ("expert", False, "CC-BY-4.0 and MIT")
    edges = {
        (edge.role, edge.parent and edge.parent.name, edge.source_kind, edge.source_digest, edge.source_label)
        for edge in LineageEdge.objects.filter(child=made)
    }
    assert edges == {("base", "ward-base", "", "", ""), ("corpus", None, "corpus", wiki.digest, "wiki")}
    assert AuditEntry.objects.get(verb="run.started").actor_name == "dan"
    run.refresh_from_db()
    assert (run.output, run.policy) == (made, base)


def test_a_corpus_that_changed_while_the_job_waited_trains_nothing(dan: User, base: ModelVersion, tmp_path: Path) -> None:
    wiki = corpus()
    run = experts.start(corpus=wiki, policy=base, preset="pit-demo", name="wiki-expert", actor=dan)
    documents.withdraw(document=Document.objects.filter(split="train")[0], actor=None)
    with pytest.raises(Unprepared, match="wiki has changed"):
        specs.prepare(run.job, tmp_path / "attempt")


def test_the_papers_recipe_is_plain_pre_training_for_pubmed_and_pit_for_the_others() -> None:
    groups = {
        group: experts.recipe_for(Corpus(group=group)) for group in ("pubmed", "clinical", "medcode", "guideline", "medwiki", "other")
    }
    assert groups == {"pubmed": "dapt", "clinical": "pit", "medcode": "pit", "guideline": "pit", "medwiki": "pit", "other": "pit"}
    assert experts.recipe_for(Corpus(group="pubmed"), "pit") == "pit"


def test_a_recipe_that_wants_summaries_takes_the_task_that_is_there(dan: User, base: ModelVersion) -> None:
    run = experts.start(corpus=corpus(), policy=base, preset="pit-paper", name="wiki-expert", actor=dan)
    assert run.params["outputs"] == "qa"
    with pytest.raises(runs.Refused, match="No document of wiki has summary"):
        experts.start(
            corpus=Corpus.objects.get(), policy=base, preset="pit-paper", name="other", actor=dan, changes={"outputs": "summary"}
        )  # fmt: skip


def test_what_cannot_be_used_is_refused_and_nothing_is_queued(dan: User, base: ModelVersion) -> None:
    bare = corpus("bare", outputs=False)
    with pytest.raises(runs.Refused, match="plain pre-training"):
        experts.start(corpus=bare, policy=base, preset="pit-demo", name="x", actor=dan)
    with pytest.raises(runs.Refused, match="Choose another name"):
        experts.start(corpus=bare, policy=base, preset="dapt-demo", name="ward-base", actor=dan)
    with pytest.raises(SpecError, match="learning_rate"):
        experts.start(corpus=bare, policy=base, preset="dapt-demo", name="x", actor=dan, changes={"learning_rate": -1.0})
    Document.objects.all()._raw_delete(using="default")
    with pytest.raises(runs.Refused, match="no documents"):
        experts.start(corpus=bare, policy=base, preset="dapt-demo", name="x", actor=dan)
    assert not Run.objects.exists()


def test_a_base_of_several_corpora_is_a_toy_and_its_experts_wait_for_it(dan: User) -> None:
    wiki, codes = corpus(), corpus("codes", "medcode", n=30)
    start = experts.base(corpora=[wiki, codes], name="little-base", actor=dan, preset="test", most=8)
    expert = experts.start(corpus=codes, policy=start, preset="pit-test", name="codes-expert", actor=dan, most=8)
    assert list(expert.job.waits_for.all()) == [start.job]
    build.finish(start.job)
    assert len(given(start, "documents.jsonl")) == 16
    assert not (folder_of(start.job, 1) / "inputs" / "validation.jsonl").exists()
    build.finish(expert.job, number=10.0)
    assert len(given(expert, "validation.jsonl")) <= 2
    made = ModelVersion.objects.get(name="codes-expert")
    assert made.toy
    sources = LineageEdge.objects.filter(child__name="little-base").values_list("source_label", flat=True)
    assert set(sources) == {"wiki", "codes"}


# --- what is asked -----------------------------------------------------------------------------------------------------------------


def test_questions_are_about_held_out_documents_with_three_other_answers_of_the_same_form() -> None:
    rows = [
        {"id": f"{form}{number}", "text": f"{form} {number}", "outputs": {"qa": [[f"{form} is the {number}?", f"{form} {number}"]]}}
        for form in ("What", "Which")
        for number in range(60)
    ]
    file = io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode())
    documents.import_jsonl(file=file, corpus="both", group="medcode", licence="MIT", actor=None)
    found = specs.choices(Corpus.objects.get(), most=1000)
    held = {str(pk) for pk in Document.objects.filter(split="evaluation").values_list("pk", flat=True)}
    assert {row["id"] for row in found} == held
    for row in found:
        form = row["question"].split()[0]
        assert row["answers"][0] == row["question"].replace(" is the", "").removesuffix("?")
        assert [answer.split()[0] for answer in row["answers"]] == [form] * 4
        assert len(set(row["answers"])) == 4
    assert specs.choices(Corpus.objects.get(), most=5) == found[:5]


def test_long_answers_are_given_by_their_first_sentences() -> None:
    assert specs.shortened("Short.") == "Short."
    assert specs.shortened("One. " + "Two words " * 40) == "One."
    assert specs.shortened("word " * 60) == ("word " * 48).strip()
    assert len(specs.shortened("x" * 999)) == 240


def test_an_expert_is_compared_with_its_base_and_the_page_says_how_it_did(dan: User, base: ModelVersion, tmp_path: Path) -> None:
    wiki = corpus()
    expert = build.version(tmp_path, "wiki-expert", "expert")
    asked = evaluations.on_corpus(policy=expert, reference=base, corpus=wiki, actor=dan, most=4)

    def figure(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 4}

    told = {
        "questions": 4, "accuracy": {"policy": figure(0.75), "reference": figure(0.25)}, "accuracy_difference": figure(0.5),
        "logp": {"policy": figure(-2.0), "reference": figure(-3.0)}, "logp_difference": figure(1.0),
    }  # fmt: skip
    build.finish(asked.job, metrics={"choices": {"wiki": told, "all": told}}, items=[{"type": "choice", "id": "1", "policy": [0.0]}])
    rows = [json.loads(line) for line in (folder_of(asked.job, 1) / "inputs" / "choices.jsonl").open()]
    assert len(rows) == 4
    page = signed_in(dan).get(reverse("training:evaluation", args=[asked.public_id])).content.decode()
    assert "Questions about held-out documents" in page
    assert "0.500 (0.400 to 0.600)" in page


def test_a_corpus_without_held_out_questions_is_said_so(dan: User, base: ModelVersion) -> None:
    with pytest.raises(evaluations.NothingHeldOut, match="bare"):
        evaluations.on_corpus(policy=base, reference=base, corpus=corpus("bare", outputs=False), actor=dan)


def test_the_command_names_what_is_missing() -> None:
    with pytest.raises(CommandError, match="No corpus is called 'nowhere'"):
        call_command("pit_experts", "--corpus", "nowhere", "--base", "x")


def carried_through(ids: list[int]) -> None:
    """What a worker does with each job, with the real engine in this process."""
    from training.engine import attempt

    for job in Job.objects.filter(pk__in=ids).order_by("pk"):
        claim = build.claimed(job)
        kind, folder = kinds.get(job.kind), folder_of(job, claim.number)
        folder.mkdir(parents=True)
        kind.prepare(job, folder)
        before = signal.getsignal(signal.SIGTERM)
        assert attempt.main(folder) == 0, rundir.read_result(folder)
        signal.signal(signal.SIGTERM, before)
        result = rundir.read_result(folder)
        assert result is not None
        claims.begin_publish(claim)
        claims.publish(claim, kind=kind, result=result, staged=kind.stage(job, result, folder))


@pytest.mark.engine
def test_the_command_registers_an_expert_a_corpus_each_scored_against_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl", reason="the engine's packages are not installed")
    corpus()
    corpus("abstracts", "pubmed")
    monkeypatch.setattr("training.workers.ensured", lambda **told: contextlib.nullcontext())

    def wait_for(ids: list[int]) -> None:
        # The base is waited for by the experts, and by nobody else.
        waiting = list(Job.objects.filter(pk__in=ids, waits_for__state="queued").values_list("waits_for", flat=True).distinct())
        carried_through(waiting)
        carried_through(ids)

    monkeypatch.setattr("training.loop.wait_for", wait_for)
    out = io.StringIO()
    call_command(
        "pit_experts", "--corpus", "wiki", "--corpus", "abstracts", "--new-base", "little", "--preset", "test", "--documents", "8",
        "--questions", "6", "--json", stdout=out, stderr=io.StringIO(),
    )  # fmt: skip
    told = json.loads(out.getvalue())
    assert {name: (found["expert"], found["recipe"], found["questions"]) for name, found in told.items()} == {
        "wiki": ("wiki-expert", "pit-test", 6), "abstracts": ("abstracts-expert", "dapt-test", 6),
    }  # fmt: skip
    for found in told.values():
        gained = found["logp_difference"]
        assert gained["low"] <= gained["value"] <= gained["high"]
        assert gained["value"] == pytest.approx(found["logp"]["policy"]["value"] - found["logp"]["reference"]["value"])
    assert set(ModelVersion.objects.values_list("name", "kind")) == {
        ("little", "base"), ("wiki-expert", "expert"), ("abstracts-expert", "expert"),
    }  # fmt: skip
    parents = LineageEdge.objects.filter(child__name="wiki-expert").values_list("parent__name", "source_label")
    assert set(parents) == {("little", ""), (None, "wiki")}
