"""Rating: the compare screen and what it asks for while a pair is judged. Nothing here may say who wrote what."""

import uuid
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, push_url

from accounts import access, joining
from accounts.access import UserRequest
from accounts.models import Role, User
from annotation import answers, assignments, differences, drafts, judgements, keys, qualifications, sittings, structure
from annotation.answer_form import CANNOT, VERDICTS, JudgementForm
from annotation.judgements import ANSWERED, AlreadyAnswered, KeyReused
from annotation.models import (
    Assignment,
    AssignmentQuerySet,
    AssignmentState,
    Campaign,
    CampaignState,
    Hard,
    Harm,
    Judgement,
    Membership,
    Sample,
    Severity,
)
from web import errors, prose
from web.statements import Frozen

RATERS = (Role.ANNOTATOR, Role.ADJUDICATOR)
SHORT = {"a_much": "A≫", "a_slightly": "A>", "both_acceptable": "A=B", "b_slightly": "B>", "b_much": "B≫", "both_unacceptable": "✕✕"}
LATE = (AssignmentState.EXPIRED, AssignmentState.RELEASED)
SURPLUS = "Your answer came after its place was taken or the campaign had closed: it is kept, and not counted."


def get_campaign_for(user: User, pk: UUID) -> Campaign:
    """A campaign the user judges in, once it was opened, as the queue counts it. Raises Http404 otherwise."""
    campaign = Campaign.objects.for_queue(user).filter(public_id=pk).first()
    if campaign is None:
        raise Http404
    return campaign


def assignments_of(user: int) -> AssignmentQuerySet:
    """The own ones of the user with the id `user`, with what their campaign asks and without any text; those come with `for_annotator`."""
    mine = Assignment.objects.filter(annotator=user).select_related("campaign__rubric", "pair")
    return mine.defer("campaign__guideline", "campaign__protocol", "campaign__routing", "campaign__counts")


def _with_texts(user: int, pk: UUID) -> AssignmentQuerySet:
    """With `has_answers` (whether any revision is there) and `may_undo` (whether there is an answer in the campaign to take back)."""
    revoked = Membership.objects.filter(campaign=OuterRef("campaign"), user=user, revoked_at__isnull=False)
    undoable = Judgement.objects.undoable(OuterRef("campaign"), user).order_by()
    mine = Assignment.objects.for_annotator(user).select_related("campaign__rubric", "draft").filter(public_id=pk)
    return mine.exclude(Exists(revoked)).annotate(
        has_answers=Exists(Judgement.objects.filter(assignment=OuterRef("pk"))), may_undo=Exists(undoable)
    )


# Asked for with every pair: built once.
_STAND_INS = {"user": 2**40, "pk": UUID(int=2**100)}
_for_answer = Frozen(lambda user, pk: assignments_of(user).filter(public_id=pk), **_STAND_INS)
_for_page = Frozen(_with_texts, **_STAND_INS)


def get_assignment_for(user: User, pk: UUID) -> Assignment:
    """The user's own assignment with its texts. Raises Http404 for anybody else's, and for who was taken off the campaign."""
    return _one(_for_page(user=user.pk, pk=pk))


def get_own(user: User, pk: UUID) -> Assignment:
    """The user's own assignment without its texts, also of who was taken off the campaign. Raises Http404 for anybody else's."""
    return _one(_for_answer(user=user.pk, pk=pk))


def _one(found: list[Assignment]) -> Assignment:
    if not found:
        raise Http404
    return found[0]


@access.allow(*RATERS)
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def judge(request: UserRequest, pk: UUID) -> HttpResponseBase:
    """The compare screen of one assignment. Its answer leads to the next pair, or to whatever comes when none is left."""
    if request.method != "POST":
        if step := joining.missing(request.user):
            return access.lead_to(request, step)
        assignment = get_assignment_for(request.user, pk)
        return compare(request, assignment, fresh_form(assignment))
    # Whoever was taken off the campaign may still send what was before them: it is kept.
    assignment = get_own(request.user, pk)
    if step := joining.missing(request.user):
        _keep_draft(request, assignment)
        return access.lead_to(request, step)
    # The same person: no query for what the request knows.
    assignment.annotator = request.user
    form = JudgementForm(request.POST, assignment=assignment)
    if not form.is_valid():
        return refused(request, assignment, form)
    try:
        judgement = _store(assignment, form)
    except (KeyReused, AlreadyAnswered) as clash:
        return clashed(request, assignment, clash)
    return acknowledged(request, assignment, judgement)


