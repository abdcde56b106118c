"""Writing down what is right about the pairs of a draft: the qualification's expected answers, and gold of one's own."""

from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts import access
from accounts.access import TRAINERS, UserRequest
from annotation import golds
from annotation.campaigns import producer_named
from annotation.models import Campaign, CampaignState, Pair, Verdict
from annotation.views.managing import get_campaign_for

A_PAGE = 5
# The texts stand here in canonical order, so that "A" is the first; no rater sees this page.
CHOICES = [
    (Verdict.FIRST_MUCH, "A much better"),
    (Verdict.FIRST_SLIGHTLY, "A slightly better"),
    (Verdict.BOTH_ACCEPTABLE, "Both acceptable"),
    (Verdict.SECOND_SLIGHTLY, "B slightly better"),
    (Verdict.SECOND_MUCH, "B much better"),
    (Verdict.BOTH_UNACCEPTABLE, "Both unacceptable"),
]


class ExpectedForm(forms.Form):
    """What counts as right for one pair."""

    accepts = forms.MultipleChoiceField(
        label="Right is", choices=CHOICES, widget=forms.CheckboxSelectMultiple, error_messages={"required": "Say which verdicts are right."}
    )
    explanation = forms.CharField(
        label="Explanation", required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Shown in a qualification after the answer. Sides change there: speak of what a text says, not of A and B, nor of who "
        "wrote it.",
    )  # fmt: skip


@access.allow(*TRAINERS)
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_answers(request: UserRequest, pk: UUID) -> HttpResponse:
    """Pair by pair, both texts and a form."""
    shown = get_campaign_for(request.user, pk)
    if request.method != "POST":
        return _show(request, shown, request.GET.get("page", "1"))
    pair = shown.pairs.select_related("first__batch__version", "second__batch__version").filter(pk=_number(request.POST)).first()
    if pair is None:
        messages.error(request, "That pair is not in this campaign.")
        return redirect("annotation:campaign-answers", pk)
    page = str(shown.pairs.filter(position__lt=pair.position).count() // A_PAGE + 1)
    form = ExpectedForm(request.POST, prefix=str(pair.pk))
    if form.is_valid() and (named := producer_named(form.cleaned_data["explanation"], [pair.first.batch, pair.second.batch])):
        form.add_error("explanation", f"Raters read it: it must not name a producer ({named}).")
    if form.is_valid():
        try:
            golds.mark(pair=pair, origin="written", actor=request.user, **form.cleaned_data)
        except golds.GoldRefused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"Pair {pair.position + 1} has its expected answer.")
            return redirect(f"{reverse('annotation:campaign-answers', args=[pk])}?page={page}#pair-{pair.pk}")
    return _show(request, shown, page, form)


def _number(sent: QueryDict) -> int:
    text = sent.get("pair", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else 0


def _show(request: UserRequest, shown: Campaign, number: str, wrong: ExpectedForm | None = None) -> HttpResponse:
    pairs = Pair.objects.filter(campaign=shown).select_related("prompt__sample", "first", "second", "gold").order_by("position")
    page = Paginator(pairs, A_PAGE).get_page(number)
    rows = [(pair, wrong if wrong and wrong.prefix == str(pair.pk) else _form_of(pair)) for pair in page]
    context = {
        "campaign": shown,
        "page": page,
        "rows": rows,
        "draft": shown.state == CampaignState.DRAFT,
        "answered": pairs.filter(gold__isnull=False).count(),
    }
    return render(request, "annotation/campaign_answers.html", context, status=422 if wrong else 200)


def _form_of(pair: Pair) -> ExpectedForm:
    gold = getattr(pair, "gold", None)
    known = {"accepts": gold.accepts, "explanation": gold.explanation} if gold else {}
    return ExpectedForm(prefix=str(pair.pk), initial=known)
