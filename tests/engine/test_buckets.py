"""Which pairs share a batch, and in what order they come."""

from collections import Counter
from itertools import chain

from training.engine import buckets

LENGTHS = [10, 50, 12, 90, 11, 55, 13, 14, 70, 9]


def test_every_row_comes_once_an_epoch_in_another_order() -> None:
    first, again, second = (buckets.epoch(LENGTHS, batch_size=3, seed=1, number=number) for number in (0, 0, 1))
    assert first == again != second
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))
    assert buckets.epoch(LENGTHS, batch_size=3, seed=2, number=0) != first
    assert list(map(len, first)) == [3, 3, 3, 1]


def test_no_batch_holds_rows_of_both_sides_of_the_switch() -> None:
    for seed in range(20):
        for batch in buckets.plan(LENGTHS, batch_size=3, seed=seed, epochs=2, switch=50, window=2):
            assert len({LENGTHS[row] > 50 for row in batch}) == 1
    assert (buckets.side(50, 50), buckets.side(51, 50), buckets.side(10**6, None)) == ("short", "long", "short")
    assert {len({LENGTHS[row] > 50 for row in batch}) for batch in buckets.plan(LENGTHS, batch_size=3, seed=1, epochs=2)} == {1, 2}


def test_a_window_puts_like_lengths_together() -> None:
    def padding(window: int) -> int:
        lengths = list(range(1, 65))
        batches = buckets.epoch(lengths, batch_size=4, seed=1, number=0, window=window)
        return sum(max(lengths[row] for row in batch) * len(batch) - sum(lengths[row] for row in batch) for batch in batches)

    assert padding(16) == 6 * 16  # sorted whole: 3 + 2 + 1 + 0 a batch
    assert padding(16) < padding(4) < padding(1)


def test_a_plan_is_epochs_in_a_row_and_may_end_in_one() -> None:
    whole = buckets.plan(LENGTHS, batch_size=3, seed=1, epochs=2)
    assert whole == [*buckets.epoch(LENGTHS, batch_size=3, seed=1, number=0), *buckets.epoch(LENGTHS, batch_size=3, seed=1, number=1)]
    assert buckets.plan(LENGTHS, batch_size=3, seed=1, epochs=1.5) == whole[:6]
    assert buckets.plan(LENGTHS, batch_size=3, seed=1, epochs=1, batches=7) == whole[:7]


def test_replay_is_a_share_of_each_epoch_and_goes_round_its_pool() -> None:
    lengths = [10] * 8 + [20] * 5  # eight rows, a pool of five
    plan = buckets.plan(lengths, batch_size=4, seed=1, epochs=5, replay=0.2, replay_rows=5)
    assert len(plan) == 5 * 3  # ten rows an epoch: eight and two
    seen = Counter(chain(*plan))
    assert all(seen[row] == 5 for row in range(8))
    assert [seen[row] for row in range(8, 13)] == [2, 2, 2, 2, 2]
    assert buckets.plan(lengths, batch_size=4, seed=1, epochs=1, replay=0.2, replay_rows=5) == plan[:3]


def test_passes_without_training_are_sorted_one_side_at_a_time() -> None:
    assert buckets.by_length(LENGTHS, batch_size=4, switch=50) == [[9, 0, 4, 2], [6, 7, 1], [5, 8, 3]]
