"""What a campaign costs and can find out before it is made; what is locked when it opens."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from accounts.models import User
from annotation import campaigns, judgements, pairs, power, protocols, records
from annotation.models import Campaign, Split, Verdict
from annotation.pairs import Sources
from annotation.protocols import Measured
from tests.annotation.build import campaign, lease, stored_batches

TODAY = date(2026, 11, 22)
READ = Measured(pairs=300, prompts=300, evaluation=0, words=460.0, seconds=[])


def plan(measured: Measured = READ, **asked: Any) -> protocols.Plan:
    return protocols.plan(measured=measured, today=TODAY, **asked)


# --- the plan, by hand -------------------------------------------------------------------------------------------------------------------


def test_the_plan_of_an_ordinary_campaign() -> None:
    """300 pairs, a quarter twice, 5 % asked again, 6 gold pairs for each of 3 raters; 460 words are 2 minutes."""
    planned = plan(double_share=0.25, repeat_share=0.05, gold=6, members=3, hourly_cost=Decimal(150))
    assert planned.votes == 375
    assert planned.judgements == 375 + 19 + 18
    assert planned.minutes == 2.0
    assert planned.by == "words"
    assert planned.hours == pytest.approx(412 * 2 / 60)
    assert planned.cost == pytest.approx(412 * 2 / 60 * 150)
    assert planned.session_pairs == 10
    assert planned.days == 14  # 412 judgements, 30 a day
    assert planned.detectable == power.detectable_win_rate(375)
    assert [need.enough for need in planned.needs] == [False, False, True, True, True]
    assert planned.warnings == []


def test_the_raters_own_pace_counts_once_it_is_known() -> None:
    planned = plan(READ._replace(seconds=[90.0] * 20))
    assert (planned.minutes, planned.by) == (1.5, "times")
    assert plan(READ._replace(seconds=[90.0] * 19)).by == "words"


def test_cohorts_each_judge_every_pair() -> None:
    planned = plan(cohorts=[2, 3], double_share=0.1)
    assert planned.votes == 300 * 2 + 30
    assert planned.days == 13  # 630 judgements, 5 people, 10 each a day


def test_a_qualification_asks_everybody_everything_and_finds_nothing_out() -> None:
    planned = plan(READ._replace(pairs=8, prompts=8), purpose="qualify", members=4)
    assert (planned.votes, planned.judgements, planned.detectable) == (0, 32, None)
    assert planned.warnings == []


def test_a_plan_without_people_or_cost_leaves_them_open() -> None:
    planned = plan(limit=50)
    assert (planned.pairs, planned.votes, planned.days, planned.cost, planned.days_left) == (50, 50, None, None, None)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"measured": READ._replace(words=1000.0), "members": 3}, "A pair takes 4.3 minutes: above 4, readers tire."),
        ({"members": 1, "deadline": TODAY + timedelta(days=6)}, "At one session a day it takes 30 days, and 7 are left to the deadline"),
        ({"members": 1, "double_share": 0.25}, "A pair asks for up to 2 judgements and 1 person can give them"),
        ({"cohorts": [5, 2], "overlap": 3}, "A pair asks for up to 3 judgements and 2 people can give them"),
        (
            {"measured": READ._replace(evaluation=60), "overlap": 2, "members": 4},
            "60 pairs are for evaluation, and prompts are judged 2.0 times",
        ),
        ({"measured": READ._replace(prompts=100, evaluation=60), "members": 4}, "judged 3.0 times: that tells less"),
        ({"members": 4, "double_share": 0.05}, "15 pairs are judged twice: below 30, agreement will say “n too small”."),
        ({"measured": READ._replace(structured=0.6), "members": 4}, "Most prompts ask for JSON: rubric T10"),
        ({"limit": 5, "members": 4}, "So few judgements can tell no difference at all."),
    ],
)  # fmt: skip
def test_what_should_be_thought_over_is_said(asked: dict[str, Any], said: str) -> None:
    assert any(said in warning for warning in plan(**asked).warnings), plan(**asked).warnings


def test_what_checks_json_is_not_told_to() -> None:
    assert plan(READ._replace(structured=1.0), members=4, checks=["json"]).warnings == []


# --- measured ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("pairing", [pairs.EVERY_PAIR, pairs.ONE_PAIR])
def test_what_is_measured_is_what_would_be_drawn(pairing: str) -> None:
    import random

    batches = stored_batches(30, list("xyz"))
    twin, same = batches[0].completions.order_by("prompt")[0], batches[1].completions.order_by("prompt")[0]
    type(same).objects.filter(pk=same.pk).update(text=twin.text, digest=twin.digest)
    for splits in (tuple(Split.values), ("train",), ("evaluation",)):
        sources = Sources(tuple(batches), splits, (), pairing)
        found, counts = pairs.candidates(sources, random.Random(1))
        measured = protocols.measure(sources)
        assert measured.pairs == len(found) == counts["pairs"]
        assert measured.evaluation == sum(one.split == "evaluation" for one in found)
    # Instruction 10 words, input 11, each answer 9.
    assert measured.words == 10 + 11 + 2 * 9


@pytest.mark.django_db
def test_nothing_chosen_measures_nothing() -> None:
    assert protocols.measure(Sources(())).pairs == 0
    assert protocols.measure(Sources(tuple(stored_batches(2)), ())).pairs == 0


@pytest.mark.django_db
def test_the_pace_is_that_of_the_people_chosen(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=4)
    for annotator, spent in ((alice, 30_000), (alice, 50_000), (bob, 90_000)):
        judgements.submit(assignment=lease(made, annotator), verdict=Verdict.FIRST_MUCH, key=uuid4(), active_ms=spent)
    sources = Sources(tuple(stored_batches(2, ("q", "r"), "others")))
    assert protocols.measure(sources, [alice]).seconds == [50.0, 30.0]
    assert protocols.measure(sources, [alice, bob]).seconds == [90.0, 50.0, 30.0]
    assert protocols.measure(sources).seconds == []


# --- locked ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_opening_locks_the_protocol_with_its_digest(alice: User) -> None:
    made = campaign([alice], double_share=0.5, repeat_share=0.05)
    assert made.protocol_digest == records.digest_of(made.protocol)
    assert made.protocol["format"] == "protocol-1"
    assert made.protocol["rubric"] == {"code": "T0", "version": 1, "digest": made.rubric.digest}
    assert (made.protocol["overlap"], made.protocol["double_share"], made.protocol["seed"]) == (1, 0.5, 7)
    assert made.protocol["pairs"]["count"] == 6
    assert len(made.protocol["sources"]["batches"]) == 2


@pytest.mark.django_db
def test_the_digest_follows_from_the_pairs_and_terms_alone(alice: User) -> None:
    """The same draft locked twice says the same; another order of pairs, another seed or another term does not."""
    batches = stored_batches(12)

    def digest(**options: Any) -> str:
        terms = {"overlap": 1, "seed": 3, **options}
        made = campaigns.create(name="C", guideline="g", batches=batches, members=[alice], actor=None, **terms)
        return protocols.lock(made)[1]

    first = digest()
    assert digest() == first
    assert len({first, digest(seed=4), digest(overlap=2), digest(repeat_share=0.05), digest(limit=11)}) == 5


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", [{"overlap": 3}, {"guideline": "Prefer A."}, {"seed": 1}, {"protocol": {}}, {"protocol_digest": "0"}, {"repeat_share": 0.2}]
)
def test_the_database_keeps_what_was_locked(alice: User, change: dict[str, Any]) -> None:
    made = campaign([alice])
    with pytest.raises(DatabaseError, match="keeps its protocol"), transaction.atomic():
        Campaign.objects.filter(pk=made.pk).update(**change)
    Campaign.objects.filter(pk=made.pk).update(deadline=timezone.localdate())


# --- told --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_pre_registration_says_what_was_decided(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=40, double_share=0.25, repeat_share=0.05, rationale_when=["flag"], deadline=timezone.localdate())
    told = protocols.text(made)
    for sentence in (
        "Blinded comparison",
        "Pairs are drawn at random; the probability is kept with each.",
        "25 % of the pairs outside the evaluation split",
        "40 pairs from 40 prompts",
        "2 raters, who have consented.",
        "A few words are required when: a side is flagged as harmful.",
        "win difference with ties kept",
        made.protocol_digest,
    ):
        assert sentence in told, sentence
    draft = campaign([alice], opened=False)
    assert "Not locked yet" in protocols.text(draft)
