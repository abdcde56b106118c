"""Layered drawings: nothing overlaps, everything stands below what links to it, no line runs through a box."""

import re
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web import graphs


@st.composite
def dags(draw: st.DrawFn) -> tuple[int, list[graphs.Link]]:
    count = draw(st.integers(1, 14))
    links = [(upper, lower) for upper, lower in combinations(range(count), 2) if draw(st.integers(0, 4)) == 0]
    return count, links


@settings(max_examples=80, deadline=None)
@given(dags())
def test_boxes_do_not_overlap_and_links_lead_down(dag: tuple[int, list[graphs.Link]]) -> None:
    count, links = dag
    made = graphs.arrange(count, links)
    for (x, y), (other_x, other_y) in combinations(made.places, 2):
        assert y != other_y or abs(x - other_x) >= graphs.BOX_WIDTH + graphs.GAP_X - 0.2
    for upper, lower in links:
        assert made.places[upper][1] < made.places[lower][1]
    assert all(0 <= x <= made.width - graphs.BOX_WIDTH and 0 <= y <= made.height - graphs.BOX_HEIGHT for x, y in made.places)


@settings(max_examples=80, deadline=None)
@given(dags())
def test_no_line_runs_through_a_box(dag: tuple[int, list[graphs.Link]]) -> None:
    count, links = dag
    made = graphs.arrange(count, links)
    for upper, lower, path in made.curves:
        # Straight through the layers it passes: V begins at the upper edge of a layer, at the x the curve before it ended with.
        for x, y in re.findall(r"C\S+ \S+ \S+ \S+ (\S+) (\S+?)V", path):
            inside = [
                place
                for place, (left, top) in enumerate(made.places)
                if left <= float(x) <= left + graphs.BOX_WIDTH and top == pytest.approx(float(y))
            ]
            assert not inside, (upper, lower, inside)


@settings(max_examples=60, deadline=None)
@given(dags())
def test_without_shortcuts_the_same_is_reached_by_fewer_links(dag: tuple[int, list[graphs.Link]]) -> None:
    count, links = dag

    def closure(edges: list[graphs.Link]) -> set[graphs.Link]:
        found = set(edges)
        while more := {(a, d) for a, b in found for c, d in found if b == c} - found:
            found |= more
        return found

    kept = graphs.without_shortcuts(count, links)
    assert closure(kept) == closure(links)
    for link in kept:
        assert closure([other for other in kept if other != link]) != closure(links)


def test_a_box_stands_as_many_layers_down_as_the_longest_way_to_it() -> None:
    assert graphs.layers(5, [(0, 1), (1, 2), (0, 2), (2, 3), (0, 4)]) == [0, 1, 2, 3, 1]


def test_a_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match="cycle"):
        graphs.arrange(3, [(0, 1), (1, 2), (2, 1)])


def test_two_parents_side_by_side_do_not_cross_their_children() -> None:
    # 0 feeds 1 and 2; 1 feeds 4, 2 feeds 3: the lower row is turned round.
    made = graphs.arrange(5, [(0, 1), (0, 2), (1, 4), (2, 3)])
    one, two, three, four = (made.places[n][0] for n in (1, 2, 3, 4))
    assert (one < two) == (four < three)


def test_spread_keeps_order_and_distance_and_moves_as_little_as_it_can() -> None:
    middles = graphs._spread([10.0, 0.0, 500.0], [100, 100, 100])
    assert middles == pytest.approx([-55.0, 65.0, 500.0])
    assert all(b - a >= 100 + graphs.GAP_X for a, b in pairwise(middles))
