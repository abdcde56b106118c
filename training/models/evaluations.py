"""A model held against another on what neither has learnt."""

import uuid

from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from annotation.models import Snapshot
from jobs.models import Job
from modelhub.models import ModelVersion
from training.models.blinding import answers_unblinded_for
from training.models.runs import Run


class EvaluationQuerySet(models.QuerySet["Evaluation"]):
    def unblinded_for(self, user: User) -> "EvaluationQuerySet":
        """Evaluations `user` may see, with who wrote what: not while they judge in their campaign, or in a study of either model."""
        open_to = models.Q(snapshot=None) | models.Q(snapshot__in=Snapshot.objects.unblinded_for(user))
        return self.filter(open_to, answers_unblinded_for(user, "policy", "reference"))

    def of_candidates(self) -> "EvaluationQuerySet":
        """Those a promotion may stand on: of a snapshot's held-out part, and not of a control trained on shuffled labels."""
        controls = Run.objects.filter(job__spec__inputs__has_key="shuffle", output__isnull=False)
        return (
            self.filter(snapshot__isnull=False).exclude(policy__in=controls.values("output")).select_related("policy", "reference", "job")
        )


class Evaluation(models.Model):
    """Policy against reference on held-out prompts: preference accuracy, recall, before/after texts."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="evaluation")
    policy = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluations")
    reference = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluations_as_reference")
    snapshot = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.PROTECT, related_name="evaluations")
    simulated = models.BooleanField(default=False, help_text="Its held-out labels come from a program, not from clinicians.")
    results = models.JSONField(default=dict, help_text="Empty until the job is done.")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects = EvaluationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.policy} vs {self.reference}"

    @property
    def planted(self) -> bool:
        """Whether its held-out labels come from a planted truth, which is no rater's."""
        return self.snapshot is not None and self.snapshot.planted


class EvaluationItem(models.Model):
    """One held-out prompt before and after."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="items")
    position = models.PositiveIntegerField()
    prompt = models.ForeignKey("annotation.Prompt", on_delete=models.PROTECT, related_name="+")
    before = models.TextField()
    after = models.TextField()

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["evaluation", "position"], name="evaluation_items_are_numbered")]

    def __str__(self) -> str:
        return f"item {self.position} of evaluation {self.evaluation_id}"


class EvaluationPair(models.Model):
    """What came of one held-out pair: the figure of an evaluation can be computed again from these, without a text."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="pairs")
    position = models.PositiveIntegerField(help_text="In the order in which they were asked, from 1.")
    pair = models.ForeignKey("annotation.Pair", on_delete=models.PROTECT, related_name="+")
    margin = models.FloatField(help_text="Implicit reward of the chosen text over the rejected one.")
    correct = models.FloatField(help_text="1 where the margin is with the label, 0 where it is against, one half where it is too small.")

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["evaluation", "position"], name="evaluation_pairs_are_numbered"),
            models.UniqueConstraint(fields=["evaluation", "pair"], name="evaluation_pairs_are_asked_once"),
            models.CheckConstraint(condition=models.Q(correct__in=[0.0, 0.5, 1.0]), name="a_pair_is_right_wrong_or_undecided"),
        ]

    def __str__(self) -> str:
        return f"pair {self.position} of evaluation {self.evaluation_id}"
