"""When it goes wrong: what happened, what was kept, what to do next; a page for people, a problem document for programs."""

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import get_resolver, path

from accounts import access
from accounts.models import User


@access.public
def breaks(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("The patient's name is Smith")


urlpatterns = [*get_resolver().url_patterns, path("breaks/", breaks), path("api/v1/breaks/", breaks)]
handler403, handler404, handler500 = "web.errors.denied", "web.errors.not_found", "web.errors.broken"


def test_a_page_that_is_not_there_leads_home(as_alice: Client) -> None:
    answer = as_alice.get("/nothing/")
    assert answer.status_code == 404
    assert b"There is nothing at this address" in answer.content
    assert b'href="/"' in answer.content


def test_a_page_for_other_roles_says_so(as_alice: Client) -> None:
    answer = as_alice.get("/audit/")
    assert answer.status_code == 403
    assert b"This page is not for your roles" in answer.content
    assert b"Nothing was changed" in answer.content


def test_a_form_without_its_token_says_what_to_do(alice: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    answer = strict.post("/me/tokens/", {"label": "x"})
    assert answer.status_code == 403
    assert b"Go back, reload the page, and send the form again." in answer.content


@override_settings(ROOT_URLCONF="tests.web.test_errors")
@pytest.mark.parametrize("address", ["/breaks/", "/api/v1/breaks/"])
def test_a_crash_gives_a_number_and_no_text(address: str, db: None) -> None:
    answer = Client(raise_request_exception=False).get(address)
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.content.decode()
    assert b"Smith" not in answer.content
    assert answer.headers["Content-Type"].startswith("application/problem+json" if "api" in address else "text/html")
