"""What a rater says of themselves: fields, profession, years, languages. Pairs are routed by it; exports carry it in bands."""

from collections.abc import Sequence

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.functions import Now
from django.dispatch import Signal
from django.urls import reverse

from accounts import audit
from accounts.models import Profession, Profile, Specialty, User

MOST_SPECIALTIES = 3
MOST_LANGUAGES = 8
LONGEST_LANGUAGE = 20
MOST_YEARS = 70

# Sent inside the transaction that saved a profile: sender is Profile, `user` whose it is. Memberships are routed anew on it.
changed = Signal()


class ProfileMissing(PermissionDenied):
    """This person has not said yet what their field is; the profile page is where to send them."""

    @property
    def address(self) -> str:
        return reverse("accounts:profile")


@transaction.atomic
def save(*, user: User, specialties: Sequence[str], profession: str, years: int, languages: Sequence[str], conflicts: str = "") -> Profile:
    """Store what `user` says of themselves; the first specialty is the main one. Nothing is written when nothing changes.

    Raises ValueError for an unknown specialty or profession, for none or too many of anything, and for years that nobody has.
    The audit entry names the fields that changed, never what is in them: conflicts of interest are the person's own words.
    """
    said = {
        "specialties": list(specialties),
        "profession": profession,
        "years": years,
        "languages": list(languages),
        "conflicts": conflicts,
    }
    _check(**said)  # type: ignore[arg-type]
    found = Profile.objects.select_for_update().filter(user=user).first()
    fields = sorted(name for name, value in said.items() if found is None or getattr(found, name) != value)
    if found is not None and not fields:
        return found
    profile, _ = Profile.objects.update_or_create(user=user, defaults={**said, "updated_at": Now()})
    profile.refresh_from_db(fields=["updated_at"])
    # What was read before the change would route by it.
    user._state.fields_cache.pop("profile", None)
    audit.record(user, "profile.saved", profile, fields=fields)
    changed.send(sender=Profile, user=user)
    return profile


def _check(*, specialties: list[str], profession: str, years: int, languages: list[str], conflicts: str) -> None:
    if not 1 <= len(specialties) <= MOST_SPECIALTIES or len(set(specialties)) < len(specialties):
        raise ValueError(f"Name 1 to {MOST_SPECIALTIES} different specialties.")
    if not set(specialties) <= set(Specialty.values) or profession not in Profession.values:
        raise ValueError("Unknown specialty or profession.")
    if not 0 <= years <= MOST_YEARS:
        raise ValueError(f"Years in practice are 0 to {MOST_YEARS}.")
    if not 1 <= len(languages) <= MOST_LANGUAGES or not all(0 < len(language) <= LONGEST_LANGUAGE for language in languages):
        raise ValueError(f"Name 1 to {MOST_LANGUAGES} languages.")
