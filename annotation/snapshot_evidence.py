"""What a snapshot is resolved from: every vote, flag and ruling of its campaign that was asked for, read once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from accounts.models import Profile
from annotation import held_out_raters, records, safety
from annotation.filters import Filters, Vote
from annotation.models import MAJOR, Adjudication, AssignmentState, Campaign, Judgement, Prompt, SlotKind, Split
from annotation.staging import Tell

# Votes that hold a slot; the rest of what raters said is kept as evidence and in the raw export.
_VOTES = {SlotKind.VOTE, SlotKind.REVIEW}
READ_AT_ONCE = 5000
# What is read of an answer.
COLUMNS = (
    "pk", "assignment__pair_id", "verdict", "assignment__annotator_id", "assignment__annotator__simulated", "surplus", "assignment__state",
    "assignment__repeat", "assignment__slot__kind", "submitted_at", "harm_first", "harm_second",
)  # fmt: skip


class FreezeRefused(Exception):
    """A snapshot cannot be frozen; the message says which filter removed what, or whose judgements do not belong; `fix` what to do."""

    def __init__(self, message: str, fix: str = "Choose another campaign.") -> None:
        super().__init__(message)
        self.fix = fix


class NobodyToHoldOut(FreezeRefused):
    """Raters were to be held out, and too few have judged so far."""


@dataclass(frozen=True)
class Evidence:
    """What a campaign's pairs are resolved from: `votes` (ids and verdicts by pair), findings, and the ids of every answer and ruling read.

    `unasked`: why a pair has votes and none that was asked for. `raters` counts those whose votes counted. `held_out`: the accounts of
    raters who are held out; `of_own`: then what is known of texts and pairs from those alone whose votes count there.
    """

    votes: Mapping[int, list[tuple[int, str]]]
    raters: int
    answers: Sequence[int]
    surplus: int
    findings: safety.Findings
    rulings: Mapping[int, str] = field(default_factory=dict)
    unasked: Mapping[int, str] = field(default_factory=dict)
    held_out: frozenset[int] = frozenset()
    of_own: safety.Findings | None = None

    @property
    def counted(self) -> int:
        return sum(len(votes) for votes in self.votes.values())


def held_out_of(campaign: Campaign, asked: Filters) -> frozenset[int]:
    """The accounts that a snapshot by these filters holds out; none where it holds nobody out. Raises NobodyToHoldOut."""
    try:
        return held_out_raters.drawn(campaign, share=asked.hold_out_raters, seed=asked.hold_out_seed)
    except held_out_raters.TooFewRaters as few:
        raise NobodyToHoldOut(str(few), "Hold nobody out, or have more people judge.") from few


def read(campaign: Campaign, asked: Filters, tell: Tell) -> Evidence:
    """Read once what the campaign's raters and leads said. Raises FreezeRefused for simulated raters where clinicians judge."""
    answers = (
        Judgement.objects.speaking(external=campaign.external)
        .filter(assignment__campaign=campaign)
        .exclude(assignment__slot__kind=SlotKind.GOLD)
        .order_by("pk")
        .values_list(*COLUMNS)
    )
    held_out = held_out_of(campaign, asked)
    # Asked apart: two more joins, planned for tables that seemed empty, have been seen to multiply all of them with each other.
    of_evaluation = campaign.pairs.filter(prompt__sample__split=Split.EVALUATION).values_list("pk", flat=True)
    evaluated = set(of_evaluation) if held_out else set()
    fields = _fields(campaign) if asked.fields else {}
    votes: dict[int, list[tuple[int, str]]] = defaultdict(list)
    unasked: dict[int, str] = {}
    raters: set[int] = set()
    heard: list[int] = []
    late = seen = 0
    tell("reading answers", 0, 0)
    for pk, pair, verdict, annotator, simulated, surplus, state, repeat, kind, at, *harm in answers.iterator(chunk_size=READ_AT_ONCE):
        seen += 1
        if seen % READ_AT_ONCE == 0:
            tell("reading answers", seen, 0)
        if simulated and not campaign.simulated:
            raise FreezeRefused(
                "Simulated raters judged in this campaign, which is not marked simulated: "
                "their judgements may not be frozen as clinicians'."
            )
        refused = asked.refuse(Vote(campaign.external, simulated, at, fields.get(annotator, ()), annotator in held_out, pair in evaluated))
        if refused in held_out_raters.REFUSED or (refused and not set(harm) & set(MAJOR)):
            unasked.setdefault(pair, refused)
            continue
        heard.append(pk)
        late += surplus
        if refused:
            unasked.setdefault(pair, refused)
        elif not surplus and state == AssignmentState.SUBMITTED and repeat == 0 and kind in _VOTES:
            votes[pair].append((pk, verdict))
            raters.add(annotator)
    findings = safety.of_prompts(Prompt.objects.filter(pairs__campaign=campaign), simulated=campaign.simulated, external=campaign.external)
    of_own = held_out_raters.own_findings(campaign, held_out) if held_out and (findings.harmful or findings.standing) else None
    return Evidence(
        votes=votes,
        raters=len(raters),
        answers=heard,
        surplus=late,
        findings=findings,
        rulings={pair: ruling_digest(ruling, pair in findings.standing) for pair, ruling in findings.rulings.items()},
        unasked={pair: reason for pair, reason in unasked.items() if pair not in votes},
        held_out=held_out,
        of_own=of_own,
    )


def _fields(campaign: Campaign) -> dict[int, list[str]]:
    raters = campaign.assignments.filter(state=AssignmentState.SUBMITTED).values("annotator")
    return dict(Profile.objects.filter(user__in=raters).values_list("user", "specialties"))


def ruling_digest(ruling: Adjudication, stands: bool) -> str:
    """A ruling by its content: what was decided about which texts, and whether the votes are still those it was given on."""
    pair = ruling.dispute.pair
    return records.digest_of(
        {
            "first": pair.first.digest,
            "second": pair.second.digest,
            "outcome": ruling.outcome,
            "harm": [ruling.harm_first, ruling.harm_second],
            "must_not_train": [ruling.must_not_train_first, ruling.must_not_train_second],
            "stands": stands,
        }
    )
