"""Preferences that were given elsewhere: judgements marked external, by pseudonymous raters, in a campaign that nobody here can open."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from django.contrib.auth.hashers import make_password
from django.db import connection, transaction
from django.db.models import Count, Max
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from accounts import audit
from accounts.models import User
from annotation import prompts, records, rubrics, splits
from annotation.models import (
    Assignment,
    AssignmentState,
    Campaign,
    CampaignState,
    CannotJudge,
    Completion,
    GenerationBatch,
    Harm,
    Judgement,
    Pair,
    Privacy,
    Prompt,
    Sample,
    Severity,
    Slot,
    SlotKind,
    Source,
    Verdict,
)
from annotation.reading.shapes import SCORES, PreferenceRow, SampleRow
from annotation.records import ImportRefused, Problem, Problems

# Rows that are in memory, and go to the database, at once.
CHUNK = 1000
GUIDELINE = "Rated elsewhere and imported: what its raters were told is not known here."
LAYOUT = "external"
IDENTICAL, NO_REASON, QUARANTINED = "identical", "cannot_judge", "quarantined"
LEFT_OUT = {
    IDENTICAL: "both texts are the same: nothing to prefer",
    NO_REASON: "nobody could judge it, and the file does not say why",
    QUARANTINED: "its sample is in quarantine",
}
_SWAPPED = {
    Verdict.FIRST_MUCH: Verdict.SECOND_MUCH,
    Verdict.FIRST_SLIGHTLY: Verdict.SECOND_SLIGHTLY,
    Verdict.SECOND_SLIGHTLY: Verdict.FIRST_SLIGHTLY,
    Verdict.SECOND_MUCH: Verdict.FIRST_MUCH,
}


@dataclass
class Stored:
    """What `store` did: `rows` were given, `stored` became judgements, `already` were there, `repeats` of those stored are somebody's
    second answer to a pair and no votes; `left_out` counts the rest by reason (LEFT_OUT).
    """

    campaign: Campaign
    rows: int = 0
    stored: int = 0
    already: int = 0
    repeats: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Counts alone, for a report and for the audit trail."""
        left_out = {reason: count for reason, count in self.left_out.items() if count}
        return {"rows": self.rows, "stored": self.stored, "already": self.already, "repeats": self.repeats, "left_out": left_out}


@dataclass(frozen=True, slots=True)
class _Given:
    """A row made comparable: its texts in the order of their digests, whatever order the file had them in."""

    place: int
    sample: SampleRow
    texts: tuple[str, str]
    digests: tuple[str, str]
    systems: tuple[str, str]
    # Of the two texts by digest, whether the file had the first of them first.
    in_order: bool
    verdict: str
    cannot_reason: str
    rater: str
    rationale: str
    rated_at: datetime | None
    harm: tuple[str, str]
    key: UUID


@transaction.atomic
def store(*, source: Source, rows: Iterable[PreferenceRow], actor: User | None, name: str) -> Stored:
    """Make of every row its sample, prompt, two completions and a judgement marked external, in the external campaign `name` of `source`.

    Idempotent by content: a row that this source has had before, in this or another campaign, on whichever side its texts stand, is
    counted and left alone; a file that holds nothing new makes nothing and returns the campaign that its rows are in. New rows under a
    name that is there join that campaign. A thousand rows are in memory at a time; all are stored in one transaction, or none.

    A rater is known by a pseudonym made of the campaign and the tool's name for them, so that two imports cannot be joined by it; rows
    that name nobody are each somebody else's. The same rater's second answer to a pair is kept as a repeat and counts for nothing. A
    harm flag (`extra` harm_first and harm_second, or harm_a and harm_b: a severity) is kept; where there is none, harm is unknown.

    Raises ImportRefused with every row's number and field (unknown verdict, a text that cannot be stored, an id that another record has),
    or where there is no row at all; then nothing is stored.
    """
    if not name.strip() or len(name) > 120:
        raise ImportRefused([Problem(0, "name", "Name the import in 1 to 120 characters.")])
    # One import of a source at a time: two at once could both find a row absent.
    source = Source.objects.select_for_update().get(pk=source.pk)
    # Foreign keys are checked as rows come, not all at the end: a trigger's subtransaction that fails looks through every check that
    # waits (pgtrigger asks for a setting that may not be there), which made each row dearer than the one before it.
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    work = _Work(source, actor, name.strip())
    numbered = enumerate(rows, start=1)
    while chunk := list(islice(numbered, CHUNK)):
        work.take(chunk)
    return work.finish()


