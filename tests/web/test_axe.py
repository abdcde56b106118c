"""Pages of the frame, the doors and the desks, examined by axe in light and dark and on a phone; and the switch between the two."""

from typing import Any

import pytest

from accounts import tokens
from accounts.models import User
from tests.looks import faults

pytestmark = pytest.mark.browser


def test_axe_finds_nothing_serious(open_page: Any, ada: User) -> None:
    tokens.create(user=ada, label="script", scopes=["read"], days=7)
    wrong = []
    for user, addresses in (
        (None, ["/accounts/login/"]),
        (ada, ["/me/tokens/", "/audit/", "/users/", "/accounts/password/change/", "/nothing/"]),
    ):
        page = open_page(user)
        for address in addresses:
            page.goto(address)
            wrong += faults(page, address.strip("/").replace("/", "-"))
    assert not wrong, "\n".join(wrong)


def test_what_is_wrong_in_one_view_alone_is_found(open_page: Any, ada: User) -> None:
    """A pale text in the dark, and a broad box on a phone."""
    page = open_page(ada)
    page.goto("/me/tokens/")
    page.evaluate("""() => {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync("@media (prefers-color-scheme: dark) { h1 { color: rgb(40, 45, 50) !important } }"
            + "@media (max-width: 500px) { body { min-width: 600px } }");
        document.adoptedStyleSheets.push(sheet);
    }""")
    found = [fault.split(": <")[0] for fault in faults(page, "made")]
    assert found == ["made dark-1366: color-contrast", "made light-400: it scrolls sideways"]


def test_the_switch_is_remembered(open_page: Any, ada: User) -> None:
    page = open_page(ada, color_scheme="light")
    page.goto("/me/tokens/")
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(paper) == "rgb(245, 247, 249)"
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(paper) == "rgb(18, 23, 29)"
    page.goto("/users/")
    assert page.evaluate(paper) == "rgb(18, 23, 29)"
    assert page.get_by_role("button", name="Dark colours").get_attribute("aria-pressed") == "true"


def test_a_person_signs_in_makes_a_token_and_leaves_by_keyboard_without_javascript(open_page: Any, ada: User) -> None:
    from tests.cast import PASSWORD

    page = open_page(None, java_script_enabled=False)
    page.goto("/accounts/login/?next=/me/tokens/")
    page.get_by_label("User name").focus()
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url.endswith("/me/tokens/") and "login" not in url)
    page.get_by_label("What is it for?").fill("export script")
    page.get_by_label("Read samples, campaigns and snapshots").check()
    page.get_by_role("button", name="Make token").click()
    assert page.locator("#secret").inner_text().startswith("rounds_")
    page.locator("summary", has_text="ada").press("Enter")
    page.get_by_role("button", name="Sign out").press("Enter")
    page.wait_for_url("**/accounts/login/**")


def test_the_first_stop_of_the_tab_key_skips_to_the_content(open_page: Any, ada: User) -> None:
    page = open_page(ada)
    page.goto("/users/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
