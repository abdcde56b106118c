"""What freezing asks for: every pair is used or left out for one reason; what was frozen can be rebuilt and never changed."""

import csv
import json
import random
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Profile, User
from annotation import adjudications, campaigns, filters, judgements, snapshots
from annotation.adjudications import Ruling
from annotation.filters import Filters, Vote
from annotation.models import (
    Campaign,
    Completion,
    Dispute,
    Judgement,
    Pair,
    Sample,
    Snapshot,
    SnapshotEvidence,
    SnapshotRow,
    Verdict,
)
from annotation.snapshots import FreezeRefused
from tests.annotation.build import campaign, judge, lease, rewrite
from tests.annotation.test_preferences import row, store
from tests.cast import person

pytestmark = pytest.mark.django_db

VERDICTS = [v for v in Verdict if v != Verdict.CANNOT_JUDGE]


def freeze(made: Campaign, **asked: Any) -> Snapshot:
    return snapshots.freeze(campaign=made, name="S", actor=None, **asked)


@pytest.fixture
def world(alice: User, bob: User) -> Campaign:
    """Twelve pairs of three task types, judged by Alice, half of them by Bob, who is a cardiologist."""
    Profile.objects.filter(user=bob).update(specialties=["cardiology"])
    made = campaign([alice, bob], pairs=12, overlap=2)
    for number, sample in enumerate(Sample.objects.order_by("pk")):
        kind = ("summarization", "reasoning & diagnosis", "text expansion")[number % 3]
        rewrite(Sample.objects.filter(pk=sample.pk), task_type=kind, input_data=("Letter", "Note")[number % 2])
    draw = random.Random(4)
    for rater, many in ((alice, 12), (bob, 6)):
        for _ in range(many):
            judge(made, rater, draw.choice(VERDICTS))
    return made


# --- pure --------------------------------------------------------------------------------------------------------------------------------


def test_a_vote_is_refused_by_the_first_filter_it_fails() -> None:
    noon = datetime(2026, 5, 2, 12, tzinfo=UTC)
    assert Filters().refuse(Vote(True, True, noon)) == ""
    assert Filters(exclude_external=True).refuse(Vote(True, False, noon)) == "external"
    assert Filters(exclude_simulated=True).refuse(Vote(False, True, noon)) == "simulated"
    for since, until, refused in (
        (date(2026, 5, 2), None, ""),
        (date(2026, 5, 3), None, "dates"),
        (None, date(2026, 5, 2), ""),
        (None, date(2026, 5, 1), "dates"),
    ):
        assert Filters(since=since, until=until).refuse(Vote(False, False, noon)) == refused
    asked = Filters(fields=("oncology", "cardiology"))
    assert asked.refuse(Vote(False, False, noon, ["surgery", "cardiology"])) == ""
    assert asked.refuse(Vote(False, False, noon, ["surgery"])) == "fields"


def test_a_margin_is_what_the_target_says_for_the_chosen_and_against_the_rejected() -> None:
    assert Filters(min_margin=0.42).takes(0.71)
    assert not Filters(min_margin=0.43).takes(0.71)


@pytest.mark.parametrize(
    "wrong", [{"min_judgements": 0}, {"min_margin": 1.0}, {"min_margin": -0.1}, {"since": date(2026, 2, 2), "until": date(2026, 2, 1)}]
)
def test_filters_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Filters(**wrong)


def test_what_is_kept_of_filters_is_read_again_and_told_in_words() -> None:
    asked = Filters(
        2, ("b", "a"), ("Note",), ("cardiology",), date(2026, 1, 2), date(2026, 3, 4), True, True, 0.25, True,
    )  # fmt: skip
    assert filters.from_dict(asked.as_dict()) == asked
    assert Filters().as_dict() == {"min_judgements": 1, "task_types": []}
    assert dict(filters.in_words(asked.as_dict())) == {
        "At least": "2 judgements a pair", "Task types": "a, b", "Document types": "Note", "Raters' fields": "cardiology",
        "Judged": "from 2026-01-02 until 2026-03-04", "Imported judgements": "left out", "Simulated raters": "left out",
        "Margin": "at least 0.25", "Near-identical texts": "left out",
    }  # fmt: skip


