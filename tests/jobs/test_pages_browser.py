"""Jobs and models in a real browser: nothing the policy refuses, nothing from elsewhere, and a table that follows the work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from jobs import attempts, claims
from modelhub import aliases
from tests.jobs.conftest import ask
from tests.jobs.test_claims import finish, take
from tests.looks import picture, serious
from tests.modelhub import family
from tests.modelhub.conftest import model_folder  # noqa: F401 (fixture)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def is_clean(page: Any) -> bool:
    assert serious(page) == []
    assert not page.complaints, page.complaints
    assert not page.strangers, page.strangers
    return True


def test_the_table_follows_the_work_and_stops_asking(runner: str, dan: User, open_page: Callable[..., Any]) -> None:
    first = ask(dan)
    ask(dan, behaviour="fail", waits_for=(first,))
    page = open_page(dan, viewport={"width": 1366, "height": 768})
    page.goto("/jobs/")
    page.get_by_text("a free worker").wait_for()
    held = take(first)
    claims.heartbeat(held, phase="training", done=12, total=60)
    page.get_by_text("training 20 %").wait_for(timeout=8000)
    picture(page, "jobs-light")
    assert is_clean(page)
    finish(held)
    page.get_by_text("done").wait_for(timeout=8000)
    second = take(ask(dan))
    page.reload()
    claims.fail(second, code="too_few_pairs", detail="3 pairs are too few.")
    page.get_by_text("too_few_pairs").wait_for(timeout=8000)
    assert is_clean(page)


def test_a_job_is_stopped_by_keyboard_alone(runner: str, dan: User, open_page: Callable[..., Any]) -> None:
    job = ask(dan)
    held = take(job)
    claims.heartbeat(held, phase="training", done=30, total=60)
    (attempts.folder_of(job, 1)).mkdir(parents=True)
    (attempts.folder_of(job, 1) / attempts.LOG).write_text("step 29\nstep 30\n")
    page = open_page(dan, viewport={"width": 400, "height": 800}, color_scheme="dark")
    page.goto(f"/jobs/{job.public_id}/")
    page.get_by_text("Stop this job …").focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(2600)  # a poll later the question is still open
    picture(page, "job-dark-400")
    assert page.get_by_role("button", name="Stop it").is_visible()
    assert is_clean(page)
    page.get_by_role("button", name="Stop it").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Asked to stop.").wait_for()
    job.refresh_from_db()
    assert job.state == "cancelling"


def test_the_models_pages_are_clean(
    runner: str,
    dan: User,
    open_page: Callable[..., Any],
    model_folder: Callable[..., Path],  # noqa: F811
) -> None:
    made = family.build(model_folder, dan)
    aliases.move(name="champion", to=made["sft"], actor=dan, expected=None, reason="the first")
    aliases.move(name="champion", to=made["dpo"], actor=dan, expected=made["sft"], reason="won 61 of 100 held-out pairs")
    page = open_page(dan, viewport={"width": 1366, "height": 768})
    page.goto("/models/")
    picture(page, "models-light")
    assert is_clean(page)
    page.get_by_role("link", name="dpo", exact=True).click()
    page.get_by_role("heading", name="Lineage").wait_for()
    picture(page, "model-light")
    assert is_clean(page)
    narrow = open_page(dan, viewport={"width": 400, "height": 800}, color_scheme="dark")
    narrow.goto(f"/models/{made['dpo'].public_id}/")
    picture(narrow, "model-dark-400")
    assert is_clean(narrow)
    assert narrow.evaluate("document.documentElement.scrollWidth <= innerWidth")
