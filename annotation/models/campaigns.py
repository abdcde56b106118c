"""Who judges what, how often, in what order, and who holds it now: rubrics, campaigns, pairs, slots and leases."""

import re
import uuid
from typing import Any

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from accounts.models import User
from annotation.models.sources import Completion, Prompt, Split


class Rubric(models.Model):
    """What is asked about a pair, as data. A version never changes; editing makes the next one, so that what was used stays as it was.

    `content` = {"axes": [{"key", "label", "help", "scale", "anchors": {value: text}}], "reasons": [{"key", "label"}],
    "spans": [{"key", "label"}], "checks": ["json"]}. Scales: "comparative" (−2…2, positive for A as shown, stored positive for the first
    completion), "which" (−1…1 likewise), "count" (a number for each side), "risk" (1…4 for each side). The overall verdict, the safety flag
    of each side and "cannot judge" belong to every rubric and are not listed.
    """

    code = models.CharField(max_length=10, help_text="T0, T2, … or a name of your own.")
    version = models.PositiveSmallIntegerField(default=1)
    name = models.CharField(max_length=80)
    content = models.JSONField()
    digest = models.CharField(max_length=64)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    retired_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["code", "-version"]
        constraints = [models.UniqueConstraint(fields=["code", "version"], name="rubric_versions_are_numbered")]
        triggers = [
            pgtrigger.ReadOnly(name="versions_never_change", fields=["code", "version", "name", "content", "digest"]),
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.code} v{self.version}"


class Selection(models.TextChoices):
    RANDOM = "random", "Random"
    STRATIFIED = "stratified", "Stratified by task and document"
    INFORMATIVE = "informative", "Informative, a fifth of it random"


class RationaleWhen(models.TextChoices):
    """When a few words are required; nowhere else: text on everything slows people and degrades."""

    BOTH_UNACCEPTABLE = "both_unacceptable", "Both are unacceptable"
    FLAG = "flag", "A side is flagged as harmful"
    MUCH = "much", "One side is much better"
    ALWAYS = "always", "Always"


# What the protocol's digest covers: fixed once a campaign has opened.
LOCKED = (
    "purpose", "guideline", "rubric", "overlap", "double_share", "repeat_share", "repeat_after_hours", "selection", "splits", "routing",
    "cohorts", "rationale_when", "qualification", "pass_share", "attempts", "predecessor", "seed", "simulated", "toy", "protocol",
    "protocol_digest",
)  # fmt: skip


def every_split() -> list[str]:
    return list(Split.values)


class CampaignState(models.TextChoices):
    DRAFT = "draft", "Not open yet"
    OPEN = "open", "Open"
    PAUSED = "paused", "Paused"
    CLOSED = "closed", "Closed"

    @classmethod
    def running(cls) -> tuple[str, str]:
        """Handing out pairs, or about to again: what its members must not learn yet."""
        return cls.OPEN, cls.PAUSED


# What the protocol asks for: votes and second readers; in a qualification, where nothing else is asked, its gold.
_COUNTING = models.Q(kind__in=["vote", "review"]) | models.Q(campaign__purpose="qualify")

# `left` on the queue is counted up to here; beyond, the page says "1,000 or more".
LEFT_COUNTED = 1000

