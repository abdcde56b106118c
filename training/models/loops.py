"""A campaign's unattended loop: its policy and its rounds."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from annotation.filters import MOST_HELD_OUT
from annotation.models import Snapshot
from training.models.evaluations import Evaluation
from training.models.runs import Run
from training.models.suites import SuiteRun


class LoopPolicy(models.Model):
    """When a campaign's judgements become a snapshot, a run, an evaluation and a proposal, by themselves. It never promotes."""

    campaign = models.OneToOneField("annotation.Campaign", on_delete=models.PROTECT, related_name="loop_policy")
    active = models.BooleanField(default=True)
    pairs_needed = models.PositiveIntegerField(help_text="Usable pairs that no earlier round has trained on, before a round begins.")
    hold_out_raters = models.FloatField(default=0, help_text="The share of raters whose votes train nothing, 0 to 0.5: as when freezing.")
    params = models.JSONField(help_text='{"policy": {"alias"} or {"version": public id}, "preset", "seed"}: how a round trains.')
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    switched_on_at = models.DateTimeField(db_default=Now(), help_text="What failed before then is tried again.")
    why_stopped = models.CharField(max_length=300, blank=True, help_text="Why it switched itself off.")

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "loop policies"
        constraints = [
            models.CheckConstraint(condition=models.Q(pairs_needed__gt=0), name="a_round_needs_pairs"),
            models.CheckConstraint(
                condition=models.Q(hold_out_raters__gte=0, hold_out_raters__lte=MOST_HELD_OUT), name="a_loop_holds_out_up_to_half"
            ),
            models.CheckConstraint(condition=models.Q(active=False) | models.Q(why_stopped=""), name="a_policy_that_runs_was_not_stopped"),
        ]

    def __str__(self) -> str:
        return f"loop of {self.campaign}"


class RoundState(models.TextChoices):
    WORKING = "working", "Under way"
    PROPOSED = "proposed", "Waits for a decision"
    DECIDED = "decided", "Decided"
    DISMISSED = "dismissed", "Dismissed"
    FAILED = "failed", "Came to nothing"


class LoopRoundQuerySet(models.QuerySet["LoopRound"]):
    def for_list(self) -> "LoopRoundQuerySet":
        """With the campaign, the model proposed and what it was compared with."""
        return self.select_related("loop__campaign", "run__output", "evaluation__reference", "decided_by").order_by("-id")

    def for_page(self) -> "LoopRoundQuerySet":
        return self.select_related(
            "loop__campaign", "snapshot", "run__job", "run__policy", "run__output", "evaluation__job", "evaluation__policy",
            "evaluation__policy__run__snapshot", "evaluation__reference", "evaluation__snapshot", "anchor__job", "anchor__reference",
            "decided_by",
        )  # fmt: skip

    def waiting(self) -> "LoopRoundQuerySet":
        """Proposals that nobody has decided."""
        return self.filter(state=RoundState.PROPOSED, evaluation__promotions=None)


class LoopRound(models.Model):
    """One turn of a campaign's loop. Which of its parts are there says how far it is; at its end it is a proposal that people decide."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    loop = models.ForeignKey(LoopPolicy, on_delete=models.PROTECT, related_name="rounds")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=RoundState.choices, default=RoundState.WORKING)
    snapshot = models.ForeignKey(
        Snapshot, null=True, on_delete=models.PROTECT, related_name="loop_rounds",
        help_text="Of the same content as an earlier round's, where that came to nothing.",
    )  # fmt: skip
    run = models.OneToOneField(Run, null=True, on_delete=models.PROTECT, related_name="loop_round")
    evaluation = models.OneToOneField(Evaluation, null=True, on_delete=models.PROTECT, related_name="loop_round")
    anchor = models.ForeignKey(
        Evaluation, null=True, on_delete=models.PROTECT, related_name="+",
        help_text="Against the model of round 0; the same as the evaluation while that model is still champion.",
    )  # fmt: skip
    suite_runs = models.ManyToManyField(SuiteRun, related_name="+")
    lineage_digest = models.CharField(max_length=64, blank=True, help_text="Of everything the proposed model came of and how.")
    gates = models.JSONField(default=list, help_text="As they stood when it was proposed, each as a decision keeps it.")
    gates_digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of their canonical JSON.")
    why_ended = models.CharField(max_length=300, blank=True, help_text="Why it came to nothing, or was dismissed.")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    proposed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects = LoopRoundQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["loop", "number"], name="rounds_of_a_loop_are_numbered"),
            models.UniqueConstraint(fields=["loop"], condition=models.Q(state="working"), name="one_round_of_a_loop_at_a_time"),
            models.CheckConstraint(
                condition=~models.Q(state__in=["proposed", "decided", "dismissed"])
                | models.Q(evaluation__isnull=False, anchor__isnull=False, proposed_at__isnull=False)
                & ~models.Q(lineage_digest="")
                & ~models.Q(gates_digest=""),
                name="a_proposal_has_its_evaluations_and_digests",
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="proposal_is_kept",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange("evaluation", "anchor", "lineage_digest", "gates", "gates_digest", "proposed_at"),
                func="IF OLD.lineage_digest <> '' THEN RAISE EXCEPTION 'a proposal keeps what it was proposed on'; END IF; RETURN NEW;",
            )
        ]

    def __str__(self) -> str:
        return f"round {self.number} of {self.loop}"
