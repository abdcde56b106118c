"""Promoting a version from its own page: the gates, which name moves, who reads that name, and the decision."""

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from accounts import access
from accounts.access import TRAINERS, UserRequest
from annotation.models import Campaign
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import promotions
from training.models import Evaluation, Promotion


@require_GET
@access.allow(*TRAINERS)
def promotion(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Everything a promotion stands on, on one page; the button sends it to the evaluation that is its evidence."""
    version = get_object_or_404(ModelVersion, public_id=public_id)
    name = request.GET.get("alias", "")
    alias = AliasName(name) if name in AliasName.values else AliasName.CHAMPION
    seen = Evaluation.objects.of_candidates().filter(policy=version, finished_at__isnull=False)
    # It shows who wrote what: not while one is rating in its campaign.
    seen = seen.filter(snapshot__campaign__in=Campaign.objects.unblinded_for(request.user))
    evaluation = seen.order_by("-finished_at").first()
    current = aliases.current(alias)
    gates = promotions.gates(evaluation, champion=current) if evaluation else []
    page = {
        "version": version, "alias": alias, "names": AliasName.choices, "current": current, "evaluation": evaluation, "gates": gates,
        "passed": bool(gates) and all(gate.passed for gate in gates), "may_override": bool(gates) and promotions.may_override(gates),
        "consumers": aliases.CONSUMERS[alias],
        "decisions": Promotion.objects.filter(version=version).select_related("decided_by", "replaced"),
    }  # fmt: skip
    return render(request, "training/promotion.html", page)
