"""What to know before a snapshot is frozen, each with what to do about it: it cannot be changed afterwards (annotation.md B15)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Literal

from django.db.models import Q

from annotation import agreement, bias, contradictions, figures, held_out_raters, snapshots, worth
from annotation.estimates import Estimate
from annotation.filters import Filters
from annotation.held_out_raters import PAIRS_NEEDED, Ahead
from annotation.models import Campaign, Completion, Edit, Judgement, Prompt, Source, Split
from annotation.snapshots import FreezeRefused, Plan, Row
from annotation.staging import Tell, quiet
from modelhub import tokens
from modelhub.models import ModelVersion

# Rows whose texts are read: the first by digest, which is a random order. Seconds for long notes.
LOOKED = 2000
# Where no model says: the side of Phi-3.5's rotary switch on which training stays (design decision 6).
CONTEXT = 4096
# Pairs whose numbers are told.
NAMED = 5
# Held-out rows below which a figure on them says little.
HELD_OUT = 20
_SPECIAL_TOKEN = re.compile(r"<\|[a-z_]{1,30}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>")
# A model that says what it is tells the raters, and the next model, who wrote it.
_IDENTITY = re.compile(r"\b(?:as an ai\b|i am an ai\b|as a (?:large )?language model|chatgpt|openai|anthropic|gpt-[34])", re.IGNORECASE)


@dataclass(frozen=True)
class Check:
    """One line of the list: `state` is ok, warn (may be frozen, read this) or stop. `fix` says what to do."""

    name: str
    state: Literal["ok", "warn", "stop"]
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Report:
    """`checks` in order; `plan` is None where nothing may be frozen. `histogram`: (lower edge, upper edge, rows) of the soft targets.
    `ahead`: what holding out raters would leave, by share; empty where only one judged.
    """

    checks: list[Check]
    plan: Plan | None = None
    histogram: list[tuple[float, float, int]] = field(default_factory=list)
    ahead: list[Ahead] = field(default_factory=list)

    @property
    def clear(self) -> bool:
        return self.plan is not None and not any(check.state == "stop" for check in self.checks)

    def told(self) -> dict[str, Any]:
        """As JSON: checks, rows used by split, pairs dropped by reason, soft targets, what holding raters out would leave:
        what the API answers and a job keeps.
        """
        return {
            "clear": self.clear,
            "checks": [asdict(check) for check in self.checks],
            "used": self.plan.used if self.plan else {},
            "dropped": self.plan.lost if self.plan else {},
            "targets": [{"low": low, "high": high, "rows": rows} for low, high, rows in self.histogram],
            "held_out_raters": [each._asdict() for each in self.ahead],
        }


@dataclass
class _Seen:
    """What the texts of the rows looked at hold."""

    looked: int = 0
    empty: int = 0
    truncated: int = 0
    unknown_end: int = 0
    alike: int = 0
    special: int = 0
    identity: int = 0
    longer: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


def look(*, campaign: Campaign, filters: Filters, model: ModelVersion | None = None, context: int | None = None) -> Report:
    """Plan the snapshot and look it over; nothing is written.

    `model` counts tokens and says how many fit; without one, `context` tokens (or CONTEXT) and a third of the characters. Texts are read
    of the first LOOKED rows by digest. No text is in the report.
    """
    try:
        plan = snapshots.plan(campaign=campaign, filters=filters)
    except FreezeRefused as refused:
        return Report([Check("Judgements", "stop", str(refused), refused.fix)])
    except ValueError as wrong:
        return Report([Check("Filters", "stop", str(wrong), "Change them.")])
    return over(plan, campaign=campaign, model=model, context=context)


def over(plan: Plan, *, campaign: Campaign, model: ModelVersion | None = None, context: int | None = None, tell: Tell = quiet) -> Report:
    """The same of what was planned already."""
    ahead = held_out_raters.ahead(campaign, seed=plan.filters.hold_out_seed)
    if not plan.rows:
        none = Check("Pairs", "stop", snapshots.why_empty(plan), "Ask for less, or collect more judgements.")
        return Report([none], plan, ahead=ahead)
    seen = _read(plan.rows[:LOOKED], tokens.counter(tokens.file_of(model)), tell)
    tell("looking over", 0, 0)
    checks = [
        _pairs(plan),
        _whose(campaign),
        _held_out(plan),
        _held_out_raters(plan, ahead),
        _leaks(plan),
        _alike(plan, seen),
        _truncated(seen),
        _too_long(seen, model, context),
        _special(seen),
        _identity(seen),
        _longer(seen),
        *_of_raters(campaign),
        _reasons(plan, campaign),
        _edits(plan),
        _licences(plan),
    ]
    return Report(checks, plan, histogram(plan.rows), ahead)


def histogram(rows: Sequence[Row]) -> list[tuple[float, float, int]]:
    """Rows by soft target, in ten steps of 0.05 from 0.5 to 1."""
    counted = Counter(min(int((row.p_chosen - 0.5) / 0.05 + 1e-9), 9) for row in rows)
    return [(round(0.5 + 0.05 * step, 2), round(0.55 + 0.05 * step, 2), counted[step]) for step in range(10)]


def _read(rows: Sequence[Row], counter: tokens.Counter, tell: Tell) -> _Seen:
    seen = _Seen()
    for start in range(0, len(rows), 500):
        chunk = rows[start : start + 500]
        tell("looking over", start, len(rows))
        wanted = {pk for row in chunk for pk in (row.chosen, row.rejected)}
        texts = {
            pk: (text, reason) for pk, text, reason in Completion.objects.filter(pk__in=wanted).values_list("pk", "text", "finish_reason")
        }
        prompts = dict(Prompt.objects.filter(pk__in={row.prompt for row in chunk}).values_list("pk", "messages"))
        for row in chunk:
            _look_at(seen, [turn["content"] for turn in prompts[row.prompt]], texts[row.chosen], texts[row.rejected], counter)
    return seen


def _look_at(seen: _Seen, prompt: list[str], chosen: tuple[str, str], rejected: tuple[str, str], counter: tokens.Counter) -> None:
    sides = (chosen, rejected)
    written = [text for text, _ in sides]
    reasons = {reason for _, reason in sides}
    seen.looked += 1
    seen.empty += any(not text.strip() for text in written)
    seen.truncated += "length" in reasons
    seen.unknown_end += bool(reasons & {"", "external"})
    seen.alike += worth.alike(*written)
    seen.special += any(_SPECIAL_TOKEN.search(text) for text in (*prompt, *written))
    seen.identity += any(_IDENTITY.search(text) for text in written)
    sizes = [counter.count(text) + tokens.A_TURN for text in written]
    seen.longer.append(1.0 if sizes[0] > sizes[1] else 0.5 if sizes[0] == sizes[1] else 0.0)
    seen.lengths.append(sum(counter.count(text) + tokens.A_TURN for text in prompt) + max(sizes))


def _many(count: int, seen: _Seen, what: str) -> str:
    of = f"of {seen.looked:,} pairs" if seen.looked < LOOKED else f"of the first {seen.looked:,} pairs"
    return f"{count:,} {of} {what}"


# --- the lines ---------------------------------------------------------------------------------------------------------------------------


def _pairs(plan: Plan) -> Check:
    together = f"{len(plan.rows):,} of {len(plan.rows) + sum(plan.lost.values()):,} pairs teach a preference"
    if not plan.used[Split.TRAIN]:
        return Check("Pairs", "warn", f"{together}, none of them in the train split", "Nothing can be trained on it.")
    return Check("Pairs", "ok", together)


def _whose(campaign: Campaign) -> Check:
    if campaign.external:
        return Check(
            "Whose judgements", "warn", "given elsewhere and imported",
            "They count in none of our raters' figures. Where a harm flag is missing, harm is unknown.",
        )  # fmt: skip
    if campaign.simulated:
        return Check("Whose judgements", "warn", "simulated raters'", "They may train toy models only.")
    return Check("Whose judgements", "ok", "clinicians'")


def _held_out(plan: Plan) -> Check:
    thin = [Split(split).label.lower() for split in (Split.VALIDATION, Split.EVALUATION) if plan.used[split] < HELD_OUT]
    if thin:
        said = f"fewer than {HELD_OUT} pairs in {' and in '.join(thin)}"
        return Check("Held-out pairs", "warn", said, "Stopping early and comparing models will rest on few. More judgements change that.")
    return Check("Held-out pairs", "ok", f"{plan.used[Split.VALIDATION]:,} to stop by, {plan.used[Split.EVALUATION]:,} to compare on")


def _held_out_raters(plan: Plan, ahead: Sequence[Ahead]) -> Check:
    """Whether a model trained on it can be asked here about people it has not learnt from (gate G1)."""
    name, needed = "Held-out raters", f"a promotion asks for {PAIRS_NEEDED}"
    if not plan.filters.hold_out_raters:
        strangers = ahead[0].evaluation if ahead else 0
        if strangers >= PAIRS_NEEDED:
            return Check(name, "ok", f"none, and about {strangers:,} evaluation pairs are of people who judged nothing that trains")
        fix = "For those hold raters out, or let other people judge held-out prompts in a campaign of its own and evaluate on that."
        return Check(name, "ok", f"none; {_pairs_of(strangers)} of people who judged nothing that trains, {needed}", fix)
    asked, taught = plan.used[Split.EVALUATION], plan.used[Split.TRAIN] + plan.used[Split.VALIDATION]
    said = f"{len(plan.evidence.held_out)} held out: {_pairs_of(asked)} of theirs, {taught:,} pairs of the others to learn from"
    if asked >= PAIRS_NEEDED:
        return Check(name, "ok", said)
    return Check(name, "warn", f"{said}; {needed}", "Hold out more of them, or collect more of their judgements on held-out prompts.")


def _pairs_of(count: int) -> str:
    return f"{count:,} evaluation pair{'' if count == 1 else 's'}"


def _leaks(plan: Plan) -> Check:
    leaking = plan.lost.get(snapshots.LEAK, 0)
    if leaking:
        said = f"{leaking:,} pairs are left out: their sample is nearly the same as one that is held out"
        return Check("Leakage", "warn", said, "Look where such samples come from: one patient's note may be in the data set twice.")
    return Check("Leakage", "ok", "no sample is nearly the same as one in another split")


def _alike(plan: Plan, seen: _Seen) -> Check:
    left_out = plan.lost.get(snapshots.NEAR_IDENTICAL, 0)
    if seen.alike:
        fix = "Leave them out: what is left to prefer in them is a word."
        return Check("Near-identical texts", "warn", _many(seen.alike, seen, "hold nearly the same text twice"), fix)
    return Check("Near-identical texts", "ok", f"{left_out:,} pairs are left out" if left_out else "none")


def _truncated(seen: _Seen) -> Check:
    if seen.truncated:
        fix = "Their end was cut off by the token limit: generate them again with more room."
        return Check("Truncated texts", "warn", _many(seen.truncated, seen, "hold a text that was cut off"), fix)
    if seen.unknown_end:
        return Check("Truncated texts", "ok", _many(seen.unknown_end, seen, "hold an imported text, whose end nobody vouches for"))
    return Check("Truncated texts", "ok", "every text ended by itself")


def _too_long(seen: _Seen, model: ModelVersion | None, context: int | None) -> Check:
    counted = tokens.counter(tokens.file_of(model))
    limit = context or tokens.context(model) or CONTEXT
    how = f"for {model.name}" if model and not counted.estimated else "estimated: about three characters a token"
    over = sum(length > limit for length in seen.lengths)
    if over:
        said = _many(over, seen, f"are longer than {limit:,} tokens ({how})")
        return Check("Length", "warn", said, "A trainer drops or cuts them silently, and ours refuses them. Choose a longer context.")
    return Check("Length", "ok", f"the longest pair has about {max(seen.lengths):,} tokens of {limit:,} ({how})")


def _special(seen: _Seen) -> Check:
    if seen.special:
        fix = "Our trainer reads them as plain text; other trainers may take them for turns."
        return Check("Special tokens", "warn", _many(seen.special, seen, "hold what looks like a model's control token"), fix)
    return Check("Special tokens", "ok", "none in any text")


def _identity(seen: _Seen) -> Check:
    if seen.empty:
        return Check("Empty texts and names", "warn", _many(seen.empty, seen, "hold an empty text"), "It teaches to say nothing.")
    if seen.identity:
        fix = "Raters may have known who wrote it, and a model learns to say it."
        return Check(
            "Empty texts and names", "warn", _many(seen.identity, seen, "hold a text that says which model or maker wrote it"), fix
        )
    return Check("Empty texts and names", "ok", "no text is empty or names its model")


def _longer(seen: _Seen) -> Check:
    share = fmean(seen.longer)
    said = f"the chosen text is the longer one in {100 * share:.0f} %"
    if share > bias.LONGER_MATTERS:
        fix = "DPO will learn length first. Train with the loss sigmoid_norm, or collect pairs of like length."
        return Check("Length and preference", "warn", said, fix)
    return Check("Length and preference", "ok", said)


def _of_raters(campaign: Campaign) -> Iterator[Check]:
    """Side and noise, of all the campaign's votes: what the filters leave is too few to tell."""
    if campaign.external:
        yield Check("Sides", "ok", "not known: files do not say on which side a text was shown")
        yield Check("Label noise", "ok", "not measured: imported judgements are in no figure of ours")
        return
    votes = figures.votes(figures.rows(campaign))
    yield _sides(figures.left_share(votes))
    rated = agreement.decisive(figures.ratings(votes))
    flips = agreement.flip_rate(agreement.raw_agreement(agreement.tabulate(rated, ("first", "second"))))
    yield _noise(flips, agreement.ceiling(flips))


