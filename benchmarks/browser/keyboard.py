"""A scripted clinician: joins, signs in and judges with keys alone, seeing what the page shows and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Error

# The answering page's form names the assignment; it changes with every pair.
ADDRESS = "document.querySelector('#compare')?.getAttribute('action')"
# No hand is faster than a page's scripts load; a program would be.
SETTLED = "() => document.readyState === 'complete'"
GLANCE_MS = 60


def sign_in(page: Any, username: str, password: str) -> None:
    """From the sign-in page to wherever this person starts."""
    page.goto("/accounts/login/")
    page.locator("[name=login]").focus()
    page.keyboard.type(username)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda address: "/accounts/login/" not in address)


def join(page: Any) -> None:
    """Agree and fill in the profile where the page asks for it; does nothing on any other page."""
    if page.locator("#consent-form").count():
        page.locator("#consent-form [name=agree]").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        page.wait_for_function("() => !document.querySelector('#consent-form')")
    if page.locator("#profile-form").count():
        page.locator("#profile-form [name=specialties]").first.select_option("cardiology")
        page.locator("#profile-form [name=profession]").select_option("specialist")
        page.locator("#profile-form [name=years]").fill("9")
        page.locator("#profile-form [name=languages]").fill("English")
        page.keyboard.press("Enter")
        page.wait_for_function("() => !document.querySelector('#profile-form')")


def start(page: Any) -> None:
    """Press the first campaign's start button on the queue page; join first where that is asked for."""
    for _ in range(2):
        if page.locator("form[action$='/next/'] button").count() == 0:
            page.goto("/rate/")
        page.locator("form[action$='/next/'] button").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#compare, #consent-form, #profile-form")
        join(page)
        page.wait_for_load_state("load")
        if page.locator("#compare").count():
            return
    page.wait_for_selector("#compare")


def judge(page: Any, how_many: int, choose: Callable[[str, str, str], str]) -> list[float]:
    """Answer `how_many` pairs; `choose(input, a, b)` gives the key. Returns seconds from the key to the next pair, each.

    A session that ends on the way is followed by the next one; its card is no pair and is not timed. All answers are saved on return.
    """
    seconds = []
    for number in range(1, how_many + 1):
        page.wait_for_function(SETTLED)
        page.wait_for_timeout(GLANCE_MS)
        before = page.evaluate(ADDRESS)
        source = page.locator("#compare .compare-text .prose").nth(1).inner_text()
        left, right = (page.locator("#compare .side .prose").nth(side).inner_text() for side in (0, 1))
        began = time.perf_counter()
        page.keyboard.press(choose(source, left, right))
        page.wait_for_selector("#compare input[name=verdict]:checked", state="attached", timeout=5000)
        page.keyboard.press("Enter")
        over = go_on(page, before)
        seconds.append(time.perf_counter() - began)
        if over and number < how_many:
            page.goto("/rate/")
            start(page)
    wait_until_saved(page)
    return seconds


def go_on(page: Any, before: str) -> bool:
    """Wait for the pair after `before`; True when the session was over or nothing was left instead."""
    page.wait_for_function(
        f"before => {{ const now = {ADDRESS}; return (now && now !== before) || !document.body.classList.contains('page-compare'); }}",
        arg=before,
    )
    # The last pair of a session may give way to the card a moment after it was painted, and just while it is looked at.
    for _ in range(5):
        try:
            return bool(page.evaluate("() => !document.body.classList.contains('page-compare')"))
        except Error as left:
            if "context was destroyed" not in left.message:
                raise
            page.wait_for_load_state()
    raise AssertionError("the page never came to rest")


def wait_until_saved(page: Any) -> None:
    """Answers go to the server beside what is shown: wait until it has them all."""
    page.wait_for_function(
        "() => !document.body.classList.contains('page-compare') || document.documentElement.dataset.unsent === '0'", timeout=60_000
    )
