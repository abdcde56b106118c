"""How long a run will take: from runs like it, from three measured steps, else by arithmetic; and what became of the promise."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from annotation.models import Snapshot
from jobs import claims, devices, pulses
from jobs.models import Job, Pulse
from modelhub.models import ModelVersion
from tests.training import build
from training import estimates, presets, runs
from training.models import Run

pytestmark = pytest.mark.django_db

# Three pairs a step, one epoch: a snapshot's train pairs in steps.
CHANGES = {"batch_size": 3}
STARTING = 6.0


@pytest.fixture
def sft(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-sft")


@pytest.fixture
def frozen() -> Snapshot:
    return build.snapshot()


def work(frozen: Snapshot, policy: ModelVersion, **changes: Any) -> estimates.Work:
    params = presets.checked(presets.named("demo"), CHANGES | changes)
    return estimates.work_of(kind="dpo", snapshot=frozen, policy=policy, params=params)


def carried_through(run: Run, *, a_step: float) -> Run:
    """As if its every step had taken `a_step` seconds, and starting and ending six seconds."""
    steps = estimates.work_of(kind="dpo", snapshot=run.snapshot, policy=run.policy, params=run.params).steps  # type: ignore[arg-type]
    Run.objects.filter(pk=run.pk).update(pace={"marks": [[100.0, 1], [100.0 + a_step * (steps - 1), steps]], "total": steps})
    build.finish(run.job, number=50.0 + run.pk, seconds=STARTING + a_step * steps)
    run.refresh_from_db()
    return run


def start(frozen: Snapshot, policy: ModelVersion, actor: User, name: str, **changes: Any) -> Run:
    return runs.start(snapshot=frozen, policy=policy, preset="demo", name=name, actor=actor, changes=CHANGES | changes)


def test_without_a_measurement_the_range_is_wide_and_says_so(frozen: Snapshot, sft: ModelVersion) -> None:
    guess = estimates.of(work(frozen, sft))
    assert "for want of a measurement" in guess.basis
    assert guess.high > 3 * guess.low


def test_steps_are_counted_as_the_trainer_counts_them(frozen: Snapshot, sft: ModelVersion) -> None:
    pairs = build.train_pairs(frozen)
    assert work(frozen, sft).steps == -(-pairs // 3)
    assert work(frozen, sft, epochs=2.0).steps == 2 * -(-pairs // 3)
    assert work(frozen, sft, batch_size=2, gradient_accumulation=4).steps == -(-pairs // 8)


def test_one_past_run_foretells_a_longer_one_by_its_steps_and_not_by_its_start(frozen: Snapshot, sft: ModelVersion, dan: User) -> None:
    done = carried_through(start(frozen, sft, dan, "first"), a_step=0.5)
    steps = done.pace["total"]
    known = estimates.of(work(frozen, sft, epochs=10.0))
    assert known.basis == "one past run like this"
    assert known.seconds == pytest.approx(STARTING + 0.5 * 10 * steps)
    assert (known.low, known.high) == (pytest.approx(known.seconds / 1.35), pytest.approx(known.seconds * 1.35))


def test_beta_and_rate_leave_the_time_alone_and_the_rank_does_not(frozen: Snapshot, sft: ModelVersion, dan: User) -> None:
    carried_through(start(frozen, sft, dan, "first"), a_step=0.5)
    assert estimates.of(work(frozen, sft, beta=0.3, learning_rate=1e-4)).basis == "one past run like this"
    assert estimates.of(work(frozen, sft, lora_r=64)).basis == "past runs with other settings"


def test_the_third_run_is_foretold_from_the_scatter_of_two(frozen: Snapshot, sft: ModelVersion, dan: User) -> None:
    carried_through(start(frozen, sft, dan, "first"), a_step=0.4)
    carried_through(start(frozen, sft, dan, "second", epochs=4.0), a_step=0.5)
    known = estimates.of(work(frozen, sft, epochs=8.0))
    steps = work(frozen, sft, epochs=8.0).steps
    assert known.basis == "2 past runs like this"
    assert known.seconds == pytest.approx(STARTING + 0.45 * steps)
    assert known.low < STARTING + 0.4 * steps < STARTING + 0.5 * steps < known.high


def test_a_run_says_what_was_promised_and_what_it_took(as_dan: Client, frozen: Snapshot, sft: ModelVersion, dan: User) -> None:
    carried_through(start(frozen, sft, dan, "first"), a_step=0.5)
    second = carried_through(start(frozen, sft, dan, "second"), a_step=0.5)
    promised = estimates.kept(second)
    assert promised is not None
    assert (promised.took, promised.verdict) == (pytest.approx(STARTING + 0.5 * second.pace["total"]), "as expected")
    assert promised.low < promised.took < promised.high


def probed(job: Job, metrics: dict[str, Any]) -> None:
    claim = build.claimed(job)
    from jobs import kinds

    claims.begin_publish(claim)
    result = {"schema": 1, "ok": True, "kind": "dpo", "metrics": metrics, "seconds": 9.0, "output": None, "items": None}
    claims.publish(claim, kind=kinds.get("probe"), result=result, staged=None)


def test_three_steps_measured_on_a_worker_make_the_estimate(as_dan: Client, frozen: Snapshot, sft: ModelVersion) -> None:
    sent = {"snapshot": frozen.public_id, "policy": sft.public_id, "preset": "demo", "name": "ward-dpo-1", "batch_size": "3"}
    answer = as_dan.post("/runs/new/measure/", sent)
    assert answer.headers["Location"].startswith("/runs/new/?")
    assert "batch_size=3" in answer.headers["Location"]
    job = Job.objects.get(kind="probe")
    assert (job.spec["of"], job.max_attempts) == ("dpo", 1)
    assert "measuring" in as_dan.get("/runs/new/", sent).text
    probed(job, {"startup_seconds": 4.0, "seconds_per_step": 0.25, "tokens_per_second": 900.0, "steps_total": 9, "peak_rss_mb": 300.0})
    page = as_dan.get("/runs/new/", sent)
    known = page.context["estimate"]
    assert known.basis == f"three steps measured on {devices.here()}"
    assert known.seconds == pytest.approx((9.0 - 3 * 0.25) * 1.2 + 0.25 * work(frozen, sft).steps)
    assert "0.25 s a step" in page.text
    # A machine that is not there any more does not foretell one that is.
    pulses.beat("worker:first", ["compute"])
    Pulse.objects.update(host="elsewhere")
    assert "for want of" in estimates.of(work(frozen, sft)).basis
    pulses.beat("worker:second", ["compute"])
    assert estimates.of(work(frozen, sft)).seconds == pytest.approx(known.seconds)
    # Asked with other settings it is not known.
    other = as_dan.get("/runs/new/", sent | {"batch_size": "4"})
    assert "for want of" in other.context["estimate"].basis


def test_measuring_twice_at_once_is_one_measurement(as_dan: Client, frozen: Snapshot, sft: ModelVersion) -> None:
    sent = {"snapshot": frozen.public_id, "policy": sft.public_id, "preset": "demo", "name": "x"}
    as_dan.post("/runs/new/measure/", sent)
    as_dan.post("/runs/new/measure/", sent)
    assert Job.objects.filter(kind="probe").count() == 1
    assert not Run.objects.exists()


def test_a_measurement_that_failed_says_why(as_dan: Client, frozen: Snapshot, sft: ModelVersion) -> None:
    sent = {"snapshot": frozen.public_id, "policy": sft.public_id, "preset": "demo", "name": "x"}
    as_dan.post("/runs/new/measure/", sent)
    claims.fail(build.claimed(Job.objects.get(kind="probe")), code="out_of_memory", detail="out of memory")
    assert "out of memory" in as_dan.get("/runs/new/", sent).text


def test_energy_and_cost_follow_from_what_the_operator_states(settings: Any) -> None:
    hour = estimates.Estimate(3600.0, 1800.0, 7200.0, "test")
    settings.ROUNDS_WATTS, settings.ROUNDS_ENGINE_THREADS, settings.ROUNDS_HOUR_PRICE = 200.0, 4, 0.0
    assert (hour.cost.hours, hour.cost.watt_hours, hour.cost.price) == ((2.0, 8.0), (100.0, 400.0), None)
    settings.ROUNDS_HOUR_PRICE, settings.ROUNDS_CURRENCY = 3.0, "EUR"
    assert (hour.cost.price, hour.cost.currency) == ((1.5, 6.0), "EUR")


@pytest.mark.parametrize("who", ["alice", "carol", "sam"])
def test_only_trainers_measure(request: pytest.FixtureRequest, who: str) -> None:
    assert request.getfixturevalue(f"as_{who}").post("/runs/new/measure/", {}).status_code == 403


def test_what_remains_follows_the_steps_so_far() -> None:
    steady = Run(pace={"marks": [[0.0, 0], [10.0, 10], [20.0, 20], [30.0, 30]], "total": 90})
    assert estimates.remaining(steady) == (pytest.approx(60.0), pytest.approx(60.0))
    slowing = Run(pace={"marks": [[0.0, 0], [10.0, 10], [20.0, 20], [40.0, 30], [60.0, 40]], "total": 60})
    low, high = estimates.remaining(slowing) or (0.0, 0.0)
    assert low < 20 * 60 / 40 < 40.0 < high
    assert estimates.remaining(Run(pace={})) is None
    assert estimates.remaining(Run(pace={"marks": [[0.0, 0], [1.0, 1], [2.0, 2]], "total": 2})) is None


def test_the_name_of_a_shape_is_the_same_whatever_the_order() -> None:
    assert estimates.shape({"batch_size": 4, "lora": {"r": 4, "alpha": 8}}) == estimates.shape(
        {"lora": {"alpha": 8, "r": 4}, "batch_size": 4}
    )
