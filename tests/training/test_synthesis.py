"""A synthesis run from its grid to samples: what is written, judged, dropped, spoilt, compared and stored, and what is counted."""

import json
from typing import Any

import pytest

from accounts.models import AuditEntry
from annotation import near
from annotation.models import Sample
from jobs import kinds
from jobs.models import Job, State
from tests.training import build
from tests.training.synthesis import by_grammar, carry, start
from training import endpoints
from training.engine.grammar import answering, grid
from training.synthesis import backends, runs
from training.synthesis.models import SynthesisAnswer, SynthesisPair, SynthesisRun

pytestmark = pytest.mark.django_db


def test_a_run_ends_in_the_samples_that_were_asked_for() -> None:
    run = start(count=60)
    assert carry(run) == 5  # written at two temperatures, judged in as many jobs, trimmed
    assert run.state == "done"
    samples = list(Sample.objects.filter(source=run.source).order_by("pk"))
    assert len(samples) == 60
    assert {sample.task_type for sample in samples} <= set(grid.TASKS)
    assert run.source is not None
    assert (run.source.licence, run.source.synthetic) == ("CDLA-Permissive-2.0", True)
    assert all(1 <= sample.quality <= 4 and sample.difficulty is not None for sample in samples if sample.quality)
    assert all(json.loads(sample.output) is not None for sample in samples if sample.output_format == "json")
    pair = SynthesisPair.objects.filter(sample=samples[0]).select_related("item").get()
    assert (pair.item.instruction, pair.input, pair.output) == (samples[0].instruction, samples[0].input, samples[0].output)
    assert AuditEntry.objects.filter(verb="synthesis.done").exists()


def test_the_same_seed_makes_the_same_samples_to_the_byte(settings: Any) -> None:
    def texts(run: SynthesisRun) -> list[tuple[Any, ...]]:
        rows = Sample.objects.filter(source=run.source).order_by("external_id")
        return list(rows.values_list("external_id", "instruction", "input", "output", "rejected_output", "quality"))

    first = start(name="first", count=20, spoilt=0.5)
    carry(first)
    # The first run's held-out samples would be contamination of the second.
    found = texts(first)
    Sample.objects.filter(source=first.source).update(withdrawn_at="2026-01-01T00:00Z")
    second = start(name="second", count=20, spoilt=0.5)
    carry(second)
    third = start(name="third", count=20, spoilt=0.5, seed=2)
    carry(third)
    assert texts(second) == found
    assert {row[2] for row in texts(third)}.isdisjoint(row[2] for row in found)


