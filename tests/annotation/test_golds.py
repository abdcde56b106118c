"""Pairs whose answer is known: marked while a campaign is a draft, taken from what was settled, and never told to their rater."""

import re
from collections.abc import Callable
from typing import Any

import pgtrigger
import pytest
from django.db import transaction
from django.test import Client

from accounts.models import User
from annotation import assignments, campaigns, golds
from annotation.golds import GoldRefused
from annotation.models import (
    Adjudication,
    Assignment,
    Campaign,
    Dispute,
    Gold,
    Judgement,
    Pair,
    Sample,
    Slot,
    SlotKind,
    Split,
    Verdict,
)
from tests.annotation.build import campaign, judge, lease, qualification

pytestmark = pytest.mark.django_db
FIRST = ["first_much", "first_slightly"]
SECOND = ["second_slightly", "second_much"]


def settled(raters: list[User], *verdicts: Verdict, **options: Any) -> Campaign:
    """A closed campaign of one pair, with these votes on it."""
    made = campaign(raters, pairs=1, overlap=len(verdicts), **options)
    for rater, verdict in zip(raters, verdicts, strict=True):
        judge(made, rater, verdict)
    return campaigns.close(campaign=made, actor=None)


@pytest.fixture
def three(alice: User, bob: User, carol: User) -> list[User]:
    return [alice, bob, carol]


# --- marked ------------------------------------------------------------------------------------------------------------------------------


def test_a_marked_pair_is_asked_of_every_member_and_counts_as_nobodys_vote(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=4, opened=False)
    pair = made.pairs.earliest("position")
    golds.mark(pair=pair, accepts=["first_slightly", "first_much"], explanation="", origin="written", actor=None)
    campaigns.open(campaign=made, actor=None)
    assert sorted(Slot.objects.filter(pair=pair).values_list("kind", "reserved_for__username")) == [("gold", "alice"), ("gold", "bob")]
    assert Gold.objects.get().accepts == FIRST
    while assignments.lease_next(campaign=made, annotator=alice):
        judge(made, alice)
    assert not Judgement.objects.votes().filter(assignment__pair=pair).exists()
    assert Judgement.objects.filter(assignment__pair=pair).count() == 1


def test_what_is_asked_is_fixed_once_the_campaign_has_opened(alice: User) -> None:
    made = campaign([alice], pairs=2)
    with pytest.raises(GoldRefused, match="has opened"):
        golds.mark(pair=made.pairs.earliest("pk"), accepts=FIRST, explanation="", origin="written", actor=None)
    with pytest.raises(GoldRefused, match="has opened"):
        golds.add_settled(campaign=made, count=1, actor=None)


@pytest.mark.parametrize("accepts", [[], ["cannot_judge"], ["a_much"]])
def test_a_right_answer_is_a_verdict_on_the_texts(alice: User, accepts: list[str]) -> None:
    made = campaign([alice], pairs=1, opened=False)
    with pytest.raises(GoldRefused, match="which verdicts"):
        golds.mark(pair=made.pairs.get(), accepts=accepts, explanation="", origin="written", actor=None)


# --- settled -----------------------------------------------------------------------------------------------------------------------------


def test_three_votes_for_one_side_settle_a_pair_and_two_do_not(three: list[User], dan: User) -> None:
    earlier = settled(three, Verdict.SECOND_MUCH, Verdict.SECOND_SLIGHTLY, Verdict.SECOND_MUCH)
    settled(three[:2], Verdict.FIRST_MUCH, Verdict.FIRST_MUCH)
    settled(three, Verdict.FIRST_MUCH, Verdict.FIRST_MUCH, Verdict.BOTH_ACCEPTABLE)
    draft = campaign(three, pairs=3, opened=False)
    assert golds.add_settled(campaign=draft, count=10, actor=dan) == 1
    gold = Gold.objects.get()
    assert (gold.accepts, gold.origin, gold.explanation) == (SECOND, "settled", "")
    assert gold.pair.prompt == earlier.pairs.get().prompt
    assert gold.pair.position == 3
    assert golds.add_settled(campaign=draft, count=10, actor=dan) == 0


