"""Who may take a snapshot away, how much of it, and what for. Rows stay: they are the evidence."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from annotation.exports import levels
from annotation.models.snapshots import Snapshot


class ExportLevel(models.TextChoices):
    """How much of what raters said may leave (annotation/exports/levels.py). Somebody without a grant exports nothing."""

    DEIDENTIFIED = levels.DEIDENTIFIED, levels.LABELS[levels.DEIDENTIFIED]
    UNTAGGED = levels.UNTAGGED, levels.LABELS[levels.UNTAGGED]
    FULL = levels.FULL, levels.LABELS[levels.FULL]


class ExportGrantQuerySet(models.QuerySet["ExportGrant"]):
    def standing(self) -> "ExportGrantQuerySet":
        """Those that hold: not revoked, and of somebody whose account is active."""
        return self.filter(revoked_at__isnull=True, user__is_active=True)

    def for_list(self) -> "ExportGrantQuerySet":
        """Standing ones first, then the newest."""
        return self.select_related("user", "granted_by", "revoked_by").order_by(models.F("revoked_at").desc(nulls_first=True), "-pk")


class ExportGrant(models.Model):
    """That a person may export at a level and those below it, until it is revoked."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="export_grants")
    level = models.CharField(max_length=20, choices=ExportLevel.choices)
    granted_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    granted_at = models.DateTimeField(db_default=Now())
    revoked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    revoked_at = models.DateTimeField(null=True)

    objects = ExportGrantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user"], condition=models.Q(revoked_at__isnull=True), name="one_standing_export_grant"),
            models.CheckConstraint(condition=models.Q(level__in=ExportLevel.values), name="export_level_is_known"),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(name="granted_is_granted", fields=["user", "level", "granted_by", "granted_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.level}"


class ExportRelease(models.Model):
    """Why somebody takes a full export of a snapshot, written after their passphrase was asked for again. It holds for a day."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="releases")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    made_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=~models.Q(reason=""), name="full_export_has_a_reason")]
        indexes = [models.Index(fields=["snapshot", "user", "-id"], name="release_by_snapshot")]
        triggers = [pgtrigger.Protect(name="for_ever", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"release of snapshot {self.snapshot_id} to {self.user_id}"
