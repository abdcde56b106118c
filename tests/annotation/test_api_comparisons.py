"""The API a clinician's client uses: lease a comparison, answer it, once."""

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from accounts import consents
from accounts.models import ApiToken, User
from annotation import campaigns, memberships, rubrics
from annotation.models import Assignment, Campaign, Judgement
from modelhub.models import Artifact, ModelVersion
from tests.annotation import build
from tests.cast import signed_in


def lease(client: Client, campaign: Campaign) -> Any:
    return client.post(f"/api/v1/campaigns/{campaign.public_id}/next/")


def answer(client: Client, comparison: str, key: Any = None, **said: Any) -> Any:
    headers = {"Idempotency-Key": str(key or uuid4())}
    return client.post(
        f"/api/v1/assignments/{comparison}/submit/", said or {"verdict": "a_much"}, content_type="application/json", headers=headers
    )


def test_alice_leases_a_comparison_and_gets_the_same_one_again(alice: User, as_alice: Client) -> None:
    campaign = build.campaign([alice])
    first, again = lease(as_alice, campaign).json(), lease(as_alice, campaign).json()
    assert first["id"] == again["id"]
    assert set(first) == {"id", "campaign", "expires_at", "instruction", "input", "a", "b"}
    assert first["a"] != first["b"]


def test_what_she_says_of_a_side_is_stored_of_its_completion(alice: User, as_alice: Client) -> None:
    campaign = build.campaign([alice])
    preferred = set()
    for _ in range(6):
        shown = lease(as_alice, campaign).json()
        assert answer(as_alice, shown["id"], verdict="b_much").status_code == 200
        judgement = Judgement.objects.select_related("assignment__pair__first", "assignment__pair__second").latest("pk")
        pair = judgement.assignment.pair
        assert shown["b"] == {"first_much": pair.first, "second_much": pair.second}[judgement.verdict].text
        preferred.add(judgement.verdict)
    # Sides are counterbalanced: of six pairs, some show the first completion on the left, some on the right.
    assert preferred == {"first_much", "second_much"}


def test_sent_twice_with_one_key_it_counts_once(alice: User, as_alice: Client) -> None:
    shown = lease(as_alice, build.campaign([alice])).json()
    key = uuid4()
    receipts = [answer(as_alice, shown["id"], key, verdict="a_slightly").json() for _ in range(2)]
    assert receipts[0] == receipts[1]
    assert receipts[0]["surplus"] is False
    assert Judgement.objects.count() == 1


def test_a_key_used_for_another_answer_is_refused(alice: User, as_alice: Client) -> None:
    shown = lease(as_alice, build.campaign([alice])).json()
    key = uuid4()
    answer(as_alice, shown["id"], key, verdict="a_slightly")
    clash = answer(as_alice, shown["id"], key, verdict="b_much")
    assert (clash.status_code, clash.json()["code"]) == (422, "idempotency.mismatch")
    assert clash.headers["Content-Type"] == "application/problem+json"
    assert Judgement.objects.get().verdict in {"first_slightly", "second_slightly"}


def test_an_answer_needs_a_key_a_verdict_and_sometimes_a_reason(alice: User, as_alice: Client) -> None:
    shown = lease(as_alice, build.campaign([alice])).json()
    address = f"/api/v1/assignments/{shown['id']}/submit/"
    without_key = as_alice.post(address, {"verdict": "a_much"}, content_type="application/json")
    assert (without_key.status_code, without_key.json()["errors"][0]["field"]) == (400, "Idempotency-Key")
    wrong = answer(as_alice, shown["id"], verdict="the left one, for Mrs Smith")
    assert wrong.json()["errors"] == [{"field": "verdict", "code": "invalid_choice", "message": "Not one of the choices this field has."}]
    assert "Smith" not in wrong.content.decode()
    assert answer(as_alice, shown["id"], verdict="cannot_judge").status_code == 400
    assert answer(as_alice, shown["id"], verdict="a_much", cannot_reason="outside_field").status_code == 400
    assert not Judgement.objects.exists()
    assert answer(as_alice, shown["id"], verdict="cannot_judge", cannot_reason="outside_field").status_code == 200


FULL = {
    "verdict": "a_slightly", "reasons": ["facts", "safer"], "harm_b": "major", "harm_b_type": "wrong_dose", "hard": "ambiguous",
    "rationale": "B makes the dose up.", "edited_text": "Better.", "edited_side": "a", "active_ms": 9000,
    "spans": [{"side": "b", "start": 0, "end": 6, "kind": "fabrication", "severity": "major"}],
}  # fmt: skip


