"""Raters held out of a snapshot: their votes train nothing, evaluation rows are theirs alone, and what is left is told before freezing."""

import json
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Role, User
from annotation import adjudications, export_files, held_out_raters, lint, snapshot_rows, snapshots
from annotation.adjudications import Ruling
from annotation.filters import Filters
from annotation.models import Campaign, Dispute, Judgement, Pair, Sample, Snapshot, Split, Verdict
from annotation.snapshots import FreezeRefused
from tests.annotation import build
from tests.annotation.test_disputes import answer
from tests.cast import person

pytestmark = pytest.mark.django_db

SHARE = {"hold_out_raters": 0.25}


@pytest.fixture(autouse=True)
def own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.fixture
def raters() -> list[User]:
    return [person(f"rater-{number}", Role.ANNOTATOR) for number in range(4)]


@pytest.fixture
def world(raters: list[User]) -> Campaign:
    """Forty pairs, each judged by two of four raters in turn; of the samples the first sixteen are held out, the next four validate."""
    made = build.campaign(raters, pairs=40, overlap=2)
    samples = list(Sample.objects.order_by("pk").values_list("pk", flat=True))
    for split, found in ((Split.EVALUATION, samples[:16]), (Split.VALIDATION, samples[16:20]), (Split.TRAIN, samples[20:])):
        build.rewrite(Sample.objects.filter(pk__in=found), split=split)
    for _ in range(20):
        for rater in raters:
            build.judge(made, rater, Verdict.FIRST_MUCH if rater.pk % 2 else Verdict.FIRST_SLIGHTLY)
    return made


def freeze(made: Campaign, **asked: Any) -> Snapshot:
    return snapshots.freeze(campaign=made, name="S", actor=None, **(SHARE | asked))


def held(made: Campaign, share: float = 0.25, seed: int = 1) -> frozenset[int]:
    return held_out_raters.drawn(made, share=share, seed=seed)


def people(votes: Iterable[int], pair: int) -> set[int]:
    return set(Judgement.objects.filter(pk__in=votes, assignment__pair=pair).values_list("assignment__annotator", flat=True))


def said(made: Campaign) -> dict[int, set[int]]:
    """Who judged each pair."""
    found: dict[int, set[int]] = {}
    given = Judgement.objects.filter(assignment__campaign=made)
    for pair, rater in given.values_list("assignment__pair", "assignment__annotator"):
        found.setdefault(pair, set()).add(rater)
    return found


def test_a_share_draws_the_same_people_and_a_greater_one_more(world: Campaign, raters: list[User]) -> None:
    one, two = held(world), held(world, 0.5)
    assert len(one) == 1
    assert len(two) == 2
    assert one < two
    assert held(world) == one
    assert len({held(world, seed=seed) for seed in range(12)}) > 1, "another seed, other people"
    assert held(world, 0.01) == one, "at least one"
    assert held_out_raters.drawn(world, share=0, seed=1) == frozenset()


def test_rows_that_train_are_of_the_others_votes_and_evaluation_rows_of_theirs(world: Campaign) -> None:
    frozen, held_out, who = freeze(world), held(world), said(world)
    votes = frozen.evidence.votes
    assert frozen.counts["held_out_raters"] == 1
    for row in frozen.rows.all():
        spoke = people(votes, row.pair_id)
        assert spoke == (who[row.pair_id] & held_out if row.split == Split.EVALUATION else who[row.pair_id] - held_out)
        assert row.votes["chosen"] == len(spoke)
    mixed = [row for row in frozen.rows.filter(split=Split.TRAIN) if who[row.pair_id] & held_out]
    assert mixed, "one of two raters is held out: the target is the other's alone"
    for row in mixed:
        alone = Judgement.objects.get(pk__in=votes, assignment__pair=row.pair_id).verdict
        # (0.92 + ½) / 2 or (0.75 + ½) / 2: one vote and the imaginary one.
        assert row.p_chosen == {Verdict.FIRST_MUCH: 0.71, Verdict.FIRST_SLIGHTLY: 0.625}[Verdict(alone)]