# Pairs that the member %(user)s of the outer query's campaign could be handed: with an open slot for people like them, each pair once
# (by the first of its open slots), not answered by them. The audiences are the claim's: see assignments.py.
_OPEN_TO_THEM = """
SELECT 1 FROM annotation_membership m
CROSS JOIN LATERAL unnest(array_append(m.audiences, ''::varchar)) AS audience(name)
CROSS JOIN LATERAL (
    SELECT 1 FROM annotation_slot s
    WHERE s.campaign_id = m.campaign_id AND s.audience = audience.name AND s.open AND s.reserved_for_id IS NULL
      AND NOT EXISTS (
          SELECT 1 FROM annotation_assignment a
          WHERE a.pair_id = s.pair_id AND a.annotator_id = %(user)s AND a.state IN ('leased', 'submitted', 'surplus')
          OFFSET 0
      )
      AND NOT EXISTS (
          SELECT 1 FROM annotation_slot e
          WHERE e.pair_id = s.pair_id AND e.number < s.number AND e.open AND e.reserved_for_id IS NULL
            AND (e.audience = '' OR e.audience = ANY (m.audiences))
          OFFSET 0
      )
    ORDER BY s.position, s.number
    LIMIT {most}
) AS found
WHERE m.campaign_id = annotation_campaign.id AND m.user_id = %(user)s AND m.active
"""
# Kept for them: gold, repeats, what was reassigned. Repeats that wait for their day are not there yet.
_KEPT_FOR_THEM = """
SELECT 1 FROM annotation_slot s JOIN annotation_membership m ON m.campaign_id = s.campaign_id AND m.user_id = %(user)s AND m.active
WHERE s.campaign_id = annotation_campaign.id AND s.reserved_for_id = %(user)s AND s.open
  AND (s.available_from > statement_timestamp()) IS {waiting} TRUE
  AND NOT EXISTS (
      SELECT 1 FROM annotation_assignment a
      WHERE a.pair_id = s.pair_id AND a.annotator_id = %(user)s AND a.state IN ('leased', 'submitted', 'surplus') AND a.repeat = s.repeat
  )
"""
# Leases: their own, and those of others on pairs they have not had, which no open slot offers them.
_OWN_LEASES = """
SELECT 1 FROM annotation_assignment l
WHERE l.campaign_id = annotation_campaign.id AND l.annotator_id = %(user)s AND l.state = 'leased'
"""
_OTHERS_LEASES = """
SELECT DISTINCT l.pair_id FROM annotation_assignment l
JOIN annotation_slot s ON s.id = l.slot_id AND s.reserved_for_id IS NULL
JOIN annotation_membership m ON m.campaign_id = l.campaign_id AND m.user_id = %(user)s AND m.active
WHERE l.campaign_id = annotation_campaign.id AND l.state = 'leased' AND l.annotator_id <> %(user)s
  AND l.expires_at {when} statement_timestamp() AND (s.audience = '' OR s.audience = ANY (m.audiences))
  AND NOT EXISTS (
      SELECT 1 FROM annotation_assignment a
      WHERE a.pair_id = l.pair_id AND a.annotator_id = %(user)s AND a.state IN ('leased', 'submitted', 'surplus')
  )
  AND NOT EXISTS (
      SELECT 1 FROM annotation_slot e
      WHERE e.pair_id = l.pair_id AND e.open AND e.reserved_for_id IS NULL AND (e.audience = '' OR e.audience = ANY (m.audiences))
  )
"""


class CampaignQuerySet(models.QuerySet["Campaign"]):
    def for_member(self, user: User) -> "CampaignQuerySet":
        return self.filter(memberships__user=user)

    def unblinded_for(self, user: User) -> "CampaignQuerySet":
        """Campaigns whose producers `user` may see: all but the open (or paused) ones they judge in, whatever their roles."""
        return self.exclude(pk__in=Membership.objects.filter(user=user, campaign__state__in=CampaignState.running()).values("campaign"))

    def for_rater(self, user: User) -> "CampaignQuerySet":
        """A member's campaigns, once opened, with what is `answered` by them: what the compare page needs, at the price of one index."""
        mine = Assignment.objects.filter(campaign=models.OuterRef("pk"), annotator=user, state__in=["submitted", "surplus"])
        return self.for_member(user).exclude(state=CampaignState.DRAFT).annotate(answered=_count(mine))

    def for_queue(self, user: User) -> "CampaignQuerySet":
        """As `for_rater`, with what is `left` for them, and `busy`: in colleagues' hands now, or a repeat that waits for its day.

        `left` stops at LEFT_COUNTED, so that its price does not grow with the campaign; below it is exact.
        """
        return self.for_rater(user).annotate(
            left=_capped(_OPEN_TO_THEM.format(most=LEFT_COUNTED), user)
            + _capped(_KEPT_FOR_THEM.format(waiting="NOT"), user)
            + _capped(_OWN_LEASES, user)
            + _capped(_OTHERS_LEASES.format(when="<="), user),
            busy=_capped(_OTHERS_LEASES.format(when=">"), user) + _capped(_KEPT_FOR_THEM.format(waiting=""), user),
        )

    def with_progress(self) -> "CampaignQuerySet":
        """With the votes `wanted` (in a qualification, its pairs' answers) and how many are `done`."""
        slots = Slot.objects.filter(_COUNTING, campaign=models.OuterRef("pk"), withdrawn_at__isnull=True)
        return self.annotate(wanted=_count(slots), done=_count(slots.filter(open=False, assignments__state="submitted")))


