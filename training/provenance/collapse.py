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
    order, nearer, depth = _from_root(graph)
    for coarse in ("", "many", "all"):
        classes = _classes(graph, order, nearer, depth, coarse)
        if coarse != "all":
            classes = _twins(graph, classes)
        if len(set(classes.values())) <= most:
            break
    found = _boxes(graph, order, classes)
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
        near, far = (child, parent) if graph.direction == "up" else (parent, child)
        kept = result.links.setdefault((place[near], place[far]), [])
        kept += [role for role in roles if role not in kept]
    return result


def _from_root(graph: Graph) -> tuple[list[Node], dict[Node, list[Node]], dict[Node, int]]:
    """(nodes, each after everything nearer to the root; what is nearer to each; the longest way to each)."""
    nearer: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    further: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    for parent, child in graph.edges:
        near, far = (child, parent) if graph.direction == "up" else (parent, child)
        nearer[far].append(near)
        further[near].append(far)
    waits = {node: len(near) for node, near in nearer.items()}
    order = sorted(node for node in graph.nodes if not waits[node])
    depth = dict.fromkeys(order, 0)
    for node in order:
        for far in further[node]:
            depth[far] = max(depth.get(far, 0), depth[node] + 1)
            waits[far] -= 1
            if not waits[far]:
                order.append(far)
    if len(order) < len(graph.nodes):
        raise ValueError("The lineage has a cycle.")
    return order, nearer, depth


def _classes(graph: Graph, order: list[Node], nearer: dict[Node, list[Node]], depth: dict[Node, int], coarse: str) -> dict[Node, int]:
    """The number of the class each node is in."""
    numbers: dict[object, int] = {}
    found: dict[Node, int] = {}
    for node in order:
        kind = node[0]
        sign: object
        if node == graph.root or (coarse != "all" and not KINDS[kind].many):
            sign = node
        elif coarse:
            sign = (kind, "at", depth[node])
        else:
            sign = (kind, frozenset(found[near] for near in nearer[node]))
        found[node] = numbers.setdefault(sign, len(numbers))
    return found


def _twins(graph: Graph, classes: dict[Node, int]) -> dict[Node, int]:
    """Named things with the very same neighbours become one class, from TWINS of them on. There is no way between such, so no cycle."""
    parents: dict[Node, set[int]] = {}
    children: dict[Node, set[int]] = {}
    for parent, child in graph.edges:
        parents.setdefault(child, set()).add(classes[parent])
        children.setdefault(parent, set()).add(classes[child])
    alike: dict[object, list[Node]] = {}
    for node in sorted(graph.nodes):
        if not KINDS[node[0]].many and node != graph.root:
            sign = (node[0], frozenset(parents.get(node, ())), frozenset(children.get(node, ())))
            alike.setdefault(sign, []).append(node)
    merged = dict(classes)
    for nodes in alike.values():
        if len(nodes) >= TWINS:
            merged.update(dict.fromkeys(nodes, classes[nodes[0]]))
    return merged


def _boxes(graph: Graph, order: list[Node], classes: dict[Node, int]) -> list[Box]:
    members: dict[int, list[Node]] = {classes[graph.root]: []}
    for node in order:
        members.setdefault(classes[node], []).append(node)
    return [Box(nodes[0][0], tuple(sorted(pk for _, pk in nodes))) for nodes in members.values()]
