"""Accounts as an administrator manages them: roles as whole sets, disabling that ends every access, and never a house without an admin."""

from collections.abc import Collection

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import ApiToken, Invitation, Role, RoleGrant, User


class LastAdmin(Exception):
    """This is the only administrator whose account is active: nobody could give the role back."""

    def __init__(self) -> None:
        super().__init__("This is the last active administrator. Make somebody else an administrator first.")


@transaction.atomic
def set_roles(*, user: User, roles: Collection[str], actor: User | None) -> None:
    """Make `roles` the user's roles; invitations sent by an administrator who is one no more are revoked. Writes nothing without a change.

    Raises ValueError for an unknown role, LastAdmin when it would leave no active administrator.
    """
    wanted = set(roles)
    if not wanted <= set(Role.values):
        raise ValueError("Unknown role.")
    if Role.ADMIN not in wanted:
        # Before their own grants are locked: everybody locks administrators first, and nobody waits for each other in a circle.
        _keep_an_admin(user)
    had = set(RoleGrant.objects.select_for_update().filter(user=user).values_list("role", flat=True))
    if wanted == had:
        return
    RoleGrant.objects.filter(user=user, role__in=had - wanted).delete()
    RoleGrant.objects.bulk_create(RoleGrant(user=user, role=role) for role in sorted(wanted - had))
    vars(user).pop("_roles", None)
    ended = {"invitations": _end_invitations(user)} if Role.ADMIN in had - wanted else {}
    audit.record(actor, "user.roles_changed", user, granted=sorted(wanted - had), withdrawn=sorted(had - wanted), **ended)


def is_last_admin(user: User) -> bool:
    """Whether `user` is the only active administrator."""
    return list(RoleGrant.objects.filter(role=Role.ADMIN, user__is_active=True).values_list("user", flat=True)) == [user.pk]


def _keep_an_admin(user: User) -> None:
    """Raises LastAdmin if `user` is the only active administrator, and holds on to all of them until the transaction ends.

    Of two administrators who disable each other at once, the second waits here and then finds that they are the last.
    """
    locked = RoleGrant.objects.select_for_update(of=("self", "user")).select_related("user")
    held = locked.filter(role=Role.ADMIN, user__is_active=True).order_by("pk")
    if [grant.user_id for grant in held] == [user.pk]:
        raise LastAdmin


@transaction.atomic
def disable(*, user: User, actor: User | None) -> bool:
    """Close an account now: its sessions end, its tokens and the invitations it sent are revoked. False if it was closed already.

    Raises LastAdmin when it is the last active administrator's.
    """
    _keep_an_admin(user)
    if not User.objects.filter(pk=user.pk, is_active=True).update(is_active=False):
        return False
    user.is_active = False
    vars(user).pop("_roles", None)
    sessions = end_sessions(user)
    tokens = ApiToken.objects.filter(user=user, revoked_at__isnull=True).update(revoked_at=Now())
    invited = _end_invitations(user)
    audit.record(actor, "user.disabled", user, sessions=sessions, tokens=tokens, invitations=invited)
    return True


def _end_invitations(user: User) -> int:
    """A link that somebody without rights sent would still grant theirs, to whoever opens it: themselves, for one."""
    return Invitation.objects.unanswered().filter(invited_by=user).update(revoked_at=Now())


@transaction.atomic
def enable(*, user: User, actor: User | None) -> bool:
    """Open a disabled account again, with the roles and the password it had. Tokens stay revoked. False if it was open."""
    if not User.objects.filter(pk=user.pk, is_active=False).update(is_active=True):
        return False
    user.is_active = True
    vars(user).pop("_roles", None)
    audit.record(actor, "user.enabled", user)
    return True


def end_sessions(user: User) -> int:
    """Sign `user` out everywhere; returns of how many places. Sessions do not say whose they are without being opened one by one."""
    alive = Session.objects.filter(expire_date__gt=Now())
    theirs = [session.pk for session in alive.iterator() if session.get_decoded().get(SESSION_KEY) == str(user.pk)]
    return Session.objects.filter(pk__in=theirs).delete()[0]
