"""Sessions: how long they are meant to be, when they are over, what they came to, and reading too fast."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import AuditEntry, User
from annotation import assignments, power, sittings
from annotation.models import Assignment, AssignmentState, Campaign, Judgement, Sitting
from tests.annotation.build import campaign, judge, lease

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def slow_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short texts here take two minutes a pair."""
    monkeypatch.setattr(power, "READING", 39 / 2)


@pytest.fixture
def made(alice: User, bob: User) -> Campaign:
    return campaign([alice, bob], pairs=12)


def ago(sitting: Sitting, minutes: float) -> Sitting:
    Sitting.objects.filter(pk=sitting.pk).update(started_at=timezone.now() - timedelta(minutes=minutes))
    sitting.refresh_from_db()
    return sitting


def test_it_plans_the_pairs_that_fit_at_the_raters_pace(made: Campaign, alice: User) -> None:
    assert sittings.start(campaign=made, annotator=alice, minutes=10).planned_pairs == 5  # by its words, until five were timed
    sittings.end(sitting=Sitting.objects.get())
    for _ in range(5):
        judge(made, alice)
    Judgement.objects.update(active_ms=120_000)
    assert sittings.start(campaign=made, annotator=alice, minutes=12).planned_pairs == 6


def test_it_promises_no_more_pairs_than_there_are(made: Campaign, alice: User) -> None:
    assert sittings.start(campaign=made, annotator=alice, minutes=30).planned_pairs == 12


def test_there_is_one_at_a_time_and_starting_again_goes_on(made: Campaign, alice: User, bob: User) -> None:
    first = sittings.start(campaign=made, annotator=alice, minutes=10)
    assert sittings.start(campaign=made, annotator=alice, minutes=30) == first
    assert sittings.start(campaign=made, annotator=bob, minutes=30) != first
    assert set(sittings.running(annotator=alice)) == {made.pk}


def test_it_is_over_when_its_pairs_are_answered(made: Campaign, alice: User) -> None:
    sitting = sittings.start(campaign=made, annotator=alice, minutes=10)
    for _ in range(4):
        judge(made, alice)
    assert not sittings.over(sitting)
    assert sittings.end_if_over(campaign=made, annotator=alice) is None
    judge(made, alice)
    assert sittings.over(sitting)
    assert sittings.running(annotator=alice) == {}
    ended = sittings.end_if_over(campaign=made, annotator=alice)
    assert ended == sitting
    assert ended.ended_at is not None
    assert AuditEntry.objects.get(verb="sitting.ended").details == {"pairs": 5}


def test_it_is_over_when_its_time_is_up_and_the_next_start_begins_anew(made: Campaign, alice: User) -> None:
    sitting = ago(sittings.start(campaign=made, annotator=alice, minutes=10), 9.5)
    assert not sittings.over(sitting)
    assert sittings.running(annotator=alice)[made.pk].minutes_left == 1
    ago(sitting, 10.1)
    assert sittings.over(sitting)
    again = sittings.start(campaign=made, annotator=alice, minutes=20)
    assert again != sitting
    sitting.refresh_from_db()
    assert sitting.ended_at is not None


def test_ending_gives_back_what_was_only_fetched_ahead(made: Campaign, alice: User) -> None:
    sitting = sittings.start(campaign=made, annotator=alice, minutes=10)
    shown = lease(made, alice)
    ahead = assignments.lease_ahead(campaign=made, annotator=alice, beside=shown)
    assert ahead is not None
    sittings.end(sitting=sitting)
    states = dict(Assignment.objects.values_list("pk", "state"))
    assert states == {shown.pk: AssignmentState.LEASED, ahead.pk: AssignmentState.RELEASED}


def test_ending_twice_ends_once(made: Campaign, alice: User) -> None:
    sitting = sittings.start(campaign=made, annotator=alice, minutes=10)
    first = sittings.end(sitting=sitting).ended_at
    assert sittings.end(sitting=Sitting.objects.get()).ended_at == first
    assert AuditEntry.objects.filter(verb="sitting.ended").count() == 1


