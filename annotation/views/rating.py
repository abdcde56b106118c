"""Rating: the compare screen, undo, the guideline. Nothing here may say who wrote what."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, push_url

from accounts import access
from accounts.access import UserRequest
from accounts.models import Role, User
from annotation import assignments, guidelines, judgements
from annotation.forms import CANNOT, VERDICTS, JudgementForm
from annotation.models import Assignment, AssignmentState, Campaign, CampaignState, Judgement

RATERS = (Role.ANNOTATOR, Role.ADJUDICATOR)
KEYS = {"a_much": "1", "a_slightly": "2", "both_acceptable": "3", "b_slightly": "4", "b_much": "5", "both_unacceptable": "0"}
SHORT = {"a_much": "A≫", "a_slightly": "A>", "both_acceptable": "A=B", "b_slightly": "B>", "b_much": "B≫", "both_unacceptable": "✕✕"}


def get_campaign_for(user: User, pk: UUID) -> Campaign:
    """A campaign the user judges in, once it was opened. Raises Http404 otherwise."""
    campaign = Campaign.objects.for_queue(user).filter(public_id=pk).first()
    if campaign is None:
        raise Http404
    return campaign


def get_assignment_for(user: User, pk: UUID) -> Assignment:
    """The user's own assignment. Raises Http404 for anybody else's."""
    assignment = Assignment.objects.for_annotator(user).filter(public_id=pk).first()
    if assignment is None:
        raise Http404
    return assignment


@access.allow(*RATERS, consented=True)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def judge(request: UserRequest, pk: UUID) -> HttpResponse:
    """The compare screen of one assignment. Its answer leads to the next pair, or back to the queue when none is left."""
    assignment = get_assignment_for(request.user, pk)
    if request.method != "POST":
        return compare(request, assignment, fresh_form(assignment))
    form = JudgementForm(request.POST)
    if not form.is_valid():
        return compare(request, assignment, form, status=422)
    verdict, reason = form.answer()
    answer = {"verdict": judgements.by_side(assignment, verdict), "cannot_reason": reason, "active_ms": form.cleaned_data["active_ms"]}
    try:
        if amended := Judgement.objects.filter(assignment=assignment, revision=form.cleaned_data["amends"] or 0).first():
            judgement = judgements.amend(judgement=amended, key=form.cleaned_data["key"], **answer)
        else:
            judgement = judgements.submit(assignment=assignment, key=form.cleaned_data["key"], **answer)
    except judgements.KeyReused as clash:
        return compare(request, assignment, fresh_form(assignment), problem=str(clash), status=409)
    except judgements.AlreadyAnswered as clash:
        assignment.refresh_from_db()
        return compare(request, assignment, fresh_form(assignment), problem=str(clash), status=409)
    if judgement.surplus:
        messages.warning(request, "Your answer came after its place was taken or the campaign had closed: it is kept, and not counted.")
    return go_on(request, assignment.campaign)


@access.allow(*RATERS, consented=True)
@require_POST
def undo(request: UserRequest, pk: UUID) -> HttpResponse:
    campaign = get_campaign_for(request.user, pk)
    try:
        reopened = judgements.undo_last(campaign=campaign, annotator=request.user)
    except judgements.NothingToUndo as nothing:
        messages.error(request, str(nothing))
        return to_queue(request)
    return redirect("annotation:judge", reopened.public_id)


@access.allow(*RATERS)
@require_safe
def guideline(request: UserRequest, pk: UUID) -> HttpResponse:
    campaign = get_campaign_for(request.user, pk)
    return render(request, "annotation/guideline.html", {"campaign": campaign, "guideline": guidelines.render(campaign.guideline)})


def go_on(request: UserRequest, campaign: Campaign) -> HttpResponse:
    """To the next pair of the campaign, or back to the queue, which says why there is none."""
    held = assignments.lease_next(campaign=campaign, annotator=request.user)
    if held is None:
        return to_queue(request)
    return redirect("annotation:judge", held.public_id)


def to_queue(request: UserRequest) -> HttpResponse:
    address = reverse("annotation:queue")
    # A whole other page: a fragment of it inside this one would be half a page.
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)


def compare(request: UserRequest, assignment: Assignment, form: JudgementForm, *, problem: str = "", status: int = 200) -> HttpResponse:
    campaign = get_campaign_for(request.user, assignment.campaign.public_id)
    sample = assignment.pair.prompt.sample
    texts = (assignment.pair.first.text, assignment.pair.second.text)
    left, right = texts if assignment.first_on_left else texts[::-1]
    answered = assignment.state in (AssignmentState.SUBMITTED, AssignmentState.SURPLUS)
    chosen = str(form["verdict"].value() or "")
    page = {
        "assignment": assignment,
        "campaign": campaign,
        "sample": sample,
        "left": left,
        "right": right,
        "form": form,
        "problem": problem,
        "number": campaign.answered + (0 if answered else 1),  # type: ignore[attr-defined]
        "total": campaign.answered + campaign.left + (1 if _is_late(assignment) else 0),  # type: ignore[attr-defined]
        "verdicts": [(value, label, KEYS[value], SHORT[value], value == chosen) for value, label in VERDICTS],
        "cannot": [(value, label, str(number), value == chosen) for number, (value, label) in enumerate(CANNOT, start=1)],
        "answered": answered,
        "late": _is_late(assignment),
        "closed": campaign.state != CampaignState.OPEN,
        "may_undo": Judgement.objects.undoable(campaign, request.user).exists(),
        "guideline": guidelines.render(campaign.guideline),
    }
    # Going back in the browser asks for the whole page anew: nothing clinical is kept in its history.
    if not request.htmx or request.htmx.history_restore_request:
        return render(request, "annotation/judge.html", page, status=status)
    response = render(request, "annotation/judge.html#compare", page, status=status)
    return push_url(response, reverse("annotation:judge", args=[assignment.public_id]))


def _is_late(assignment: Assignment) -> bool:
    return assignment.state in (AssignmentState.EXPIRED, AssignmentState.RELEASED)


def fresh_form(assignment: Assignment) -> JudgementForm:
    """A form that starts with the answer that stands, to be amended; or with the one just taken back, to be given anew."""
    last = assignment.judgements.order_by("-revision").first()
    standing = assignment.judgements.filter(undone_at__isnull=True).order_by("-revision").first()
    shown = standing or last
    if shown is None:
        return JudgementForm.fresh()
    verdict = judgements.seen_from(assignment, shown.verdict) + (f":{shown.cannot_reason}" if shown.cannot_reason else "")
    return JudgementForm.fresh(verdict=verdict, amends=standing.revision if standing else None)
