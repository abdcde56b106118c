"""Who may take what away: a role is not enough, an administrator grants a level, and what they take back ends at once."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.access import TRAINERS
from accounts.models import User
from annotation.exports import levels
from annotation.models import ExportGrant, ExportLevel, ExportRelease, Snapshot
from jobs import submissions
from jobs.errors import NotCancellable
from jobs.models import Job

KIND = "export"
# How long a written reason holds: long enough for a download over a slow line to be taken up again.
RELEASE_HOURS = 24
# A download under way asks again whether it may, after so many bytes.
ASK_AGAIN_BYTES = 32 * 2**20


class NotAllowed(PermissionDenied):
    """The message says what is missing and who can give it."""


class GrantRefused(Exception):
    """This right cannot be given; the message says why."""


def standing(user: User) -> ExportGrant | None:
    """The grant that holds for `user` now. None for those whose roles export nothing, whatever was granted."""
    if not user.has_role(*TRAINERS):
        return None
    return ExportGrant.objects.standing().filter(user=user).first()


def level_of(user: User) -> str:
    """The most that `user` may export, or "" for nothing, which is what everybody begins with."""
    grant = standing(user)
    return grant.level if grant else ""


def require(user: User, level: str, snapshot: Snapshot) -> None:
    """Raises NotAllowed unless `user` may take `snapshot` away at `level` now; a full export needs a reason that was written lately."""
    grant = standing(user)
    if grant is None:
        raise NotAllowed("You may export nothing. An administrator can grant you a level, on the page “Export rights”.")
    if not levels.within(level, grant.level):
        raise NotAllowed(f"You may export “{levels.LABELS[grant.level].lower()}” and less. An administrator can grant you more.")
    if level == levels.FULL and release_of(user, snapshot, grant) is None:
        raise NotAllowed("A full export asks for your password again and for a reason. Both are asked for on the snapshot's page.")


def release_of(user: User, snapshot: Snapshot, grant: ExportGrant) -> ExportRelease | None:
    """The newest reason that still holds; one from before the grant was given does not."""
    lately = ExportRelease.objects.filter(snapshot=snapshot, user=user, made_at__gt=Now() - timedelta(hours=RELEASE_HOURS))
    return lately.filter(made_at__gte=grant.granted_at).order_by("-pk").first()


@transaction.atomic
def grant(*, user: User, level: str, actor: User) -> ExportGrant:
    """Let `user` export at `level` and below, in place of what they may now. The same level again changes nothing.

    Raises GrantRefused for an unknown level, and for somebody whose roles export nothing.
    """
    if level not in ExportLevel.values:
        raise GrantRefused("There is no such level.")
    # Two grants at once wait here for each other.
    user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if not user.is_active or not user.has_role(*TRAINERS):
        raise GrantRefused("Only trainers and administrators export.")
    held = ExportGrant.objects.filter(user=user, revoked_at__isnull=True).first()
    if held is not None and held.level == level:
        return held
    if held is not None:
        revoke(grant=held, actor=actor)
    made = ExportGrant.objects.create(user=user, level=level, granted_by=actor)
    made.refresh_from_db()
    audit.record(actor, "export.granted", made, user=user.pk, level=level)
    return made


@transaction.atomic
def revoke(*, grant: ExportGrant, actor: User) -> bool:
    """End a right now: the next request is refused, exports under way for them are stopped. False if it was revoked before."""
    if not ExportGrant.objects.filter(pk=grant.pk, revoked_at__isnull=True).update(revoked_at=Now(), revoked_by=actor):
        return False
    stopped = 0
    for job in Job.objects.unended().filter(kind=KIND, requested_by=grant.user_id):
        try:
            submissions.cancel(job=job, actor=actor)
            stopped += 1
        except NotCancellable:
            continue
    audit.record(actor, "export.revoked", grant, user=grant.user_id, level=grant.level, stopped=stopped)
    return True


@transaction.atomic
def release(*, snapshot: Snapshot, user: User, reason: str) -> ExportRelease:
    """Write down why `user` takes everything. The caller has asked for the passphrase. Raises NotAllowed without the right to it."""
    if level_of(user) != levels.FULL:
        raise NotAllowed("You may not export everything. An administrator can grant it.")
    made = ExportRelease.objects.create(snapshot=snapshot, user=user, reason=reason)
    audit.record(user, "export.released", snapshot, digest=snapshot.digest, release=made.pk)
    return made


def watched(blocks: Iterable[bytes], user: User, level: str) -> Iterator[bytes]:
    """`blocks`, cut off as soon as the right to them has been taken back: what is missing shows in the length."""
    sent = 0
    for block in blocks:
        if sent >= ASK_AGAIN_BYTES:
            fresh = User.objects.filter(pk=user.pk, is_active=True).first()
            if fresh is None or not levels.within(level, level_of(fresh)):
                raise NotAllowed("The right to this export was taken back.")
            sent = 0
        sent += len(block)
        yield block
