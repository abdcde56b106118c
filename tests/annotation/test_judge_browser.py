"""The compare screen in real Chromium, by keyboard alone; and without JavaScript; and how heavy it is."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from annotation.models import Assignment, Campaign, Judgement
from tests.annotation.build import GUIDELINE, campaign
from tests.looks import serious

# Controls of the header and of the bar that lie over their neighbours.
OVERLAPS = """() => [...document.querySelectorAll('.top, .verdict-bar')].flatMap((bar) => {
    const all = [...bar.querySelectorAll('.button, summary, .verdict, .theme-switch, .meter')]
        .filter((one) => one.checkVisibility() && !one.closest('.more-panel, [popover], .menu-panel'));
    const boxes = all.map((one) => [one, one.getBoundingClientRect()]).sort(([, one], [, other]) => one.left - other.left);
    return boxes.slice(1).filter(([, box], nth) => box.left < boxes[nth][1].right - 1).map(([one]) => one.outerHTML.slice(0, 90));
})"""

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

Open = Callable[..., Any]
FIRST_GUIDELINE = Path("annotation/demo/guideline.md")
LONG = " ".join(f"Day {n}: afebrile, troponin normal, walks the corridor with one stick, appetite returning." for n in range(1, 40))


@pytest.fixture
def made(alice: User) -> Campaign:
    return campaign([alice], pairs=8)


def start(page: Any) -> None:
    page.goto("/rate/")
    page.get_by_role("button", name="Start").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/rate/*-*/")
    page.wait_for_load_state("load")


def at(number: int, page: Any) -> None:
    """The pair with this number is on screen, and its page loaded."""
    page.locator(f"#progress[data-number='{number}']").wait_for()
    page.locator("#compare").wait_for()
    # Painted at once or, on a slow machine, come with a page of its own, which answers keys once it is loaded.
    page.wait_for_function("() => document.readyState === 'complete'")


def at_its_top(page: Any) -> None:
    """The reader is put at the top of the pair, not left on a button that went away."""
    page.locator("#pair:focus").wait_for()


def saved(count: int, page: Any) -> None:
    """So many answers are in the database; the page sends them beside what it shows."""
    for _ in range(100):
        if Judgement.objects.current().count() == count:
            return
        page.wait_for_timeout(50)
    assert Judgement.objects.current().count() == count


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
        at(count + 1, page)
        assert page.url not in seen, "each pair has its own address"
        seen.add(page.url)
        at_its_top(page)
        saved(count, page)
    page.locator("#spoken", has_text="Saved. Pair 4 of").wait_for(state="attached")
    assert all(spent is not None for spent in Judgement.objects.values_list("active_ms", flat=True))

    # S, a reason, Enter.
    page.keyboard.press("s")
    page.wait_for_selector("#cannot:popover-open")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    at(5, page)
    saved(4, page)
    assert Judgement.objects.order_by("-pk")[0].cannot_reason == "defective_input"

    # U takes it back: the pair and its answer are there again.
    page.keyboard.press("u")
    at(4, page)
    assert page.locator("input[value='cannot_judge:defective_input']").is_checked()
    at_its_top(page)
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    at(5, page)
    saved(4, page)

    # ? opens the guideline, Escape closes it; digits do nothing meanwhile.
    page.keyboard.press("?")
    assert page.get_by_text(GUIDELINE).is_visible()
    page.keyboard.press("1")
    page.keyboard.press("Escape")
    assert page.locator("input[name=verdict]:checked").count() == 0

    # Enter without a verdict saves nothing.
    page.wait_for_timeout(500)
    page.keyboard.press("Enter")
    page.get_by_text("Choose a verdict first").wait_for()
    assert Judgement.objects.current().count() == 4

    for number in range(6, 9):
        page.keyboard.press("3")
        page.keyboard.press("Enter")
        at(number, page)
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rate/sittings/*/")
    assert Judgement.objects.current().count() == 8
    assert page.complaints == []
    assert page.strangers == []


def test_ten_answers_are_taken_back_and_given_anew(open_page: Open, alice: User) -> None:
    campaign([alice], pairs=12)
    page = open_page(alice)
    page.goto("/rate/")
    page.get_by_label("30 min").check(force=True)
    page.get_by_role("button", name="Start").press("Enter")
    page.wait_for_url("**/rate/*-*/")
    for number in range(2, 12):
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        at(number, page)
    saved(10, page)
    for number in range(10, 0, -1):
        page.keyboard.press("u")
        at(number, page)
        assert page.locator("input[value=a_slightly]").is_checked()
    assert Judgement.objects.current().count() == 0
    # Anew, in the same order; an unread answer is not sent by a key that was held too long.
    for number in range(2, 12):
        page.keyboard.press("4")
        page.keyboard.press("Enter")
        at(number, page)
    saved(10, page)
    assert Judgement.objects.current().count() == 10
    assert Judgement.objects.count() == 20


def test_enter_mashed_and_clicked_twice_counts_once(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    page.keyboard.press("1")
    page.evaluate("() => { const form = document.getElementById('compare'); form.requestSubmit(); form.requestSubmit(); }")
    for _ in range(5):
        page.keyboard.press("Enter")
    at(2, page)
    saved(1, page)
    page.get_by_label("B much better").check()
    page.locator(".verdict-submit").dblclick()
    at(3, page)
    saved(2, page)
    assert Judgement.objects.count() == 2


def test_going_back_in_the_browser_shows_what_stands_and_changes_it_only_on_purpose(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    first = page.url
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    at(2, page)
    saved(1, page)
    page.go_back()
    page.wait_for_url(first)
    page.get_by_text("You have answered this pair.").wait_for()
    assert page.locator("input[value=a_much]").is_checked()
    assert Judgement.objects.count() == 1
    page.keyboard.press("5")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert [one.revision for one in Judgement.objects.order_by("pk")] == [1, 2]
    assert Judgement.objects.current().count() == 1


def test_two_tabs_do_not_fight(open_page: Open, alice: User, made: Campaign) -> None:
    one = open_page(alice)
    start(one)
    other = one.context.new_page()
    other.goto(one.url)
    one.keyboard.press("1")
    one.keyboard.press("Enter")
    at(2, one)
    saved(1, one)
    other.keyboard.press("5")
    other.keyboard.press("Enter")
    other.get_by_text("An answer was not saved").wait_for()
    assert "stands" in other.locator("#refused").inner_text()
    other.get_by_role("link", name="Open that pair").click()
    other.get_by_text("You have answered this pair.").wait_for()
    verdict = Judgement.objects.get().verdict
    assert verdict in {"first_much", "second_much"}
    assert other.locator("input[value=a_much]").is_checked()


def test_pairs_fetched_ahead_go_back_on_leaving(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    for _ in range(100):
        if Assignment.objects.live().count() == 3:
            break
        page.wait_for_timeout(50)
    assert Assignment.objects.live().filter(shown_at__isnull=True).count() == 2
    page.get_by_role("link", name="Queue").click()
    page.wait_for_url("**/rate/")
    for _ in range(100):
        if Assignment.objects.live().count() == 1:
            break
        page.wait_for_timeout(50)
    assert Assignment.objects.live().filter(shown_at__isnull=True).count() == 0


def test_it_works_without_javascript(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice, java_script_enabled=False)
    page.goto("/rate/")
    page.get_by_role("button", name="Start").click()
    page.get_by_label("B much better").check()
    page.locator("#more > summary").click()
    page.get_by_label("Safer").check()
    page.locator("#flag-a").get_by_label("Major").check()
    page.locator("select[name=harm_a_type]").select_option("wrong_dose")
    page.get_by_label("In a few words").fill("Invented a dose.")
    page.get_by_text("Mark an error by quoting it").click()
    page.locator("[name=quote_side]").first.select_option("a")
    page.locator("[name=quote_text]").first.fill("no infarction")
    page.locator("[name=quote_kind]").first.select_option("negation")
    page.locator("[name=quote_severity]").first.select_option("minor")
    page.locator("#edit > summary").click()
    page.locator("#edit").get_by_label("B", exact=True).check()
    page.get_by_label("The text as it should be").fill("Chest pain; infarction ruled out.")
    page.get_by_role("button", name="Submit").click()
    given = Judgement.objects.get()
    assert given.reasons == ["safer"]
    assert {given.harm_first, given.harm_second} == {"", "major"}
    assert given.rationale == "Invented a dose."
    assert given.edit.text == "Chest pain; infarction ruled out."
    span = given.spans.get()
    assert span.completion.text[span.start : span.end] == "no infarction"
    assert span.completion_id != given.edit.completion_id

    page.get_by_role("button", name="Cannot judge").click()
    page.locator("#cannot").get_by_label("Outside my field").check()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Undo").click()
    assert page.locator("#cannot input[value$=outside_field]").is_checked()
    assert Judgement.objects.current().count() == 1
    page.get_by_role("link", name="between A and B").click()
    page.wait_for_url("**/diff/?full=1")
    page.go_back()
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
        # 1366 pixels at 200 % are 683 of a page's own.
        ("light-683", 683, 384, "light"),
        ("light-400", 400, 800, "light"),
        ("dark-400", 400, 800, "dark"),
        # 1280 pixels at 400 %.
        ("light-320", 320, 640, "light"),
    ],
)
def test_it_is_accessible_and_fits(open_page: Open, alice: User, made: Campaign, name: str, width: int, height: int, scheme: str) -> None:
    pair = made.pairs.select_related("first", "second", "prompt__sample").order_by("position")[0]
    for text, length in ((pair.first, 2500), (pair.second, 2200)):
        type(text).objects.filter(pk=text.pk).update(text=LONG[:length])
    page = open_page(alice, viewport={"width": width, "height": height}, color_scheme=scheme)

    def is_fine(state: str) -> None:
        picture(page, f"{state}-{name}")
        assert serious(page) == [], state
        bar = page.locator(".verdict-bar").bounding_box()
        assert bar["height"] <= 64.5, state
        assert bar["y"] + bar["height"] <= height + 1, state
        assert page.evaluate("document.documentElement.scrollWidth") <= width, state
        assert page.evaluate("(one => one.scrollWidth - one.clientWidth)(document.querySelector('.verdict-bar'))") <= 0, state
        assert page.locator(".top").bounding_box()["height"] <= 48.5, state
        assert page.evaluate(OVERLAPS) == [], state

    start(page)
    page.keyboard.press("2")
    is_fine("judge")
    # 32 pixels are ours; at 400 % zoom the 24 of WCAG 2.5.8.
    small = page.evaluate(
        """() => [...document.querySelectorAll('.page-compare :is(button, summary, .verdict, .chip, select, .button)')]
            .filter((one) => one.checkVisibility() && !one.closest('.copy, .menu-panel'))
            .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.height < 31.5 || box.width < (innerWidth < 380 ? 24 : 31.5)))
            .map(([html, box]) => `${html} ${box.width}x${box.height}`)"""
    )
    assert small == []
    page.keyboard.press("Shift+A")
    page.keyboard.press("2")
    is_fine("flag")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("m")
    is_fine("mark")
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("d")
    page.locator("#diff").wait_for()
    is_fine("diff")
    page.keyboard.press("d")
    page.keyboard.press("e")
    is_fine("edit")
    page.keyboard.press("Escape")
    if width >= 1280:
        page.keyboard.press("s")
        picture(page, f"cannot-{name}")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        picture(page, f"guideline-{name}")
        dialog = page.locator("dialog#guideline")
        assert dialog.evaluate("one => one.scrollHeight <= one.clientHeight"), "the guideline and the keys fit one screen"
    assert page.complaints == []
