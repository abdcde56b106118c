"""Nothing is lost: drafts, lost sessions, cut networks, a killed web server, a lease that runs out; and nothing stays in the browser."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from accounts.models import User
from annotation.answers import seen_from
from annotation.models import Assignment, Campaign, Draft, Judgement
from tests import workers
from tests.annotation.build import campaign
from tests.annotation.test_judge_browser import Open, at, picture, saved, start
from tests.cast import PASSWORD
from tests.workers import PROJECT, wait_until

ASKS_BEFORE_LEAVING = """() => {
    const event = new Event('beforeunload', { cancelable: true });
    dispatchEvent(event);
    return event.defaultPrevented;
}"""

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


@pytest.fixture
def made(alice: User) -> Campaign:
    return campaign([alice], pairs=10)


def sign_in_elsewhere(page: Any) -> None:
    """Signed in again in another tab of the same browser."""
    other = page.context.new_page()
    other.goto("/accounts/login/")
    other.get_by_label("User name").fill("alice")
    other.locator("input[type=password]").fill(PASSWORD)
    other.keyboard.press("Enter")
    other.wait_for_url("**/rate/")
    other.close()


def ahead(page: Any, count: int) -> None:
    """Wait until so many pairs are fetched ahead."""
    for _ in range(100):
        if Assignment.objects.live().filter(shown_at__isnull=True).count() == count:
            page.wait_for_timeout(100)
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not {count} pairs ahead")


def test_a_draft_survives_a_reload_and_another_day(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    page.keyboard.press("2")
    page.keyboard.press("r")
    page.keyboard.press("1")
    page.get_by_label("In a few words").fill("B forgot the potassium.")
    page.locator("#saved", has_text="Kept").wait_for(state="attached")
    page.wait_for_timeout(800)
    assert Draft.objects.get().answer["rationale"] == "B forgot the potassium."
    page.reload()
    assert page.locator("input[value=a_slightly]").is_checked()
    assert page.get_by_label("In a few words").input_value() == "B forgot the potassium."
    assert page.locator("[name=reasons]:checked").count() == 1
    # Changed and left in the same moment: the beacon brings it.
    page.get_by_label("In a few words").evaluate(
        "one => { one.value = 'At the last moment.'; one.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    page.goto("/rate/")
    wait_until(lambda: Draft.objects.get().answer["rationale"] == "At the last moment.", seconds=5, why="the beacon's draft")
    assert Judgement.objects.count() == 0
    page.get_by_role("button", name="Start").press("Enter")
    page.wait_for_url("**/rate/*-*/")
    assert page.get_by_label("In a few words").input_value() == "At the last moment."
    page.locator("#pair").focus()
    page.wait_for_timeout(500)
    page.keyboard.press("Enter")
    at(2, page)
    saved(1, page)
    assert Judgement.objects.get().rationale == "At the last moment."
    assert not Draft.objects.exists()


def test_a_lost_session_loses_no_answer(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    ahead(page, 2)
    page.keyboard.press("2")
    page.wait_for_timeout(100)
    page.context.clear_cookies(name="sessionid")
    page.keyboard.press("Enter")
    page.get_by_text("1 answer not saved yet. You were signed out.").wait_for()
    picture(page, "signed-out")
    # The next pair is there already, and may be judged meanwhile.
    page.keyboard.press("5")
    page.keyboard.press("Enter")
    page.get_by_text("2 answers not saved yet.").wait_for()
    assert Judgement.objects.count() == 0
    sign_in_elsewhere(page)
    page.bring_to_front()
    saved(2, page)
    assert {one.assignment.annotator_id for one in Judgement.objects.all()} == {alice.pk}


def test_a_draft_survives_a_lost_session(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    page.wait_for_timeout(500)
    page.context.clear_cookies(name="sessionid")
    page.keyboard.press("4")
    page.get_by_text("You were signed out. Nothing is lost").wait_for()
    sign_in_elsewhere(page)
    wait_until(lambda: Draft.objects.filter(answer__verdict="b_slightly").exists(), seconds=15, why="the draft is kept after signing in")


def test_a_cut_network_is_waited_for_and_nothing_is_lost_or_doubled(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    ahead(page, 2)
    addresses = []
    page.context.set_offline(True)
    for key in "135":
        addresses.append(page.locator("#compare").get_attribute("action"))
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.wait_for_timeout(100)
    # Three are held at most: the screen waits and says so.
    page.get_by_text("3 answers not saved yet.").wait_for()
    page.get_by_text("The next pair comes once 3 answers are saved.").wait_for()
    picture(page, "offline")
    assert Judgement.objects.count() == 0
    # Leaving now would lose them: the browser asks.
    assert page.evaluate(ASKS_BEFORE_LEAVING) is True
    page.context.set_offline(False)
    saved(3, page)
    at(4, page)
    pressed = dict(zip((str(one).split("/")[2] for one in addresses), ("a_much", "both_acceptable", "b_much"), strict=True))
    assert {str(one.assignment.public_id): seen_from(one.assignment, one.verdict).value for one in Judgement.objects.all()} == pressed
    page.wait_for_function("() => document.documentElement.dataset.unsent === '0'")
    assert page.evaluate(ASKS_BEFORE_LEAVING) is False


class Server:
    """The web server as a process of its own over the test's database; `kill` is what a power cut does."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.address = f"http://localhost:{self.port}"
        self.log = folder / "web.log"
        self.environment = {
            **os.environ, "DATABASE_URL": workers.test_database_url(), "ROUNDS_DATA_DIR": str(folder),
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
        }  # fmt: skip
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "gunicorn", "config.wsgi", "-k", "gthread", "--threads", "4", "-b", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(command, cwd=PROJECT, env=self.environment, stdout=log, stderr=log, start_new_session=True)

        def answers() -> bool:
            try:
                urllib.request.urlopen(f"{self.address}/accounts/login/", timeout=2).close()
            except OSError:
                return False
            return True

        wait_until(answers, seconds=40, why="the web server answers")

    def kill(self) -> None:
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(timeout=20)


