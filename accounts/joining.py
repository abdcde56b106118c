"""What still stands between a rater and the first pair: consent, then a profile. One question to the database."""

from django.db.models import Exists

from accounts.consents import ConsentMissing
from accounts.models import Consent, ConsentText, Profile, User
from accounts.profiles import ProfileMissing


def missing(user: User) -> ConsentMissing | ProfileMissing | None:
    """The first step `user` has not taken yet, as the refusal to raise or the address to lead to; None when all are.

    Simulated raters are programs: there is nobody to ask. Somebody whose session said that all is done is not asked again in the
    same request (accounts.backends).
    """
    if user.simulated or getattr(user, "_joined", False):
        return None
    newest = ConsentText.objects.order_by("-pk").values("pk")[:1]
    agreed = Exists(Consent.objects.filter(user=user, text__in=newest, withdrawn_at__isnull=True))
    said = Exists(Profile.objects.filter(user=user))
    has_agreed, has_profile = User.objects.filter(pk=user.pk).values_list(agreed, said).get()
    if not has_agreed:
        return ConsentMissing("Read and agree to how your judgements are used first.")
    return None if has_profile else ProfileMissing("Say first what your field is.")
