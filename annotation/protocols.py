"""Protocols: what a campaign will cost and can find out before it is made, and what it promised once it has opened."""

from datetime import date
from decimal import Decimal
from math import ceil
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Count

from accounts.models import Specialty, User
from annotation import power, records
from annotation.models import LOCKED, Campaign, Completion, Judgement, RationaleWhen, Selection, Split
from annotation.pairs import ONE_PAIR, Sources

FORMAT = "protocol-1"
# How many texts are read, and how many judgements looked at, to tell how long a pair takes.
TEXTS_READ, TIMES_READ = 300, 500
# Doubly judged pairs below which agreement will say "n too small".
ENOUGH_DOUBLES = 30
# Of two judgements of one prompt: with prompt effects of 1 logit (sd) the design effect is 1.18 (product.md 2.1).
SAME_PROMPT = 0.18


# --- locked ------------------------------------------------------------------------------------------------------------------------------


def lock(campaign: Campaign) -> tuple[dict[str, Any], str]:
    """The protocol as it is fixed at opening, and its digest (SHA-256 of canonical JSON).

    Every locked field of the campaign; rubric, qualification and predecessor by what they are elsewhere; what the pairs were drawn
    from; and the pairs themselves by the digest of their texts' digests, in order.
    """
    elsewhere = {"protocol", "protocol_digest", "rubric", "qualification", "predecessor"}
    drawn = campaign.pairs.order_by("position").values_list("prompt__digest", "first__digest", "second__digest", "selection_probability")
    pairs = [list(row) for row in drawn]
    protocol = {
        "format": FORMAT,
        **{name: getattr(campaign, name) for name in LOCKED if name not in elsewhere},
        "rubric": {"code": campaign.rubric.code, "version": campaign.rubric.version, "digest": campaign.rubric.digest},
        "qualification": str(campaign.qualification.public_id) if campaign.qualification else None,
        "predecessor": str(campaign.predecessor.public_id) if campaign.predecessor else None,
        "sources": campaign.protocol.get("sources", {}),
        "pairs": {"count": len(pairs), "digest": records.digest_of(pairs)},
    }
    return protocol, records.digest_of(protocol)
