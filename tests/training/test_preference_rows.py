"""What a preference run's files hold: each pair with its probability, imported preferences to mix in, single answers for KTO."""

from pathlib import Path
from typing import Any

import pytest

from accounts.models import Role, User
from annotation import campaigns, snapshot_rows, snapshots
from annotation.models import Sample, Snapshot, SnapshotRow, Split, Verdict
from jobs.errors import Unprepared
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from tests.training import build
from training import runs, specs
from training.engine import references

pytestmark = pytest.mark.django_db


@pytest.fixture
def sft(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "medical-sft")


def files(snapshot: Snapshot, policy: ModelVersion, dan: User, preset: str = "demo", **changes: Any) -> dict[str, list[dict[str, Any]]]:
    run = runs.start(snapshot=snapshot, policy=policy, preset=preset, name=f"run-{preset}-{len(changes)}", actor=dan, changes=changes)
    return {name: list(rows) for name, rows in specs.inputs(run.job)}


def test_a_pair_comes_with_its_probability_and_its_id(dan: User, sft: ModelVersion) -> None:
    rows = files(build.snapshot(), sft, dan)["train.jsonl"]
    assert set(rows[0]) == {"id", "prompt", "chosen", "rejected", "p_chosen"}
    # One "much better" or one "slightly better", with one imaginary vote for "equal": (0.92 + 0.5) / 2 and (0.75 + 0.5) / 2.
    assert {row["p_chosen"] for row in rows} == {0.71, 0.625}
    assert len({row["id"] for row in rows}) == len(rows)


def test_imported_preferences_of_the_same_source_are_mixed_in_and_no_others(dan: User, sft: ModelVersion) -> None:
    frozen = build.snapshot()
    assert "replay.jsonl" not in files(frozen, sft, dan)
    with pytest.raises(Unprepared, match="No sample of the snapshot's sources has a rejected output"):
        files(frozen, sft, dan, replay=0.2)
    ours = Sample.objects.filter(prompts__in=SnapshotRow.objects.filter(snapshot=frozen).values("prompt"), split=Split.TRAIN).order_by("pk")
    Sample.objects.filter(pk__in=[sample.pk for sample in ours[:3]]).update(output="Right.", rejected_output="Wrong.")
    Sample.objects.filter(split=Split.EVALUATION).update(output="Right.", rejected_output="Kept out of training.")
    rows = files(frozen, sft, dan, replay=0.2, beta=0.2)["replay.jsonl"]
    assert [row["id"] for row in rows] == [f"sample {sample.pk}" for sample in ours[:3]]
    assert rows[0]["chosen"] == [{"role": "assistant", "content": "Right."}]
    assert rows[0]["rejected"] == [{"role": "assistant", "content": "Wrong."}]
    assert [turn["role"] for turn in rows[0]["prompt"]] == ["system", "user"]


def test_both_answers_of_an_unacceptable_pair_are_unwanted_and_a_preference_is_one_of_each(dan: User, sft: ModelVersion) -> None:
    rater = person("alice", Role.ANNOTATOR)
    campaign = annotating.campaign([rater], pairs=40, name="Letters")
    for number in range(40):
        annotating.judge(campaign, rater, Verdict.BOTH_UNACCEPTABLE if number % 4 == 0 else Verdict.FIRST_MUCH)
    campaigns.close(campaign=campaign, actor=None)
    frozen = snapshots.freeze(campaign=campaign, name="letters", actor=None)
    kept = SnapshotRow.objects.filter(snapshot=frozen).values("pair")
    unfit = campaign.pairs.filter(prompt__sample__split=Split.TRAIN).exclude(pk__in=kept)
    rows = files(frozen, sft, dan, preset="kto_demo")["kto.jsonl"]
    used = frozen.counts["used"][Split.TRAIN]
    assert len(rows) == 2 * used + 2 * unfit.count() > 2 * used
    assert sum(row["label"] for row in rows) == used
    unwanted = {row["completion"][0]["content"] for row in rows if not row["label"]}
    assert {text for pair in unfit for text in (pair.first.text, pair.second.text)} <= unwanted
    # A sample withdrawn since teaches nobody.
    first = unfit[0]
    Sample.objects.filter(pk=first.prompt.sample_id).update(withdrawn_at="2026-01-01T00:00Z")
    again = list(snapshot_rows.unacceptable_rows(frozen, Split.TRAIN))
    assert len(again) == 2 * (unfit.count() - 1)


def test_reference_log_probabilities_are_kept_for_the_next_run(dan: User, sft: ModelVersion) -> None:
    run = runs.start(snapshot=build.snapshot(), policy=sft, preset="demo", name="first", actor=dan)
    claim = build.claimed(run.job)
    from jobs import kinds
    from jobs.attempts import folder_of

    folder, kept = folder_of(run.job, claim.number), folder_of(run.job, claim.number).parent / "kept"
    references.write(folder / references.NEW / ("c" * 64), {("pair", "short"): (-1.0, -2.0)})
    assert kinds.get("dpo").keep(run.job, folder, kept, b"key") is None
    store = specs.engine_spec(run.job).reference_store
    assert store is not None
    assert references.read(Path(store) / ("c" * 64)) == {("pair", "short"): (-1.0, -2.0)}
