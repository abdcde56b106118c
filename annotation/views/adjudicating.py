"""The lead clinician's queue of disputes and the page to rule on one. Blinded: nothing here names a rater or a model."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models.functions import Length
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access
from accounts.access import UserRequest
from accounts.models import Role, User
from annotation import adjudications, answers, keys, votes
from annotation.adjudications import KeyReused, NotTheirs, RulingRefused, VotesChanged
from annotation.agreement import Rating, decisive, raw_agreement, tabulate
from annotation.estimates import Estimate
from annotation.models import Adjudication, Dispute, DisputeQuerySet, DisputeState, Judgement
from annotation.ruling_form import DECISIONS, RulingForm, decision_of

LEADS = (Role.ADJUDICATOR,)
ROWS = 50
# Letters a minute: 230 words of about six letters with the space after them; and what deciding itself takes.
LETTERS_A_MINUTE = 230 * 6
DECIDING_MINUTES = 0.75
SHOWN = {"waiting": "Waiting", "put-off": "Put off", "ruled": "Ruled"}


def get_dispute_for(user: User, pk: UUID) -> Dispute:
    """A dispute the user may rule on. Raises Http404 for one of a campaign they judge in, or of a pair they have judged."""
    dispute = (
        Dispute.objects.for_lead(user)
        .select_related("campaign__rubric", "pair__prompt__sample", "pair__first", "pair__second")
        .filter(public_id=pk)
        .first()
    )
    if dispute is None:
        raise Http404
    return dispute


@access.allow(*LEADS)
@never_cache
@require_safe
def disputes(request: UserRequest) -> HttpResponse:
    """Only what has to be settled: the gravest first, then the oldest, with what it will take."""
    theirs = Dispute.objects.for_lead(request.user)
    shown = request.GET.get("show", "waiting")
    if shown not in SHOWN:
        shown = "waiting"
    rows = {"waiting": theirs.waiting, "put-off": theirs.put_off, "ruled": theirs.ruled}[shown]()
    page = Paginator(_with_letters(rows).select_related("campaign", "pair__prompt__sample"), ROWS).get_page(request.GET.get("page"))
    taken = set(theirs.taken_from(request.user).filter(pk__in=[row.pk for row in page]).values_list("pk", flat=True))
    for row in page:
        row.minutes = _minutes(row.letters)  # type: ignore[attr-defined]
        row.taken = row.pk in taken  # type: ignore[attr-defined]
    counts = {"waiting": theirs.waiting().count(), "put-off": theirs.put_off().count(), "ruled": theirs.ruled().count()}
    context = {
        "page": page,
        "shown": shown,
        "tabs": [(key, label, counts[key]) for key, label in SHOWN.items()],
        "waiting": counts["waiting"],
        "minutes": _minutes(sum(row.letters for row in page), count=len(page)),  # type: ignore[attr-defined]
        "agreement": None if page.object_list or shown != "waiting" else agreement_of(request.user),
        "elsewhere": Dispute.objects.waiting().exclude(pk__in=theirs.values("pk")).count(),
    }
    return render(request, "annotation/disputes.html", context)


def _with_letters(rows: DisputeQuerySet) -> DisputeQuerySet:
    """With how many letters there are to read, source and both texts."""
    sample = "pair__prompt__sample__"
    return rows.annotate(
        letters=Length(f"{sample}instruction") + Length(f"{sample}input") + Length("pair__first__text") + Length("pair__second__text")
    )


def _minutes(letters: int, *, count: int = 1) -> int:
    """Whole minutes, at least one, to read so many letters and decide so many times."""
    return max(1, round(letters / LETTERS_A_MINUTE + count * DECIDING_MINUTES))


def agreement_of(user: User) -> Estimate:
    """How often two raters of one pair prefer the same side, over the campaigns whose disputes the lead may see."""
    seen = Judgement.objects.votes().exclude(assignment__campaign__memberships__user=user)
    ratings = seen.order_by("-pk").values_list("assignment__pair", "assignment__annotator", "verdict", "assignment__pair__prompt__sample")[
        :20_000
    ]
    return raw_agreement(tabulate(decisive(Rating(*row) for row in ratings), ["first", "second"]))


@access.allow(*LEADS)
@require_POST
def dispute_next(request: UserRequest) -> HttpResponse:
    return go_on(request)


def go_on(request: UserRequest, after: Dispute | None = None) -> HttpResponse:
    """To the next dispute that waits for this lead, or back to the list, which says that there is none."""
    following = adjudications.take_next(adjudicator=request.user, after=after)
    return redirect("annotation:dispute", following.public_id) if following else redirect("annotation:disputes")


@access.allow(*LEADS)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def dispute(request: UserRequest, pk: UUID) -> HttpResponse:
    """One dispute, blinded: the source, both texts with what raters marked, the votes, and the ruling's form."""
    heard = get_dispute_for(request.user, pk)
    last = heard.adjudications.order_by("-revision").first()
    if request.method != "POST":
        form = RulingForm.fresh(heard, flagged=adjudications.flagged(heard), last=last)
        return hearing(request, heard, form, last)
    form = RulingForm(request.POST, dispute=heard)
    if not form.is_valid():
        return hearing(request, heard, form, last, status=422)
    try:
        adjudications.rule(
            dispute=heard,
            adjudicator=request.user,
            ruling=form.ruling(),
            votes_version=form.cleaned_data["votes_version"],
            key=form.cleaned_data["key"],
        )
    except NotTheirs as refused:
        raise Http404 from refused
    except VotesChanged as refused:
        return hearing(request, heard, _kept(form, heard), last, problem=str(refused), status=409)
    except KeyReused as refused:
        fresh = RulingForm.fresh(heard, flagged=adjudications.flagged(heard), last=last)
        return hearing(request, heard, fresh, last, problem=str(refused), status=422)
    except RulingRefused as refused:
        return hearing(request, heard, form, last, problem=str(refused), status=422)
    messages.success(request, "Your ruling stands beside the votes.")
    return go_on(request, after=heard)