def test_every_pair_is_a_row_or_left_out_for_its_reason(world: Campaign) -> None:
    frozen, held_out, who = freeze(world), held(world), said(world)
    evaluated = set(Pair.objects.filter(campaign=world, prompt__sample__split=Split.EVALUATION).values_list("pk", flat=True))
    dropped = {reason: set(pairs) for reason, pairs in frozen.evidence.dropped.items()}
    assert dropped.get("raters_not_held_out", set()) == {pair for pair in evaluated if not who[pair] & held_out}
    assert dropped.get("held_out_raters", set()) == {pair for pair in who if pair not in evaluated and who[pair] <= held_out}
    rows = set(frozen.rows.values_list("pair", flat=True))
    assert rows | set().union(*dropped.values()) == set(who)
    assert len(rows) + sum(map(len, dropped.values())) == 40


def test_whose_only_raters_are_held_out_trains_nothing(raters: list[User]) -> None:
    made = build.campaign(raters[:2], pairs=20)
    build.rewrite(Sample.objects.all(), split=Split.TRAIN)
    for number in range(20):
        build.judge(made, raters[number % 2])
    frozen = freeze(made)
    assert frozen.counts["dropped"] == {"held_out_raters": 10}
    assert frozen.counts["used"] == {"train": 10, "validation": 0, "evaluation": 0}
    assert people(frozen.evidence.judgements, frozen.rows.first().pair_id).isdisjoint(held(made))


def test_what_was_held_out_is_kept_nowhere_as_an_answer_it_was_made_from(world: Campaign) -> None:
    frozen, held_out = freeze(world), held(world)
    heard = Judgement.objects.filter(pk__in=frozen.evidence.judgements)
    split = "assignment__pair__prompt__sample__split"
    assert not heard.filter(assignment__annotator__in=held_out).exclude(**{split: Split.EVALUATION}).exists()
    assert not heard.exclude(assignment__annotator__in=held_out).filter(**{split: Split.EVALUATION}).exists()


def test_both_unacceptable_by_somebody_held_out_does_not_train_either(raters: list[User]) -> None:
    """KTO reads pairs that are left out because neither text may be chosen."""
    made = build.campaign(raters[:2], pairs=8)
    build.rewrite(Sample.objects.all(), split=Split.TRAIN)
    for number in range(8):
        build.judge(made, raters[number % 2], Verdict.BOTH_UNACCEPTABLE if number > 1 else Verdict.FIRST_MUCH)
    frozen, held_out, who = freeze(made), held(made), said(made)
    told = {int(row["id"].split()[0]) for row in snapshot_rows.unacceptable_rows(frozen, Split.TRAIN)}
    assert told
    assert all(who[pair].isdisjoint(held_out) for pair in told)


def ready(raters: list[User], split: str) -> tuple[Campaign, User, User]:
    """A campaign of this split alone in which everybody has answered one pair; who is held out of it, and somebody who is not."""
    made = build.campaign(raters, pairs=12, overlap=2)
    build.rewrite(Sample.objects.all(), split=split)
    for rater in raters:
        build.judge(made, rater)
    (one,) = held(made)
    return made, User.objects.get(pk=one), next(rater for rater in raters if rater.pk != one)


def both(made: Campaign, one: User, other: User, *, by_one: str = "", by_other: str = "") -> Pair:
    """A pair that both have judged, one for the first text, the other for the second, with their harm flags on the first."""
    for _ in range(12):
        given = answer(made, one, Verdict.FIRST_MUCH, harm_first=by_one)
        again = answer(made, other, Verdict.SECOND_MUCH, harm_first=by_other)
        if given.assignment.pair_id == again.assignment.pair_id:
            return given.assignment.pair
    raise AssertionError("they met on no pair")


@pytest.mark.parametrize(("split", "left_out"), [(Split.TRAIN, True), (Split.EVALUATION, False)])
def test_a_flag_of_somebody_held_out_labels_evaluation_pairs_and_trains_nothing(raters: list[User], split: str, left_out: bool) -> None:
    made, one, other = ready(raters, split)
    pair = both(made, one, other, by_one="major")
    frozen = freeze(made)
    assert (pair.pk in frozen.evidence.dropped.get("decided_by_other_raters", [])) == left_out
    row = frozen.rows.filter(pair=pair).first()
    assert (row and (row.votes["basis"], row.chosen_id)) == (None if left_out else ("harm", pair.second_id))
    assert people(frozen.evidence.judgements, pair.pk) == {other.pk if left_out else one.pk}
    assert snapshots.rebuild(frozen) == frozen.digest


