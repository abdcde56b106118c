"""The lead's pages: what waits, what one pair's votes say, ruling by side; blinded to raters and to models in every byte."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from annotation import answers, campaigns, judgements
from annotation.answers import Answer, Span
from annotation.models import Adjudication, Campaign, Dispute, DisputeState, Membership, Verdict
from tests.annotation.build import campaign, lease
from tests.annotation.test_disputes import answer
from tests.cast import person, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def disputed(alice: User, bob: User) -> Campaign:
    """One pair, opposed and flagged, with reasons, words, marks and an edit; the texts come from canaries."""
    made = campaign([alice, bob], pairs=1, overlap=2, systems=("canary-peregrine", "canary-goshawk"), name="Ward letters")
    judgements.submit(
        assignment=lease(made, alice),
        answer=Answer(
            verdict=Verdict.FIRST_MUCH, reasons=("facts",), rationale="Doubles warfarin.",
            harm_second="major", harm_second_type="wrong_dose",
            spans=(Span("second", 0, 6, "fabrication", "major"),), edited="first", edited_text="Chest pain; troponin normal.",
        ),
        key=uuid4(),
    )  # fmt: skip
    judgements.submit(
        assignment=lease(made, bob),
        answer=Answer(verdict=Verdict.SECOND_MUCH, rationale="Bob finds it <b>complete</b>.", hard="both_plausible"),
        key=uuid4(),
    )
    return made


@pytest.fixture
def address(disputed: Campaign) -> str:
    return f"/adjudicate/{Dispute.objects.get().public_id}/"


def form_of(page: str) -> dict[str, str]:
    """What the browser would send of an untouched form."""
    form = page[page.index('id="ruling"') :]
    sent = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[: form.index("</form>")]))
    for name, options in re.findall(r'<select name="(\w+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option value="(\w*)" selected', options)
        sent[name] = chosen.group(1) if chosen else ""
    return sent


def side_of(completion: str) -> str:
    return answers.side_of(Dispute.objects.get(), completion)


def test_the_queue_shows_what_has_to_be_settled_and_what_it_takes(as_carol: Client, disputed: Campaign) -> None:
    page = as_carol.get("/adjudicate/").content.decode()
    assert "major harm" in page
    assert "Ward letters" in page
    assert "1 min" in page
    assert f"/adjudicate/{Dispute.objects.get().public_id}/" in page


def test_without_conflicts_it_says_how_well_raters_agree(as_carol: Client, alice: User, bob: User) -> None:
    assert "No conflicts. No pair has been judged twice yet." in as_carol.get("/adjudicate/").content.decode()
    made = campaign([alice, bob], pairs=32, overlap=2)
    for number in range(32):
        answer(made, alice, Verdict.FIRST_SLIGHTLY)
        answer(made, bob, Verdict.FIRST_SLIGHTLY if number % 4 else Verdict.SECOND_SLIGHTLY)
    page = as_carol.get("/adjudicate/").content.decode()
    assert re.search(r"No conflicts\. 32 double-rated pairs agree 75 % \(\d\d–\d\d\)\.", page), page


def test_the_votes_are_read_by_the_leads_sides_and_name_nobody(as_carol: Client, address: str) -> None:
    page = as_carol.get(address).content.decode()
    first, second = side_of("first").upper(), side_of("second").upper()
    assert f": {first} much better" in page
    assert f": {second} much better" in page
    assert f"{second}: major harm" in page
    assert "Wrong dose, unit or value" in page
    assert "Because: Correct facts" in page
    assert "Doubles warfarin." in page
    assert "Bob finds it &lt;b&gt;complete&lt;/b&gt;." in page
    assert '<mark class="marked">Answer</mark><sup' in page
    assert re.search(r'<li id="[ab]-1">rater [12]: Made up, major</li>', page)
    assert f"Edited {first}" in page
    assert "Hard because: both are plausible" in page


def test_a_raters_own_words_about_a_are_not_taken_for_the_leads_a(as_carol: Client, disputed: Campaign, address: str) -> None:
    swapped = disputed.assignments.exclude(first_on_left=Dispute.objects.get().first_on_left).count()
    assert swapped == 1, "sides are counterbalanced over a pair's two slots"
    assert as_carol.get(address).content.decode().count("A in their words is your B") == swapped


def test_no_byte_says_who_judged_or_what_wrote_it(as_carol: Client, address: str, disputed: Campaign, alice: User) -> None:
    pages = [
        as_carol.get("/adjudicate/"),
        as_carol.get(address),
        as_carol.post(address, {"decision": "decide_a"}),
        as_carol.get("/safety/"),
        as_carol.get("/defects/"),
    ]
    pair = disputed.pairs.select_related("first", "second").get()
    secrets = {"peregrine", "goshawk", "alice", ">bob<", "first_much", "second_much", pair.first.digest, pair.second.digest}
    secrets |= {str(batch) for batch in (pair.first.batch.public_id, pair.second.batch.public_id)}
    secrets |= {str(held.public_id) for held in disputed.assignments.all()}
    for page in pages:
        bytes_of = page.content.decode() + str(page.headers)
        assert {secret for secret in secrets if secret in bytes_of} == set()
    # The search would find them: what they name is in the house.
    assert alice.username in secrets
    assert pair.first.batch.system.split("-")[1] in secrets


def test_a_ruling_is_stored_by_completion_and_the_next_dispute_follows(as_carol: Client, carol: User, address: str) -> None:
    sent = form_of(as_carol.get(address).content.decode())
    assert sent[f"harm_{side_of('second')}"] == "major", "what raters flagged is filled in: confirming it is no work"
    sent |= {"decision": f"decide_{side_of('first')}", f"must_not_train_{side_of('second')}": "on", "rationale": "Would bleed."}
    answered = as_carol.post(address, sent)
    assert (answered.status_code, answered["Location"]) == (302, "/adjudicate/")
    made = Adjudication.objects.get()
    assert (made.outcome, made.harm_first, made.harm_second) == ("first", "", "major")
    assert (made.must_not_train_first, made.must_not_train_second) == (False, True)
    assert (made.adjudicator, made.rationale) == (carol, "Would bleed.")
    # Again by the back button: the same ruling, once.
    as_carol.post(address, sent)
    assert Adjudication.objects.count() == 1


def test_nothing_typed_is_lost_when_something_is_wrong(as_carol: Client, address: str) -> None:
    sent = form_of(as_carol.get(address).content.decode())
    refused = as_carol.post(address, sent | {"rationale": "Half a thought", "harm_a": "life_threatening"})
    page = refused.content.decode()
    assert refused.status_code == 422
    assert "Choose what you decide first." in page
    assert "Half a thought" in page
    assert form_of(page)["harm_a"] == "life_threatening"
    without_words = as_carol.post(address, sent | {"decision": "defective"})
    assert without_words.status_code == 422
    assert "A few words, please" in without_words.content.decode()
    odd = as_carol.post(address, sent | {"decision": "decide_a", "rationale": "a\x00b"})
    assert odd.status_code == 422
    assert "cannot be stored" in odd.content.decode()
    assert not Adjudication.objects.exists()


def test_votes_that_changed_while_the_lead_was_looking_are_shown_anew(as_carol: Client, alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    answer(made, alice, Verdict.FIRST_MUCH, harm_first="major")
    address = f"/adjudicate/{Dispute.objects.get().public_id}/"
    sent = form_of(as_carol.get(address).content.decode())
    answer(made, bob, Verdict.SECOND_MUCH, rationale="I disagree with that.")
    sent |= {"decision": "equivalent", "rationale": "Typed already"}
    refused = as_carol.post(address, sent)
    page = refused.content.decode()
    assert refused.status_code == 409
    assert "The votes changed while you were looking" in page
    assert "I disagree with that." in page
    assert "Typed already" in page
    again = form_of(page) | {"decision": "equivalent", "rationale": "Typed already"}
    assert as_carol.post(address, again).status_code == 302


def test_a_pair_ruled_on_before_says_what_changed_since(as_carol: Client, alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    answer(made, alice, Verdict.FIRST_MUCH, harm_first="major")
    address = f"/adjudicate/{Dispute.objects.get().public_id}/"
    as_carol.post(address, form_of(as_carol.get(address).content.decode()) | {"decision": "equivalent"})
    assert "Ruled before" in as_carol.get(address).content.decode()
    assert "Changed since it was ruled on" not in as_carol.get(address).content.decode()
    answer(made, bob, Verdict.SECOND_MUCH)
    assert "changed since it was ruled on" in as_carol.get("/adjudicate/").content.decode()
    page = as_carol.get(address).content.decode()
    assert "Changed since it was ruled on" in page
    assert "new since the ruling" in page


def test_who_judges_in_the_campaign_or_judged_the_pair_gets_404(as_carol: Client, carol: User, disputed: Campaign, address: str) -> None:
    Membership.objects.create(campaign=disputed, user=carol)
    for answered in (as_carol.get(address), as_carol.post(address, {"decision": "decide_a"}), as_carol.post(address + "defer/")):
        assert answered.status_code == 404
    page = as_carol.get("/adjudicate/").content.decode()
    assert address not in page
    assert "1 wait for another lead" in page
    lead = person("lena", "annotator", "adjudicator")
    made = campaign([lead], pairs=1)
    answer(made, lead, Verdict.FIRST_MUCH, harm_first="major")
    campaigns.close(campaign=made, actor=None)
    assert signed_in(lead).get(f"/adjudicate/{Dispute.objects.get(campaign=made).public_id}/").status_code == 404


def test_a_raters_page_and_a_trainers_never_show_the_votes(as_alice: Client, as_dan: Client, address: str) -> None:
    for client in (as_alice, as_dan):
        assert client.get(address).status_code == 403
        assert client.get("/adjudicate/").status_code == 403


def test_putting_off_and_coming_back(as_carol: Client, address: str) -> None:
    assert as_carol.post("/adjudicate/defer/", {"dispute": [str(Dispute.objects.get().public_id), "nonsense"]}).status_code == 302
    assert Dispute.objects.get().state == DisputeState.DEFERRED
    assert "No conflicts." in as_carol.get("/adjudicate/").content.decode()
    assert address in as_carol.get("/adjudicate/?show=put-off").content.decode()
    # A ruling is possible all the same.
    sent = form_of(as_carol.get(address).content.decode())
    assert as_carol.post(address, sent | {"decision": "equivalent"}).status_code == 302
    assert address in as_carol.get("/adjudicate/?show=ruled").content.decode()


def test_two_leads_do_not_rule_at_once(as_carol: Client, address: str) -> None:
    carla = signed_in(person("carla", "adjudicator"))
    assert as_carol.post("/adjudicate/next/")["Location"] == address
    assert carla.post("/adjudicate/next/")["Location"] == "/adjudicate/"
    page = carla.get(address).content.decode()
    assert "Another lead is looking at this pair" in page
    assert 'id="ruling"' not in page
    assert "another lead has it" in carla.get("/adjudicate/").content.decode()
    assert carla.post(address + "take/")["Location"] == "/adjudicate/"


def test_a_page_takes_few_queries_however_many_votes_there_are(as_carol: Client, address: str) -> None:
    as_carol.get(address)
    with CaptureQueriesContext(connection) as queries:
        as_carol.get(address)
    assert len(queries) <= 12, [query["sql"][:120] for query in queries]
    with CaptureQueriesContext(connection) as queries:
        as_carol.get("/adjudicate/")
    assert len(queries) <= 12, [query["sql"][:120] for query in queries]


@pytest.fixture
def on_page(open_page: Any, carol: User) -> Any:
    return open_page(carol)


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_by_keyboard_a_digit_decides_and_enter_sends(on_page: Any, alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    answer(made, alice, Verdict.FIRST_MUCH)
    answer(made, bob, Verdict.SECOND_MUCH)
    on_page.goto("/adjudicate/")
    on_page.get_by_role("button", name="Take the next one").press("Enter")
    on_page.wait_for_selector("#ruling")
    on_page.wait_for_load_state()
    on_page.keyboard.press("2")
    on_page.locator("textarea").focus()
    on_page.keyboard.type("1 is not a choice here")
    assert on_page.locator("input[value=decide_b]").is_checked()
    on_page.locator("h1").click()
    on_page.keyboard.press("Enter")
    on_page.wait_for_selector("text=Your ruling stands beside the votes.")
    made_ruling = Adjudication.objects.get()
    dispute = Dispute.objects.get()
    assert made_ruling.outcome == answers.which_of(dispute, "b")
    assert made_ruling.rationale == "1 is not a choice here"
    assert on_page.complaints == []


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_without_javascript_a_ruling_is_made_all_the_same(open_page: Any, carol: User, alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    answer(made, alice, Verdict.FIRST_MUCH)
    answer(made, bob, Verdict.SECOND_MUCH)
    page = open_page(carol, java_script_enabled=False)
    page.goto("/adjudicate/")
    page.get_by_role("button", name="Take the next one").click()
    page.locator("input[value=equivalent]").check(force=True)
    page.get_by_role("button", name="Rule and go on").click()
    assert "Your ruling stands beside the votes." in page.content()
    assert Adjudication.objects.get().outcome == "equivalent"