# --- frozen ------------------------------------------------------------------------------------------------------------------------------


def test_each_filter_leaves_out_what_it_says_under_its_own_reason(world: Campaign) -> None:
    def lost(**asked: Any) -> dict[str, int]:
        try:
            return dict(freeze(world, **asked).counts["dropped"])
        except FreezeRefused as refused:
            return {"refused": str(refused).count("(")}

    assert lost(task_types=["summarization"])["filtered"] == 8
    assert lost(document_types=["Letter"])["document_type"] == 6
    assert lost(fields=["cardiology"])["fields"] == 6
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    assert lost(until=tomorrow) == lost()
    with pytest.raises(FreezeRefused, match=r"12 \(judged outside the days asked for\)"):
        freeze(world, since=tomorrow)
    assert lost(exclude_simulated=True, exclude_external=True) == lost(), "there are none"
    assert freeze(world, min_margin=0.4).counts["dropped"]["margin"] > 0
    assert freeze(world, fields=["cardiology"]).counts["judgements"] == 6


def test_imported_judgements_can_be_left_out_of_their_own_campaign() -> None:
    theirs = store(row(1), row(2)).campaign
    assert len(snapshots.plan(campaign=theirs, filters=Filters()).rows) == 2
    with pytest.raises(FreezeRefused, match=r"2 \(only imported judgements"):
        freeze(theirs, exclude_external=True)


def test_nearly_the_same_texts_are_left_out_on_request(world: Campaign) -> None:
    pair = snapshots.plan(campaign=world, filters=Filters()).rows[0].pair
    text = "The patient was admitted with chest pain; troponin stayed normal twice, and the stress test showed no ischaemia at all. " * 3
    both = Pair.objects.get(pk=pair)
    Completion.objects.filter(pk=both.first_id).update(text=text)
    Completion.objects.filter(pk=both.second_id).update(text=text.replace("twice", "thrice", 1))
    assert "near_identical" not in freeze(world).counts["dropped"]
    left_out = freeze(world, drop_near_identical=True)
    assert left_out.counts["dropped"]["near_identical"] == 1
    assert left_out.evidence.dropped["near_identical"] == [pair]


