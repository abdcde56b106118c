"""The page of a study's evidence, the pack made as a job and downloaded in parts, and the verifier from a trusted place."""

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEntry, Role, User
from annotation.models import Campaign, CampaignState, Membership
from jobs.models import Job
from tests.cast import person
from tests.training import studied
from tests.training import study as small
from training import evidence_jobs
from training.evidence import pack, verify
from training.models import Study

pytestmark = pytest.mark.django_db


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dan: User) -> Study:
    """One that ended after twelve votes, so that nobody waits for it: what a pack proves is asked of a real one elsewhere."""
    small.smaller(monkeypatch)
    raters = [person(f"rater-{bird}", Role.ANNOTATOR) for bird in ("heron", "kestrel", "wren")]
    return studied.decided(studied.evaluated(tmp_path, raters, dan, prompts=36, judged=9), raters, dan, fewest=12, share=1.0)


def url(study: Study, more: str = "") -> str:
    return f"/studies/{study.public_id}/evidence/{more}"


def taken() -> list[dict[str, Any]]:
    return list(AuditEntry.objects.filter(verb=pack.TAKEN).order_by("pk").values_list("details", flat=True))


def body(client: Client, study: Study, **headers: str) -> tuple[Any, bytes]:
    response = client.get(url(study, "pack.zip"), headers=headers)
    return response, b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]


