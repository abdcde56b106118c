"""Runs, and what they measured and wrote."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from annotation.models import Snapshot
from jobs.models import Job
from modelhub.models import ModelVersion
from training.models.blinding import answers_unblinded_for


class RunQuerySet(models.QuerySet["Run"]):
    def unblinded_for(self, user: User) -> "RunQuerySet":
        """Runs on a snapshot whose answers `user` may read: not while they judge in its campaign, or in a study of a model in it."""
        readable = self.filter(snapshot__in=Snapshot.objects.unblinded_for(user))
        return readable.filter(answers_unblinded_for(user, "policy", "reference", "output", "replays__output"))

    def for_list(self) -> "RunQuerySet":
        """Without replays, which stand on the page of the run that they do again."""
        return self.filter(replays=None).select_related("job", "policy", "snapshot", "output")

    def for_page(self) -> "RunQuerySet":
        found = self.select_related("job__requested_by", "policy", "reference", "snapshot__campaign", "output", "half_of__output", "recipe")
        found = found.select_related("replays__output__artifact")
        return found.select_related("half_of__job", "half__job", "half__output", "cloned_from").prefetch_related("job__history")


class Run(models.Model):
    """A training run: the recipe a job carries out, and what came of it."""

    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="run")
    name = models.CharField(max_length=80, unique=True, help_text="The name its model version will have.")
    preset = models.CharField(max_length=30, blank=True)
    params = models.JSONField(default=dict)
    seed = models.BigIntegerField(default=0)
    policy = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="runs_from")
    reference = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    snapshot = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    output = models.OneToOneField(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="run")
    half_of = models.OneToOneField(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="half",
        help_text="The run of whose prompts this one sees half.",
    )
    cloned_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="clones")
    replays = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="replayed_by",
        help_text="The run that this one does once more, by the same spec and seed, to see whether the same comes of it.",
    )
    recipe = models.ForeignKey(
        "MergeRecipe",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="runs",
        help_text="Of a merge: what is merged, and how.",
    )
    estimate = models.JSONField(
        default=dict, help_text='What was promised at the launch: {"seconds", "low", "high", "basis"}; empty when nothing was.'
    )
    pace = models.JSONField(
        default=dict,
        help_text='Steps of the newest attempt as they came: {"marks": [[seconds since 1970, steps done], …], "total": steps}.',
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def held_out_accuracy(self) -> float | None:
        """Share of the validation split's pairs that its model orders as the raters did; None before there is one."""
        return self.output.metrics.get("validation_accuracy") if self.output else None


class MetricPoint(models.Model):
    """One point of a live curve. Unique per run, step and name: ingest may repeat."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="points")
    step = models.PositiveIntegerField()
    name = models.CharField(max_length=60)
    value = models.FloatField(help_text="NaN is kept as it is: it is what a watchdog looks for.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "step", "name"], name="one_point_per_run_step_and_name")]

    def __str__(self) -> str:
        return f"{self.name}@{self.step}"


class RunSample(models.Model):
    """What the model under training answered to one of the run's fixed prompts, greedily, at a step where a checkpoint was kept."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="samples")
    step = models.PositiveIntegerField()
    index = models.PositiveSmallIntegerField(help_text="Which of the fixed prompts, from 0.")
    prompt = models.ForeignKey("annotation.Prompt", on_delete=models.PROTECT, related_name="+")
    text = models.TextField()

    class Meta:
        ordering = ["step", "index"]
        constraints = [models.UniqueConstraint(fields=["run", "step", "index"], name="one_sample_per_run_step_and_prompt")]

    def __str__(self) -> str:
        return f"sample {self.index}@{self.step} of run {self.run_id}"
