"""What is judged: samples, the prompts made of them, and the completions that answer them."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
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
    withdrawn_at = models.DateTimeField(null=True, help_text="Defective: no longer handed out, and left out of every snapshot.")

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