def _store(assignment: Assignment, form: JudgementForm) -> Judgement:
    key, revision = form.cleaned_data["key"], form.cleaned_data["amends"]
    if revision and (amended := Judgement.objects.filter(assignment=assignment, revision=revision).first()):
        return judgements.amend(judgement=amended, key=key, answer=form.answer())
    return judgements.submit(assignment=assignment, key=key, answer=form.answer())


def acknowledged(request: UserRequest, assignment: Assignment, judgement: Judgement) -> HttpResponse:
    """What follows a stored answer: the feedback of a qualification, else the way on."""
    campaign, here = assignment.campaign, reverse("annotation:judge", args=[assignment.public_id])
    told = campaign.purpose == qualifications.QUALIFY
    if sittings.read_too_fast(assignment, judgement.active_ms) and sittings.pause_advised(campaign=campaign, annotator=request.user):
        # For the next page that is made; nothing else remembers it.
        request.session["pause"] = True
    if not in_background(request):
        if judgement.surplus:
            messages.warning(request, SURPLUS)
        return redirect(here) if told else go_on(request, campaign)
    response = HttpResponse(status=204, headers={"X-Rounds-State": "surplus" if judgement.surplus else "stored"})
    if onto := here if told else _leave_for(request.user, campaign):
        response.headers["X-Rounds-Next"] = onto
    return response


def _leave_for(user: User, campaign: Campaign) -> str:
    """Where a page that answers in the background has to go now; "" while it has another pair in hand."""
    if ended := sittings.end_if_over(campaign=campaign, annotator=user):
        return reverse("annotation:sitting", args=[ended.public_id])
    if Assignment.objects.live().filter(campaign=campaign, annotator=user).exists():
        return ""
    return _pair_or_end(user, campaign)


def refused(request: UserRequest, assignment: Assignment, form: JudgementForm) -> HttpResponse:
    """Nothing was stored, nothing is lost: the form comes back as it was sent, or waits as a draft where the page has gone on already."""
    if not in_background(request):
        return compare(request, assignment, form, status=422)
    _keep_draft(request, assignment)
    return _problem(422, "Unprocessable Content", " ".join(str(error) for listed in form.errors.values() for error in listed), assignment)


def clashed(request: UserRequest, assignment: Assignment, clash: KeyReused | AlreadyAnswered) -> HttpResponse:
    """Another answer stands. Both are shown: the one that stands in words, the one that was sent in the form, to be sent on purpose."""
    status, code = (422, "idempotency.mismatch") if isinstance(clash, KeyReused) else (409, "stale")
    if in_background(request):
        return _problem(status, HTTPStatus(status).phrase, str(clash), assignment, code=code)
    assignment.refresh_from_db()
    stands = judgements.standing(assignment)
    fields, number = drafts.read(request.POST)
    if stands is None:
        form = JudgementForm.drafted(assignment, {**fields, "key": str(uuid.uuid4()), "amends": ""}, number)
        return compare(request, assignment, form, problem=str(clash), status=status)
    form = JudgementForm.drafted(assignment, {**fields, "key": str(uuid.uuid4()), "amends": str(stands.revision)}, number)
    verdict = judgements.seen_from(assignment, stands.verdict).label
    saved = f"{clash} Saved is “{verdict}”; what you have just sent is in the form and not saved."
    return compare(request, assignment, form, problem=saved, status=status)


def _problem(status: int, title: str, detail: str, assignment: Assignment, **more: str) -> HttpResponse:
    return errors.problem(status, title, detail, **more, address=reverse("annotation:judge", args=[assignment.public_id]))


def in_background(request: UserRequest) -> bool:
    """Sent by our script beside the page: it wants a fragment or a word, never a page in place of the one that is shown."""
    return request.headers.get("X-Rounds") == "background"


@access.allow(*RATERS)
@require_POST
def draft(request: UserRequest, pk: UUID) -> HttpResponse:
    """Keep an answer under way; also from a page that is being left, or whose reader has to agree to something first."""
    assignment = get_own(request.user, pk)
    fields, number = drafts.read(request.POST)
    try:
        drafts.save(assignment=assignment, fields=fields, number=number)
    except AlreadyAnswered as clash:
        return _problem(409, "Conflict", str(clash), assignment)
    except drafts.DraftTooLong as too_long:
        return _problem(413, "Content Too Large", str(too_long), assignment)
    return HttpResponse(status=204)


def _keep_draft(request: UserRequest, assignment: Assignment) -> None:
    """What was sent waits at its address. One more than the page's own drafts: it is newer than they are."""
    fields, number = drafts.read(request.POST)
    try:
        drafts.save(assignment=assignment, fields=fields, number=number + 1)
    except (AlreadyAnswered, drafts.DraftTooLong):
        # There is an answer, which stands; or a text that the form refuses as well.
        return