@pytest.mark.parametrize(("split", "left_out"), [(Split.TRAIN, False), (Split.EVALUATION, True)])
def test_a_flag_of_anybody_else_trains_and_labels_no_evaluation_pair(raters: list[User], split: str, left_out: bool) -> None:
    made, one, other = ready(raters, split)
    pair = both(made, one, other, by_other="life_threatening")
    frozen = freeze(made)
    assert (pair.pk in frozen.evidence.dropped.get("decided_by_other_raters", [])) == left_out
    assert frozen.rows.filter(pair=pair, votes__basis="harm").exists() != left_out


@pytest.mark.parametrize(("split", "left_out"), [(Split.TRAIN, False), (Split.EVALUATION, True)])
def test_a_leads_ruling_trains_and_labels_no_evaluation_pair(raters: list[User], split: str, left_out: bool, carol: User) -> None:
    made, one, other = ready(raters, split)
    pair = both(made, one, other)
    dispute = Dispute.objects.get(pair=pair)
    said = Ruling(outcome="second", rationale="Looked at it twice.")
    adjudications.rule(dispute=dispute, adjudicator=carol, ruling=said, votes_version=dispute.votes_version, key=uuid4())
    frozen = freeze(made)
    assert (pair.pk in frozen.evidence.dropped.get("decided_by_other_raters", [])) == left_out
    assert frozen.rows.filter(pair=pair, votes__basis="ruling").exists() != left_out
    assert snapshots.rebuild(frozen) == frozen.digest


def test_the_same_hold_out_freezes_the_same_snapshot_and_rebuilds_to_its_digest(world: Campaign) -> None:
    frozen = freeze(world)
    assert frozen == freeze(world)
    assert snapshots.rebuild(frozen) == frozen.digest
    assert frozen.filters == {"min_judgements": 1, "task_types": [], "hold_out_raters": 0.25, "hold_out_seed": 1}
    assert snapshots.freeze(campaign=world, name="All", actor=None).digest != frozen.digest
    assert Filters(hold_out_seed=7) == Filters(), "without a share there is no draw"


def test_one_rater_cannot_be_held_out_and_it_is_said_before_freezing(alice: User) -> None:
    made = build.campaign([alice], pairs=6)
    for _ in range(6):
        build.judge(made, alice)
    with pytest.raises(FreezeRefused, match="where at least 2 judged; here it is 1"):
        freeze(made)
    report = lint.look(campaign=made, filters=Filters(**SHARE))
    assert not report.clear
    assert (report.checks[0].state, report.checks[0].fix) == ("stop", "Hold nobody out, or have more people judge.")
    assert report.ahead == []


@pytest.mark.parametrize("share", [-0.1, 0.51])
def test_more_than_half_or_less_than_none_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="half"):
        Filters(hold_out_raters=share)


