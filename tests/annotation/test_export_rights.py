"""Who may take what away: roles and levels, written out; what is taken back ends at once; every byte that leaves is on record."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts import tokens
from accounts.models import AuditEntry, Role, User
from annotation import export_files, export_jobs, export_rights, snapshots
from annotation.exports import levels
from annotation.models import ExportGrant, ExportRelease, Snapshot
from jobs.errors import Unprepared
from jobs.models import Job, State
from tests.annotation.build import campaign, judge, may_export
from tests.cast import PASSWORD, person, signed_in

pytestmark = pytest.mark.django_db

REASON = "For the second site's own run."


@pytest.fixture(autouse=True)
def own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"


@pytest.fixture
def frozen(alice: User) -> Snapshot:
    made = campaign([alice], pairs=4)
    for _ in range(4):
        judge(made, alice)
    return snapshots.freeze(campaign=made, name="Taken", actor=None)


def address(snapshot: Snapshot, level: str, form: str = "openai") -> str:
    return f"/snapshots/{snapshot.public_id}/export/{form}/{level}/"


def api(snapshot: Snapshot, level: str, rest: str = "", form: str = "openai") -> str:
    return f"/api/v1/snapshots/{snapshot.digest}/exports/{form}/{level}/{rest}"


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def confirmed(client: Client) -> Client:
    """Gives the passphrase again, as the page asks."""
    assert client.post("/accounts/reauthenticate/", {"password": PASSWORD, "next": "/snapshots/"})["Location"] == "/snapshots/"
    return client


def test_roles_and_levels(frozen: Snapshot, ada: User) -> None:
    """Granted level across, asked level down; full stays shut until a reason is written. Other roles can be granted nothing."""
    asked = {level: address(frozen, level) for level in levels.ORDER}
    got = {}
    for granted in ("", *levels.ORDER):
        for role in (Role.TRAINER, Role.ADMIN):
            user = person(f"{role}-{granted}", role)
            if granted:
                export_rights.grant(user=user, level=granted, actor=ada)
            got[role, granted] = [signed_in(user).get(asked[level]).status_code for level in levels.ORDER]
    rows = {"": [403, 403, 403], "deidentified": [200, 403, 403], "untagged": [200, 200, 403], "full": [200, 200, 403]}
    assert got == {(role, granted): rows[granted] for role in (Role.TRAINER, Role.ADMIN) for granted in rows}
    for role in (Role.ANNOTATOR, Role.ADJUDICATOR, Role.STEWARD):
        with pytest.raises(export_rights.GrantRefused):
            export_rights.grant(user=person(f"plain-{role}", role), level="deidentified", actor=ada)
        assert signed_in(User.objects.get(username=f"plain-{role}")).get(asked["deidentified"]).status_code == 403


def test_full_asks_for_the_passphrase_and_a_reason(frozen: Snapshot, dan: User, as_dan: Client) -> None:
    may_export(dan, "full")
    release = f"/snapshots/{frozen.public_id}/release/"
    page = f"/snapshots/{frozen.public_id}/?level=full"
    assert "Confirm with your password" in as_dan.get(page).text
    assert as_dan.post(release, {"reason": REASON})["Location"].startswith("/accounts/reauthenticate/?next=")
    assert not ExportRelease.objects.exists()
    assert "Confirm it is you" in as_dan.get("/accounts/reauthenticate/").text
    confirmed(as_dan)
    refused = as_dan.post(release, {"reason": "  "})
    assert (refused.status_code, "This field is required" in refused.text) == (422, True)
    assert as_dan.get(address(frozen, "full")).status_code == 403
    assert as_dan.post(release, {"reason": REASON}).status_code == 302
    assert as_dan.get(address(frozen, "full")).status_code == 200
    kept = ExportRelease.objects.get()
    assert (kept.reason, kept.user) == (REASON, dan)
    assert REASON not in json.dumps(list(AuditEntry.objects.values_list("details", flat=True)))


def test_a_reason_ages_and_dies_with_the_right(frozen: Snapshot, dan: User, ada: User) -> None:
    may_export(dan, "full")
    export_rights.release(snapshot=frozen, user=dan, reason=REASON)
    export_rights.require(dan, "full", frozen)
    standing = export_rights.standing(dan)
    assert standing is not None
    export_rights.revoke(grant=standing, actor=ada)
    export_rights.grant(user=dan, level="full", actor=ada)
    with pytest.raises(export_rights.NotAllowed, match="for a reason"):
        export_rights.require(dan, "full", frozen)


def test_an_administrator_grants_and_takes_back_on_a_page_and_the_next_request_is_refused(
    frozen: Snapshot, dan: User, as_dan: Client, as_ada: Client, as_sam: Client
) -> None:
    assert "Nobody may export anything" in as_ada.get("/exports/rights/").text
    assert as_ada.post("/exports/rights/", {"user": dan.pk, "level": "untagged"})["Location"] == "/exports/rights/"
    token, secret = tokens.create(user=dan, label="script", scopes=["manage"], days=1)
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    ways = [
        lambda: as_dan.get(address(frozen, "untagged")),
        lambda: as_dan.get(address(frozen, "untagged") + "manifest.json"),
        lambda: Client().get(api(frozen, "untagged"), **bearer),
        lambda: Client().get(api(frozen, "untagged", "archive/"), **bearer),
        lambda: Client().get(api(frozen, "untagged", "files/train.jsonl"), **bearer),
    ]
    assert [way().status_code for way in ways][:4] == [200] * 4
    job = export_jobs.start(snapshot=frozen, form="csv", level="untagged", actor=dan)
    page = as_sam.get("/exports/rights/").text
    assert "dan" in page
    assert "Take back" not in page
    grant = ExportGrant.objects.get()
    as_ada.post(f"/exports/rights/{grant.public_id}/revoke/")
    assert [way().status_code for way in ways] == [403] * 5
    assert Job.objects.get(pk=job.pk).state == State.CANCELLED
    assert AuditEntry.objects.get(verb="export.revoked").details["stopped"] == 1
    assert AuditEntry.objects.filter(verb="export.granted").count() == 1
    assert token.pk
    assert as_sam.post("/exports/rights/", {"user": dan.pk, "level": "full"}).status_code == 403


def test_a_stream_under_way_ends_when_the_right_does(frozen: Snapshot, dan: User, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    may_export(dan)
    monkeypatch.setattr(export_rights, "ASK_AGAIN_BYTES", 2)
    blocks = export_rights.watched(iter([b"ab", b"cd", b"ef"]), dan, "untagged")
    assert next(blocks) == b"ab"
    standing = export_rights.standing(dan)
    assert standing is not None
    export_rights.revoke(grant=standing, actor=ada)
    with pytest.raises(export_rights.NotAllowed):
        next(blocks)


def test_a_broken_download_goes_on_where_it_broke(frozen: Snapshot, dan: User, as_dan: Client) -> None:
    may_export(dan)
    whole = as_dan.get(address(frozen, "untagged"))
    assert whole["Content-Security-Policy"] == "sandbox"
    content, tag = body(whole), whole["ETag"]
    assert len(content) == int(whole["Content-Length"])
    rest = as_dan.get(address(frozen, "untagged"), headers={"Range": "bytes=100-", "If-Range": tag})
    assert (rest.status_code, rest["Content-Range"]) == (206, f"bytes 100-{len(content) - 1}/{len(content)}")
    assert content[:100] + body(rest) == content
    assert body(as_dan.get(address(frozen, "untagged"), headers={"Range": "bytes=100-", "If-Range": '"other"'})) == content
    assert as_dan.get(address(frozen, "untagged"), headers={"Range": f"bytes={len(content)}-"}).status_code == 416
    assert as_dan.get(address(frozen, "untagged"), headers={"If-None-Match": tag}).status_code == 304
    made = export_files.folder(snapshot=frozen, form="openai", level="untagged")
    name, *_ = export_files.manifest(made)["files"]
    file = as_dan.get(address(frozen, "untagged") + name, headers={"Range": "bytes=0-3"})
    assert (file.status_code, len(body(file))) == (206, 4)
    for wrong in ("../../secret_key", ".crc32.json", "nothing.jsonl"):
        assert as_dan.get(address(frozen, "untagged") + wrong).status_code == 404


def test_every_download_and_api_read_leaves_one_entry_without_text(frozen: Snapshot, dan: User, as_dan: Client) -> None:
    may_export(dan)
    reads = [
        address(frozen, "untagged"),
        address(frozen, "untagged") + "manifest.json",
        api(frozen, "untagged"),
        api(frozen, "untagged", "archive/"),
        api(frozen, "untagged", "files/manifest.json"),
        f"/api/v1/snapshots/{frozen.digest}/exports/",
    ]
    for read in reads:
        before = AuditEntry.objects.count()
        assert as_dan.get(read).status_code == 200, read
        assert AuditEntry.objects.count() == before + 1, read
        entry = AuditEntry.objects.latest("pk")
        assert (entry.actor_name, entry.details["digest"]) == ("dan", frozen.digest)
        assert "chest pain" not in json.dumps(entry.details)


def test_the_api_names_files_by_the_snapshots_digest(frozen: Snapshot, dan: User, as_dan: Client) -> None:
    may_export(dan)
    listed = as_dan.get(f"/api/v1/snapshots/{frozen.digest}/exports/").json()
    assert listed["level"] == "untagged"
    at = {form["form"]: form["at"] for form in listed["forms"]}
    assert set(at["dataset"]) == {"deidentified", "untagged"}
    manifest = as_dan.get(at["dataset"]["untagged"]).json()
    assert manifest["snapshot"] == frozen.digest
    for name, told in manifest["files"].items():
        assert len(body(as_dan.get(at["dataset"]["untagged"] + "files/" + name))) == told["bytes"]
    assert as_dan.get(manifest["archive"]).status_code == 200
    assert as_dan.get(f"/api/v1/snapshots/{'0' * 64}/exports/").status_code == 404


def test_what_takes_long_is_a_job_that_asks_again_whether_it_may(
    frozen: Snapshot, dan: User, ada: User, as_dan: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_export(dan)
    monkeypatch.setattr(export_jobs, "AT_ONCE", 1)
    assert as_dan.get(address(frozen, "untagged"))["Location"].endswith("?level=untagged#export")
    assert as_dan.get(api(frozen, "untagged", "archive/")).status_code == 409
    first, again = (as_dan.get(api(frozen, "untagged")) for _ in range(2))
    assert (first.status_code, first.json()["job"]) == (202, again.json()["job"])
    asked = {"form": "openai", "level": "untagged"}
    assert as_dan.post(f"/snapshots/{frozen.public_id}/export/", asked)["Location"] == f"/jobs/{first.json()['job']}/"
    assert ">waiting</a>" in as_dan.get(f"/snapshots/{frozen.public_id}/?level=untagged").text
    job = Job.objects.get()
    assert (job.kind, job.queue) == ("export", "io")
    standing = export_rights.standing(dan)
    assert standing is not None
    ExportGrant.objects.filter(pk=standing.pk).update(revoked_at="2026-01-01T00:00Z")
    with pytest.raises(Unprepared, match="export nothing"):
        export_jobs._lay_out(job, tmp_path, lambda *_: None)
