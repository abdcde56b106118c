"""Granting and taking away roles, as whole sets: what an administrator sees is what will be."""

from collections.abc import Collection

from django.db import transaction

from accounts import audit
from accounts.models import Role, RoleGrant, User


@transaction.atomic
def set_roles(*, user: User, roles: Collection[str], actor: User | None) -> None:
    """Make `roles` the user's roles. Raises ValueError for an unknown role. Writes nothing when nothing changes."""
    wanted = set(roles)
    if not wanted <= set(Role.values):
        raise ValueError("Unknown role.")
    had = set(RoleGrant.objects.select_for_update().filter(user=user).values_list("role", flat=True))
    if wanted == had:
        return
    RoleGrant.objects.filter(user=user, role__in=had - wanted).delete()
    RoleGrant.objects.bulk_create(RoleGrant(user=user, role=role) for role in sorted(wanted - had))
    vars(user).pop("_roles", None)
    audit.record(actor, "user.roles_changed", user, granted=sorted(wanted - had), withdrawn=sorted(had - wanted))
