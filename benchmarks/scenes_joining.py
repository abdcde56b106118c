"""Scenes for benchmarks/gallery.py: the house before anything is in it, and how people are invited and join."""

from __future__ import annotations

from datetime import timedelta

from benchmarks.scenes_house import PASSPHRASE, House


def nothing_yet(house: House) -> None:
    for name, user, address in (
        ("invitations-empty", house.ada, "/invitations/"), ("queue-empty", house.alice, "/rate/"),
        ("history-empty", house.alice, "/rate/history/"), ("impact-empty", house.alice, "/me/impact/"),
        ("disputes-empty", house.carol, "/adjudicate/"), ("safety-empty", house.carol, "/safety/"),
        ("defects-empty", house.carol, "/defects/"), ("campaigns-empty", house.dan, "/campaigns/"),
    ):  # fmt: skip
        house.show(name, user, address)


def joining(house: House) -> None:
    from django.utils import timezone

    from accounts import invitations
    from accounts.models import Invitation

    purpose = "To compare discharge letters. The texts are made up; no patient is behind them."
    page = house.camera.of(house.ada)
    page.goto("/invitations/new/")
    page.get_by_label("Whom do you invite?").fill("Dr. Amina Khan")
    page.get_by_label("What for?").fill(purpose)
    page.get_by_role("button", name="Make the link").click()
    page.wait_for_selector("#link")
    house.camera.take("invitation-link", page)
    link = page.locator("#link").inner_text()

    page = house.camera.of(None)
    page.goto(link)
    house.camera.take("join", page)
    page.get_by_label("Username").fill("amina.khan")
    page.get_by_label("Passphrase", exact=True).fill("short")
    page.get_by_label("Passphrase again").fill("short")
    page.get_by_role("button", name="Make my account").click()
    house.camera.take("join-error", page)
    page.get_by_label("Passphrase", exact=True).fill(PASSPHRASE)
    page.get_by_label("Passphrase again").fill(PASSPHRASE)
    page.get_by_role("button", name="Make my account").click()
    page.wait_for_selector("#consent-form")
    house.camera.take("consent", page)
    page.locator("#consent-form [name=agree]").check()
    page.get_by_role("button", name="Agree and go on").click()
    page.get_by_label("Main field").select_option("Cardiology")
    page.get_by_label("Years in clinical practice").fill("99")
    page.get_by_role("button", name="Save and go on").click()
    house.camera.take("profile-error", page)

    made: dict[str, tuple[Invitation, str]] = {}
    for state, name in (
        ("open", "Dr. Jonas Weber"),
        ("expired", "Dr. Mei Lin"),
        ("asked", "Nurse Ruth Adeyemi"),
        ("revoked", "Dr. Ivo Petrov"),
    ):
        made[state] = invitations.create(name=name, roles=["annotator"], purpose=purpose, minutes=40, days=7, actor=house.ada)
    invitations.revoke(invitation=made["revoked"][0], actor=house.ada)
    run_out = [made[state][0].pk for state in ("expired", "asked")]
    Invitation.objects.filter(pk__in=run_out).update(expires_at=timezone.now() - timedelta(days=2))
    asked = made["asked"][0]
    asked.refresh_from_db()
    invitations.ask_renewal(invitation=asked)
    stranger = house.camera.of(None, locale="en-GB")
    stranger.goto(f"/join/{made['expired'][1]}/")
    house.camera.take("join-expired", stranger)
    house.show("invitations", house.ada, "/invitations/")
