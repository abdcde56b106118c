"""Sample → Prompt → Completion → Pair → Slot → Assignment → Judgement → Snapshot."""

import uuid
from typing import Any

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from accounts.models import User
from modelhub.models import ModelVersion


class Split(models.TextChoices):
    TRAIN = "train", "Train"
    VALIDATION = "validation", "Validation"
    EVALUATION = "evaluation", "Evaluation"


class Source(models.Model):
    """Where samples come from: a data set by name, with its licence. Synthetic unless said otherwise."""

    name = models.CharField(max_length=80, unique=True)
    licence = models.CharField(max_length=80)
    synthetic = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name


class Sample(models.Model):
    """One MediFlow-shaped row (columns: arXiv 2505.10717, data card). Its split follows from its split key and never changes."""

    source = models.ForeignKey(Source, on_delete=models.PROTECT, related_name="samples")
    external_id = models.CharField(max_length=120, help_text="The source's own id, else the row's digest.")
    digest = models.CharField(max_length=64)
    instruction = models.TextField()
    input = models.TextField()
    output = models.TextField(blank=True)
    task_type = models.CharField(max_length=60)
    input_data = models.CharField(max_length=80, help_text="Document type")
    output_format = models.CharField(max_length=20)
    difficulty_level = models.CharField(max_length=20, blank=True)
    rejected_output = models.TextField(blank=True)
    error_type = models.CharField(max_length=60, blank=True)
    quality = models.FloatField(null=True, blank=True)
    alignment = models.FloatField(null=True, blank=True)
    coherence = models.FloatField(null=True, blank=True)
    realism = models.FloatField(null=True, blank=True)
    difficulty = models.FloatField(null=True, blank=True)
    split_key = models.CharField(max_length=64)
    split = models.CharField(max_length=10, choices=Split.choices)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "digest"], name="sample_digest_once_per_source"),
            models.UniqueConstraint(fields=["source", "external_id"], name="sample_id_once_per_source"),
        ]
        indexes = [models.Index(fields=["split", "id"], name="sample_by_split")]
        triggers = [pgtrigger.ReadOnly(name="split_never_changes", fields=["split", "split_key", "digest"])]

    def __str__(self) -> str:
        return f"{self.external_id}"


class Prompt(models.Model):
    """A sample rendered through a versioned chat layout: instruction in the system turn, input in the user turn."""

    sample = models.ForeignKey(Sample, on_delete=models.PROTECT, related_name="prompts")
    layout = models.CharField(max_length=20)
    messages = models.JSONField(help_text='[{"role": "system", "content": …}, {"role": "user", "content": …}]')
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sample", "layout"], name="one_prompt_per_sample_and_layout")]

    def __str__(self) -> str:
        return self.digest[:12]


