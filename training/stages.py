"""The loop at a glance: samples → pairs → judgements → snapshot → run → evaluation → champion, and what to do next."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Q
from django.urls import reverse

from annotation import samples
from annotation.models import AssignmentState, Campaign, CampaignState, Dispute, Judgement, Pair, Sample, Snapshot
from jobs import pulses
from jobs.models import State
from modelhub.models import Alias, AliasName, ModelVersion
from training import families
from training.models import Evaluation, LoopRound, Run, Study, StudyState


@dataclass(frozen=True)
class Action:
    label: str
    url: str


@dataclass
class Stage:
    """One line: what there is, how old the newest is, what holds it up, what to do next."""

    name: str
    count: int
    at: datetime | None = None
    note: str = ""
    blocker: str = ""
    action: Action | None = None
    link: str = ""
    badges: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return f"{self.count:,}"


@dataclass(frozen=True)
class Setup:
    """What the supervisor is still putting in place, as it wrote it down."""

    step: str
    state: str
    detail: str

    @property
    def waiting(self) -> bool:
        return self.state == "running"


def setup() -> Setup | None:
    """The background set-up, or None when it is done or nobody runs one."""
    try:
        raw = json.loads((settings.DATA_DIR / "setup.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(raw, dict) or raw.get("state") not in ("running", "failed"):
        return None
    return Setup(step=str(raw.get("step", "")), state=str(raw["state"]), detail=str(raw.get("detail", "")))


def overview() -> dict[str, Any]:
    """Everything the home page shows. `next` is the first stage that has something to do."""
    stages = [_samples(), _pairs(), _judgements(), _snapshots(), _runs(), _evaluations(), _studies(), _champion()]
    following = next((stage for stage in stages if stage.action is not None), None)
    return {
        "stages": stages,
        "next": following,
        "setup": setup(),
        "family": families.progress(),
        "absent": pulses.missing(),
        "models": ModelVersion.objects.exists(),
        "flags": Dispute.objects.open_flags().count(),
        "proposals": LoopRound.objects.waiting().count(),
    }


def _samples() -> Stage:
    # Of millions nobody counts: the newest came in last.
    newest = Sample.objects.order_by("-pk").values_list("created_at", flat=True).first()
    stage = Stage("Samples", samples.counted(), newest, link=reverse("annotation:samples"))
    if not newest:
        stage.blocker = "Nothing to ask about yet."
        stage.action = Action("Import samples", reverse("annotation:sample-import"))
    return stage


def _pairs() -> Stage:
    seen = Pair.objects.aggregate(n=Count("id"), campaigns=Count("campaign", distinct=True), at=Max("campaign__created_at"))
    stage = Stage("Pairs", seen["n"], seen["at"], link=reverse("annotation:campaigns"))
    stage.note = f"in {seen['campaigns']} campaign{'' if seen['campaigns'] == 1 else 's'}"
    if not seen["n"]:
        stage.blocker = "No two completions stand side by side yet."
        if ModelVersion.objects.exists():
            stage.action = Action("Generate completions", reverse("training:generate"))
        else:
            stage.action = Action("Import completions", reverse("annotation:sample-import"))
    elif draft := Campaign.objects.filter(state=CampaignState.DRAFT).first():
        stage.note += f"; “{draft.name}” waits to be opened"
    return stage


def _judgements() -> Stage:
    ours = Q(external=False) & ~Q(assignment__annotator__simulated=True)
    seen = Judgement.objects.filter(undone_at__isnull=True).aggregate(
        n=Count("assignment", distinct=True, filter=ours),
        simulated=Count("assignment", distinct=True, filter=Q(assignment__annotator__simulated=True)),
        imported=Count("assignment", distinct=True, filter=Q(external=True)),
        at=Max("submitted_at", filter=ours),
    )
    stage = Stage("Judgements", seen["n"], seen["at"], link=reverse("annotation:campaigns"), note="by clinicians")
    if seen["simulated"]:
        stage.note = f"by clinicians, and {seen['simulated']:,} by simulated raters"
        stage.badges = ["simulated"]
    if seen["imported"]:
        stage.note += f"; {seen['imported']:,} more were imported"
    running = Campaign.objects.filter(state=CampaignState.OPEN, simulated=False, purpose="collect").with_progress().first()
    if running is not None:
        done, wanted = running.done, running.wanted  # type: ignore[attr-defined]
        if done < wanted:
            stage.blocker = f"“{running.name}”: {done:,} of {wanted:,} given."
            stage.action = None if seen["n"] else Action("See the campaign", reverse("annotation:campaign", args=[running.public_id]))
    elif draft := Campaign.objects.filter(state=CampaignState.DRAFT, simulated=False).first():
        stage.blocker = "No campaign is open."
        stage.action = Action("Open a campaign", reverse("annotation:campaign", args=[draft.public_id]))
    return stage


def _snapshots() -> Stage:
    newest = Snapshot.objects.first()
    stage = Stage("Snapshots", Snapshot.objects.count(), newest.frozen_at if newest else None, link=reverse("annotation:snapshots"))
    if newest:
        stage.note = newest.name
        stage.badges = _badges(newest)
    else:
        ready = (
            Campaign.objects.annotate(given=Count("assignments", filter=Q(assignments__state=AssignmentState.SUBMITTED)))
            .filter(given__gt=0)
            .first()
        )
        stage.blocker = "Nothing is frozen, so nothing can be trained."
        if ready:
            stage.action = Action("Freeze a snapshot", reverse("annotation:campaign-freeze", args=[ready.public_id]))
    return stage


def _runs() -> Stage:
    runs = Run.objects.filter(replays=None).exclude(preset__startswith=families.TAG).select_related("job", "policy")
    newest = runs.first()
    stage = Stage("Runs", runs.count(), newest.created_at if newest else None, link=reverse("training:runs"))
    unrun = Snapshot.objects.filter(runs__isnull=True).first()
    if newest:
        stage.note = f"{newest.name}: {newest.job.get_state_display().lower()}"
        if newest.job.state == State.FAILED:
            stage.blocker = f"{newest.name} failed: {newest.job.error_code}."
            stage.action = Action("See why", reverse("training:run", args=[newest.pk]))
    if unrun and stage.action is None:
        if ModelVersion.objects.exists():
            stage.action = Action("Launch DPO", f"{reverse('training:launch')}?snapshot={unrun.public_id}")
        else:
            stage.blocker = "No model to start from yet."
    return stage


def _evaluations() -> Stage:
    newest = Evaluation.objects.of_candidates().first()
    stage = Stage("Evaluations", Evaluation.objects.count(), newest.created_at if newest else None, link=reverse("training:runs"))
    if newest:
        stage.note = f"{newest.policy.name} against {newest.reference.name}" + (
            "" if newest.finished_at else f": {newest.job.get_state_display().lower()}"
        )
        stage.link = reverse("training:evaluation", args=[newest.public_id])
        stage.badges = ["simulated"] if newest.simulated else []
    waiting = Run.objects.filter(output__isnull=False, snapshot__isnull=False, output__evaluations__isnull=True).first()
    if waiting:
        stage.blocker = f"{waiting.name} is trained and not yet compared with what it started from."
        stage.action = Action("Evaluate it", reverse("training:run", args=[waiting.pk]))
    return stage


def _studies() -> Stage:
    """Never what one that is under way has found: its raters may be trainers."""
    newest = Study.objects.first()
    stage = Stage("Blinded studies", Study.objects.count(), newest.created_at if newest else None, link=reverse("training:studies"))
    if newest is None:
        return stage
    stage.note = f"study {newest.pk}: {newest.verdict or newest.get_state_display().lower()}"
    if newest.state == StudyState.FAILED:
        stage.blocker = newest.why_failed
        stage.action = Action("See why", reverse("training:study", args=[newest.public_id]))
    return stage


def _champion() -> Stage:
    alias = Alias.objects.select_related("version").filter(name=AliasName.CHAMPION).first()
    stage = Stage("Champion", int(alias is not None), link=reverse("modelhub:models"))
    proven = Evaluation.objects.of_candidates().filter(finished_at__isnull=False).prefetch_related("promotions")
    # The champion is asked held-out pairs again so that others can be held against it.
    waiting = proven.exclude(policy__in=Alias.objects.filter(name=AliasName.CHAMPION).values("version")).first()
    if alias:
        moved = alias.history.first()
        stage.at = moved.at if moved else None
        stage.note = alias.version.name
        stage.badges = _badges(alias.version)
        stage.link = reverse("modelhub:model", args=[alias.version.public_id])
    else:
        stage.blocker = "No model carries the name yet."
    if waiting and not waiting.promotions.all():
        stage.blocker = f"{waiting.policy.name} is compared and waits for a decision."
        stage.action = Action("Decide", reverse("training:evaluation", args=[waiting.public_id]))
    return stage


def _badges(thing: Any) -> list[str]:
    return [name for name in ("toy", "simulated", "external") if getattr(thing, name, False)]
