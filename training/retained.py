"""Which questions a merge is asked about what it kept of its experts: those of the toy domain that each was taught."""

from collections.abc import Iterator, Mapping
from typing import Any

from modelhub.models import Kind, LineageEdge, ModelVersion
from training.engine import toytext

# How the family's publications name what a version was trained on.
CORPUS = "toy corpus "
# The wording kept for choosing, and the seed of its questions; the evaluation wording is not looked at while merges are chosen.
EACH, SEED = 32, 1


def rows(versions: Mapping[str, ModelVersion], *, base: str | None) -> list[dict[str, Any]]:
    """Questions of every expert that was taught a toy domain, as the engine reads them; none for other models."""
    return list(_rows(versions, base))


def _rows(versions: Mapping[str, ModelVersion], base: str | None) -> Iterator[dict[str, Any]]:
    for name, version in versions.items():
        # An adapter answers nothing by itself.
        asked = name != base and version.toy and version.kind != Kind.ADAPTER
        domain = domain_of(version) if asked else None
        if domain is not None:
            yield from (row | {"expert": name} for row in toytext.questions(domain, EACH, SEED, "validation"))


def domain_of(version: ModelVersion) -> str | None:
    """The toy domain that an expert, or its merge with the base, was taught; None for any other model, and for a merge of several."""
    edges = list(LineageEdge.objects.filter(child=version).select_related("parent"))
    own = {edge.source_label.removeprefix(CORPUS) for edge in edges if edge.source_label.startswith(CORPUS)}
    parents = [edge.parent for edge in edges if edge.parent is not None and edge.role.startswith("expert")]
    found: set[str | None] = {domain for domain in own if domain in toytext.DOMAINS} or {domain_of(parent) for parent in parents}
    return found.pop() if len(found) == 1 else None
