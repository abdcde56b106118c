"""Sittings: a session of rating with a beginning, a length that was chosen, and an end that says what came of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from accounts import audit
from accounts.models import User
from annotation import assignments, power
from annotation.models import Assignment, AssignmentQuerySet, AssignmentState, Campaign, Judgement, Sitting
from web.statements import Frozen, prepared

MINUTES = (10, 20, 30)
# Reading that nobody does: three pairs in a row faster than this many words a minute ask for a pause, gently (product.md 3.1).
HURRIED_WORDS, HURRIED_PAIRS = 600, 3
# Five minutes are 3,000 words at that speed, more than any screen holds: then there is nothing to count.
LONG_MS = 300_000
_TEXTS = """
SELECT s.instruction, s.input, a.text, b.text
FROM annotation_pair p
JOIN annotation_prompt q ON q.id = p.prompt_id JOIN annotation_sample s ON s.id = q.sample_id
JOIN annotation_completion a ON a.id = p.first_id JOIN annotation_completion b ON b.id = p.second_id
WHERE p.id = %s
"""
# A person's own pace: of this many last answers, once so many were timed; never less than a second a pair, and minutes where
# nothing is known.
LAST, ENOUGH_OWN, SHORTEST, UNKNOWN = 50, 5, 1 / 60, 2.0
_WORDS = """
SELECT c.id, (
    SELECT avg(array_length(regexp_split_to_array(btrim(shown.text), '\\s+'), 1)) FROM (
        SELECT concat_ws(' ', s.instruction, s.input, a.text, b.text) AS text
        FROM annotation_pair p
        JOIN annotation_prompt q ON q.id = p.prompt_id JOIN annotation_sample s ON s.id = q.sample_id
        JOIN annotation_completion a ON a.id = p.first_id JOIN annotation_completion b ON b.id = p.second_id
        WHERE p.campaign_id = c.id LIMIT 30
    ) shown
)
FROM annotation_campaign c WHERE c.id = ANY(%s)
"""
ANSWERED = (AssignmentState.SUBMITTED, AssignmentState.SURPLUS)


@dataclass(frozen=True)
class Card:
    """What a sitting came to. `minutes` run from its start to the last answer; `median_seconds` is the time in use a pair, if measured."""

    pairs: int
    minutes: int
    median_seconds: float | None


def current(*, campaign: Campaign, annotator: User) -> Sitting | None:
    """The sitting under way, or None."""
    return Sitting.objects.filter(campaign=campaign, annotator=annotator, ended_at__isnull=True).first()


@dataclass(frozen=True)
class Running:
    """A sitting under way as the queue shows it."""

    sitting: Sitting
    answered: int

    @property
    def minutes_left(self) -> int:
        return _minutes_left(self.sitting)

    @property
    def over(self) -> bool:
        return _time_is_up(self.sitting) or self.answered >= self.sitting.planned_pairs


def _with_answered(annotator: int) -> QuerySet[Sitting]:
    mine = Assignment.objects.filter(
        campaign=OuterRef("campaign"), annotator=annotator, state__in=ANSWERED, submitted_at__gte=OuterRef("started_at")
    )
    counted = mine.order_by().values("campaign").annotate(n=Count("pk")).values("n")
    return Sitting.objects.filter(annotator=annotator, ended_at__isnull=True).annotate(
        answered=Coalesce(Subquery(counted, output_field=IntegerField()), 0)
    )


# Asked twice with every pair: built once.
_under_way = Frozen(_with_answered, annotator=2**40)


def running(*, annotator: User) -> dict[int, Running]:
    """Every sitting of `annotator` under way that still has time and pairs, by campaign. One query."""
    return {one.sitting.campaign_id: one for one in _all_under_way(annotator) if not one.over}


def _all_under_way(annotator: User) -> list[Running]:
    return [Running(sitting, sitting.answered) for sitting in _under_way(annotator=annotator.pk)]  # type: ignore[attr-defined]


def start(*, campaign: Campaign, annotator: User, minutes: int) -> Sitting:
    """Begin a session of `minutes`, or go on with the one under way. One whose time is over is ended first."""
    running = current(campaign=campaign, annotator=annotator)
    if running is not None:
        if not over(running):
            return running
        end(sitting=running)
    pace = paces(annotator=annotator, campaigns=[campaign.pk])[campaign.pk]
    # No session promises more than there is: "1 of 8", not "1 of 37".
    there = Campaign.objects.for_queue(annotator).only("pk").get(pk=campaign.pk)
    pairs = max(1, min(power.pairs_promised(minutes, pace), there.left))  # type: ignore[attr-defined]
    try:
        with transaction.atomic():
            return Sitting.objects.create(campaign=campaign, annotator=annotator, planned_minutes=minutes, planned_pairs=pairs)
    except IntegrityError:
        # A second tab began it in the same moment.
        return Sitting.objects.get(campaign=campaign, annotator=annotator, ended_at__isnull=True)


def over(sitting: Sitting) -> bool:
    """Whether its time is up or its pairs are answered."""
    return sitting.ended_at is not None or _time_is_up(sitting) or _answers(sitting).count() >= sitting.planned_pairs


def _time_is_up(sitting: Sitting) -> bool:
    return timezone.now() >= sitting.started_at + timedelta(minutes=sitting.planned_minutes)


def _minutes_left(sitting: Sitting) -> int:
    """Whole minutes, rounded up: somebody with seconds left has "1 minute"."""
    left = sitting.started_at + timedelta(minutes=sitting.planned_minutes) - timezone.now()
    return max(0, -int(-left.total_seconds() // 60))


@transaction.atomic
def end(*, sitting: Sitting) -> Sitting:
    """End it, once; pairs fetched ahead and never looked at go back to colleagues."""
    if Sitting.objects.filter(pk=sitting.pk, ended_at__isnull=True).update(ended_at=Now()):
        assignments.release_ahead(campaign=sitting.campaign, annotator=sitting.annotator)
        audit.record(sitting.annotator, "sitting.ended", sitting, pairs=_answers(sitting).count())
    sitting.refresh_from_db()
    return sitting


def end_if_over(*, campaign: Campaign, annotator: User) -> Sitting | None:
    """The sitting under way, ended, if that is due; else None. What an answer calls to know whether a card comes next."""
    mine = next((one for one in _all_under_way(annotator) if one.sitting.campaign_id == campaign.pk), None)
    if mine is None or not mine.over:
        return None
    mine.sitting.campaign, mine.sitting.annotator = campaign, annotator
    return end(sitting=mine.sitting)


def card(sitting: Sitting) -> Card:
    """What came of it so far."""
    answered = list(_answers(sitting).order_by("submitted_at").values_list("pk", "submitted_at"))
    firsts = Judgement.objects.filter(assignment__in=[pk for pk, _ in answered], revision=1).values_list("active_ms", flat=True)
    times = [spent for spent in firsts if spent is not None]
    last = (answered[-1][1] if answered else sitting.ended_at) or timezone.now()
    minutes = max(0, round((last - sitting.started_at).total_seconds() / 60))
    return Card(len(answered), minutes, median(times) / 1000 if times else None)


def _answers(sitting: Sitting) -> AssignmentQuerySet:
    """Assignments answered while it ran, as the database's clock has it."""
    found = Assignment.objects.filter(
        campaign=sitting.campaign_id, annotator=sitting.annotator_id, state__in=ANSWERED, submitted_at__gte=sitting.started_at
    )
    return found.filter(submitted_at__lte=sitting.ended_at) if sitting.ended_at else found


