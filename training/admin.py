from django.contrib import admin

from accounts.admin import site
from training.models import Evaluation, LoopPolicy, LoopRound, MergePreview, MergeRecipe, Promotion, Run, Study, SuiteRun
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
    # What they found of the models' answers is on pages that know who may read it.
    exclude = ("gates",)


@admin.register(MergeRecipe, site=site)
class MergeRecipeAdmin(ReadOnly):
    list_display = ("digest", "method", "base", "seed", "created_by", "created_at")
    list_select_related = ("base", "created_by")
    list_filter = ("method",)
    search_fields = ("digest", "public_id")


@admin.register(MergePreview, site=site)
class MergePreviewAdmin(ReadOnly):
    """Which merges were tried; what was answered is on the preview's own page, which knows who may read it."""

    list_display = ("recipe", "beside", "job", "created_at")
    list_select_related = ("recipe", "beside", "job")


@admin.register(SuiteRun, site=site)
class SuiteRunAdmin(ReadOnly):
    list_display = ("suite", "version", "created_at", "finished_at")
    list_select_related = ("version",)
    list_filter = ("suite",)


@admin.register(Study, site=site)
class StudyAdmin(ReadOnly):
    """Where studies stand; single votes are not shown."""

    list_display = ("challenger", "champion", "state", "verdict", "counted", "created_at", "decided_at")
    list_select_related = ("challenger", "champion")
    list_filter = ("state",)
    exclude = ("raters",)
    readonly_fields = ("asked",)

    @admin.display(description="Raters")
    def asked(self, study: Study) -> str:
        # By name: people come from their table in no order, and a page that changes with nothing changed cannot be compared.
        return ", ".join(study.raters.order_by("username").values_list("username", flat=True))


@admin.register(LoopPolicy, site=site)
class LoopPolicyAdmin(ReadOnly):
    list_display = ("campaign", "active", "pairs_needed", "created_by", "why_stopped")
    list_select_related = ("campaign", "created_by")


@admin.register(LoopRound, site=site)
class LoopRoundAdmin(ReadOnly):
    list_display = ("loop", "number", "state", "created_at", "proposed_at", "ended_at")
    list_select_related = ("loop__campaign",)
    list_filter = ("state",)
