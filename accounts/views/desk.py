"""A person's own tokens, and the audit trail."""

from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access
from accounts import tokens as api_tokens
from accounts.access import UserRequest
from accounts.forms.tokens import TokenForm
from accounts.models import ApiToken, AuditEntry, Role, User


@access.allow()
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: UserRequest) -> HttpResponse:
    """A person's own tokens. A new one's secret is in the answer to its form and nowhere else, ever."""
    form = TokenForm(request.POST or None, user=request.user, initial={"days": 90})
    secret = None
    if form.is_valid():
        _, secret = api_tokens.create(user=request.user, **form.cleaned_data)
        form = TokenForm(user=request.user, initial={"days": 90})
    page = {"form": form, "secret": secret, "tokens": ApiToken.objects.for_owner(request.user)}
    return render(request, "accounts/tokens.html", page, status=422 if form.errors else 200)


def get_token_for(user: User, pk: int) -> ApiToken:
    """The user's own token. Raises Http404 for anybody else's."""
    token = ApiToken.objects.for_owner(user).filter(pk=pk).first()
    if token is None:
        raise Http404
    return token


@access.allow()
@require_POST
def token_revoke(request: UserRequest, pk: int) -> HttpResponse:
    api_tokens.revoke(token=get_token_for(request.user, pk), actor=request.user)
    return redirect("accounts:tokens")


@access.allow(Role.STEWARD, Role.ADMIN)
@require_safe
def audit(request: UserRequest) -> HttpResponse:
    # NUL stands in no name, and the database takes none.
    verb, actor = (request.GET.get(name, "").replace("\x00", "")[:150] for name in ("verb", "actor"))
    entries = Paginator(AuditEntry.objects.for_list(verb=verb, actor=actor), 50).get_page(request.GET.get("page"))
    verbs = AuditEntry.objects.order_by("verb").values_list("verb", flat=True).distinct()
    return render(request, "accounts/audit.html", {"entries": entries, "verbs": verbs, "verb": verb, "actor": actor})
