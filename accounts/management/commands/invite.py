"""manage.py invite: a one-time link from the machine itself, for the first administrator, and for the day nobody can sign in."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from accounts import invitations
from accounts.models import Role


class Command(BaseCommand):
    help = "Print a link that makes one account, once. Whoever runs this owns the machine; the invitation is recorded as the system's."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="whom you invite, for the list of invitations")
        parser.add_argument("--role", action="append", choices=Role.values, help="may be given more than once (default: admin)")
        parser.add_argument("--purpose", default="To set up and manage this installation.", help="the invited person reads it")
        parser.add_argument("--minutes", type=int, default=30, help="what is expected of them, roughly")
        parser.add_argument("--days", type=int, default=1, help=f"how long the link works, 1 to {invitations.LONGEST_DAYS}")
        parser.add_argument("--address", default="http://localhost:8000", help="where people reach this installation")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _, secret = invitations.create(
                name=options["name"], roles=options["role"] or [Role.ADMIN], purpose=options["purpose"], minutes=options["minutes"],
                days=options["days"], actor=None,
            )  # fmt: skip
        except ValueError as wrong:
            raise CommandError(str(wrong)) from wrong
        self.stdout.write(options["address"].rstrip("/") + reverse("accounts:join-link", args=[secret]))
