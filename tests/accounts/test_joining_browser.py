"""Joining in real Chromium: from the link to the queue by keyboard, and without JavaScript; every page examined by axe and looked at."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache

from accounts import consents, invitations
from accounts.models import Consent, Invitation, Profile, User
from tests.accounts.test_invitations import invited, run_out
from tests.annotation.build import campaign
from tests.cast import PASSWORD, person
from tests.looks import faults

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

Open = Callable[..., Any]


@pytest.fixture(autouse=True)
def nobody_has_guessed() -> None:
    cache.clear()


def consent_by_keyboard(page: Any) -> None:
    page.wait_for_selector("#consent-form")
    assert page.evaluate("scrollY") == 0, "the text is read from its beginning"
    for _ in range(9):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "agree":
            break
    page.keyboard.press("Space")
    page.keyboard.press("Enter")


def profile_by_keyboard(page: Any) -> None:
    page.wait_for_selector("#profile-form")
    page.locator("#profile-form [name=specialties]").first.focus()
    page.keyboard.type("Card")
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.type("Phys")
    page.keyboard.press("Tab")
    page.keyboard.type("6")
    page.keyboard.press("Tab")
    page.keyboard.type("English, German")
    page.keyboard.press("Enter")


def test_from_the_link_to_the_queue_by_keyboard_alone(open_page: Open, ada: User) -> None:
    _, secret = invited(actor=ada)
    page = open_page(viewport={"width": 1366, "height": 768})
    page.goto(f"/join/{secret}/")
    assert secret not in page.url
    page.keyboard.press("Tab")
    page.locator("[name=username]").focus()
    page.keyboard.type("khan")
    for _ in range(2):
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    began = time.monotonic()
    consent_by_keyboard(page)
    profile_by_keyboard(page)
    page.wait_for_url("**/rate/")
    assert time.monotonic() - began < 20
    khan = User.objects.get(username="khan")
    assert consents.given(khan)
    said = Profile.objects.get(user=khan)
    assert (said.specialties, said.profession, said.years, said.languages) == (["cardiology"], "resident", 6, ["English", "German"])
    assert page.complaints == []
    assert page.strangers == []


def test_it_works_without_javascript_and_a_mistake_loses_nothing(open_page: Open, ada: User) -> None:
    _, secret = invited(actor=ada)
    page = open_page(java_script_enabled=False)
    page.goto(f"/join/{secret}/")
    page.get_by_label("Username").fill("khan")
    page.get_by_label("Passphrase", exact=True).fill("short")
    page.get_by_label("Passphrase again").fill("short")
    page.get_by_role("button", name="Make my account").click()
    assert page.get_by_text("This password is too short").is_visible()
    assert page.get_by_label("Username").input_value() == "khan"
    page.get_by_label("Passphrase", exact=True).fill(PASSWORD)
    page.get_by_label("Passphrase again").fill(PASSWORD)
    page.get_by_role("button", name="Make my account").click()
    page.get_by_role("button", name="Agree and go on").click()
    assert page.get_by_text("Tick the box if you agree.").is_visible()
    page.get_by_label("I have read this").check()
    page.get_by_role("button", name="Agree and go on").click()
    page.get_by_label("Main field").select_option("Paediatrics")
    page.get_by_label("Second field").select_option("Nursing")
    page.get_by_label("Years in clinical practice").fill("99")
    page.get_by_label("Languages").fill("Dutch")
    page.get_by_role("button", name="Save and go on").click()
    assert page.get_by_text("Ensure this value is less than or equal to 70.").is_visible()
    assert page.get_by_label("Second field").input_value() == "nursing"
    page.get_by_label("Profession").select_option("Nurse")
    page.get_by_label("Years in clinical practice").fill("9")
    page.get_by_role("button", name="Save and go on").click()
    page.wait_for_url("**/rate/")
    assert Profile.objects.get(user__username="khan").specialties == ["paediatrics", "nursing"]


def test_signing_out_leaves_nothing_in_the_browser(open_page: Open, alice: User) -> None:
    page = open_page(alice)
    page.goto("/me/profile/")
    page.evaluate("() => { localStorage.setItem('a', '1'); sessionStorage.setItem('b', '2'); }")
    page.locator("summary", has_text="alice").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/accounts/login/**")
    page.wait_for_load_state("load")
    page.wait_for_timeout(100)
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0


@pytest.fixture
def busy(alice: User, ada: User, sam: User) -> dict[str, str]:
    """People and invitations in every state. Returns the secrets of links by state."""
    campaign([alice], pairs=1)
    person("newcomer", "annotator", consents=False)
    person("frank", "annotator", is_active=False)
    person("rater-1", "annotator", simulated=True, consents=False)
    secrets: dict[str, str] = {}
    for state in ("open", "used", "revoked", "expired", "asked"):
        made, secrets[state] = invited(name=f"Dr. {state.title()} Name-With-A-Long-Tail", actor=ada)
        if state == "used":
            invitations.accept(invitation=made, username="joined", password=PASSWORD)
        if state == "revoked":
            invitations.revoke(invitation=made, actor=ada)
        if state in ("expired", "asked"):
            run_out(made)
        if state == "asked":
            invitations.ask_renewal(invitation=made)
    return secrets


def test_every_page_is_accessible_and_fits(open_page: Open, alice: User, ada: User, sam: User, busy: dict[str, str]) -> None:
    newcomer = User.objects.get(username="newcomer")
    bare = User.objects.get(username="joined")
    # Not looked at: an account that is only there to be listed.
    Consent.objects.create(user=bare, text=consents.current())
    visits = [
        *[(None, f"join-{state}", f"/join/{secret}/") for state, secret in busy.items()],
        (None, "join-unknown", "/join/nothing/"),
        (None, "password-closed", "/password/1.nothing/"),
        (None, "sign-in", "/accounts/login/?next=/rate/"),
        (newcomer, "consent", "/me/consent/?next=/rate/"),
        (newcomer, "profile-empty", "/me/profile/?next=/rate/"),
        (alice, "consent-given", "/me/consent/"),
        (alice, "profile", "/me/profile/"),
        (alice, "withdraw", "/me/consent/withdraw/"),
        (newcomer, "withdraw-nothing", "/me/consent/withdraw/"),
        (ada, "people", "/users/"),
        (ada, "people-none", "/users/?q=zzz"),
        (ada, "person", f"/users/{alice.pk}/"),
        (ada, "person-disabled", f"/users/{User.objects.get(username='frank').pk}/"),
        (ada, "person-self", f"/users/{ada.pk}/"),
        (ada, "invitations", "/invitations/"),
        (ada, "invitations-none", "/invitations/?state=open&page=1"),
        (ada, "invite", "/invitations/new/"),
        (sam, "consent-texts", "/consent-texts/"),
    ]
    wrong = []
    pages: dict[Any, Any] = {}

    def look(page: Any, name: str) -> None:
        wrong.extend(faults(page, name))
        wrong.extend(f"{name}: {line}" for line in page.complaints if "status of 4" not in line)
        page.complaints.clear()

    for user, name, address in visits:
        page = pages[user] = pages.get(user) or open_page(user)
        page.goto(address)
        look(page, name)

    # Mistakes, and the pages that a form answers with.
    page = pages[None]
    page.goto(f"/join/{busy['open']}/")
    page.get_by_role("button", name="Make my account").click()
    look(page, "join-mistake")
    page = pages[newcomer]
    page.goto("/me/consent/")
    page.get_by_role("button", name="Agree and go on").click()
    look(page, "consent-mistake")
    page.goto("/me/profile/")
    page.get_by_role("button", name="Save").click()
    look(page, "profile-mistake")
    page = pages[ada]
    page.goto("/invitations/new/")
    page.get_by_role("button", name="Make the link").click()
    look(page, "invite-mistake")
    page.get_by_label("Whom do you invite?").fill("Dr. Amina Khan")
    page.get_by_label("What for?").fill("To compare discharge letters; the texts are made up.")
    page.get_by_role("button", name="Make the link").click()
    look(page, "invite-made")
    page.goto(f"/users/{alice.pk}/")
    page.get_by_role("button", name="Make a passphrase link").click()
    link = page.locator("#link").inner_text()
    look(page, "person-link")
    page = pages[None]
    page.goto(link)
    look(page, "password-new")
    page = pages[sam]
    page.goto("/consent-texts/")
    page.locator("#next summary").click()
    page.get_by_role("button", name="Look at it first").click()
    look(page, "consent-texts-preview")
    page.goto("/rate/")
    assert not wrong, "\n".join(wrong)
    assert Invitation.objects.filter(name="Dr. Amina Khan").exists()
