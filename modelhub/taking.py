"""Taking a model away, and saying on its card what only people know: the card's page, README.md, and the export as a zip."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_http_methods, require_safe

from accounts import access
from accounts.access import TRAINERS, UserRequest
from accounts.models import Role
from modelhub import cards, exports
from modelhub.card_form import CardForm
from modelhub.errors import Corrupt
from modelhub.models import ModelVersion
from web import prose, ranges

READERS = (*TRAINERS, Role.STEWARD)


def get_version(public_id: UUID) -> ModelVersion:
    return get_object_or_404(ModelVersion.objects.select_related("artifact", "adapter"), public_id=public_id)


@require_http_methods(["GET", "HEAD", "POST"])
@access.allow(*TRAINERS)
def card(request: UserRequest, public_id: UUID) -> HttpResponse:
    """Write on the card. What somebody else wrote meanwhile is never overwritten, and nothing that was typed is lost."""
    version = get_version(public_id)
    newest = cards.latest(version)
    form = CardForm(request.POST or None, initial=CardForm.filled(newest))
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            said = form.cleaned_data
            try:
                cards.revise(
                    version=version, prose=form.prose, hub_id=said["hub_id"], datasets=said["datasets"], expected=said["expected"],
                    actor=request.user,
                )  # fmt: skip
            except cards.CardRefused as refused:
                form.add_error(None, str(refused))
            except cards.CardChanged:
                status = 409
                form.add_error(
                    None, "Somebody else changed this card meanwhile. What you wrote is below; theirs is beside it. Send it again."
                )
                again = request.POST.copy()
                again["expected"] = str(newest.number if newest else 0)
                form.data = again
            else:
                messages.success(request, "The card is changed. What it said before stays on record.")
                return redirect("modelhub:model", version.public_id)
    page = {
        "version": version, "form": form, "newest": newest, "revisions": version.card_revisions.select_related("author"),
        "now": [(title, prose.render(newest.prose.get(part, ""))) for part, (title, _) in cards.PARTS.items()] if newest else [],
        "changed": status == 409,
    }  # fmt: skip
    return render(request, "modelhub/card.html", page, status=status)


@require_safe
@access.allow(*READERS)
def readme(request: UserRequest, public_id: UUID) -> HttpResponse:
    """The card as the Hub's README.md."""
    response = HttpResponse(cards.of(get_version(public_id)).text, content_type="text/markdown; charset=utf-8")
    response["Content-Disposition"] = content_disposition_header(True, "README.md") or "attachment"
    response["Content-Security-Policy"] = "sandbox"
    return response


@require_safe
@access.allow(*TRAINERS)
def export(request: UserRequest, public_id: UUID, form: str) -> HttpResponseBase:
    """The export as a zip that is made while it is sent. Any part can be asked for, so that a broken download goes on where it broke."""
    if form not in exports.FORMATS:
        raise Http404("No such format.")
    version = get_version(public_id)
    try:
        found = exports.layout(version, form=form)
    except (exports.NotExported, Corrupt) as problem:
        messages.error(request, str(problem))
        return redirect("modelhub:model", version.public_id)
    archive = exports.archive(found)
    tag = f'"{found.digest}"'
    wanted = ranges.part(request, archive.size, tag)
    if wanted is not None and wanted.start == 0 and request.method == "GET":
        exports.record(version=version, form=form, digest=found.digest, actor=request.user)
    return ranges.answer(request, archive.blocks, size=archive.size, tag=tag, name=f"{found.name}.zip", content_type="application/zip")
