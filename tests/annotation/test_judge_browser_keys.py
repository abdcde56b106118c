"""Every action of the compare screen by keyboard, and what it leaves in the database; keys exchanged and off; marks in odd texts."""

from typing import Any

import pytest

from accounts.models import User
from annotation import campaigns, keys, rubrics
from annotation.models import Campaign, Completion, Judgement, Pair
from tests.annotation.build import campaign, qualification
from tests.annotation.test_judge_browser import Open, at, picture, saved, start

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

LEFT = "Chest pain since Monday. Troponin was raised twice. Discharged on aspirin 75 mg."
RIGHT = "Chest pain since Monday. Troponin stayed normal twice. Discharged on aspirin 750 mg.\n- Follow-up: none"


@pytest.fixture
def made(alice: User) -> Campaign:
    return campaign([alice], pairs=4)


def texts(made: Campaign, left: str, right: str) -> None:
    """Every pair's texts, whichever side they come to stand on."""
    for pair in made.pairs.all():
        Completion.objects.filter(pk=pair.first_id).update(text=left)
        Completion.objects.filter(pk=pair.second_id).update(text=right)


def side_of(page: Any, text: str) -> str:
    """Which side shows `text`: "a" or "b"."""
    shown = page.locator("#side-a .prose").evaluate("one => one.textContent")
    return "a" if shown == text else "b"


def test_every_action_once_by_keyboard_and_all_of_it_is_stored(open_page: Open, alice: User, made: Campaign) -> None:
    texts(made, LEFT, RIGHT)
    page = open_page(alice, viewport={"width": 1366, "height": 768})
    start(page)
    press = page.keyboard.press
    picture(page, "start")
    left_is = side_of(page, LEFT)
    wrong_is = "b" if left_is == "a" else "a"

    # Find in the input: / types, Enter goes on, Escape comes back.
    press("/")
    page.keyboard.type("chest")
    page.locator("#found", has_text="1 of 1").wait_for()
    assert page.locator(".compare-text .is-found-now").inner_text() == "chest"
    picture(page, "find")
    press("Enter")
    press("Escape")
    assert page.locator(".compare-text .is-found-now").count() == 0

    # The better side: the left text. What it says in keys depends on where it stands.
    press("2" if left_is == "a" else "4")
    picture(page, "chosen")

    # Reasons: digits toggle, three at most, Enter leaves.
    press("r")
    for digit in "1254":
        press(digit)
    page.get_by_text("Three reasons at most").wait_for()
    press("5")
    press("4")
    picture(page, "reasons")
    press("Enter")
    assert page.locator("#more").evaluate("one => one.open") is False

    # Safety of the worse side: severity, then its kind.
    press(f"Shift+{wrong_is.upper()}")
    press("2")
    picture(page, "flag")
    press("3")
    assert page.locator(f"#side-{wrong_is} .side-flag").inner_text() == "Major harm"

    # Differences on and off.
    press("d")
    page.locator("#diff:not([hidden]) del").first.wait_for()
    assert "750" in page.locator("#diff").inner_text()
    picture(page, "diff")
    press("d")
    assert page.locator("#diff").is_hidden()

    # Scrolling together off and on.
    press("y")
    assert page.locator("#sync").get_attribute("aria-pressed") == "false"
    press("y")

    # A sentence in hand, walked to in the worse text: its third.
    for _ in range(3 if wrong_is == "a" else 6):
        press("j")
    press("j")
    press("k")
    assert page.locator(f"#side-{wrong_is} .is-sentence").inner_text() == "Discharged on aspirin 750 mg."
    press("m")
    picture(page, "mark")
    press("2")
    press("3")
    assert page.locator(f"#side-{wrong_is} .is-span").inner_text() == "Discharged on aspirin 750 mg."
    # An omission is a place after what is in hand; and a mark is removed by key.
    press("m")
    press("5")
    press("1")
    assert page.locator(f"#side-{wrong_is} .mark-item").count() == 2
    press("m")
    press("1")
    press("1")
    page.locator(f"#side-{wrong_is} .mark-item").nth(2).focus()
    press("Delete")
    assert page.locator(f"#side-{wrong_is} .mark-item").count() == 2
    picture(page, "spans")

    # Words on why the pair was hard, and the edit of the better text, with its tracked change.
    page.get_by_label("Both are plausible").evaluate("one => one.closest('details').open = true")
    page.get_by_label("Both are plausible").focus()
    press("4")
    page.get_by_label("In a few words").focus()
    page.keyboard.type("A dose ten times too high.")
    press("Escape")
    press("e")
    box = page.get_by_label("The text as it should be")
    assert box.input_value() == LEFT
    press("Control+End")
    page.keyboard.type(" Review in two weeks.")
    page.locator("#tracked ins").first.wait_for()
    assert "Review" in page.locator("#tracked ins").all_inner_texts()[-1] or "weeks" in page.locator("#tracked").inner_text()
    picture(page, "edit")
    press("Escape")

    # More time; the guideline.
    press("x")
    page.locator("#spoken", has_text="You have more time").wait_for(state="attached")
    press("?")
    page.locator("dialog#guideline[open]").wait_for()
    picture(page, "help")
    press("Escape")

    press("Enter")
    at(2, page)
    saved(1, page)
    given = Judgement.objects.get()
    pair = given.assignment.pair
    assert (pair.first.text, pair.second.text) == (LEFT, RIGHT)
    assert given.verdict == "first_slightly"
    assert given.reasons == ["facts", "complete", "reasoning"]
    assert (given.harm_first, given.harm_second, given.harm_second_type) == ("", "major", "wrong_dose")
    assert given.hard == "both_plausible"
    assert given.rationale == "A dose ten times too high."
    marked = [(RIGHT[one.start : one.end], one.start, one.kind, one.severity, one.completion_id) for one in given.spans.order_by("start")]
    sentence = "Discharged on aspirin 750 mg."
    begins = RIGHT.index(sentence)
    assert marked == [
        (sentence, begins, "negation", "life_threatening", pair.second_id),
        ("", begins + len(sentence), "omission", "minor", pair.second_id),
    ]
    assert given.edit.completion_id == pair.first_id
    assert given.edit.text == LEFT + " Review in two weeks."
    # Four words and their full stop.
    assert given.edit.changed_words == 5

    # U brings all of it back.
    press("u")
    at(1, page)
    assert page.locator("[name=reasons]:checked").count() == 3
    assert page.locator(f"#side-{wrong_is} .mark-item").count() == 2
    assert box.input_value() == LEFT + " Review in two weeks."
    assert page.get_by_label("In a few words").input_value() == "A dose ten times too high."

    # S, a reason, Enter.
    page.locator("[data-edit=cancel]").evaluate("one => one.click()")
    press("s")
    press("3")
    press("Enter")
    at(2, page)
    saved(1, page)
    assert Judgement.objects.current().get().cannot_reason == "needs_information"
    assert page.complaints == []


