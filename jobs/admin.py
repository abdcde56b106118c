from django.contrib import admin

from accounts.admin import site
from jobs.models import Attempt, Device, Job
from web.records import ReadOnly


@admin.register(Job, site=site)
class JobAdmin(ReadOnly):
    list_display = ("label", "kind", "state", "attempts", "created_at", "ended_at")
    list_filter = ("state", "kind")
    search_fields = ("label", "public_id")


@admin.register(Attempt, site=site)
class AttemptAdmin(ReadOnly):
    list_display = ("job", "number", "worker", "started_at", "ended_at", "exit_code", "reason", "resumed_from", "device")


@admin.register(Device, site=site)
class DeviceAdmin(ReadOnly):
    list_display = ("host", "name", "label", "holder", "lease_until", "seen_at")