def test_what_each_share_would_leave_is_what_freezing_leaves(world: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    with CaptureQueriesContext(connection) as asked:
        ahead = held_out_raters.ahead(world, seed=1)
    assert len(asked) == 2
    assert [(each.share, each.raters) for each in ahead] == [(0.0, 0), (0.1, 1), (0.2, 1), (0.3, 1), (0.4, 2), (0.5, 2)]
    assert (ahead[0].training, ahead[0].evaluation) == (24, 0), "without a hold-out everybody taught"
    for each in ahead[1:]:
        used = freeze(world, hold_out_raters=each.share).counts["used"]
        assert (each.training, each.evaluation) == (used["train"] + used["validation"], used["evaluation"])


def test_people_who_judged_held_out_prompts_alone_are_counted_without_a_hold_out(raters: list[User]) -> None:
    made = build.campaign(raters, pairs=12)
    samples = Sample.objects.order_by("prompts__pairs__position").values_list("pk", flat=True)
    build.rewrite(Sample.objects.filter(pk__in=list(samples[:6])), split=Split.TRAIN)
    build.rewrite(Sample.objects.filter(pk__in=list(samples[6:])), split=Split.EVALUATION)
    for number in range(12):
        build.judge(made, raters[0 if number < 6 else 1 + number % 2])
    splits = Sample.objects.filter(prompts__pairs__assignments__annotator=raters[0]).values_list("split", flat=True)
    assert set(splits) == {Split.TRAIN}
    assert held_out_raters.ahead(made, seed=1)[0] == (0.0, 0, 6, 6)


def test_the_list_says_how_many_evaluation_pairs_are_left(world: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    def line(**asked: Any) -> lint.Check:
        return next(check for check in lint.look(campaign=world, filters=Filters(**asked)).checks if check.name == "Held-out raters")

    off = line()
    assert (off.state, off.detail) == ("ok", "none; 0 evaluation pairs of people who judged nothing that trains, a promotion asks for 200")
    used = freeze(world).counts["used"]
    short = line(**SHARE)
    assert short.state == "warn"
    assert short.detail.startswith(
        f"1 held out: {used['evaluation']} evaluation pairs of theirs, {used['train'] + used['validation']} pairs"
    )
    monkeypatch.setattr(lint, "PAIRS_NEEDED", used["evaluation"])
    assert line(**SHARE).state == "ok"


# --- the doors ---------------------------------------------------------------------------------------------------------------------------


def test_the_page_previews_every_share_and_freezes_what_was_looked_over(as_dan: Client, world: Campaign) -> None:
    address = f"/campaigns/{world.public_id}/freeze/"
    plain = as_dan.get(address).text
    assert "If raters were held out" in plain
    assert 'name="hold_out_raters"' in plain
    part = as_dan.get(f"{address}?min_judgements=1&hold_out_raters=25&hold_out_seed=3", headers={"HX-Request": "true"}).text
    assert "1 held out:" in part
    assert '<input type="hidden" form="freeze" name="hold_out_raters" value="25">' in part
    as_dan.post(address, {"name": "Held", "min_judgements": "1", "hold_out_raters": "25", "hold_out_seed": "3"})
    frozen = Snapshot.objects.get()
    assert (frozen.filters["hold_out_raters"], frozen.filters["hold_out_seed"]) == (0.25, 3)
    shown = as_dan.get(f"/snapshots/{frozen.public_id}/").text
    assert "<dt>Raters held out</dt><dd>25 %, drawn under seed 3</dd>" in shown
    assert "1 rater held out: evaluation pairs are of their votes alone" in shown
    assert "its sample is held out, and none of those who judged it is" in shown
    assert as_dan.get(f"{address}?hold_out_raters=51").status_code == 422


def test_the_api_and_the_command_hold_out_too(as_dan: Client, world: Campaign) -> None:
    asked = {"campaign": str(world.public_id), "hold_out_raters": 0.25}
    looked = as_dan.post("/api/v1/snapshots/lint/", asked, content_type="application/json").json()
    assert looked["held_out_raters"][0]["raters"] == 0
    assert [check["state"] for check in looked["checks"] if check["name"] == "Held-out raters"] == ["warn"]
    made = as_dan.post("/api/v1/snapshots/", asked | {"name": "By program"}, content_type="application/json")
    assert made.status_code == 201
    assert made.json()["counts"]["held_out_raters"] == 1
    refused = as_dan.post("/api/v1/snapshots/", asked | {"name": "x", "hold_out_raters": 0.6}, content_type="application/json")
    assert refused.status_code == 400
    told = StringIO()
    call_command("freeze_snapshot", str(world.public_id), "--name", "C", "--hold-out-raters", "0.25", "--json", stdout=told)
    assert json.loads(told.getvalue())["digest"] == made.json()["digest"]
    with pytest.raises(CommandError, match="half"):
        call_command("freeze_snapshot", str(world.public_id), "--name", "C", "--hold-out-raters", "0.7")


def test_the_export_says_so_in_its_card_and_its_manifest(world: Campaign) -> None:
    place = export_files.folder(snapshot=freeze(world))
    card, manifest = (place / "README.md").read_text(), json.loads((place / "manifest.json").read_text())
    assert "- Raters held out: 25 %, drawn under seed 1." in card
    assert "Nothing but `evaluation` rows comes of the 1 held-out raters' votes" in card
    assert "none of those who judged it is" in card
    assert manifest["filters"] == {"min_judgements": 1, "task_types": [], "hold_out_raters": 0.25, "hold_out_seed": 1}
    assert manifest["counts"]["held_out_raters"] == 1
