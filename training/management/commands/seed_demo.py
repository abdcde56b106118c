"""manage.py seed_demo: people to sign in as, first campaigns, a qualification; with --family toy models and the loop once through."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training import demo

POLL_SECONDS = 2.0


class Command(BaseCommand):
    help = (
        "Put demo users, with passwords that are printed, a first campaign of 24 pairs, a qualification and a campaign behind it in "
        "place. Safe to repeat: what is there stays. "
        "With --family, also queue the tiny model family, and carry a simulated campaign through to an evaluated DPO run as its jobs end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--family", action="store_true", help="build the toy models and one simulated round (needs a worker and a sweeper)"
        )
        parser.add_argument("--no-wait", action="store_true", help="with --family: do what can be done now and return")

    def handle(self, *args: Any, **options: Any) -> None:
        demo.people()
        demo.first_campaign()
        demo.gated_campaign()
        if options["family"]:
            self._carry_on(wait=not options["no_wait"])
            return
        self.stdout.write("Sign in as (user, password, role):")
        for username, role in demo.PEOPLE:
            self.stdout.write(f"  {username:<10} {demo.password(username):<24} {role.label}")
        self.stdout.write("These passwords are public: change them, or start with --no-demo, before anyone else can reach this address.")

    def _carry_on(self, *, wait: bool) -> None:
        story = demo.Story()
        told = -1
        while True:
            try:
                steps = story.advance()
            except demo.Stuck as stuck:
                raise CommandError(f"The demo stopped. {stuck} See Jobs for why; then run this again.") from None
            reached = sum(done for _, done in steps)
            if reached != told:
                told = reached
                # The supervisor shows the first line's figures on every page.
                self.stdout.write(f"Progress {reached} of {len(steps)}")
                self.stdout.write(f"Waiting for {steps[reached][0]}" if reached < len(steps) else "The demo is complete.")
                self.stdout.flush()
            if reached == len(steps) or not wait:
                return
            time.sleep(POLL_SECONDS)