def _tell_the_planner() -> None:
    """Freezing may follow at once: until its own round the planner would believe that these tables hold nothing, and join in loops."""
    with connection.cursor() as cursor:
        for model in (Sample, Prompt, Completion, Pair, Slot, Assignment, Judgement, User):
            cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")


class _Work:
    """One import under way: what of it outlives a chunk is counts and the systems' batches."""

    def __init__(self, source: Source, actor: User | None, name: str) -> None:
        self.source, self.actor, self.name = source, actor, name
        self.problems = Problems()
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.batches: dict[str, GenerationBatch] = {}
        self.campaign: Campaign | None = None
        self.known_in: int | None = None
        self.position = 0

    def take(self, chunk: list[tuple[int, PreferenceRow]]) -> None:
        self.counts["rows"] += len(chunk)
        given = self._fresh([one for place, row in chunk if (one := self._read(place, row)) is not None])
        # Once refused, always refused: reading on only finds more to report.
        if given and not self.problems.total:
            given, prompts_of = self._prompts(given)
            if given:
                self._judge(given, prompts_of)

    def finish(self) -> Stored:
        if not self.counts["rows"]:
            self.problems.add(0, "", "The file holds no preferences.")
        self.problems.refuse_if_any()
        campaign = self.campaign
        if campaign is None:
            campaign = Campaign.objects.filter(pk=self.known_in or 0).first()
            if campaign is None:
                told = ", ".join(f"{count} ({LEFT_OUT[reason]})" for reason, count in self.left_out.most_common() if count)
                raise ImportRefused([Problem(0, "", f"No row tells a preference: {told}.")])
        else:
            held = campaign.pairs.aggregate(pairs=Count("pk"), prompts=Count("prompt", distinct=True))
            campaign.counts = {**held, "identical": campaign.counts.get("identical", 0) + self.left_out[IDENTICAL], "single": 0}
            campaign.save(update_fields=["counts"])
            if self.counts["stored"] >= CHUNK:
                _tell_the_planner()
        done = Stored(campaign, self.counts["rows"], self.counts["stored"], self.counts["already"], self.counts["repeats"], self.left_out)
        audit.record(self.actor, "preferences.imported", campaign, source=self.source.pk, **done.as_dict())
        return done

    # --- read ----------------------------------------------------------------------------------------------------------------------------

    def _read(self, place: int, row: PreferenceRow) -> _Given | None:
        """The row as it can be stored, or None after a problem or a count of why not."""
        before = self.problems.total
        for column, text in (("instruction", row.sample.instruction), ("first", row.first_text), ("second", row.second_text)):
            records.check_text(text, self.problems, place, column)
        for column, text in (("input", row.sample.input), ("rationale", row.rationale), ("output", row.sample.output)):
            records.check_text(text, self.problems, place, column, required=False)
        if row.verdict not in Verdict.values:
            self.problems.add(place, "verdict", f"“{records.label(row.verdict)}” is no verdict.")
        for column, system in (("first_system", row.first_system), ("second_system", row.second_system)):
            if len(system) > 80:
                self.problems.add(place, column, f"The name has {len(system)} characters; 80 are allowed.")
        harm = (self._harm(place, row, "harm_first", "harm_a"), self._harm(place, row, "harm_second", "harm_b"))
        if self.problems.total > before:
            return None
        reason = str(row.extra.get("cannot_reason") or "")
        if row.verdict == Verdict.CANNOT_JUDGE and reason not in CannotJudge.values:
            self.left_out[NO_REASON] += 1
            return None
        if row.first_text == row.second_text:
            self.left_out[IDENTICAL] += 1
            return None
        return self._given(place, row, reason if row.verdict == Verdict.CANNOT_JUDGE else "", harm)

    def _harm(self, place: int, row: PreferenceRow, *names: str) -> str:
        """The severity flagged under one of the names that tools use for a side: a word, or the one choice made."""
        said = next((row.extra[name] for name in names if row.extra.get(name)), "")
        if isinstance(said, list):
            said = said[0] if len(said) == 1 else " ".join(map(str, said))
        if said in ("", "none") or said in Severity.values:
            return "" if said == "none" else str(said)
        words = ", ".join(Severity.values)
        self.problems.add(place, names[0], f"“{records.label(str(said))}” is no severity of a harm: {words} or none.")
        return ""

    def _given(self, place: int, row: PreferenceRow, reason: str, harm: tuple[str, str]) -> _Given:
        first, second = records.text_digest(row.first_text), records.text_digest(row.second_text)
        texts, systems = (row.first_text, row.second_text), (row.first_system.strip(), row.second_system.strip())
        verdict, digests = row.verdict, (first, second)
        # Data sets have the chosen text first; in the order of their digests, the side says nothing.
        in_order = first < second
        if not in_order:
            texts, systems, digests, harm = texts[::-1], systems[::-1], digests[::-1], harm[::-1]
            verdict = _SWAPPED.get(Verdict(verdict), verdict)
        content = {
            "source": self.source.pk, "instruction": row.sample.instruction, "input": row.sample.input, "texts": digests,
            "systems": systems, "verdict": verdict, "reason": reason, "rater": row.rater, "rationale": row.rationale,
            "rated_at": row.rated_at, "harm": harm,
        }  # fmt: skip
        return _Given(
            place, row.sample, texts, digests, systems, in_order, verdict, reason, row.rater.strip(), row.rationale, when(row.rated_at),
            harm, uuid5(NAMESPACE_URL, records.digest_of(content)),
        )  # fmt: skip

    def _fresh(self, given: list[_Given]) -> list[_Given]:
        """Those whose content is not stored yet, each once."""
        there = dict(
            Judgement.objects.filter(idempotency_key__in=[one.key for one in given]).values_list("idempotency_key", "assignment__campaign")
        )
        fresh: dict[UUID, _Given] = {}
        for one in given:
            if one.key in there:
                self.known_in = self.known_in or there[one.key]
            else:
                fresh.setdefault(one.key, one)
        self.counts["already"] += len(given) - len(fresh)
        return list(fresh.values())

    # --- samples and prompts -------------------------------------------------------------------------------------------------------------

    def _prompts(self, given: list[_Given]) -> tuple[list[_Given], list[Prompt]]:
        """The rows that a prompt can be made of, and it for each; samples that are missing are made."""
        wanted = [_sample(one.sample, self.source) for one in given]
        mine = Sample.objects.filter(source=self.source)
        by_id = {known.external_id: known for known in mine.filter(external_id__in={one.external_id for one in wanted})}
        by_digest = {known.digest: known for known in mine.filter(digest__in={one.digest for one in wanted})}
        fresh: list[Sample] = []
        samples: list[Sample] = []
        for one, sample in zip(given, wanted, strict=True):
            known = by_id.get(sample.external_id) or by_digest.get(sample.digest)
            if known is None:
                known = by_id[sample.external_id] = by_digest[sample.digest] = sample
                fresh.append(sample)
            elif (known.instruction, known.input) != (sample.instruction, sample.input):
                self.problems.add(one.place, "id", "A different record is stored under this id. Give it a new id, or another source.")
            samples.append(known)
        if self.problems.total:
            return [], []
        Sample.objects.bulk_create(fresh)
        shown = [(one, sample) for one, sample in zip(given, samples, strict=True) if sample.privacy != Privacy.QUARANTINED]
        self.left_out[QUARANTINED] += len(given) - len(shown)
        return [one for one, _ in shown], prompts.render(samples=[sample for _, sample in shown])

    # --- completions and judgements ------------------------------------------------------------------------------------------------------

    def _judge(self, given: list[_Given], prompts_of: list[Prompt]) -> None:
        campaign = self._campaign()
        completions = self._completions(given, prompts_of)
        pairs = self._pairs(campaign, prompts_of, completions)
        raters, repeats, numbers = self._places(campaign, given, pairs)
        now = timezone.now()
        slots = Slot.objects.bulk_create(
            [
                Slot(
                    pair=pair, campaign=campaign, number=number, position=pair.position, open=False, first_on_left=_left(one, pair, texts),
                    kind=SlotKind.REPEAT if repeat else SlotKind.VOTE, repeat=repeat, reserved_for=rater if repeat else None,
                )
                for one, pair, texts, rater, repeat, number in zip(given, pairs, completions, raters, repeats, numbers, strict=True)
            ]
        )  # fmt: skip
        held = Assignment.objects.bulk_create(
            [
                Assignment(
                    campaign=campaign, pair=pair, slot=slot, annotator=rater, first_on_left=slot.first_on_left, repeat=repeat,
                    state=AssignmentState.SUBMITTED, expires_at=one.rated_at or now, submitted_at=one.rated_at or now,
                )
                for one, pair, slot, rater, repeat in zip(given, pairs, slots, raters, repeats, strict=True)
            ]
        )  # fmt: skip
        Judgement.objects.bulk_create(
            [_judgement(one, assignment, texts, now) for one, assignment, texts in zip(given, held, completions, strict=True)]
        )
        self.counts["stored"] += len(given)
        self.counts["repeats"] += sum(repeat > 0 for repeat in repeats)

    def _campaign(self) -> Campaign:
        if self.campaign is None:
            known = Campaign.objects.filter(external=True, name=self.name, protocol__source=self.source.name).order_by("pk").first()
            self.campaign = known or Campaign.objects.create(
                name=self.name, guideline=GUIDELINE, rubric=rubrics.default(), external=True, state=CampaignState.CLOSED,
                protocol={"source": self.source.name}, created_by=self.actor, closed_at=timezone.now(),
            )  # fmt: skip
            last = self.campaign.pairs.aggregate(last=Max("position"))["last"]
            self.position = 0 if last is None else last + 1
        return self.campaign

    def _batch(self, system: str) -> GenerationBatch:
        """The texts that `system` wrote for this source, as importing completions keeps them; unnamed writers share the source's name."""
        system = system or self.source.name
        if system not in self.batches:
            decoding = {"imported_for": self.source.name}
            known = GenerationBatch.objects.filter(system=system, decoding=decoding).first()
            self.batches[system] = known or GenerationBatch.objects.create(system=system, decoding=decoding, created_by=self.actor)
        return self.batches[system]

    def _completions(self, given: list[_Given], prompts_of: list[Prompt]) -> list[tuple[Completion, Completion]]:
        """The two texts of each row, in the order of their digests; those that are missing are made."""
        batches = {self._batch(system).pk for one in given for system in one.systems}
        stored = Completion.objects.filter(batch__in=batches, prompt__in=prompts_of).defer("text")
        found = {(text.batch_id, text.prompt_id, text.digest): text for text in stored}
        number: Counter[tuple[int, int]] = Counter()
        for written in found.values():
            number[written.batch_id, written.prompt_id] += 1
        fresh: list[Completion] = []
        for one, prompt in zip(given, prompts_of, strict=True):
            for text, digest, system in zip(one.texts, one.digests, one.systems, strict=True):
                batch = self._batch(system)
                if (batch.pk, prompt.pk, digest) not in found:
                    text_of = Completion(
                        batch=batch, prompt=prompt, text=text, digest=digest, number=number[batch.pk, prompt.pk], finish_reason="external"
                    )
                    number[batch.pk, prompt.pk] += 1
                    found[batch.pk, prompt.pk, digest] = text_of
                    fresh.append(text_of)
        Completion.objects.bulk_create(fresh)
        return [
            (
                found[self._batch(one.systems[0]).pk, prompt.pk, one.digests[0]],
                found[self._batch(one.systems[1]).pk, prompt.pk, one.digests[1]],
            )
            for one, prompt in zip(given, prompts_of, strict=True)
        ]

    def _pairs(self, campaign: Campaign, prompts_of: list[Prompt], completions: list[tuple[Completion, Completion]]) -> list[Pair]:
        ordered = [(min(a.pk, b.pk), max(a.pk, b.pk)) for a, b in completions]
        there = Pair.objects.filter(campaign=campaign, prompt__in=prompts_of)
        found = {(pair.first_id, pair.second_id): pair for pair in there}
        fresh = []
        for (first, second), prompt in zip(ordered, prompts_of, strict=True):
            if (first, second) not in found:
                stratum = f"{prompt.sample.task_type} × {prompt.sample.input_data}"[:150]
                pair = Pair(campaign=campaign, prompt=prompt, first_id=first, second_id=second, position=self.position, stratum=stratum)
                self.position += 1
                found[first, second] = pair
                fresh.append(pair)
        Pair.objects.bulk_create(fresh)
        return [found[both] for both in ordered]

    def _places(self, campaign: Campaign, given: list[_Given], pairs: list[Pair]) -> tuple[list[User], list[int], list[int]]:
        """Who said it, which time they were asked about the pair, and which of the pair's slots it takes."""
        there: dict[int, list[str]] = defaultdict(list)
        for held, who in Assignment.objects.filter(pair__in=pairs).order_by("pk").values_list("pair", "annotator__username"):
            there[held].append(who)
        names, repeats, numbers = [], [], []
        for one, pair in zip(given, pairs, strict=True):
            before = there[pair.pk]
            named = _pseudonym(campaign, one.rater or f"\x00nobody {len(before) + 1}")
            names.append(named)
            repeats.append(before.count(named))
            before.append(named)
            numbers.append(len(before))
        people = {user.username: user for user in User.objects.filter(username__in=set(names))}
        fresh = [
            User(username=each, external=True, is_active=False, password=make_password(None))
            for each in dict.fromkeys(names)
            if each not in people
        ]
        people |= {user.username: user for user in User.objects.bulk_create(fresh)}
        return [people[each] for each in names], repeats, numbers


