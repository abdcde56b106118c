"""Campaigns: which pairs there are, who stands on the left, who may come in."""

from collections import Counter
from datetime import timedelta
from math import ceil
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.models import Count
from django.utils import timezone

from accounts.models import AuditEntry, Profile, User
from annotation import assignments, campaigns, completions, golds, judgements, samples, slots
from annotation.campaigns import CampaignRefused
from annotation.models import Campaign, CampaignState, Completion, GenerationBatch, Pair, Sample, Slot, Split, Verdict
from tests.annotation.build import GUIDELINE, campaign, jsonl, judge, lease, row, stored_batches
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


def test_making_six_hundred_pairs_takes_few_queries(alice: User, django_assert_num_queries: object) -> None:
    batches = stored_batches(40, list("uvwxyz"))
    make(batches, [alice], limit=6)
    for limit in (60, None):
        with django_assert_num_queries(17):  # type: ignore[operator]
            make(batches, [alice], overlap=2, double_share=0.25, limit=limit)


# --- selection, splits, doubles ----------------------------------------------------------------------------------------------------------


def mixed_batches(count: int = 40) -> list[GenerationBatch]:
    """Two systems' answers to samples of three kinds: half summaries, three eighths letters, one eighth triage."""
    kinds = [("summarization", "Discharge Summary"), ("text_completion", "Clinical Letter"), ("triage", "Triage Note")]
    which = [kinds[0]] * (count // 2) + [kinds[1]] * (3 * count // 8) + [kinds[2]] * (count // 8)
    rows = [row(n, id=f"m{n}", task_type=task, input_data=document) for n, (task, document) in enumerate(which)]
    samples.import_jsonl(file=jsonl(rows), source="mixed", licence="CC0-1.0", actor=None)
    texts = [
        {"id": f"m{n}", "system": system, "text": f"{system[::-1]} answer {n}: {' '.join(str(n * k % 17) for k in range(12))}"}
        for n in range(count)
        for system in ("mixed-north", "mixed-south")
    ]
    completions.import_external(file=jsonl(texts), filename="t.jsonl", source="mixed", actor=None)
    return list(GenerationBatch.objects.filter(system__startswith="mixed-").order_by("pk"))


TRAINING = [Split.TRAIN, Split.VALIDATION]


def test_a_stratified_campaign_takes_each_kind_by_its_share(alice: User) -> None:
    made = make(mixed_batches(), [alice], selection="stratified", limit=8, splits=TRAINING)
    there = Counter(
        f"{task} × {document}" for task, document in Sample.objects.exclude(split="evaluation").values_list("task_type", "input_data")
    )
    taken = Counter(made.pairs.values_list("stratum", flat=True))
    assert sum(taken.values()) == 8
    assert set(taken) == set(there)
    for pair in made.pairs.all():
        assert pair.selection_probability == pytest.approx(taken[pair.stratum] / there[pair.stratum])
        assert pair.selected_by == "stratified"


def test_an_informative_campaign_keeps_a_random_fifth(alice: User) -> None:
    made = make(mixed_batches(), [alice], selection="informative", limit=10, splits=TRAINING, double_share=1.0)
    there = Sample.objects.exclude(split="evaluation").count()
    assert Counter(made.pairs.values_list("selected_by", "selection_probability")) == {
        ("random", 2 / there): 2, ("informative", 1.0): 8,
    }  # fmt: skip
    # Agreement is estimated where chance chose: only those are judged twice.
    assert set(made.pairs.annotate(n=Count("slots")).values_list("selected_by", "n")) == {("random", 2), ("informative", 1)}


@pytest.mark.parametrize("how", ["stratified", "informative"])
def test_the_evaluation_pool_is_random_only(alice: User, how: str) -> None:
    batches = stored_batches(10)
    for splits in ((), [Split.EVALUATION], [Split.TRAIN, Split.EVALUATION]):
        with pytest.raises(CampaignRefused, match="Pairs of the evaluation split are drawn at random only"):
            make(batches, [alice], selection=how, splits=splits)
    with pytest.raises(CampaignRefused, match="A study measures"):
        make(batches, [alice], selection=how, splits=[Split.TRAIN], purpose="study")
    made = make(batches, [alice], selection=how, splits=TRAINING)
    for change in ({"splits": ["evaluation"]}, {"purpose": "study"}):
        with pytest.raises(IntegrityError, match="evaluation_pool_is_random"), transaction.atomic():
            Campaign.objects.filter(pk=made.pk).update(**change)


def test_too_few_for_every_kind_is_refused(alice: User) -> None:
    with pytest.raises(CampaignRefused, match=r"2 pairs cannot cover 3 combinations of task and document\. Ask for more pairs"):
        make(mixed_batches(), [alice], selection="stratified", limit=2, splits=TRAINING)


def test_a_quarter_is_judged_twice_outside_the_evaluation_split(alice: User) -> None:
    made = make(stored_batches(60), [alice], double_share=0.25)
    slots = Counter(made.pairs.annotate(n=Count("slots")).values_list("prompt__sample__split", "n"))
    training = sum(n for (split, _), n in slots.items() if split != "evaluation")
    assert sum(n for (_, judged), n in slots.items() if judged == 2) == ceil(training / 4)
    assert slots["evaluation", 2] == 0
    assert slots["evaluation", 1] > 0


# --- cohorts and routing -----------------------------------------------------------------------------------------------------------------


def test_each_cohort_judges_every_pair(alice: User, bob: User, eve: User) -> None:
    made = make(stored_batches(4), [], overlap=1, cohorts={"ward": [alice, bob], "clinic": [eve]})
    assert made.cohorts == ["ward", "clinic"]
    assert Counter(made.slots.values_list("audience", flat=True)) == {"ward": 4, "clinic": 4}
    assert dict(made.memberships.values_list("user__username", "cohort")) == {"alice": "ward", "bob": "ward", "eve": "clinic"}
    campaigns.open(campaign=made, actor=None)
    for _ in range(4):
        judge(made, alice)
        judge(made, eve)
    assert assignments.lease_next(campaign=made, annotator=bob) is None
    # Within a pair the sides alternate over the cohorts.
    for pair in made.pairs.prefetch_related("slots"):
        assert {slot.first_on_left for slot in pair.slots.all()} == {True, False}


def test_one_judgement_more_goes_to_the_cohorts_in_turn(alice: User, bob: User) -> None:
    made = make(stored_batches(12), [], cohorts={"ward": [alice], "clinic": [bob]}, double_share=1.0, splits=TRAINING)
    votes = Counter(made.slots.values_list("audience", flat=True))
    assert sum(votes.values()) == 3 * made.pairs.count()
    assert abs(votes["ward"] - votes["clinic"]) <= 1
    with pytest.raises(CampaignRefused, match="say which they join, ward or clinic"):
        campaigns.add_members(campaign=made, members=[person("zoe", "annotator")], actor=None)


def test_everybody_has_a_cohort_and_every_cohort_somebody(alice: User, bob: User) -> None:
    batches = stored_batches(3)
    with pytest.raises(CampaignRefused, match="Every pair goes to cohorts, and bob would be in none"):
        make(batches, [bob], cohorts={"ward": [alice]})
    made = make(batches, [], cohorts={"ward": [alice], "clinic": []})
    with pytest.raises(CampaignRefused, match="3 pairs are for the cohort “clinic”, and nobody is in it"):
        campaigns.open(campaign=made, actor=None)
    with pytest.raises(CampaignRefused, match="not by both"):
        make(batches, [], cohorts={"ward": [alice]}, routing={"by": "task_type", "rules": {"triage": "cardiology"}})


def test_pairs_go_to_those_who_know_the_field(alice: User, bob: User) -> None:
    Profile.objects.filter(user=bob).update(specialties=["cardiology"])
    batches = mixed_batches(16)
    rules = {"by": "input_data", "rules": {"Triage Note": "cardiology"}}
    made = make(batches, [alice, bob], routing=rules)
    assert Counter(made.slots.values_list("audience", flat=True)) == {"specialty:cardiology": 2, "": 14}
    campaigns.open(campaign=made, actor=None)
    judged = set()
    while held := assignments.lease_next(campaign=made, annotator=alice):
        judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
        judged.add(held.pair.prompt.sample.input_data)
    assert judged == {"Discharge Summary", "Clinical Letter"}
    assert judge(made, bob).assignment.pair.prompt.sample.input_data == "Triage Note"


def test_a_field_that_nobody_has_is_refused_at_opening_with_the_count(alice: User) -> None:
    rules = {"by": "input_data", "rules": {"Triage Note": "cardiology"}}
    made = make(mixed_batches(16), [alice], routing=rules)
    with pytest.raises(CampaignRefused, match="2 pairs are routed to Cardiology, and no member gives that as their field"):
        campaigns.open(campaign=made, actor=None)
    assert Campaign.objects.get(pk=made.pk).state == CampaignState.DRAFT


# --- its life ----------------------------------------------------------------------------------------------------------------------------


def test_a_paused_campaign_hands_out_nothing_and_keeps_what_is_on_a_screen(alice: User, bob: User) -> None:
    made = campaign([alice, bob])
    held = lease(made, alice)
    campaigns.pause(campaign=made, actor=None)
    assert assignments.lease_next(campaign=made, annotator=bob) is None
    answered = judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH, key=uuid4())
    assert not answered.surplus
    with pytest.raises(CampaignRefused, match="Only an open campaign can be paused"):
        campaigns.pause(campaign=made, actor=None)
    campaigns.resume(campaign=made, actor=None)
    assert judge(made, bob).assignment.annotator == bob
    with pytest.raises(CampaignRefused, match="Only a paused campaign"):
        campaigns.resume(campaign=made, actor=None)
    campaigns.pause(campaign=made, actor=None)
    campaigns.close(campaign=made, actor=None)
    assert Campaign.objects.get(pk=made.pk).state == CampaignState.CLOSED