def test_a_verdict_takes_two_keystrokes_and_two_reasons_with_a_flag_eight(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    for number, pressed in enumerate((["0", "Enter"], ["1", "r", "1", "2", "Shift+B", "1", "1", "Enter"]), start=2):
        for key in pressed:
            page.keyboard.press(key)
        at(number, page)
    saved(2, page)
    last = Judgement.objects.order_by("-pk")[0]
    assert len(last.reasons) == 2
    assert {last.harm_first, last.harm_second} == {"", "minor"}
    assert {last.harm_first_type, last.harm_second_type} == {"", "fabrication"}


def test_keys_can_be_exchanged_and_show_what_they_are(open_page: Open, alice: User, made: Campaign) -> None:
    keys.save(user=alice, chosen={**keys.DEFAULTS, "a_much": "q", "undo": "Shift+U", "help": "!"}, off=False)
    page = open_page(alice)
    start(page)
    assert page.locator("[data-key-of=a_much]").first.inner_text() == "Q"
    assert page.locator("[data-key-of=undo]").first.inner_text() == "⇧U"
    page.keyboard.press("1")
    assert page.locator("input[name=verdict]:checked").count() == 0
    page.keyboard.press("q")
    assert page.locator("input[value=a_much]").is_checked()
    page.keyboard.press("Enter")
    at(2, page)
    saved(1, page)
    page.keyboard.press("u")
    page.wait_for_timeout(300)
    assert Judgement.objects.current().count() == 1
    page.keyboard.press("Shift+U")
    at(1, page)
    assert Judgement.objects.current().count() == 0


def test_single_keys_can_be_switched_off_and_everything_is_reached_by_tab(open_page: Open, alice: User, made: Campaign) -> None:
    keys.save(user=alice, chosen=keys.DEFAULTS, off=True)
    page = open_page(alice)
    start(page)
    for key in ("1", "s", "r", "d", "?", "u", "j", "m", "e", "/"):
        page.keyboard.press(key)
    assert page.locator("input[name=verdict]:checked").count() == 0
    assert page.locator("#more").evaluate("one => one.open") is False
    assert page.locator("dialog#guideline").is_hidden()
    assert page.evaluate("document.activeElement.id") != "find"
    # Tab to the verdicts, arrows choose, Enter sends: what any form does.
    page.locator("input[value=a_much]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("input[value=a_slightly]").is_checked()
    page.keyboard.press("Enter")
    at(2, page)
    saved(1, page)


def test_tab_goes_through_the_whole_page_and_out_again(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    page.keyboard.press("r")
    page.locator("#pair").focus()
    seen = []
    for _ in range(80):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("(one => one.id || one.name || one.className || one.tagName)(document.activeElement)"))
        if "BODY" in seen[-1] or seen[-1].startswith("skip"):
            break
    else:
        pytest.fail(f"the focus never left the page: {seen}")
    for stop in ("side-a", "side-b", "verdict", "reasons", "harm_a", "harm_b", "rationale"):
        assert stop in seen, seen
    hidden = page.evaluate(
        """() => { const bar = document.querySelector('.answer').getBoundingClientRect(); const one = document.getElementById('side-b');
                   one.focus(); return one.getBoundingClientRect().top > bar.top; }"""
    )
    assert hidden is False


def test_words_are_asked_for_only_where_the_protocol_says(open_page: Open, alice: User) -> None:
    made = campaign([alice], pairs=3, opened=False)
    Campaign.objects.filter(pk=made.pk).update(rationale_when=["both_unacceptable"])
    made.refresh_from_db()
    campaigns.open(campaign=made, actor=None)
    page = open_page(alice)
    start(page)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    at(2, page)
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    page.get_by_text("This campaign asks for a few words here").wait_for()
    assert page.evaluate("document.activeElement.name") == "rationale"
    page.keyboard.type("Both name a drug that was never given.")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    at(3, page)
    saved(2, page)
    assert Judgement.objects.get(verdict="both_unacceptable").rationale == "Both name a drug that was never given."


def test_the_scales_of_a_rubric_stand_ready_and_are_stored_by_completion(open_page: Open, alice: User) -> None:
    made = campaign([alice], pairs=2, opened=False)
    Campaign.objects.filter(pk=made.pk).update(rubric=rubrics.template("T2"))
    made.refresh_from_db()
    campaigns.open(campaign=made, actor=None)
    texts(made, LEFT, RIGHT)
    page = open_page(alice, viewport={"width": 1366, "height": 768})
    start(page)
    left_is = side_of(page, LEFT)
    assert page.locator("#more").evaluate("one => one.open") is True
    picture(page, "scales")
    page.locator("[name=axis-correctness][value='2']").check()
    page.locator("[name=axis-harm_extent-a][value='3']").check()
    page.locator("#pair").focus()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.get_by_text("takes a value for each side, or none for both").wait_for()
    page.locator("[name=axis-harm_extent-b][value='1']").check()
    page.locator("#pair").focus()
    page.keyboard.press("Enter")
    at(2, page)
    saved(1, page)
    stored = Judgement.objects.get().axes
    assert stored["correctness"] == (2 if left_is == "a" else -2)
    assert stored["harm_extent"] == ({"first": 3, "second": 1} if left_is == "a" else {"first": 1, "second": 3})


def test_a_json_pair_says_whether_each_side_is_valid_and_where_they_differ(open_page: Open, alice: User) -> None:
    made = campaign([alice], pairs=2, opened=False)
    Campaign.objects.filter(pk=made.pk).update(rubric=rubrics.template("T10"))
    made.refresh_from_db()
    campaigns.open(campaign=made, actor=None)
    good, other = '{"drug": "aspirin", "dose_mg": 75}', '{"drug": "aspirin", "dose_mg": 750}'
    texts(made, good, other)
    last = made.pairs.order_by("position").last()
    assert isinstance(last, Pair)
    Completion.objects.filter(pk=last.second_id).update(text='{"drug": "aspirin", }')
    page = open_page(alice, viewport={"width": 1366, "height": 768})
    start(page)
    for _ in range(2):
        badges = page.locator(".side-head .badge:not(.side-flag)").all_inner_texts()
        why = page.locator(".side-why").all_inner_texts()
        page.keyboard.press("d")
        page.locator("#diff").wait_for()
        if badges == ["valid JSON", "valid JSON"]:
            assert "dose_mg" in page.locator("#diff table").inner_text()
            picture(page, "json")
        else:
            assert sorted(badges) == ["not valid JSON", "valid JSON"]
            assert "line 1" in why[0]
        page.keyboard.press("d")
        page.keyboard.press("3")
        page.keyboard.press("Enter")
        page.wait_for_timeout(700)
    saved(2, page)


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        # Code points beyond 16 bits, line ends of Windows, an invisible character shown as its code: offsets stay those of the stored text.
        ("Fever 🌡️ 39 °C.\r\nPulse 120.\r\nSent home.", "Sent home."),
        ("Warfarin\u200b stopped. INR 9.1 today.", "INR 9.1 today."),
        ("Dosis erhöht. Übelkeit 𝛼-Blocker. Ende.", "Übelkeit 𝛼-Blocker."),
    ],
)
def test_marks_are_places_in_the_stored_text(open_page: Open, alice: User, made: Campaign, text: str, marked: str) -> None:
    texts(made, text, "Nothing.")
    page = open_page(alice)
    start(page)
    page.keyboard.press("1" if page.locator("#side-b .prose").inner_text() == "Nothing." else "5")
    for _ in range(12):
        page.keyboard.press("j")
        if page.locator(".is-sentence").evaluate("one => one.textContent") == marked:
            break
    page.keyboard.press("m")
    page.keyboard.press("1")
    page.keyboard.press("1")
    assert page.locator(".is-span").evaluate_all("all => all.map(one => one.textContent).join('')") == marked
    page.keyboard.press("e")
    edited = page.get_by_label("The text as it should be")
    assert edited.input_value() == text.replace("\r\n", "\n")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    at(2, page)
    saved(1, page)
    given = Judgement.objects.get()
    span = given.spans.get()
    assert text[span.start : span.end] == marked
    assert not hasattr(given, "edit"), "an edit that changes nothing is none"
    page.keyboard.press("u")
    at(1, page)
    assert page.locator(".is-span").evaluate_all("all => all.map(one => one.textContent).join('')") == marked


