"""Pairs, completions and judgements are not here on purpose: an administrator may be a member of a campaign, and stays blinded in it."""

from django.contrib import admin

from accounts.admin import site
from annotation.models import Campaign, Corpus, Document, Membership, Snapshot, Source
from web.records import ReadOnly


@admin.register(Source, site=site)
class SourceAdmin(ReadOnly):
    list_display = ("name", "licence", "synthetic", "created_at")


@admin.register(Corpus, site=site)
class CorpusAdmin(ReadOnly):
    list_display = ("name", "group", "licence", "source", "digest", "created_at")
    list_filter = ("group",)


@admin.register(Document, site=site)
class DocumentAdmin(ReadOnly):
    list_display = ("external_id", "title", "corpus", "split", "withdrawn_at")
    list_filter = ("corpus", "split")
    list_select_related = ("corpus",)


@admin.register(Campaign, site=site)
class CampaignAdmin(ReadOnly):
    list_display = ("name", "purpose", "state", "overlap", "toy", "simulated", "created_at")
    list_filter = ("state", "purpose")
    # Whose texts they are, and the number that the sides were drawn from.
    exclude = ("seed", "protocol")


@admin.register(Membership, site=site)
class MembershipAdmin(ReadOnly):
    list_display = ("campaign", "user", "added_at")
    list_select_related = ("campaign", "user")


@admin.register(Snapshot, site=site)
class SnapshotAdmin(ReadOnly):
    list_display = ("name", "digest", "campaign", "frozen_by", "frozen_at")
    list_select_related = ("campaign", "frozen_by")
