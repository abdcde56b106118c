"""Freezing many pairs as a job: planned, compared and looked over by a worker that only reads, then written in what ends the job.

So nobody waits for a page, no row is locked while texts are compared, and a worker that is killed leaves a whole snapshot or none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from django.conf import settings
from django.db import connection

from accounts.access import TRAINERS
from accounts.models import User
from annotation import filters, lint, snapshots
from annotation.filters import Asked, Filters
from annotation.models import AssignmentState, Campaign, Snapshot
from jobs import kinds, patience, submissions
from jobs.clock import after
from jobs.errors import EngineFailed, Unprepared
from jobs.models import Job, JobQuerySet, State
from modelhub.models import ModelVersion

KIND, QUEUE = "freeze", "io"
# A program that asks again hears so long what came of its job; later it is a new question.
TOLD_SECONDS = 60
# (what it was asked, the plan) → (why nothing is kept of it, in words, or ""; what the job's result tells of it). It only reads.
Before = Callable[[dict[str, Any], snapshots.Plan], tuple[str, dict[str, Any]]]
_before: dict[str, Before] = {}


def ask_before(name: str, verb: Before) -> None:
    """Let `verb` see the plans of jobs that were started with `before={name: …}`, in the worker, before anything is kept of them: whoever
    needs a snapshot only under a condition has it counted there. Apps name theirs in `AppConfig.ready`."""
    _before[name] = verb


def is_long(campaign: Campaign) -> bool:
    """Whether more pairs were judged than are frozen while somebody waits. As many as that are counted, and no more."""
    if campaign.purpose == "qualify":
        return False  # that nothing is frozen of it is said at once
    most = settings.ROUNDS_FREEZE_AT_ONCE
    judged = campaign.assignments.filter(state=AssignmentState.SUBMITTED).order_by().values("pair").distinct()
    return bool(judged[: most + 1].count() > most)


def start(
    *, campaign: Campaign, name: str, actor: User | None, look: bool = False, model: ModelVersion | None = None,
    context: int | None = None, before: dict[str, dict[str, Any]] | None = None, **asked: Unpack[Asked],
) -> Job:  # fmt: skip
    """Have it frozen in the background, or with `look` only looked over, as `annotation.lint.look` does. Asked for twice it is one job.

    `before`: who sees the plan first, and what each is asked (`ask_before`); a plan that one of them refuses is not kept.
    Raises FreezeRefused for a campaign of which nothing is ever frozen, ValueError for filters that contradict themselves.
    """
    snapshots.check(campaign)
    spec = _spec(campaign, name, look, model, context, Filters(**asked))  # type: ignore[arg-type]  # collections become sorted tuples
    spec |= {"before": before} if before else {}
    return submissions.submit(
        kind=KIND, label=f"{'Look over' if look else 'Freeze'} {campaign.name}"[:120], spec=spec, requested_by=actor,
        dedupe_key=f"{KIND}:{campaign.public_id}:{submissions.digest_of(spec)[:32]}",
    )  # fmt: skip


def _spec(campaign: Campaign, name: str, look: bool, model: ModelVersion | None, context: int | None, wanted: Filters) -> dict[str, Any]:
    return {
        "campaign": str(campaign.public_id), "name": "" if look else name, "look": look, "filters": wanted.as_dict(),
        "model": model.pk if model else None, "context": context,
    }  # fmt: skip


def ask(
    *, campaign: Campaign, name: str, actor: User | None, look: bool = False, model: ModelVersion | None = None,
    context: int | None = None, **asked: Unpack[Asked],
) -> Job:  # fmt: skip
    """For programs, which ask until it is done: the job under way, the one that has just ended, or a new one. Raises as `start` does."""
    spec = _spec(campaign, name, look, model, context, Filters(**asked))  # type: ignore[arg-type]
    lately = Job.objects.filter(kind=KIND, spec_digest=submissions.digest_of(spec), ended_at__gt=after(-TOLD_SECONDS))
    if (ended := lately.exclude(state=State.CANCELLED).order_by("-pk").first()) is not None:
        return ended
    return start(campaign=campaign, name=name, actor=actor, look=look, model=model, context=context, **asked)


def of_campaign(campaign: Campaign) -> Job | None:
    """The newest that people asked for and that is under way."""
    return asked_by_people(campaign).unended().order_by("-pk").first()


def asked_by_people(campaign: Campaign) -> JobQuerySet:
    """Those that a page may show as its own: not those that a program asked for under a condition, which may keep nothing."""
    return Job.objects.filter(kind=KIND, spec__campaign=str(campaign.public_id)).exclude(spec__has_key="before")


def snapshot_of(job: Job) -> Snapshot | None:
    """What came of it, once it is done."""
    made = job.result.get("snapshot")
    return Snapshot.objects.select_related("campaign").filter(public_id=made).first() if made else None


def register() -> None:
    """Make it known to the runner."""
    kinds.register(kinds.Kind(name=KIND, queue=QUEUE, work=_work, write=_write, publish=_publish))


def _work(job: Job, folder: Path, tell: kinds.Tell) -> dict[str, Any]:
    """Plan it and look it over, by one view of the database."""
    campaign = _campaign(job)
    with patience.reading():
        try:
            plan = snapshots.plan(campaign=campaign, filters=filters.from_dict(job.spec["filters"]), tell=tell)
        except snapshots.FreezeRefused as refused:
            raise EngineFailed("freeze_refused", str(refused)) from refused
        why, told = _seen_before(job, plan)
        if why:
            return {"plan": plan, "not_kept": why, "told": told}
        model = ModelVersion.objects.filter(pk=job.spec["model"]).first() if job.spec["model"] else None
        report = lint.over(plan, campaign=campaign, model=model, context=job.spec["context"], tell=tell)
    if not plan.rows and not job.spec["look"]:
        raise EngineFailed("freeze_refused", snapshots.why_empty(plan))
    digest = "" if job.spec["look"] else snapshots.digest_of(campaign, plan)
    return {"plan": plan, "digest": digest, "looked": report.told(), "not_kept": "", "told": told}


def _seen_before(job: Job, plan: snapshots.Plan) -> tuple[str, dict[str, Any]]:
    """Why the plan is not kept, by the first who says so; and what all of them tell."""
    why = ""
    told: dict[str, Any] = {}
    for name, what in job.spec.get("before", {}).items():
        refused, said = _before[name](what, plan)
        why, told = why or refused, told | said
    return why, told


def _campaign(job: Job) -> Campaign:
    """A job may have waited, or is tried anew: whoever asked must still be one who may, and not have begun to judge in it."""
    asker = job.requested_by
    seen = Campaign.objects.all() if asker is None else Campaign.objects.unblinded_for(asker)
    found = seen.select_related("rubric").filter(public_id=job.spec["campaign"]).first()
    if found is None or (asker is not None and not (asker.is_active and asker.has_role(*TRAINERS))):
        raise Unprepared("freeze_not_allowed", "Whoever asked for it may not see this campaign's judgements any more.")
    return found


def _write(job: Job, result: dict[str, Any], staged: None, tell: kinds.Tell) -> None:
    if job.spec["look"] or result["not_kept"]:
        return
    with connection.cursor() as cursor:
        # References are checked with each portion, not all at once by a commit that the runner's patience would cut off.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    result["snapshot"] = snapshots.keep(
        campaign=_campaign(job), name=job.spec["name"], made=result["plan"], digest=result["digest"], actor=job.requested_by, tell=tell
    )
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def _publish(job: Job, result: dict[str, Any], staged: None) -> dict[str, Any]:
    rows = len(result["plan"].rows)
    if result["not_kept"]:
        return {"rows": rows, "not_kept": result["not_kept"], **result["told"]}
    if job.spec["look"]:
        return {"looked": result["looked"], "rows": rows}
    return {"looked": result["looked"], "rows": rows, "snapshot": str(result["snapshot"].public_id), **result["told"]}
