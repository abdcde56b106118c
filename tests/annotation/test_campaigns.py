"""Campaigns: which pairs there are, who stands on the left, who may come in."""

from collections import Counter

import pytest
from django.db import IntegrityError, transaction

from accounts.models import AuditEntry, User
from annotation import assignments, campaigns
from annotation.campaigns import CampaignRefused
from annotation.models import CampaignState, GenerationBatch, Pair, Slot, Split
from tests.annotation.build import GUIDELINE, campaign, lease, stored_batches
from tests.cast import person

pytestmark = pytest.mark.django_db


def make(batches: list[GenerationBatch], members: list[User], **options: object) -> campaigns.Campaign:
    values: dict[str, object] = {"overlap": 1, "seed": 3, **options}
    return campaigns.create(name="C", guideline=GUIDELINE, batches=batches, members=members, actor=None, **values)  # type: ignore[arg-type]


def test_six_systems_on_forty_samples_make_six_hundred_pairs(alice: User) -> None:
    made = make(stored_batches(40, list("uvwxyz")), [alice])
    assert made.counts == {"prompts": 40, "single": 0, "identical": 0, "pairs": 600}
    assert Pair.objects.filter(campaign=made).count() == 600
    assert sorted(Pair.objects.values_list("position", flat=True)) == list(range(600))


def test_pairs_stand_in_canonical_order_and_are_shuffled_by_the_seed(alice: User) -> None:
    batches = stored_batches(30)
    orders = []
    for seed in (1, 1, 2):
        made = make(batches, [alice], seed=seed)
        pairs = list(Pair.objects.filter(campaign=made))
        assert all(pair.first_id < pair.second_id for pair in pairs)
        orders.append([pair.prompt_id for pair in pairs])
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_a_pair_turned_round_or_made_twice_is_refused_by_the_database(alice: User) -> None:
    pair = Pair.objects.filter(campaign=campaign([alice])).first()
    assert pair is not None
    for first, second in ((pair.second_id, pair.first_id), (pair.first_id, pair.second_id)):
        with pytest.raises(IntegrityError), transaction.atomic():
            Pair.objects.create(campaign=pair.campaign, prompt=pair.prompt, first_id=first, second_id=second, position=99)


def test_identical_texts_are_left_out_and_counted(alice: User) -> None:
    batches = stored_batches(4, list("xyz"))
    one, two = batches[0].completions.first(), batches[1].completions.first()
    assert one is not None
    assert two is not None
    assert one.prompt_id == two.prompt_id
    type(two).objects.filter(pk=two.pk).update(text=one.text, digest=one.digest)
    made = make(batches, [alice])
    assert (made.counts["identical"], made.counts["pairs"]) == (1, 11)


def test_one_pair_a_prompt_knows_how_likely_it_was(alice: User) -> None:
    made = make(stored_batches(10, list("wxyz")), [alice], pairing=campaigns.ONE_PAIR)
    pairs = Pair.objects.filter(campaign=made)
    assert pairs.count() == pairs.values("prompt").distinct().count() == 10
    assert {pair.selection_probability for pair in pairs} == {1 / 6}


def test_a_limit_keeps_a_random_part(alice: User) -> None:
    made = make(stored_batches(20), [alice], limit=5)
    assert (made.counts["pairs"], made.counts["not_drawn"]) == (5, 15)
    assert {pair.selection_probability for pair in made.pairs.all()} == {0.25}


def test_sides_are_counterbalanced_over_slots_and_over_every_two_systems(alice: User) -> None:
    made = make(stored_batches(40, list("xyz")), [alice], overlap=3)
    for pair in made.pairs.prefetch_related("slots"):
        sides = [slot.first_on_left for slot in sorted(pair.slots.all(), key=lambda slot: slot.number)]
        assert sides in ([True, False, True], [False, True, False])
    shares: Counter[tuple[str, str, bool]] = Counter()
    for slot in Slot.objects.filter(campaign=made, number=1).select_related("pair__first__batch", "pair__second__batch"):
        shares[slot.pair.first.batch.system, slot.pair.second.batch.system, slot.first_on_left] += 1
    assert set(shares.values()) == {20}
    # Drawn, not alternating: position does not give the side away.
    sides = list(Slot.objects.filter(campaign=made, number=1).order_by("position").values_list("first_on_left", flat=True))
    assert sides != [sides[0] if n % 2 == 0 else not sides[0] for n in range(120)]


def test_only_the_splits_asked_for(alice: User) -> None:
    made = make(stored_batches(30), [alice], splits=[Split.TRAIN])
    assert {pair.prompt.sample.split for pair in made.pairs.select_related("prompt__sample")} == {"train"}
    assert 0 < made.pairs.count() < 30


def test_nothing_to_compare_is_refused_with_the_reason(alice: User) -> None:
    with pytest.raises(CampaignRefused, match="3 of them have only one text"):
        make(stored_batches(3, ["alone"]), [alice])


def test_simulated_raters_stay_out_of_clinicians_campaigns(alice: User) -> None:
    robot = person("robot", "annotator", simulated=True)
    batches = stored_batches(3)
    with pytest.raises(CampaignRefused, match="simulated"):
        make(batches, [alice, robot])
    assert not campaigns.Campaign.objects.exists()
    assert make(batches, [alice, robot], simulated=True).memberships.count() == 2


def test_only_people_who_may_rate_become_members(dan: User) -> None:
    with pytest.raises(CampaignRefused, match="may not rate"):
        make(stored_batches(3), [dan])


def test_a_campaign_opens_once_and_closes_once(alice: User) -> None:
    made = campaign([alice], opened=False)
    campaigns.open(campaign=made, actor=alice)
    with pytest.raises(CampaignRefused):
        campaigns.open(campaign=made, actor=alice)
    lease(made, alice)
    campaigns.close(campaign=made, actor=alice)
    assert made.state == CampaignState.CLOSED
    assert set(made.assignments.values_list("state", flat=True)) == {"released"}
    assert not made.slots.filter(open=False).exists()
    for verb in (campaigns.close, campaigns.open):
        with pytest.raises(CampaignRefused):
            verb(campaign=made, actor=alice)
    assert assignments.lease_next(campaign=made, annotator=alice) is None
    verbs = list(AuditEntry.objects.order_by("pk").values_list("verb", flat=True))
    assert verbs[-3:] == ["campaign.members_added", "campaign.opened", "campaign.closed"]


def test_a_campaign_without_members_does_not_open() -> None:
    with pytest.raises(CampaignRefused, match="Nobody is a member"):
        campaign([])


def test_making_six_hundred_pairs_takes_few_queries(alice: User, django_assert_max_num_queries: object) -> None:
    batches = stored_batches(40, list("uvwxyz"))
    with django_assert_max_num_queries(14):  # type: ignore[operator]
        make(batches, [alice], overlap=2)
