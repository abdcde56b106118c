"""Pairs of a campaign: which there could be, which are taken, where they stand, and the slots in which they are judged."""

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil
from typing import Any

from django.db.models import Count, F, Value
from django.db.models.functions import Least

from annotation import selection, worth
from annotation.models import Campaign, Completion, GenerationBatch, Judgement, Pair, Prompt, Selection, Slot, Split, Verdict

EVERY_PAIR, ONE_PAIR = "every", "one"
# Rows a statement: large campaigns are written in few statements, none of them huge.
ROWS = 5000
# Prompts whose texts are in memory at once, and pairs that are looked at before anything is made of them.
PROMPTS_READ, LOOKED_AT = 500, 200


class NothingToCompare(Exception):
    """No candidate, or too few for the selection asked for; the message says what there was."""


@dataclass(frozen=True)
class Candidate:
    """Two different texts of one prompt, the older first, who wrote them, and, once drawn, how likely that was."""

    prompt: int
    first: int
    second: int
    producers: tuple[int, int]
    split: str
    stratum: str
    values: tuple[str, str]
    probability: float = 1.0
    selected_by: str = Selection.RANDOM


@dataclass(frozen=True)
class Sources:
    """What a campaign draws from; part of its protocol."""

    batches: tuple[GenerationBatch, ...]
    splits: tuple[str, ...] = tuple(Split.values)
    task_types: tuple[str, ...] = ()
    pairing: str = EVERY_PAIR
    # Reasons of annotation/worth.py for which a pair is left out unseen.
    leaving: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As the protocol keeps it: by public ids, for those who read it elsewhere."""
        return {
            "batches": sorted(str(batch.public_id) for batch in self.batches),
            "splits": list(self.splits),
            "task_types": list(self.task_types),
            "pairing": self.pairing,
            "leaving": sorted(self.leaving),
        }


def sources_of(campaign: Campaign) -> Sources:
    """What `campaign` was drawn from, as its protocol remembers."""
    kept = campaign.protocol["sources"]
    batches = GenerationBatch.objects.select_related("version").filter(public_id__in=kept["batches"]).order_by("pk")
    return Sources(tuple(batches), tuple(kept["splits"]), tuple(kept["task_types"]), kept["pairing"], tuple(kept.get("leaving", ())))


# --- candidates --------------------------------------------------------------------------------------------------------------------------


def candidates(sources: Sources, draw: random.Random, *, without: Campaign | None = None) -> tuple[list[Candidate], dict[str, int]]:
    """Every pair that could be judged, and the counts of what was found and left out.

    Of n texts of a prompt, all n·(n−1)/2 pairs (`pairing="every"`) or one of them, drawn (`"one"`). Texts that are the same make no pair,
    nor do those that a reason of `sources.leaving` speaks against. Pairs that `without` holds, and for one pair a prompt the prompts it
    holds, are no candidates any more.
    """
    texts = (
        Completion.objects.filter(batch__in=sources.batches, prompt__sample__withdrawn_at__isnull=True)
        .order_by("prompt_id", "pk")
        .values_list(
            "pk", "prompt_id", "batch_id", "digest", "prompt__sample__task_type", "prompt__sample__input_data", "prompt__sample__split"
        )
    )
    by_prompt: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    about: dict[int, tuple[str, str, str]] = {}
    for pk, prompt, batch, digest, task_type, document, split in texts:
        if split in sources.splits and (not sources.task_types or task_type in sources.task_types):
            by_prompt[prompt].append((pk, batch, digest))
            about[prompt] = (task_type, document, split)

    there = set(Pair.objects.filter(campaign=without).values_list("first", "second")) if without else set()
    asked = set(Pair.objects.filter(campaign=without).values_list("prompt", flat=True)) if without else set()
    possible: dict[int, list[Candidate]] = {}
    identical = 0
    for prompt, answers in by_prompt.items():
        task_type, document, split = about[prompt]
        different = []
        for (a, batch_a, digest_a), (b, batch_b, digest_b) in combinations(answers, 2):
            if digest_a == digest_b:
                identical += 1
            elif (a, b) not in there:
                stratum = f"{task_type} × {document}"
                different.append(Candidate(prompt, a, b, (batch_a, batch_b), split, stratum, (task_type, document)))
        possible[prompt] = different
    left_out: Counter[str] = Counter()
    if sources.leaving:
        possible = _worthwhile(possible, sources.leaving, left_out)
    found: list[Candidate] = []
    for prompt, different in possible.items():
        if sources.pairing != ONE_PAIR:
            found += different
        elif different and prompt not in asked:
            found.append(replace(draw.choice(different), probability=1 / len(different)))
    counts = {
        "prompts": len(by_prompt),
        "single": sum(len(answers) < 2 for answers in by_prompt.values()),
        "identical": identical,
        **{why: left_out[why] for why in worth.REASONS if left_out[why]},
        "pairs": len(found),
    }
    return found, counts


def _worthwhile(possible: dict[int, list[Candidate]], leaving: Collection[str], left_out: Counter[str]) -> dict[int, list[Candidate]]:
    """The same without the pairs that a reason of `leaving` speaks against; texts are read for a few hundred prompts at once."""
    prompts, kept = list(possible), {}
    for start in range(0, len(prompts), PROMPTS_READ):
        some = prompts[start : start + PROMPTS_READ]
        formats = dict(Prompt.objects.filter(pk__in=some).values_list("pk", "sample__output_format"))
        texts = _texts({pk for prompt in some for one in possible[prompt] for pk in (one.first, one.second)})
        for prompt in some:
            reasons = [
                worth.reason(texts[one.first], texts[one.second], output_format=formats[prompt], leaving=leaving)
                for one in possible[prompt]
            ]
            left_out.update(filter(None, reasons))
            kept[prompt] = [one for one, why in zip(possible[prompt], reasons, strict=True) if not why]
    return kept


def _texts(wanted: Collection[int]) -> dict[int, worth.Text]:
    return {
        pk: worth.Text(text, ended)
        for pk, text, ended in Completion.objects.filter(pk__in=wanted).values_list("pk", "text", "finish_reason")
    }


@dataclass(frozen=True)
class Outlook:
    """What `looked` pairs of the texts chosen are like: how many each reason speaks against, whether it is used or not, and the share of
    ties to expect of those that stay; `judged` pairs of the house stand behind it, beside what is assumed. None: no pair stays."""

    looked: int
    reasons: dict[str, int]
    tie_rate: float | None
    judged: int


def outlook(sources: Sources) -> Outlook | None:
    """Look at some pairs before a campaign is made of them, prompts in an order that says nothing; None without any pair."""
    if not sources.batches or not sources.splits:
        return None
    offered = Completion.objects.filter(
        batch__in=sources.batches, prompt__sample__split__in=sources.splits, prompt__sample__withdrawn_at__isnull=True
    )
    if sources.task_types:
        offered = offered.filter(prompt__sample__task_type__in=sources.task_types)
    several = offered.order_by().values("prompt", "prompt__digest").annotate(texts=Count("digest", distinct=True)).filter(texts__gt=1)
    prompts = [row["prompt"] for row in several.order_by("prompt__digest")[:LOOKED_AT]]
    by_prompt: dict[int, list[tuple[worth.Text, str]]] = defaultdict(list)
    rows = offered.filter(prompt__in=prompts).order_by("prompt__digest", "pk")
    for prompt, text, ended, form in rows.values_list("prompt", "text", "finish_reason", "prompt__sample__output_format"):
        by_prompt[prompt].append((worth.Text(text, ended), form))
    seen = [
        (one, other, form) for texts in by_prompt.values() for (one, form), (other, _) in combinations(texts, 2) if one.text != other.text
    ][:LOOKED_AT]
    if not seen:
        return None
    reasons = {
        why: sum(bool(worth.reason(one, other, output_format=form, leaving=(why,))) for one, other, form in seen) for why in worth.REASONS
    }
    staying = [
        (one.text, other.text) for one, other, form in seen if not worth.reason(one, other, output_format=form, leaving=sources.leaving)
    ]
    judged = _judged()
    return Outlook(len(seen), reasons, worth.tie_rate(staying, judged) if staying else None, len(judged))


def _judged() -> list[tuple[str, str, bool]]:
    """The latest votes of clinicians: both texts, and whether it was a tie."""
    votes = Judgement.objects.votes().exclude(verdict=Verdict.CANNOT_JUDGE).filter(assignment__annotator__simulated=False)
    latest = votes.order_by("-pk").values_list("assignment__pair__first__text", "assignment__pair__second__text", "verdict")
    ties = {Verdict.BOTH_ACCEPTABLE, Verdict.BOTH_UNACCEPTABLE}
    return [(first, second, verdict in ties) for first, second, verdict in latest[:LOOKED_AT]]


def take(found: Sequence[Candidate], how: str, limit: int | None, draw: random.Random) -> list[Candidate]:
    """The candidates to judge, in the order in which they are handed out, each with the probability of its draw.

    Raises NothingToCompare when a stratified draw is too small to take one of everything.
    """
    strata = [one.stratum for one in found]
    try:
        if how == Selection.INFORMATIVE:
            drawn = selection.informative(differences=_differences(found), strata=strata, limit=limit, draw=draw)
        else:
            rule = selection.stratified if how == Selection.STRATIFIED else selection.at_random
            drawn = rule(strata=strata, limit=limit, draw=draw)
    except ValueError as refused:
        raise NothingToCompare(f"{refused} Ask for more pairs, or choose at random.") from None
    return [
        replace(found[one.place], probability=found[one.place].probability * one.probability, selected_by=one.selected_by) for one in drawn
    ]


def _differences(found: Sequence[Candidate]) -> selection.Features:
    """What the first text of each candidate has and the second has not; each text is read and embedded once."""
    wanted = sorted({pk for one in found for pk in (one.first, one.second)})
    texts = dict(Completion.objects.filter(pk__in=wanted).values_list("pk", "text"))
    rows = selection.embed([texts[pk] for pk in wanted])
    place = {pk: number for number, pk in enumerate(wanted)}
    return rows[[place[one.first] for one in found]] - rows[[place[one.second] for one in found]]


# --- laid out ----------------------------------------------------------------------------------------------------------------------------


def lay_out(campaign: Campaign, found: Sequence[Candidate], draw: random.Random, *, start: int = 0) -> list[Pair]:
    """Write the pairs from position `start` on and, for each, as many slots as judgements are wanted of every audience.

    A share of the pairs, drawn among those that chance selected and that training may see, gets one judgement more: there, raters'
    agreement is estimated. The evaluation pool keeps one judgement a prompt: a second one tells less than another prompt would
    (product.md 2.1). A qualification has no votes; its slots are dealt to each member.
    """
    pairs = Pair.objects.bulk_create(
        [
            Pair(
                campaign=campaign, prompt_id=one.prompt, first_id=one.first, second_id=one.second, position=position,
                selection_probability=one.probability, selected_by=one.selected_by, stratum=one.stratum[:150],
            )
            for position, one in enumerate(found, start=start)
        ],
        batch_size=ROWS,
    )  # fmt: skip
    if campaign.purpose == "qualify":
        return pairs
    doubled = _doubled(campaign.double_share, found, draw)
    left = sides([one.producers for one in found], draw)
    slots = []
    for place, (pair, one) in enumerate(zip(pairs, found, strict=True)):
        wanted = _audiences(campaign, one)
        audiences = [audience for audience in wanted for _ in range(campaign.overlap)]
        if place in doubled:
            audiences.append(wanted[place % len(wanted)])
        slots += [
            Slot(
                pair=pair, campaign=campaign, number=number, position=pair.position, audience=audience,
                first_on_left=left[place] == (number % 2 == 1),
            )
            for number, audience in enumerate(audiences, start=1)
        ]  # fmt: skip
    Slot.objects.bulk_create(slots, batch_size=ROWS)
    return pairs


def _doubled(share: float, found: Sequence[Candidate], draw: random.Random) -> set[int]:
    eligible = [n for n, one in enumerate(found) if one.selected_by != Selection.INFORMATIVE and one.split != Split.EVALUATION]
    return set(draw.sample(eligible, ceil(share * len(eligible) - 1e-9)))


def _audiences(campaign: Campaign, one: Candidate) -> list[str]:
    """Who may judge a pair: each cohort, or the specialty its task or document is routed to, or anybody."""
    if campaign.cohorts:
        return list(campaign.cohorts)
    if campaign.routing:
        value = one.values[campaign.routing["by"] == "input_data"]
        specialty = campaign.routing["rules"].get(value)
        return [f"specialty:{specialty}"] if specialty else [""]
    return [""]


def sides(producers: Sequence[tuple[int, int]], draw: random.Random) -> list[bool]:
    """Whether each pair's first text starts on the left: half of the pairs of every two producers, drawn. Clinicians favour the left."""
    left = [False] * len(producers)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for position, pair in enumerate(producers):
        groups[pair].append(position)
    for positions in groups.values():
        halves = [index % 2 == 0 for index in range(len(positions))]
        draw.shuffle(halves)
        for position, side in zip(positions, halves, strict=True):
            left[position] = side
    return left


