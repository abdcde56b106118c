"""Consent: to a text by its version, given and withdrawn by the person alone. Nobody rates before it."""

from hashlib import sha256
from pathlib import Path

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.urls import reverse

from accounts import audit
from accounts.models import Consent, ConsentText, User

# The house's first text; a steward publishes the next ones.
FIRST = Path(__file__).parent / "consent.md"


class ConsentMissing(PermissionDenied):
    """This person has not agreed to the text that is asked for now; the consent page is where to send them."""

    @property
    def address(self) -> str:
        return reverse("accounts:consent")


def current() -> ConsentText:
    """The text that is asked for: the newest published, and on a fresh database the one that comes with Rounds."""
    newest = ConsentText.objects.order_by("-pk").first()
    if newest is not None:
        return newest
    text = FIRST.read_text(encoding="utf-8")
    digest = sha256(text.encode()).hexdigest()
    made, _ = ConsentText.objects.get_or_create(digest=digest, defaults={"version": "1", "text": text})
    return made


def given(user: User) -> bool:
    """Whether `user` may rate as far as consent goes. Simulated raters are programs: there is nobody to ask."""
    if user.simulated:
        return True
    newest = ConsentText.objects.order_by("-pk").values("pk")[:1]
    return Consent.objects.filter(user=user, text__in=newest, withdrawn_at__isnull=True).exists()


def require(user: User) -> None:
    """Raises ConsentMissing unless `user` agreed to the current text."""
    if not given(user):
        raise ConsentMissing("Read and agree to how your judgements are used first.")


def give(*, user: User, text: ConsentText) -> Consent:
    """Record that `user` agrees to `text`, once. Raises ValueError when `text` is not the current one any more."""
    if text.pk != current().pk:
        raise ValueError("The text has changed meanwhile: read the new one.")
    try:
        with transaction.atomic():
            made = Consent.objects.create(user=user, text=text)
            audit.record(user, "consent.given", made, version=text.version, digest=text.digest)
    except IntegrityError:
        return Consent.objects.get(user=user, text=text, withdrawn_at__isnull=True)
    return made


@transaction.atomic
def withdraw(*, user: User) -> int:
    """Take back every standing consent; returns how many. From now on nothing is handed out to them; what they gave stays on record."""
    standing = list(Consent.objects.select_for_update().filter(user=user, withdrawn_at__isnull=True))
    Consent.objects.filter(pk__in=[consent.pk for consent in standing]).update(withdrawn_at=Now())
    for consent in standing:
        audit.record(user, "consent.withdrawn", consent, version=consent.text.version)
    return len(standing)