def test_open_campaigns_and_simulated_raters_settle_nothing_for_clinicians(three: list[User]) -> None:
    made = campaign(three, pairs=1, overlap=3)
    for rater in three:
        judge(made, rater)
    simulated = settled(three, *[Verdict.FIRST_MUCH] * 3, simulated=True)
    draft = campaign(three, pairs=1, opened=False)
    assert golds.add_settled(campaign=draft, count=10, actor=None) == 0
    demo = campaign(three, pairs=1, opened=False, simulated=True)
    assert golds.add_settled(campaign=demo, count=10, actor=None) == 1
    assert Gold.objects.get().pair.prompt == simulated.pairs.get().prompt


def test_a_ruling_settles_a_pair_whatever_the_votes_said(three: list[User], carol: User) -> None:
    earlier = settled(three[:2], Verdict.FIRST_MUCH, Verdict.SECOND_MUCH)
    pair = earlier.pairs.get()
    dispute, _ = Dispute.objects.update_or_create(
        pair=pair, defaults={"campaign": earlier, "kind": "opposed", "first_on_left": True, "state": "ruled"}
    )
    for revision, outcome in enumerate(["first", "second"], start=1):
        Adjudication.objects.create(
            dispute=dispute, revision=revision, adjudicator=carol, outcome=outcome,
            idempotency_key=f"00000000-0000-0000-0000-00000000000{revision}",
        )  # fmt: skip
    draft = campaign(three, pairs=1, opened=False)
    assert golds.add_settled(campaign=draft, count=1, actor=None) == 1
    assert (Gold.objects.get().accepts, Gold.objects.get().origin) == (SECOND, "ruled")


def test_what_a_lead_called_equivalent_or_has_still_to_see_is_not_settled_by_votes(three: list[User]) -> None:
    earlier = settled(three, *[Verdict.FIRST_MUCH] * 3)
    Dispute.objects.create(pair=earlier.pairs.get(), campaign=earlier, kind="harm", severity=2, first_on_left=True)
    draft = campaign(three, pairs=1, opened=False)
    assert golds.add_settled(campaign=draft, count=1, actor=None) == 0
    Dispute.objects.update(state="moot")
    assert golds.add_settled(campaign=draft, count=1, actor=None) == 1


def test_held_out_pairs_of_a_study_that_runs_and_withdrawn_samples_stay_out(three: list[User], alice: User) -> None:
    earlier = settled(three, *[Verdict.FIRST_MUCH] * 3)
    prompt = earlier.pairs.get().prompt
    with pgtrigger.ignore("annotation.Sample:split_never_changes"):
        Sample.objects.filter(pk=prompt.sample_id).update(split=Split.EVALUATION)
    study = campaign([alice], pairs=1, purpose="study")
    pair = earlier.pairs.get()
    Pair.objects.create(campaign=study, prompt=prompt, first=pair.first, second=pair.second, position=1)
    draft = campaign(three, pairs=1, opened=False)
    assert golds.add_settled(campaign=draft, count=1, actor=None) == 0
    campaigns.close(campaign=study, actor=None)
    Sample.objects.filter(pk=prompt.sample_id).update(withdrawn_at="2026-01-01T00:00:00Z")
    assert golds.add_settled(campaign=draft, count=1, actor=None) == 0
    Sample.objects.filter(pk=prompt.sample_id).update(withdrawn_at=None)
    assert golds.add_settled(campaign=draft, count=1, actor=None) == 1


def test_pairs_that_no_member_has_judged_come_first(three: list[User], eve: User, dan: User) -> None:
    settled(three, *[Verdict.FIRST_MUCH] * 3)
    seen_by_others = settled(three, *[Verdict.SECOND_MUCH] * 3)
    draft = campaign([three[0]], pairs=1, opened=False)
    Assignment.objects.filter(campaign=seen_by_others, annotator=three[0]).update(annotator=eve)
    assert golds.add_settled(campaign=draft, count=1, actor=dan) == 1
    assert Gold.objects.get().accepts == SECOND


# --- invisible to its rater ---------------------------------------------------------------------------------------------------------------


CHANGING = {"X-Request-ID", "Expires", "Last-Modified", "Date"}


