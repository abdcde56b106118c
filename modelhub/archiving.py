"""Archiving: a version that nobody needs is offered nowhere any more. Nothing of it is deleted, and it can be brought back."""

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from jobs.models import Job
from modelhub.errors import InUse
from modelhub.models import ModelVersion


@transaction.atomic
def archive(*, version: ModelVersion, actor: User | None) -> ModelVersion:
    """Hide it from lists and pickers. Twice is once. Raises InUse while an alias points to it or a job under way needs it."""
    mine = ModelVersion.objects.select_for_update().get(pk=version.pk)
    if mine.archived_at:
        return mine
    if names := [alias.name for alias in mine.aliases.order_by("name")]:
        raise InUse(f"{mine.name} is {' and '.join(names)}. Point the alias to another version first, or roll it back.")
    if job := Job.objects.unended().filter(pk__in=[pk for pk, found in used_by_jobs().items() if mine.pk in found]).first():
        raise InUse(f"The job “{job.label}” needs {mine.name}. Wait until it has ended, or stop it.")
    ModelVersion.objects.filter(pk=mine.pk).update(archived_at=Now())
    audit.record(actor, "model.archived", mine)
    mine.refresh_from_db()
    return mine


@transaction.atomic
def bring_back(*, version: ModelVersion, actor: User | None) -> ModelVersion:
    """Offer it again. Twice is once."""
    if ModelVersion.objects.filter(pk=version.pk).exclude(archived_at=None).update(archived_at=None):
        audit.record(actor, "model.brought_back", version)
    version.refresh_from_db()
    return version


def used_by_jobs() -> dict[int, set[int]]:
    """{job: versions that its specification names}, of all jobs that have not ended. One query."""
    return {pk: set(_versions(spec)) for pk, spec in Job.objects.unended().values_list("pk", "spec")}


def _versions(value: Any) -> list[int]:
    """Versions are named {"version": its key} at any depth."""
    if isinstance(value, dict):
        own = [value["version"]] if isinstance(value.get("version"), int) else []
        return own + [pk for inner in value.values() for pk in _versions(inner)]
    return [pk for inner in value for pk in _versions(inner)] if isinstance(value, list) else []
