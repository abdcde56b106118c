"""The tiny family's jobs: their order, their names, their lineage."""

import pytest

from accounts.models import User
from jobs.models import Job, State
from modelhub.models import LineageEdge, ModelVersion
from tests.training import build
from training import families
from training.engine import toytext
from training.models import Run

pytestmark = pytest.mark.django_db


def test_thirteen_jobs_wait_for_each_other_as_the_plan_says(dan: User) -> None:
    families.start(preset="test", actor=dan)
    waits = {
        job.run.name.removeprefix("toy-"): {other.run.name.removeprefix("toy-") for other in job.waits_for.all()}
        for job in Job.objects.select_related("run").prefetch_related("waits_for__run")
    }
    expected: dict[str, set[str]] = {"base": set(), "merged": {"base"} | {f"slerp-{d}" for d in toytext.DOMAINS}, "sft": {"merged"}}
    for domain in toytext.DOMAINS:
        expected |= {f"expert-{domain}": {"base"}, f"slerp-{domain}": {"base", f"expert-{domain}"}}
    assert waits == expected


def test_only_the_base_can_be_claimed_at_first(dan: User) -> None:
    families.start(preset="test", actor=dan)
    assert [job.run.name for job in Job.objects.claimable()] == ["toy-base"]


def test_carried_through_it_leaves_toys_whose_lineage_leads_to_the_base(dan: User) -> None:
    made = families.start(preset="test", actor=dan)
    for number, run in enumerate(made):
        build.finish(run.job, number=100.0 + number)
    found = {version.name: version for version in ModelVersion.objects.all()}
    assert len(found) == 13
    assert all(version.toy and not version.simulated for version in found.values())
    assert {name: version.kind for name, version in found.items() if "-expert-" not in name and "-slerp-" not in name} == {
        "toy-base": "base", "toy-merged": "merged", "toy-sft": "sft",
    }  # fmt: skip
    assert {found[f"toy-{stage}-{domain}"].kind for stage in ("expert", "slerp") for domain in toytext.DOMAINS} == {"expert"}
    edges = LineageEdge.objects.filter(child=found["toy-merged"]).values_list("role", "parent__name")
    assert set(edges) == {("base", "toy-base")} | {(f"expert:{domain}", f"toy-slerp-{domain}") for domain in toytext.DOMAINS}
    corpora = LineageEdge.objects.filter(source_kind="corpus").values_list("child__name", flat=True)
    assert set(corpora) == {"toy-base", "toy-sft"} | {f"toy-expert-{domain}" for domain in toytext.DOMAINS}
    sft = Run.objects.get(name="toy-sft")
    assert (sft.output, sft.policy) == (found["toy-sft"], found["toy-merged"])
    progress = families.progress()
    assert progress is not None
    assert (progress.done, progress.total, progress.finished, progress.percent) == (13, 13, True, 100)


def test_a_second_family_has_names_of_its_own(dan: User) -> None:
    families.start(preset="test", actor=dan)
    Job.objects.update(state=State.CANCELLED)
    families.start(preset="test", actor=dan, seed=2)
    assert Run.objects.filter(name__startswith="toy2-").count() == 13
    assert set(Run.objects.filter(name__startswith="toy2-").values_list("seed", flat=True)) == {2}
