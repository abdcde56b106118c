"""Consent: to a text by its version, given and withdrawn by the person alone. Nobody rates before it."""

from hashlib import sha256
from pathlib import Path

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.urls import reverse

from accounts import audit
from accounts.models import Consent, ConsentText, Role, User

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
    made, _ = ConsentText.objects.get_or_create(digest=digest_of(text), defaults={"version": "1", "text": _tidy(text)})
    return made


class AlreadyPublished(Exception):
    """This version's name, or this very text, was published before. `field` says which."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def _tidy(text: str) -> str:
    return text.replace("\r\n", "\n").strip() + "\n"


def digest_of(text: str) -> str:
    """The fingerprint of a text as it would be published."""
    return sha256(_tidy(text).encode()).hexdigest()


@transaction.atomic
def publish(*, version: str, text: str, actor: User) -> ConsentText:
    """Make `text` the one that is asked for: from now on nobody rates before agreeing to it. Raises AlreadyPublished."""
    # On a fresh house the first text becomes a version before it is succeeded, so that the order is kept.
    current()
    text, digest = _tidy(text), digest_of(text)
    try:
        with transaction.atomic():
            made = ConsentText.objects.create(version=version, text=text, digest=digest, published_by=actor)
    except IntegrityError:
        same = ConsentText.objects.filter(digest=digest).first()
        if same is not None:
            raise AlreadyPublished("text", f"This is the text of version {same.version}, word for word.") from None
        raise AlreadyPublished("version", "There is a version of this name already.") from None
    audit.record(actor, "consent_text.published", made, version=version, digest=digest)
    return made


def next_version() -> str:
    """A name for the next version: the next whole number."""
    numbers = [int(name) for name in ConsentText.objects.values_list("version", flat=True) if name.isascii() and name.isdigit()]
    return str(max(numbers, default=0) + 1)


def raters() -> int:
    """How many active people rate: those who are asked."""
    who = User.objects.filter(is_active=True, simulated=False, grants__role__in=(Role.ANNOTATOR, Role.ADJUDICATOR))
    return who.distinct().count()


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
    user._joined = False
    for consent in standing:
        audit.record(user, "consent.withdrawn", consent, version=consent.text.version)
    return len(standing)
