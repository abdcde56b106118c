"""The compare screen in real Chromium, by keyboard alone; and without JavaScript; and how heavy it is."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from annotation.forms import GUIDELINE as FIRST_GUIDELINE
from annotation.models import Campaign, Judgement
from tests.annotation.build import GUIDELINE, campaign

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

Open = Callable[..., Any]
LONG = " ".join(f"Day {n}: afebrile, troponin normal, walks the corridor with one stick, appetite returning." for n in range(1, 40))


@pytest.fixture
def made(alice: User) -> Campaign:
    return campaign([alice], pairs=8)


def start(page: Any) -> None:
    page.goto("/rate/")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Start").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/rate/*-*/")


def answered(count: int, page: Any) -> None:
    page.locator("#progress").get_by_text(f"{count + 1} of").wait_for()


def picture(page: Any, name: str) -> None:
    """Kept where ROUNDS_SCREENSHOTS says, for eyes."""
    if folder := os.environ.get("ROUNDS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_a_clinician_judges_by_keyboard_alone(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice, viewport={"width": 1366, "height": 768})
    start(page)
    seen = {page.url}

    for count, key in enumerate("150", start=1):
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        answered(count, page)
        assert page.url not in seen, "each pair has its own address"
        seen.add(page.url)
        # The reader is put at the top of the new pair, not left on a button that went away.
        assert page.evaluate("document.activeElement.id") == "pair"
    assert Judgement.objects.count() == 3
    assert all(spent is not None for spent in Judgement.objects.values_list("active_ms", flat=True))

    # S, a reason, Enter.
    page.keyboard.press("s")
    page.wait_for_selector("#cannot:popover-open")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    answered(4, page)
    assert Judgement.objects.order_by("-pk")[0].cannot_reason == "defective_input"

    # U takes it back: the pair and its answer are there again.
    page.keyboard.press("u")
    answered(3, page)
    assert page.locator("input[value='cannot_judge:defective_input']").is_checked()
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    answered(4, page)
    assert Judgement.objects.current().count() == 4

    # ? opens the guideline, Escape closes it; digits do nothing meanwhile.
    page.keyboard.press("?")
    assert page.get_by_text(GUIDELINE).is_visible()
    page.keyboard.press("1")
    page.keyboard.press("Escape")
    assert page.locator("input[name=verdict]:checked").count() == 0

    # Enter without a verdict saves nothing.
    page.keyboard.press("Enter")
    page.get_by_text("Choose a verdict first").wait_for()
    assert Judgement.objects.current().count() == 4

    for count in range(5, 8):
        page.keyboard.press("3")
        page.keyboard.press("Enter")
        answered(count, page)
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rate/")
    assert page.get_by_text("You have judged all 8 pairs").is_visible()
    assert Judgement.objects.current().count() == 8
    assert page.complaints == []
    assert page.strangers == []


def test_single_keys_can_be_switched_off(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    page.keyboard.press("?")
    page.get_by_label("Single keys give answers").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    assert page.locator("input[name=verdict]:checked").count() == 0
    page.reload()
    page.keyboard.press("1")
    assert page.locator("input[name=verdict]:checked").count() == 0


def test_a_double_enter_counts_once(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    page.keyboard.press("1")
    page.evaluate("() => { const form = document.getElementById('compare'); form.requestSubmit(); form.requestSubmit(); }")
    answered(1, page)
    assert Judgement.objects.count() == 1


def test_a_lost_session_keeps_the_choice_on_the_screen(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    page.keyboard.press("2")
    page.context.clear_cookies(name="sessionid")
    page.keyboard.press("Enter")
    page.get_by_text("You were signed out; your answer was not saved yet.").wait_for()
    assert page.locator("input[value=a_slightly]").is_checked()
    assert Judgement.objects.count() == 0
    # Signed in again in another tab of the same browser.
    other = page.context.new_page()
    other.goto("/accounts/login/")
    other.get_by_label("User name").fill("alice")
    other.locator("input[type=password]").fill("a-long-enough-passphrase")
    other.keyboard.press("Enter")
    other.wait_for_url("**/rate/")
    other.close()
    page.keyboard.press("Enter")
    answered(1, page)
    assert Judgement.objects.count() == 1


def test_a_lost_connection_keeps_the_choice_and_sends_it_once_again(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    page.keyboard.press("5")
    page.context.set_offline(True)
    page.keyboard.press("Enter")
    page.get_by_text("your answer is not saved").wait_for()
    page.context.set_offline(False)
    page.keyboard.press("Enter")
    answered(1, page)
    assert Judgement.objects.count() == 1


def test_it_works_without_javascript(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice, java_script_enabled=False)
    page.goto("/rate/")
    page.get_by_role("button", name="Start").click()
    page.get_by_label("B much better").check()
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="Cannot judge").click()
    page.get_by_label("Outside my field").check()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Undo").click()
    assert page.get_by_label("Outside my field").is_checked()
    assert Judgement.objects.current().count() == 1
    page.locator(".verdict-help").click()
    assert Judgement.objects.filter(verdict__endswith="_much").count() == 1


def test_the_page_weighs_little_and_asks_nobody_else(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    bodies: list[bytes] = []
    page.on("response", lambda response: bodies.append(response.body()) if response.status == 200 else None)
    start(page)
    page.wait_for_load_state("networkidle")
    bodies.clear()
    page.reload()
    page.wait_for_load_state("networkidle")
    weight = sum(len(gzip.compress(body)) for body in bodies)
    assert len(bodies) >= 5
    assert weight <= 150_000, weight
    assert page.strangers == []
    assert page.complaints == []


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [
        ("light-1366", 1366, 768, "light"),
        ("dark-1366", 1366, 768, "dark"),
        ("light-1000", 1000, 700, "light"),
        ("light-400", 400, 800, "light"),
        ("dark-400", 400, 800, "dark"),
    ],
)
def test_it_is_accessible_and_fits(open_page: Open, alice: User, made: Campaign, name: str, width: int, height: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    pair = made.pairs.select_related("first", "second", "prompt__sample").order_by("position")[0]
    for text, length in ((pair.first, 2500), (pair.second, 2200)):
        type(text).objects.filter(pk=text.pk).update(text=LONG[:length])
    Campaign.objects.filter(pk=made.pk).update(guideline=FIRST_GUIDELINE.read_text(encoding="utf-8"))
    page = open_page(alice, viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto("/rate/")
    picture(page, f"queue-{name}")
    start(page)
    page.keyboard.press("2")
    found = Axe().run(page)
    serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in found.response["violations"] if v["impact"] in {"serious", "critical"}]
    assert serious == []
    bar = page.locator(".verdict-bar").bounding_box()
    assert bar["height"] <= 64.5
    assert bar["y"] + bar["height"] <= height + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".top").bounding_box()["height"] <= 48.5
    picture(page, f"judge-{name}")
    if width >= 1280:
        page.keyboard.press("s")
        picture(page, f"cannot-{name}")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        picture(page, f"guideline-{name}")
        dialog = page.locator("dialog#guideline")
        assert dialog.evaluate("one => one.scrollHeight <= one.clientHeight"), "the guideline fits one screen"
    assert page.complaints == []