def _count(rows: models.QuerySet[Any]) -> Coalesce:
    """How many of `rows` belong to the campaign of the outer query, as a subquery: counting over joins would multiply."""
    counted = rows.order_by().values("campaign").annotate(n=models.Count("pk")).values("n")
    return Coalesce(models.Subquery(counted, output_field=models.IntegerField()), 0)


def _capped(rows: str, user: User) -> RawSQL:
    """How many `rows` there are, counted up to LEFT_COUNTED."""
    named = re.sub(r"%\(user\)s", "%s", rows)
    sql = f"SELECT count(*) FROM ({named} LIMIT {LEFT_COUNTED}) counted"  # noqa: S608 (our own text; values are parameters)
    return RawSQL(sql, [user.pk] * rows.count("%(user)s"), output_field=models.IntegerField())  # noqa: S611


class Campaign(models.Model):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=120)
    purpose = models.CharField(
        max_length=10,
        choices=[("collect", "Collect preferences"), ("qualify", "Qualify"), ("study", "Before/after study")],
        default="collect",
    )
    state = models.CharField(max_length=10, choices=CampaignState.choices, default=CampaignState.DRAFT)
    guideline = models.TextField()
    rubric = models.ForeignKey(Rubric, on_delete=models.PROTECT, related_name="campaigns")
    overlap = models.PositiveSmallIntegerField(default=1, help_text="Judgements wanted for each pair.")
    double_share = models.FloatField(default=0.0, help_text="Share of pairs, drawn at random, that get one judgement more.")
    repeat_share = models.FloatField(default=0.0, help_text="Share of a rater's answers asked again later, with sides swapped.")
    repeat_after_hours = models.PositiveSmallIntegerField(default=20)
    selection = models.CharField(max_length=12, choices=Selection.choices, default=Selection.RANDOM)
    splits = ArrayField(models.CharField(max_length=10, choices=Split.choices), default=every_split)
    routing = models.JSONField(default=dict, help_text='{"by": "task_type" | "input_data", "rules": {value: specialty}} or {}')
    cohorts = ArrayField(
        models.CharField(max_length=40), default=list, help_text="Each pair is judged `overlap` times in every cohort named."
    )
    rationale_when = ArrayField(models.CharField(max_length=20, choices=RationaleWhen.choices), default=list)
    session_minutes = models.PositiveSmallIntegerField(default=20)
    deadline = models.DateField(null=True, blank=True)
    hourly_cost = models.DecimalField(max_digits=8, decimal_places=2, null=True, blank=True, help_text="Of one clinician.")
    qualification = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="opens", help_text="To be passed before judging here."
    )
    pass_share = models.FloatField(default=0.8, help_text="Of a qualification's pairs, to be answered as expected.")
    attempts = models.PositiveSmallIntegerField(default=2, help_text="At a qualification.")
    predecessor = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="successors")
    protocol = models.JSONField(default=dict, help_text="Everything above as it was when the campaign opened.")
    protocol_digest = models.CharField(max_length=64, blank=True)
    lease_minutes = models.PositiveSmallIntegerField(default=30)
    seed = models.BigIntegerField(default=0)
    simulated = models.BooleanField(default=False, help_text="Judged by simulated raters: part of the demo.")
    toy = models.BooleanField(default=False, help_text="Its texts come from the toy model family.")
    external = models.BooleanField(
        default=False, db_default=False, help_text="Judged elsewhere and imported: never open here, and in none of our raters' figures."
    )
    counts = models.JSONField(
        default=dict, help_text='{"prompts": n, "pairs": n, "identical": n dropped, "single": n prompts with one text}'
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    opened_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    objects = CampaignQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(overlap__gte=1, overlap__lte=20), name="overlap_between_1_and_20"),
            models.CheckConstraint(condition=models.Q(state__in=CampaignState.values), name="campaign_state_is_known"),
            # Measuring needs a random sample; choosing what to ask about serves training only (product.md 2.10, arXiv 2601.09084).
            models.CheckConstraint(
                condition=models.Q(selection="random") | (~models.Q(splits__contains=["evaluation"]) & ~models.Q(purpose="study")),
                name="evaluation_pool_is_random",
            ),
            models.CheckConstraint(
                condition=models.Q(opened_at__isnull=True) | ~models.Q(protocol_digest=""), name="opened_with_its_protocol"
            ),
            models.CheckConstraint(
                condition=models.Q(double_share__gte=0, double_share__lte=1, repeat_share__gte=0, repeat_share__lte=0.5),
                name="shares_are_shares",
            ),
            models.CheckConstraint(condition=~models.Q(qualification=models.F("id")), name="no_campaign_qualifies_for_itself"),
            models.CheckConstraint(
                condition=models.Q(external=False) | models.Q(state="closed", opened_at__isnull=True, purpose="collect", simulated=False),
                name="external_is_never_open",
            ),
        ]
        triggers = [
            pgtrigger.ReadOnly(name="external_for_ever", fields=["external"]),
            pgtrigger.Trigger(
                name="protocol_is_locked",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange(*LOCKED),
                func="IF OLD.opened_at IS NOT NULL THEN RAISE EXCEPTION 'an opened campaign keeps its protocol'; END IF; RETURN NEW;",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def overdue(self) -> bool:
        """Its last day is over: no pair is handed out."""
        return self.deadline is not None and self.deadline < timezone.localdate()


class Membership(models.Model):
    """Who judges in a campaign. Never deleted: somebody who left has seen what they have seen."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="memberships")
    cohort = models.CharField(max_length=40, blank=True)
    # What the claim compares with a slot's audience: the cohort, and "specialty:…" for each field of theirs.
    audiences = ArrayField(models.CharField(max_length=60), default=list)
    # May be handed pairs: not revoked, and qualified where the campaign asks for it. Kept by memberships.py.
    active = models.BooleanField(default=True)
    attempt = models.PositiveSmallIntegerField(default=1, help_text="At a qualification: which try is under way.")
    qualified_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True, help_text="No try at the qualification is left.")
    added_at = models.DateTimeField(db_default=Now())
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "user"], name="one_membership_per_campaign_and_user"),
            models.CheckConstraint(condition=models.Q(revoked_at__isnull=True) | models.Q(active=False), name="revoked_is_not_active"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.campaign_id}"


class Pair(models.Model):
    """Two different completions of one prompt in canonical order (first has the lower id), unique per campaign."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="pairs")
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="pairs")
    first = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    second = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    position = models.PositiveIntegerField(help_text="Order in which pairs are handed out.")
    selection_probability = models.FloatField(default=1.0, help_text="How likely it was to be drawn into the campaign.")
    selected_by = models.CharField(max_length=12, choices=Selection.choices, default=Selection.RANDOM)
    stratum = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.CheckConstraint(condition=models.Q(first__lt=models.F("second")), name="pair_in_canonical_order"),
            models.UniqueConstraint(fields=["campaign", "first", "second"], name="pair_once_per_campaign"),
        ]

    def __str__(self) -> str:
        return f"pair {self.pk}"