@pytest.fixture
def server(transactional_db: None, tmp_path: Path) -> Iterator[Server]:
    # The web server gives out what was collected.
    call_command("collectstatic", interactive=False, verbosity=0)
    one = Server(tmp_path)
    yield one
    one.kill()


def test_a_killed_web_server_loses_and_doubles_nothing(open_page: Open, server: Server, alice: User, made: Campaign) -> None:
    page = open_page(alice, base_url=server.address)
    start(page)
    for number, key in enumerate("15", start=2):
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        at(number, page)
    saved(2, page)
    page.wait_for_timeout(300)
    server.kill()
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.get_by_text("1 answer not saved yet.").wait_for()
    server.start()
    saved(3, page)
    page.locator("#compare").wait_for()
    page.locator("#unsent").wait_for(state="hidden")
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    saved(4, page)
    assert Judgement.objects.count() == 4


def test_a_warning_comes_before_the_lease_ends_and_one_key_gives_more_time(open_page: Open, alice: User, made: Campaign) -> None:
    Campaign.objects.filter(pk=made.pk).update(lease_minutes=1)
    page = open_page(alice)
    start(page)
    alert = page.locator("#lease")
    alert.get_by_text("You hold this pair for").wait_for()
    assert alert.get_attribute("role") == "alert"
    picture(page, "lease")
    before = Assignment.objects.get(shown_at__isnull=False).expires_at
    for count in range(1, 12):
        page.keyboard.press("x")
        wait_until(
            lambda count=count: Assignment.objects.get(shown_at__isnull=False).extensions == count, seconds=5, why="ten times and more"
        )
    assert Assignment.objects.get(shown_at__isnull=False).expires_at > before
    page.locator("#spoken", has_text="You have more time").wait_for(state="attached")


def test_an_answer_after_the_time_ran_out_is_kept(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    ahead(page, 2)
    Assignment.objects.filter(shown_at__isnull=False).update(expires_at=timezone.now() - timedelta(minutes=1))
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    at(2, page)
    saved(1, page)
    assert Judgement.objects.get().surplus is False


def test_nothing_clinical_stays_in_the_browser(open_page: Open, alice: User, made: Campaign) -> None:
    page = open_page(alice)
    start(page)
    page.keyboard.press("1")
    page.get_by_label("In a few words").evaluate(
        "one => { one.value = 'A secret finding.'; one.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    page.keyboard.press("Enter")
    at(2, page)
    saved(1, page)
    kept = page.evaluate(
        """async () => ({...localStorage, ...sessionStorage, ...Object.fromEntries((await caches.keys()).map((key) => [key, ""])),
                         ...Object.fromEntries((await indexedDB.databases()).map((one) => [one.name, ""]))})"""
    )
    # htmx notes the address of the page it is on; signing out clears that too.
    assert set(kept) <= {"rounds-theme", "htmx-current-path-for-history"}, kept
    assert "secret" not in str(kept)


def test_no_byte_of_the_page_or_of_a_pair_fetched_ahead_says_who_wrote_it(open_page: Open, alice: User) -> None:
    campaign([alice], pairs=4, systems=("canary-albatross", "canary-bustard"))
    page = open_page(alice)
    bodies: list[str] = []
    page.on("response", lambda response: bodies.append(response.text()) if response.status == 200 and "/rate/" in response.url else None)
    start(page)
    ahead(page, 2)
    page.keyboard.press("d")
    page.locator("#diff").wait_for()
    page.keyboard.press("d")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    at(2, page)
    assert len(bodies) >= 4
    assert not any("canary" in body or "north" in body or "gold" in body for body in bodies)