def test_its_card_counts_its_own_answers_and_runs_to_the_last_of_them(made: Campaign, alice: User, bob: User) -> None:
    judge(made, alice)
    Assignment.objects.update(submitted_at=timezone.now() - timedelta(hours=2))
    sitting = ago(sittings.start(campaign=made, annotator=alice, minutes=20), 15)
    for milliseconds in (30_000, 110_000, 70_000):
        judgement = judge(made, alice)
        Judgement.objects.filter(pk=judgement.pk).update(active_ms=milliseconds)
    judge(made, bob)
    Assignment.objects.filter(annotator=alice, submitted_at__gte=sitting.started_at).update(
        submitted_at=timezone.now() - timedelta(minutes=3)
    )
    assert sittings.card(sitting) == sittings.Card(pairs=3, minutes=12, median_seconds=70.0)


def test_a_session_without_answers_says_nought(made: Campaign, alice: User) -> None:
    assert sittings.card(sittings.start(campaign=made, annotator=alice, minutes=20)) == sittings.Card(0, 0, None)


def test_today_counts_since_midnight_over_every_campaign(made: Campaign, alice: User) -> None:
    other = campaign([alice], pairs=2, name="Another")
    for where in (made, other, made):
        judge(where, alice)
    Judgement.objects.update(active_ms=90_000)
    yesterday = Assignment.objects.filter(campaign=made).earliest("pk")
    Assignment.objects.filter(pk=yesterday.pk).update(submitted_at=timezone.now() - timedelta(days=1))
    assert sittings.today(annotator=alice) == sittings.Day(2, 90.0)


# --- reading too fast --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "too_fast"),
    [
        ([(500, 49_000)] * 3, True),  # 612 words a minute
        ([(500, 50_000)] * 3, False),  # 600: nobody's fault
        ([(500, 20_000)] * 2, False),
        ([(500, 20_000), (500, 20_000), (500, 200_000), (500, 20_000)], False),
        ([(500, 20_000)] * 3 + [(500, 200_000)], True),
        ([(500, 20_000), (500, None), (500, 20_000)], False),
    ],
)
def test_three_pairs_in_a_row_faster_than_reading_ask_for_a_pause(read: list[tuple[int, int | None]], too_fast: bool) -> None:
    assert sittings.hurried(read) is too_fast


def test_the_last_three_answers_of_a_campaign_are_looked_at(made: Campaign, alice: User) -> None:
    words = 0
    for _ in range(3):
        held = lease(made, alice)
        words = sittings.words_of(held)
        judge(made, alice)
    assert words == 10 + 11 + 9 + 9
    Judgement.objects.update(active_ms=1_000)
    assert sittings.pause_advised(campaign=made, annotator=alice)
    latest = Judgement.objects.latest("pk")
    Judgement.objects.filter(pk=latest.pk).update(active_ms=9_000)
    assert not sittings.pause_advised(campaign=made, annotator=alice)


# --- how long a pair takes ---------------------------------------------------------------------------------------------------------------


def test_words_tell_the_pace_until_five_answers_do(made: Campaign, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "READING", 230)

    def pace() -> tuple[float, str]:
        found = sittings.paces(annotator=alice, campaigns=[made.pk])[made.pk]
        return round(found.minutes, 3), found.source

    # 10 words of instruction, 11 of input, 9 of each answer.
    assert pace() == (round(39 / 230, 3), "words")
    for number in range(1, 6):
        judgement = judge(made, alice)
        Judgement.objects.filter(pk=judgement.pk).update(active_ms=number * 30_000)
        assert pace()[1] == ("times" if number == 5 else "words")
    assert pace() == (1.5, "times")


def test_a_campaign_without_pairs_is_thought_to_take_two_minutes_a_pair(alice: User) -> None:
    assert sittings.paces(annotator=alice, campaigns=[0])[0].minutes == 2.0
