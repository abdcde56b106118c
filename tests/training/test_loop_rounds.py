"""The unattended loop: judgements become a proposal by themselves, once, whoever looks and however often; nothing is ever promoted."""

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.db.models.functions import Now
from django.test import Client

from accounts.models import AuditEntry, User
from annotation import held_out_raters, snapshots
from annotation.filters import Filters
from annotation.models import CampaignState, GenerationBatch, Snapshot
from annotation.records import digest_of
from jobs import claims, submissions, sweeper
from modelhub import aliases
from modelhub.models import AliasName
from tests.annotation import build as annotating
from tests.training import build, looping
from tests.training.looping import World
from training import evaluations, gates, loop_digests, loop_policies, loop_rounds, promotions, unseen
from training.models import Evaluation, LoopPolicy, LoopRound, Promotion, SuiteRun

pytestmark = pytest.mark.django_db
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def counting_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look may count at once."""
    monkeypatch.setattr(loop_rounds, "LOOKING", float("inf"))
    monkeypatch.setattr(loop_rounds, "_next_count", {})


@pytest.fixture(autouse=True)
def data_dir(settings: Any, world: World) -> Path:
    settings.DATA_DIR = world.data
    return world.data


@pytest.fixture
def loop(world: World, db: None) -> LoopPolicy:
    return looping.policy(world.campaign)


def test_judgements_become_a_proposal_and_no_name_moves(
    world: World, loop: LoopPolicy, tmp_path: Path, django_capture_on_commit_callbacks: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = build.version(tmp_path, "ward-champion")
    aliases.move(name=AliasName.CHAMPION, to=champion, actor=None, expected=None, reason="")

    def never(**_: Any) -> None:
        raise AssertionError("a loop decides nothing")

    for module, verb in ((aliases, "move"), (aliases, "roll_back"), (promotions, "decide"), (promotions, "roll_back")):
        monkeypatch.setattr(module, verb, never)
    assert sweeper.look().items() >= {"rounds_stepped": 1, "rounds_settled": 0, "rounds_begun": 1}.items()
    one = LoopRound.objects.get()
    assert one.run is not None
    assert (one.run.policy, one.run.reference, one.run.seed, one.run.preset) == (world.start, world.start, 3, "demo")
    # The hooks alone carry it on: nobody looks in between.
    with django_capture_on_commit_callbacks(execute=True):
        build.finish(one.run.job)
    one.refresh_from_db()
    assert one.evaluation is not None
    assert one.evaluation.reference == champion
    # What it started from is not who is champion: it is held against both.
    assert one.anchor is not None
    assert one.anchor.reference == world.start
    assert sorted(one.suite_runs.values_list("version__name", flat=True)) == [f"round-{loop.pk}-1", "ward-champion", "ward-sft"]
    with django_capture_on_commit_callbacks(execute=True):
        for found in (one.evaluation, one.anchor):
            build.finish_evaluation(found, value=0.7, low=0.6, high=0.8, n=240)
        for made in one.suite_runs.select_related("job"):
            build.finish_suite(made)
    one.refresh_from_db()
    assert one.state == "proposed"
    assert len(one.lineage_digest) == 64
    assert aliases.current(AliasName.CHAMPION) == champion
    assert not Promotion.objects.exists()
    told = list(AuditEntry.objects.filter(verb__startswith="round.").order_by("pk").values_list("verb", "actor_name"))
    assert told == [("round.began", ""), ("round.proposed", "")]
    # And looking again finds nothing to do.
    assert not any(sweeper.look().values())


def test_no_module_of_it_names_what_decides_or_moves() -> None:
    for path in [*(PROJECT / "training").glob("loop_*.py"), PROJECT / "training/management/commands/loop.py"]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not {name for name in called if name.rpartition(".")[2] in ("decide", "move", "_move", "roll_back")}, path
        imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
        assert not imported & {"promotions", "Promotion", "Alias", "AliasMove"}, path


def test_it_waits_for_as_many_new_pairs_as_the_policy_says(world: World) -> None:
    loop = looping.policy(world.campaign, pairs_needed=19)
    assert loop_rounds.ready(loop).missing == "18 of 19 new training pairs are there."
    assert loop_rounds.begin(loop=loop) is None
    loop = looping.policy(world.campaign, pairs_needed=18)
    assert loop_rounds.begin(loop=loop) is not None
    assert Snapshot.objects.get().counts["used"] == {"train": 18, "validation": 0, "evaluation": 6}


def test_raters_are_held_out_of_every_round_once_there_are_two(world: World, as_dan: Client) -> None:
    loop = looping.policy(world.campaign, hold_out_raters=0.2)
    assert loop_rounds.look()["rounds_begun"] == 0
    loop.refresh_from_db()
    assert (loop.active, loop.why_stopped) == (True, ""), "it waits for raters, as it waits for pairs"
    assert "at least 2 judged; here it is 1. It waits for another." in as_dan.get(f"/campaigns/{world.campaign.public_id}/loop/").text
    loop_policies.pause(loop=loop, actor=None)
    copy = looping.judged(name="Of two", batches=list(GenerationBatch.objects.all()), raters=("rater", "other"))
    one = loop_rounds.begin(loop=looping.policy(copy, hold_out_raters=0.2))
    assert one is not None
    assert one.snapshot is not None
    assert (one.snapshot.filters["hold_out_raters"], one.snapshot.counts["used"]["train"]) == (0.2, looping.TRAIN)
    taught = unseen.voters(one.snapshot, one.snapshot.rows.filter(split="train").values("pair"))
    asked = unseen.voters(one.snapshot, one.snapshot.rows.filter(split="evaluation").values("pair"))
    (teacher,), (held_out,) = ({person for people in found.values() for person in people} for found in (taught, asked))
    assert (len(taught), len(asked), teacher == held_out) == (18, 6, False)
    # A campaign derived from it holds the same person out, whatever the draw would have been.
    for name in ("Next", "After that"):
        copy = looping.judged(name=name, batches=list(GenerationBatch.objects.all()), raters=("rater", "other"), follows=copy)
        assert held_out_raters.drawn(copy, share=0.2, seed=1) == {held_out}


def test_where_raters_are_held_out_one_of_them_has_to_have_judged_an_evaluation_pair(world: World) -> None:
    loop = looping.policy(looping.judged(name="Of two", batches=list(GenerationBatch.objects.all()), raters=("rater", "other")))
    assert loop_rounds.ready(loop).missing == ""
    plan = snapshots.plan(campaign=loop.campaign, filters=Filters(hold_out_raters=0.2))
    rows = [row for row in plan.rows if row.split != "evaluation"]
    found = loop_rounds.ready(loop, replace(plan, rows=rows))
    assert found.missing == "None of the raters who are held out has judged an evaluation pair yet."


def test_a_paused_policy_begins_nothing_and_a_round_under_way_goes_on(loop: LoopPolicy, dan: User) -> None:
    loop_rounds.look()
    loop_policies.pause(loop=loop, actor=dan)
    one = looping.carried_on(LoopRound.objects.get())
    assert one.state == "proposed"
    loop_rounds.dismiss(one=one, actor=dan, reason="A trial.")
    loop_rounds.look()
    assert LoopRound.objects.count() == 1


def test_a_second_round_needs_new_pairs_of_the_champions_texts(loop: LoopPolicy, world: World) -> None:
    looping.proposed(loop)
    after = loop_rounds.ready(loop)
    assert (after.new, after.first) == (0, False)
    assert after.missing.startswith("0 of 16 new")
    said = loop_rounds.Ready(pairs=100, new=40, fresh=29, needed=20, first=False).missing
    assert said == "29 of 100 training pairs are new and compare texts of the champion; from the second round on 30 % are needed."
    assert loop_rounds.Ready(pairs=100, new=40, fresh=30, needed=20, first=False).missing == ""
    assert loop_rounds.Ready(pairs=100, new=40, fresh=0, needed=20, first=True).missing == ""
    assert loop_rounds.Ready(pairs=15, new=15, fresh=0, needed=1, first=True).missing.startswith("15 training pairs are there")
    # Whose texts they are is looked up by the version that wrote them.
    LoopRound.objects.update(run=None)
    assert loop_rounds.ready(loop).fresh == 0
    GenerationBatch.objects.filter(system="north").update(system="", version=world.start)
    again = loop_rounds.ready(loop)
    assert again.fresh == again.new == again.pairs


def test_a_derived_campaign_goes_on_with_the_loop_and_is_held_against_its_first_model(loop: LoopPolicy, world: World) -> None:
    first = looping.proposed(loop)
    assert first.run is not None
    assert first.run.output is not None
    # Round 0's model is still what the challenger was compared with: one evaluation says both.
    assert first.anchor == first.evaluation
    assert loop_digests.lineage(first)["round 0"] is None
    aliases.move(name=AliasName.CHAMPION, to=first.run.output, actor=None, expected=None, reason="")
    texts = list(GenerationBatch.objects.all())
    following = looping.judged(name="Letters, the champion's own", batches=texts, follows=world.campaign)
    on = looping.policy(following, policy="champion")
    # Its pairs are new, but none compares a text of the champion: it is no first round.
    assert loop_rounds.ready(on).missing.startswith("0 of 18 training pairs are new and compare texts of the champion")
    assert loop_rounds.begin(loop=on) is None
    GenerationBatch.objects.filter(system="north").update(system="", version=first.run.output)
    second = looping.proposed(on)
    assert second.run is not None
    assert second.anchor is not None
    assert second.evaluation is not None
    assert (second.number, second.run.policy, second.evaluation.reference) == (1, first.run.output, first.run.output)
    assert (second.anchor.policy, second.anchor.reference) == (second.run.output, world.start)
    assert second.suite_runs.count() == 3
    told = loop_digests.lineage(second)
    assert told["round 0"]["against"] == world.start.artifact.digest != told["evaluation"]["against"]
    assert len(told["suites"]) == 3
    # A campaign that follows none begins a loop of its own.
    other = looping.policy(looping.judged(name="Letters, a copy", batches=texts), policy="champion")
    assert loop_rounds.ready(other).first


def test_a_round_that_came_to_nothing_is_not_round_0(loop: LoopPolicy, tmp_path: Path) -> None:
    loop_rounds.look()
    first = LoopRound.objects.get()
    assert first.run is not None
    submissions.cancel(job=first.run.job, actor=None)
    loop_rounds.step(one=first)
    other = looping.policy(loop.campaign, policy=build.version(tmp_path, "ward-other", number=41.0))
    second = looping.proposed(other)
    assert second.anchor is not None
    assert second.anchor.reference.name == "ward-other"


def test_a_proposal_keeps_its_gates_as_they_stood(loop: LoopPolicy) -> None:
    one = looping.proposed(loop)
    assert one.evaluation is not None
    stand = {gate["code"]: gate["state"] for gate in one.gates}
    assert stand == {
        "evaluation": "passed", "data": "failed", "G1": "passed", "G2": "unknown", "G3": "unknown", "G4": "passed", "G5": "passed",
        "G6": "unknown", "safety": "passed",
    }  # fmt: skip
    assert one.gates == [gate.record() for gate in gates.of(evaluation=one.evaluation, champion=None)]
    assert one.gates_digest == digest_of(one.gates)
    one.refresh_from_db()
    assert one.gates_digest == digest_of(one.gates)
    with pytest.raises(DatabaseError, match="a proposal keeps what it was proposed on"), transaction.atomic():
        LoopRound.objects.filter(pk=one.pk).update(gates=[])


def test_a_job_that_fails_ends_the_round_and_a_second_switches_the_policy_off(loop: LoopPolicy) -> None:
    loop_rounds.look()
    first = LoopRound.objects.get()
    assert first.run is not None
    submissions.cancel(job=first.run.job, actor=None)
    # The same look that ends it begins the next, on the same snapshot: nobody has learnt from those pairs.
    loop_rounds.look()
    second = LoopRound.objects.get(number=2)
    first.refresh_from_db()
    assert (first.state, second.state, second.snapshot) == ("failed", "working", first.snapshot)
    assert first.why_ended == f"“DPO round-{loop.pk}-1” was cancelled."
    assert second.run is not None
    claim = build.claimed(second.run.job)
    claims.fail(claim, code="out_of_memory", detail="")
    loop_rounds.look()
    loop.refresh_from_db()
    assert not loop.active
    assert loop.why_stopped == f"Rounds 1 and 2 came to nothing. The last: “DPO round-{loop.pk}-2” failed: out_of_memory."
    loop_rounds.look()
    assert LoopRound.objects.count() == 2
    # Resumed, it tries again; and one more failure is enough.
    loop_policies.resume(loop=loop, actor=None)
    loop.refresh_from_db()
    assert (loop.active, loop.why_stopped) == (True, "")
    loop_rounds.look()
    assert LoopRound.objects.filter(number=3, state="working").exists()


def test_a_second_proposal_beside_an_undecided_one_switches_the_policy_off(loop: LoopPolicy, tmp_path: Path) -> None:
    frozen = snapshots.freeze(campaign=loop.campaign, name="by hand", actor=None)
    other = evaluations.start(policy=build.version(tmp_path, "a"), reference=build.version(tmp_path, "b"), snapshot=frozen, actor=None)
    LoopRound.objects.create(
        loop=loop, number=1, state="proposed", evaluation=other, anchor=other, lineage_digest="d" * 64, gates_digest="e" * 64,
        proposed_at=Now(),
    )  # fmt: skip
    loop_rounds.look()
    one = looping.carried_on(LoopRound.objects.get(number=2))
    loop.refresh_from_db()
    assert (one.state, loop.active) == ("proposed", False)
    assert loop.why_stopped.startswith("Rounds 1 and 2 are undecided")


def test_nothing_held_out_is_said_and_not_tried_for_ever(loop: LoopPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    loop_rounds.look()
    one = LoopRound.objects.get()
    assert one.run is not None
    build.finish(one.run.job)

    def nothing(**_: Any) -> None:
        raise evaluations.NothingHeldOut("The snapshot's campaign has no prompts of the evaluation split.")

    monkeypatch.setattr(evaluations, "start", nothing)
    assert loop_rounds.step(one=one).why_ended == "The snapshot's campaign has no prompts of the evaluation split."
    assert not SuiteRun.objects.exists()


def test_a_mistake_of_ours_ends_the_round_without_its_words(
    loop: LoopPolicy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError(" ".join(("Patient", "7")))

    monkeypatch.setattr(loop_rounds, "_launched", broken)
    loop_rounds.look()
    assert LoopRound.objects.get(number=1).why_ended == "It could not go on: KeyError."
    assert "Patient 7" not in caplog.text


def test_what_can_never_be_frozen_switches_the_policy_off(loop: LoopPolicy) -> None:
    User.objects.filter(username="rater").update(simulated=True)
    loop_rounds.look()
    loop.refresh_from_db()
    assert not loop.active
    assert loop.why_stopped.startswith("Simulated raters judged in this campaign")


def test_a_decision_on_its_evaluation_settles_a_proposal(loop: LoopPolicy, dan: User) -> None:
    one = looping.proposed(loop)
    assert one.evaluation is not None
    assert list(LoopRound.objects.waiting()) == [one]
    promotions.decide(evaluation=one.evaluation, actor=dan, expected=None)
    assert not LoopRound.objects.waiting().exists()
    loop_rounds.look()
    one.refresh_from_db()
    assert (one.state, one.decided_by) == ("decided", dan)
    with pytest.raises(loop_rounds.NotOpen):
        loop_rounds.dismiss(one=one, actor=dan, reason="Too late.")


def test_dismissing_says_who_and_why_and_only_once(loop: LoopPolicy, dan: User) -> None:
    one = loop_rounds.dismiss(one=looping.proposed(loop), actor=dan, reason="  The recipe was a trial. ")
    assert (one.state, one.decided_by, one.why_ended) == ("dismissed", dan, "The recipe was a trial.")
    with pytest.raises(loop_rounds.NotOpen):
        loop_rounds.dismiss(one=one, actor=dan, reason="Again.")


# --- the same once more ------------------------------------------------------------------------------------------------------------------


def test_the_same_inputs_give_the_same_lineage_digest_under_other_names(loop: LoopPolicy) -> None:
    first = looping.proposed(loop)
    copy = looping.judged(name="Letters, a copy", batches=list(GenerationBatch.objects.all()))
    second = looping.proposed(looping.policy(copy))
    assert first.snapshot is not None
    assert second.snapshot is not None
    assert first.snapshot.digest != second.snapshot.digest
    assert first.lineage_digest == second.lineage_digest
    other = looping.judged(name="Letters, another seed", batches=list(GenerationBatch.objects.all()))
    third = looping.proposed(looping.policy(other, seed=4))
    assert third.lineage_digest != first.lineage_digest


def test_the_digest_covers_what_the_model_came_of_and_no_name_or_date(loop: LoopPolicy) -> None:
    one = looping.proposed(loop)
    told = loop_digests.lineage(one)
    assert sorted(told) == [
        "data", "evaluation", "format", "output", "policy", "reference", "round 0", "software", "suites", "training",
    ]  # fmt: skip
    assert told["training"]["seed"] == 3
    assert told["training"]["params"]["beta"] == 0.1
    assert [{len(task["items"]) for task in suite["tasks"].values()} for suite in told["suites"]] == [{40}, {40}]
    said = str(told)
    for name in ("round-", "ward-sft", "Letters", str(one.public_id)):
        assert name not in said, name
    assert one.evaluation is not None
    # Held-out pairs are numbered anew in every database: how many were left out is told, not which.
    measured = one.evaluation.results | {"unseen": {"value": 0.6, "n": 3, "left_out": [7, 9]}}
    for numbers in ([7, 9], [70, 90]):
        Evaluation.objects.filter(pk=one.evaluation.pk).update(results=measured | {"unseen": measured["unseen"] | {"left_out": numbers}})
        told_of = loop_digests.lineage(LoopRound.objects.get(pk=one.pk))["evaluation"]["results"]["unseen"]
        assert told_of == {"value": 0.6, "n": 3, "left_out": 2}
    # One vote more or less, and it is another.
    Evaluation.objects.filter(pk=one.evaluation.pk).update(results=one.evaluation.results | {"labels": "planted"})
    assert loop_digests.of(LoopRound.objects.get(pk=one.pk)) != one.lineage_digest


# --- looking ----------------------------------------------------------------------------------------------------------------------------


def test_counting_takes_a_small_share_of_the_sweepers_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looping.policy(world.campaign, pairs_needed=400)
    monkeypatch.setattr(loop_rounds, "LOOKING", 1e-6)
    counted = []
    plan = snapshots.plan
    monkeypatch.setattr(snapshots, "plan", lambda **asked: counted.append(1) or plan(**asked))
    for _ in range(5):
        loop_rounds.look()
    assert len(counted) == 1


def test_a_look_that_fails_does_not_keep_the_sweeper_from_its_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> dict[str, int]:
        raise ValueError(" ".join(("Patient", "7")))

    monkeypatch.setattr(sweeper, "_looks", dict(sweeper._looks))
    sweeper.also_look("broken", broken)
    assert "rounds_begun" in sweeper.look()
    assert "The look at broken failed (ValueError)" in caplog.text
    assert "Patient 7" not in caplog.text


def test_a_draft_is_waited_for(world: World) -> None:
    draft = annotating.campaign([], pairs=4, opened=False)
    loop = looping.policy(draft)
    loop_rounds.look()
    loop.refresh_from_db()
    assert loop.active
    assert loop.campaign.state == CampaignState.DRAFT
