"""How a lineage collapses: every way in the drawing is a way there was, nothing is lost, and what is too much is grouped coarsely."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.provenance.collapse import Collapsed, collapse
from training.provenance.kinds import KINDS
from training.provenance.walk import Graph, Node

STAGES = ["model", "run", "part", "judgement", "pair", "completion", "prompt", "sample", "file"]
FREELY = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def check_ways(graph: Graph, made: Collapsed) -> None:
    """Nothing is lost, no class is mixed, and each member of a box has a next step along every link towards the root."""
    assert sorted((box.kind, pk) for box in made.boxes for pk in box.members) == sorted(graph.nodes)
    place = {(box.kind, pk): number for number, box in enumerate(made.boxes) for pk in box.members}
    near_of: dict[Node, set[int]] = {}
    for parent, child in graph.edges:
        near, far = (child, parent) if graph.direction == "up" else (parent, child)
        near_of.setdefault(far, set()).add(place[near])
        assert (place[near], place[far]) in made.links
    for near_box, far_box in made.links:
        box = made.boxes[far_box]
        assert all(near_box in near_of[box.kind, pk] for pk in box.members), box


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A layered graph as a walk up would find it, with every node reached from the root."""
    graph = Graph(root=("model", 0), direction="up", nodes={("model", 0)})
    above: list[Node] = [("model", 0)]
    everything = list(above)
    for stage in STAGES[1:]:
        layer = [(stage, number) for number in range(draw(st.integers(1, 9)))]
        for node in layer:
            for near in draw(st.lists(st.sampled_from(above), min_size=1, max_size=3)):
                graph.add(node, near, "role")
            if draw(st.integers(0, 5)) == 0:
                graph.add(node, draw(st.sampled_from(everything)), "far")
            graph.nodes.add(node)
        everything += layer
        above = layer
    return graph


@settings(max_examples=60, **FREELY)
@given(graphs())
def test_every_way_of_the_drawing_is_a_way_there_was(graph: Graph) -> None:
    made = collapse(graph, most=10_000)
    assert made.exact
    assert made.boxes[0].node == graph.root
    check_ways(graph, made)


@settings(max_examples=30, **FREELY)
@given(graphs(), st.integers(9, 30))
def test_a_drawing_stays_small_and_says_when_it_is_coarse(graph: Graph, most: int) -> None:
    made = collapse(graph, most=most)
    assert sorted((box.kind, pk) for box in made.boxes for pk in box.members) == sorted(graph.nodes)
    assert len(made.boxes) <= most
    assert made.exact == (len(collapse(graph, most=10_000).boxes) <= most)


def test_alike_things_are_counted_and_named_ones_stand_alone_until_there_are_many() -> None:
    graph = Graph(root=("model", 1), direction="down", nodes={("model", 1)})
    for number in range(3):
        graph.nodes |= {("promotion", number)}
        graph.add(("model", 1), ("promotion", number), "decides on")
    for number in range(4):
        graph.nodes |= {("move", number)}
        graph.add(("model", 1), ("move", number), "points to")
    sizes = sorted((box.kind, len(box.members)) for box in collapse(graph).boxes)
    assert sizes == [("model", 1), ("move", 4), ("promotion", 1), ("promotion", 1), ("promotion", 1)]


def test_an_opened_group_shows_its_first_twelve_and_keeps_the_rest_together() -> None:
    graph = Graph(root=("source", 1), direction="down", nodes={("source", 1)})
    for number in range(1, 31):
        graph.nodes |= {("sample", number)}
        graph.add(("source", 1), ("sample", number), "belongs to")
    made = collapse(graph, opened=["sample-1"])
    assert sorted(len(box.members) for box in made.boxes) == [1] * 13 + [18]
    assert made.opened == ["sample-1"]
    assert KINDS["sample"].counted(18) == "18 samples"
