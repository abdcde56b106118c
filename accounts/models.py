"""Who may do what, and who did what."""

import secrets
import uuid
from datetime import timedelta
from hashlib import sha256
from typing import Any, ClassVar

import pgtrigger
from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
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


class UserQuerySet(models.QuerySet["User"]):
    def for_list(self, *, text: str = "", role: str = "", state: str = "") -> "UserQuerySet":
        """What the people page lists, narrowed to a part of a name, a role, and a state; an unknown role or state narrows nothing.

        Each with `live_tokens`, `consent_version` (the newest they stand by, or None), `consent_is_current` and `has_profile`.
        """
        standing = Consent.objects.filter(user=models.OuterRef("pk"), withdrawn_at__isnull=True).order_by("-text")
        newest = ConsentText.objects.order_by("-pk").values("pk")[:1]
        found = self.filter(external=False).annotate(
            live_tokens=models.Count("api_tokens", filter=models.Q(api_tokens__in=ApiToken.objects.live()), distinct=True),
            consent_version=models.Subquery(standing.values("text__version")[:1]),
            consent_is_current=models.Exists(standing.filter(text__in=newest)),
            has_profile=models.Exists(Profile.objects.filter(user=models.OuterRef("pk"))),
            rates=models.Exists(RoleGrant.objects.filter(user=models.OuterRef("pk"), role__in=(Role.ANNOTATOR, Role.ADJUDICATOR))),
        )
        if text:
            named = models.Q(username__icontains=text) | models.Q(first_name__icontains=text) | models.Q(last_name__icontains=text)
            found = found.filter(named | models.Q(invitation__name__icontains=text))
        if role in Role.values:
            found = found.filter(models.Exists(RoleGrant.objects.filter(user=models.OuterRef("pk"), role=role)))
        unfinished = models.Q(consent_is_current=False) | models.Q(has_profile=False)
        if state == "joining":
            found = found.filter(unfinished, rates=True, is_active=True, simulated=False)
        elif state in {"active", "idle"}:
            found = found.filter(is_active=True, simulated=False)
            found = found.filter(last_login__isnull=True) if state == "idle" else found
        elif state == "disabled":
            found = found.filter(is_active=False)
        elif state == "simulated":
            found = found.filter(simulated=True)
        return found.select_related("invitation").prefetch_related("grants").order_by("-is_active", "simulated", "username")


class People(UserManager["User"]):
    """Django's manager of accounts, and our reads."""

    use_in_migrations = False

    def get_queryset(self) -> UserQuerySet:
        return UserQuerySet(self.model, using=self._db)

    def for_list(self, *, text: str = "", role: str = "", state: str = "") -> UserQuerySet:
        return self.get_queryset().for_list(text=text, role=role, state=state)


class User(AbstractUser):
    """A person, or a simulated rater of the demo. Roles are rows, not flags: see RoleGrant."""

    simulated = models.BooleanField(default=False, help_text="A demo rater that a program plays; never counted as a clinician.")
    external = models.BooleanField(
        default=False, db_default=False, help_text="Somebody unknown who judged elsewhere, under a pseudonym; can never sign in."
    )
    # On the server, so that nothing stays in a browser: {"keys_off": bool, "keys": {action: key}}.
    preferences = models.JSONField(default=dict, blank=True)

    objects: ClassVar[People] = People()

    class Meta(AbstractUser.Meta):
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(external=False) | models.Q(is_active=False, simulated=False), name="external_raters_cannot_sign_in"
            )
        ]

    # Known of the user of a session: accounts.backends.
    _roles: frozenset[str]
    _joined: bool

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


class Specialty(models.TextChoices):
    """For routing pairs to those who know the field; coarse on purpose, so that it identifies nobody."""

    GENERAL_PRACTICE = "general_practice", "General practice"
    INTERNAL_MEDICINE = "internal_medicine", "Internal medicine"
    CARDIOLOGY = "cardiology", "Cardiology"
    EMERGENCY = "emergency", "Emergency and intensive care"
    SURGERY = "surgery", "Surgery"
    ANAESTHESIA = "anaesthesia", "Anaesthesia"
    PAEDIATRICS = "paediatrics", "Paediatrics"
    OBSTETRICS = "obstetrics", "Obstetrics and gynaecology"
    NEUROLOGY = "neurology", "Neurology"
    PSYCHIATRY = "psychiatry", "Psychiatry"
    ONCOLOGY = "oncology", "Oncology and haematology"
    RADIOLOGY = "radiology", "Radiology"
    PATHOLOGY = "pathology", "Pathology and laboratory"
    DERMATOLOGY = "dermatology", "Dermatology"
    PHARMACY = "pharmacy", "Pharmacy"
    NURSING = "nursing", "Nursing"
    CODING = "coding", "Clinical coding"
    OTHER = "other", "Other"


class Profession(models.TextChoices):
    SPECIALIST = "specialist", "Specialist physician"
    RESIDENT = "resident", "Physician in training"
    NURSE = "nurse", "Nurse"
    PHARMACIST = "pharmacist", "Pharmacist"
    STUDENT = "student", "Student"
    OTHER = "other", "Other"


