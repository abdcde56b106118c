"""Synthesis in rows: a run, the draws of its grid, what was answered for each, the pairs that came of it, and the jobs that moved them."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from annotation.models import Corpus, Document, Sample, Source
from jobs.models import ENDED, Job, State


class Purpose(models.TextChoices):
    SAMPLES = "samples", "Samples"
    OUTPUTS = "outputs", "Outputs of documents"


class RunState(models.TextChoices):
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    STOPPED = "stopped", "Stopped"
    DONE = "done", "Done"


class Stage(models.TextChoices):
    WRITE = "write", "Write"
    JUDGE = "judge", "Judge"
    TRIM = "trim", "Trim"
    REJECT = "reject", "Spoil"
    COMPARE = "compare", "Compare"


class SynthesisRun(models.Model):
    """One request for samples, or for outputs of a corpus: who writes, who judges, of what, and how far it has come."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=80, unique=True, help_text="Also the name of the source its samples are under.")
    purpose = models.CharField(max_length=10, choices=Purpose.choices, default=Purpose.SAMPLES)
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.RUNNING)
    generator = models.JSONField(help_text='{"kind": "grammar" | "endpoint" | "model", "name", "family"}')
    judge = models.JSONField(default=dict, help_text="The same for who judges; empty where nothing is judged.")
    options = models.JSONField(default=dict)
    prompts = models.JSONField(default=dict, help_text="Version and digest of each of our prompts that it used.")
    seed = models.BigIntegerField(default=1)
    licence = models.CharField(max_length=80)
    override = models.CharField(max_length=300, blank=True, help_text="Why a judge of the generator's own family was allowed.")
    corpus = models.ForeignKey(Corpus, null=True, blank=True, on_delete=models.PROTECT, related_name="syntheses")
    source = models.ForeignKey(Source, null=True, blank=True, on_delete=models.PROTECT, related_name="syntheses")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.CheckConstraint(condition=models.Q(state__in=RunState.values), name="synthesis_state_is_known")]

    def __str__(self) -> str:
        return self.name

    @property
    def over(self) -> bool:
        return self.state in (RunState.STOPPED, RunState.DONE)


class StepQuerySet(models.QuerySet["SynthesisStep"]):
    def going(self) -> "StepQuerySet":
        return self.exclude(job__state__in=ENDED)

    def broken(self) -> "StepQuerySet":
        return self.filter(job__state__in=(State.FAILED, State.CANCELLED))


class SynthesisStep(models.Model):
    """One job of a run: how much it was asked and what it took."""

    run = models.ForeignKey(SynthesisRun, on_delete=models.PROTECT, related_name="steps")
    stage = models.CharField(max_length=10, choices=Stage.choices)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="synthesis_step")
    asked = models.PositiveIntegerField()
    answered = models.PositiveIntegerField(default=0)
    tokens = models.BigIntegerField(default=0)
    prompt_tokens = models.BigIntegerField(default=0)
    seconds = models.FloatField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    objects = StepQuerySet.as_manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.stage} of {self.run_id}"


class ItemState(models.TextChoices):
    DRAWN = "drawn", "Drawn"
    WRITTEN = "written", "Written"
    JUDGED = "judged", "Judged"
    DONE = "done", "Done"
    REFUSED = "refused", "Refused"


