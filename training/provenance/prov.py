"""A lineage as W3C PROV-JSON (W3C member submission of 24 April 2013): entities, activities, agents and how they hang together.

No clinical text, no id that a source gave its samples, no rater: raters are numbered within the document.
"""

from collections.abc import Iterator
from typing import Any

from training.provenance import facts
from training.provenance.facts import Facts
from training.provenance.kinds import KINDS
from training.provenance.walk import Graph, Node

NAMESPACE = "urn:rounds:"
# What a thing is in PROV's own words, besides an entity.
_AS = {"source": "prov:Collection", "corpus": "prov:Collection", "snapshot": "prov:Collection", "recipe": "prov:Plan"}
_MEMBERS = {("source", "sample"), ("part", "snapshot"), ("snapshot", "part")}
# What a page may show and a document that leaves the house does not need.
_KEPT_HOME = {"Its id there", "Why"}


def document(graph: Graph) -> dict[str, Any]:
    """The whole graph, uncollapsed. One query a kind."""
    known = facts.of(graph.nodes)
    made: dict[str, dict[str, Any]] = {"prefix": {"rounds": NAMESPACE, "xsd": "http://www.w3.org/2001/XMLSchema#"}}
    counters: dict[str, int] = {}

    def relate(relation: str, **ends: Any) -> None:
        counters[relation] = counters.get(relation, 0) + 1
        said = {name.replace("_", ":", 1): value for name, value in ends.items() if value}
        made.setdefault(relation, {})[f"_:{relation}{counters[relation]}"] = said

    for node in sorted(known):
        about, name = known[node], _name(node)
        section = "activity" if KINDS[about.kind].activity else "entity"
        made.setdefault(section, {})[name] = dict(_attributes(about))
        if agent := _agent(graph, node, about, made):
            if section == "activity":
                relate("wasAssociatedWith", prov_activity=name, prov_agent=agent)
            else:
                relate("wasAttributedTo", prov_entity=name, prov_agent=agent)
    for (parent, child), roles in sorted(graph.edges.items()):
        if parent not in known or child not in known:
            continue
        for relation, ends, role_name in _relations(parent, child):
            for role in roles if role_name else [""]:
                relate(relation, **ends, **({role_name: role} if role_name else {}))
    if graph.cut:
        made["entity"][_name(graph.root)] |= {"rounds:incomplete": True}
    return made


def _name(node: Node) -> str:
    return f"rounds:{node[0]}.{node[1]}"


def _relations(parent: Node, child: Node) -> Iterator[tuple[str, dict[str, str], str]]:
    """(relation, its ends, the attribute that holds the role or "") of one edge."""
    one, other = _name(parent), _name(child)
    made, doing = KINDS[child[0]].activity, KINDS[parent[0]].activity
    if (parent[0], child[0]) in _MEMBERS:
        whole, part = (other, one) if child[0] == "snapshot" else (one, other)
        yield "hadMember", {"prov_collection": whole, "prov_entity": part}, ""
    elif made and doing:
        yield "wasInformedBy", {"prov_informed": other, "prov_informant": one}, ""
    elif made:
        yield "used", {"prov_activity": other, "prov_entity": one}, "prov_role"
    elif doing:
        yield "wasGeneratedBy", {"prov_entity": other, "prov_activity": one}, ""
    else:
        yield "wasDerivedFrom", {"prov_generatedEntity": other, "prov_usedEntity": one}, "rounds_role"


def _attributes(about: Facts) -> Iterator[tuple[str, Any]]:
    activity = KINDS[about.kind].activity
    yield "prov:label", about.label
    kinds: list[dict[str, str]] = [{"$": f"rounds:{about.kind}", "type": "prov:QUALIFIED_NAME"}]
    if about.kind in _AS:
        kinds.append({"$": _AS[about.kind], "type": "prov:QUALIFIED_NAME"})
    yield "prov:type", kinds if len(kinds) > 1 else kinds[0]
    if about.at:
        moment = about.at.isoformat()
        yield ("prov:startTime", moment) if activity else ("rounds:at", {"$": moment, "type": "xsd:dateTime"})
    if about.digest:
        yield "rounds:sha256", about.digest
    if about.key != str(about.pk):
        yield "rounds:id", about.key
    for mark in about.marks:
        yield f"rounds:{mark}", True
    for term, value in about.more:
        if value not in (None, "") and term not in _KEPT_HOME:
            yield f"rounds:{term.lower().replace(' ', '-')}", value if isinstance(value, int | float) else str(value)


def _agent(graph: Graph, node: Node, about: Facts, made: dict[str, dict[str, Any]]) -> str:
    """The agent behind a node, entered once; "" where nobody is known or nobody may be named."""
    person = {"$": "prov:Person", "type": "prov:QUALIFIED_NAME"}
    if node[0] == "judgement" and node[1] in graph.raters:
        name = f"rounds:rater.{graph.raters[node[1]]}"
        made.setdefault("agent", {}).setdefault(name, {"prov:type": person, "prov:label": f"rater {graph.raters[node[1]]}"})
        return name
    if about.actor:
        name = f"rounds:person.{about.actor}"
        made.setdefault("agent", {}).setdefault(name, {"prov:type": person, "prov:label": about.actor})
        return name
    return ""
