"""One turn of a campaign's loop by itself: enough new pairs → a snapshot → a run → an evaluation and suites → a proposal.

`look` is called by the sweeper every few seconds and `heard` when a job has ended; either takes whatever step can be taken, under the
round's lock, so that it does not matter who comes first, how often, or who was killed in between: a step and the job it asks for are one
transaction. At its end a round is a proposal that people decide. Nothing here decides one, and nothing here moves a name.
"""

import logging
import time
import traceback
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation import freeze_jobs, snapshots
from annotation.models import Campaign, CampaignState, Completion, Snapshot, SnapshotRow, Split
from annotation.records import digest_of
from annotation.snapshot_evidence import NobodyToHoldOut
from annotation.snapshots import FreezeRefused
from jobs import patience
from jobs.models import Job, State
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import evaluations, gates, loop_anchors, loop_digests, loop_freezing, loop_policies, preflight, runs, suiteruns
from training.engine.errors import SpecError
from training.evidence.verdict import UNDECIDED
from training.models import Evaluation, LoopPolicy, LoopRound, RoundState, SuiteRun

log = logging.getLogger(__name__)

# From the second round on so large a share of what is trained on is new, and compares texts of the model that is champion now: a loop
# that goes on with its first model's texts learns less and less of what it says today.
FRESH_SHARE = 0.3
# Counting what is usable takes a while on a large campaign: at most this share of the time is spent on it.
LOOKING = 0.05


class Nothing(Exception):
    """The round comes to nothing; the message says why, for whoever reads its page."""


