"""Each rater's figures, so that a lead can offer help: in the order of their pseudonyms, never a list of ranks, hidden while few."""

from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from accounts import access
from accounts.access import UserRequest
from accounts.models import User
from annotation import figures
from annotation.estimates import FLOOR, Estimate
from annotation.models import Campaign, CampaignState
from annotation.views.progress import READERS, get_campaign_for
from web.charts import interval_chart


class Seat(NamedTuple):
    """A rater by the name the viewer may see."""

    name: str
    figures: figures.Rater


def pseudonym(campaign: Campaign, user: int) -> str:
    """The same within a campaign, different in the next: nobody is followed from one to another."""
    return "Rater " + sha256(f"{campaign.public_id}:{user}".encode()).hexdigest()[:4].upper()


@access.allow(*READERS)
@require_safe
def calibration(request: UserRequest, pk: UUID) -> HttpResponse:
    """Raters have names here once the campaign has closed; until then a lead may have to rule on their votes."""
    shown = get_campaign_for(request.user, pk)
    named = shown.state == CampaignState.CLOSED
    found = figures.raters(figures.rows(shown))
    people = dict(User.objects.filter(pk__in=[rater.user for rater in found]).values_list("pk", "username")) if named else {}
    seats = [Seat(people.get(rater.user) or pseudonym(shown, rater.user), rater) for rater in found]
    seats.sort(key=lambda seat: seat.name)
    enough = [seat for seat in seats if seat.figures.n >= FLOOR]
    titles = ("Same side as colleagues", "Same answer on repeats", "Left side won")
    charts = {title: _chart(title, [(seat.name, seat.figures.shown[place]) for seat in enough]) for place, title in enumerate(titles)}
    page = {"campaign": shown, "seats": seats, "enough": enough, "floor": FLOOR, "charts": charts if enough else {}, "named": named}
    return render(request, "annotation/calibration.html", page)


def _chart(title: str, shares: list[tuple[str, Estimate]]) -> SafeString:
    rows = [(name, one.value, one.low, one.high, f"{one.note}, n = {one.n}") for name, one in shares]
    return interval_chart(rows, title=title, x_label="share", limits=(0, 1), reference=(0.5, "one half"))