def _pseudonym(campaign: Campaign, rater: str) -> str:
    """Made of both, so that the same rater in another import is somebody else; who they are cannot be read from it."""
    return f"external-{sha256(f'{campaign.public_id}:{rater}'.encode()).hexdigest()[:20]}"


def _sample(row: SampleRow, source: Source) -> Sample:
    """As importing samples makes it: the same row has the same digest, whichever way it came in."""
    texts = {
        name: getattr(row, name)
        for name in ("instruction", "input", "output", "task_type", "input_data", "output_format", "difficulty_level")
    }
    texts |= {name: value for name in ("rejected_output", "error_type") if (value := getattr(row, name))}
    scores = {name: float(row.scores[name]) for name in SCORES if name in row.scores}
    digest = records.digest_of({**texts, **scores})
    key = splits.key_of(row.instruction, row.input)
    return Sample(
        source=source, external_id=row.external_id or digest, digest=digest, split_key=key, split=splits.split_of(key), **texts, **scores
    )


def _left(one: _Given, pair: Pair, texts: tuple[Completion, Completion]) -> bool:
    """Whether the pair's first text stood first in the file. On which side it was shown, files do not say."""
    return (texts[0].pk == pair.first_id) == one.in_order


def _judgement(one: _Given, held: Assignment, texts: tuple[Completion, Completion], now: datetime) -> Judgement:
    verdict, harm = one.verdict, one.harm
    if texts[0].pk != held.pair.first_id:
        verdict, harm = _SWAPPED.get(Verdict(verdict), verdict), harm[::-1]
    return Judgement(
        assignment=held, idempotency_key=one.key, verdict=verdict, cannot_reason=one.cannot_reason, rationale=one.rationale,
        layout=LAYOUT, external=True, submitted_at=one.rated_at or now,
        harm_first=harm[0], harm_first_type=Harm.OTHER if harm[0] else "", harm_second=harm[1],
        harm_second_type=Harm.OTHER if harm[1] else "",
    )  # fmt: skip


def when(told: str) -> datetime | None:
    """A tool's time: ISO 8601 (UTC where it names no zone) or seconds since 1970; None where it is neither."""
    told = told.strip()
    try:
        seconds = float(told)
        return datetime.fromtimestamp(seconds, UTC) if math.isfinite(seconds) else None
    except (ValueError, OverflowError, OSError):
        pass
    try:
        found = parse_datetime(told)
        if found is None and (day := parse_date(told)) is not None:
            found = datetime(day.year, day.month, day.day, tzinfo=UTC)
    except ValueError:
        return None
    if found is None:
        return None
    return found if timezone.is_aware(found) else found.replace(tzinfo=UTC)
