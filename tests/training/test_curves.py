"""What a page draws of a run's measurements, however many there are."""

from pathlib import Path

import pytest

from accounts.models import User
from tests.training import build
from training import curves, runs
from training.models import MetricPoint, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(dan: User, tmp_path: Path) -> Run:
    return runs.start(snapshot=build.snapshot(), policy=build.version(tmp_path, "ward-sft"), preset="demo", name="ward-dpo-1", actor=dan)


def measure(run: Run, name: str, values: list[float]) -> None:
    MetricPoint.objects.bulk_create(MetricPoint(run=run, step=step, name=name, value=value) for step, value in enumerate(values, start=1))


def test_a_short_run_is_drawn_as_it_was_measured(run: Run) -> None:
    measure(run, "loss", [0.69, 0.5, 0.6])
    assert curves.of_run(run) == {"loss": [(1, 0.69), (2, 0.5), (3, 0.6)]}


def test_a_long_run_is_averaged_in_equal_windows_and_loses_no_metric(run: Run, django_assert_num_queries: object) -> None:
    measure(run, "loss", [float(step % 2) for step in range(2000)])
    MetricPoint.objects.create(run=run, step=1000, name="kl", value=0.3)
    with django_assert_num_queries(2):  # type: ignore[operator]
        found = curves.of_run(run)
    assert len(found["loss"]) <= curves.MOST_POINTS
    assert found["loss"][-1][0] == 2000
    assert all(abs(value - 0.5) < 0.06 for _, value in found["loss"][1:-1])
    assert found["kl"] == [(1000, 0.3)]


def test_a_figure_that_is_no_number_stays_one(run: Run) -> None:
    measure(run, "loss", [0.69, float("nan")])
    assert str(curves.of_run(run)["loss"][1][1]) == "nan"
    assert curves.charts(curves.of_run(run))


def test_runs_are_laid_over_each_other_in_what_all_of_them_have(run: Run) -> None:
    one = {"loss": [(1, 0.7), (2, 0.6)], "eval_loss": [(2, 0.65)], "kl": [(2, 0.1)]}
    other = {"loss": [(1, 0.7), (2, 0.5)], "eval_loss": [(2, 0.66)]}
    drawn = curves.overlaid([("a", one), ("b", other)])
    assert len(drawn) == 1
    assert "Loss, held out" in drawn[0]