def test_a_mark_is_made_with_the_mouse_too(open_page: Open, alice: User, made: Campaign) -> None:
    texts(made, LEFT, RIGHT)
    page = open_page(alice, viewport={"width": 1366, "height": 768})
    start(page)
    page.evaluate(
        """() => { const text = document.querySelector('#side-a .prose').firstChild;
                   getSelection().setBaseAndExtent(text, 0, text, 10); }"""
    )
    page.locator("#side-a [data-mark]").click()
    page.get_by_role("button", name="Made up").click()
    page.get_by_role("button", name="Major").click()
    assert page.locator("#side-a .is-span").inner_text() == "Chest pain"
    page.get_by_role("button", name="Remove mark 1").click()
    assert page.locator("#side-a .is-span").count() == 0


def test_a_and_b_scroll_together_until_told_otherwise(open_page: Open, alice: User, made: Campaign) -> None:
    texts(made, "One line of the longer text.\n" * 120, "One line.\n" * 60)
    page = open_page(alice, viewport={"width": 1366, "height": 768})
    start(page)
    page.locator("#side-a").evaluate("one => { one.scrollTop = (one.scrollHeight - one.clientHeight) / 2; }")
    page.wait_for_timeout(250)
    share = "one => one.scrollTop / (one.scrollHeight - one.clientHeight)"
    assert abs(page.locator("#side-b").evaluate(share) - 0.5) < 0.02
    page.keyboard.press("y")
    page.locator("#side-a").evaluate("one => { one.scrollTop = 0; }")
    page.wait_for_timeout(250)
    assert abs(page.locator("#side-b").evaluate(share) - 0.5) < 0.02


def test_a_qualification_says_what_was_expected_before_the_next_pair(open_page: Open, alice: User) -> None:
    made = qualification([alice], pairs=3)
    page = open_page(alice, viewport={"width": 1366, "height": 768})
    page.goto(f"/rate/campaigns/{made.public_id}/qualification/")
    page.get_by_role("button", name="Start").press("Enter")
    page.wait_for_url("**/rate/*-*/")
    page.wait_for_load_state("load")
    first = page.url
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Another answer was expected").wait_for()
    assert "You said: Both unacceptable. Expected: " in page.locator(".feedback").inner_text()
    assert page.url == first, "what was expected is told beside the pair it is about"
    assert page.locator(".verdict-bar").count() == 0
    picture(page, "feedback")
    page.wait_for_load_state("load")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != first)
    page.locator(".verdict-bar").wait_for()
    assert Judgement.objects.count() == 1
    assert page.complaints == []
