"""The safety board and the defective samples: what raters and leads found wrong, and what becomes of it."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Prefetch
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role
from annotation import defects as verbs
from annotation import flags
from annotation.defect_form import DefectForm
from annotation.models import Adjudication, Defect, Dispute, DisputeState

# Whoever settles harm, and whoever owns the data.
BOARD = (Role.ADJUDICATOR, *TRAINERS)
ROWS = 50
STATES = {"open": (DisputeState.OPEN, DisputeState.DEFERRED), "ruled": (DisputeState.RULED,), "moot": (DisputeState.MOOT,)}
STATE_LABELS = {"open": "Waiting for a ruling", "ruled": "Ruled", "moot": "Taken back"}


@access.allow(*BOARD)
@never_cache
@require_safe
def safety(request: UserRequest) -> HttpResponse:
    """Every major flag the reader may see, where flags come from, and how long they wait."""
    rows = flags.board(request.user)
    campaigns = [row.campaign for row in rows]
    shown = request.GET.get("show", "open")
    if shown not in STATES:
        shown = "open"
    found = (
        Dispute.objects.of_harm()
        .filter(campaign__in=campaigns, state__in=STATES[shown])
        .select_related("campaign", "pair__prompt__sample")
        .prefetch_related(Prefetch("adjudications", Adjudication.objects.order_by("-revision"), to_attr="rulings"))
    )
    page = Paginator(found.order_by("-severity", "opened_at"), ROWS).get_page(request.GET.get("page"))
    theirs = set()
    if request.user.has_role(Role.ADJUDICATOR):
        theirs = set(Dispute.objects.for_lead(request.user).filter(pk__in=[row.pk for row in page]).values_list("pk", flat=True))
    for row in page:
        row.may_open = row.pk in theirs  # type: ignore[attr-defined]
        row.consequences = flags.consequences(row.rulings[0]) if row.rulings else []  # type: ignore[attr-defined]
        row.took = row.ruled_at - row.opened_at if row.ruled_at and row.state == DisputeState.RULED else None  # type: ignore[attr-defined]
    unblinded = flags.unblinded(request.user, campaigns)
    totals = {"open": sum(r.waiting for r in rows), "ruled": sum(r.ruled for r in rows), "moot": sum(r.moot for r in rows)}
    context = {
        "rows": rows,
        "page": page,
        "shown": shown,
        "tabs": [(key, label, totals[key]) for key, label in STATE_LABELS.items()],
        "waiting": totals["open"],
        "heat": flags.heat(campaigns),
        "producers": flags.by_producer(unblinded),
        "blinded": len(campaigns) - len(unblinded),
        "user_may_rule": request.user.has_role(Role.ADJUDICATOR),
    }
    return render(request, "annotation/safety.html", context)


@access.allow(*BOARD)
@never_cache
@require_safe
def defects(request: UserRequest) -> HttpResponse:
    return show_defects(request)


def show_defects(request: UserRequest, bound: DefectForm | None = None, status: int = 200) -> HttpResponse:
    """The samples that were sent back, with what was said against each; `bound` is the form that came back."""
    settled = request.GET.get("show") == "settled"
    found = Defect.objects.select_related("sample__source", "decided_by", "replaced_by")
    found = found.exclude(state="open").order_by("-decided_at") if settled else found.filter(state="open").order_by("reported_at")
    page = Paginator(found, ROWS).get_page(request.GET.get("page"))
    reasons = verbs.reasons(list(page))
    for row in page:
        row.reasons = reasons[row.sample_id]  # type: ignore[attr-defined]
        row.form = bound if bound and bound.defect.pk == row.pk else DefectForm(defect=row)  # type: ignore[attr-defined]
    counts = {"open": Defect.objects.filter(state="open").count(), "settled": Defect.objects.exclude(state="open").count()}
    context = {"page": page, "settled": settled, "counts": counts, "user_may_rule": request.user.has_role(Role.ADJUDICATOR)}
    return render(request, "annotation/defects.html", context, status=status)


@access.allow(*BOARD)
@require_POST
def defect_decide(request: UserRequest, pk: UUID) -> HttpResponse:
    defect = Defect.objects.select_related("sample__source").filter(public_id=pk).first()
    if defect is None:
        raise Http404
    form = DefectForm(request.POST, defect=defect)
    if not form.is_valid():
        return show_defects(request, form, status=422)
    said = form.cleaned_data
    try:
        decided = verbs.decide(
            defect=defect, actor=request.user, decision=said["decision"], note=said["note"], replaced_by=said["replaced_by"]
        )
    except verbs.DefectRefused as refused:
        if not Defect.objects.filter(pk=defect.pk, state="open").exists():
            # A colleague was faster: their decision stands where it is listed.
            messages.warning(request, str(refused))
            return redirect(f"{reverse('annotation:defects')}?show=settled")
        form.add_error(None, str(refused))
        return show_defects(request, form, status=422)
    messages.success(request, f"{decided.sample.external_id}: {decided.get_state_display().lower()}.")
    return redirect("annotation:defects")
