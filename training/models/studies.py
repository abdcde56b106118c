"""Blinded studies of two models, and what was decided on them."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from annotation.models import Membership
from modelhub.models import AliasName, ModelVersion
from training.models.blinding import answers_unblinded_for
from training.models.evaluations import Evaluation


class StudyState(models.TextChoices):
    GENERATING = "generating", "Both models are answering"
    RUNNING = "running", "Being judged"
    DECIDED = "decided", "Ended"
    FAILED = "failed", "Came to nothing"
    STOPPED = "stopped", "Stopped"

    @classmethod
    def under_way(cls) -> tuple[str, str]:
        """Its raters must not learn yet which model is which."""
        return cls.GENERATING, cls.RUNNING


class StudyQuerySet(models.QuerySet["Study"]):
    def for_list(self) -> "StudyQuerySet":
        return self.select_related("champion", "challenger", "campaign", "evaluation", "started_by")

    def of_version(self, version: ModelVersion) -> "StudyQuerySet":
        """Those in which `version` is the champion or the challenger."""
        return self.filter(models.Q(champion=version) | models.Q(challenger=version))

    def under_way(self) -> "StudyQuerySet":
        return self.filter(state__in=StudyState.under_way())

    def rated_by(self, user: User) -> "StudyQuerySet":
        """Those under way in which `user` rates, or will: what is known of them, and what else their two models answered, stays hidden from
        them, whatever their roles."""
        asked = Study.raters.through.objects.filter(user=user).values("study")
        member = Membership.objects.filter(user=user).values("campaign")
        return self.under_way().filter(models.Q(pk__in=asked) | models.Q(campaign__in=member))

    def unblinded_for(self, user: User) -> "StudyQuerySet":
        """Those whose models and figures `user` may see: none of a model that is in one under way in which they rate. An earlier study of
        the two tells how their answers differ."""
        return self.filter(answers_unblinded_for(user, "champion", "challenger"))


class Study(models.Model):
    """Champion against challenger, judged blinded by clinicians: one campaign, one question, its protocol locked before a vote."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    evaluation = models.ForeignKey(Evaluation, on_delete=models.PROTECT, related_name="studies")
    champion = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    challenger = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="studies")
    champion_texts = models.OneToOneField("annotation.GenerationBatch", on_delete=models.PROTECT, related_name="+")
    challenger_texts = models.OneToOneField("annotation.GenerationBatch", on_delete=models.PROTECT, related_name="+")
    campaign = models.OneToOneField("annotation.Campaign", null=True, on_delete=models.PROTECT, related_name="study")
    raters = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    seed = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=StudyState.choices, default=StudyState.GENERATING)
    protocol = models.JSONField(default=dict, help_text="What was decided before the first vote: both models, the prompts, the test.")
    protocol_digest = models.CharField(max_length=64, blank=True)
    verdict = models.CharField(max_length=12, blank=True, help_text="As training/evidence/verdict.py says it, or empty while open.")
    counted = models.PositiveIntegerField(null=True, help_text="How many votes the verdict stands on; later ones are kept beside it.")
    why_failed = models.CharField(max_length=300, blank=True, help_text="Of one that was stopped: the words of who stopped it.")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    stopped_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True)

    objects = StudyQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "studies"
        constraints = [
            models.UniqueConstraint(
                fields=["evaluation"], condition=models.Q(state__in=["generating", "running"]), name="one_study_at_a_time_per_evaluation"
            ),
            models.CheckConstraint(condition=~models.Q(champion=models.F("challenger")), name="a_study_compares_two_models"),
            models.CheckConstraint(
                condition=~models.Q(state__in=["running", "decided"]) | (models.Q(campaign__isnull=False) & ~models.Q(protocol_digest="")),
                name="a_study_is_judged_under_its_protocol",
            ),
            models.CheckConstraint(
                condition=models.Q(state="decided", counted__isnull=False, decided_at__isnull=False) & ~models.Q(verdict="")
                | ~models.Q(state="decided") & models.Q(verdict="", counted__isnull=True, decided_at__isnull=True),
                name="a_study_that_ended_has_a_verdict",
            ),
            models.CheckConstraint(
                condition=models.Q(state="stopped", stopped_by__isnull=False) & ~models.Q(why_failed="")
                | ~models.Q(state="stopped") & models.Q(stopped_by__isnull=True),
                name="a_study_is_stopped_by_somebody_and_for_a_reason",
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.Trigger(
                name="protocol_is_locked",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange(
                    "evaluation", "champion", "challenger", "champion_texts", "challenger_texts", "campaign", "seed", "protocol",
                    "protocol_digest",
                ),
                func="IF OLD.protocol_digest <> '' THEN RAISE EXCEPTION 'a study keeps its protocol'; END IF; RETURN NEW;",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"study {self.pk}: {self.challenger} against {self.champion}"


class StudyGuess(models.Model):
    """Which text of a pair they judged a rater took for the new model's, asked after the study: whether its blinding held."""

    assignment = models.OneToOneField("annotation.Assignment", on_delete=models.PROTECT, related_name="+")
    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="guesses")
    guess = models.CharField(
        max_length=7, choices=[("first", "First"), ("second", "Second"), ("no_idea", "No idea")], help_text="By completion, never by side."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "study guesses"
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"guess of {self.assignment_id} in study {self.study_id}"


class Promotion(models.Model):
    """A decision about an alias, with the evidence it stood on. Append-only."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    decision = models.CharField(max_length=12, choices=[("promoted", "Promoted"), ("refused", "Refused"), ("rolled_back", "Rolled back")])
    alias = models.CharField(max_length=20, choices=AliasName.choices)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    replaced = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    evaluation = models.ForeignKey(Evaluation, null=True, blank=True, on_delete=models.PROTECT, related_name="promotions")
    study = models.ForeignKey(Study, null=True, blank=True, on_delete=models.PROTECT, related_name="promotions")
    gates = models.JSONField(default=list, help_text='[{"code", "name", "passed", "value", "needed"}]')
    simulated = models.BooleanField(default=False)
    reason = models.CharField(max_length=500)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.decision} {self.version}"

    @property
    def overrides(self) -> list[tuple[str, str]]:
        """(the gates that somebody decided against, their words), each wording once."""
        against: dict[str, list[str]] = {}
        for gate in self.gates:
            if gate.get("override"):
                against.setdefault(gate["override"], []).append(gate["name"])
        return [(", ".join(names), words) for words, names in against.items()]
