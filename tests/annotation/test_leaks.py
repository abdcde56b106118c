"""Samples that are nearly the same in different splits: what is held out for more stays, and no two that are left are close."""

from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from annotation import leaks, near, snapshots
from annotation.filters import Filters
from annotation.models import Campaign, Sample, Source, Split, Verdict
from tests.annotation.build import campaign, judge, rewrite

pytestmark = pytest.mark.django_db

LONG = [
    "Seen after a fall from a ladder at home, with pain in the left wrist and swelling since the evening; no other injury was found, the "
    "skin is intact, fingers move and feel normally, and the radiograph shows a distal radius fracture without displacement.",
    "Came for the yearly check of type two diabetes: no complaints, weight stable, feet without lesions, blood pressure within the goal, "
    "and the laboratory reports a glycated haemoglobin somewhat above the last one; metformin is taken every day as prescribed.",
    "Brought in by ambulance after a first seizure at work which colleagues describe as two minutes of stiffness and shaking; now awake "
    "and oriented, tongue bitten on one side, no fever, no neck stiffness, imaging without bleeding, bloods without a cause.",
]


def sample(number: int, text: str, split: str) -> Sample:
    source, _ = Source.objects.get_or_create(name="Leaky", defaults={"licence": "CC0-1.0"})
    return Sample.objects.create(
        source=source, external_id=f"l{number}", digest=f"{number:064x}", instruction="Write the letter.", input=text,
        task_type="summarization", input_data="Note", output_format="plain_text", split_key=f"{number:064x}", split=split,
    )  # fmt: skip


def across(*made: Sample) -> set[str]:
    splits = {split: [one.pk for one in made if one.split == split] for split in Split.values}
    leaving = leaks.across_splits(splits)
    return {one.external_id for one in made if one.pk in leaving}


def test_the_copy_held_out_for_more_stays() -> None:
    copy = LONG[0].replace("left wrist", "right wrist")
    assert across(sample(1, LONG[0], "train"), sample(2, copy, "evaluation"), sample(3, LONG[1], "train")) == {"l1"}
    assert across(sample(4, LONG[1], "validation"), sample(5, LONG[1] + " Seen again.", "evaluation")) == {"l4"}
    assert across(sample(6, LONG[2], "train"), sample(7, LONG[2].replace("two minutes", "three minutes"), "validation")) == {"l6"}


def test_copies_within_one_split_and_other_notes_stay() -> None:
    assert across(sample(1, LONG[0], "train"), sample(2, LONG[0].replace("left", "right"), "train")) == set()
    assert across(sample(3, LONG[0], "train"), sample(4, LONG[1], "evaluation")) == set()


def test_in_a_short_text_a_changed_figure_is_another_question() -> None:
    assert across(sample(1, "Give 5 mg once a day for pain.", "train"), sample(2, "Give 6 mg once a day for pain.", "evaluation")) == set()


PLANTED = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["", " left", " again", " and again"]), st.sampled_from(Split.values)), max_size=9
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLANTED)
def test_no_two_that_are_left_are_close_across_splits_and_no_evaluation_sample_leaves(planted: list[tuple[int, str, str]]) -> None:
    Sample.objects.filter(source__name="Leaky").delete()
    made = [sample(number, LONG[which] + more, split) for number, (which, more, split) in enumerate(planted)]
    leaving = across(*made)
    left = [one for one in made if one.external_id not in leaving]
    for a, b in combinations(left, 2):
        if a.split != b.split:
            assert near.jaccard(f"{a.instruction}\n{a.input}", f"{b.instruction}\n{b.input}") < 0.9
    assert not {one.external_id for one in made if one.split == "evaluation"} & leaving


def test_a_leaking_pair_is_left_out_with_its_reason(alice: User) -> None:
    made = _leaky(alice)
    planned = snapshots.plan(campaign=made, filters=Filters())
    assert planned.lost == {"near_duplicate_held_out": 1}
    (pair,) = planned.dropped["near_duplicate_held_out"]
    assert made.pairs.get(pk=pair).prompt.sample.split == Split.TRAIN


def _leaky(alice: User) -> Campaign:
    """A campaign in which one train sample is a copy of an evaluation sample."""
    made = campaign([alice], pairs=20)
    for _ in range(20):
        judge(made, alice, Verdict.FIRST_MUCH)
    train = Sample.objects.filter(split="train").first()
    evaluation = Sample.objects.filter(split="evaluation").first()
    assert train is not None
    assert evaluation is not None
    rewrite(Sample.objects.filter(pk=train.pk), input=LONG[0])
    rewrite(Sample.objects.filter(pk=evaluation.pk), input=LONG[0].replace("left", "right"))
    return made
