"""The page of one model: what it is made of and came from, and which names point to it."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from accounts import access
from accounts.access import UserRequest
from modelhub import aliases, cards, exports, lineage
from modelhub.hub import WHO
from modelhub.models import AliasMove, AliasName, ModelVersion
from web import prose

# Figures of a merge that are no table's: pages of their own draw them.
ELSEWHERE = {"merge_report", "retention", "extraction"}


@access.allow(*WHO)
@require_safe
def model(request: UserRequest, public_id: UUID) -> HttpResponse:
    version = get_object_or_404(ModelVersion.objects.for_list().select_related("adapter"), public_id=public_id)
    card = cards.of(version)
    edges = lineage.edges_above(version)
    moves = AliasMove.objects.filter(Q(to_version=version) | Q(from_version=version)).select_related(
        "alias", "from_version", "to_version", "actor"
    )
    page = {
        "version": version,
        "tree": lineage.tree(version, edges),
        "drawing": lineage.draw(version, edges) if edges else None,
        "metrics": [(name, value) for name, value in flat(version.metrics) if name.partition(".")[0] not in ELSEWHERE],
        "card": card,
        # Its title is the page's.
        "preview": prose.render(card.body.partition("\n")[2]),
        "has_adapter": exports.adapter_of(version) is not None,
        "moves": moves,
        "named": [(alias, aliases.previous(alias.name), aliases.CONSUMERS[AliasName(alias.name)]) for alias in version.aliases.all()],
        "used_by": version.child_edges.select_related("child").order_by("child_id"),
    }
    return render(request, "modelhub/model.html", page)


def flat(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested figures as ("recall.pubmed", 0.61), in their own order. Lists, such as a report by tensor, are left out."""
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", value
