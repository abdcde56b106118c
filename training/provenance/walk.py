"""The walk: everything above or below one thing, with its edges, in one recursive query; votes and rulings are added in a second."""

from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import connection

from accounts.models import User
from annotation.models import CampaignState, Membership
from training.models import Study
from training.provenance.steps import DOWN, UP, lateral

Direction = Literal["up", "down"]
Node = tuple[str, int]
# So many nodes are read at most; beyond, the page says that it does not know all.
MOST = 50_000


@dataclass
class Graph:
    """What was found from `root`: edges from what fed to what was fed, each with the roles it played.

    `raters`: for each judgement a number that stands for its rater within this graph; names are never read. `cut`: there is more.
    """

    root: Node
    direction: Direction
    nodes: set[Node] = field(default_factory=set)
    edges: dict[tuple[Node, Node], list[str]] = field(default_factory=dict)
    raters: dict[int, int] = field(default_factory=dict)
    cut: bool = False

    def add(self, parent: Node, child: Node, role: str) -> None:
        roles = self.edges.setdefault((parent, child), [])
        if role not in roles:
            roles.append(role)

    def ids(self, kind: str) -> list[int]:
        return sorted(number for name, number in self.nodes if name == kind)


@dataclass(frozen=True)
class Blinds:
    """What a reader must not learn who wrote: pairs of `campaigns`, and whatever `models` have answered; by number."""

    campaigns: list[int] = field(default_factory=list)
    models: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.campaigns or self.models)


def blinded(user: User | None) -> Blinds:
    """Campaigns that `user` judges in and that may still hand out pairs, and both models of studies they rate in. None: an operator."""
    if user is None:
        return Blinds()
    running = Membership.objects.filter(user=user, campaign__state__in=CampaignState.running())
    studied = Study.objects.rated_by(user).values_list("champion", "challenger")
    return Blinds(sorted(running.values_list("campaign", flat=True)), sorted({pk for both in studied for pk in both}))


_WALK = """
WITH RECURSIVE walk(kind, id) AS (
    SELECT %(kind)s::text, %(id)s::bigint
    UNION
    SELECT step.kind, step.id FROM walk w CROSS JOIN LATERAL ({steps} OFFSET 0) step(kind, id, role)
),
kept AS MATERIALIZED (SELECT kind, id FROM walk LIMIT %(most)s)
SELECT w.kind, w.id, step.kind, step.id, step.role
FROM kept w LEFT JOIN LATERAL ({steps} OFFSET 0) step(kind, id, role) ON TRUE
"""