ASKED = st.fixed_dictionaries(
    {},
    optional={
        "min_judgements": st.integers(1, 3),
        "task_types": st.lists(st.sampled_from(["summarization", "text expansion", "nothing"]), max_size=2),
        "document_types": st.lists(st.sampled_from(["Letter", "Note", "nothing"]), max_size=2),
        "fields": st.lists(st.sampled_from(["cardiology", "general_practice", "surgery"]), max_size=2),
        "since": st.just(date(2020, 1, 1)) | st.just(date(2100, 1, 1)),
        "exclude_external": st.booleans(),
        "exclude_simulated": st.booleans(),
        "min_margin": st.floats(0, 0.99),
        "drop_near_identical": st.booleans(),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ASKED)
def test_whatever_is_asked_for_every_pair_is_used_or_left_out_once(world: Campaign, asked: dict[str, Any]) -> None:
    made = snapshots.plan(campaign=world, filters=Filters(**asked))
    used = [one.pair for one in made.rows]
    left_out = [pair for pairs in made.dropped.values() for pair in pairs]
    assert sorted([*used, *left_out]) == sorted(world.pairs.values_list("pk", flat=True))
    assert sum(made.used.values()) + sum(made.lost.values()) == 12
    assert set(made.lost) <= set(snapshots.DROP_REASONS)
    for one in made.rows:
        assert made.filters.takes(one.p_chosen)
        assert one.votes["chosen"] + one.votes["rejected"] + one.votes["tie"] >= 1


def test_the_list_of_what_was_left_out_holds_numbers_and_reasons_alone(world: Campaign, as_dan: Client, as_sam: Client) -> None:
    frozen = freeze(world, task_types=["summarization"])
    answer = as_dan.get(f"/snapshots/{frozen.public_id}/left-out/")
    assert answer["Content-Disposition"] == f'attachment; filename="rounds-snapshot-{frozen.digest[:12]}-left-out.csv"'
    told = list(csv.reader(b"".join(answer.streaming_content).decode().splitlines()))  # type: ignore[attr-defined]
    assert told[0] == ["pair_id", "reason"]
    by_reason = {reason: sum(1 for _, why in told[1:] if why == reason) for _, reason in told[1:]}
    assert by_reason == frozen.counts["dropped"]
    assert len(told) - 1 + sum(frozen.counts["used"].values()) == 12
    assert as_sam.get(f"/snapshots/{frozen.public_id}/left-out/").status_code == 200
    assert "Download the list" in as_dan.get(f"/snapshots/{frozen.public_id}/").content.decode()


# --- never changed, and rebuilt ----------------------------------------------------------------------------------------------------------


def _save(record: Any) -> None:
    record.save()


def _field(record: Any) -> str:
    return {"Snapshot": "name", "SnapshotRow": "p_chosen", "SnapshotEvidence": "rulings"}[type(record).__name__]


def _bulk(record: Any) -> None:
    type(record).objects.bulk_update([record], [_field(record)])


def _raw(sql: str) -> Callable[[Any], None]:
    def run(record: Any) -> None:
        with connection.cursor() as cursor:
            # What a test wrote is checked at its end, and a table with checks to come takes no TRUNCATE whatever the triggers say.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(sql.format(table=record._meta.db_table))

    return run


WAYS: dict[str, Callable[[Any], Any]] = {
    "save": _save,
    "update": lambda record: type(record).objects.filter(pk=record.pk).update(**{_field(record): getattr(record, _field(record))}),
    "delete": lambda record: type(record).objects.filter(pk=record.pk)._raw_delete("default"),
    "bulk_update": _bulk,
    "raw update": _raw("UPDATE {table} SET id = id"),
    "raw delete": _raw("DELETE FROM {table}"),
    "truncate": _raw("TRUNCATE {table} CASCADE"),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_writing_changes_what_was_frozen(world: Campaign, way: str) -> None:
    frozen = freeze(world)
    for record in (frozen, frozen.rows.first(), frozen.evidence):
        with pytest.raises(DatabaseError, match=r"Cannot|never emptied"), transaction.atomic():
            WAYS[way](record)
    assert (Snapshot.objects.count(), SnapshotEvidence.objects.count()) == (1, 1)
    assert SnapshotRow.objects.count() == sum(frozen.counts["used"].values())


def test_what_was_frozen_is_rebuilt_whatever_was_said_since(world: Campaign, alice: User, bob: User, carol: User) -> None:
    harmed = Judgement.objects.filter(assignment__annotator=alice).first()
    assert harmed is not None
    judgements.amend(judgement=harmed, verdict=Verdict.SECOND_MUCH, harm_first="major", harm_first_type="omission", key=uuid4())
    dispute = Dispute.objects.get(pair=harmed.assignment.pair_id)
    said = Ruling("second", "Looked at it.", harm_first="major")
    adjudications.rule(dispute=dispute, adjudicator=carol, ruling=said, votes_version=dispute.votes_version, key=uuid4())
    taken = [freeze(world), freeze(world, task_types=["summarization"], min_margin=0.3), freeze(world, fields=["cardiology"])]
    assert taken[0].counts["by_ruling"] == 1
    assert [snapshots.rebuild(one) for one in taken] == [one.digest for one in taken]
    # New votes, an undone one, an amended one, another ruling, a withdrawn sample, a closed campaign.
    for _ in range(3):
        judge(world, bob, Verdict.SECOND_MUCH)
    judgements.undo_last(campaign=world, annotator=bob)
    amended = Judgement.objects.current().filter(assignment__annotator=bob).exclude(assignment__pair=dispute.pair_id).first()
    assert amended is not None
    judgements.amend(judgement=amended, verdict=Verdict.FIRST_MUCH, harm_second="major", harm_second_type="omission", key=uuid4())
    dispute.refresh_from_db()
    lifted = Ruling("first", "Looked again.", must_not_train_second=True)
    adjudications.rule(dispute=dispute, adjudicator=carol, ruling=lifted, votes_version=dispute.votes_version, key=uuid4())
    Sample.objects.filter(pk=Sample.objects.order_by("pk").first().pk).update(withdrawn_at="2026-01-01T00:00Z")  # type: ignore[union-attr]
    campaigns.close(campaign=world, actor=None)
    assert [snapshots.rebuild(one) for one in taken] == [one.digest for one in taken]
    assert freeze(world).digest not in {one.digest for one in taken}


def test_something_changed_behind_the_triggers_is_found(world: Campaign) -> None:
    frozen = freeze(world)
    voted = Judgement.objects.filter(pk__in=frozen.evidence.votes, verdict=Verdict.FIRST_MUCH).first()
    assert voted is not None
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE annotation_judgement SET verdict = 'second_much' WHERE id = %s", [voted.pk])
        cursor.execute("SET LOCAL session_replication_role = origin")
    assert snapshots.rebuild(frozen) != frozen.digest
    with pytest.raises(CommandError, match="something it rests on was changed"):
        call_command("rebuild_snapshot", frozen.digest)


def test_the_command_line_says_whether_a_snapshot_is_the_same(world: Campaign) -> None:
    frozen = freeze(world)
    said = StringIO()
    call_command("rebuild_snapshot", frozen.digest[:12], "--json", stdout=said)
    assert json.loads(said.getvalue()) == {"snapshot": frozen.digest, "rebuilt": frozen.digest, "same": True}
    with pytest.raises(CommandError, match="No snapshot begins"):
        call_command("rebuild_snapshot", "none")


SETTINGS = [
    "SET LOCAL lc_numeric = 'C'",
    "SET LOCAL extra_float_digits = -10",
    "SET LOCAL TIME ZONE 'Asia/Kolkata'",
    "SET LOCAL lc_time = 'C'",
    "SET LOCAL work_mem = '64kB'",
    "SET LOCAL enable_hashjoin = off",
    "SET LOCAL enable_seqscan = off",
]


def test_the_same_votes_in_another_order_and_under_other_settings_make_the_same_digest(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=5, overlap=2)
    said: dict[tuple[int, int], str] = {}
    for rater in (alice, bob):
        for number in range(5):
            given = judge(made, rater, VERDICTS[(number + rater.pk) % len(VERDICTS)])
            said[rater.pk, given.assignment.pair_id] = given.verdict
    first = freeze(made).digest
    # Taken back and given again, last first: other rows in the table, in another order, by the other rater first.
    for rater in (bob, alice):
        for _ in range(5):
            judgements.undo_last(campaign=made, annotator=rater)
    for rater in (bob, alice):
        for _ in range(5):
            held = lease(made, rater)
            judgements.submit(assignment=held, verdict=said[rater.pk, held.pair_id], key=uuid4())
    for statement in SETTINGS:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
            assert freeze(made).digest == first, statement
    assert Snapshot.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_rebuilding_under_parallel_writes_gives_the_same_digest(alice: User) -> None:
    made = campaign([alice, person("zoe", "annotator")], pairs=12, overlap=2)
    for _ in range(12):
        judge(made, alice, Verdict.FIRST_MUCH)
    frozen = freeze(made)
    zoe = User.objects.get(username="zoe")
    written: list[int] = []

    def write() -> None:
        try:
            for _ in range(12):
                written.append(judge(made, zoe, Verdict.SECOND_MUCH).pk)
        finally:
            connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    digests = {snapshots.rebuild(frozen) for _ in range(20)}
    writer.join()
    assert digests == {frozen.digest} == {snapshots.rebuild(frozen)}
    assert len(written) == 12