def test_all_that_an_answer_says_is_taken_by_side_and_stored_by_completion(alice: User, as_alice: Client) -> None:
    campaign = build.campaign([alice])
    for _ in range(4):
        shown = lease(as_alice, campaign).json()
        assert answer(as_alice, shown["id"], **FULL).status_code == 200
        stored = Judgement.objects.select_related("assignment__pair", "edit").latest("pk")
        pair = stored.assignment.pair
        texts = {pair.first_id: pair.first.text, pair.second_id: pair.second.text}
        assert texts[stored.edit.completion_id] == shown["a"]
        assert texts[stored.spans.get().completion_id] == shown["b"]
        flagged = pair.second if stored.harm_second else pair.first
        assert flagged.text == shown["b"]
        assert (stored.reasons, stored.hard, stored.rationale) == (["facts", "safer"], "ambiguous", "B makes the dose up.")


def test_scales_are_taken_by_the_rubrics_keys(alice: User, as_alice: Client) -> None:
    campaign = build.campaign([alice], rubric=rubrics.template("T10"))
    asked = as_alice.get(f"/api/v1/campaigns/{campaign.public_id}/").json()["rubric"]["axes"]
    count = next(axis["key"] for axis in asked if axis["scale"] == "count")
    shown = lease(as_alice, campaign).json()
    for wrong in (3, {"a": 1}, {"a": 1, "b": 100}, {"a": True, "b": 1}, "many", [1]):
        told = answer(as_alice, shown["id"], verdict="a_much", axes={count: wrong})
        assert told.status_code == 400, wrong
        assert told.json()["errors"][0]["field"] in {"axes", f"axis-{count}"}
    assert answer(as_alice, shown["id"], verdict="a_much", axes={"style": 1}).json()["errors"][0]["field"] == "axes"
    assert answer(as_alice, shown["id"], verdict="a_much", axes={count: {"a": 2, "b": 0}}).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"reasons": ["facts", "safer", "concise", "format"]}, "reasons"),
        ({"reasons": ["kindness"]}, "reasons"),
        ({"reasons": "facts"}, "reasons"),
        ({"harm_a": "awful"}, "harm_a"),
        ({"harm_a_type": "boredom"}, "harm_a_type"),
        ({"hard": "monday"}, "hard"),
        ({"rationale": "x" * 4001}, "rationale"),
        ({"rationale": "Mrs\x00Smith"}, "rationale"),
        ({"rationale": "Mrs\ud800Smith"}, "rationale"),
        ({"rationale": "Mrs\x1bSmith"}, "rationale"),
        ({"edited_text": "x" * 50_001}, "edited_text"),
        ({"edited_side": "b"}, "edited_text"),
        ({"verdict": "both_acceptable", "edited_side": ""}, "edited_text"),
        ({"spans": [{"side": "c", "start": 0, "end": 6, "kind": "fabrication", "severity": "major"}]}, "spans"),
        ({"spans": [{"side": "b", "start": 0, "end": 6_000, "kind": "fabrication", "severity": "major"}]}, "spans"),
        ({"spans": [{"side": "b", "start": 0, "end": 6, "kind": "style", "severity": "major"}]}, "spans"),
        ({"spans": [{"side": "b", "start": 0, "end": 6, "kind": "omission", "severity": "minor"}] * 101}, "spans"),
        ({"active_ms": 10**9}, "active_ms"),
    ],
)
def test_what_is_wrong_is_named_and_never_repeated(alice: User, as_alice: Client, wrong: dict[str, Any], field: str) -> None:
    shown = lease(as_alice, build.campaign([alice])).json()
    told = answer(as_alice, shown["id"], **{**FULL, **wrong})
    assert told.status_code == 400
    assert {error["field"].split(".")[0] for error in told.json()["errors"]} == {field}
    assert "Smith" not in told.content.decode()
    assert not Judgement.objects.exists()


def test_words_are_required_where_the_campaign_says(alice: User, as_alice: Client) -> None:
    campaign = build.campaign([alice], rationale_when=["much"])
    assert as_alice.get(f"/api/v1/campaigns/{campaign.public_id}/").json()["rationale_when"] == ["much"]
    shown = lease(as_alice, campaign).json()
    told = answer(as_alice, shown["id"], verdict="a_much").json()
    assert told["errors"] == [{"field": "rationale", "code": "invalid", "message": "Say in a few words what makes it much better."}]
    assert answer(as_alice, shown["id"], verdict="a_slightly").status_code == 200


def test_a_second_answer_is_told_which_one_is_saved(alice: User, as_alice: Client) -> None:
    shown = lease(as_alice, build.campaign([alice])).json()
    answer(as_alice, shown["id"], verdict="a_slightly")
    clash = answer(as_alice, shown["id"], verdict="b_much")
    assert clash.status_code == 409
    assert clash.json()["detail"].endswith("Saved is “A slightly better”.")