def bytes_of(response: Any) -> tuple[int, dict[str, str], str]:
    """What was received, but for what is drawn anew in every answer: form keys, CSRF tokens, addresses of rows made meanwhile."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", response.content.decode())
    text = re.sub(r"(csrfmiddlewaretoken\" value=|csrf-token\" content=)\"\w+\"", r"\1", text)
    text = re.sub(r'(data-expires=|name="active_ms" value=)"\d*"', r"\1", text)
    text = re.sub(r"<time.*?</time>", "TIME", text)
    headers = {name: re.sub(r"[0-9a-f-]{36}", "UUID", value) for name, value in response.headers.items() if name not in CHANGING}
    return response.status_code, headers, text


def undone(act: Callable[[], Any]) -> Any:
    """What `act` returns, with everything it wrote taken back: so that two runs start from the same database."""
    saved = transaction.savepoint()
    try:
        return act()
    finally:
        transaction.savepoint_rollback(saved)


@pytest.fixture
def asked(as_alice: Client, alice: User) -> tuple[Client, Campaign, Pair]:
    """A campaign whose first pair for Alice is gold."""
    made = campaign([alice], pairs=4, opened=False, repeat_share=0.0)
    pair = made.pairs.earliest("position")
    golds.mark(pair=pair, accepts=FIRST, explanation="Only in a qualification.", origin="written", actor=None)
    campaigns.open(campaign=made, actor=None)
    Slot.objects.filter(pair=pair).update(position=0)
    return as_alice, made, pair


def everything_after(client: Client, made: Campaign) -> list[tuple[int, dict[str, str], str]]:
    """Every page Alice can reach while she answers her first pair, and after it, by form and in the background."""
    started = client.post(f"/rate/campaigns/{made.public_id}/next/")
    page = client.get(started["Location"])
    key = re.search(r'name="key" value="([^"]+)"', page.content.decode())
    assert key
    answer = {"verdict": "a_much", "key": key[1], "active_ms": "30000"}
    sent = client.post(started["Location"], answer)
    pages = [started, page, sent, client.get(sent["Location"]), client.get(started["Location"])]
    addresses = ("/rate/", "/rate/history/", "/me/impact/", f"/rate/campaigns/{made.public_id}/guideline/")
    return [bytes_of(one) for one in (*pages, *(client.get(address) for address in addresses))]


def test_a_missed_gold_answer_is_invisible_to_its_rater(asked: tuple[Client, Campaign, Pair]) -> None:
    client, made, _ = asked
    runs = []
    for accepts in (FIRST, SECOND):
        Gold.objects.update(accepts=accepts)
        runs.append(undone(lambda: everything_after(client, made)))
    held = runs[0]
    # One of the two was a miss, and both look the same to the byte.
    assert [status for status, *_ in held] == [302, 200, 302, 200, 200, 200, 200, 200, 200]
    assert runs[0] == runs[1]
    assert all("Only in a qualification" not in text for _, _, text in held)
    assert not re.search(r"\bgold\b|known answer|expected", " ".join(text for _, _, text in held), re.IGNORECASE)


def test_a_gold_pair_looks_like_any_other(asked: tuple[Client, Campaign, Pair]) -> None:
    client, made, pair = asked
    as_gold = undone(lambda: everything_after(client, made))

    def ordinary() -> Any:
        Gold.objects.all().delete()
        Slot.objects.filter(pair=pair).update(kind=SlotKind.VOTE, reserved_for=None)
        return everything_after(client, made)

    assert undone(ordinary) == as_gold


# --- results -----------------------------------------------------------------------------------------------------------------------------


def test_results_count_standing_answers_by_member(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=3, opened=False)
    for pair in made.pairs.order_by("position")[:2]:
        golds.mark(pair=pair, accepts=FIRST, explanation="", origin="written", actor=None)
    campaigns.open(campaign=made, actor=None)
    for _ in range(3):
        held = lease(made, alice)
        judge(made, alice, Verdict.FIRST_SLIGHTLY if held.pair.position else Verdict.SECOND_MUCH)
    found = {result.user.username: (result.right, result.asked, result.enough) for result in golds.results(campaign=made)}
    assert found == {"alice": (1, 2, False), "bob": (0, 0, False)}


def test_a_pair_that_most_miss_shows(alice: User, bob: User, carol: User) -> None:
    made = qualification([alice, bob, carol], pairs=2)
    for rater, second in ((alice, Verdict.FIRST_MUCH), (bob, Verdict.SECOND_MUCH), (carol, Verdict.SECOND_SLIGHTLY)):
        judge(made, rater, Verdict.FIRST_SLIGHTLY)
        judge(made, rater, second)
    assert golds.by_pair(campaign=made) == [(1, "summarization", 3, 3), (2, "summarization", 1, 3)]