class GenerationBatch(models.Model):
    """One producer answering many prompts with one decoding."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    version = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="generation_batches")
    system = models.CharField(max_length=80, blank=True, help_text="An external system's name, when no model version of ours wrote these.")
    decoding = models.JSONField(default=dict)
    seed = models.BigIntegerField(default=0)
    origin = models.CharField(max_length=64, null=True, blank=True, unique=True, help_text="Public id of the job that generated it.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(version__isnull=False, system="") | (models.Q(version__isnull=True) & ~models.Q(system="")),
                name="a_batch_has_one_producer",
            )
        ]

    def __str__(self) -> str:
        return self.system or str(self.version)


class Completion(models.Model):
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="completions")
    batch = models.ForeignKey(GenerationBatch, on_delete=models.PROTECT, related_name="completions")
    number = models.PositiveSmallIntegerField(default=0, help_text="Which of several draws for one prompt.")
    text = models.TextField()
    finish_reason = models.CharField(max_length=20, blank=True)
    tokens = models.PositiveIntegerField(null=True)
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["batch", "prompt", "number"], name="completion_once_per_batch_prompt_and_number")]

    def __str__(self) -> str:
        return self.digest[:12]


class CampaignState(models.TextChoices):
    DRAFT = "draft", "Not open yet"
    OPEN = "open", "Open"
    CLOSED = "closed", "Closed"


class CampaignQuerySet(models.QuerySet["Campaign"]):
    def for_member(self, user: User) -> "CampaignQuerySet":
        return self.filter(memberships__user=user)

    def unblinded_for(self, user: User) -> "CampaignQuerySet":
        """Campaigns whose producers `user` may see: all but the open ones they judge in, whatever their roles."""
        return self.exclude(pk__in=Membership.objects.filter(user=user, campaign__state=CampaignState.OPEN).values("campaign"))

    def for_queue(self, user: User) -> "CampaignQuerySet":
        """A member's campaigns with what is `answered` by them, `left` for them, and `busy`: left, but in colleagues' hands now."""
        mine = Assignment.objects.filter(campaign=models.OuterRef("pk"), annotator=user)
        counted = ["submitted", "surplus"]
        untouched = Pair.objects.filter(campaign=models.OuterRef("pk")).exclude(
            pk__in=Assignment.objects.filter(annotator=user, state__in=counted).values("pair")
        )
        leases = Assignment.objects.filter(pair=models.OuterRef("pk"), state="leased")
        free = (
            models.Exists(Slot.objects.filter(pair=models.OuterRef("pk"), open=True))
            | models.Exists(leases.filter(expires_at__lte=Now()))
            | models.Exists(leases.filter(annotator=user))
        )
        busy = models.Exists(leases.filter(expires_at__gt=Now()).exclude(annotator=user))
        return (
            self.for_member(user)
            .exclude(state=CampaignState.DRAFT)
            .annotate(
                answered=_count(mine.filter(state__in=counted)),
                left=_count(untouched.filter(free)),
                busy=_count(untouched.filter(~free & busy)),
            )
        )

    def with_progress(self) -> "CampaignQuerySet":
        """With `wanted` judgements and how many are `done`."""
        return self.annotate(
            wanted=_count(Slot.objects.filter(campaign=models.OuterRef("pk"))),
            done=_count(Assignment.objects.filter(campaign=models.OuterRef("pk"), state="submitted")),
        )


def _count(rows: models.QuerySet[Any]) -> Coalesce:
    """How many of `rows` belong to the campaign of the outer query, as a subquery: counting over joins would multiply."""
    counted = rows.order_by().values("campaign").annotate(n=models.Count("pk")).values("n")
    return Coalesce(models.Subquery(counted, output_field=models.IntegerField()), 0)


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
    overlap = models.PositiveSmallIntegerField(default=1, help_text="Judgements wanted for each pair.")
    lease_minutes = models.PositiveSmallIntegerField(default=30)
    seed = models.BigIntegerField(default=0)
    simulated = models.BooleanField(default=False, help_text="Judged by simulated raters: part of the demo.")
    toy = models.BooleanField(default=False, help_text="Its texts come from the toy model family.")
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
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="memberships")
    added_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["campaign", "user"], name="one_membership_per_campaign_and_user")]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.campaign_id}"


class Pair(models.Model):
    """Two different completions of one prompt in canonical order (first has the lower id), unique per campaign."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="pairs")
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="pairs")
    first = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    second = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    position = models.PositiveIntegerField(help_text="Order in which pairs are handed out.")
    selection_probability = models.FloatField(default=1.0)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.CheckConstraint(condition=models.Q(first__lt=models.F("second")), name="pair_in_canonical_order"),
            models.UniqueConstraint(fields=["campaign", "first", "second"], name="pair_once_per_campaign"),
        ]

    def __str__(self) -> str:
        return f"pair {self.pk}"


