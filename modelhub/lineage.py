"""Where a model came from: all its ancestors in two queries, as a nested list and as a drawing."""

from dataclasses import dataclass, field

from django.db import connection

from modelhub.models import LineageEdge, ModelVersion
from web import graphs


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


@dataclass(kw_only=True)
class Box(graphs.Box):
    """A version, or a snapshot where `version` is None."""

    version: ModelVersion | None


@dataclass
class Drawing:
    """Newest on top, the base at the bottom; a line from each version to what it was made from."""

    width: float
    height: float
    boxes: list[Box]
    paths: list[str]


def draw(version: ModelVersion, edges: dict[int, list[LineageEdge]]) -> Drawing:
    """A layered drawing: a box stands below the last thing made from it. Corpora are left to the list, as is what a longer way tells."""
    versions = {version.pk: version} | {edge.parent.pk: edge.parent for above in edges.values() for edge in above if edge.parent}
    boxes: dict[object, Box] = {pk: Box(label=found.name, note=found.get_kind_display(), version=found) for pk, found in versions.items()}
    links: list[tuple[object, object]] = []
    for child, above in edges.items():
        for edge in above:
            if edge.parent_id:
                links.append((child, edge.parent_id))
            elif edge.source_kind == "snapshot":
                boxes.setdefault(edge.source_digest, Box(label=edge.source_label or edge.source_digest[:12], note="Snapshot", version=None))
                links.append((child, edge.source_digest))
    place = {key: number for number, key in enumerate(boxes)}
    made = graphs.arrange(len(boxes), [(place[child], place[parent]) for child, parent in links])
    for box, (x, y) in zip(boxes.values(), made.places, strict=True):
        box.x, box.y = x, y
    return Drawing(width=made.width, height=made.height, boxes=list(boxes.values()), paths=[path for _, _, path in made.curves])
