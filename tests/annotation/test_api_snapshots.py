"""Freezing and reading snapshots by the API."""

from uuid import uuid4

from django.test import Client

from accounts.models import AuditEntry, Role, RoleGrant, User
from annotation import campaigns, snapshots
from annotation.models import Snapshot
from tests.annotation import build


def judged(alice: User) -> str:
    campaign = build.campaign([alice])
    for _ in range(6):
        build.judge(campaign, alice)
    return str(campaign.public_id)


def freeze(client: Client, **said: str) -> object:
    return client.post("/api/v1/snapshots/", said, content_type="application/json")


def test_dan_freezes_a_snapshot_once(alice: User, as_dan: Client) -> None:
    campaign = judged(alice)
    first, again = (freeze(as_dan, campaign=campaign, name="Round 1") for _ in range(2))
    assert first.status_code == 201  # type: ignore[attr-defined]
    frozen = first.json()  # type: ignore[attr-defined]
    assert frozen == again.json()  # type: ignore[attr-defined]
    assert frozen["campaign"] == campaign
    assert sum(frozen["counts"]["used"].values()) == 6
    assert Snapshot.objects.count() == 1
    assert as_dan.get(f"/api/v1/snapshots/{frozen['id']}/").json() == frozen
    assert [s["id"] for s in as_dan.get("/api/v1/snapshots/").json()["results"]] == [frozen["id"]]
    assert AuditEntry.objects.filter(verb="snapshot.frozen", actor_name="dan").exists()


def test_nothing_judged_is_a_conflict_that_says_why(alice: User, as_dan: Client) -> None:
    refused = freeze(as_dan, campaign=str(build.campaign([alice]).public_id), name="Too early")
    assert refused.status_code == 409  # type: ignore[attr-defined]
    assert refused.json()["detail"].startswith("No row is left.")  # type: ignore[attr-defined]


def test_wrong_input_is_named_by_field(as_dan: Client) -> None:
    refused = freeze(as_dan, campaign="not-a-uuid")
    assert refused.status_code == 400  # type: ignore[attr-defined]
    assert {error["field"] for error in refused.json()["errors"]} == {"campaign", "name"}  # type: ignore[attr-defined]
    assert freeze(as_dan, campaign=str(uuid4()), name="x").status_code == 404  # type: ignore[attr-defined]


def test_the_steward_reads_and_does_not_freeze(alice: User, as_sam: Client) -> None:
    campaign = judged(alice)
    assert as_sam.get("/api/v1/snapshots/").status_code == 200
    assert freeze(as_sam, campaign=campaign, name="x").status_code == 403  # type: ignore[attr-defined]


def test_a_trainer_who_judges_in_an_open_campaign_gets_nothing_of_its_snapshots(alice: User, dan: User, as_dan: Client) -> None:
    RoleGrant.objects.create(user=dan, role=Role.ANNOTATOR)
    campaign = build.campaign([alice, dan])
    build.judge(campaign, alice)
    frozen = snapshots.freeze(campaign=campaign, name="spring", actor=None)
    assert as_dan.get("/api/v1/snapshots/").json()["results"] == []
    assert as_dan.get(f"/api/v1/snapshots/{frozen.public_id}/").status_code == 404
    asked = {"campaign": str(campaign.public_id), "name": "spring"}
    assert as_dan.post("/api/v1/snapshots/", asked, content_type="application/json").status_code == 404
    campaigns.close(campaign=campaign, actor=None)
    assert as_dan.get(f"/api/v1/snapshots/{frozen.public_id}/").status_code == 200


def test_freezing_takes_filters_and_looking_stores_nothing(alice: User, as_dan: Client, as_alice: Client) -> None:
    campaign = judged(alice)
    asked = {"campaign": campaign, "min_margin": 0.9, "tokens": 4096}
    looked = as_dan.post("/api/v1/snapshots/lint/", asked, content_type="application/json").json()
    assert (looked["clear"], looked["dropped"]) == (False, {"margin": 6})
    assert looked["checks"][0]["state"] == "stop"
    looked = as_dan.post("/api/v1/snapshots/lint/", {"campaign": campaign}, content_type="application/json").json()
    assert (looked["clear"], sum(looked["used"].values())) == (True, 6)
    assert sum(step["rows"] for step in looked["targets"]) == 6
    assert not Snapshot.objects.exists()
    narrowed = {"campaign": campaign, "name": "Narrow", "since": "2020-01-01", "fields_of_raters": ["general_practice"]}
    frozen = as_dan.post("/api/v1/snapshots/", narrowed, content_type="application/json")
    assert frozen.status_code == 201
    assert frozen.json()["filters"] == {"min_judgements": 1, "task_types": [], "fields": ["general_practice"], "since": "2020-01-01"}
    wrong = {"campaign": campaign, "name": "x", "since": "2026-02-02", "until": "2026-01-01", "min_margin": 2}
    refused = as_dan.post("/api/v1/snapshots/", wrong, content_type="application/json")
    assert refused.status_code == 400
    assert "min_margin" in {error["field"] for error in refused.json()["errors"]}
    assert as_alice.post("/api/v1/snapshots/lint/", {"campaign": campaign}, content_type="application/json").status_code == 403
    unknown = {"campaign": campaign, "model": str(uuid4())}
    assert as_dan.post("/api/v1/snapshots/lint/", unknown, content_type="application/json").status_code == 400
