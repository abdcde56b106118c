"""Models asked the tasks of a suite."""

import uuid

from django.db import models
from django.db.models.functions import Now

from jobs.models import Job
from modelhub.models import ModelVersion


class Suite(models.TextChoices):
    MINI = "mini", "Mini-suite"
    CLUE = "clue", "CLUE+"


class SuiteRunQuerySet(models.QuerySet["SuiteRun"]):
    def for_list(self) -> "SuiteRunQuerySet":
        return self.select_related("job__requested_by", "version").order_by("-id")

    def standing(self, *, suite: str, digest: str) -> "SuiteRunQuerySet":
        """Finished ones of a suite by these settings, the newest first."""
        found = self.filter(suite=suite, settings_digest=digest, finished_at__isnull=False)
        return found.select_related("job", "version").order_by("-finished_at", "-id")


class SuiteRun(models.Model):
    """One suite asked of one model. The same model under the same settings has one result that stands (`settings_digest`)."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="suite_run")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="suite_runs")
    suite = models.CharField(max_length=10, choices=Suite.choices)
    settings_digest = models.CharField(
        max_length=64, help_text="Of what was asked and how: two results are compared only when theirs agree."
    )
    results = models.JSONField(default=dict, help_text="A SuiteResult (training/suite/results.py); empty until the job is done.")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects = SuiteRunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["version", "suite", "settings_digest"], name="suite_runs_of_a_model")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(finished_at__isnull=True, results={}) | models.Q(finished_at__isnull=False) & ~models.Q(results={}),
                name="a_suite_run_that_ended_has_results",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_suite_display()} of {self.version}"