class Gold(models.Model):
    """A pair whose answer is known. It looks like every other pair; only a qualification says afterwards what was expected."""

    pair = models.OneToOneField(Pair, on_delete=models.CASCADE, related_name="gold")
    accepts = ArrayField(models.CharField(max_length=20), help_text="The verdicts, by completion, that count as right.")
    explanation = models.TextField(blank=True, help_text="Shown after a qualification's answer; it must not say who wrote what.")
    origin = models.CharField(
        max_length=20, choices=[("written", "Written for it"), ("settled", "Settled by raters"), ("ruled", "Ruled by a lead")]
    )

    def __str__(self) -> str:
        return f"gold of pair {self.pair_id}"


class SlotKind(models.TextChoices):
    VOTE = "vote", "A vote the protocol asks for"
    REVIEW = "review", "A second reader of a flagged pair"
    GOLD = "gold", "A pair whose answer is known"
    REPEAT = "repeat", "The same rater again, sides swapped"


class Slot(models.Model):
    """A place for one judgement of a pair, made in advance: overlap is how many there are, not a count at run time."""

    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="slots")
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="slots")
    number = models.PositiveSmallIntegerField()
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=8, choices=SlotKind.choices, default=SlotKind.VOTE)
    # Counterbalanced over a pair's slots: clinicians favour the left.
    first_on_left = models.BooleanField()
    reserved_for = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    audience = models.CharField(max_length=60, blank=True, help_text='A cohort, "specialty:…", or anybody.')
    available_from = models.DateTimeField(null=True, help_text="A repeat waits for a later day.")
    repeat = models.PositiveSmallIntegerField(default=0, help_text="Which asking of the same rater: copied to the assignment.")
    # Nobody holds it. Kept by assignments.py beside every change of a holder, so that a claim reads one small index, however many
    # slots are taken; that a slot has one holder is Assignment's constraint and does not rest on this.
    open = models.BooleanField(default=True)
    withdrawn_at = models.DateTimeField(null=True, help_text="Nobody is to judge it any more: its sample is defective, its repeat is moot.")

    class Meta:
        ordering = ["position", "number"]
        constraints = [
            models.UniqueConstraint(fields=["pair", "number"], name="slot_numbers_are_unique"),
            models.CheckConstraint(condition=models.Q(withdrawn_at__isnull=True) | models.Q(open=False), name="withdrawn_is_not_open"),
            models.CheckConstraint(
                condition=models.Q(kind__in=["vote", "review"]) | models.Q(reserved_for__isnull=False),
                name="gold_and_repeats_are_somebodys",
            ),
        ]
        indexes = [
            models.Index(
                fields=["campaign", "audience", "position", "number"],
                condition=models.Q(open=True, reserved_for__isnull=True),
                name="open_slots_in_order",
            ),
            models.Index(
                fields=["reserved_for", "campaign", "position"],
                condition=models.Q(open=True, reserved_for__isnull=False),
                name="reserved_slots_in_order",
            ),
        ]

    def __str__(self) -> str:
        return f"slot {self.pair_id}/{self.number}"


