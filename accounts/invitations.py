"""Invitations: a link that makes one account, once. Nobody needs a mail server: whoever invites copies the link and sends it themselves."""

import secrets
from collections.abc import Collection
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.dispatch import Signal
from django.utils import timezone

from accounts import audit, people
from accounts.models import Invitation, Role, User

LONGEST_DAYS = 30

# Sent inside the transaction that makes the account: sender is Invitation, `user` who came in, `invitation` by which.
accepted = Signal()


class InvitationClosed(Exception):
    """The link opens nothing any more: it was used, taken back, has run out or was replaced by a newer one."""


class UsernameTaken(Exception):
    """Somebody has this name; the link is still good."""


def _draw() -> str:
    return secrets.token_urlsafe(32)


@transaction.atomic
def create(*, name: str, roles: Collection[str], purpose: str, minutes: int, days: int, actor: User | None) -> tuple[Invitation, str]:
    """An invitation and its link's secret, which nobody can show again. Raises ValueError for no role, an unknown one, or too long a life.

    minutes: what is expected of the invited person, roughly. days: how long the link lives.
    """
    if not roles or not set(roles) <= set(Role.values):
        raise ValueError("An invitation grants roles that exist.")
    if not 1 <= days <= LONGEST_DAYS:
        raise ValueError(f"A link lives 1 to {LONGEST_DAYS} days.")
    secret = _draw()
    made = Invitation.objects.create(
        digest=Invitation.digest_of(secret), name=name, roles=sorted(set(roles)), purpose=purpose, minutes=minutes, invited_by=actor,
        expires_at=timezone.now() + timedelta(days=days),
    )  # fmt: skip
    audit.record(actor, "invitation.created", made, roles=made.roles, days=days)
    return made, secret


@transaction.atomic
def accept(*, invitation: Invitation, username: str, password: str) -> User:
    """Make the account, grant its roles and use the link up, or none of it.

    The link as it was read counts: one that was renewed meanwhile is closed. Raises InvitationClosed when the link opens nothing any more
    (of two who try at once, the second), UsernameTaken when the name is. The password must have passed the validators.
    """
    try:
        with transaction.atomic():
            user = User.objects.create_user(username, password=password)
    except IntegrityError as taken:
        raise UsernameTaken("Somebody has this user name already. Choose another; the link is still good.") from taken
    good = Invitation.objects.in_state("open").filter(pk=invitation.pk, digest=invitation.digest)
    # Decided by the row: of two who try at once the second waits here, and then finds it accepted.
    if not good.update(accepted_at=Now(), accepted_by=user, renewal_asked_at=None):
        # Takes the account back with it.
        raise InvitationClosed("This link has been used, taken back, replaced or has run out.")
    audit.record(user, "invitation.accepted", invitation)
    people.set_roles(user=user, roles=invitation.roles, actor=invitation.invited_by)
    accepted.send(sender=Invitation, user=user, invitation=invitation)
    return user


@transaction.atomic
def renew(*, invitation: Invitation, days: int, actor: User) -> str:
    """A new secret for the same invitation, living `days` from now; the old link opens nothing any more.

    Raises InvitationClosed when it was accepted or revoked, ValueError for too long a life.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise ValueError(f"A link lives 1 to {LONGEST_DAYS} days.")
    secret = _draw()
    renewed = (
        Invitation.objects.unanswered()
        .filter(pk=invitation.pk)
        .update(digest=Invitation.digest_of(secret), expires_at=timezone.now() + timedelta(days=days), renewal_asked_at=None)
    )
    if not renewed:
        raise InvitationClosed("This invitation was accepted or revoked meanwhile: make a new one.")
    audit.record(actor, "invitation.renewed", invitation, days=days)
    return secret


@transaction.atomic
def revoke(*, invitation: Invitation, actor: User) -> bool:
    """End an invitation that nobody has accepted. False when there is nothing to end; then nothing is written."""
    revoked = Invitation.objects.unanswered().filter(pk=invitation.pk).update(revoked_at=Now()) == 1
    if revoked:
        audit.record(actor, "invitation.revoked", invitation)
    return revoked


@transaction.atomic
def ask_renewal(*, invitation: Invitation) -> bool:
    """The invited person asks for a new link, which administrators see. Asking again changes nothing. False if it has not run out."""
    run_out = Invitation.objects.unanswered().filter(pk=invitation.pk, digest=invitation.digest, expires_at__lte=Now())
    if run_out.filter(renewal_asked_at__isnull=True).update(renewal_asked_at=Now()):
        audit.record(None, "invitation.renewal_asked", invitation)
        return True
    return run_out.exists()


def opened_by(secret: str) -> Invitation | None:
    """The invitation this link belongs to, whatever its state."""
    return Invitation.objects.filter(digest=Invitation.digest_of(secret)).first()