# --- is there enough ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """What a round could train on now. `pairs`: of the train split; `new`: those no earlier round trained on; `fresh`: those of them in
    which a text of today's champion was judged. `first`: no round has trained yet, of this loop or of one that it goes on with.
    `unasked`: raters are held out, and none of them has judged an evaluation pair."""

    pairs: int
    new: int
    fresh: int
    needed: int
    first: bool
    unasked: bool = False

    @property
    def counted(self) -> int:
        """New pairs, as far as they are needed."""
        return min(self.new, self.needed)

    @property
    def missing(self) -> str:
        """What a round waits for, in words; nothing when it can begin."""
        if self.new < self.needed:
            return f"{self.new} of {self.needed} new training pairs are there."
        if self.pairs < preflight.PAIRS_NEEDED:
            return f"{self.pairs} training pairs are there, and no run starts with fewer than {preflight.PAIRS_NEEDED}."
        if not self.first and self.fresh < FRESH_SHARE * self.pairs:
            return (
                f"{self.fresh} of {self.pairs} training pairs are new and compare texts of the champion; "
                f"from the second round on {100 * FRESH_SHARE:.0f} % are needed."
            )
        if self.unasked:
            return "None of the raters who are held out has judged an evaluation pair yet."
        return ""


def ready(loop: LoopPolicy, made: snapshots.Plan | None = None) -> Ready:
    """Count what would be frozen now, or what `made` says would. Raises FreezeRefused when the campaign cannot be frozen at all."""
    made = made or snapshots.plan(campaign=loop.campaign, filters=loop_policies.filters_of(loop))
    usable = {row.pair: (row.chosen, row.rejected) for row in made.rows if row.split == Split.TRAIN}
    trained = loop_anchors.so_far(loop).filter(run__output__isnull=False).order_by()
    seen = set(SnapshotRow.objects.filter(snapshot__in=trained.values("snapshot"), split=Split.TRAIN).values_list("pair", flat=True))
    new = usable.keys() - seen
    champion = aliases.current(AliasName.CHAMPION) or loop_policies.start_model(loop)
    texts = {text for pair in new for text in usable[pair]}
    theirs = set(Completion.objects.filter(pk__in=texts, batch__version=champion).values_list("pk", flat=True)) if champion else set()
    fresh = sum(bool(theirs.intersection(usable[pair])) for pair in new)
    unasked = bool(made.filters.hold_out_raters) and not made.used[Split.EVALUATION]
    return Ready(len(usable), len(new), fresh, loop.pairs_needed, first=not trained.exists(), unasked=unasked)


def enough(what: dict[str, Any], plan: snapshots.Plan) -> tuple[str, dict[str, Any]]:
    """Whether a plan is enough for a round of the policy that a freeze job was asked for, and what it was counted to
    (`annotation.freeze_jobs.ask_before`)."""
    loop = LoopPolicy.objects.select_related("campaign").get(pk=what["policy"])
    found = ready(loop, plan)
    if what["hold_out_raters"] != loop.hold_out_raters:
        return "The policy holds out another share of the raters by now.", {"ready": asdict(found)}
    return found.missing, {"ready": asdict(found)}


def counted(loop: LoopPolicy) -> tuple[Ready | None, Job | None]:
    """What the last job that counted a large campaign has found, and that job. It says nothing of what came since."""
    job = loop_freezing.counted(loop)
    return (Ready(**job.result["ready"]) if job is not None else None), job


@transaction.atomic
def begin(*, loop: LoopPolicy) -> LoopRound | None:
    """Open a round on a snapshot, when the policy is on, no round is under way, and there is enough; else None.

    Few pairs are counted and frozen here, many by a job that is asked for here (training/loop_freezing.py). A second caller at the same
    moment finds the first at it and does nothing. What can never be frozen switches the policy off.
    """
    patience.take_longer(**patience.READING)
    held = LoopPolicy.objects.select_for_update(of=("self",), no_key=True, skip_locked=True).select_related("campaign")
    mine = held.filter(pk=loop.pk, active=True).first()
    if mine is None or mine.rounds.filter(state=RoundState.WORKING).exists():
        return None
    if mine.campaign.state == CampaignState.DRAFT:
        return None
    number = (mine.rounds.values_list("number", flat=True).first() or 0) + 1
    try:
        frozen = loop_freezing.frozen(mine, share=LOOKING) if freeze_jobs.is_long(mine.campaign) else _frozen_at_once(mine, number)
    except NobodyToHoldOut:
        return None  # it waits for raters, as it waits for pairs
    except FreezeRefused as refused:
        loop_policies.stop(loop=mine, why=str(refused))
        return None
    if frozen is None:
        return None
    opened = LoopRound.objects.create(loop=mine, number=number, snapshot=frozen)
    audit.record(None, "round.began", opened, campaign=str(mine.campaign.public_id), number=number, snapshot=frozen.digest)
    return opened


def _frozen_at_once(loop: LoopPolicy, number: int) -> Snapshot | None:
    """Of few pairs: while the sweeper waits, and only if there is enough."""
    # As whoever freezes by hand does: what is counted is what is frozen.
    campaign = Campaign.objects.select_for_update(no_key=True).get(pk=loop.campaign_id)
    made = snapshots.plan(campaign=campaign, filters=loop_policies.filters_of(loop))
    if ready(loop, made).missing:
        return None
    return snapshots.keep(campaign=campaign, name=loop_freezing.name_of(loop, number), made=made, actor=None)


def undecided(one: LoopRound) -> bool:
    """Whether it is proposed and nobody has decided, or what was decided stands on a study that could not tell, and promoted nothing."""
    if one.state == RoundState.PROPOSED:
        return True
    if one.state not in (RoundState.DECIDED, RoundState.DISMISSED) or one.evaluation is None:
        return False
    if one.evaluation.promotions.filter(decision="promoted").exists():
        return False
    return one.evaluation.studies.filter(verdict=UNDECIDED).exists()


# --- step by step ------------------------------------------------------------------------------------------------------------------------


def step(*, one: LoopRound) -> LoopRound:
    """Take the next step of a round, if it can be taken now; the round as it is then. What cannot go on has failed and says why."""
    with transaction.atomic():
        held = LoopRound.objects.select_for_update(of=("self",)).select_related("loop__campaign", "snapshot").get(pk=one.pk)
        if held.state != RoundState.WORKING:
            return held
        try:
            with transaction.atomic():
                _advance(held)
        except (OperationalError, InterfaceError):
            raise
        except Nothing as nothing:
            _fail(held, str(nothing))
        except Exception as error:
            # A mistake of ours: said once, not again at every look, and without its message, which may hold anything.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("Round %s could not go on (%s).\n%s", held.public_id, type(error).__name__, where)  # noqa: TRY400
            _fail(held, f"It could not go on: {type(error).__name__}.")
    return held


def _advance(held: LoopRound) -> None:
    """Launch, then compare, then propose: whichever is next, and only if what it needs has ended."""
    if held.run is None:
        held.run = _launched(held)
        held.save(update_fields=["run"])
        return
    _must_not_have_failed(held.run.job)
    output = held.run.output
    if output is None:
        return
    if held.evaluation is None:
        champion = aliases.current(AliasName.CHAMPION)
        reference = held.run.policy if champion is None or champion == output else champion
        assert reference is not None
        _compare(held, output, reference)
        return
    asked = list(held.suite_runs.select_related("job"))
    compared = [found for found in (held.evaluation, held.anchor) if found is not None]
    work: list[Evaluation | SuiteRun] = [*compared, *asked]
    for made in work:
        _must_not_have_failed(made.job)
    if all(made.finished_at is not None for made in work):
        _propose(held)


def _compare(held: LoopRound, output: ModelVersion, reference: ModelVersion) -> None:
    """Against the champion, and against the model of round 0 where that is another."""
    first = loop_anchors.first_model(held)
    assert held.snapshot is not None
    assert held.run is not None
    told: dict[str, Any] = {"policy": output, "snapshot": held.snapshot, "actor": None, "seed": held.run.seed}
    try:
        held.evaluation = evaluations.start(reference=reference, **told)
        held.anchor = held.evaluation if first == reference else evaluations.start(reference=first, **told)
        asked = [suiteruns.start(version=version, actor=None) for version in dict.fromkeys((output, reference, first))]
    except (evaluations.NothingHeldOut, suiteruns.NotAskable) as refused:
        raise Nothing(str(refused)) from None
    held.save(update_fields=["evaluation", "anchor"])
    held.suite_runs.set(asked)


def _launched(held: LoopRound) -> Any:
    start, params = loop_policies.start_model(held.loop), held.loop.params
    if start is None:
        raise Nothing("The model that the policy names is not there any more.")
    assert held.snapshot is not None
    try:
        return runs.start(
            snapshot=held.snapshot, policy=start, preset=params["preset"], seed=params["seed"], actor=None,
            name=f"round-{held.loop.pk}-{held.number}",
        )  # fmt: skip
    except (runs.Refused, SpecError) as refused:
        raise Nothing(str(refused)) from None


def _must_not_have_failed(job: Job) -> None:
    if job.state in (State.FAILED, State.CANCELLED):
        why = f"failed: {job.error_code}" if job.state == State.FAILED else "was cancelled"
        raise Nothing(f"“{job.label}” {why}.")


def _propose(held: LoopRound) -> None:
    """The end of what a machine may do: the digest is written, the gates are kept as they stand, and the round waits for people."""
    assert held.evaluation is not None
    stand = gates.of(evaluation=held.evaluation, champion=aliases.current(AliasName.CHAMPION))
    held.state, held.lineage_digest = RoundState.PROPOSED, loop_digests.of(held)
    held.gates = [gate.record() for gate in stand]
    held.gates_digest = digest_of(held.gates)
    LoopRound.objects.filter(pk=held.pk).update(
        state=held.state, lineage_digest=held.lineage_digest, gates=held.gates, gates_digest=held.gates_digest, proposed_at=Now()
    )
    assert held.run is not None
    assert held.run.output is not None
    version = str(held.run.output.public_id)
    audit.record(None, "round.proposed", held, version=version, lineage=held.lineage_digest, gates=held.gates_digest)
    before = held.loop.rounds.filter(number__lt=held.number).exclude(state=RoundState.FAILED).select_related("evaluation").first()
    if before is not None and undecided(before):
        why = f"Rounds {before.number} and {held.number} are undecided: look at both before more of clinicians' time is spent."
        loop_policies.stop(loop=held.loop, why=why)


def _fail(held: LoopRound, why: str) -> None:
    held.state, held.why_ended = RoundState.FAILED, why[:300]
    LoopRound.objects.filter(pk=held.pk).update(state=held.state, why_ended=held.why_ended, ended_at=Now())
    audit.record(None, "round.failed", held, campaign=str(held.loop.campaign.public_id))
    if held.loop.rounds.filter(number=held.number - 1, state=RoundState.FAILED).exists():
        loop_policies.stop(loop=held.loop, why=f"Rounds {held.number - 1} and {held.number} came to nothing. The last: {why}")


# --- decided by people -------------------------------------------------------------------------------------------------------------------


class NotOpen(Exception):
    """The proposal does not wait for a decision any more."""


@transaction.atomic
def dismiss(*, one: LoopRound, actor: User, reason: str) -> LoopRound:
    """Put a proposal aside, with the reason. Its model, evaluation and snapshot stay. Raises NotOpen when it waits no more."""
    changed = LoopRound.objects.filter(pk=one.pk, state=RoundState.PROPOSED).update(
        state=RoundState.DISMISSED, why_ended=reason.strip()[:300], decided_by=actor, ended_at=Now()
    )
    if not changed:
        raise NotOpen("Somebody has decided it meanwhile.")
    audit.record(actor, "round.dismissed", one, campaign=str(one.loop.campaign.public_id))
    one.refresh_from_db()
    return one


@transaction.atomic
def settle() -> int:
    """Mark as decided the proposals on whose evaluation somebody has decided since; how many."""
    waiting = LoopRound.objects.filter(state=RoundState.PROPOSED, evaluation__promotions__isnull=False).distinct()
    settled = 0
    for one in LoopRound.objects.select_for_update(of=("self",)).filter(pk__in=waiting.values("pk")).select_related("evaluation"):
        assert one.evaluation is not None
        decision = one.evaluation.promotions.order_by("pk").first()
        if decision is None:
            continue
        settled += LoopRound.objects.filter(pk=one.pk, state=RoundState.PROPOSED).update(
            state=RoundState.DECIDED, decided_by=decision.decided_by, ended_at=decision.decided_at
        )
    return settled


# --- who calls it ------------------------------------------------------------------------------------------------------------------------

# When the votes of a policy's campaign are counted next, by this process's clock. Another process counts by its own.
_next_count: dict[int, float] = {}


def look() -> dict[str, int]:
    """Every step that can be taken now, of every round and policy; what was done. The sweeper's part."""
    did = {"rounds_stepped": 0, "rounds_settled": settle(), "rounds_begun": 0}
    for one in LoopRound.objects.filter(state=RoundState.WORKING).order_by("pk"):
        did["rounds_stepped"] += _moves(one)
    for loop in LoopPolicy.objects.filter(active=True).exclude(rounds__state=RoundState.WORKING).order_by("pk"):
        began = time.monotonic()
        if began < _next_count.get(loop.pk, 0.0):
            continue
        opened = begin(loop=loop)
        ended = time.monotonic()
        _next_count[loop.pk] = ended + (ended - began) / LOOKING
        if opened is not None:
            did["rounds_begun"] += 1
            did["rounds_stepped"] += _moves(opened)
    return did


def _moves(one: LoopRound) -> bool:
    """Take its next step; whether anything came of it."""
    before = (one.state, one.run_id, one.evaluation_id)
    after = step(one=one)
    return before != (after.state, after.run_id, after.evaluation_id)


def heard(*, job: int) -> int:
    """Go on with the rounds that waited for a job, as soon as it has ended; how many did."""
    theirs = Q(run__job=job) | Q(evaluation__job=job) | Q(anchor__job=job) | Q(suite_runs__job=job)
    waiting = LoopRound.objects.filter(theirs, state=RoundState.WORKING).distinct()
    return sum(_moves(one) for one in waiting.order_by("pk"))


def listen(job: Job) -> None:
    """Called inside the transaction that ends a job: look at its round after it."""
    transaction.on_commit(partial(heard, job=job.pk), robust=True)