def _sides(left: bias.LeftShare) -> Check:
    share = left.share
    if share.value is None:
        return Check("Sides", "ok", f"too few decisive votes to tell ({share.n})")
    said = f"the left side won {_percent(share)} of decisive votes"
    if left.alarm:
        return Check(
            "Sides",
            "warn",
            said,
            "Raters favour a side. Sides are counterbalanced, so it is noise, not a slant; ask for more votes a pair.",
        )
    return Check("Sides", "ok", said)


def _noise(flips: Estimate, ceiling: Estimate) -> Check:
    if flips.value is None or ceiling.value is None:
        return Check("Label noise", "ok", "not known: too few pairs were judged twice")
    said = f"a rater's vote is flipped in {_percent(flips)}; no model can agree with one rater in more than {_percent(ceiling)}"
    if flips.value > 0.25:
        return Check("Label noise", "warn", said, "Train with soft targets, and read held-out accuracy against that ceiling.")
    return Check("Label noise", "ok", said)


def _percent(share: Estimate) -> str:
    value = f"{100 * (share.value or 0):.0f} %"
    return value if share.low is None or share.high is None else f"{value} ({100 * share.low:.0f}–{100 * share.high:.0f})"


def _reasons(plan: Plan, campaign: Campaign) -> Check:
    """Votes whose scales and flags speak for the other side than their verdict, where their pair is used; the surest rows first."""
    scales = {axis["key"]: axis["scale"] for axis in campaign.rubric.content.get("axes", [])}
    sure = {row.pair: row.p_chosen for row in plan.rows}
    of_vote = {pk: pair for pair, votes in plan.evidence.votes.items() if pair in sure for pk, _ in votes}
    gave, against = 0, []
    for chunk in _chunks(sorted(of_vote)):
        said = Judgement.objects.filter(pk__in=chunk).filter(~Q(axes={}) | ~Q(harm_first="") | ~Q(harm_second=""))
        for pk, verdict, axes, first, second in said.values_list("pk", "verdict", "axes", "harm_first", "harm_second"):
            gave += 1
            if contradictions.opposed(verdict, axes=axes, scales=scales, harm=(first, second)):
                against.append(pk)
    if against:
        pairs = sorted({of_vote[pk] for pk in against}, key=lambda pair: (-sure[pair], pair))
        named = ", ".join(map(str, pairs[:NAMED])) + (f" and {len(pairs) - NAMED:,} more" if len(pairs) > NAMED else "")
        said_so = f"{len(against):,} of {gave:,} votes with scales or flags give no reason but for the other side; pairs {named}"
        return Check("Reasons", "warn", said_so, "Read these among the campaign's answers: a rater may have mistaken the side.")
    return Check("Reasons", "ok", f"none of {gave:,} votes with scales or flags speaks against itself" if gave else "no scales or flags")