def test_before_consent_nothing_is_leased_and_nothing_taken(alice: User, as_alice: Client) -> None:
    campaign = build.campaign([alice])
    shown = lease(as_alice, campaign).json()
    consents.withdraw(user=alice)
    for told in (lease(as_alice, campaign), answer(as_alice, shown["id"])):
        assert (told.status_code, told.headers["Content-Type"]) == (403, "application/problem+json")
        assert told.json()["address"] == "/me/consent/"
    assert not Judgement.objects.exists()


def test_why_nothing_is_handed_out_is_a_problem_document(alice: User, as_alice: Client) -> None:
    paused, left, gate = build.campaign([alice]), build.campaign([alice]), build.qualification([alice])
    campaigns.pause(campaign=paused, actor=None)
    memberships.revoke(campaign=left, user=alice, actor=None)
    gated = build.campaign([alice], qualification=gate)
    told = lease(as_alice, paused)
    assert (told.status_code, told.json()["detail"]) == (409, "The campaign is paused: what you hold you can still answer.")
    told = lease(as_alice, left)
    assert (told.status_code, told.json()["detail"]) == (403, "You rate in this campaign no more.")
    told = lease(as_alice, gated)
    assert (told.status_code, told.json()["address"]) == (403, f"/rate/campaigns/{gate.public_id}/qualification/")


def test_an_answer_of_somebody_taken_off_is_kept_as_surplus(alice: User, as_alice: Client) -> None:
    campaign = build.campaign([alice])
    shown = lease(as_alice, campaign).json()
    memberships.revoke(campaign=campaign, user=alice, actor=None)
    assert answer(as_alice, shown["id"]).json()["surplus"] is True


def test_when_nothing_is_left_it_says_so_with_204(alice: User, as_alice: Client) -> None:
    campaign = build.campaign([alice], pairs=1)
    answer(as_alice, lease(as_alice, campaign).json()["id"])
    assert lease(as_alice, campaign).status_code == 204


def test_a_late_answer_after_closing_is_kept_as_surplus(alice: User, as_alice: Client) -> None:
    campaign = build.campaign([alice])
    shown = lease(as_alice, campaign).json()
    campaigns.close(campaign=campaign, actor=None)
    assert answer(as_alice, shown["id"]).json()["surplus"] is True


def test_eve_gets_nothing_of_a_campaign_that_is_not_hers(alice: User, as_alice: Client, as_eve: Client) -> None:
    campaign = build.campaign([alice])
    shown = lease(as_alice, campaign).json()
    assert lease(as_eve, campaign).status_code == 404
    assert answer(as_eve, shown["id"]).status_code == 404
    assert as_eve.get(f"/api/v1/campaigns/{campaign.public_id}/").status_code == 404
    assert as_eve.get("/api/v1/campaigns/").json()["results"] == []


def test_a_campaign_that_is_not_open_yet_is_not_there_for_its_members(alice: User, as_alice: Client, as_dan: Client) -> None:
    campaign = build.campaign([alice], opened=False)
    assert lease(as_alice, campaign).status_code == 404
    assert as_alice.get("/api/v1/campaigns/").json()["results"] == []
    assert len(as_dan.get("/api/v1/campaigns/").json()["results"]) == 1


def test_a_session_needs_its_csrf_token_and_a_bearer_token_does_not(alice: User) -> None:
    campaign = build.campaign([alice])
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    assert lease(strict, campaign).status_code == 403
    token, secret = ApiToken.draw(user=alice, label="app", scopes=["annotate"])
    token.save()
    program = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {secret}"})
    assert lease(program, campaign).status_code == 200


def test_no_answer_to_a_clinician_names_a_model_a_system_or_a_side(alice: User) -> None:
    """Everything the API tells an annotator, searched for canaries: producers' names, ids and which completion stands left."""
    canaries = ["canary-north", "canary-south"]
    campaign = build.campaign([alice], systems=canaries)
    artifact = Artifact.objects.create(digest="a" * 64, manifest=[], bytes=0)
    ModelVersion.objects.create(name="canary-model", kind="dpo", artifact=artifact)
    client = signed_in(alice)
    shown = lease(client, campaign)
    answers = [
        client.get("/api/v1/campaigns/"),
        client.get(f"/api/v1/campaigns/{campaign.public_id}/"),
        shown,
        lease(client, campaign),
        answer(client, shown.json()["id"], verdict="a_much"),
        answer(client, shown.json()["id"], verdict="b_much"),
        client.get("/api/v1/samples/"),
        client.get("/api/v1/snapshots/"),
        client.get(f"/api/v1/assignments/{shown.json()['id']}/submit/"),
    ]
    batches = [str(batch.public_id) for batch in build.GenerationBatch.objects.all()]
    left = Assignment.objects.get().first_on_left
    assert left in {True, False}
    for told in answers:
        everything = (told.content.decode() + str(dict(told.headers))).lower()
        for canary in ["canary", *batches, "first_on_left", "first_much", "second_much", '"first"', '"second"']:
            assert canary not in everything
