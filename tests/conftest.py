"""The cast, and a real browser for the tests that need eyes and hands."""

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.signals import request_finished, request_started
from django.dispatch import receiver

from accounts.models import User
from benchmarks.browser.chromium import launch
from tests.cast import (  # noqa: F401 (fixtures)
    ada,
    alice,
    as_ada,
    as_alice,
    as_bob,
    as_carol,
    as_dan,
    as_eve,
    as_frank,
    as_sam,
    bob,
    carol,
    dan,
    eve,
    frank,
    sam,
    signed_in,
)
from tests.database import django_db_modify_db_settings, django_db_setup, making  # noqa: F401 (fixtures)

TESTS = Path(__file__).parent
# What takes longest, longest first, as last measured.
LONGEST = [
    "journeys/test_mission.py", "annotation/test_books.py", "journeys/test_killed_worker.py", "journeys/test_launch_watch_stop.py",
    "accounts/test_access.py", "journeys/test_merging.py", "journeys/test_joining.py", "accounts/test_joining_browser.py",
]  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Every test process imports torch, pandas and all modules of ours, none of which is garbage before the last test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then the other journeys and the engine's: begun last, one would leave the other processes nothing to do."""

    def turn(item: pytest.Item) -> int:
        name = item.path.relative_to(TESTS)
        if str(name) in LONGEST:
            return LONGEST.index(str(name))
        return len(LONGEST) + (name.parts[0] not in {"journeys", "engine"})

    items.sort(key=turn)


@pytest.fixture(autouse=True)
def _forget() -> None:
    """What one test left in the cache (limits that count by address among it) is nothing to the next."""
    cache.clear()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium: the system's when there is one, else the one `playwright install chromium` put in place."""
    from playwright.sync_api import Error, sync_playwright

    # Playwright's synchronous interface keeps an event loop in this thread; the database is used outside of it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        try:
            chromium = launch(playwright)
        except Error as missing:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no Chromium here: {missing.message.splitlines()[0]}")
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any, live_server: Any) -> Iterator[Callable[..., Any]]:
    """`open_page(user=None, **context options)`: a fresh browser page at our live server, or at `base_url`, signed in as `user`.

    What the page complains about is kept on it: `page.complaints` lists console errors (policy violations are among them) and
    uncaught exceptions, `page.strangers` requests to any other host.
    """
    contexts = []

    def open_one(user: User | None = None, **options: Any) -> Any:
        options.setdefault("base_url", live_server.url)
        context = browser.new_context(**options)
        contexts.append(context)
        if user is not None:
            session = signed_in(user).cookies["sessionid"].value
            context.add_cookies([{"name": "sessionid", "value": session, "url": options["base_url"]}])
        page = context.new_page()
        page.complaints, page.strangers = [], []
        page.on("console", lambda line: page.complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        ours = (options["base_url"], "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(ours) else page.strangers.append(request.url))
        return page

    yield open_one
    for context in contexts:
        leave(context)
    for context in contexts:
        context.close()


def leave(context: Any) -> None:
    """Leave every page as a reader does and let the server finish what the pages send on leaving: the tables are emptied next."""
    from playwright.sync_api import Error

    for page in context.pages:
        # A page that asks whether to leave (an answer is unsent) is closed without.
        with contextlib.suppress(Error):
            page.goto("about:blank", timeout=2000)
            page.wait_for_timeout(100)
    end = time.monotonic() + 5
    while under_way and time.monotonic() < end:
        time.sleep(0.02)


# Threads of the live server that answer a request now.
under_way: set[int] = set()


@receiver(request_started)
def _began(**_: Any) -> None:
    if threading.current_thread() is not threading.main_thread():
        under_way.add(threading.get_ident())


@receiver(request_finished)
def _ended(**_: Any) -> None:
    under_way.discard(threading.get_ident())
