"""Several who look after the loop at the same moment do nothing twice: each in a thread with a database connection of its own."""

from pathlib import Path

import pytest

from accounts.models import AuditEntry
from annotation.models import Snapshot
from jobs.models import Job
from tests.threads import at_once
from tests.training import build, looping
from training import loop_rounds
from training.models import LoopRound, Run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def counting_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_rounds, "LOOKING", float("inf"))
    monkeypatch.setattr(loop_rounds, "_next_count", {})


def test_many_who_look_at_once_do_nothing_twice(tmp_path: Path) -> None:
    build.version(tmp_path, "ward-sft")
    loop = looping.policy(looping.judged())

    def all_look() -> None:
        told = at_once(*[loop_rounds.look] * 4)
        assert not [one for one in told if isinstance(one, Exception)], told

    def counts() -> tuple[int, ...]:
        kinds = [Job.objects.filter(kind=kind).count() for kind in ("dpo", "evaluate", "suite")]
        return (LoopRound.objects.count(), Snapshot.objects.count(), Run.objects.count(), *kinds)

    all_look()
    all_look()
    assert counts() == (1, 1, 1, 1, 0, 0)
    one = LoopRound.objects.get()
    assert one.run is not None
    build.finish(one.run.job)
    all_look()
    assert counts() == (1, 1, 1, 1, 1, 2)
    one.refresh_from_db()
    assert one.evaluation is not None
    build.finish_evaluation(one.evaluation, value=0.7, low=0.6, high=0.8, n=240)
    for made in one.suite_runs.select_related("job"):
        build.finish_suite(made)
    all_look()
    one.refresh_from_db()
    assert one.state == "proposed"
    assert counts() == (1, 1, 1, 1, 1, 2)
    verbs = AuditEntry.objects.filter(verb__startswith="round.").values_list("verb", flat=True)
    assert sorted(verbs) == ["round.began", "round.proposed"]
    assert loop.rounds.count() == 1
