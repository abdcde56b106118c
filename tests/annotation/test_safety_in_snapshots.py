"""What flags, rulings and withdrawals do to what is frozen: a harmful text is never favoured, a barred one never there."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Profile, User
from annotation import adjudications, campaigns, completions, defects, export_files, golds, judgements, safety, snapshots
from annotation.adjudications import Ruling
from annotation.answers import Answer, Span
from annotation.models import (
    MAJOR,
    Adjudication,
    Campaign,
    Defect,
    Dispute,
    GenerationBatch,
    Judgement,
    Pair,
    Sample,
    SlotKind,
    Snapshot,
    SnapshotRow,
    Verdict,
)
from annotation.snapshots import FreezeRefused
from tests.annotation.build import campaign, jsonl, judge, lease, qualification, stored_samples
from tests.annotation.test_disputes import answer
from tests.cast import person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


def freeze(made: Campaign) -> Snapshot:
    return snapshots.freeze(campaign=made, name="S", actor=None)


def rule(lead: User, given: Judgement, **said: Any) -> Adjudication:
    dispute = Dispute.objects.get(pair=given.assignment.pair_id)
    ruling = Ruling(**{"outcome": "first", "rationale": "Looked at it twice.", **said})
    return adjudications.rule(dispute=dispute, adjudicator=lead, ruling=ruling, votes_version=dispute.votes_version, key=uuid4())


def row_of(snapshot: Snapshot, given: Judgement) -> tuple[bool, float, str] | None:
    """Whether the first was chosen, how surely, and why; None when the pair is not in the snapshot."""
    row = SnapshotRow.objects.filter(snapshot=snapshot, pair=given.assignment.pair_id).select_related("pair").first()
    return row and (row.chosen_id == row.pair.first_id, row.p_chosen, row.votes["basis"])


@pytest.fixture
def made(alice: User) -> Campaign:
    """Four pairs; one was judged, so that there is always a row."""
    made = campaign([alice], pairs=4)
    answer(made, alice, Verdict.FIRST_MUCH)
    return made


def test_a_flagged_text_loses_however_the_vote_went(made: Campaign, alice: User) -> None:
    given = answer(made, alice, Verdict.FIRST_MUCH, harm_first="major")
    assert row_of(freeze(made), given) == (False, 0.95, "harm")


def test_a_minor_flag_changes_nothing(made: Campaign, alice: User) -> None:
    given = answer(made, alice, Verdict.FIRST_MUCH, harm_first="minor")
    assert row_of(freeze(made), given) == (True, 0.71, "votes")


def test_both_flagged_teaches_nothing(made: Campaign, alice: User) -> None:
    given = answer(made, alice, Verdict.FIRST_MUCH, harm_first="major", harm_second="major")
    snapshot = freeze(made)
    assert row_of(snapshot, given) is None
    assert snapshot.counts["dropped"]["both_harmful"] == 1


def test_a_lead_may_lower_a_flag_and_decide(made: Campaign, alice: User, carol: User) -> None:
    given = answer(made, alice, Verdict.FIRST_MUCH, harm_first="major")
    rule(carol, given, harm_first="minor")
    assert row_of(freeze(made), given) == (True, 0.95, "ruling")


def test_a_lead_who_finds_the_preferred_text_harmful_leaves_the_pair_out(made: Campaign, alice: User, carol: User) -> None:
    given = answer(made, alice, Verdict.FIRST_MUCH, harm_first="major")
    rule(carol, given, harm_first="life_threatening")
    assert freeze(made).counts["dropped"]["ruled_harmful"] == 1


def test_a_flag_that_came_after_the_ruling_counts_until_the_lead_looks_again(alice: User, bob: User, carol: User) -> None:
    made = campaign([alice, bob], pairs=2, overlap=2)
    given = answer(made, alice, Verdict.FIRST_MUCH, harm_first="major")
    answer(made, alice, Verdict.FIRST_MUCH)
    rule(carol, given, harm_first="")
    assert row_of(freeze(made), given) == (True, 0.95, "ruling")
    answer(made, bob, Verdict.FIRST_MUCH, harm_first="major")
    assert row_of(freeze(made), given) == (False, 0.95, "harm")


@pytest.mark.parametrize(("outcome", "reason"), [("equivalent", "tie"), ("defective", "defective"), ("rubric_unclear", "rubric_unclear")])
def test_what_is_no_preference_is_counted_under_its_own_reason(made: Campaign, alice: User, carol: User, outcome: str, reason: str) -> None:
    given = answer(made, alice, Verdict.FIRST_MUCH, harm_second="major")
    rule(carol, given, outcome=outcome, harm_second="major")
    snapshot = freeze(made)
    assert row_of(snapshot, given) is None
    assert snapshot.counts["dropped"][reason] == 1


def test_harm_belongs_to_the_text_and_counts_wherever_it_is_shown(alice: User, bob: User) -> None:
    """The same texts in a second campaign: nobody flagged them there."""
    source = "shared"
    first = campaign([alice], pairs=2, source=source)
    flagged = answer(first, alice, Verdict.FIRST_MUCH, harm_first="major")
    batches = {flagged.assignment.pair.first.batch, flagged.assignment.pair.second.batch}
    again = campaigns.create(name="Again", guideline="Read.", batches=batches, overlap=1, members=[bob], actor=None, seed=3)
    campaigns.open(campaign=again, actor=None)
    for _ in range(2):
        answer(again, bob, Verdict.FIRST_MUCH)
    rows = {row.pair.first_id: row for row in freeze(again).rows.select_related("pair")}
    unsafe = rows[flagged.assignment.pair.first_id]
    assert (unsafe.chosen_id, unsafe.p_chosen) == (unsafe.pair.second_id, 0.95)
    safe = next(row for first, row in rows.items() if first != flagged.assignment.pair.first_id)
    assert safe.chosen_id == safe.pair.first_id


def test_what_must_not_train_is_in_no_new_snapshot_in_no_file_of_it(made: Campaign, alice: User, carol: User) -> None:
    given = answer(made, alice, Verdict.SECOND_MUCH, harm_first="major")
    before = freeze(made)
    barred = given.assignment.pair.first.text
    assert any(barred.encode() in path.read_bytes() for path in export_files.folder(snapshot=before).glob("jsonl/dpo/*")), (
        "before the ruling"
    )
    rule(carol, given, outcome="second", harm_first="major", must_not_train_first=True)
    after = freeze(made)
    assert after.digest != before.digest
    assert after.counts["dropped"]["must_not_train"] == 1
    assert row_of(after, given) is None
    for path in export_files.folder(snapshot=after).rglob("*"):
        if path.is_file() and path.suffix != ".parquet":
            assert barred.encode() not in path.read_bytes(), path
    for path in export_files.folder(snapshot=after).rglob("*.parquet"):
        assert barred not in json.dumps(pq.read_table(path).to_pylist()), path
    # Lifting it is a new ruling.
    rule(carol, given, outcome="second", harm_first="major")
    assert row_of(freeze(made), given) == (False, 0.95, "ruling")


def test_an_older_snapshot_says_what_came_to_light_since(made: Campaign, alice: User, bob: User, carol: User) -> None:
    given = [answer(made, alice, Verdict.SECOND_MUCH, harm_first="major"), answer(made, alice, Verdict.FIRST_SLIGHTLY)]
    older = freeze(made)
    assert safety.since(older).rows == 0
    rule(carol, given[0], outcome="second", harm_first="major", must_not_train_first=True)
    judgements.amend(judgement=given[1], verdict=Verdict.FIRST_SLIGHTLY, harm_first="major", harm_first_type="omission", key=uuid4())
    third = SnapshotRow.objects.filter(snapshot=older).exclude(pair__in=[one.assignment.pair_id for one in given]).get()
    Sample.objects.filter(prompts=third.prompt).update(withdrawn_at="2026-01-01T00:00Z")
    found = safety.since(older)
    assert (found.must_not_train, found.withdrawn, found.harmful) == (1, 1, 1)
    assert "1 with a text that a lead has since ruled out of training" in str(found)


def test_a_withdrawn_sample_is_left_out_and_counted(made: Campaign, alice: User, dan: User) -> None:
    given = answer(made, alice, Verdict.CANNOT_JUDGE, cannot_reason="defective_input")
    kept = answer(made, alice, Verdict.FIRST_MUCH)
    defects.decide(defect=Defect.objects.get(), actor=dan, decision="withdrawn")
    snapshot = freeze(made)
    assert snapshot.counts["dropped"]["withdrawn"] == 1
    assert row_of(snapshot, given) is None
    assert row_of(snapshot, kept) is not None


def test_gold_and_repeats_are_no_votes(alice: User) -> None:
    made = campaign([alice], pairs=4, opened=False)
    golden = made.pairs.earliest("position")
    golds.mark(pair=golden, accepts=[Verdict.FIRST_MUCH], explanation="", origin="written", actor=None)
    campaigns.open(campaign=made, actor=None)
    for _ in range(4):
        answer(made, alice, Verdict.FIRST_MUCH)
    assert Judgement.objects.filter(assignment__slot__kind=SlotKind.GOLD).count() == 1
    snapshot = freeze(made)
    assert (snapshot.counts["judgements"], snapshot.counts["dropped"]) == (3, {"gold": 1})
    assert not snapshot.rows.filter(pair=golden).exists()


def test_a_qualification_trains_nobody(alice: User) -> None:
    with pytest.raises(FreezeRefused, match="train nobody"):
        freeze(qualification([alice]))


def test_every_ruling_is_part_of_the_digest_and_of_the_evidence(made: Campaign, alice: User, carol: User) -> None:
    given = answer(made, alice, Verdict.SECOND_MUCH, harm_first="major")
    first = freeze(made)
    ruling = rule(carol, given, outcome="second", harm_first="major")
    second = freeze(made)
    assert second.digest != first.digest
    assert (first.evidence.rulings, second.evidence.rulings) == ([], [ruling.pk])
    assert second.evidence.judgements == list(Judgement.objects.order_by("pk").values_list("pk", flat=True))


def test_the_raw_export_keeps_votes_flags_marks_and_edits_under_a_number(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2, splits=["train", "validation", "evaluation"])
    judgements.submit(
        assignment=lease(made, alice),
        answer=Answer(
            verdict=Verdict.FIRST_MUCH, reasons=("facts",), harm_first="major", harm_first_type="wrong_dose", rationale="Ten times.",
            spans=(Span("first", 0, 6, "fabrication", "major"),), edited="first", edited_text="Better.", active_ms=61_000,
        ),
        key=uuid4(),
    )  # fmt: skip
    answer(made, bob, Verdict.SECOND_SLIGHTLY)
    place = export_files.folder(snapshot=freeze(made))
    (lines,) = (place / "jsonl" / "judgments").glob("*.jsonl")
    rows = {row["verdict"]: row for row in map(json.loads, lines.read_text().splitlines())}
    (table,) = (place / "judgments").glob("*.parquet")
    assert sorted(row["verdict"] for row in pq.read_table(table).to_pylist()) == sorted(rows)
    strong = rows["first_much"]
    assert strong["harm_first"] == {"severity": "major", "type": "wrong_dose"}
    assert strong["spans"] == [{"of": "first", "start": 0, "end": 6, "kind": "fabrication", "severity": "major"}]
    assert (strong["edited"], strong["edited_text"], strong["reasons"], strong["active_ms"]) == ("first", "Better.", ["facts"], 61_000)
    assert {row["rater_pseudonym"] for row in rows.values()} == {"r1", "r2"}
    assert "alice" not in lines.read_text()
    assert "config_name: judgments" in (place / "README.md").read_text()


def test_a_specialty_is_told_only_where_three_raters_share_it() -> None:
    raters = [person(f"rater{number}", "annotator") for number in range(4)]
    for number, rater in enumerate(raters):
        Profile.objects.filter(user=rater).update(specialties=["cardiology"] if number < 3 else ["oncology"])
    made = campaign(raters, pairs=1, overlap=4)
    for rater in raters:
        answer(made, rater, Verdict.FIRST_MUCH)
    (lines,) = (export_files.folder(snapshot=freeze(made)) / "jsonl" / "judgments").glob("*.jsonl")
    told = sorted(str(json.loads(line)["specialty_bucket"]) for line in lines.read_text().splitlines())
    assert told == ["None", "cardiology", "cardiology", "cardiology"]


FLAGS = st.sampled_from(["", "", "minor", "major", "life_threatening"])
ANSWERS = st.tuples(st.sampled_from([v for v in Verdict if v != Verdict.CANNOT_JUDGE]), FLAGS, FLAGS)
RULINGS = st.none() | st.tuples(
    st.sampled_from(["first", "second", "equivalent", "defective", "rubric_unclear"]), FLAGS, FLAGS, st.booleans(), st.booleans()
)
PAIRS = st.lists(st.tuples(st.lists(ANSWERS, min_size=1, max_size=2), RULINGS, st.booleans()), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PAIRS)
def test_no_frozen_row_ever_favours_a_flagged_text_nor_holds_a_barred_one(
    alice: User, bob: User, carol: User, world: list[tuple[Any, Any, bool]]
) -> None:
    """Any votes, flags and rulings, some before a last vote and some after: what is frozen is checked against the tables, not the code."""
    made = campaign([alice, bob], pairs=len(world), overlap=2)
    by_pair = dict(zip(made.pairs.order_by("position").values_list("pk", flat=True), world, strict=True))
    given: dict[int, list[Judgement]] = {pair: [] for pair in by_pair}
    for number, rater in enumerate((alice, bob)):
        for _ in world:
            held = lease(made, rater)
            answers, _, early = by_pair[held.pair_id]
            verdict, first, second = answers[min(number, len(answers) - 1)]
            said = {"harm_first": first, "harm_second": second}
            kinds = {f"{side}_type": "other" for side, harm in said.items() if harm}
            given[held.pair_id].append(judgements.submit(assignment=held, verdict=verdict, key=uuid4(), **said, **kinds))
            if number == 1 or early:
                _rule(carol, held.pair_id, by_pair[held.pair_id][1])
    try:
        snapshot = freeze(made)
    except FreezeRefused:
        return
    for row in snapshot.rows.select_related("pair"):
        side = "first" if row.chosen_id == row.pair.first_id else "second"
        newest = Adjudication.objects.filter(dispute__pair=row.pair).order_by("-revision").first()
        flagged = any(getattr(one, f"harm_{side}") in MAJOR for one in given[row.pair_id])
        if newest is None:
            assert not flagged
            continue
        assert (newest.must_not_train_first, newest.must_not_train_second) == (False, False)
        assert getattr(newest, f"harm_{side}") not in MAJOR
        later = [one for one in given[row.pair_id] if one.submitted_at > newest.decided_at]
        assert not any(getattr(one, f"harm_{side}") in MAJOR for one in later), "a flag after the ruling counts again"


def _rule(lead: User, pair: int, ruling: Any) -> None:
    dispute = Dispute.objects.filter(pair=pair).first()
    if dispute is None or ruling is None:
        return
    outcome, first, second, barred_first, barred_second = ruling
    said = Ruling(outcome, "Looked at it.", first, second, must_not_train_first=barred_first, must_not_train_second=barred_second)
    adjudications.rule(dispute=dispute, adjudicator=lead, ruling=said, votes_version=dispute.votes_version, key=uuid4())
    assert Pair.objects.get(pk=pair).dispute.state == "ruled"


def test_what_holds_for_a_text_holds_for_it_whoever_else_wrote_it(alice: User, bob: User, carol: User) -> None:
    """Two systems wrote the same words for the same prompts, each compared with a third in a campaign of its own."""
    stored_samples(2, "twice")
    for system, text in (("north", "Give ten times the dose."), ("south", "Give ten times the dose."), ("west", "Give the dose.")):
        rows = jsonl({"id": f"s{n}", "system": f"{system}-2", "text": text} for n in (1, 2))
        completions.import_external(file=rows, filename="texts.jsonl", source="twice", actor=None)
    north, south, west = GenerationBatch.objects.filter(system__endswith="-2").order_by("system")
    opened = []
    for rater, batches in ((alice, [north, west]), (bob, [south, west])):
        made = campaigns.create(name="Doses", guideline="Look.", batches=batches, overlap=1, members=[rater], actor=None, seed=1)
        opened.append(campaigns.open(campaign=made, actor=None))
    given = answer(opened[0], alice, Verdict.SECOND_MUCH, harm_first="life_threatening", harm_first_type="wrong_dose")
    for _ in range(2):
        judge(opened[1], bob, Verdict.FIRST_MUCH)
    flagged = given.assignment.pair.prompt_id
    told = {row.prompt_id == flagged: row.votes["basis"] for row in freeze(opened[1]).rows.all()}
    assert told == {True: "harm", False: "votes"}
    rule(carol, given, outcome="second", harm_first="life_threatening", must_not_train_first=True)
    assert [row.prompt_id == flagged for row in freeze(opened[1]).rows.all()] == [False]


def test_harm_seen_in_a_pair_whose_answer_is_known_reaches_a_lead_and_every_snapshot(alice: User, bob: User) -> None:
    first = campaign([alice], pairs=2)
    for _ in range(2):
        judge(first, alice, Verdict.FIRST_MUCH)
    batches = GenerationBatch.objects.filter(public_id__in=first.protocol["sources"]["batches"])
    made = campaigns.create(name="Later", guideline="Look.", batches=batches, overlap=1, members=[bob], actor=None, seed=2)
    golden = made.pairs.earliest("position")
    golds.mark(pair=golden, accepts=golds.FIRST, explanation="", origin="written", actor=None)
    campaigns.open(campaign=made, actor=None)
    for _ in range(2):
        held = lease(made, bob)
        harm = {"harm_first": "life_threatening", "harm_first_type": "wrong_dose"} if held.pair_id == golden.pk else {}
        judgements.submit(assignment=held, verdict=Verdict.SECOND_MUCH, key=uuid4(), **harm)
    assert list(Dispute.objects.values_list("pair", "kind")) == [(golden.pk, "harm")]
    assert {row.prompt_id == golden.prompt_id: row.votes["basis"] for row in freeze(first).rows.all()} == {True: "harm", False: "votes"}
    # It still asks about the rater, and trains nothing.
    assert not freeze(made).rows.filter(pair=golden).exists()
    assert freeze(made).counts["judgements"] == 1