def test_pausing_gives_back_what_was_fetched_ahead(alice: User) -> None:
    made = campaign([alice])
    held = lease(made, alice)
    ahead = assignments.lease_ahead(campaign=made, annotator=alice, beside=held)
    assert ahead is not None
    campaigns.pause(campaign=made, actor=None)
    assert set(made.assignments.filter(state="leased")) == {held}
    assert made.slots.filter(open=False).count() == 1


def test_extending_draws_on_from_what_was_not_drawn(alice: User) -> None:
    made = campaign([alice], pairs=30, limit=10, double_share=0.5)
    first = set(made.pairs.values_list("first", "second"))
    campaigns.extend(campaign=made, actor=None, more_pairs=8)
    assert made.pairs.count() == 18
    assert first < set(made.pairs.values_list("first", "second"))
    assert sorted(made.pairs.values_list("position", flat=True)) == list(range(18))
    # Two draws one after the other are one draw of eighteen from thirty.
    assert set(made.pairs.values_list("selection_probability", flat=True)) == {18 / 30}
    made.refresh_from_db()
    assert (made.counts["pairs"], made.counts["not_drawn"]) == (18, 12)
    assert made.protocol["pairs"]["count"] == 10
    assert slots.unbalanced(made) == []
    assert made.slots.filter(pair__position__gte=10).exists()
    campaigns.extend(campaign=made, actor=None, more_pairs=100)
    assert made.pairs.count() == 30
    assert set(made.pairs.values_list("selection_probability", flat=True)) == {1.0}
    with pytest.raises(CampaignRefused, match="Every pair there is has been drawn already"):
        campaigns.extend(campaign=made, actor=None, more_pairs=1)


