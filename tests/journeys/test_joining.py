"""A clinician joins: from the link to the first real pair in minutes, with nothing to rate before consent, and a card at the end."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

import annotation
from accounts.models import User
from annotation.models import Assignment, Campaign, Judgement, Membership, Sitting
from benchmarks.browser import keyboard
from tests.cast import PASSWORD
from training import demo

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(360)]

MINUTES = 5
PAIRS = 8


@pytest.fixture(autouse=True)
def nobody_has_guessed() -> None:
    cache.clear()


def picture(page: Any, name: str) -> None:
    """Kept where ROUNDS_SCREENSHOTS says, for eyes."""
    if folder := os.environ.get("ROUNDS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for scheme, width, height in (("light", 1366, 768), ("dark", 1366, 768), ("light", 400, 800)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": height})
            page.screenshot(path=str(Path(folder) / f"{name}-{scheme}-{width}.png"), full_page=True)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1366, "height": 768})


def sound_texts() -> set[str]:
    """What a clinician who reads well prefers: the text of each hand-written pair that has no flaw, without its white space."""
    lines = (Path(annotation.__file__).parent / "demo" / "first_pairs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {squeezed(one["text"]) for row in rows for one in row["completions"] if one["system"] != row["flawed"]}


def squeezed(text: str) -> str:
    return "".join(text.split())


def invite(office: Any) -> str:
    """The link that the administrator copies."""
    office.goto("/invitations/new/")
    office.locator("[name=name]").fill("Dr Khan")
    office.locator("[name=purpose]").fill("Compare answers to clinical questions, in sessions of 10 minutes.")
    office.locator("[name=roles][value=annotator]").check()
    office.get_by_role("button", name="Make the link").click()
    return str(office.locator("#link").inner_text())


def let_in(office: Any, campaign: Campaign, username: str) -> None:
    office.goto(f"/campaigns/{campaign.public_id}/members/")
    office.get_by_label(username, exact=False).check()
    office.get_by_role("button", name="Add").click()
    office.get_by_text("1 person added.").wait_for()


def tried(clinic: Any, method: str, address: str) -> str:
    """Where a request straight to an address ends."""
    token = next((cookie["value"] for cookie in clinic.context.cookies() if cookie["name"] == "csrftoken"), "")
    response = clinic.request.fetch(address, method=method, headers={"X-CSRFToken": token, "Referer": clinic.url})
    return f"{response.status} {response.url.partition('//')[2].partition('/')[2]}"


def nothing_can_be_rated(clinic: Any, campaigns: list[Campaign], step: str) -> None:
    """By no address, though the campaigns are theirs: every way leads to the step that is missing."""
    for campaign in campaigns:
        assert tried(clinic, "POST", f"/rate/campaigns/{campaign.public_id}/next/").startswith(f"200 {step}")
        assert tried(clinic, "POST", f"/api/v1/campaigns/{campaign.public_id}/next/").startswith(("401", "403", "409"))
    qualification = next(one for one in campaigns if one.purpose == "qualify")
    assert tried(clinic, "POST", f"/rate/campaigns/{qualification.public_id}/qualification/").startswith(f"200 {step}")
    assert not Assignment.objects.exists()


def answer(clinic: Any, sound: set[str], *, right: bool = True) -> None:
    """Read both texts, press the key for the better one (or for the other), submit."""
    clinic.wait_for_function(keyboard.SETTLED)
    clinic.wait_for_timeout(keyboard.GLANCE_MS)
    left = squeezed(clinic.locator("#compare .side .prose").first.inner_text())
    clinic.keyboard.press("1" if (left in sound) is right else "5")
    clinic.wait_for_selector("#compare input[name=verdict]:checked", state="attached")
    clinic.keyboard.press("Enter")


def test_from_the_link_to_the_first_pair_and_to_the_card(open_page: Callable[..., Any]) -> None:
    demo.people()
    first, gated = demo.first_campaign(), demo.gated_campaign()
    qualification = demo.qualification()
    sound = sound_texts()
    office = open_page(demo.person("admin"), viewport={"width": 1366, "height": 768})
    clinic = open_page(viewport={"width": 1366, "height": 768})
    link = invite(office)

    began = time.monotonic()
    clinic.goto(link)
    clinic.locator("[name=username]").fill("khan")
    clinic.locator("[name=password1]").fill(PASSWORD)
    clinic.locator("[name=password2]").fill(PASSWORD)
    clinic.keyboard.press("Enter")
    clinic.wait_for_selector("#consent-form")
    for campaign in (first, gated):
        let_in(office, campaign, "khan")
    assert Membership.objects.filter(user__username="khan").count() == 3

    # Nothing before consent, and nothing before the profile.
    nothing_can_be_rated(clinic, [first, gated, qualification], "me/consent/")
    clinic.locator("#consent-form [name=agree]").check()
    clinic.keyboard.press("Enter")
    clinic.wait_for_selector("#profile-form")
    nothing_can_be_rated(clinic, [first, gated, qualification], "me/profile/")
    clinic.locator("#profile-form [name=specialties]").first.select_option("cardiology")
    clinic.locator("#profile-form [name=profession]").select_option("resident")
    clinic.locator("#profile-form [name=years]").fill("6")
    clinic.locator("#profile-form [name=languages]").fill("English")
    clinic.keyboard.press("Enter")
    clinic.wait_for_url("**/rate/")
    clinic.get_by_text("Qualify first: 8 pairs").wait_for()
    picture(clinic, "queue-before-qualifying")

    # The qualification: each answer is followed by what was expected, and one miss does not fail it.
    clinic.get_by_role("link", name="Qualify for").click()
    clinic.get_by_text("7 of 8 as expected are enough").wait_for()
    picture(clinic, "qualification")
    clinic.get_by_role("button", name="Start").click()
    for number in range(1, PAIRS + 1):
        clinic.wait_for_selector("#compare input[name=verdict]")
        answer(clinic, sound, right=number != 3)
        told = clinic.locator("#feedback-title")
        told.wait_for()
        words = "As expected" if number != 3 else "Another answer was expected"
        assert " ".join(told.inner_text().split()) == f"{words} {number} of 8"
        if number in (2, 3):
            picture(clinic, f"feedback-{number}")
        clinic.get_by_role("button", name="Next", exact=True).click()
    clinic.get_by_role("heading", name="7 of 8 as expected: you may rate").wait_for()
    picture(clinic, "qualified")

    # Straight to the first real pair.
    clinic.get_by_role("button", name="Start").click()
    clinic.wait_for_selector("#compare input[name=verdict]")
    first_pair_after = time.monotonic() - began
    assert first_pair_after < MINUTES * 60, f"{first_pair_after:.0f} s"
    assert Judgement.objects.filter(assignment__campaign=qualification).count() == PAIRS
    assert Assignment.objects.live().filter(campaign=gated, annotator__username="khan").exists()

    # The session ends with a card.
    for number in range(PAIRS):
        before = clinic.url
        answer(clinic, sound)
        if number < PAIRS - 1:
            clinic.wait_for_function("before => location.href !== before", arg=before)
    clinic.wait_for_url("**/rate/sittings/**")
    clinic.get_by_role("heading", name="That was your session").wait_for()
    card = clinic.locator("main").inner_text()
    assert "8\npairs judged" in card
    assert "Nothing is left for you in this campaign" in card
    assert "What happens next" in card
    assert clinic.get_by_role("link", name="Back to the queue").is_visible()
    picture(clinic, "card")
    assert Sitting.objects.get().ended_at is not None
    assert Judgement.objects.filter(assignment__campaign=gated, assignment__annotator=User.objects.get(username="khan")).count() == PAIRS
    clinic.goto("/me/impact/")
    picture(clinic, "impact")
    assert clinic.complaints == []
    assert clinic.strangers == []
