"""Raters held out of a snapshot: nothing is trained on their votes, so that a model can be asked about people it has not learnt from.

Prompts are held out by the split of their sample, which is for ever; raters by the snapshot, since a row's soft target is made of votes and
is frozen with it: whatever trains on the rows, here or from an export, then leaves the same people out (product.md 2.13, G1). In such a
snapshot a vote counts where rater and sample are both held out, or neither is.
"""

from collections.abc import Sequence
from typing import NamedTuple

from django.db import connection
from django.utils.crypto import salted_hmac

from annotation import campaigns, filters, safety
from annotation.models import Campaign, Judgement, Prompt, SlotKind, Split

# Evaluation pairs of people that nothing was trained on, which a promotion asks for (gate G1).
PAIRS_NEEDED = 200
FEWEST_RATERS = 2
SUGGESTED = 0.2
SHARES = (0.1, SUGGESTED, 0.3, 0.4, 0.5)
REFUSED = (filters.HELD_OUT, filters.NOT_HELD_OUT)


class TooFewRaters(Exception):
    """Nobody can be held out; the message says how many raters there are."""


class Ahead(NamedTuple):
    """Of a share of raters held out: how many they are, the pairs of train and validation split that somebody else judged, and the
    evaluation pairs nobody of whose raters would be trained on. More than a snapshot has: ties and the like are left out of it.
    """

    share: float
    raters: int
    training: int
    evaluation: int


def drawn(campaign: Campaign, *, share: float, seed: int) -> frozenset[int]:
    """The accounts that are held out: the nearest number to `share` of all who answered, at least one and never all.

    They are the first by their pseudonyms under the seed, which hang on the house's key, since the seed stands in every export: a greater
    share holds out the same people and more. Raises TooFewRaters.
    """
    if not share:
        return frozenset()
    raters = ranked(campaign, seed)
    if len(raters) < FEWEST_RATERS:
        raise TooFewRaters(f"Raters can be held out where at least {FEWEST_RATERS} judged; here it is {len(raters)}.")
    return frozenset(raters[: _many(share, len(raters))])


def _many(share: float, raters: int) -> int:
    return min(max(1, round(share * raters)), raters - 1)


def ranked(campaign: Campaign, seed: int) -> list[int]:
    """Everybody whose answers could be frozen, in the order in which a seed holds them out. Campaigns derived one from the other share
    it: else whoever taught the champion in one would be held out of the next, and nothing could be asked of them (gate G1)."""
    said = Judgement.objects.speaking(external=campaign.external).filter(assignment__campaign=campaign)
    people = said.exclude(assignment__slot__kind=SlotKind.GOLD).order_by().values_list("assignment__annotator", flat=True).distinct()
    first = campaigns.chain(campaign)[-1]
    named = campaign.public_id if first == campaign.pk else Campaign.objects.values_list("public_id", flat=True).get(pk=first)
    salt = f"held-out raters {named} {seed}"
    return sorted(people, key=lambda person: salted_hmac(salt, str(person), algorithm="sha256").hexdigest())


def own_findings(campaign: Campaign, held_out: frozenset[int]) -> safety.Findings:
    """What flags and rulings say of texts, each heard only from people on the side of the hold-out that its sample is on."""
    prompts = Prompt.objects.filter(pairs__campaign=campaign)
    evaluated = {"sample__split": Split.EVALUATION}
    of = {"simulated": campaign.simulated, "external": campaign.external}
    asked = safety.of_prompts(prompts.filter(**evaluated), **of, by=lambda person: person in held_out)
    taught = safety.of_prompts(prompts.exclude(**evaluated), **of, by=lambda person: person not in held_out)
    return safety.Findings(
        asked.harmful | taught.harmful, asked.barred | taught.barred, {**asked.rulings, **taught.rulings}, asked.standing | taught.standing
    )


# Of each pair the first and last of its raters in the order in which they would be held out, counted at once for every number of them.
# Votes and splits are gathered apart: no plan then multiplies the tables of both with each other.
_AHEAD = """
WITH evaluated (id) AS MATERIALIZED ({evaluated}), voted AS MATERIALIZED (
    SELECT vote.pair, vote.pair IN (SELECT id FROM evaluated) AS evaluates, ranked.person, ranked.place
    FROM ({votes}) AS vote (pair, person)
    JOIN unnest(%s::bigint[]) WITH ORDINALITY AS ranked (person, place) ON ranked.person = vote.person
), pairs AS (
    SELECT pair, evaluates, min(place) AS nearest, max(place) AS farthest,
        bool_or(person IN (SELECT person FROM voted WHERE NOT evaluates)) AS taught
    FROM voted GROUP BY pair, evaluates
)
SELECT told.held, count(*) FILTER (WHERE NOT evaluates AND farthest > told.held),
    count(*) FILTER (WHERE evaluates AND CASE WHEN told.held = 0 THEN NOT taught ELSE nearest <= told.held END)
FROM pairs, unnest(%s::int[]) AS told (held) GROUP BY told.held
"""


def ahead(campaign: Campaign, *, seed: int, shares: Sequence[float] = SHARES) -> list[Ahead]:
    """What holding nobody out, and each of `shares`, would leave; in one query over the campaign's votes. Empty for a single rater."""
    raters = ranked(campaign, seed)
    if len(raters) < FEWEST_RATERS:
        return []
    votes = Judgement.objects.votes(external=campaign.external).filter(assignment__campaign=campaign).order_by()
    inner, values = votes.values_list("assignment__pair", "assignment__annotator").query.sql_with_params()
    held_out = campaign.pairs.filter(prompt__sample__split=Split.EVALUATION).order_by().values_list("pk")
    evaluated, asked = held_out.query.sql_with_params()
    held = {0.0: 0} | {share: _many(share, len(raters)) for share in shares}
    with connection.cursor() as cursor:
        cursor.execute(_AHEAD.format(votes=inner, evaluated=evaluated), [*asked, *values, raters, sorted(set(held.values()))])
        found = {many: (int(training), int(evaluation)) for many, training, evaluation in cursor.fetchall()}
    return [Ahead(share, many, *found.get(many, (0, 0))) for share, many in held.items()]