class Slot(models.Model):
    """A place for one judgement of a pair, made in advance: overlap is how many there are, not a count at run time."""

    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="slots")
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="slots")
    number = models.PositiveSmallIntegerField()
    position = models.PositiveIntegerField()
    # Counterbalanced over a pair's slots: clinicians favour the left.
    first_on_left = models.BooleanField()
    # Nobody holds it. Kept by assignments.py beside every change of a holder, so that a claim reads one small index, however many
    # slots are taken; that a slot has one holder is Assignment's constraint and does not rest on this.
    open = models.BooleanField(default=True)

    class Meta:
        ordering = ["position", "number"]
        constraints = [models.UniqueConstraint(fields=["pair", "number"], name="slot_numbers_are_unique")]
        indexes = [
            models.Index(fields=["campaign", "position", "number"], condition=models.Q(open=True), name="open_slots_in_order"),
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

    def for_annotator(self, user: User) -> "AssignmentQuerySet":
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
        indexes = [models.Index(fields=["annotator", "campaign", "state"], name="assignment_by_annotator")]

    def __str__(self) -> str:
        return f"assignment {self.public_id}"

    @property
    def expired(self) -> bool:
        return self.expires_at <= timezone.now()


class Verdict(models.TextChoices):
    """Stored by completion, never by side."""

    FIRST_MUCH = "first_much", "First much better"
    FIRST_SLIGHTLY = "first_slightly", "First slightly better"
    BOTH_ACCEPTABLE = "both_acceptable", "Both acceptable"
    SECOND_SLIGHTLY = "second_slightly", "Second slightly better"
    SECOND_MUCH = "second_much", "Second much better"
    BOTH_UNACCEPTABLE = "both_unacceptable", "Both unacceptable"
    CANNOT_JUDGE = "cannot_judge", "Cannot judge"


class CannotJudge(models.TextChoices):
    OUTSIDE_FIELD = "outside_field", "Outside my field"
    DEFECTIVE_INPUT = "defective_input", "The input is defective"
    NEEDS_INFORMATION = "needs_information", "Needs information that is not shown"


class JudgementQuerySet(models.QuerySet["Judgement"]):
    def current(self) -> "JudgementQuerySet":
        """The newest revision of each answer that was not undone."""
        newer = models.OuterRef("assignment_id")
        newest = Judgement.objects.filter(assignment_id=newer, undone_at__isnull=True).order_by("-revision").values("pk")[:1]
        return self.filter(undone_at__isnull=True, pk=models.Subquery(newest))

    def undoable(self, campaign: Campaign, annotator: User) -> "JudgementQuerySet":
        """Answers that hold a slot and were not taken back, the last first."""
        return self.filter(
            assignment__campaign=campaign,
            assignment__annotator=annotator,
            assignment__state=AssignmentState.SUBMITTED,
            undone_at__isnull=True,
            surplus=False,
        ).order_by("-submitted_at", "-pk")

    def undoable_campaigns(self, annotator: User) -> set[int]:
        """Open campaigns in which `annotator` has an answer to take back."""
        mine = self.filter(assignment__annotator=annotator, assignment__state=AssignmentState.SUBMITTED, undone_at__isnull=True)
        return set(mine.filter(assignment__campaign__state=CampaignState.OPEN).values_list("assignment__campaign", flat=True).distinct())

    def pace(self, annotator: User) -> float:
        """Seconds a pair takes `annotator`: the median of their last fifty, or two minutes while there are fewer than five."""
        timed = self.filter(assignment__annotator=annotator).order_by("-pk").values_list("active_ms", flat=True)
        latest = sorted(spent for spent in timed[:50] if spent is not None)
        return latest[len(latest) // 2] / 1000 if len(latest) >= 5 else 120.0


class Judgement(models.Model):
    """One revision of an assignment's answer. Never overwritten: amended by a new revision, undone by a mark."""

    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="judgements")
    revision = models.PositiveSmallIntegerField(default=1)
    idempotency_key = models.UUIDField(unique=True)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    cannot_reason = models.CharField(max_length=20, choices=CannotJudge.choices, blank=True)
    rationale = models.TextField(blank=True)
    active_ms = models.PositiveIntegerField(null=True, help_text="Milliseconds the page was visible and in use.")
    layout = models.CharField(max_length=20, default="compare-1")
    surplus = models.BooleanField(default=False)
    submitted_at = models.DateTimeField(db_default=Now())
    undone_at = models.DateTimeField(null=True)

    objects = JudgementQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "revision"], name="revisions_are_numbered"),
            models.CheckConstraint(condition=models.Q(verdict__in=Verdict.values), name="verdict_is_known"),
            models.CheckConstraint(
                condition=(models.Q(verdict="cannot_judge") & ~models.Q(cannot_reason=""))
                | (~models.Q(verdict="cannot_judge") & models.Q(cannot_reason="")),
                name="cannot_judge_has_a_reason",
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(
                name="answers_never_change",
                fields=["assignment", "revision", "idempotency_key", "verdict", "cannot_reason", "submitted_at"],
            ),
        ]

    def __str__(self) -> str:
        return f"judgement {self.assignment_id} r{self.revision}"


class SnapshotQuerySet(models.QuerySet["Snapshot"]):
    def unblinded_for(self, user: User) -> "SnapshotQuerySet":
        """Snapshots `user` may see: not those of an open campaign they judge in."""
        return self.exclude(campaign__in=Membership.objects.filter(user=user, campaign__state=CampaignState.OPEN).values("campaign"))


class Snapshot(models.Model):
    """A frozen, content-addressed set of preference rows. `digest` covers every row; the database refuses update and delete."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=120)
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="snapshots")
    digest = models.CharField(max_length=64, unique=True)
    filters = models.JSONField(default=dict)
    counts = models.JSONField(help_text='{"used": {"train": n, …}, "dropped": {reason: n}, "judgements": n, "raters": n}')
    simulated = models.BooleanField(default=False)
    toy = models.BooleanField(default=False)
    frozen_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    frozen_at = models.DateTimeField(db_default=Now())

    objects = SnapshotQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        triggers = [pgtrigger.Protect(name="frozen", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.name} ({self.digest[:12]})"


class SnapshotRow(models.Model):
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="rows")
    position = models.PositiveIntegerField()
    pair = models.ForeignKey(Pair, on_delete=models.PROTECT, related_name="+")
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="+")
    chosen = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    rejected = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    p_chosen = models.FloatField(help_text="Soft target: how likely a rater of this campaign is to prefer the chosen side, in (0.5, 1).")
    votes = models.JSONField(help_text='{"chosen": n, "rejected": n, "tie": n, "strength": mean of −2…2 for chosen}')
    split = models.CharField(max_length=10, choices=Split.choices)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["snapshot", "pair"], name="pair_once_per_snapshot"),
            models.CheckConstraint(condition=models.Q(p_chosen__gt=0.5, p_chosen__lt=1), name="chosen_is_the_likelier"),
        ]
        triggers = [pgtrigger.Protect(name="frozen", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"row {self.position} of snapshot {self.snapshot_id}"