def test_extending_a_stratified_campaign_keeps_each_kinds_chance(alice: User) -> None:
    made = make(mixed_batches(80), [alice], selection="stratified", limit=12, splits=TRAINING)
    campaigns.open(campaign=made, actor=None)
    campaigns.extend(campaign=made, actor=None, more_pairs=13)
    there = Counter(
        f"{task} × {document}" for task, document in Sample.objects.exclude(split="evaluation").values_list("task_type", "input_data")
    )
    taken = Counter(made.pairs.values_list("stratum", flat=True))
    assert sum(taken.values()) == 25
    for pair in made.pairs.all():
        assert pair.selection_probability == pytest.approx(taken[pair.stratum] / there[pair.stratum])


def test_extending_one_pair_a_prompt_keeps_the_chance_among_its_pairs(alice: User) -> None:
    made = make(stored_batches(12, list("wxyz")), [alice], pairing=campaigns.ONE_PAIR, limit=4)
    campaigns.open(campaign=made, actor=None)
    campaigns.extend(campaign=made, actor=None, more_pairs=5)
    assert made.pairs.values("prompt").distinct().count() == made.pairs.count() == 9
    for pair in made.pairs.all():
        assert pair.selection_probability == pytest.approx(9 / 12 / 6)


def test_extending_needs_something_to_extend(alice: User, bob: User) -> None:
    today = timezone.localdate()
    made = campaign([alice], deadline=today + timedelta(days=3))
    for asked, said in (
        ({}, "Say what is to be extended"),
        ({"deadline": today - timedelta(days=1)}, "lies in the past"),
        ({"deadline": today + timedelta(days=3)}, "means a later deadline"),
        ({"members": [person("dora", "trainer")]}, "may not rate"),
    ):
        with pytest.raises(CampaignRefused, match=said):
            campaigns.extend(campaign=made, actor=None, **asked)
    campaigns.extend(campaign=made, actor=None, deadline=today + timedelta(days=9), members=[bob])
    made.refresh_from_db()
    assert made.deadline == today + timedelta(days=9)
    assert made.memberships.count() == 2
    campaigns.close(campaign=made, actor=None)
    with pytest.raises(CampaignRefused, match="Only a campaign that runs"):
        campaigns.extend(campaign=made, actor=None, more_pairs=1)