def test_the_page_says_what_the_votes_say_and_packs_nothing(as_dan: Client, study: Study, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(8):
        page = as_dan.get(url(study)).text
    assert 'What the votes say <span class="badge badge-good">better</span>' in page
    assert "Nobody has had it made yet." in page
    assert "pack.zip" not in page
    assert f'href="{url(study)}"' in as_dan.get(f"/studies/{study.public_id}/").text
    said = json.loads(pack.assemble(study).files["analysis.json"])
    assert pack.says(study) == {part: said[part] for part in ("verdict", "by_length", "harm")}


def test_the_pack_is_made_as_a_job_which_the_page_follows(as_sam: Client, sam: User, study: Study) -> None:
    asked = as_sam.post(url(study, "make/"), follow=True)
    assert asked.redirect_chain == [(url(study), 302)]
    assert 'hx-trigger="every 2s"' in asked.text
    assert "It is being made: waiting" in asked.text
    job = Job.objects.get(kind="evidence")
    assert (job.requested_by, job.spec) == (sam, {"study": str(study.public_id)})
    as_sam.post(url(study, "make/"))
    assert Job.objects.filter(kind="evidence").count() == 1, "asked for twice it is one job"
    part = as_sam.get(url(study), headers={"HX-Request": "true"})
    assert part.text.lstrip().startswith('<section class="card" id="making"')
    made = studied.packed(study, sam)
    assert as_sam.get(url(study), headers={"HX-Request": "true"})["HX-Refresh"] == "true"
    page = as_sam.get(url(study)).text
    assert made.digest == pack.assemble(study).digest
    assert f"python verify.py {made.name}.zip --digest {made.digest}" in page
    assert f'href="{url(study, "pack.zip")}?digest={made.digest}"' in page
    assert "for sam" in page
    assert "Take verify.py from here, not from the pack you doubt." in page
    for name, _ in made.files:
        assert f'<th scope="row" class="mono">{name}</th>' in page


def test_one_that_was_not_made_says_why_and_can_be_asked_for_again(as_dan: Client, dan: User, study: Study) -> None:
    job = evidence_jobs.start(study=study, actor=dan)
    Job.objects.filter(pk=job.pk).update(state="failed", error_code="disk_full", error_detail="No room.", ended_at=study.decided_at)
    page = as_dan.get(url(study)).text
    assert "It was not made: disk_full." in page
    assert "Make the pack" in page


def test_the_pack_comes_as_a_zip_and_the_trail_keeps_its_digest(as_sam: Client, study: Study) -> None:
    made = studied.packed(study)
    response, content = body(as_sam, study)
    assert content == b"".join(pack.assemble(study).archive.blocks())
    assert zipfile.ZipFile(BytesIO(content)).testzip() is None
    assert response["Content-Length"] == str(len(content))
    assert response["Content-Disposition"] == f'attachment; filename="{made.name}.zip"'
    assert response["ETag"] == f'"{made.digest}"'
    assert taken() == [{"digest": made.digest, "via": "page"}]
    page = as_sam.get(url(study)).text
    assert "the newest" in page
    # A steward opens no study's page: the way there and back is the model's.
    assert f'href="/studies/{study.public_id}/"' not in page
    model = f"/models/{study.challenger.public_id}/"
    assert f'href="{model}"' in page
    assert f'href="{url(study)}"' in as_sam.get(model).text


def test_a_broken_download_goes_on_and_is_recorded_once(as_dan: Client, study: Study) -> None:
    studied.packed(study)
    response, content = body(as_dan, study, range="bytes=0-999")
    assert (response.status_code, len(content)) == (206, 1000)
    after, rest = body(as_dan, study, range="bytes=1000-", if_range=response["ETag"])
    assert after["Content-Range"] == f"bytes 1000-{999 + len(rest)}/{1000 + len(rest)}"
    assert content + rest == b"".join(pack.assemble(study).archive.blocks())
    assert as_dan.head(url(study, "pack.zip"))["Content-Length"] == str(1000 + len(rest))
    assert body(as_dan, study, if_none_match=response["ETag"])[0].status_code == 304
    assert len(taken()) == 2, "by the first part, and by the one who has it already"


def test_a_decision_makes_another_pack_and_the_earlier_one_can_still_be_had(as_dan: Client, dan: User, study: Study) -> None:
    first = studied.packed(study)
    body(as_dan, study)
    # A transaction's clock stands still.
    Job.objects.filter(kind="evidence").update(ended_at=study.decided_at)
    decision = studied.promoted(study, dan)
    assert decision.pk
    page = as_dan.get(url(study)).text
    assert "A decision was made since." in page
    second = studied.packed(study)
    assert second.digest == pack.assemble(study).digest != first.digest
    page = as_dan.get(url(study)).text
    assert second.digest in page
    assert first.digest[:8] in page
    assert "the newest" not in page
    assert body(as_dan, study)[0]["ETag"] == f'"{second.digest}"'
    response = as_dan.get(f"{url(study, 'pack.zip')}?digest={first.digest}")
    assert response["ETag"] == f'"{first.digest}"'
    assert as_dan.get(f"{url(study, 'pack.zip')}?digest={'0' * 64}", follow=True).redirect_chain == [(url(study), 302)]
    assert as_dan.get(f"{url(study, 'pack.zip')}?digest=%00").status_code == 404


def test_a_pack_that_lies_there_no_more_is_not_offered(as_dan: Client, study: Study) -> None:
    evidence_jobs.place_of(studied.packed(study).digest).unlink()
    assert "Nobody has had it made yet." in as_dan.get(url(study)).text
    refused = as_dan.get(url(study, "pack.zip"), follow=True)
    assert "There is no such pack. Have it made first." in refused.text
    assert taken() == []


def test_before_the_end_there_is_nothing_to_take(as_dan: Client, study: Study) -> None:
    Study.objects.filter(pk=study.pk).update(state="running", verdict="", counted=None, decided_at=None)
    page = as_dan.get(url(study)).text
    assert "There is no pack yet" in page
    assert "pack.zip" not in page
    refused = as_dan.get(url(study, "pack.zip"), follow=True)
    assert refused.redirect_chain == [(url(study), 302)]
    assert "The study has no verdict yet." in refused.text
    assert "The study has no verdict yet." in as_dan.post(url(study, "make/"), follow=True).text
    assert not Job.objects.filter(kind="evidence").exists()
    assert taken() == []


def test_who_rates_in_the_open_campaign_of_its_data_finds_neither(as_dan: Client, dan: User, study: Study) -> None:
    assert study.evaluation.snapshot is not None
    source = study.evaluation.snapshot.campaign
    studied.packed(study)
    Membership.objects.create(campaign=source, user=dan)
    assert as_dan.get(url(study)).status_code == 200
    Campaign.objects.filter(pk=source.pk).update(state=CampaignState.OPEN)
    assert as_dan.get(url(study)).status_code == 404
    assert as_dan.get(url(study, "pack.zip")).status_code == 404


def test_the_verifier_is_the_houses_own(as_carol: Client) -> None:
    response = as_carol.get("/studies/verify.py")
    assert response.content == Path(verify.__file__).read_bytes()
    assert response["Content-Security-Policy"] == "sandbox"
    assert response["Content-Disposition"] == 'attachment; filename="verify.py"'
