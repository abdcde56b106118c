"""Model versions: what was made, from what, and how that is shown."""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from modelhub import artifacts, lineage
from modelhub.errors import NameTaken
from modelhub.models import Artifact, Kind, LineageEdge, ModelVersion

MAX_NAME = 80


def register(
    *,
    name: str,
    kind: str,
    artifact: Artifact,
    adapter: Artifact | None = None,
    parents: Iterable[tuple[ModelVersion, str]] = (),
    sources: Iterable[tuple[str, str, str, str]] = (),
    origin: str | None = None,
    licence: str = "",
    toy: bool = False,
    simulated: bool = False,
    metrics: dict[str, Any] | None = None,
    notes: str = "",
    source_name: str = "",
    actor: User | None,
) -> ModelVersion:
    """Enter one model version with its lineage.

    `parents` are (version, role); `sources` are (kind, digest, label, role) of what is no version, such as a snapshot. `origin` is the
    public id of the job that made it: the same origin again returns the version that is there. `adapter` is the LoRA adapter that was
    merged into it, where one was trained. `source_name` is what it was called where it came from. A version that is an adapter itself has
    its first parent's tokenizer and architecture. Raises NameTaken.
    """
    if origin and (made := ModelVersion.objects.filter(origin=origin).first()):
        return made
    facts, parents = artifacts.facts(artifact), list(parents)
    known = parents[0][0] if kind == Kind.ADAPTER and parents else None
    with transaction.atomic():
        try:
            with transaction.atomic():
                version = ModelVersion.objects.create(
                    name=name, kind=kind, artifact=artifact, adapter=adapter, origin=origin, licence=licence[:60], toy=toy,
                    simulated=simulated, metrics=metrics or {}, notes=notes, source_name=source_name[:120], created_by=actor,
                    parameters=facts.parameters, architecture=known.architecture if known else facts.architecture,
                    tokenizer_digest=known.tokenizer_digest if known else facts.tokenizer_digest,
                    chat_template_digest=known.chat_template_digest if known else facts.chat_template_digest,
                )  # fmt: skip
        except IntegrityError:
            if origin and (made := ModelVersion.objects.filter(origin=origin).first()):
                return made
            if ModelVersion.objects.filter(name=name).exists():
                raise NameTaken(f"A model version is called “{name}” already. Choose another name.") from None
            raise
        edges = [LineageEdge(child=version, parent=parent, role=role[:40]) for parent, role in parents]
        edges += [
            LineageEdge(child=version, source_kind=source[:20], source_digest=digest, source_label=label[:120], role=role[:40])
            for source, digest, label, role in sources
        ]
        LineageEdge.objects.bulk_create(edges)
        made_from = [str(edge.parent.public_id) for edge in edges if edge.parent]
        audit.record(actor, "model.registered", version, kind=kind, artifact=artifact.digest, parents=made_from)
    version.refresh_from_db()
    return version


def ancestors(version: ModelVersion) -> lineage.Branch:
    """Everything `version` was made from, nested for display. Two queries."""
    return lineage.tree(version)


def lineage_hash(version: ModelVersion, edges: dict[int, list[LineageEdge]] | None = None) -> str:
    """A digest over the whole ancestry: equal for two versions only if every file, source and role on every way up is equal.

    SHA-256 of the canonical JSON of [artifact digest, sorted [role, "version", parent's lineage hash] and [role, kind, digest of what is
    no version]]; a parent's own hash is computed in the same way. Names and dates are not in it.
    """
    edges = lineage.edges_above(version) if edges is None else edges
    members = {version.pk} | {edge.parent_id for above in edges.values() for edge in above if edge.parent_id}
    digests = dict(ModelVersion.objects.filter(pk__in=members).values_list("pk", "artifact__digest"))
    known: dict[int, str] = {}
    # Parents are older than their children: from the oldest on, what is needed is there.
    for pk in sorted(members):
        above = [
            [edge.role, "version", known[edge.parent_id]] if edge.parent_id else [edge.role, edge.source_kind, edge.source_digest]
            for edge in edges.get(pk, [])
        ]
        known[pk] = sha256(json.dumps([digests[pk], sorted(above)], separators=(",", ":")).encode()).hexdigest()
    return known[version.pk]