def test_the_next_campaign_takes_up_what_was_left_unjudged(alice: User, bob: User) -> None:
    made = campaign(
        [], pairs=20, limit=8, cohorts={"ward": [alice], "clinic": [bob]}, double_share=0.5, repeat_share=0.1, rationale_when=["flag"]
    )
    with pytest.raises(CampaignRefused, match="Its pairs are still being judged"):
        campaigns.derive(campaign=made, name="Next", actor=None)
    judged = {judge(made, alice).assignment.pair for _ in range(3)}
    campaigns.close(campaign=made, actor=None)
    producer = str(made.pairs.select_related("first__batch")[0].first.batch)
    with pytest.raises(CampaignRefused, match="must not name a producer"):
        campaigns.derive(campaign=made, name=f"After {producer}", actor=None)
    following = campaigns.derive(campaign=made, name="Next", actor=None)
    assert following.predecessor == made
    assert following.state == CampaignState.DRAFT
    assert (following.double_share, following.repeat_share, following.rationale_when) == (0.5, 0.1, ["flag"])
    assert dict(following.memberships.values_list("user__username", "cohort")) == {"alice": "ward", "bob": "clinic"}
    expected = set(made.pairs.exclude(pk__in=[pair.pk for pair in judged]).values_list("first", "second"))
    assert set(following.pairs.values_list("first", "second")) == expected
    assert set(following.pairs.values_list("selection_probability", flat=True)) == {8 / 20}
    campaigns.open(campaign=following, actor=None)
    assert following.protocol_digest != made.protocol_digest
    with pytest.raises(CampaignRefused, match="what another campaign left unjudged"):
        campaigns.extend(campaign=following, actor=None, more_pairs=1)


def test_the_next_campaign_over_other_texts_keeps_the_terms(alice: User, bob: User) -> None:
    made = campaign([alice, bob], repeat_share=0.05, splits=TRAINING, selection="stratified")
    campaigns.revoke(campaign=made, user=bob, actor=None)
    following = campaigns.derive(campaign=made, name="Next", actor=None, batches=stored_batches(20, ("p", "q"), "later"), limit=5)
    assert (following.selection, following.splits, following.repeat_share) == ("stratified", ["train", "validation"], 0.05)
    assert following.pairs.count() == 5
    assert list(following.memberships.values_list("user__username", flat=True)) == ["alice"]
    with pytest.raises(CampaignRefused, match="nothing can follow a draft"):
        campaigns.derive(campaign=following, name="Later", actor=None)