class Profile(models.Model):
    """What a rater says of themselves: used to route pairs and to describe a data set, in bands, never by name."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="profile")
    specialties = ArrayField(models.CharField(max_length=30, choices=Specialty.choices), help_text="The first is the main one.")
    profession = models.CharField(max_length=20, choices=Profession.choices)
    years = models.PositiveSmallIntegerField(help_text="In clinical practice.")
    languages = ArrayField(models.CharField(max_length=20), help_text="That they read clinical text in.")
    conflicts = models.TextField(blank=True, help_text="Conflicts of interest.")
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"profile of {self.user_id}"


class ConsentTextQuerySet(models.QuerySet["ConsentText"]):
    def for_list(self) -> "ConsentTextQuerySet":
        """Newest first, each with how many active raters stand by it, and how many consents were withdrawn."""
        raters = RoleGrant.objects.filter(role__in=(Role.ANNOTATOR, Role.ADJUDICATOR), user__is_active=True).values("user")
        standing = models.Count("consents", filter=models.Q(consents__withdrawn_at=None, consents__user__in=raters))
        withdrawn = models.Count("consents", filter=models.Q(consents__withdrawn_at__isnull=False))
        return self.annotate(standing=standing, withdrawn=withdrawn).select_related("published_by").order_by("-pk")


class ConsentText(models.Model):
    """What raters agree to, by version. A version never changes; the newest is the one that is asked for."""

    version = models.CharField(max_length=20, unique=True)
    text = models.TextField(help_text="Headings, lists and paragraphs, set like a guideline.")
    digest = models.CharField(max_length=64, unique=True)
    published_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    published_at = models.DateTimeField(db_default=Now())

    objects = ConsentTextQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        triggers = [pgtrigger.Protect(name="published_is_fixed", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return self.version


class Consent(models.Model):
    """That a person agreed to a version, and perhaps withdrew. Rows stay: they are the evidence."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="consents")
    text = models.ForeignKey(ConsentText, on_delete=models.PROTECT, related_name="consents")
    given_at = models.DateTimeField(db_default=Now())
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "text"], condition=models.Q(withdrawn_at__isnull=True), name="one_standing_consent_per_version"
            )
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(name="given_is_given", fields=["user", "text", "given_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} to {self.text_id}"


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def unanswered(self) -> "InvitationQuerySet":
        """Neither accepted nor revoked: open or run out."""
        return self.filter(accepted_at__isnull=True, revoked_at__isnull=True)

    def in_state(self, state: str) -> "InvitationQuerySet":
        """Those whose `state` (see the property) it is; any other word finds all."""
        out = self.unanswered().filter(expires_at__lte=Now())
        return {
            "open": self.unanswered().filter(expires_at__gt=Now()),
            "asked": out.filter(renewal_asked_at__isnull=False),
            "expired": out.filter(renewal_asked_at__isnull=True),
            "accepted": self.filter(accepted_at__isnull=False),
            "revoked": self.filter(revoked_at__isnull=False),
        }.get(state, self)

    def for_list(self, state: str = "") -> "InvitationQuerySet":
        """Who asks for a new link first, the longest waiting before others; then the newest."""
        waits = models.Case(models.When(accepted_at=None, revoked_at=None, then="renewal_asked_at"))
        found = self.in_state(state).select_related("invited_by", "accepted_by")
        return found.order_by(waits.asc(nulls_last=True), "-pk")


class Invitation(models.Model):
    """A link that makes one account, once. Only the secret's digest is kept; the link is shown when it is made."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    digest = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=80, help_text="Who is invited, for the list of invitations.")
    roles = ArrayField(models.CharField(max_length=20, choices=Role.choices))
    purpose = models.CharField(max_length=300, help_text="What for; the invited person reads it.")
    minutes = models.PositiveSmallIntegerField(default=30, help_text="What is expected of them, roughly.")
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.OneToOneField(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="invitation")
    revoked_at = models.DateTimeField(null=True)
    renewal_asked_at = models.DateTimeField(null=True, help_text="The link had run out and somebody asked for a new one.")

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(accepted_at__isnull=True, accepted_by__isnull=True)
                | models.Q(accepted_at__isnull=False, accepted_by__isnull=False),
                name="accepted_by_somebody",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        """ "accepted", "revoked", "asked" (run out, and somebody asked for a new link), "expired" or "open"."""
        if self.accepted_at is not None:
            return "accepted"
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at > timezone.now():
            return "open"
        return "expired" if self.renewal_asked_at is None else "asked"

    @property
    def role_labels(self) -> list[str]:
        return [role.label for role in Role if role in self.roles]

    @staticmethod
    def digest_of(secret: str) -> str:
        """What is kept of a link's secret: it has 256 random bits, so a plain hash gives nothing away."""
        return sha256(secret.encode()).hexdigest()


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
