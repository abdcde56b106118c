"""Jobs: the truth about background work. Celery only rings the bell; every change of state is a compare-and-set on (id, token, state)."""

import uuid

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from jobs.clock import Clock, after


class State(models.TextChoices):
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    PUBLISHING = "publishing", "Publishing"
    RETRY_WAIT = "retry_wait", "Waiting to try again"
    PAUSED = "paused", "Paused"
    CANCELLING = "cancelling", "Stopping"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
HELD = (State.RUNNING, State.PUBLISHING, State.CANCELLING)
WAITING = (State.QUEUED, State.RETRY_WAIT, State.PAUSED)
# A job that is held and was not heard of for so long is stuck, whatever its lease says.
SILENT_SECONDS = 60


class JobQuerySet(models.QuerySet["Job"]):
    def for_list(self) -> "JobQuerySet":
        """With who asked, what each waits for, and whether it is stuck: what runs first, then what waits in its turn (urgent ones
        before), then what ended, the newest first."""
        turn = models.Case(
            models.When(state__in=HELD, then=0), models.When(state__in=ENDED, then=2), default=1, output_field=models.SmallIntegerField()
        )
        newest_first = models.ExpressionWrapper(-models.F("pk"), output_field=models.BigIntegerField())
        mine = models.Case(models.When(state__in=ENDED, then=newest_first), default=models.F("pk"), output_field=models.BigIntegerField())
        urgent = models.Case(models.When(state__in=WAITING, then=-models.F("priority")), default=0, output_field=models.SmallIntegerField())
        stuck = models.ExpressionWrapper(
            models.Q(state__in=HELD, heartbeat_at__lt=after(-SILENT_SECONDS)), output_field=models.BooleanField()
        )
        found = self.select_related("requested_by", "device").prefetch_related("waits_for").annotate(stuck=stuck)
        return found.order_by(turn, urgent, mine)

    def for_page(self) -> "JobQuerySet":
        """With all that one job's page shows."""
        found = self.for_list().select_related("repeats")
        return found.prefetch_related(models.Prefetch("history", Attempt.objects.order_by("number")), "awaited_by", "repeated_by")

    def unended(self) -> "JobQuerySet":
        return self.exclude(state__in=ENDED)

    def claimable(self) -> "JobQuerySet":
        """Queued, due, not asked to stop, and nothing it waits for is still to be done."""
        undone = Job.waits_for.through.objects.filter(from_job_id=models.OuterRef("pk")).exclude(to_job__state=State.SUCCEEDED)
        return self.filter(~models.Exists(undone), state=State.QUEUED, cancel_requested_at__isnull=True, run_after__lte=Clock())

    def in_turn(self) -> "JobQuerySet":
        """The most urgent first; among equals, whoever asked first."""
        return self.order_by("-priority", "pk")

    def turns(self) -> dict[int, int]:
        """The place in its queue, from 1, of every job that only waits for a worker."""
        places: dict[str, int] = {}
        turns = {}
        for pk, queue in self.claimable().in_turn().values_list("pk", "queue"):
            turns[pk] = places[queue] = places.get(queue, 0) + 1
        return turns


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
    repeats = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="repeated_by")
    priority = models.SmallIntegerField(default=0, help_text="Among waiting jobs of a queue the highest goes first.")
    needs_device = models.BooleanField(default=False, help_text="Waits for a free GPU where its worker's machine has some.")

    token = models.BigIntegerField(default=0, help_text="Fencing token: rises with every claim.")
    lease_until = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    attempts_without_progress = models.PositiveSmallIntegerField(
        default=0, help_text="Attempts, the present one included, since a newer checkpoint was kept."
    )
    max_attempts = models.PositiveSmallIntegerField(default=3, help_text="So many of these without a result, and it is given up.")
    checkpoint_step = models.PositiveIntegerField(
        null=True, help_text="The newest checkpoint that was kept: the next attempt goes on there."
    )
    run_after = models.DateTimeField(db_default=Now())
    cancel_requested_at = models.DateTimeField(null=True)
    stop_requested_at = models.DateTimeField(null=True, help_text="Asked to stop where it is and keep what it has learned.")
    needs_bytes = models.BigIntegerField(null=True, help_text="While paused: how much room it waits for.")

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
                    ("running", "paused"),
                    ("running", "failed"),
                    ("running", "cancelling"),
                    ("running", "cancelled"),
                    ("publishing", "succeeded"),
                    ("publishing", "retry_wait"),
                    ("publishing", "paused"),
                    ("publishing", "failed"),
                    ("publishing", "cancelling"),
                    ("retry_wait", "queued"),
                    ("retry_wait", "cancelled"),
                    ("retry_wait", "failed"),
                    ("paused", "queued"),
                    ("paused", "cancelled"),
                    ("paused", "failed"),
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
    def resumed(self) -> int:
        """How often it went on from a checkpoint. Free after `for_page`."""
        return sum(attempt.resumed_from is not None for attempt in self.history.all())

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
    device = models.CharField(max_length=80, blank=True, help_text="The GPU it ran on, if any.")
    resumed_from = models.PositiveIntegerField(null=True, help_text="The step of the checkpoint it went on from.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="attempt_numbers_are_unique")]

    def __str__(self) -> str:
        return f"{self.job_id}/{self.number}"

    @property
    def host(self) -> str:
        return self.worker.partition(":")[0]

    @property
    def pid(self) -> int:
        """Of the worker slot that held it; 0 when it was no slot's."""
        pid = self.worker.split(":")[1] if self.worker.count(":") >= 2 else ""
        return int(pid) if pid.isdigit() else 0

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


class Device(models.Model):
    """A GPU of one of our machines, leased like a job: to one job at a time, in the transaction that claims it."""

    host = models.CharField(max_length=60)
    name = models.CharField(max_length=80, help_text="As CUDA_VISIBLE_DEVICES takes it: a UUID or a number.")
    label = models.CharField(max_length=120, blank=True)
    holder = models.OneToOneField(Job, null=True, blank=True, on_delete=models.PROTECT, related_name="device")
    token = models.BigIntegerField(null=True, help_text="The holder's fencing token.")
    lease_until = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["host", "name"]
        constraints = [
            models.UniqueConstraint(fields=["host", "name"], name="device_names_are_unique_on_a_host"),
            models.CheckConstraint(
                condition=models.Q(holder=None, token=None, lease_until=None)
                | models.Q(holder__isnull=False, token__isnull=False, lease_until__isnull=False),
                name="device_is_held_whole_or_not_at_all",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"


class Pulse(models.Model):
    """A sign of life: "sweeper", or a worker by its host name, with the queues it serves. Pages read it to say what is not running."""

    name = models.CharField(max_length=120, unique=True)
    queues = ArrayField(models.CharField(max_length=20), default=list)
    at = models.DateTimeField(db_default=Now())
    host = models.CharField(max_length=60, blank=True)
    slots = ArrayField(models.IntegerField(), default=list, help_text="Process ids of a worker's slots: the attempts they hold name them.")
    machine = models.JSONField(default=dict, help_text="Shares and bytes of its machine: processor, memory, disk.")
    deaf_since = models.DateTimeField(null=True, help_text="Since when work lies beside its free slots.")
    warning = models.CharField(max_length=200, blank=True, help_text="What the sweeper finds wrong with it.")
    restart_asked_at = models.DateTimeField(
        null=True, help_text="The worker ends itself at its next sign of life; its supervisor starts it anew."
    )

    def __str__(self) -> str:
        return self.name
