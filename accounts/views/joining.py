"""What a rater is asked once: consent and a profile. Both lead back to where the person was going."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import access, consents, joining, profiles
from accounts.access import UserRequest
from accounts.forms.joining import ConsentForm, ProfileForm
from accounts.models import Consent, Profile, Role
from web.addresses import next_of
from web.prose import render as as_prose


@access.allow()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def consent(request: UserRequest) -> HttpResponse:
    """The current text, and a box to agree to it. Agreed already: it says since when, and leads on."""
    text = consents.current()
    form = ConsentForm(request.POST or None, initial={"text": text.pk})
    stale = False
    if form.is_valid():
        stale = form.cleaned_data["text"] != text.pk
        if not stale:
            consents.give(user=request.user, text=text)
            return redirect(_onward(request))
        # Never agree for them to what they did not read.
        form = ConsentForm(initial={"text": text.pk})
    page = {
        "form": form,
        "text": text,
        "body": as_prose(text.text),
        "standing": Consent.objects.filter(user=request.user, text=text, withdrawn_at__isnull=True).first(),
        "earlier": Consent.objects.filter(user=request.user).exclude(text=text).exists(),
        "stale": stale,
        "next": next_of(request, default=""),
    }
    return render(request, "accounts/consent.html", page, status=409 if stale else 422 if form.errors else 200)


def _onward(request: UserRequest) -> str:
    """The next step of joining that is missing for a rater, else where they were going."""
    goal = next_of(request)
    step = joining.missing(request.user) if request.user.has_role(Role.ANNOTATOR, Role.ADJUDICATOR) else None
    return f"{step.address}?{urlencode({'next': goal})}" if step else goal


@access.allow()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: UserRequest) -> HttpResponse:
    """What the person says of themselves, and what they agreed to, with the way to take it back."""
    known = Profile.objects.filter(user=request.user).first()
    form = ProfileForm(request.POST) if request.method == "POST" else ProfileForm.of(known)
    if form.is_valid():
        profiles.save(user=request.user, **form.cleaned_data)
        goal = next_of(request, default="")
        if not goal:
            messages.success(request, "Your profile is saved.")
        return redirect(goal or "accounts:profile")
    page = {
        "form": form,
        "profile": known,
        "consent": Consent.objects.filter(user=request.user, withdrawn_at__isnull=True).select_related("text").order_by("-pk").first(),
        "current": consents.current(),
        "withdrawn": Consent.objects.filter(user=request.user, withdrawn_at__isnull=False).order_by("-withdrawn_at").first(),
        "next": next_of(request, default=""),
    }
    return render(request, "accounts/profile.html", page, status=422 if form.errors else 200)


@access.allow()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def consent_withdraw(request: UserRequest) -> HttpResponse:
    """What withdrawing means, and the button that does it."""
    if request.method == "POST":
        if consents.withdraw(user=request.user):
            messages.success(request, "Your consent is withdrawn. Nothing new is handed to you; what you gave before stays on record.")
        return redirect("accounts:profile")
    standing = Consent.objects.filter(user=request.user, withdrawn_at__isnull=True).select_related("text").order_by("-pk").first()
    return render(request, "accounts/consent_withdraw.html", {"consent": standing})
