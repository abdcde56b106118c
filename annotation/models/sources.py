"""What is judged: samples, the prompts made of them, and the completions that answer them."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import Value
from django.db.models.functions import Now

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


class Privacy(models.TextChoices):
    """What the scan at import found, and what a steward made of it. A quarantined sample is only ever seen by stewards."""

    CLEAR = "clear", "Clear"
    QUARANTINED = "quarantined", "In quarantine"
    RELEASED = "released", "Released"


class SampleQuerySet(models.QuerySet["Sample"]):
    def usable(self) -> "SampleQuerySet":
        """What may be generated on, judged, trained on and let out: neither withdrawn nor in quarantine."""
        return self.filter(withdrawn_at=None).exclude(privacy=Privacy.QUARANTINED)

    def outside_quarantine(self) -> "SampleQuerySet":
        """What a list or a program may show of it, withdrawn ones included."""
        return self.exclude(privacy=Privacy.QUARANTINED)

    def in_quarantine(self) -> "SampleQuerySet":
        """What waits for a steward, what came in first before."""
        return self.filter(privacy=Privacy.QUARANTINED, withdrawn_at=None).order_by("pk")


class Sample(models.Model):
    """One MediFlow-shaped row (columns: arXiv 2505.10717, data card). Its split follows from its split key and never changes."""

    source = models.ForeignKey(Source, on_delete=models.PROTECT, related_name="samples", db_index=False)
    external_id = models.CharField(max_length=120, help_text="The source's own id, else the row's digest.")
    version = models.PositiveSmallIntegerField(default=1, db_default=1, help_text="Older ones under the same id are withdrawn.")
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
    privacy = models.CharField(max_length=12, choices=Privacy.choices, default=Privacy.CLEAR, db_default=Privacy.CLEAR)
    privacy_hits = models.JSONField(
        default=list, db_default=Value([], models.JSONField()), help_text="[[rule, column, start, end], …]: places, no text."
    )
    created_at = models.DateTimeField(db_default=Now())
    withdrawn_at = models.DateTimeField(null=True, help_text="Defective: no longer handed out, and left out of every snapshot.")

    objects = SampleQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "digest"], name="sample_digest_once_per_source"),
            models.UniqueConstraint(fields=["source", "external_id", "version"], name="sample_version_once_per_source"),
            models.CheckConstraint(condition=models.Q(privacy__in=Privacy.values), name="sample_privacy_is_known"),
        ]
        indexes = [
            models.Index(fields=["split", "id"], name="sample_by_split"),
            # A filtered list is read cell by cell from this one (annotation/sample_lists.py).
            models.Index(fields=["source", "task_type", "split", "id"], name="sample_by_cell"),
            models.Index(fields=["id"], name="sample_in_quarantine", condition=models.Q(privacy="quarantined")),
        ]
        triggers = [
            pgtrigger.ReadOnly(name="split_never_changes", fields=["source", "task_type", "split", "split_key", "digest"]),
            # Nothing goes back into quarantine: what was shown to people was shown.
            pgtrigger.FSM(name="privacy_only_opens", field="privacy", transitions=[("quarantined", "released")]),
            pgtrigger.Trigger(
                name="count_what_comes_in",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                referencing=pgtrigger.Referencing(new="came"),  # type: ignore[no-untyped-call]
                func=(
                    "INSERT INTO annotation_samplecount (source_id, task_type, split, rows) "
                    "SELECT source_id, task_type, split, count(*) FROM came GROUP BY source_id, task_type, split ORDER BY 1, 2, 3 "
                    "ON CONFLICT (source_id, task_type, split) DO UPDATE SET rows = annotation_samplecount.rows + EXCLUDED.rows; "
                    "RETURN NULL;"
                ),
            ),
            pgtrigger.Trigger(
                name="count_what_goes",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Delete,
                referencing=pgtrigger.Referencing(old="went"),  # type: ignore[no-untyped-call]
                func=(
                    "UPDATE annotation_samplecount c SET rows = c.rows - w.n FROM (SELECT source_id, task_type, split, count(*) AS n "
                    "FROM went GROUP BY source_id, task_type, split) w "
                    "WHERE (c.source_id, c.task_type, c.split) = (w.source_id, w.task_type, w.split); RETURN NULL;"
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.external_id}"


class SampleCount(models.Model):
    """How many samples a cell holds, withdrawn ones included: kept by triggers, so that nobody has to count millions."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="counts")
    task_type = models.CharField(max_length=60)
    split = models.CharField(max_length=10, choices=Split.choices)
    rows = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "task_type", "split"], name="one_count_per_cell")]

    def __str__(self) -> str:
        return f"{self.source_id} × {self.task_type} × {self.split}: {self.rows}"


class Prompt(models.Model):
    """A sample rendered through a versioned chat layout: instruction in the system turn, input in the user turn."""

    sample = models.ForeignKey(Sample, on_delete=models.PROTECT, related_name="prompts")
    layout = models.CharField(max_length=20)
    messages = models.JSONField(help_text='[{"role": "system", "content": …}, {"role": "user", "content": …}]')
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sample", "layout"], name="one_prompt_per_sample_and_layout")]
        triggers = [
            # Whatever is generated on, paired, judged, exported or trained on goes through a prompt: here the quarantine is kept.
            pgtrigger.Trigger(
                name="nothing_of_the_quarantine",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.UpdateOf("sample_id"),  # type: ignore[no-untyped-call]
                func=(
                    "IF EXISTS (SELECT 1 FROM annotation_sample WHERE id = NEW.sample_id AND privacy = 'quarantined') THEN "
                    "RAISE EXCEPTION 'a sample in quarantine is not handed out' USING ERRCODE = 'check_violation'; END IF; RETURN NEW;"
                ),
            )
        ]

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
    pace = models.JSONField(default=dict, help_text="How fast its job is or was: tokens_per_second, and seconds_left or totals.")
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
