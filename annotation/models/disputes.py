"""What is settled beside the votes: disputes, rulings, defective samples."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from annotation.models.campaigns import Assignment, AssignmentState, Campaign, CampaignState, Membership, Pair
from annotation.models.judging import Severity
from annotation.models.sources import Sample


class DisputeKind(models.TextChoices):
    HARM = "harm", "Flagged as harmful"
    OPPOSED = "opposed", "Strongly opposed votes"


class DisputeState(models.TextChoices):
    OPEN = "open", "Open"
    DEFERRED = "deferred", "Deferred"
    RULED = "ruled", "Ruled"
    MOOT = "moot", "Moot: the votes changed"


class DisputeQuerySet(models.QuerySet["Dispute"]):
    def for_lead(self, user: User) -> "DisputeQuerySet":
        """Disputes `user` may look at and rule on, blind and independent: none of a campaign they judge in that may still hand them its
        pairs, none of a pair they have had before them.
        """
        judging = Membership.objects.filter(user=user).exclude(campaign__state=CampaignState.CLOSED)
        seen = Assignment.objects.filter(annotator=user, state__in=[AssignmentState.SUBMITTED, AssignmentState.SURPLUS])
        return self.exclude(campaign__in=judging.values("campaign")).exclude(pair__in=seen.values("pair"))

    def waiting(self) -> "DisputeQuerySet":
        """Open ones, and those put off until a time that has come; the gravest first, then the oldest."""
        back = models.Q(state=DisputeState.DEFERRED, deferred_until__lte=Now())
        return self.filter(models.Q(state=DisputeState.OPEN) | back).order_by("-severity", "opened_at", "pk")

    def put_off(self) -> "DisputeQuerySet":
        return self.filter(state=DisputeState.DEFERRED, deferred_until__gt=Now()).order_by("deferred_until")

    def ruled(self) -> "DisputeQuerySet":
        return self.filter(state=DisputeState.RULED).order_by("-ruled_at")

    def taken_from(self, user: User) -> "DisputeQuerySet":
        """Those that another lead has before them now."""
        return self.filter(taken_until__gt=Now()).exclude(taken_by=user)

    def of_harm(self) -> "DisputeQuerySet":
        """Every major flag that was raised, ruled on or taken back since: what the safety board counts."""
        return self.filter(kind=DisputeKind.HARM)

    def open_flags(self) -> "DisputeQuerySet":
        """Major flags nobody has ruled on yet, put off or not."""
        return self.of_harm().filter(state__in=[DisputeState.OPEN, DisputeState.DEFERRED])


class Dispute(models.Model):
    """A pair whose votes a lead clinician has to look at (product.md 2.4–2.5). Made in the transaction of the vote that made it one."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    pair = models.OneToOneField(Pair, on_delete=models.CASCADE, related_name="dispute")
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="disputes")
    kind = models.CharField(max_length=8, choices=DisputeKind.choices)
    severity = models.PositiveSmallIntegerField(default=0, help_text="0 none, 1 minor, 2 major, 3 life-threatening: the worst flag.")
    state = models.CharField(max_length=10, choices=DisputeState.choices, default=DisputeState.OPEN)
    first_on_left = models.BooleanField(help_text="For the lead, drawn when it was opened.")
    taken_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    taken_until = models.DateTimeField(null=True)
    deferred_until = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(db_default=Now())
    ruled_at = models.DateTimeField(null=True)
    # Counts changes of the votes below it: a ruling on votes that have changed meanwhile is asked for again.
    votes_version = models.PositiveIntegerField(default=1)

    objects = DisputeQuerySet.as_manager()

    class Meta:
        ordering = ["-severity", "opened_at"]
        indexes = [models.Index(fields=["campaign", "state"], name="disputes_by_campaign")]

    def __str__(self) -> str:
        return f"dispute {self.public_id}"


class Outcome(models.TextChoices):
    """Stored by completion, never by side."""

    FIRST = "first", "The first is better"
    SECOND = "second", "The second is better"
    EQUIVALENT = "equivalent", "Genuinely equivalent"
    DEFECTIVE = "defective", "The sample is defective"
    RUBRIC_UNCLEAR = "rubric_unclear", "The rubric is unclear"


class AdjudicationQuerySet(models.QuerySet["Adjudication"]):
    def newest(self) -> "AdjudicationQuerySet":
        """The ruling that holds in each dispute: its last revision."""
        last = Adjudication.objects.filter(dispute=models.OuterRef("dispute")).order_by("-revision").values("pk")[:1]
        return self.filter(pk=models.Subquery(last))


class Adjudication(models.Model):
    """A blinded ruling beside the votes. Never overwritten: the newest revision holds."""

    dispute = models.ForeignKey(Dispute, on_delete=models.PROTECT, related_name="adjudications")
    revision = models.PositiveSmallIntegerField(default=1)
    adjudicator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    idempotency_key = models.UUIDField(unique=True)
    outcome = models.CharField(max_length=16, choices=Outcome.choices)
    rationale = models.TextField(blank=True)
    # What the lead finds after looking: may confirm or lower what raters flagged. Blank: no harm.
    harm_first = models.CharField(max_length=20, choices=Severity.choices, blank=True)
    harm_second = models.CharField(max_length=20, choices=Severity.choices, blank=True)
    must_not_train_first = models.BooleanField(default=False)
    must_not_train_second = models.BooleanField(default=False)
    block_promotion_first = models.BooleanField(default=False, help_text="Of the model that wrote the first.")
    block_promotion_second = models.BooleanField(default=False)
    votes_version = models.PositiveIntegerField(default=1)
    decided_at = models.DateTimeField(db_default=Now())

    objects = AdjudicationQuerySet.as_manager()

    class Meta:
        ordering = ["dispute", "revision"]
        constraints = [models.UniqueConstraint(fields=["dispute", "revision"], name="rulings_are_numbered")]
        triggers = [pgtrigger.Protect(name="never_changed", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"ruling {self.dispute_id} r{self.revision}"


class Defect(models.Model):
    """A sample that raters could not judge for a fault of its own, sent back to whoever owns the data."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    sample = models.ForeignKey(Sample, on_delete=models.CASCADE, related_name="defects")
    state = models.CharField(
        max_length=10,
        choices=[("open", "Open"), ("kept", "Kept as it is"), ("withdrawn", "Withdrawn"), ("fixed", "Replaced")],
        default="open",
    )
    note = models.TextField(blank=True)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True)
    replaced_by = models.ForeignKey(Sample, null=True, on_delete=models.PROTECT, related_name="+")
    reported_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sample"], condition=models.Q(state="open"), name="one_open_defect_per_sample")]

    def __str__(self) -> str:
        return f"defect of sample {self.sample_id}"
