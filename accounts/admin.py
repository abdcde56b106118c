"""The records room for administrators: accounts can be made, given roles and disabled; everything else is for reading."""

from functools import wraps
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.views import redirect_to_login
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, reverse

from accounts import access, audit, people
from accounts.models import ApiToken, AuditEntry, Role, User
from web.records import ReadOnly

# Doors of Django's admin that Rounds has elsewhere or not at all.
CLOSED = {"password_change", "password_change_done", "autocomplete", "view_on_site"}


class RecordsSite(admin.AdminSite):
    site_header = "Rounds: records"
    site_title = "Rounds"
    index_title = "Records"
    site_url = "/"
    final_catch_all_view = False
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        return isinstance(request.user, User) and request.user.has_role(Role.ADMIN)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Where Django's admin sends whom it refuses: one sign-in page for the house, and 403 for those who are signed in."""
        if request.user.is_authenticated:
            access.require(request.user, Role.ADMIN)
            return redirect("admin:index")
        return redirect_to_login(reverse("admin:index"))

    login.access = "public"  # type: ignore[attr-defined]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Django's own guard, which sends everybody it refuses to sign in; here those who are signed in get 403."""
        guarded = super().admin_view(view, cacheable)

        @wraps(guarded)
        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if request.user.is_authenticated:
                access.require(request.user, Role.ADMIN)
            return guarded(request, *args, **kwargs)

        return answered

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """Django's own, less the closed doors. Each sits behind `has_permission` already; the mark repeats the decision for the table."""
        kept = [url for url in super().get_urls() if getattr(url, "name", None) not in CLOSED]
        for url in kept:
            _mark(url)
        return kept


def _mark(url: URLResolver | URLPattern) -> None:
    if isinstance(url, URLResolver):
        for below in url.url_patterns:
            _mark(below)
    elif access.decision(url.callback) is None:
        vars(url.callback)["access"] = (Role.ADMIN,)


site = RecordsSite(name="admin")


class WithRoles(forms.ModelForm):  # type: ignore[type-arg]
    roles = forms.MultipleChoiceField(
        choices=Role.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="No role implies another; an administrator also trains.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["roles"].initial = list(self.instance.grants.values_list("role", flat=True))


class PersonAddForm(WithRoles, AdminUserCreationForm):  # type: ignore[type-arg]
    class Meta(AdminUserCreationForm.Meta):
        model = User
        fields = ("username",)


class PersonForm(WithRoles, UserChangeForm):  # type: ignore[type-arg]
    class Meta(UserChangeForm.Meta):
        model = User
        fields = ("username", "first_name", "last_name", "is_active")  # type: ignore[assignment]

    def clean(self) -> dict[str, Any]:
        said: dict[str, Any] = super().clean() or self.cleaned_data
        stays = said.get("is_active") and Role.ADMIN in said.get("roles", [])
        if not stays and people.is_last_admin(User.objects.get(pk=self.instance.pk)):
            raise forms.ValidationError(str(people.LastAdmin()))
        return said


@admin.register(User, site=site)
class PersonAdmin(UserAdmin):  # type: ignore[type-arg]
    """Accounts are made, given roles and disabled here; they are never deleted: judgements name them."""

    form = PersonForm
    add_form = PersonAddForm
    fieldsets = ((None, {"fields": ("username", "password", "first_name", "last_name", "roles", "is_active")}),)
    add_fieldsets = ((None, {"fields": ("username", "password1", "password2", "roles")}),)
    list_display = ("username", "is_active", "simulated", "last_login")
    list_filter = ("is_active", "simulated", "grants__role")
    search_fields = ("username",)
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    actions = None

    def has_module_permission(self, request: HttpRequest) -> bool:
        return site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return site.has_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return site.has_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return site.has_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        actor = access.require(request.user, Role.ADMIN)
        if change and "is_active" in form.changed_data:
            (people.enable if obj.is_active else people.disable)(user=obj, actor=actor)
        super().save_model(request, obj, form, change)
        if not change:
            audit.record(actor, "user.created", obj)
        elif fields := sorted(set(form.changed_data) - {"roles", "is_active"}):
            audit.record(actor, "user.changed", obj, fields=fields)
        if "roles" in form.cleaned_data:
            people.set_roles(user=obj, roles=form.cleaned_data["roles"], actor=actor)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Django's own; of two administrators who take the role from each other at once, the second is told so."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except people.LastAdmin as last:
            messages.error(request, f"{last} Nothing was changed.")
            return redirect("admin:accounts_user_changelist")

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Django's own log is second to the audit trail, which the verbs above write."""
        return None

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        response = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == 302:
            audit.record(access.require(request.user, Role.ADMIN), "password.set", User.objects.get(pk=id))
        return response


@admin.register(AuditEntry, site=site)
class AuditEntryAdmin(ReadOnly):
    list_display = ("at", "actor_name", "verb", "object_type", "object_id")
    list_filter = ("verb",)
    search_fields = ("object_id", "actor_name", "request_id")


@admin.register(ApiToken, site=site)
class ApiTokenAdmin(ReadOnly):
    list_display = ("label", "user", "scopes", "created_at", "expires_at", "revoked_at")
    exclude = ("digest",)
