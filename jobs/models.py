"""Jobs: the truth about background work. Celery only rings the bell; every change of state is a compare-and-set on (id, token, state)."""

import uuid

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from jobs.clock import Clock


class State(models.TextChoices):
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    PUBLISHING = "publishing", "Publishing"
    RETRY_WAIT = "retry_wait", "Waiting to try again"
    CANCELLING = "cancelling", "Stopping"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
HELD = (State.RUNNING, State.PUBLISHING, State.CANCELLING)


class JobQuerySet(models.QuerySet["Job"]):
    def for_list(self) -> "JobQuerySet":
        """With who asked, and what each waits for: what runs first, then what waits in its turn, then what ended, the newest first."""
        turn = models.Case(
            models.When(state__in=HELD, then=0), models.When(state__in=ENDED, then=2), default=1, output_field=models.SmallIntegerField()
        )
        newest_first = models.ExpressionWrapper(-models.F("pk"), output_field=models.BigIntegerField())
        mine = models.Case(models.When(state__in=ENDED, then=newest_first), default=models.F("pk"), output_field=models.BigIntegerField())
        return self.select_related("requested_by").prefetch_related("waits_for").order_by(turn, mine)

    def for_page(self) -> "JobQuerySet":
        """With all that one job's page shows."""
        return self.for_list().prefetch_related(models.Prefetch("history", Attempt.objects.order_by("number")), "awaited_by")

    def unended(self) -> "JobQuerySet":
        return self.exclude(state__in=ENDED)

    def claimable(self) -> "JobQuerySet":
        """Queued, due, not asked to stop, and nothing it waits for is still to be done."""
        undone = Job.waits_for.through.objects.filter(from_job_id=models.OuterRef("pk")).exclude(to_job__state=State.SUCCEEDED)
        return self.filter(~models.Exists(undone), state=State.QUEUED, cancel_requested_at__isnull=True, run_after__lte=Clock())


class Job(models.Model):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=30)
    label = models.CharField(max_length=120)
    queue = models.CharField(max_length=20, default="compute")
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    spec = models.JSONField(help_text="What to do: ids, digests and numbers, never clinical text.")
    spec_digest = models.CharField(max_length=64)
    dedupe_key = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001 - unique where it is not null
    waits_for = models.ManyToManyField("self", symmetrical=False, blank=True, related_name="awaited_by")

    token = models.BigIntegerField(default=0, help_text="Fencing token: rises with every claim.")
    lease_until = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=3)
    run_after = models.DateTimeField(db_default=Now())
    cancel_requested_at = models.DateTimeField(null=True)

    phase = models.CharField(max_length=30, blank=True)
    progress_done = models.PositiveIntegerField(default=0)
    progress_total = models.PositiveIntegerField(default=0)
    result = models.JSONField(default=dict)
    error_code = models.CharField(max_length=60, blank=True)
    error_detail = models.CharField(max_length=500, blank=True)

    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="jobs")
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["dedupe_key"], condition=~models.Q(state__in=ENDED), name="one_unended_job_per_dedupe_key"),
            models.CheckConstraint(condition=models.Q(state__in=State.values), name="job_state_is_known"),
        ]
        indexes = [models.Index(fields=["state", "run_after"], name="job_by_state")]
        triggers = [
            pgtrigger.FSM(
                name="state_machine",
                field="state",
                transitions=[
                    ("queued", "running"),
                    ("queued", "cancelled"),
                    ("queued", "failed"),
                    ("running", "publishing"),
                    ("running", "retry_wait"),
                    ("running", "failed"),
                    ("running", "cancelling"),
                    ("running", "cancelled"),
                    ("publishing", "succeeded"),
                    ("publishing", "retry_wait"),
                    ("publishing", "failed"),
                    ("publishing", "cancelling"),
                    ("retry_wait", "queued"),
                    ("retry_wait", "cancelled"),
                    ("retry_wait", "failed"),
                    ("cancelling", "cancelled"),
                ],
            )
        ]

    def __str__(self) -> str:
        return f"{self.label} ({self.state})"

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def percent(self) -> int:
        """Share of the current phase done, 0 to 100."""
        return min(100, round(100 * self.progress_done / self.progress_total)) if self.progress_total else 0

    @property
    def seconds(self) -> float | None:
        """How long it took from its first start, or has taken so far; None before that."""
        if self.started_at is None:
            return None
        return ((self.ended_at or timezone.now()) - self.started_at).total_seconds()

    @property
    def held_up_by(self) -> list["Job"]:
        """The predecessors that are still to be done. Free after `for_list`."""
        return [] if self.ended else [job for job in self.waits_for.all() if job.state != State.SUCCEEDED]


class Attempt(models.Model):
    """One claim of a job: who held it, with which token, and how it ended."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="history")
    number = models.PositiveSmallIntegerField()
    token = models.BigIntegerField()
    worker = models.CharField(max_length=120)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    exit_code = models.IntegerField(null=True)
    reason = models.CharField(max_length=60, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="attempt_numbers_are_unique")]

    def __str__(self) -> str:
        return f"{self.job_id}/{self.number}"

    @property
    def seconds(self) -> float:
        return ((self.ended_at or timezone.now()) - self.started_at).total_seconds()


class Outbox(models.Model):
    """A bell still to ring, written in the transaction that made it necessary."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="bells")
    created_at = models.DateTimeField(db_default=Now())
    published_at = models.DateTimeField(null=True)
    tries = models.PositiveSmallIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["id"], name="outbox_unpublished", condition=models.Q(published_at__isnull=True))]

    def __str__(self) -> str:
        return f"bell for job {self.job_id}"


class Pulse(models.Model):
    """A sign of life: "sweeper", or a worker by its host name, with the queues it serves. Pages read it to say what is not running."""

    name = models.CharField(max_length=120, unique=True)
    queues = ArrayField(models.CharField(max_length=20), default=list)
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name
