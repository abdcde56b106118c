from django.contrib import admin

from accounts.admin import site
from modelhub.models import Alias, AliasMove, Artifact, CardRevision, LineageEdge, ModelVersion
from web.records import ReadOnly


@admin.register(ModelVersion, site=site)
class ModelVersionAdmin(ReadOnly):
    list_display = ("name", "kind", "toy", "simulated", "parameters", "created_at")
    list_filter = ("kind", "toy", "simulated")
    search_fields = ("name", "public_id")


@admin.register(Artifact, site=site)
class ArtifactAdmin(ReadOnly):
    list_display = ("digest", "bytes", "created_at")


@admin.register(CardRevision, site=site)
class CardRevisionAdmin(ReadOnly):
    list_display = ("version", "number", "author", "at")
    list_select_related = ("version", "author")


@admin.register(LineageEdge, site=site)
class LineageEdgeAdmin(ReadOnly):
    list_display = ("child", "role", "parent", "source_kind", "source_label")
    list_select_related = ("child", "parent")


@admin.register(Alias, site=site)
class AliasAdmin(ReadOnly):
    list_display = ("name", "version", "moves")


@admin.register(AliasMove, site=site)
class AliasMoveAdmin(ReadOnly):
    list_display = ("alias", "number", "from_version", "to_version", "actor", "at")
    list_select_related = ("alias", "from_version", "to_version", "actor")
