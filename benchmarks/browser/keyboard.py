"""A scripted clinician: signs in and judges with keys alone, seeing what the page shows and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# The answering page's form names the assignment; it changes with every pair.
ADDRESS = "document.querySelector('#compare')?.getAttribute('action')"
# No hand is faster than a page's scripts load and a swapped form settles (htmx takes 20 ms); a program would be.
SETTLED = "() => document.readyState === 'complete' && !document.querySelector('.htmx-request, .htmx-swapping, .htmx-settling')"
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


def start(page: Any) -> None:
    """Press the first campaign's start button on the queue page."""
    page.locator("form[action$='/next/'] button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#compare")


def judge(page: Any, how_many: int, choose: Callable[[str, str, str], str]) -> list[float]:
    """Answer `how_many` pairs; `choose(input, a, b)` gives the key. Returns seconds from the key to the next pair, each."""
    seconds = []
    for _ in range(how_many):
        page.wait_for_function(SETTLED)
        page.wait_for_timeout(GLANCE_MS)
        before = page.evaluate(ADDRESS)
        source = page.locator("#compare .compare-text .prose").nth(1).inner_text()
        left, right = (page.locator("#compare .side .prose").nth(side).inner_text() for side in (0, 1))
        began = time.perf_counter()
        page.keyboard.press(choose(source, left, right))
        page.wait_for_selector("#compare input[name=verdict]:checked", state="attached", timeout=5000)
        page.keyboard.press("Enter")
        page.wait_for_function(f"before => {ADDRESS} !== before", arg=before)
        seconds.append(time.perf_counter() - began)
    return seconds