class AssignmentState(models.TextChoices):
    LEASED = "leased", "Leased"
    SUBMITTED = "submitted", "Submitted"
    RELEASED = "released", "Released"
    EXPIRED = "expired", "Expired"
    SURPLUS = "surplus", "Kept as surplus"


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def live(self) -> "AssignmentQuerySet":
        """Leases that still hold, by the database's clock."""
        return self.filter(state=AssignmentState.LEASED, expires_at__gt=Now())

    def for_annotator(self, user: User | int) -> "AssignmentQuerySet":
        """A rater's own, with campaign and texts."""
        return self.filter(annotator=user).select_related("campaign", "pair__prompt__sample", "pair__first", "pair__second")


class Assignment(models.Model):
    """A lease on a slot by an annotator; once submitted, the slot's holder."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="assignments")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="assignments")
    slot = models.ForeignKey(Slot, on_delete=models.CASCADE, related_name="assignments")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="assignments")
    first_on_left = models.BooleanField()
    repeat = models.PositiveSmallIntegerField(default=0)
    lease_number = models.PositiveSmallIntegerField(default=1)
    state = models.CharField(max_length=10, choices=AssignmentState.choices, default=AssignmentState.LEASED)
    leased_at = models.DateTimeField(db_default=Now())
    shown_at = models.DateTimeField(null=True, help_text="When its annotator first had it before them; null while only fetched ahead.")
    extensions = models.PositiveSmallIntegerField(db_default=0)
    expires_at = models.DateTimeField()
    submitted_at = models.DateTimeField(null=True)

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["slot"], condition=models.Q(state__in=["leased", "submitted"]), name="one_holder_per_slot"),
            models.UniqueConstraint(
                fields=["pair", "annotator", "repeat"],
                condition=models.Q(state__in=["leased", "submitted", "surplus"]),
                name="once_per_pair_and_annotator",
            ),
            models.UniqueConstraint(
                fields=["campaign", "annotator", "lease_number"], condition=models.Q(state="leased"), name="lease_numbers_are_unique"
            ),
            models.CheckConstraint(condition=models.Q(lease_number__gte=1, lease_number__lte=3), name="at_most_three_open_leases"),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="external_raters_stay_apart",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.UpdateOf("campaign_id", "annotator_id"),  # type: ignore[no-untyped-call]
                func="""
                IF (SELECT external FROM annotation_campaign WHERE id = NEW.campaign_id)
                   <> (SELECT external FROM accounts_user WHERE id = NEW.annotator_id) THEN
                    RAISE EXCEPTION 'external raters judge in external campaigns, and nobody else does';
                END IF;
                RETURN NEW;
                """,
            )
        ]
        # In the order of their making: where somebody stood last is the first entry, how many they answered needs no table row.
        indexes = [models.Index(fields=["annotator", "campaign", "-id"], include=["state"], name="assignment_by_annotator")]

    def __str__(self) -> str:
        return f"assignment {self.public_id}"

    @property
    def expired(self) -> bool:
        return self.expires_at <= timezone.now()


class Sitting(models.Model):
    """One session of rating: how long it was meant to be, and what came of it."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="sittings")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="sittings")
    planned_minutes = models.PositiveSmallIntegerField()
    planned_pairs = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "annotator"], condition=models.Q(ended_at__isnull=True), name="one_sitting_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"sitting {self.public_id}"
