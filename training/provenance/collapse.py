"""A lineage made small enough to be looked at: alike nodes become one box with a count, and every way in the drawing is a way there was."""

from collections.abc import Collection
from dataclasses import dataclass, field

from training.provenance.kinds import KINDS
from training.provenance.walk import Graph, Node
from web import graphs

# More boxes than this nobody reads: then things are grouped by kind and distance alone.
MOST_BOXES = 60
# Named things (models, runs, files) are drawn one by one until so many of them stand in exactly the same place.
TWINS = 4
# An opened group shows so many members of its own; the list shows all.
OPENED = 12


@dataclass(frozen=True)
class Box:
    """One thing, or several of one kind that stand alike. `key` names it in an address: its kind and its first member."""

    kind: str
    members: tuple[int, ...]

    @property
    def key(self) -> str:
        return f"{self.kind}-{self.members[0]}"

    @property
    def node(self) -> Node | None:
        return (self.kind, self.members[0]) if len(self.members) == 1 else None


@dataclass
class Collapsed:
    """Boxes, the root first, and links between their places in the list: from what is nearer to the root to what lies further off.

    `roles` of each link; `opened` the keys of groups shown as their members; `exact`: every way in the drawing is a way of the records.
    """

    boxes: list[Box]
    links: dict[graphs.Link, list[str]] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    exact: bool = True


def collapse(graph: Graph, *, opened: Collection[str] = (), most: int = MOST_BOXES) -> Collapsed:
    """Group the graph's nodes.

    Things that come in hundreds are alike when they are of one kind and what they lead to, towards the root, is alike: so a box's every
    member has every way to the root that the drawing shows. Named things are one box each, unless at least TWINS of a kind have the very
    same neighbours. Where that leaves more than `most` boxes, kind and distance from the root decide (`exact` is False).
    """
    ways = _ways(graph)
    for coarse in ("", "many", "all"):
        classes = _classes(ways, coarse)
        if coarse != "all":
            _twins(ways, classes)
        if len(set(classes)) <= most:
            break
    found = _boxes(ways, classes)
    result = Collapsed(boxes=[], exact=not coarse)
    for box in found:
        if box.key in opened and len(box.members) > 1:
            result.opened.append(box.key)
            result.boxes += [Box(box.kind, (pk,)) for pk in box.members[:OPENED]]
            if rest := box.members[OPENED:]:
                result.boxes.append(Box(box.kind, rest))
        else:
            result.boxes.append(box)
    place = {(box.kind, pk): number for number, box in enumerate(result.boxes) for pk in box.members}
    for (parent, child), roles in graph.edges.items():
        link = (place[child], place[parent]) if graph.direction == "up" else (place[parent], place[child])
        kept = result.links.setdefault(link, [])
        for role in roles:
            if role not in kept:
                kept.append(role)
    return result


@dataclass(frozen=True)
class _Ways:
    """The graph by numbers: `nodes` each after everything nearer to the root, which is the first; places in it of what is `nearer` and
    `further`; the length of the longest way to each."""

    nodes: list[Node]
    nearer: list[list[int]]
    further: list[list[int]]
    depth: list[int]


def _ways(graph: Graph) -> _Ways:
    """Raises ValueError for a cycle."""
    nodes = sorted(graph.nodes, key=lambda node: (node != graph.root, node))
    index = {node: number for number, node in enumerate(nodes)}
    further: list[list[int]] = [[] for _ in nodes]
    waits = [0] * len(nodes)
    up = graph.direction == "up"
    for parent, child in graph.edges:
        near, far = (index[child], index[parent]) if up else (index[parent], index[child])
        further[near].append(far)
        waits[far] += 1
    order = [number for number, count in enumerate(waits) if not count]
    depth = [0] * len(nodes)
    for near in order:
        for far in further[near]:
            depth[far] = max(depth[far], depth[near] + 1)
            waits[far] -= 1
            if not waits[far]:
                order.append(far)
    if len(order) < len(nodes):
        raise ValueError("The lineage has a cycle.")
    place = [0] * len(nodes)
    for new, old in enumerate(order):
        place[old] = new
    nearer: list[list[int]] = [[] for _ in nodes]
    sorted_further = [[place[far] for far in further[old]] for old in order]
    for near, fars in enumerate(sorted_further):
        for far in fars:
            nearer[far].append(near)
    return _Ways([nodes[old] for old in order], nearer, sorted_further, [depth[old] for old in order])


def _classes(ways: _Ways, coarse: str) -> list[int]:
    """The number of the class each node is in, in the order of `ways.nodes`."""
    numbers: dict[object, int] = {}
    found: list[int] = []
    for number, (kind, pk) in enumerate(ways.nodes):
        sign: object
        if not number or (coarse != "all" and not KINDS[kind].many):
            sign = (kind, pk)
        elif coarse:
            sign = (kind, "at", ways.depth[number])
        else:
            sign = (kind, frozenset([found[near] for near in ways.nearer[number]]))
        found.append(numbers.setdefault(sign, len(numbers)))
    return found


def _twins(ways: _Ways, classes: list[int]) -> None:
    """Named things with the very same neighbours become one class, from TWINS of them on. There is no way between such, so no cycle."""
    alike: dict[object, list[int]] = {}
    for number, (kind, _) in enumerate(ways.nodes):
        if number and not KINDS[kind].many:
            sides = [frozenset([classes[each] for each in near]) for near in (ways.nearer[number], ways.further[number])]
            alike.setdefault((kind, *sides), []).append(number)
    for members in [found for found in alike.values() if len(found) >= TWINS]:
        for number in members:
            classes[number] = classes[members[0]]


def _boxes(ways: _Ways, classes: list[int]) -> list[Box]:
    members: dict[int, list[Node]] = {}
    for node, number in zip(ways.nodes, classes, strict=True):
        members.setdefault(number, []).append(node)
    return [Box(nodes[0][0], tuple(sorted(pk for _, pk in nodes))) for nodes in members.values()]