def reweigh(campaign: Campaign, more: Sequence[Candidate], left_over: Iterable[Candidate]) -> list[Candidate]:
    """`more`, drawn on top of what the campaign holds, with the probability of both draws together; the held pairs get it too.

    Two random draws without replacement, one after the other, are one larger draw: (held + more) / all. Within a stratum likewise.
    An informative campaign's second draw knows the first, so that only the new pairs' chance given the first can be told; it stays.
    """
    if campaign.selection == Selection.INFORMATIVE:
        return list(more)
    one_a_prompt = campaign.protocol["sources"]["pairing"] == ONE_PAIR

    def group(stratum: str) -> str:
        return stratum if campaign.selection == Selection.STRATIFIED else ""

    held = Pair.objects.filter(campaign=campaign, selected_by=campaign.selection)
    before = Counter(group(stratum) for stratum in held.values_list("stratum", flat=True))
    added = Counter(group(one.stratum) for one in more)
    rest = Counter(group(one.stratum) for one in left_over)
    chance = {key: (before[key] + added[key]) / (before[key] + added[key] + rest[key]) for key in added}
    for key in added:
        there = held.filter(stratum=key) if campaign.selection == Selection.STRATIFIED else held
        # Of one pair a prompt, the held ones keep the chance they had among their prompt's pairs.
        raised = F("selection_probability") * (before[key] + added[key]) / before[key] if one_a_prompt and before[key] else chance[key]
        there.update(selection_probability=Least(raised, Value(1.0)))
    drawn = {key: added[key] / (added[key] + rest[key]) for key in added}
    return [replace(one, probability=one.probability / drawn[key] * chance[key]) for one in more for key in (group(one.stratum),)]
