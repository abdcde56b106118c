"""What came in by which file: one row an import, from the upload to the rows it stored."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from jobs.models import Job, State


class Content(models.TextChoices):
    SAMPLES = "samples", "Samples"
    DOCUMENTS = "documents", "Documents"
    COMPLETIONS = "completions", "Texts of other systems"
    PREFERENCES = "preferences", "Preferences"


class ImportState(models.TextChoices):
    """`received`: the file is whole and nothing of it is stored. What its job does now the job says."""

    RECEIVED = "received", "Received"
    REFUSED = "refused", "Refused"
    STORED = "stored", "Stored"


class Import(models.Model):
    """A file, what was said of it and what came of it. The file itself goes when its rows are stored; this row stays."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    label = models.CharField(max_length=120, help_text="The file's name as it was sent.")
    on_server = models.BooleanField(default=False, help_text="It lies in the operator's import folder, under its label.")
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True, help_text="Of a file on the server it is known once it was read.")
    content = models.CharField(max_length=12, choices=Content.choices, blank=True)
    format = models.CharField(max_length=20, blank=True)
    shape = models.CharField(max_length=20, blank=True)
    mapping = models.JSONField(default=dict, help_text="{field: column}")
    target = models.CharField(max_length=80, blank=True, help_text="The source's or the corpus's name.")
    licence = models.CharField(max_length=80, blank=True)
    options = models.JSONField(default=dict)
    recipe = models.CharField(max_length=64, blank=True, help_text="Digest of how the file is read.")
    state = models.CharField(max_length=10, choices=ImportState.choices, default=ImportState.RECEIVED)
    counts = models.JSONField(default=dict, help_text="rows, stored, already, quarantined, problems, warnings, …")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.PROTECT, related_name="imports")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="imports")
    idempotency_key = models.UUIDField(null=True, blank=True, unique=True, help_text="Of the program that sent it.")
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=ImportState.values), name="import_state_is_known"),
            models.CheckConstraint(
                condition=~models.Q(state="stored") | (~models.Q(licence="") & ~models.Q(target="") & ~models.Q(sha256="")),
                name="what_is_stored_names_its_licence",
            ),
            models.UniqueConstraint(
                fields=["sha256", "content", "target", "recipe"], condition=models.Q(state="stored"), name="one_import_per_file_and_recipe"
            ),
        ]
        triggers = [
            pgtrigger.FSM(
                name="import_goes_one_way",
                field="state",
                transitions=[("received", "refused"), ("received", "stored"), ("refused", "received"), ("refused", "stored")],
            )
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def working(self) -> bool:
        """Whether its job is still to end."""
        return self.job is not None and not self.job.ended

    @property
    def standing(self) -> str:
        """Where it stands in one word: its job's state while there is one that says more."""
        if self.state == ImportState.RECEIVED and self.job is not None and self.job.state != State.SUCCEEDED:
            return str(self.job.get_state_display())
        return str(self.get_state_display())