# Votes and rulings on the pairs: those a snapshot's rows rest on with the part they fed, and, on the way down, those given since. A
# snapshot's evidence also holds answers about pairs that it dropped: they fed nothing.
_VOTES = """
WITH part AS (SELECT number, number / 4 AS snapshot_id, (ARRAY['train', 'validation', 'evaluation'])[mod(number, 4) + 1] AS split
              FROM unnest(%(parts)s::bigint[]) number),
told AS (SELECT DISTINCT e.snapshot_id, given.id FROM annotation_snapshotevidence e, unnest(e.judgements) given(id)
         WHERE e.snapshot_id IN (SELECT snapshot_id FROM part)),
ruled AS (SELECT DISTINCT e.snapshot_id, given.id FROM annotation_snapshotevidence e, unnest(e.rulings) given(id)
          WHERE e.snapshot_id IN (SELECT snapshot_id FROM part)),
fed AS (SELECT r.snapshot_id, r.pair_id, part.number FROM annotation_snapshotrow r
        JOIN part ON part.snapshot_id = r.snapshot_id AND part.split = r.split
        WHERE r.pair_id IN (SELECT unnest(%(pairs)s::bigint[]))),
votes AS (
    SELECT judgement.id, a.pair_id, fed.number, a.annotator_id FROM told JOIN annotation_judgement judgement ON judgement.id = told.id
    JOIN annotation_assignment a ON a.id = judgement.assignment_id
    JOIN fed ON fed.snapshot_id = told.snapshot_id AND fed.pair_id = a.pair_id
    UNION ALL
    (SELECT DISTINCT ON (judgement.assignment_id) judgement.id, a.pair_id, NULL::bigint, a.annotator_id FROM annotation_assignment a
     JOIN annotation_judgement judgement ON judgement.assignment_id = a.id AND judgement.undone_at IS NULL
     WHERE %(since)s AND a.pair_id IN (SELECT unnest(%(pairs)s::bigint[])) ORDER BY judgement.assignment_id, judgement.revision DESC)
),
rulings AS (
    SELECT ruling.id, d.pair_id, fed.number FROM ruled JOIN annotation_adjudication ruling ON ruling.id = ruled.id
    JOIN annotation_dispute d ON d.id = ruling.dispute_id JOIN fed ON fed.snapshot_id = ruled.snapshot_id AND fed.pair_id = d.pair_id
    UNION ALL
    (SELECT DISTINCT ON (d.id) ruling.id, d.pair_id, NULL::bigint FROM annotation_dispute d
     JOIN annotation_adjudication ruling ON ruling.dispute_id = d.id
     WHERE %(since)s AND d.pair_id IN (SELECT unnest(%(pairs)s::bigint[])) ORDER BY d.id, ruling.revision DESC)
)
SELECT 'judgement', id, pair_id, number, dense_rank() OVER (ORDER BY annotator_id) FROM votes
UNION ALL SELECT 'ruling', id, pair_id, number, NULL FROM rulings
ORDER BY 1, 2, 4
"""


def walk(*, kind: str, pk: int, direction: Direction, user: User | None, most: int = MOST) -> Graph:
    """Everything above ("up") or below ("down") one thing that `user` may see; three or four queries, however deep.

    Breadth first, at most `most` nodes. What `user` is blinded to is left out, with all that lies behind it.
    """
    hidden = blinded(user)
    graph = Graph(root=(kind, pk), direction=direction)
    steps = lateral(UP if direction == "up" else DOWN, blind=bool(hidden))
    asked: dict[str, Any] = {
        "kind": kind, "id": pk, "most": most + 1, "blinded": hidden.campaigns, "blinded_models": hidden.models,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_WALK.format(steps=steps), asked)
        rows = cursor.fetchall()
    order = dict.fromkeys((row[0], row[1]) for row in rows)
    graph.cut = len(order) > most
    graph.nodes = set(list(order)[:most])
    for here_kind, here, there_kind, there, role in rows:
        one, other = (here_kind, here), (there_kind, there)
        if there is not None and one in graph.nodes and other in graph.nodes:
            graph.add(*((other, one) if direction == "up" else (one, other)), role)
    _votes(graph, room=most - len(graph.nodes))
    # Rows come in the order of whatever plan the database chose; a drawing of the same things is the same.
    graph.edges = {edge: sorted(roles) for edge, roles in sorted(graph.edges.items())}
    return graph


def _votes(graph: Graph, *, room: int) -> None:
    """Add judgements and rulings between pairs and the parts that rest on them. They lead nowhere that their pairs do not."""
    pairs = graph.ids("pair")
    if not pairs:
        return
    with connection.cursor() as cursor:
        cursor.execute(_VOTES, {"parts": graph.ids("part"), "pairs": pairs, "since": graph.direction == "down"})
        found = cursor.fetchall()
    for kind, pk, pair, part, rater in found:
        vote = (kind, pk)
        if vote not in graph.nodes:
            if room <= 0:
                graph.cut = True
                continue
            room -= 1
            graph.nodes.add(vote)
        if rater is not None:
            graph.raters[pk] = rater
        judges = kind == "judgement"
        graph.add(("pair", pair), vote, "judges" if judges else "settles")
        if part is not None:
            graph.add(vote, ("part", part), "vote of" if judges else "ruling of")
