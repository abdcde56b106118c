"""Would more judgements help: a run beside one on half of its prompts, on the same held-out pairs."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from annotation.models import Snapshot
from tests.training import build
from training import evaluations, learning, runs
from training.models import Evaluation, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def whole(dan: User, tmp_path: Path) -> Run:
    sft = build.version(tmp_path, "ward-sft")
    return runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="ward-dpo-1", actor=dan, also_half=True)


def end(run: Run, number: float, **metrics: Any) -> Run:
    build.finish(run.job, number=number, metrics=metrics)
    return Run.objects.for_page().get(pk=run.pk)


def ended(whole: Run, *, half: tuple[float, int], full: tuple[float, int], n: int) -> learning.LearningCurve:
    (half_share, half_pairs), (share, pairs) = half, full
    end(whole.half, 7.0, validation_accuracy=half_share, validation_pairs=n, pairs=half_pairs, validation_loss=0.61)
    found = learning.of(end(whole, 8.0, validation_accuracy=share, validation_pairs=n, pairs=pairs, validation_loss=0.55))
    assert found is not None
    return found


def test_there_is_none_until_both_are_done(whole: Run) -> None:
    assert learning.of(whole) is None
    end(whole.half, 7.0)
    assert learning.of(Run.objects.for_page().get(pk=whole.pk)) is None


def test_few_held_out_pairs_give_no_figure_and_no_advice(whole: Run) -> None:
    found = ended(whole, half=(0.5, 12), full=(0.9, 24), n=12)
    assert (found.half.accuracy.value, found.whole.accuracy.value) == (None, None)
    assert "n too small: 12 held-out pairs" in found.verdict
    assert found.chart == ""
    assert (found.half.loss, found.whole.loss) == (0.61, 0.55)


# Newcombe's method 10 by hand: 0.7 − 0.5 of 400 each is 0.20 (0.1325 to 0.2649).
def test_a_clear_gain_asks_for_more_judgements(whole: Run) -> None:
    found = ended(whole, half=(0.5, 200), full=(0.7, 400), n=400)
    assert "+20.0 points (+13.3 to +26.5)" in found.verdict
    assert "worth asking for" in found.verdict
    assert "<svg" in found.chart


def test_no_gain_on_many_pairs_says_that_more_would_hardly_help(whole: Run) -> None:
    assert "would hardly help" in ended(whole, half=(0.7, 200), full=(0.69, 400), n=20000).verdict


def test_a_small_gain_on_few_pairs_decides_nothing(whole: Run) -> None:
    assert "n too small to say whether" in ended(whole, half=(0.6, 20), full=(0.7, 40), n=50).verdict


def test_where_both_were_compared_the_evaluation_split_counts(whole: Run, dan: User) -> None:
    ended(whole, half=(0.5, 12), full=(0.9, 24), n=12)
    half = Run.objects.get(pk=whole.half.pk)
    made = Run.objects.for_page().get(pk=whole.pk)
    assert isinstance(made.snapshot, Snapshot)
    for run, value in ((half, 0.6), (made, 0.75)):
        assert run.output is not None
        assert run.policy is not None
        started = evaluations.start(policy=run.output, reference=run.policy, snapshot=made.snapshot, actor=dan)
        Evaluation.objects.filter(pk=started.pk).update(
            results=build.accuracy(value, value - 0.05, value + 0.05, 300), finished_at=started.created_at
        )
    found = learning.of(made)
    assert found is not None
    assert found.held_out == "the evaluation split"
    assert (found.half.accuracy.value, found.whole.accuracy.value, found.whole.accuracy.n) == (0.6, 0.75, 300)


def test_both_pages_show_the_curve(as_dan: Client, whole: Run) -> None:
    assert "stands here once this run and" in as_dan.get(f"/runs/{whole.pk}/").text
    ended(whole, half=(0.5, 200), full=(0.7, 400), n=400)
    for pk in (whole.pk, whole.half.pk):
        page = as_dan.get(f"/runs/{pk}/").text
        assert "Would more judgements help?" in page
        assert "70 % (65 % to 74 %), n = 400" in page