@access.allow(*RATERS, consented=True)
@never_cache
@require_safe
def diff(request: UserRequest, pk: UUID) -> HttpResponse:
    """Where A and B differ: word by word, and for JSON documents place by place."""
    assignment = get_assignment_for(request.user, pk)
    left, right = sides(assignment)
    page: dict[str, Any] = {"assignment": assignment, "difference": differences.difference(left, right)}
    if is_structured(assignment):
        a, b = structure.check(left), structure.check(right)
        page |= {"validity_a": a, "validity_b": b, "structure": structure.compare(a.value, b.value) if a.valid and b.valid else None}
    return render(request, _part(request, "annotation/differences.html", "diff"), page)


@access.allow(*RATERS, consented=True)
@never_cache
@require_POST
def changes(request: UserRequest, pk: UUID) -> HttpResponse:
    """An edit under way as tracked changes. Nothing is stored."""
    assignment = get_assignment_for(request.user, pk)
    side, text = request.POST.get("edited_side", ""), answers.unix(request.POST.get("edited", ""))
    page: dict[str, Any] = {"assignment": assignment, "side": side}
    if side not in ("a", "b"):
        page["problem"] = "Say which side you edited."
    elif len(text) > answers.MAX_EDIT:
        page["problem"] = f"The edited text has {len(text):,} characters; {answers.MAX_EDIT:,} are allowed."
    else:
        before = sides(assignment)["ab".index(side)]
        page["changes"] = differences.changes(answers.unix(before), text)
    return render(request, _part(request, "annotation/differences.html", "changes"), page, status=422 if "problem" in page else 200)


def _part(request: UserRequest, template: str, name: str) -> str:
    fragment = (request.htmx or in_background(request)) and "full" not in request.GET
    return f"{template}#{name}" if fragment else template


@access.allow(*RATERS, consented=True)
@require_POST
def undo(request: UserRequest, pk: UUID) -> HttpResponse:
    campaign = get_campaign_for(request.user, pk)
    try:
        reopened = judgements.undo_last(campaign=campaign, annotator=request.user)
    except judgements.NothingToUndo as nothing:
        messages.error(request, str(nothing))
        return to(request, reverse("annotation:queue"))
    return redirect("annotation:judge", reopened.public_id)


@access.allow(*RATERS)
@require_safe
def guideline(request: UserRequest, pk: UUID) -> HttpResponse:
    campaign = get_campaign_for(request.user, pk)
    return render(request, "annotation/guideline.html", {"campaign": campaign, "guideline": prose.render(campaign.guideline)})


def go_on(request: UserRequest, campaign: Campaign) -> HttpResponse:
    """To the next pair of the campaign, or to the page that says why there is none."""
    return to(request, onward(request.user, campaign))


def onward(user: User, campaign: Campaign) -> str:
    """The address of what comes next: a pair, leased to the user; the card of a session that is over; else the queue, which says why."""
    ended = sittings.end_if_over(campaign=campaign, annotator=user)
    return reverse("annotation:sitting", args=[ended.public_id]) if ended else _pair_or_end(user, campaign)


def _pair_or_end(user: User, campaign: Campaign) -> str:
    held = assignments.lease_next(campaign=campaign, annotator=user)
    if held is not None:
        return reverse("annotation:judge", args=[held.public_id])
    if campaign.purpose == qualifications.QUALIFY:
        return reverse("annotation:qualification", args=[campaign.public_id])
    if running := sittings.current(campaign=campaign, annotator=user):
        return reverse("annotation:sitting", args=[sittings.end(sitting=running).public_id])
    return reverse("annotation:queue")


def to(request: UserRequest, address: str) -> HttpResponse:
    """A pair replaces a pair; any other page is a whole page, and a fragment of it inside this one would be half of it."""
    is_pair = address.startswith(reverse("annotation:queue")) and address.count("/") == 3
    return redirect(address) if is_pair or not request.htmx else HttpResponseClientRedirect(address)


