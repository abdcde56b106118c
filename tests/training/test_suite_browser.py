"""The mini-suite's pages in a real browser: asked by a button, compared by ticking, fit to be seen in both colours and on a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from jobs.models import Job, State
from modelhub.models import Kind, ModelVersion
from tests.looks import DARK_PHONE, VIEWS, faults
from tests.training import build
from training import suiteruns
from training.models import SuiteRun
from training.suite import mini

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


def test_it_is_asked_compared_and_fit_to_be_seen(open_page: Callable[..., Any], dan: User, tmp_path: Path) -> None:
    build.everything_runs()
    base = build.version(tmp_path, "ward-base", Kind.BASE, toy=True)
    expert = build.version(tmp_path, "ward-clinical", Kind.EXPERT, toy=True, parents=[(base, "policy")])
    merged = build.version(tmp_path, "ward-merged", Kind.MERGED, toy=True, parents=[(expert, "expert:clinical"), (base, "base")])
    tuned = build.version(tmp_path, "ward-sft", Kind.SFT, toy=True, parents=[(merged, "policy")])
    for place, version in enumerate((base, expert, merged)):
        right = {name: (7 * place + 3 * at) % 40 for at, name in enumerate(mini.TASKS)}
        build.suited(tmp_path, version.name, right=right | {"SDoH": 0 if version == base else 38 - 18 * place})
    failed = suiteruns.start(version=build.version(tmp_path, "ward-dpo", Kind.DPO, parents=[(tuned, "policy")]), actor=None)
    Job.objects.filter(pk=failed.job.pk).update(state=State.FAILED, error_code="out_of_memory", error_detail="out of memory")

    page = open_page(dan, viewport={"width": 1366, "height": 768})
    page.goto("/suites/")
    found = faults(page, "suites", VIEWS | DARK_PHONE)
    page.get_by_role("button", name="Ask ward-sft the mini-suite").focus()
    page.keyboard.press("Enter")
    page.get_by_text("ward-sft is asked; it takes a minute or two.").wait_for()
    assert SuiteRun.objects.get(version=tuned).finished_at is None
    # It runs in front of our eyes: the row changes by itself.
    build.finish_suite(SuiteRun.objects.get(version=tuned), right=dict.fromkeys(mini.TASKS, 31) | {"MEDEC": 6})
    page.get_by_role("row", name="ward-sft").get_by_text("done").wait_for()
    page.get_by_label("ward-base", exact=True).check()
    page.get_by_label("ward-sft", exact=True).check()
    page.get_by_role("button", name="Compare those ticked").click()
    page.wait_for_url("**/suites/compare/?model=*&model=*")
    page.get_by_role("heading", name="ward-sft on the mini-suite").wait_for()
    page.get_by_role("link", name="Suites").first.click()
    page.get_by_role("link", name="ward-sft").click()
    page.get_by_role("heading", name="Against ward-merged").wait_for()
    found += faults(page, "suite-compare", VIEWS | DARK_PHONE)
    page.goto(f"/suites/compare/?model={ModelVersion.objects.get(name='ward-dpo').public_id}")
    page.get_by_text("out_of_memory").wait_for()
    found += faults(page, "suite-lacking", DARK_PHONE)
    assert found == []
