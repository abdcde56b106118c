"""A collapsed lineage as a drawing: boxes with words and addresses, the root on top, arrows the way things went."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from django.template.loader import render_to_string

from training.provenance import facts
from training.provenance.collapse import Box, Collapsed, collapse
from training.provenance.facts import Facts
from training.provenance.kinds import KINDS, STAGES
from training.provenance.walk import Graph
from web import graphs

# Stand-alone files have no stylesheet: the light theme's own colours.
COLOURS = {"data": "#0b5f73", "preference": "#8a4b08", "training": "#4d5661", "model": "#5b3a8e"}


@dataclass(kw_only=True)
class Shown(graphs.Box):
    """One box of the drawing. `facts` is None for several things at once."""

    LETTERS = 19
    INSET = 14  # beside the bar in its stage's colour

    box: Box
    facts: Facts | None
    root: bool = False
    chosen: bool = False
    nearer: list[tuple["Shown", str]] = field(default_factory=list)

    @property
    def key(self) -> str:
        return self.box.key

    @property
    def kind(self) -> str:
        return KINDS[self.box.kind].one

    @property
    def stage(self) -> str:
        return KINDS[self.box.kind].stage

    @property
    def colour(self) -> str:
        return COLOURS[self.stage]

    @property
    def activity(self) -> bool:
        return KINDS[self.box.kind].activity

    @property
    def count(self) -> int:
        return len(self.box.members)

    @property
    def behind(self) -> tuple[float, float]:
        """Where a second box looks out from behind one that stands for several."""
        return self.x + 4, self.y + 4


@dataclass
class Drawing:
    title: str
    width: float
    height: float
    boxes: list[Shown]
    curves: list[str]
    heads: list[str]
    collapsed: Collapsed
    graph: Graph

    @property
    def stages(self) -> list[tuple[str, str, str]]:
        """(stage, its words, its colour) of what is drawn, for the legend."""
        there = {box.stage for box in self.boxes}
        return [(stage, words, COLOURS[stage]) for stage, words in STAGES.items() if stage in there]

    @property
    def counts(self) -> list[tuple[str, str]]:
        """(kind, how much of it) besides the root, in the order of the loop: ("sample", "412 samples")."""
        found = Counter(kind for kind, _ in self.graph.nodes)
        found[self.graph.root[0]] -= 1
        return [(kind, KINDS[kind].counted(found[kind])) for kind in KINDS if found[kind] > 0]


def draw(graph: Graph, *, opened: Collection[str] = (), chosen: str = "") -> Drawing:
    """Lay a lineage out. One query for each kind of which single things are drawn."""
    collapsed = collapse(graph, opened=opened)
    links = list(collapsed.links)
    placed = graphs.arrange(len(collapsed.boxes), links)
    known = facts.of(box.node for box in collapsed.boxes if box.node)
    boxes: list[Shown] = []
    for box, (x, y) in zip(collapsed.boxes, placed.places, strict=True):
        about = known.get(box.node) if box.node else None
        label, note = (about.label, about.note) if about else _counted(graph, box)
        boxes.append(Shown(box=box, label=label, note=note, facts=about, x=x, y=y, root=not boxes, chosen=box.key == chosen))
    for (near, far), roles in collapsed.links.items():
        boxes[far].nearer.append((boxes[near], ", ".join(roles)))
    return Drawing(
        title=_title(boxes[0], graph), width=placed.width + 4, height=placed.height + 4, boxes=boxes,
        curves=[curve for _, _, curve in placed.curves],
        heads=[_head(boxes[upper], boxes[lower], curve, graph) for upper, lower, curve in placed.curves],
        collapsed=collapsed, graph=graph,
    )  # fmt: skip


def _counted(graph: Graph, box: Box) -> tuple[str, str]:
    words = KINDS[box.kind].counted(len(box.members))
    if box.kind == "judgement":
        raters = len({graph.raters[pk] for pk in box.members if pk in graph.raters})
        return words, f"by {raters} rater{'' if raters == 1 else 's'}"
    return words, "grouped"


def _title(root: Shown, graph: Graph) -> str:
    return f"What fed {root.label}" if graph.direction == "up" else f"What {root.label} reached"


def _head(upper: Shown, lower: Shown, curve: str, graph: Graph) -> str:
    """The arrow's head: things go towards the root on the way up, away from it on the way down."""
    if graph.direction == "down":
        x, y = curve.rsplit(" ", 2)[-2:]
        return f"M{x} {y}l-4 -7h8z"
    x, y = curve[1:].split("C")[0].split("V")[0].split(" ")
    return f"M{x} {y}l-4 7h8z"


def as_file(drawn: Drawing) -> str:
    """The drawing as a stand-alone SVG document: no links, no stylesheet, colours and fonts as attributes."""
    return render_to_string("training/lineage_drawing.svg", {"drawing": drawn, "alone": True})


def as_text(drawn: Drawing) -> str:
    """The same as lines: each box, indented by its distance from the root, and what it leads to."""
    depth = graphs.layers(len(drawn.boxes), list(drawn.collapsed.links))
    lines = [f"{drawn.title}: {', '.join(words for _, words in drawn.counts) or 'nothing'}"]
    for number in sorted(range(len(drawn.boxes)), key=lambda each: depth[each]):
        box = drawn.boxes[number]
        leads = "; ".join(f"{roles} {near.label}" for near, roles in box.nearer)
        about = f" {box.facts.digest[:12]}" if box.facts and box.facts.digest else ""
        lines.append(f"{'  ' * depth[number]}{box.label} [{box.kind}]{about}{f' ({leads})' if leads else ''}")
    if drawn.graph.cut:
        lines.append("There is more than was read: these are the nearest.")
    return "\n".join(lines)
