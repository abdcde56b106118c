"""Who may do what, and who did what."""

import secrets
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pgtrigger
from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone


class Role(models.TextChoices):
    ANNOTATOR = "annotator", "Clinician"
    ADJUDICATOR = "adjudicator", "Lead clinician"
    TRAINER = "trainer", "Trainer"
    STEWARD = "steward", "Data steward"
    ADMIN = "admin", "Administrator"


class User(AbstractUser):
    """A person, or a simulated rater of the demo. Roles are rows, not flags: see RoleGrant."""

    simulated = models.BooleanField(default=False, help_text="A demo rater that a program plays; never counted as a clinician.")

    def roles(self) -> frozenset[str]:
        """The roles granted, read once per instance. A disabled user has none."""
        if not self.is_active:
            return frozenset()
        if not hasattr(self, "_roles"):
            self._roles = frozenset(self.grants.values_list("role", flat=True))
        return self._roles

    def has_role(self, *roles: str) -> bool:
        return not self.roles().isdisjoint(roles)


class RoleGrant(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="grants")
    role = models.CharField(max_length=20, choices=Role.choices)
    granted_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "role"], name="one_grant_per_user_and_role"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.role}"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def for_list(self, *, verb: str = "", actor: str = "") -> "AuditEntryQuerySet":
        """Newest first, narrowed to a verb ("token.created") or a family of verbs ("token."), and to an actor's name."""
        found = self.order_by("-pk")
        if verb:
            found = found.filter(verb__startswith=verb) if verb.endswith(".") else found.filter(verb=verb)
        return found.filter(actor_name=actor) if actor else found


class AuditEntry(models.Model):
    """One change, for ever: ids and digests, never clinical text. The database refuses update and delete."""

    at = models.DateTimeField(db_default=Now())
    # No foreign key: an entry outlives whom and what it names.
    actor_id = models.BigIntegerField(null=True)
    actor_name = models.CharField(max_length=150, blank=True)
    verb = models.CharField(max_length=60)
    object_type = models.CharField(max_length=60)
    object_id = models.CharField(max_length=64)
    request_id = models.CharField(max_length=36, blank=True)
    details = models.JSONField(default=dict)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["-id"]
        indexes = [models.Index(fields=["object_type", "object_id"], name="audit_by_object")]
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.verb} {self.object_type} {self.object_id}"


class Scope(models.TextChoices):
    READ = "read", "Read samples, campaigns and snapshots"
    ANNOTATE = "annotate", "Lease and answer comparisons"
    MANAGE = "manage", "Import, open campaigns, freeze snapshots"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def live(self) -> "ApiTokenQuerySet":
        """Neither revoked nor expired, by the database's clock."""
        return self.filter(revoked_at__isnull=True, expires_at__gt=Now())

    def for_owner(self, user: User) -> "ApiTokenQuerySet":
        """What the tokens page lists: the owner's, newest first."""
        return self.filter(user=user).order_by("-pk")


class ApiToken(models.Model):
    """A bearer token: only its digest is kept. A token never has more rights than its user."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    label = models.CharField(max_length=60)
    digest = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope.choices))
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects = ApiTokenQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.label} ({', '.join(self.scopes)})"

    @property
    def state(self) -> str:
        """ "live", "expired" or "revoked"."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at <= timezone.now() else "live"

    @staticmethod
    def digest_of(secret: str) -> str:
        return sha256(secret.encode()).hexdigest()

    @classmethod
    def draw(cls, **fields: Any) -> tuple["ApiToken", str]:
        """A new, unsaved token and its secret, which is shown once and never kept."""
        secret = "rounds_" + secrets.token_urlsafe(32)
        expires = fields.pop("expires_at", timezone.now() + timedelta(days=90))
        return cls(digest=cls.digest_of(secret), expires_at=expires, **fields), secret
