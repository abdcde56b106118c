from django.contrib import admin

from accounts.admin import site
from training.models import Evaluation, Promotion, Run
from web.records import ReadOnly


@admin.register(Run, site=site)
class RunAdmin(ReadOnly):
    list_display = ("name", "preset", "policy", "snapshot", "output", "created_at")
    list_select_related = ("policy", "snapshot", "output")


@admin.register(Evaluation, site=site)
class EvaluationAdmin(ReadOnly):
    list_display = ("policy", "reference", "simulated", "created_at", "finished_at")
    list_select_related = ("policy", "reference")


@admin.register(Promotion, site=site)
class PromotionAdmin(ReadOnly):
    list_display = ("decision", "alias", "version", "replaced", "simulated", "decided_by", "decided_at")
    list_select_related = ("version", "replaced", "decided_by")
