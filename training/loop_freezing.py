"""Many judged pairs are counted and frozen for a loop by a worker, in one job: neither the sweeper nor a page waits for it.

Below `ROUNDS_FREEZE_AT_ONCE` a round is counted and frozen at once, as pages freeze. Above it a freeze job (annotation/freeze_jobs.py) is
asked to look first whether there is enough for a round, and to keep nothing where there is not. The next one is asked for only when
something was judged, ruled or promoted since, and no sooner than the share of time allows that is spent on counting.
"""

from typing import Any

from django.db.models import Max

from annotation import freeze_jobs, snapshot_evidence
from annotation.models import Adjudication, AssignmentState, Judgement, Snapshot, SnapshotRow, Split
from annotation.snapshots import FreezeRefused
from jobs.clock import after
from jobs.models import Job, State
from modelhub import aliases
from modelhub.models import AliasName
from training import loop_anchors, loop_policies
from training.models import LoopPolicy, LoopRound

# Who sees the plan of such a job first (`annotation.freeze_jobs.ask_before`).
BEFORE = "loop"


def newest(loop: LoopPolicy) -> Job | None:
    """The last job that was asked to freeze for this loop."""
    return Job.objects.filter(kind=freeze_jobs.KIND, spec__before__loop__policy=loop.pk).order_by("-pk").first()


def under_way(loop: LoopPolicy) -> Job | None:
    last = newest(loop)
    return last if last is not None and not last.ended else None


def counted(loop: LoopPolicy) -> Job | None:
    """The last job that has counted for the policy as it is, with what it found in its result."""
    asked = {"spec__before__loop__policy": loop.pk, "spec__before__loop__hold_out_raters": loop.hold_out_raters}
    return Job.objects.filter(kind=freeze_jobs.KIND, state=State.SUCCEEDED, **asked).order_by("-pk").first()


def name_of(loop: LoopPolicy, number: int) -> str:
    return f"{loop.campaign.name[:90]}, round {number}"


def frozen(loop: LoopPolicy, *, share: float) -> Snapshot | None:
    """The snapshot a round may begin on now. Else None, and a job is asked for where one may find what the last did not.

    At most `share` of the time is spent on such jobs. Called with the policy's row locked, so that one is asked for at a time. Raises
    FreezeRefused when the last one failed since the policy was switched on, NobodyToHoldOut while too few have judged for that.
    """
    last, now = newest(loop), _as_it_stands(loop)
    if last is not None:
        if not last.ended:
            return None
        told = last.spec["before"][BEFORE]
        of_this_round = all(told[key] == now[key] for key in ("rounds", "hold_out_raters"))
        if last.state == State.SUCCEEDED and of_this_round and (made := freeze_jobs.snapshot_of(last)):
            return made
        if last.state == State.FAILED and last.created_at > loop.switched_on_at and told["hold_out_raters"] == now["hold_out_raters"]:
            raise FreezeRefused(last.error_detail if last.error_code == "freeze_refused" else f"“{last.label}” failed: {last.error_code}.")
        if (told == now and last.state != State.FAILED) or _too_soon(last, share):
            return None
    if _judged_since(loop, most=loop.pairs_needed) < loop.pairs_needed:
        return None
    snapshot_evidence.held_out_of(loop.campaign, loop_policies.filters_of(loop))
    name, held_out = name_of(loop, now["rounds"] + 1), loop.hold_out_raters
    freeze_jobs.start(campaign=loop.campaign, name=name, actor=None, before={BEFORE: now}, hold_out_raters=held_out)
    return None


def _as_it_stands(loop: LoopPolicy) -> dict[str, Any]:
    """All that decides whether there is enough for a round: the same again needs no second count."""
    champion = aliases.current(AliasName.CHAMPION)
    return {
        "policy": loop.pk, "needed": loop.pairs_needed, "hold_out_raters": loop.hold_out_raters,
        "champion": champion.pk if champion else None,
        "rounds": LoopRound.objects.filter(loop=loop).count(),
        "judgement": _last(Judgement.objects.filter(assignment__campaign=loop.campaign_id)),
        "ruling": _last(Adjudication.objects.filter(dispute__pair__campaign=loop.campaign_id)),
    }  # fmt: skip


def _last(rows: Any) -> int:
    return int(rows.aggregate(last=Max("pk"))["last"] or 0)


def _too_soon(last: Job, share: float) -> bool:
    if last.started_at is None or last.ended_at is None:
        return False
    took = (last.ended_at - last.started_at).total_seconds()
    return Job.objects.filter(pk=last.pk, ended_at__gt=after(-took / share)).exists()


def _judged_since(loop: LoopPolicy, *, most: int) -> int:
    """Training pairs with a judgement that no round of the loop has trained on, usable or not, counted up to `most`."""
    trained = loop_anchors.so_far(loop).filter(run__output__isnull=False).order_by()
    seen = SnapshotRow.objects.filter(snapshot__in=trained.values("snapshot"), split=Split.TRAIN).values("pair")
    judged = loop.campaign.assignments.filter(state=AssignmentState.SUBMITTED, pair__prompt__sample__split=Split.TRAIN)
    return int(judged.exclude(pair__in=seen).order_by().values("pair").distinct()[:most].count())
