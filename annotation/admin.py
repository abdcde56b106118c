"""Pairs, completions and judgements are not here on purpose: an administrator may be a member of a campaign, and stays blinded in it."""

from django.contrib import admin

from accounts.admin import site
from annotation.models import Campaign, Membership, Snapshot, Source
from web.records import ReadOnly


@admin.register(Source, site=site)
class SourceAdmin(ReadOnly):
    list_display = ("name", "licence", "synthetic", "created_at")


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