def test_a_member_is_left_out_and_taken_back(alice: User, bob: User) -> None:
    made = campaign([alice, bob])
    held = lease(made, alice)
    campaigns.revoke(campaign=made, user=alice, actor=None)
    held.refresh_from_db()
    assert held.state == "released"
    assert assignments.lease_next(campaign=made, annotator=alice) is None
    with pytest.raises(CampaignRefused, match="does not rate in this campaign"):
        campaigns.revoke(campaign=made, user=alice, actor=None)
    campaigns.readmit(campaign=made, user=alice, actor=None)
    assert judge(made, alice).assignment.annotator == alice


def test_what_somebody_holds_goes_to_somebody_else(alice: User, bob: User, eve: User) -> None:
    made = campaign([alice, bob])
    held = lease(made, alice)
    assert campaigns.reassign(campaign=made, user=alice, to=bob, actor=None) == (1, 0)
    assert judge(made, bob).assignment.pair == held.pair
    with pytest.raises(CampaignRefused, match="alice holds no pair"):
        campaigns.reassign(campaign=made, user=alice, to=bob, actor=None)
    with pytest.raises(CampaignRefused, match="eve may not judge here now"):
        campaigns.reassign(campaign=made, user=bob, to=eve, actor=None)
    with pytest.raises(CampaignRefused, match="Choose somebody else"):
        campaigns.reassign(campaign=made, user=bob, to=bob, actor=None)


def test_a_pair_the_other_has_had_stays(alice: User, bob: User) -> None:
    made = campaign([alice, bob], pairs=1, overlap=2)
    judge(made, bob)
    held = lease(made, alice)
    assert campaigns.reassign(campaign=made, user=alice, to=bob, actor=None) == (0, 1)
    held.refresh_from_db()
    assert held.state == "leased"


# --- qualifications ----------------------------------------------------------------------------------------------------------------------


def test_a_qualification_opens_once_every_answer_is_known(alice: User, bob: User) -> None:
    made = campaign([alice], pairs=3, purpose="qualify", opened=False)
    assert not made.slots.exists()
    with pytest.raises(CampaignRefused, match="3 pairs of this qualification have no expected answer yet"):
        campaigns.open(campaign=made, actor=None)
    for pair in made.pairs.all():
        golds.mark(
            pair=pair, accepts=["first_much", "first_slightly"], explanation="The second invents a dose.", origin="written", actor=None
        )
    gated = campaign([bob], pairs=2, qualification=made, opened=False)
    with pytest.raises(CampaignRefused, match="Nobody could qualify: “Chest pain letters” is not open yet"):
        campaigns.open(campaign=gated, actor=None)
    campaigns.open(campaign=made, actor=None)
    campaigns.open(campaign=gated, actor=None)
    assert made.slots.filter(reserved_for=alice).count() == 3
    assert assignments.lease_next(campaign=gated, annotator=bob) is None
    with pytest.raises(CampaignRefused, match="is no qualification"):
        campaign([alice], qualification=gated)
    with pytest.raises(CampaignRefused, match="asks everybody the same"):
        campaigns.extend(campaign=made, actor=None, more_pairs=1)


def test_gold_that_nobody_has_settled_is_refused_with_the_count(alice: User) -> None:
    with pytest.raises(CampaignRefused, match="Only 0 settled pairs can be used as gold"):
        campaign([alice], gold=2)
    assert not Campaign.objects.exists()


# --- discarding ------------------------------------------------------------------------------------------------------------------------


def test_only_a_draft_can_be_discarded_and_its_texts_stay(alice: User) -> None:
    draft, opened = campaign([alice], opened=False), campaign([alice])
    texts = Completion.objects.count()
    campaigns.discard(campaign=draft, actor=alice)
    assert list(Campaign.objects.all()) == [opened]
    assert Completion.objects.count() == texts
    with pytest.raises(CampaignRefused, match="Only a draft can be discarded"):
        campaigns.discard(campaign=opened, actor=alice)
    assert AuditEntry.objects.filter(verb="campaign.discarded").count() == 1


def test_a_qualification_that_another_draft_asks_for_stays(alice: User) -> None:
    qualification = campaign([alice], purpose="qualify", opened=False)
    campaign([alice], qualification=qualification, opened=False)
    with pytest.raises(CampaignRefused, match="asks for this qualification"):
        campaigns.discard(campaign=qualification, actor=None)
    assert Campaign.objects.count() == 2
