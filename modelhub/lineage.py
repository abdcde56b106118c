"""Where a model came from: all its ancestors in two queries, as a nested list and as a drawing."""

from dataclasses import dataclass, field

from django.db import connection

from modelhub.models import LineageEdge, ModelVersion


@dataclass
class Branch:
    """A version, or something opaque (a snapshot, a corpus), in the role it played for the version above it.

    `repeated`: its own branches are shown at its first place in the list.
    """

    role: str
    version: ModelVersion | None = None
    source_kind: str = ""
    source_digest: str = ""
    source_label: str = ""
    branches: list["Branch"] = field(default_factory=list)
    repeated: bool = False


ANCESTRY = """
WITH RECURSIVE ancestry(id) AS (
    SELECT %s::bigint
    UNION
    SELECT edge.parent_id FROM modelhub_lineageedge edge JOIN ancestry ON edge.child_id = ancestry.id WHERE edge.parent_id IS NOT NULL
)
SELECT id FROM ancestry
"""


def edges_above(version: ModelVersion) -> dict[int, list[LineageEdge]]:
    """Every edge from `version` upwards, by child, in the order they were written. Two queries, however deep."""
    with connection.cursor() as cursor:
        cursor.execute(ANCESTRY, [version.pk])
        members = [row[0] for row in cursor.fetchall()]
    found: dict[int, list[LineageEdge]] = {}
    for edge in LineageEdge.objects.filter(child_id__in=members).select_related("parent").order_by("child_id", "pk"):
        found.setdefault(edge.child_id, []).append(edge)
    return found


def tree(version: ModelVersion, edges: dict[int, list[LineageEdge]] | None = None) -> Branch:
    """The version with everything it was made from, nested. What appears twice is unfolded once."""
    edges = edges_above(version) if edges is None else edges
    seen: set[int] = set()

    def grow(branch: Branch) -> Branch:
        if branch.version is None:
            return branch
        above = edges.get(branch.version.pk, [])
        branch.repeated = branch.version.pk in seen and bool(above)
        if branch.version.pk not in seen:
            seen.add(branch.version.pk)
            branch.branches = [
                grow(
                    Branch(
                        role=edge.role, version=edge.parent, source_kind=edge.source_kind, source_digest=edge.source_digest,
                        source_label=edge.source_label,
                    )
                )
                for edge in above
            ]  # fmt: skip
        return branch

    return grow(Branch(role="", version=version))


# --- the drawing -------------------------------------------------------------------------------------------------------------------

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 164, 40, 32, 16, 8


@dataclass
class Box:
    """A rectangle of the drawing, in SVG units. `version` is None for a snapshot."""

    label: str
    note: str
    version: ModelVersion | None
    column: int
    x: float = 0
    y: float = 0
    width: int = BOX_WIDTH
    height: int = BOX_HEIGHT

    @property
    def short(self) -> str:
        return self.label if len(self.label) <= 20 else self.label[:19] + "…"

    @property
    def text_x(self) -> float:
        return self.x + 10

    @property
    def label_y(self) -> float:
        return self.y + 17

    @property
    def note_y(self) -> float:
        return self.y + 32


@dataclass
class Drawing:
    """Newest at the left, the base at the right; a line from each version to what it was made from."""

    width: float
    height: float
    boxes: list[Box]
    paths: list[str]


def draw(version: ModelVersion, edges: dict[int, list[LineageEdge]]) -> Drawing:
    """A layered drawing: a box stands one column to the right of the last thing made from it. Corpora are left to the list."""
    versions = {version.pk: version} | {edge.parent.pk: edge.parent for above in edges.values() for edge in above if edge.parent}
    columns = _columns(version.pk, edges)
    boxes: dict[object, Box] = {
        pk: Box(label=found.name, note=found.get_kind_display(), version=found, column=columns[pk]) for pk, found in versions.items()
    }
    links: list[tuple[object, object]] = []
    for child, above in edges.items():
        for edge in above:
            if edge.parent_id:
                links.append((child, edge.parent_id))
            elif edge.source_kind == "snapshot":
                key = edge.source_digest
                boxes.setdefault(key, Box(label=edge.source_label or edge.source_digest[:12], note="Snapshot", version=None, column=0))
                boxes[key].column = max(boxes[key].column, columns[child] + 1)
                links.append((child, key))
    # What is reached by a longer way needs no line of its own: it would run through the boxes between. The list names it.
    links = _without_shortcuts(list(dict.fromkeys(links)))
    _place(boxes, links)
    paths = []
    for left, right in links:
        a, b = boxes[left], boxes[right]
        x1, y1, x2, y2 = a.x + BOX_WIDTH, a.y + BOX_HEIGHT / 2, b.x, b.y + BOX_HEIGHT / 2
        bend = GAP_X / 2
        paths.append(f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}")
    width = max(box.x for box in boxes.values()) + BOX_WIDTH + MARGIN
    height = max(box.y for box in boxes.values()) + BOX_HEIGHT + MARGIN
    return Drawing(width=width, height=height, boxes=list(boxes.values()), paths=paths)


def _columns(root: int, edges: dict[int, list[LineageEdge]]) -> dict[int, int]:
    """The longest way from the newest version. Parents are older than their children, so one pass from the newest on is enough."""
    columns = {root: 0}
    for child in sorted(edges, reverse=True):
        for edge in edges[child]:
            if edge.parent_id:
                columns[edge.parent_id] = max(columns.get(edge.parent_id, 0), columns.get(child, 0) + 1)
    return columns


def _without_shortcuts(links: list[tuple[object, object]]) -> list[tuple[object, object]]:
    """The transitive reduction of an acyclic graph."""
    above: dict[object, list[object]] = {}
    for child, parent in links:
        above.setdefault(child, []).append(parent)

    def reaches(start: object, goal: object, seen: set[object]) -> bool:
        if start == goal:
            return True
        seen.add(start)
        return any(reaches(parent, goal, seen) for parent in above.get(start, []) if parent not in seen)

    return [
        (child, parent) for child, parent in links if not any(other != parent and reaches(other, parent, set()) for other in above[child])
    ]


def _place(boxes: dict[object, Box], links: list[tuple[object, object]]) -> None:
    """Each column sorted by the mean height of what its boxes feed, then centred."""
    columns: dict[int, list[object]] = {}
    for key, box in boxes.items():
        columns.setdefault(box.column, []).append(key)
    tallest = max(len(keys) for keys in columns.values())
    feeds: dict[object, list[object]] = {}
    for child, parent in links:
        feeds.setdefault(parent, []).append(child)
    for column in sorted(columns):
        keys = columns[column]
        heights = {key: [boxes[child].y for child in feeds.get(key, [])] for key in keys}
        keys.sort(key=lambda key: sum(heights[key]) / len(heights[key]) if heights[key] else 0)
        top = MARGIN + (tallest - len(keys)) * (BOX_HEIGHT + GAP_Y) / 2
        for row, key in enumerate(keys):
            boxes[key].x = MARGIN + column * (BOX_WIDTH + GAP_X)
            boxes[key].y = top + row * (BOX_HEIGHT + GAP_Y)
