"""What is frozen out of judgements, for training."""

import uuid

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Floor, Least, Now

from accounts.models import User
from annotation.models.campaigns import Campaign, CampaignState, Membership, Pair
from annotation.models.sources import Completion, Prompt, Split

# Nobody changes what was frozen, row by row or all at once.
FROZEN = [
    pgtrigger.Protect(name="frozen", operation=pgtrigger.Update | pgtrigger.Delete),
    pgtrigger.Trigger(
        name="never_emptied",
        level=pgtrigger.Statement,
        when=pgtrigger.Before,
        operation=pgtrigger.Truncate,
        func="RAISE EXCEPTION 'what was frozen is never emptied';",
    ),
]


class SnapshotQuerySet(models.QuerySet["Snapshot"]):
    def unblinded_for(self, user: User) -> "SnapshotQuerySet":
        """Snapshots `user` may see: not those of an open (or paused) campaign they judge in."""
        judging = Membership.objects.filter(user=user, campaign__state__in=CampaignState.running())
        return self.exclude(campaign__in=judging.values("campaign"))


class Snapshot(models.Model):
    """A frozen, content-addressed set of preference rows. `digest` covers every row; the database refuses update and delete."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=120)
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="snapshots")
    digest = models.CharField(max_length=64, unique=True)
    filters = models.JSONField(default=dict)
    counts = models.JSONField(help_text='{"used": {"train": n, …}, "dropped": {reason: n}, "judgements": n, "raters": n}')
    simulated = models.BooleanField(default=False)
    toy = models.BooleanField(default=False)
    external = models.BooleanField(default=False, db_default=False, help_text="Frozen from preferences that were imported.")
    frozen_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    frozen_at = models.DateTimeField(db_default=Now())

    objects = SnapshotQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        triggers = FROZEN

    def __str__(self) -> str:
        return f"{self.name} ({self.digest[:12]})"

    @property
    def planted(self) -> bool:
        """Whether held-out pairs are labelled by what was planted in simulated raters. Where raters were held out it is by their votes."""
        return self.simulated and self.toy and not self.filters.get("hold_out_raters")

    def targets(self) -> list[tuple[float, float, int]]:
        """(lower edge, upper edge, rows) of the soft targets, in ten steps of 0.05 from 0.5 to 1. One query."""
        step = Least(Floor((models.F("p_chosen") - 0.5) / 0.05 + 1e-9), 9.0, output_field=models.IntegerField())
        counted = dict(self.rows.order_by().annotate(step=step).values_list("step").annotate(n=models.Count("pk")))
        return [(round(0.5 + 0.05 * step, 2), round(0.55 + 0.05 * step, 2), counted.get(step, 0)) for step in range(10)]


class SnapshotRow(models.Model):
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="rows")
    position = models.PositiveIntegerField()
    pair = models.ForeignKey(Pair, on_delete=models.PROTECT, related_name="+")
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="+")
    chosen = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    rejected = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    p_chosen = models.FloatField(help_text="Soft target: how likely a rater of this campaign is to prefer the chosen side, in (0.5, 1).")
    votes = models.JSONField(help_text='{"chosen": n, "rejected": n, "tie": n, "strength": mean of −2…2 for chosen}')
    split = models.CharField(max_length=10, choices=Split.choices)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["snapshot", "pair"], name="pair_once_per_snapshot"),
            models.CheckConstraint(condition=models.Q(p_chosen__gt=0.5, p_chosen__lt=1), name="chosen_is_the_likelier"),
        ]
        triggers = FROZEN

    def __str__(self) -> str:
        return f"row {self.position} of snapshot {self.snapshot_id}"


class SnapshotEvidence(models.Model):
    """What a snapshot was resolved from, exactly: answers given while it was frozen are not in it, whatever the clock says."""

    snapshot = models.OneToOneField(Snapshot, on_delete=models.PROTECT, related_name="evidence")
    judgements = ArrayField(models.BigIntegerField(), help_text="Ids of the answers it was made from: votes, and others whose flags count.")
    rulings = ArrayField(models.BigIntegerField(), help_text="Ids of the rulings that held.")
    votes = ArrayField(models.BigIntegerField(), default=list, help_text="Of the answers, those that counted as votes.")
    findings = models.JSONField(
        default=dict, help_text='{"harmful": [completion], "standing": {pair: ruling}}: what was known of texts and pairs at that moment.'
    )
    dropped = models.JSONField(default=dict, help_text="{reason: [pair, …]}: every pair that was left out, once.")

    class Meta:
        triggers = FROZEN

    def __str__(self) -> str:
        return f"evidence of snapshot {self.snapshot_id}"
