"""What trainers see and do: files in, campaigns set up, opened, watched and closed."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts.models import RoleGrant, User
from annotation import adjudications, campaigns, golds, records, rubrics
from annotation.adjudications import Ruling
from annotation.models import Campaign, GenerationBatch, Verdict
from tests.annotation.build import GUIDELINE, campaign, jsonl, judge, lease, row, stored_batches
from tests.cast import person, signed_in
from tests.looks import faults

pytestmark = pytest.mark.django_db


def file(name: str, content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def test_with_nothing_stored_every_page_offers_the_first_step(as_dan: Client) -> None:
    assert 'href="/samples/import/"' in as_dan.get("/samples/").content.decode()
    for page in ("/campaigns/", "/campaigns/new/"):
        assert "There is nothing to compare yet" in as_dan.get(page).content.decode()


def test_a_campaign_from_the_form_to_its_close(as_dan: Client, alice: User) -> None:
    stored_batches(6)
    form = {
        "name": "Letters", "batches": [b.pk for b in GenerationBatch.objects.all()], "pairing": "every", "limit": "", "overlap": "1",
        "double_share": "0", "splits": ["train", "validation", "evaluation"], "members": [alice.pk], "guideline": GUIDELINE,
    }  # fmt: skip
    response = as_dan.post("/campaigns/new/", form)
    made = Campaign.objects.get()
    page = f"/campaigns/{made.public_id}/"
    assert response["Location"] == page
    drafted = as_dan.get(page).content.decode()
    assert "6 pairs are ready" in drafted
    assert "Nobody sees it yet" in drafted
    as_dan.post(page + "open/")
    for _ in range(6):
        judge(made, alice, Verdict.FIRST_SLIGHTLY)
    opened = as_dan.get(page).content.decode()
    assert "Every judgement is in. Close the campaign" in opened
    assert "north" in opened
    as_dan.post(page + "close/")
    assert "Closed with 6 of 6 judgements" in as_dan.get(page).content.decode()
    assert "6 of 6" in as_dan.get("/campaigns/").content.decode()


def test_a_form_that_leaves_nothing_says_why_and_is_kept(as_dan: Client, alice: User) -> None:
    (alone,) = stored_batches(2, ["alone"])
    form = {
        "name": "Kept name",
        "batches": [alone.pk],
        "pairing": "every",
        "overlap": "1",
        "splits": ["train"],
        "members": [alice.pk],
        "guideline": "g",
    }
    response = as_dan.post("/campaigns/new/", form)
    assert response.status_code == 422
    assert "No pair is left" in response.content.decode()
    assert 'value="Kept name"' in response.content.decode()
    assert as_dan.post("/campaigns/new/", {}).status_code == 422


def test_opening_twice_is_a_message_not_an_error(as_dan: Client, alice: User) -> None:
    made = campaign([alice])
    response = as_dan.post(f"/campaigns/{made.public_id}/open/", follow=True)
    assert "Only a campaign that was not open yet can be opened" in response.content.decode()


def test_annotators_have_no_managing_pages(as_alice: Client, alice: User) -> None:
    made = campaign([alice])
    for page in ("/samples/", "/samples/import/", "/campaigns/", "/campaigns/new/", f"/campaigns/{made.public_id}/", "/snapshots/"):
        assert as_alice.get(page).status_code == 403


def test_the_lists_take_a_fixed_number_of_queries(as_dan: Client, alice: User, django_assert_num_queries: Callable[[int], Any]) -> None:
    for page, queries in (("/samples/", 7), ("/campaigns/", 6)):
        for _ in range(2):
            campaign([alice])
            as_dan.get(page)
            with django_assert_num_queries(queries):
                as_dan.get(page)


def test_import_commands_take_files_and_answer_in_json(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from django.core.management import CommandError, call_command

    samples, texts = tmp_path / "s.jsonl", tmp_path / "t.csv"
    samples.write_bytes(jsonl([row(1, id="a")]).read())
    texts.write_text("id,system,text\na,north,One\na,south,One\n")
    call_command("import_samples", str(samples), source="made-up", licence="CC0-1.0", json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["stored"] == 1
    with pytest.raises(CommandError) as refused:
        call_command("import_completions", str(texts), source="made-up", json=True)
    assert refused.value.returncode == 1
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["problems"][0] == {
        "line": 3,
        "field": "text",
        "message": "Identical to the text of another system for the same sample on line 2: nothing to prefer.",
        "code": "import.invalid",
    }
    with pytest.raises(CommandError) as missing:
        call_command("import_samples", str(tmp_path / "absent.jsonl"), source="x", licence="y")
    assert missing.value.returncode == 2


# --- setting up --------------------------------------------------------------------------------------------------------------------------


def asked(people: list[User], /, **changes: Any) -> dict[str, Any]:
    """The least a browser sends for a campaign over everything there is."""
    sent = {
        "name": "Letters", "batches": [b.pk for b in GenerationBatch.objects.all()], "pairing": "every", "limit": "", "overlap": "1",
        "double_share": "0", "splits": ["train", "validation", "evaluation"], "members": [user.pk for user in people],
        "guideline": GUIDELINE, **changes,
    }  # fmt: skip
    return {name: value for name, value in sent.items() if value is not None}


def test_the_usual_values_are_the_protocols_defaults(as_dan: Client, alice: User) -> None:
    stored_batches(40)
    as_dan.post("/campaigns/new/", asked([alice], double_share=None))
    made = Campaign.objects.get()
    assert (made.double_share, made.repeat_share, made.selection, str(made.rubric)) == (0.25, 0.05, "random", "T0 v1")
    assert (made.session_minutes, made.lease_minutes, made.purpose, made.routing, made.cohorts) == (20, 30, "collect", {}, [])
    assert made.created_by is not None


def test_everything_on_the_form_reaches_the_campaign(as_dan: Client, alice: User, bob: User, eve: User) -> None:
    stored_batches(30)
    gate = campaign([eve], pairs=1, purpose="qualify", opened=False)
    golds.mark(pair=gate.pairs.get(), accepts=["first_much"], explanation="", origin="written", actor=None)
    campaigns.open(campaign=gate, actor=None)
    deadline = timezone.localdate() + timedelta(days=20)
    everything = {
        "batches": [b.pk for b in GenerationBatch.objects.filter(system__in=["north", "south"])],
        "splits": ["train", "validation"], "selection": "informative", "limit": "10", "overlap": "2", "double_share": "50",
        "repeat_share": "10", "rationale_when": ["much", "flag"], "session_minutes": "30", "deadline": deadline.isoformat(),
        "hourly_cost": "140.50", "lease_minutes": "45", "qualification": gate.pk, "cohorts": "ward: alice\nclinic: bob, eve\n",
        "rubric": rubrics.template("T2").pk,
    }  # fmt: skip
    response = as_dan.post("/campaigns/new/", asked([], **everything))
    assert response.status_code == 302, response.content.decode()
    made = Campaign.objects.get(name="Letters")
    assert (made.selection, made.splits, made.overlap) == ("informative", ["train", "validation"], 2)
    assert (made.double_share, made.repeat_share, made.rationale_when) == (0.5, 0.1, ["much", "flag"])
    assert (made.session_minutes, made.lease_minutes, made.deadline, str(made.hourly_cost)) == (30, 45, deadline, "140.50")
    assert (made.qualification, str(made.rubric), made.cohorts) == (gate, "T2 v1", ["ward", "clinic"])
    assert made.memberships.count() == 3


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"selection": "informative"}, "Pairs of the evaluation split are drawn at random only"),
        ({"cohorts": "ward alice"}, "Line 1 is not written like “hospital: alice, bob”."),
        ({"cohorts": "ward: alice\nclinic: nobody"}, "Nobody who may rate is called “nobody”."),
        ({"cohorts": "ward: alice\nclinic: alice"}, "alice is in two cohorts."),
        ({"cohorts": "ward: alice\nward: bob"}, "The cohort “ward” is there twice."),
        ({"cohorts": "ward: bob"}, "Every pair goes to cohorts, and alice would be in none."),
        ({"routing_by": "task_type"}, "Say which goes where."),
        ({"routing": "triage: cardiology"}, "Say whether tasks or documents are routed."),
        ({"routing_by": "task_type", "routing": "triage: heart"}, "There is no specialty “heart”"),
        ({"routing_by": "task_type", "routing": "haiku: cardiology"}, "No sample has the task “haiku”."),
        ({"deadline": "2020-01-01"}, "The deadline lies in the past."),
        ({"gold": "3"}, "Only 0 settled pairs can be used as gold"),
        ({"members": None}, "Choose who judges."),
        ({"batches": None}, "Choose the texts to compare."),
        ({"double_share": "200"}, "Ensure this value is less than or equal to 100."),
        ({"purpose": "study"}, "Select a valid choice."),
    ],
)
def test_a_mistake_is_named_and_nothing_is_lost(as_dan: Client, alice: User, bob: User, sent: dict[str, Any], said: str) -> None:
    stored_batches(3)
    response = as_dan.post("/campaigns/new/", asked([alice], guideline="Mind the <doses>.", hourly_cost="99.50", **sent))
    page = response.content.decode()
    assert response.status_code == 422
    assert said in page
    for kept in ('value="Letters"', "Mind the &lt;doses&gt;.", 'value="99.50"'):
        assert kept in page
    assert not Campaign.objects.exists()


def test_the_plan_follows_the_form_and_stores_nothing(as_dan: Client, alice: User, bob: User) -> None:
    stored_batches(400)
    sent = asked([alice, bob], double_share="25", hourly_cost="150", name="")
    fragment = as_dan.post("/campaigns/plan/", sent, headers={"HX-Request": "true"}).content.decode()
    assert fragment.strip().startswith('<section class="card plan" id="plan"')
    assert "39 words, 0.2 min" in fragment
    assert "on 400 pairs" in fragment
    assert "a win-rate of" in fragment
    assert "costing" in fragment
    assert not Campaign.objects.exists()


def test_the_plan_works_without_javascript_and_keeps_the_form(as_dan: Client, alice: User) -> None:
    stored_batches(5)
    response = as_dan.post("/campaigns/plan/", asked([alice], name="Half a na", double_share="30", cohorts="ward: nobody", deadline="soon"))
    page = response.content.decode()
    assert response.status_code == 200
    assert "<h1>New campaign</h1>" in page
    for kept in ('value="Half a na"', 'value="30"', "ward: nobody", 'value="soon"'):
        assert kept in page
    assert page.count(" checked") >= 3
    assert "So few judgements can tell no difference at all." in page
    assert "Nobody who may rate" not in page
    assert "Choose the texts to compare; the figures follow" in as_dan.post("/campaigns/plan/", {}).content.decode()


# --- its page and its people -------------------------------------------------------------------------------------------------------------


def test_a_campaign_is_paused_resumed_extended_and_followed_from_its_page(as_dan: Client, alice: User, bob: User) -> None:
    made = campaign([alice], pairs=10, limit=4)
    page = f"/campaigns/{made.public_id}/"
    assert "Paused: nobody is handed another pair" in as_dan.post(page + "pause/", follow=True).content.decode()
    assert "Only an open campaign can be paused" in as_dan.post(page + "pause/", follow=True).content.decode()
    assert "It goes on." in as_dan.post(page + "resume/", follow=True).content.decode()
    nothing = as_dan.post(page + "extend/", {})
    assert nothing.status_code == 422
    assert "Say what is to be extended" in nothing.content.decode()
    assert "6 pairs were not drawn" in as_dan.get(page + "extend/").content.decode()
    as_dan.post(page + "extend/", {"more_pairs": "2", "members": [bob.pk]})
    assert (made.pairs.count(), made.memberships.count()) == (6, 2)
    unfinished = as_dan.post(page + "derive/", {"name": "Next"})
    assert unfinished.status_code == 422
    assert "Its pairs are still being judged" in unfinished.content.decode()
    as_dan.post(page + "close/")
    response = as_dan.post(page + "derive/", {"name": "Next", "limit": "3"}, follow=True)
    assert "3 pairs are ready" in response.content.decode()
    assert Campaign.objects.get(name="Next").predecessor == made
    assert "Next" in as_dan.get(page).content.decode()
    assert "Only a campaign that runs can be extended" in as_dan.get(page + "extend/").content.decode()


def test_the_protocol_is_shown_and_downloaded_with_its_digest(as_dan: Client, alice: User) -> None:
    draft = campaign([alice], opened=False)
    page = f"/campaigns/{draft.public_id}/"
    assert "not locked yet" in as_dan.get(page).content.decode()
    assert as_dan.get(page + "protocol/").status_code == 404
    made = campaigns.open(campaign=draft, actor=None)
    shown = as_dan.get(page).content.decode()
    assert made.protocol_digest[:8] in shown
    assert "Blinded comparison of two answers side by side" in shown
    answer = as_dan.get(page + "protocol/")
    assert answer["Content-Disposition"] == f'attachment; filename="protocol-{made.protocol_digest[:8]}.json"'
    document = json.loads(answer.content)
    assert records.digest_of(document["protocol"]) == document["digest"] == made.protocol_digest


def test_people_are_let_in_left_out_taken_back_and_relieved(as_dan: Client, alice: User, bob: User, eve: User) -> None:
    made = campaign([alice, bob])
    held = lease(made, alice)
    page = f"/campaigns/{made.public_id}/members/"
    assert as_dan.post(page, {}).status_code == 422
    assert "1 person added." in as_dan.post(page, {"members": [eve.pk]}, follow=True).content.decode()
    given = as_dan.post(f"{page}{alice.pk}/reassign/", {"to": "bob"}, follow=True).content.decode()
    assert "1 pair kept for bob." in given
    assert held.slot.__class__.objects.get(pk=held.slot_id).reserved_for == bob
    assert "Choose who is to have their pairs." in as_dan.post(f"{page}{alice.pk}/reassign/", follow=True).content.decode()
    assert "alice holds no pair" in as_dan.post(f"{page}{alice.pk}/reassign/", {"to": "bob"}, follow=True).content.decode()
    assert "alice is handed nothing more here" in as_dan.post(f"{page}{alice.pk}/revoke/", follow=True).content.decode()
    assert "left out" in as_dan.get(page).content.decode()
    assert "does not rate in this campaign" in as_dan.post(f"{page}{alice.pk}/revoke/", follow=True).content.decode()
    assert "alice may judge here again" in as_dan.post(f"{page}{alice.pk}/readmit/", follow=True).content.decode()
    stranger = person("zoe", "annotator")
    for verb in ("revoke", "readmit", "reassign"):
        assert as_dan.post(f"{page}{stranger.pk}/{verb}/").status_code == 404


def test_where_each_member_stands_with_a_qualification(as_dan: Client, alice: User, bob: User) -> None:
    gate = campaign([], pairs=1, purpose="qualify", opened=False)
    golds.mark(pair=gate.pairs.get(), accepts=["first_much"], explanation="", origin="written", actor=None)
    campaigns.add_members(campaign=gate, members=[alice, bob], actor=None)
    campaigns.open(campaign=gate, actor=None)
    made = campaign([alice, bob], qualification=gate)
    judge(gate, alice, Verdict.FIRST_MUCH)
    for page in (f"/campaigns/{made.public_id}/", f"/campaigns/{made.public_id}/members/", f"/campaigns/{gate.public_id}/"):
        shown = as_dan.get(page).content.decode()
        assert "qualified" in shown
        assert "qualifying, try 1 of 2" in shown


def test_expected_answers_are_written_pair_by_pair(as_dan: Client, alice: User) -> None:
    made = campaign([alice], pairs=7, purpose="qualify", opened=False)
    page = f"/campaigns/{made.public_id}/answers/"
    assert "0 of 7 pairs have one" in as_dan.get(page).content.decode()
    last = made.pairs.get(position=6)
    empty = as_dan.post(page, {"pair": last.pk, f"{last.pk}-explanation": "It invents a dose."})
    assert empty.status_code == 422
    assert "Say which verdicts are right." in empty.content.decode()
    assert "It invents a dose." in empty.content.decode()
    telling = {"pair": last.pk, f"{last.pk}-accepts": ["first_much"], f"{last.pk}-explanation": f"{last.second.batch} invents a dose."}
    assert "it must not name a producer" in as_dan.post(page, telling).content.decode()
    assert not made.pairs.filter(gold__isnull=False).exists()
    for pair in made.pairs.all():
        as_dan.post(page, {"pair": pair.pk, f"{pair.pk}-accepts": ["second_much", "second_slightly"]})
    assert made.pairs.filter(gold__accepts=["second_slightly", "second_much"]).count() == 7
    assert "7 of 7 pairs have one" in as_dan.get(page).content.decode()
    assert "not in this campaign" in as_dan.post(page, {"pair": "999999"}, follow=True).content.decode()
    campaigns.open(campaign=made, actor=None)
    late = as_dan.post(page, {"pair": last.pk, f"{last.pk}-accepts": ["first_much"]})
    assert late.status_code == 422
    assert "The campaign has opened" in late.content.decode()


def test_the_list_is_narrowed_by_state_and_purpose(as_dan: Client, alice: User) -> None:
    today = timezone.localdate()
    campaign([alice], name="Running", deadline=today)
    campaign([alice], name="Drafted", opened=False)
    campaign([alice], name="Qualifying", purpose="qualify", opened=False)
    Campaign.objects.filter(name="Running").update(deadline=today - timedelta(days=1))

    def names(query: str) -> set[str]:
        page = as_dan.get(f"/campaigns/{query}").content.decode()
        return {name for name in ("Running", "Drafted", "Qualifying") if f">{name}</a>" in page}

    assert names("") == names("?state=nonsense") == {"Running", "Drafted", "Qualifying"}
    assert names("?state=open") == {"Running"}
    assert names("?state=draft&purpose=collect") == {"Drafted"}
    assert names("?purpose=qualify") == {"Qualifying"}
    assert "No campaign is like that." in as_dan.get("/campaigns/?state=paused").content.decode()
    assert "passed" in as_dan.get("/campaigns/").content.decode()


def test_what_a_lead_found_unclear_comes_back_to_the_rubric(as_dan: Client, alice: User, bob: User, carol: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    judge(made, alice, Verdict.FIRST_MUCH)
    judge(made, bob, Verdict.SECOND_MUCH)
    page, rubric = f"/campaigns/{made.public_id}/", f"/rubrics/{made.rubric_id}/"
    assert "1 pair waits for a lead clinician" in as_dan.get(page).content.decode()
    dispute = made.disputes.get()
    ruling = Ruling(outcome="rubric_unclear", rationale="Does a missing unit count as wrong?")
    adjudications.rule(dispute=dispute, adjudicator=carol, ruling=ruling, votes_version=dispute.votes_version, key=uuid4())
    assert "A lead found the rubric unclear once." in as_dan.get(page).content.decode()
    assert "Does a missing unit count as wrong?" in as_dan.get(rubric).content.decode()
    # Not to somebody who judges there, whatever their other roles.
    RoleGrant.objects.create(user=alice, role="trainer")
    assert "Does a missing unit" not in signed_in(alice).get(rubric).content.decode()


def test_a_draft_is_discarded_from_its_page(as_dan: Client, alice: User) -> None:
    made = campaign([alice], opened=False)
    assert "Discard the draft" in as_dan.get(f"/campaigns/{made.public_id}/").text
    page = as_dan.post(f"/campaigns/{made.public_id}/discard/", follow=True)
    assert "The draft is gone" in page.text
    assert not Campaign.objects.exists()


def test_a_campaigns_pages_take_a_fixed_number_of_queries(
    as_dan: Client, alice: User, bob: User, eve: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    person("dora", "annotator")  # whom both could let in
    small, large = campaign([alice], pairs=2), campaign([alice, bob, eve], pairs=12)
    for annotator in (alice, bob, eve):
        judge(large, annotator)
    for part, queries in (("", 17), ("members/", 8), ("extend/", 5), ("derive/", 4)):
        as_dan.get(f"/campaigns/{small.public_id}/{part}")
        for made in (small, large):
            with django_assert_num_queries(queries):
                as_dan.get(f"/campaigns/{made.public_id}/{part}")


@pytest.mark.browser
def test_a_trainer_sets_up_opens_and_closes_a_campaign_in_a_browser(open_page: Any, dan: User, alice: User, bob: User) -> None:
    """The plan follows what is chosen; opening and closing are asked about once more; by keyboard where it matters."""
    stored_batches(60)
    page = open_page(dan, viewport={"width": 1366, "height": 768}, reduced_motion="reduce")
    page.goto("/campaigns/new/")
    page.get_by_label("Name", exact=True).fill("Ward letters")
    page.get_by_label("north").check()
    page.get_by_label("south").check()
    page.get_by_label("alice").check()
    page.get_by_label("bob").check()
    page.locator("#plan").get_by_text("on 60 pairs").wait_for()
    page.get_by_role("button", name="Make the pairs").click()
    page.get_by_text("60 pairs are ready").wait_for()
    page.locator("summary", has_text="Open").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Annotators are at work").wait_for()
    page.locator("summary", has_text="Close").click()
    page.get_by_role("button", name="Close for good").click()
    page.get_by_text("Closed with 0 of").wait_for()
    assert [line for line in page.complaints if "sendAbort" not in line and "afterRequest" not in line] == []
    assert page.strangers == []


@pytest.mark.browser
def test_axe_finds_nothing_serious_where_campaigns_are_made(open_page: Any, dan: User, alice: User) -> None:
    made, draft = campaign([alice], pairs=5, deadline=timezone.localdate()), campaign([alice], pairs=2, opened=False)
    judge(made, alice)
    lease(made, alice)
    first = rubrics.template("T2")
    second = rubrics.next_version(rubric=first, name="Reader study", content={**first.content, "checks": ["json"]}, actor=dan)
    page = open_page(dan)
    wrong = []
    for number, address in enumerate((
        "/campaigns/", f"/campaigns/new/?batch={GenerationBatch.objects.latest('pk').public_id}", f"/campaigns/{made.public_id}/",
        f"/campaigns/{made.public_id}/members/", f"/campaigns/{made.public_id}/extend/", f"/campaigns/{made.public_id}/derive/",
        f"/campaigns/{draft.public_id}/", f"/campaigns/{draft.public_id}/answers/",
        "/rubrics/", f"/rubrics/{second.pk}/", f"/rubrics/{second.pk}/edit/",
    )):  # fmt: skip
        page.goto(address)
        for fold in page.locator("main details").all():
            fold.evaluate("fold => { fold.open = true; }")
        wrong += [f"{address}: {fault}" for fault in faults(page, f"campaigns-{number}")]
    assert not wrong, "\n".join(wrong)