def test_an_answer_that_is_not_in_the_tags_is_refused_and_counted() -> None:
    def script(row: dict[str, Any], number: int) -> str | None:
        if row["asked"]["stage"] == "write" and int(row["asked"]["seed"].split()[1]) % 2:
            return "Sure! Here is an instruction."
        return by_grammar(row, number)

    run = start(count=14)
    carry(run, script)
    counted = runs.counts(run)
    items = run.items.count()
    assert counted["reasons"]["instructions refused"] == {"no_tags": (items + 1) // 2}
    assert run.state == "done"
    refused = SynthesisAnswer.objects.filter(item__run=run, refused="no_tags")
    assert refused.count() == (items + 1) // 2
    assert refused[0].text == "Sure! Here is an instruction."


def test_a_score_is_the_count_weighted_mean_of_five_draws() -> None:
    def script(row: dict[str, Any], number: int) -> str | None:
        if row["asked"]["stage"] != "judge":
            return by_grammar(row, number)
        if number == 4:
            return "I would say good."
        return json.dumps({name: {"rationale": "So.", "score": (2, 3, 3, 4)[number]} for name in grid.CRITERIA})

    run = start(count=7)
    carry(run, script)
    assert set(run.items.values_list("mean", flat=True)) == {3.0}
    assert SynthesisAnswer.objects.filter(item__run=run, stage="judge", refused="not_json").count() == run.items.count()


def test_too_few_sound_judgements_refuse_the_instruction_and_its_pairs() -> None:
    run = start(count=7)
    carry(run, lambda row, number: "{}" if row["asked"]["stage"] == "judge" else by_grammar(row, number))
    counted = runs.counts(run)
    assert counted["reasons"]["instructions refused"] == {"judge wrong_criteria": run.items.count()}
    assert set(counted["reasons"]["pairs dropped"]) == {"not_judged"}
    assert (run.state, run.source) == ("done", None)


def test_what_a_server_leaves_unanswered_is_asked_three_times() -> None:
    run = start(count=7)
    jobs = carry(run, lambda row, number: None)
    assert runs.counts(run)["reasons"]["instructions refused"] == {"unanswered": run.items.count()}
    assert jobs == 3 * run.items.values("temperature").distinct().count()


def test_rejected_outputs_carry_one_of_twelve_errors_and_a_judge_finds_them_worse() -> None:
    run = start(count=40, spoilt=1.0)
    carry(run)
    pairs = SynthesisPair.objects.filter(item__run=run, state="stored")
    spoilt = [pair for pair in pairs if pair.rejected_output]
    assert len(spoilt) > 25
    assert {pair.error_type for pair in spoilt} <= set(grid.ERRORS)
    assert all(pair.rejected_output != pair.output and pair.preferred == "output" for pair in spoilt)
    without = [pair for pair in pairs if not pair.rejected_output]
    assert {pair.note for pair in without} <= {"tie", "preferred to the output"}
    assert Sample.objects.filter(source=run.source).exclude(rejected_output="").count() == len(spoilt)
    assert not Sample.objects.filter(source=run.source, rejected_output="").exclude(error_type="").exists()


def test_a_flip_between_the_orders_is_a_tie() -> None:
    def script(row: dict[str, Any], number: int) -> str | None:
        if row["asked"]["stage"] == "compare":
            return json.dumps({"rationale": "The first.", "better": "A"})
        return by_grammar(row, number)

    run = start(count=10, spoilt=1.0)
    carry(run, script)
    assert runs.counts(run)["reasons"]["without a rejected output"] == {"tie": 10}
    assert set(SynthesisPair.objects.filter(item__run=run, state="stored").values_list("preferred", flat=True)) == {"tie"}


def test_an_input_like_a_held_out_one_is_dropped(settings: Any, tmp_path: Any) -> None:
    first = start(name="first", count=30)
    carry(first)
    held_out = Sample.objects.filter(source=first.source, split="evaluation").count()
    second = start(name="second", count=30)
    carry(second)
    assert runs.counts(second)["reasons"]["pairs dropped"]["near_evaluation"] == held_out > 0

    stolen = Sample.objects.filter(source=first.source, split="train").order_by("pk")[0]
    file = tmp_path / "benchmark.jsonl"
    file.write_text(json.dumps({"question": "Before. " + " ".join(stolen.input.split()[:22]), "answer": ["A", "B"]}) + "\n")
    settings.ROUNDS_EVALUATION_TEXTS = [str(file)]
    third = start(name="third", count=30)
    carry(third)
    assert runs.counts(third)["reasons"]["pairs dropped"]["shares_words"] >= 1


def test_an_output_of_a_held_out_sample_is_dropped_and_counted() -> None:
    first = start(name="first", count=30)
    carry(first)
    held_out = Sample.objects.filter(source=first.source, split="evaluation").order_by("pk")[0]
    answer = " ".join(f"finding{number}" for number in range(24))
    Sample.objects.filter(pk=held_out.pk).update(output=answer)

    def script(row: dict[str, Any], number: int) -> str | None:
        text = by_grammar(row, number)
        if row["asked"]["stage"] != "write" or text is None:
            return text
        # As a model would that has learnt it by heart: the answer to another question.
        before, _, after = text.partition("<output>")
        return f"{before}<output>{answer}</output>{after.partition('</output>')[2]}"

    second = start(name="second", count=30, seed=2, formats=("plain_text",))
    carry(second, script)
    assert runs.counts(second)["reasons"]["pairs dropped"]["output_near_evaluation"] == second.items.count()


def test_a_judge_of_the_generators_family_needs_a_written_reason(settings: Any) -> None:
    settings.ROUNDS_GENERATION_ENDPOINTS = {
        "big": {"url": "http://localhost:9/v1", "model": "m1", "family": "Qwen"},
        "small": {"url": "http://localhost:9/v1", "model": "m2", "family": "qwen"},
    }
    pair = {"generator": backends.find("endpoint:big"), "judge": backends.find("endpoint:small", judging=True)}
    with pytest.raises(runs.NotStarted, match="another"):
        start(**pair)
    assert start(**pair, override="No other model fits on our card.").override == "No other model fits on our card."


def test_pause_lets_a_running_job_end_and_resume_goes_on() -> None:
    run = start(count=60)
    carry(run, most=1)
    runs.pause(run=run, actor=None)
    assert not run.steps.going().exists()
    assert carry(run) == 0
    runs.resume(run=run, actor=None)
    carry(run)
    assert (run.state, Sample.objects.filter(source=run.source).count()) == ("done", 60)


def test_a_stopped_run_stores_nothing_even_if_a_job_was_on_its_way() -> None:
    run = start(count=7)
    step = run.steps.get(stage="write", job__state=State.QUEUED)
    claim = build.claimed(step.job)
    runs.stop(run=run, actor=None)
    kind = kinds.get(step.job.kind)
    from jobs import claims

    claims.begin_publish(claim)
    item = run.items.first()
    assert item is not None
    answer = {"id": str(item.pk), "n": 0, "text": by_grammar({"asked": _asked(run)}, 0), "finish_reason": "stop", "tokens": 1}
    claims.publish(claim, kind=kind, result={"metrics": {}, "seconds": 1}, staged=[answer])
    run.refresh_from_db()
    assert (run.state, SynthesisPair.objects.count(), run.steps.going().count()) == ("stopped", 0, 0)
    with pytest.raises(runs.NotPossible):
        runs.resume(run=run, actor=None)


def _asked(run: SynthesisRun) -> dict[str, Any]:
    cell = grid.draw(count=1, seed=run.seed)[0]
    return {"stage": "write", "cell": cell.as_json(), "seed": "1 1"}


def test_a_failed_job_holds_its_rows_until_somebody_resumes() -> None:
    run = start(count=7)
    Job.objects.filter(synthesis_step__run=run).update(state=State.RUNNING)
    Job.objects.filter(synthesis_step__run=run).update(state=State.FAILED, error_code="endpoint_down")
    runs.advance(run=run)
    assert run.steps.count() == 2  # at the other temperature it goes on
    carry(run)
    blocking = runs.blocked(run)
    assert blocking is not None
    assert blocking.error_code == "endpoint_down"
    assert run.state == "running"
    runs.resume(run=run, actor=None)
    carry(run)
    assert (run.state, Sample.objects.filter(source=run.source).count()) == ("done", 7)


def test_publishing_the_same_answers_twice_doubles_nothing() -> None:
    run = start(count=7)
    carry(run, most=1)
    before = (SynthesisPair.objects.count(), SynthesisAnswer.objects.count())
    runs.advance(run=run)
    runs.advance(run=run)
    assert (SynthesisPair.objects.count(), SynthesisAnswer.objects.count()) == before
    assert run.steps.going().count() == len({step.stage for step in run.steps.going()})


def test_prices_are_the_operators(settings: Any) -> None:
    settings.ROUNDS_GENERATION_ENDPOINTS = {
        "big": {"url": "http://localhost:9/v1", "model": "m", "family": "other", "price_in": 2.0, "price_out": 10.0}
    }
    assert backends.price(backends.find("endpoint:big"), prompt_tokens=1_000_000, tokens=200_000, seconds=60) == 4.0
    assert backends.price(backends.find("grammar"), prompt_tokens=9, tokens=9, seconds=60) == 0
    run = start(count=7)
    carry(run)
    assert {row["stage"]: row["jobs"] for row in runs.spent(run)}["Trim"] == 1


def test_the_grammar_as_a_real_child_of_the_engine(tmp_path: Any) -> None:
    """Through the engine's own door, in a process of its own, without torch."""
    import subprocess
    import sys

    from training.engine import rundir

    run = start(count=7)
    step = run.steps.order_by("pk")[0]
    build.claimed(step.job)
    folder = tmp_path / "attempt"
    kinds.get("synthesise").prepare(step.job, folder)
    subprocess.run([sys.executable, "-m", "training.engine", str(folder)], check=True, timeout=120)
    result = rundir.read_result(folder)
    assert result is not None
    assert result["metrics"]["completions"] == step.asked
    items = list(rundir.read_jsonl(folder / "output" / "items.jsonl", {"id": str, "text": str}))
    rows = list(rundir.read_jsonl(folder / "inputs" / "prompts.jsonl", {"id": str, "asked": dict}))
    assert [item["text"] for item in items] == [answering.answer(row["asked"]) for row in rows]


def test_the_settings_say_what_a_server_may_see_and_costs(settings: Any) -> None:
    settings.ROUNDS_GENERATION_ENDPOINTS = {"ward": {"url": "http://localhost:9/v1", "model": "m", "documents": ["Notes"]}}
    assert endpoints.about("ward") == endpoints.About("ward", 0.0, 0.0, ("Notes",))


def test_no_two_inputs_of_a_run_are_alike() -> None:
    run = start(count=100)
    carry(run)
    inputs = list(Sample.objects.filter(source=run.source).values_list("input", flat=True))
    assert len(set(inputs)) == 100
    assert near.groups(range(100), inputs) == []


def test_coverage_counts_stored_samples_by_task_and_document() -> None:
    run = start(count=30, tasks=("summarization",), documents=("Dental Record",))
    carry(run)
    assert runs.coverage(run) == {("summarization", "Dental Record"): 30}