def compare(request: UserRequest, assignment: Assignment, form: JudgementForm, *, problem: str = "", status: int = 200) -> HttpResponse:
    """The compare screen with `form` in it; for our script, and for htmx, the pair alone."""
    campaign = assignment.campaign
    sample = assignment.pair.prompt.sample
    left, right = sides(assignment)
    answered = assignment.state in ANSWERED
    chosen = form.held("verdict")
    key_of, off = keys.of(request.user), keys.are_off(request.user)
    page = {
        "assignment": assignment,
        "campaign": campaign,
        "sample": sample,
        "left": left,
        "right": right,
        "form": form,
        "rubric": campaign.rubric.content,
        "problem": problem,
        **_progress(request.user, assignment),
        "verdicts": [(value, label, key_of[value], SHORT[value], value == chosen) for value, label in VERDICTS],
        "cannot": [(value, label, str(number), value == chosen) for number, (value, label) in enumerate(CANNOT, start=1)],
        "hards": Hard.choices,
        "severities": Severity.choices,
        "harms": Harm.choices,
        "answered": answered,
        "late": assignment.state in LATE,
        "closed": campaign.state == CampaignState.CLOSED,
        "may_undo": _may_undo(request.user, assignment),
        "guideline": partial(prose.render, campaign.guideline),
        "keys": key_of,
        "keys_off": off,
        # What the parts of the page that are alike for everybody depend on: see the template tag `kept`.
        "blank": repr((campaign.rubric.content, key_of)) if form.blank and not answered else "",
        "tools": repr((campaign.rubric.content, campaign.guideline, key_of, off)),
        "draft": form.draft,
        "expires_in": _seconds_left(assignment),
        "feedback": _feedback(assignment) if answered else None,
        "pause": not answered and request.session.pop("pause", False),
        **_validity(assignment, left, right),
    }
    # Going back in the browser asks for the whole page anew: nothing clinical is kept in its history.
    if not in_background(request) and (not request.htmx or request.htmx.history_restore_request):
        return render(request, "annotation/judge.html", page, status=status)
    response = render(request, "annotation/judge.html#compare", page, status=status)
    return push_url(response, reverse("annotation:judge", args=[assignment.public_id]))


def _may_undo(user: User, assignment: Assignment) -> bool:
    known: bool | None = getattr(assignment, "may_undo", None)
    return Judgement.objects.undoable(assignment.campaign, user).exists() if known is None else known


def sides(assignment: Assignment) -> tuple[str, str]:
    """The texts as they stand: left (A), right (B)."""
    texts = (assignment.pair.first.text, assignment.pair.second.text)
    return texts if assignment.first_on_left else (texts[1], texts[0])


def _progress(user: User, assignment: Assignment) -> dict[str, Any]:
    """Where this pair stands: in the session under way, else in all that is for this rater."""
    running = sittings.running(annotator=user).get(assignment.campaign_id)
    if running is not None:
        done, total = running.answered, running.sitting.planned_pairs
    else:
        counted = Campaign.objects.for_queue(user).only("pk").get(pk=assignment.campaign_id)
        done = counted.answered  # type: ignore[attr-defined]
        total = done + counted.left + (1 if assignment.state in LATE else 0)  # type: ignore[attr-defined]
    if assignment.state in ANSWERED:
        number = done
    else:
        # A pair fetched ahead stands behind the one that is on screen.
        number = done + (2 if assignment.state == AssignmentState.LEASED and assignment.shown_at is None else 1)
    return {"sitting": running.sitting if running else None, "done": done, "number": number, "total": max(total, number)}


def _seconds_left(assignment: Assignment) -> int | None:
    """Until the lease ends; None for what is no lease."""
    if assignment.state != AssignmentState.LEASED:
        return None
    return max(0, int((assignment.expires_at - timezone.now()).total_seconds()))


def _feedback(assignment: Assignment) -> qualifications.Feedback | None:
    if assignment.campaign.purpose != qualifications.QUALIFY:
        return None
    stands = judgements.standing(assignment)
    return None if stands is None else qualifications.feedback(judgement=stands)


def is_structured(assignment: Assignment) -> bool:
    """Whether outputs are to be JSON: the sample says so, or the campaign's rubric does."""
    sample: Sample = assignment.pair.prompt.sample
    return sample.output_format.casefold() == "json" or "json" in assignment.campaign.rubric.content.get("checks", [])


def _validity(assignment: Assignment, left: str, right: str) -> dict[str, Any]:
    if not is_structured(assignment):
        return {"validity_a": None, "validity_b": None}
    return {"validity_a": structure.check(left).as_dict(), "validity_b": structure.check(right).as_dict()}


def fresh_form(assignment: Assignment) -> JudgementForm:
    """The form as its rater left it: the draft, else the answer that stands, to be amended, or the one taken back, to be given anew."""
    asked = assignment.judgements.order_by("-revision").select_related("edit").prefetch_related("spans")
    revisions = list(asked) if getattr(assignment, "has_answers", True) else []
    stands = next((one for one in revisions if one.undone_at is None), None)
    amends = stands.revision if stands else None
    kept = getattr(assignment, "draft", None)
    if kept is not None and str(kept.answer.get("amends") or "") == str(amends or ""):
        return JudgementForm.drafted(assignment, kept.answer, kept.number, saved_at=kept.saved_at)
    shown = stands or (revisions[0] if revisions else None)
    return JudgementForm.fresh(assignment, said=judgements.to_sides(assignment, shown) if shown else None, amends=amends)
