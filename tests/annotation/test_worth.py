"""Which pairs are left out before anybody reads them, and how many ties to expect."""

import pytest
from django.test import Client

from accounts.models import User
from annotation import campaigns, pairs, worth
from annotation.campaigns import CampaignRefused
from annotation.models import Campaign, Pair
from annotation.pairs import Sources
from annotation.worth import CUT, INVALID, NEAR, UNEVEN, Text
from tests.annotation.build import stored_batches

NOTE = (
    "The patient reports three days of cough with fever, no chest pain, and takes lisinopril 10 mg daily for hypertension. Lungs are clear "
    "on both sides, the throat is red without coating, the abdomen soft; he was told to drink enough and to come back if short of breath. "
)
HOME = "Send her home with rest and fluids; call again if the fever stays above 39 degrees for two more days, please."
EVERY = tuple(worth.REASONS)


@pytest.mark.parametrize(
    ("one", "other", "form", "why"),
    [
        (Text(NOTE), Text(NOTE.replace("three", "four")), "plain_text", NEAR),
        (Text(NOTE), Text(HOME), "json", INVALID),
        (Text('{"a": 1}'), Text('{"b": [2]}'), "JSON", ""),
        (Text('{"a": 1}'), Text('{"b": 2'), "json", INVALID),
        (Text('{"a": 1}'), Text('{"b": 2'), "plain_text", ""),
        (Text("short answer"), Text("a much longer answer, indeed"), "plain_text", UNEVEN),
        (Text("ends well enough"), Text("was cut off at n", "length"), "plain_text", CUT),
        (Text("ends well enough", "stop"), Text("ends otherwise now", "stop"), "plain_text", ""),
    ],
)  # fmt: skip
def test_the_first_reason_that_speaks_against_a_pair(one: Text, other: Text, form: str, why: str) -> None:
    assert worth.reason(one, other, output_format=form, leaving=EVERY) == why
    assert worth.reason(other, one, output_format=form, leaving=EVERY) == why
    assert worth.reason(one, other, output_format=form, leaving=()) == ""


def test_ties_are_assumed_by_likeness_until_pairs_were_judged() -> None:
    other = "Nothing here says anything of a cough. She came for her vaccination and left ten minutes later without complaint."
    alike, apart = [(NOTE, NOTE.replace("three", "four"))], [(NOTE, other)]
    assert worth.tie_rate(apart) == pytest.approx(0.20)
    assert worth.tie_rate(alike) == pytest.approx(0.75)
    assert worth.tie_rate(alike + apart) == pytest.approx(0.475)
    judged = [(NOTE, other, False)] * 80
    assert worth.tie_rate(apart, judged) == pytest.approx(0.04)  # 4 assumed of 20, none of 80
    assert worth.tie_rate(alike, judged) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="no pairs"):
        worth.tie_rate([])


@pytest.mark.django_db
def test_a_campaign_leaves_out_what_it_was_told_to_and_counts_it() -> None:
    batches = stored_batches(4)
    _rewrite(batches)
    kept = campaigns.create(name="all", guideline="g", batches=batches, members=[], actor=None, seed=1, overlap=1)
    assert kept.counts["pairs"] == 4
    assert not set(kept.counts) & set(worth.REASONS)
    made = campaigns.create(name="some", guideline="g", batches=batches, members=[], actor=None, seed=1, overlap=1, leaving=(NEAR, CUT))
    assert made.counts["pairs"] == Pair.objects.filter(campaign=made).count() == 2
    assert (made.counts[NEAR], made.counts[CUT]) == (1, 1)
    assert pairs.sources_of(made).leaving == (NEAR, CUT)
    with pytest.raises(CampaignRefused, match="2 one text much longer than the other"):
        campaigns.create(
            name="none", guideline="g", batches=batches, members=[], actor=None, seed=1, overlap=1, leaving=(NEAR, CUT, UNEVEN)
        )


@pytest.mark.django_db
def test_what_pairs_are_like_is_seen_before_they_are_made() -> None:
    batches = stored_batches(4)
    _rewrite(batches)
    seen = pairs.outlook(Sources(tuple(batches), leaving=(NEAR,)))
    assert seen is not None
    assert (seen.looked, seen.reasons[NEAR], seen.reasons[CUT], seen.judged) == (4, 1, 1, 0)
    assert seen.tie_rate is not None
    assert 0.1 < seen.tie_rate < 0.4
    assert pairs.outlook(Sources(())) is None


@pytest.mark.django_db
def test_the_plan_tells_of_ties_and_of_what_is_left_out(as_dan: Client, alice: User) -> None:
    batches = stored_batches(4)
    _rewrite(batches)
    asked = {
        "name": "Notes", "guideline": "Judge.", "members": [alice.pk], "double_share": "0", "pairing": "every", "overlap": 1,
        "batches": [batch.pk for batch in batches], "splits": ["train", "validation", "evaluation"], "leaving": [NEAR, CUT],
    }  # fmt: skip
    page = as_dan.post("/campaigns/plan/", asked).content.decode()
    assert "ties to expect" in page
    assert "1 of 4: nearly the same text twice" in page
    as_dan.post("/campaigns/new/", asked)
    made = Campaign.objects.get(name="Notes")
    assert "1 pair left out: nearly the same text twice." in as_dan.get(f"/campaigns/{made.public_id}/").content.decode()


def _rewrite(batches: list) -> None:  # type: ignore[type-arg]
    """Four prompts: nearly the same text, one cut off, and two where one text is twice as long as the other."""
    first, second = (list(batch.completions.order_by("prompt")) for batch in batches)
    texts = [
        (NOTE, NOTE.replace("three", "four"), "stop"),
        ("It ends as it should, with a full stop.", "It does not end as it should, it is c", "length"),
        ("Rest and fluids.", "Rest, fluids, paracetamol and a call tomorrow.", "stop"),
        ("No change.", "No change of treatment is needed at present.", "stop"),
    ]
    for one, other, (a, b, ended) in zip(first, second, texts, strict=True):
        type(one).objects.filter(pk=one.pk).update(text=a, digest=f"a{one.pk}")
        type(one).objects.filter(pk=other.pk).update(text=b, digest=f"b{other.pk}", finish_reason=ended)