class SynthesisItem(models.Model):
    """One draw of the grid, or one kind of output of one document. `step` holds it while a job works on it."""

    run = models.ForeignKey(SynthesisRun, on_delete=models.CASCADE, related_name="items")
    number = models.PositiveIntegerField()
    task_type = models.CharField(max_length=60)
    document_type = models.CharField(max_length=80, blank=True)
    part = models.CharField(max_length=60, blank=True)
    difficulty = models.CharField(max_length=20, blank=True)
    output_format = models.CharField(max_length=20, blank=True)
    temperature = models.FloatField(default=1.0)
    examples = models.PositiveSmallIntegerField(default=0)
    document = models.ForeignKey(Document, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=ItemState.choices, default=ItemState.DRAWN)
    reason = models.CharField(max_length=40, blank=True)
    step = models.ForeignKey(SynthesisStep, null=True, blank=True, on_delete=models.SET_NULL, related_name="items")
    tries = models.PositiveSmallIntegerField(default=0)
    instruction = models.TextField(blank=True)
    scores = models.JSONField(default=dict, help_text="Criterion → mean of the judge's draws, 1 to 4.")
    mean = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="one_synthesis_item_a_number"),
            models.CheckConstraint(condition=models.Q(state__in=ItemState.values), name="synthesis_item_state_is_known"),
        ]
        indexes = [models.Index(fields=["run", "state", "number"], name="synthesis_item_by_state")]

    def __str__(self) -> str:
        return f"{self.run_id}/{self.number}"


class SynthesisAnswer(models.Model):
    """What was answered, as it came, and why it was refused if it was. Whatever a job repeats, each place has one answer."""

    item = models.ForeignKey(SynthesisItem, on_delete=models.CASCADE, related_name="answers")
    stage = models.CharField(max_length=10, choices=Stage.choices)
    number = models.PositiveIntegerField(help_text="Of the draw; for spoilt and compared pairs ten times the pair's number, and the draw.")
    text = models.TextField()
    finish_reason = models.CharField(max_length=20, blank=True)
    tokens = models.PositiveIntegerField(null=True)
    refused = models.CharField(max_length=40, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "stage", "number"], name="one_answer_an_item_stage_and_number")]

    def __str__(self) -> str:
        return f"{self.item_id} {self.stage} {self.number}"


class PairState(models.TextChoices):
    NEW = "new", "New"
    TO_SPOIL = "to_spoil", "To be spoilt"
    TO_COMPARE = "to_compare", "To be compared"
    READY = "ready", "Ready"
    STORED = "stored", "Stored"
    DROPPED = "dropped", "Dropped"


class SynthesisPair(models.Model):
    """An input with its output, on its way to a sample."""

    item = models.ForeignKey(SynthesisItem, on_delete=models.CASCADE, related_name="pairs")
    number = models.PositiveSmallIntegerField()
    input = models.TextField()
    output = models.TextField()
    error_type = models.CharField(max_length=60, blank=True)
    rejected_output = models.TextField(blank=True)
    preferred = models.CharField(max_length=10, blank=True, help_text="What a judge preferred in both orders: output, rejected or tie.")
    state = models.CharField(max_length=10, choices=PairState.choices, default=PairState.NEW)
    reason = models.CharField(max_length=40, blank=True)
    note = models.CharField(max_length=40, blank=True, help_text="Why it has no rejected output although one was wanted.")
    step = models.ForeignKey(SynthesisStep, null=True, blank=True, on_delete=models.SET_NULL, related_name="pairs")
    tries = models.PositiveSmallIntegerField(default=0)
    sample = models.OneToOneField(Sample, null=True, blank=True, on_delete=models.PROTECT, related_name="synthesis")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "number"], name="one_synthesis_pair_a_number"),
            models.CheckConstraint(condition=models.Q(state__in=PairState.values), name="synthesis_pair_state_is_known"),
        ]
        indexes = [models.Index(fields=["state", "id"], name="synthesis_pair_by_state")]

    def __str__(self) -> str:
        return f"{self.item_id}/{self.number}"


class GoldScore(models.Model):
    """A clinician's scores of an instruction, for every judge to be held against. One a person and instruction; changed by scoring anew."""

    item = models.ForeignKey(SynthesisItem, on_delete=models.PROTECT, related_name="gold")
    rater = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    scores = models.JSONField(help_text="Criterion → 1 to 4.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "rater"], name="one_gold_score_a_person_and_instruction")]

    def __str__(self) -> str:
        return f"{self.item_id} by {self.rater_id}"
