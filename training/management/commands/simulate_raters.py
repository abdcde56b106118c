"""manage.py simulate_raters: let simulated raters answer an open simulated campaign."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from annotation import campaigns
from annotation.models import Campaign, CampaignState
from training import raters


class Command(BaseCommand):
    help = "Let simulated raters, with a planted preference and planted slips, answer what is left in an open simulated campaign."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("campaign", type=UUID, help="the campaign's id, as in its address")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument(
            "--slip", type=float, default=raters.SLIP, help="share of verdicts given the wrong way round (default %(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        campaign = Campaign.objects.filter(public_id=options["campaign"]).first()
        if campaign is None:
            raise CommandError("There is no such campaign.")
        if not campaign.simulated:
            raise CommandError("Simulated raters judge simulated campaigns only.")
        if campaign.state != CampaignState.OPEN:
            raise CommandError("The campaign is not open.")
        people = raters.ensure()
        campaigns.add_members(campaign=campaign, members=people, actor=None)
        rated = raters.rate(campaign=campaign, raters=people, seed=options["seed"], slip=options["slip"])
        self.stdout.write(f"{rated.judgements} judgements, {rated.slips} of them slips.")