@dataclass(frozen=True)
class Day:
    """What somebody did today: `pairs`, and the median time in use of those that were measured."""

    pairs: int
    median_seconds: float | None


def today(*, annotator: User) -> Day:
    """Since midnight here, over every campaign. One query."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    given = Judgement.objects.filter(
        assignment__annotator=annotator, assignment__state__in=ANSWERED, assignment__submitted_at__gte=midnight, revision=1
    )
    times = list(given.values_list("active_ms", flat=True))
    measured = [spent for spent in times if spent is not None]
    return Day(len(times), median(measured) / 1000 if measured else None)


def paces(*, annotator: User, campaigns: Collection[int]) -> dict[int, power.Pace]:
    """Minutes a pair for this person, by campaign: the median of their last fifty once five were timed; before that, what the words
    on screen take to read at 230 a minute, as far as some thirty pairs tell. Two queries at most.
    """
    given = Judgement.objects.filter(assignment__annotator=annotator, active_ms__isnull=False).order_by("-pk")
    own = [spent for spent in given.values_list("active_ms", flat=True)[:LAST] if spent is not None]
    if len(own) >= ENOUGH_OWN:
        minutes = max(median(own) / 60_000, SHORTEST)
        return dict.fromkeys(campaigns, power.Pace(minutes, "times", minutes > power.LONG_PAIR))
    with connection.cursor() as cursor:
        cursor.execute(_WORDS, [list(campaigns)])
        words = dict(cursor.fetchall())
    return {pk: power.pace_of(float(found)) if (found := words.get(pk)) else power.Pace(UNKNOWN, "words", False) for pk in campaigns}


def hurried(read: Sequence[tuple[int, int | None]]) -> bool:
    """Whether the last three of `read`, (words on screen, milliseconds in use) newest first, were faster than anybody reads.

    A covariate of quality, told to the rater first and to nobody as a fault: a page left open elsewhere or a glance may explain it.
    """
    last = read[:HURRIED_PAIRS]
    return len(last) == HURRIED_PAIRS and all(spent is not None and words * 60_000 > HURRIED_WORDS * spent for words, spent in last)


def read_too_fast(assignment: Assignment, spent: int | None) -> bool:
    """Whether `spent` milliseconds are less than reading this pair takes anybody. One query, and none where the time was long."""
    if spent is None or spent > LONG_MS:
        return False
    with prepared() as cursor:
        cursor.execute(_TEXTS, [assignment.pair_id])
        texts = cursor.fetchone()
    return sum(len(text.split()) for text in texts) * 60_000 > HURRIED_WORDS * spent


def words_of(assignment: Assignment) -> int:
    """Words on screen: instruction, input and both outputs."""
    sample, pair = assignment.pair.prompt.sample, assignment.pair
    return sum(len(text.split()) for text in (sample.instruction, sample.input, pair.first.text, pair.second.text))


def pause_advised(*, campaign: Campaign, annotator: User) -> bool:
    """Whether their last three answers here came faster than reading."""
    latest = list(
        Judgement.objects.filter(assignment__campaign=campaign, assignment__annotator=annotator, revision=1, undone_at__isnull=True)
        .order_by("-pk")
        .values_list("assignment_id", "active_ms")[:HURRIED_PAIRS]
    )
    held = Assignment.objects.select_related("pair__prompt__sample", "pair__first", "pair__second").in_bulk([pk for pk, _ in latest])
    return hurried([(words_of(held[pk]), spent) for pk, spent in latest])