def _chunks(ids: Sequence[int], size: int = 5000) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _edits(plan: Plan) -> Check:
    """Edits that change nothing or leave nothing: they would be answers to imitate."""
    edits = Edit.objects.filter(judgement__in=[pk for votes in plan.evidence.votes.values() for pk, _ in votes])
    made, hollow = 0, 0
    for text, changed in edits.values_list("text", "changed_words").iterator(chunk_size=1000):
        made += 1
        hollow += not text.strip() or changed == 0
    if hollow:
        return Check("Edits", "warn", f"{hollow:,} of {made:,} edits are empty or change nothing", "Exports leave them out of sft_edits.")
    return Check("Edits", "ok", f"{made:,} edited texts" if made else "none")


def _licences(plan: Plan) -> Check:
    found = _sources(row.sample for row in plan.rows)
    unlicensed = sorted(name for name, licence in found if not licence.strip())
    if unlicensed:
        return Check("Licences", "warn", f"no licence is named for {', '.join(unlicensed)}", "Ask before what is trained on it is shared.")
    return Check("Licences", "ok", "; ".join(f"{name}: {licence}" for name, licence in sorted(found)))


def _sources(samples: Iterable[int]) -> set[tuple[str, str]]:
    wanted = sorted(set(samples))
    found: set[tuple[str, str]] = set()
    for chunk in _chunks(wanted):
        found |= set(Source.objects.filter(samples__in=chunk).values_list("name", "licence"))
    return found
