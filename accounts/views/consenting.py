"""The consent texts of the house, for stewards and administrators: every version that was asked for, and publishing the next."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import access, consents
from accounts.access import UserRequest
from accounts.forms.people import ConsentTextForm
from accounts.models import ConsentText, Role
from web.prose import render as as_prose


@access.allow(Role.STEWARD, Role.ADMIN)
@require_http_methods(["GET", "HEAD", "POST"])
def consent_texts(request: UserRequest) -> HttpResponse:
    """All versions with how many agreed; a form for the next one. What is published is what was looked at, to the letter."""
    now = consents.current()
    posted = request.method == "POST"
    form = ConsentTextForm(request.POST if posted else None, initial={"version": consents.next_version(), "text": now.text})
    preview, changed, seen = "", False, ""
    if form.is_valid():
        seen = consents.digest_of(form.cleaned_data["text"])
        changed = "publish" in request.POST and request.POST.get("seen") != seen
        if "publish" in request.POST and not changed:
            try:
                made = consents.publish(actor=request.user, **form.cleaned_data)
            except consents.AlreadyPublished as known:
                form.add_error(known.field, str(known))
            else:
                messages.success(request, f"Version {made.version} is published. Everybody is asked before their next pair.")
                return redirect("accounts:consent-texts")
        else:
            preview = as_prose(form.cleaned_data["text"])
    page = {
        "form": form,
        "preview": preview,
        "seen": seen,
        "changed": changed,
        "texts": [(text, as_prose(text.text)) for text in ConsentText.objects.for_list()],
        "raters": consents.raters(),
        "editing": posted,
    }
    return render(request, "accounts/consent_texts.html", page, status=422 if form.errors else 200)
