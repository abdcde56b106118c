"""Nothing can be rated before consent and a profile: by page, in the background, by htmx, by API; and the way leads back."""

from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import get_resolver, path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import access, consents, joining, profiles, tokens
from accounts.consents import ConsentMissing
from accounts.models import Profile, Role, User
from accounts.profiles import ProfileMissing
from annotation import assignments
from annotation.models import Assignment, Judgement
from tests.annotation.build import campaign, lease
from tests.cast import person, signed_in

RATERS = (Role.ANNOTATOR, Role.ADJUDICATOR)


@access.allow(*RATERS, consented=True)
def rates(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a pair")


@access.allow(*RATERS)
def refuses(request: HttpRequest) -> HttpResponse:
    raise ConsentMissing("Read and agree first.")


class Rates(APIView):
    access = RATERS
    consented = True
    scopes = {"GET": "annotate"}

    def get(self, request: Request) -> Response:
        return Response("a pair")


urlpatterns = [*get_resolver().url_patterns, path("rates/", rates), path("refuses/", refuses), path("api/v1/rates/", Rates.as_view())]
handler403 = "web.errors.denied"
with_doors = override_settings(ROOT_URLCONF="tests.accounts.test_gate")


@pytest.fixture
def grace(db: None) -> User:
    """A clinician who has just come in."""
    return person("grace", "annotator", consents=False)


def agreed(user: User) -> User:
    consents.give(user=user, text=consents.current())
    return user


@with_doors
def test_a_page_leads_to_consent_then_to_the_profile_then_where_they_were_going(grace: User) -> None:
    client = signed_in(grace)
    assert client.get("/rates/?page=2").headers["Location"] == "/me/consent/?next=%2Frates%2F%3Fpage%3D2"
    answer = client.post("/me/consent/", {"text": consents.current().pk, "agree": "on", "next": "/rates/?page=2"})
    assert answer.headers["Location"] == "/me/profile/?next=%2Frates%2F%3Fpage%3D2"
    assert client.get("/rates/").headers["Location"] == "/me/profile/?next=%2Frates%2F"
    said = {"specialties": ["nursing"], "profession": "nurse", "years": "3", "languages": "English", "next": "/rates/?page=2"}
    assert client.post("/me/profile/", said).headers["Location"] == "/rates/?page=2"
    assert client.get("/rates/?page=2").content == b"a pair"


@with_doors
def test_a_form_leads_back_to_the_page_it_was_on(grace: User) -> None:
    client = signed_in(grace)
    came = client.post("/rates/", headers={"Referer": "http://testserver/rate/history/"})
    assert came.headers["Location"] == "/me/consent/?next=http%3A%2F%2Ftestserver%2Frate%2Fhistory%2F"
    for elsewhere in ("https://evil.example/", ""):
        assert client.post("/rates/", headers={"Referer": elsewhere}).headers["Location"] == "/me/consent/?next=%2F"


@with_doors
def test_a_request_in_the_background_is_told_where_and_keeps_its_page(grace: User) -> None:
    answer = signed_in(grace).post("/rates/", headers={"X-Rounds": "background"})
    assert answer.status_code == 409
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["address"] == "/me/consent/"
    assert answer.json()["detail"] == "Read and agree to how your judgements are used first."


@with_doors
def test_htmx_goes_there_as_a_whole_page(grace: User) -> None:
    answer = signed_in(grace).get("/rates/", headers={"HX-Request": "true"})
    assert answer.headers["HX-Redirect"] == "/me/consent/?next=%2Frates%2F"
    assert b"a pair" not in answer.content


@with_doors
def test_the_api_says_403_and_where(grace: User) -> None:
    _, secret = tokens.create(user=grace, label="script", scopes=["annotate"], days=7)
    for client, headers in ((signed_in(grace), {}), (Client(), {"Authorization": f"Bearer {secret}"})):
        answer = client.get("/api/v1/rates/", headers=headers)
        assert answer.status_code == 403
        assert answer.json()["address"] == "/me/consent/"
    assert signed_in(agreed(grace)).get("/api/v1/rates/").json()["address"] == "/me/profile/"


@with_doors
def test_who_is_not_let_in_anyway_is_not_asked(grace: User, dan: User, frank: User) -> None:
    assert signed_in(dan).get("/rates/").status_code == 403
    assert signed_in(frank).get("/rates/").headers["Location"].startswith("/accounts/login/")
    answer = signed_in(dan).get("/api/v1/rates/")
    assert answer.status_code == 403
    assert "address" not in answer.json()


@with_doors
def test_a_refusal_from_deeper_down_leads_there_as_well(grace: User) -> None:
    """As assignments.lease_next refuses, wherever it is called from."""
    assert signed_in(grace).get("/refuses/").headers["Location"] == "/me/consent/?next=%2Frefuses%2F"


@with_doors
def test_withdrawing_closes_the_door_at_the_next_click(alice: User, as_alice: Client) -> None:
    assert as_alice.get("/rates/").content == b"a pair"
    consents.withdraw(user=alice)
    assert as_alice.get("/rates/").status_code == 302
    assert as_alice.get("/api/v1/rates/").status_code == 403


@with_doors
def test_a_new_text_closes_it_until_it_is_agreed_to(alice: User, as_alice: Client, sam: User) -> None:
    consents.publish(version="2", text="A longer text. " * 20, actor=sam)
    assert as_alice.get("/rates/").status_code == 302
    agreed(alice)
    assert as_alice.get("/rates/").content == b"a pair"


@with_doors
def test_programs_pass(db: None) -> None:
    rater = person("rater-1", "annotator", simulated=True, consents=False)
    assert joining.missing(rater) is None
    assert signed_in(rater).get("/rates/").content == b"a pair"


def test_it_asks_the_database_once(alice: User, grace: User, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert joining.missing(alice) is None
    with django_assert_num_queries(1):
        assert isinstance(joining.missing(grace), ConsentMissing)
    agreed(grace)
    with django_assert_num_queries(1):
        assert isinstance(joining.missing(grace), ProfileMissing)


def test_a_missing_step_is_a_refusal(grace: User) -> None:
    step = joining.missing(grace)
    assert isinstance(step, PermissionDenied)


# --- the doors there are -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(grace: User) -> Assignment:
    """A pair that was handed to Grace while her consent stood; then she withdrew it."""
    agreed(grace)
    profiles.save(user=grace, specialties=["nursing"], profession="nurse", years=3, languages=["English"])
    held = lease(campaign([grace], pairs=3), grace)
    consents.withdraw(user=grace)
    return held


def test_no_page_shows_or_takes_a_pair(waiting: Assignment, grace: User) -> None:
    client = signed_in(grace)
    here, campaign_ = waiting.public_id, waiting.campaign.public_id
    answer = {"verdict": "a_much", "key": uuid4(), "active_ms": 900}
    tries = [
        client.get(f"/rate/{here}/"),
        client.post(f"/rate/{here}/", answer),
        client.post(f"/rate/campaigns/{campaign_}/next/", {"minutes": 10}),
        client.post(f"/rate/campaigns/{campaign_}/undo/"),
    ]
    for tried in tries:
        assert tried.status_code == 302
        assert tried.headers["Location"].startswith("/me/consent/?next="), tried.headers["Location"]
    assert not Judgement.objects.exists()


def test_no_api_hands_out_or_takes_a_pair(waiting: Assignment, grace: User) -> None:
    client = signed_in(grace)
    tries = [
        client.post(f"/api/v1/campaigns/{waiting.campaign.public_id}/next/"),
        client.post(
            f"/api/v1/assignments/{waiting.public_id}/submit/", {"verdict": "a_much"}, content_type="application/json",
            headers={"Idempotency-Key": str(uuid4())},
        ),
    ]  # fmt: skip
    for tried in tries:
        assert tried.status_code == 403
        assert tried.json()["address"] == "/me/consent/"
    assert not Judgement.objects.exists()


def test_the_verb_itself_hands_out_nothing(grace: User) -> None:
    made = campaign([grace], pairs=2)
    with pytest.raises(ConsentMissing):
        assignments.lease_next(campaign=made, annotator=grace)
    assert not Assignment.objects.exists()


def test_ones_own_record_stays_readable(waiting: Assignment, grace: User) -> None:
    client = signed_in(grace)
    for address in ("/rate/history/", f"/rate/campaigns/{waiting.campaign.public_id}/guideline/", "/me/profile/", "/me/tokens/"):
        assert client.get(address).status_code == 200, address
    assert Profile.objects.filter(user=grace).exists()