def _kept(form: RulingForm, heard: Dispute) -> RulingForm:
    """The form as it was sent, on the votes as they are now."""
    heard.refresh_from_db(fields=["votes_version", "state"])
    return RulingForm({**{name: form.data.get(name) for name in form.data}, "votes_version": str(heard.votes_version)}, dispute=heard)


def hearing(
    request: UserRequest, heard: Dispute, form: RulingForm, last: Adjudication | None, *, problem: str = "", status: int = 200
) -> HttpResponse:
    read = votes.hear(heard, last=last)
    chosen = str(form["decision"].value() or "")
    taken = Dispute.objects.taken_from(request.user).filter(pk=heard.pk).exists()
    rulings = list(heard.adjudications.order_by("-revision"))
    page = {
        "dispute": heard,
        "sample": heard.pair.prompt.sample,
        "hearing": read,
        "form": form,
        "decisions": [(value, label, key, value == chosen) for value, label, key in DECISIONS],
        "rubric": heard.campaign.rubric.content,
        "rulings": [_ruling(heard, ruling, request.user) for ruling in rulings],
        "changed": votes.changed_since(heard, last) and heard.state != DisputeState.MOOT,
        "taken": taken,
        "problem": problem,
        "put_off": heard.state == DisputeState.DEFERRED,
        "keys_off": keys.are_off(request.user),
    }
    return render(request, "annotation/dispute.html", page, status=status)


def _ruling(heard: Dispute, ruling: Adjudication, reader: User) -> dict[str, Any]:
    """An earlier ruling as this lead sees the pair; another lead has no name here either."""
    labels = {value: label for value, label, _ in DECISIONS}
    sides = []
    for side in ("a", "b"):
        of = answers.which_of(heard, side)
        sides.append(
            {
                "letter": side.upper(),
                "harm": getattr(ruling, f"get_harm_{of}_display")(),
                "must_not_train": getattr(ruling, f"must_not_train_{of}"),
                "block_promotion": getattr(ruling, f"block_promotion_{of}"),
            }
        )
    return {
        "outcome": labels[decision_of(heard, ruling.outcome)],
        "rationale": ruling.rationale,
        "sides": sides,
        "mine": ruling.adjudicator_id == reader.pk,
        "decided_at": ruling.decided_at,
        "revision": ruling.revision,
    }


@access.allow(*LEADS)
@require_POST
def dispute_take(request: UserRequest, pk: UUID) -> HttpResponse:
    heard = get_dispute_for(request.user, pk)
    if not adjudications.take(dispute=heard, adjudicator=request.user):
        messages.warning(request, "Another lead is looking at that one now; it comes back here when they leave it.")
        return redirect("annotation:disputes")
    return redirect("annotation:dispute", heard.public_id)


@access.allow(*LEADS)
@require_POST
def dispute_defer(request: UserRequest, pk: UUID) -> HttpResponse:
    """Put one off, and go on with the next."""
    heard = get_dispute_for(request.user, pk)
    if adjudications.defer(disputes=[heard], adjudicator=request.user):
        messages.success(request, "Put off for a week. It comes back by itself, or sooner if a graver flag arrives.")
    return go_on(request, after=heard)


@access.allow(*LEADS)
@require_POST
def disputes_defer(request: UserRequest) -> HttpResponse:
    """Put off those that were ticked."""
    named = [text for text in request.POST.getlist("dispute")[:ROWS] if _is_uuid(text)]
    chosen = list(Dispute.objects.for_lead(request.user).filter(public_id__in=named))
    count = adjudications.defer(disputes=chosen, adjudicator=request.user)
    if count:
        messages.success(request, f"{count} put off for a week.")
    else:
        messages.error(request, "Tick at least one that nobody else is looking at; nothing was put off.")
    return redirect("annotation:disputes")


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
