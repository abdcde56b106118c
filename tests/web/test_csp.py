"""The policy is enforced, allows nothing inline, and no page of ours breaks it: read in the templates, and seen in a real browser."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import User
from tests.annotation import build

TEMPLATES = sorted((settings.PROJECT / "templates").rglob("*.html"))
FORBIDDEN = {
    "a style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.IGNORECASE),
    "a style element": re.compile(r"<style", re.IGNORECASE),
    "a script without a source": re.compile(r"<script(?![^>]*\b(?:src=|type=\"application/json\"))", re.IGNORECASE),
    "an event handler": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "hx-on or hx-vals with code": re.compile(r"hx-on|js:|javascript:", re.IGNORECASE),
    "another host": re.compile(r"(?:src|href|action)=[\"'](?:https?:)?//", re.IGNORECASE),
    "a text marked as safe": re.compile(r"\|\s*safe(?!seq)\b"),
}
# Help texts of form fields are ours and Django's, never a person's.
TRUSTED = {("web/field.html", "a text marked as safe")}


def test_the_policy_is_enforced_and_allows_nothing_inline(as_alice: Client) -> None:
    answer = as_alice.get("/me/tokens/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";") if part.strip())
    assert "unsafe" not in str(policy)
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["default-src"] == "'self'"
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'self'"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(settings.PROJECT / "templates")))
def test_no_template_needs_anything_inline(path: Path) -> None:
    name = str(path.relative_to(settings.PROJECT / "templates"))
    text = path.read_text(encoding="utf-8")
    found = [what for what, pattern in FORBIDDEN.items() if pattern.search(text) and (name, what) not in TRUSTED]
    assert not found, f"{name}: {found}"


@pytest.mark.parametrize(
    "tag", ['<p style="color: red">', "<style>", "<script>", '<a onclick="x()">', '<b hx-on:click="x">', '<img src="//cdn">']
)
def test_the_search_finds_what_it_looks_for(tag: str) -> None:
    assert any(pattern.search(tag) for pattern in FORBIDDEN.values())


def test_what_a_signed_in_person_saw_stays_in_no_cache(as_alice: Client) -> None:
    assert "no-store" in as_alice.get("/me/tokens/").headers["Cache-Control"]
    assert "no-store" in as_alice.get("/api/v1/campaigns/").headers["Cache-Control"]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ],
)
def test_every_answer_carries_its_headers(header: str, value: str, as_alice: Client) -> None:
    for address in ("/me/tokens/", "/nothing/", "/api/v1/campaigns/"):
        assert as_alice.get(address).headers[header] == value


@pytest.mark.browser
def test_no_page_breaks_the_policy_or_asks_another_host(open_page: Any, alice: User, dan: User, ada: User) -> None:
    """Every list page, the compare page, the records room and the API's page in Chromium: no violation, no error, no stranger."""
    campaign = build.campaign([alice], pairs=2)
    assignment = build.lease(campaign, alice)
    visits = [
        (None, ["/accounts/login/", "/accounts/signup/"]),
        (alice, ["/rate/", f"/rate/{assignment.public_id}/", "/me/tokens/", "/accounts/password/change/", "/audit/", "/nothing/"]),
        (dan, ["/", "/samples/", "/samples/import/", "/campaigns/", "/campaigns/new/", f"/campaigns/{campaign.public_id}/", "/snapshots/",
               "/runs/", "/runs/new/", "/generate/", "/jobs/", "/models/", "/api/v1/docs/"]),
        (ada, ["/audit/", "/users/", "/records/", "/records/accounts/user/", "/records/accounts/user/add/", "/records/jobs/job/"]),
    ]  # fmt: skip
    wrong = []
    for user, addresses in visits:
        page = open_page(user)
        for address in addresses:
            page.goto(address, wait_until="networkidle")
            # That a page is not for her, or not there, is no fault of the page.
            faults = [line for line in page.complaints if "status of 40" not in line]
            wrong += [f"{address}: {fault}" for fault in faults] + [f"{address} asked {stranger}" for stranger in page.strangers]
            page.complaints.clear()
            page.strangers.clear()
    assert not wrong, "\n".join(wrong)
    # And the watch does see one.
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    page.wait_for_timeout(50)
    assert "Content Security Policy" in str(page.complaints)
