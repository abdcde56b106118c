"""Blinded before/after studies: the champion against a challenger on held-out prompts, until clinicians have decided or the cap is reached.

`start` queues both models' answers; `open_when_answered` makes the campaign of them and locks the protocol; `consider` reads the verdict
after every vote and ends the study; `stop` ends one before its time, and `mend` goes on with those whose process died. It promotes nothing.
"""

import logging
import random
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Avg, Q, QuerySet
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from accounts import audit
from accounts.models import Role, User
from annotation import campaigns, judgements
from annotation import prompts as rendering
from annotation.campaigns import CampaignRefused
from annotation.models import (
    MAJOR,
    Assignment,
    AssignmentState,
    Campaign,
    CampaignState,
    GenerationBatch,
    Judgement,
    Prompt,
    Sample,
    Selection,
    Slot,
    SlotKind,
    Split,
    Verdict,
)
from annotation.records import digest_of
from jobs import submissions
from jobs.errors import NotCancellable
from jobs.models import Job, State
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import generations
from training.engine import presets
from training.evidence import verdict as evidence
from training.models import Evaluation, Study, StudyState

log = logging.getLogger(__name__)

FORMAT = "study-1"
FIRST = (Verdict.FIRST_MUCH, Verdict.FIRST_SLIGHTLY)
SECOND = (Verdict.SECOND_MUCH, Verdict.SECOND_SLIGHTLY)
CHALLENGER, CHAMPION, TIE = evidence.OUTCOMES
RATE = (Role.ANNOTATOR, Role.ADJUDICATOR)


class StudyRefused(Exception):
    """A study cannot be started, opened or stopped as things are; the message says what to change. Nothing was made."""


class TooFewRaters(StudyRefused):
    """Others have to be chosen."""


# --- started -----------------------------------------------------------------------------------------------------------------------------


@transaction.atomic
def start(*, evaluation: Evaluation, actor: User | None, raters: Collection[User] = (), seed: int | None = None) -> Study:
    """Queue both models' answers to held-out prompts, drawn uniformly at random, with the same decoding and seed.

    The champion is who holds the alias, or the evaluation's reference while nobody does. Without `raters` those of the snapshot's campaign
    are asked. Raises StudyRefused when the evaluation is not finished or has no snapshot, another study of it is under way, or there are
    too few raters or held-out prompts for a verdict.
    """
    if evaluation.finished_at is None or evaluation.snapshot is None:
        raise StudyRefused("A study follows a finished evaluation on a snapshot's held-out part.")
    challenger, champion = evaluation.policy, aliases.current(AliasName.CHAMPION) or evaluation.reference
    if champion == challenger:
        raise StudyRefused(f"{challenger.name} is the champion already.")
    source = evaluation.snapshot.campaign
    people = list(raters) or raters_of(source)
    if len(people) < evidence.RATERS:
        raise TooFewRaters(f"A verdict needs {evidence.RATERS} raters; {len(people)} can be asked.")
    seed = secrets.randbits(32) if seed is None else seed
    prompts = _draw(source, seed)
    if len(prompts) < evidence.FEWEST:
        raise StudyRefused(f"A verdict needs {evidence.FEWEST} different held-out prompts; there are {len(prompts)}. Import more samples.")
    decoding = presets.GENERATE["demo" if challenger.toy and champion.toy else "clinic"] | {"n": 1}
    # The older batch is a pair's first text. Which model that is says nothing to raters, whose sides are balanced over the study.
    one, other = (_answers(version, decoding, prompts, actor, seed) for version in (champion, challenger))
    try:
        with transaction.atomic():
            study = Study.objects.create(
                evaluation=evaluation, champion=champion, challenger=challenger, champion_texts=one, challenger_texts=other, seed=seed,
                started_by=actor,
            )  # fmt: skip
    except IntegrityError:
        raise StudyRefused("A study of this evaluation is under way.") from None
    study.raters.set(people)
    audit.record(
        actor, "study.started", study, challenger=str(challenger.public_id), champion=str(champion.public_id), prompts=len(prompts)
    )
    return study


def raters_of(source: Campaign) -> list[User]:
    """Who rates in `source` and still may."""
    staying = source.memberships.filter(revoked_at__isnull=True, user__in=User.objects.filter(is_active=True, grants__role__in=RATE))
    return [member.user for member in staying.select_related("user").order_by("pk")]


def _draw(source: Campaign, seed: int) -> list[Prompt]:
    """At most as many as the cap of the evaluation split of the sources behind `source`, each equally likely: never what is informative."""
    sources = Sample.objects.filter(prompts__pairs__campaign=source).values("source")
    pool = Sample.objects.usable().filter(split=Split.EVALUATION, source__in=sources).order_by("pk").values_list("pk", flat=True)
    ids = list(pool)
    draw = random.Random(seed)  # noqa: S311 (reproducible, not secret)
    drawn = draw.sample(ids, min(len(ids), evidence.MOST))
    return rendering.render(samples=Sample.objects.filter(pk__in=drawn).order_by("pk"))


def _answers(version: ModelVersion, decoding: dict[str, Any], prompts: list[Prompt], actor: User | None, seed: int) -> GenerationBatch:
    return generations.start(producer=version, decoding=decoding, prompts=prompts, actor=actor, seed=seed, label="Answers for a study")


def answered(*, batch: GenerationBatch) -> None:
    """Go on with the study that waits for `batch`, if one does, once the job that filled it has ended."""
    waiting = Study.objects.filter(Q(champion_texts=batch) | Q(challenger_texts=batch), state=StudyState.GENERATING).first()
    if waiting is not None:
        transaction.on_commit(partial(open_when_answered, study=waiting), robust=True)


def open_when_answered(*, study: Study) -> bool:
    """Make and open the campaign once both models have answered; False while one has not. What cannot be opened has failed and says why.

    Calling it again does nothing.
    """
    with transaction.atomic():
        study = Study.objects.select_for_update(of=("self",)).get(pk=study.pk)
        if study.state != StudyState.GENERATING:
            return False
        jobs = jobs_of(study)
        if any(job is None or job.state in (State.FAILED, State.CANCELLED) for job in jobs):
            return _failed(study, _unanswered(study, jobs))
        if not all(job is not None and job.state == State.SUCCEEDED for job in jobs):
            return False
        try:
            with transaction.atomic():
                _open(study)
        except (CampaignRefused, StudyRefused) as refused:
            return _failed(study, str(refused))
        return True


def jobs_of(study: Study) -> tuple[Job | None, Job | None]:
    """The jobs that fill the champion's and the challenger's texts."""
    return generations.job_of(study.champion_texts), generations.job_of(study.challenger_texts)


def _unanswered(study: Study, jobs: tuple[Job | None, Job | None]) -> str:
    for version, job in zip((study.champion, study.challenger), jobs, strict=True):
        if job is not None and job.state == State.CANCELLED:
            return f"The job in which {version.name} answered was cancelled."
        if job is None or job.state == State.FAILED:
            return f"{version.name} could not answer: its job failed{f' with {job.error_code}' if job else ''}."
    raise AssertionError("neither failed")


def _failed(study: Study, why: str) -> bool:
    Study.objects.filter(pk=study.pk).update(state=StudyState.FAILED, why_failed=why[:300])
    audit.record(study.started_by, "study.failed", study)
    return False


def _open(study: Study) -> None:
    assert study.evaluation.snapshot is not None
    source = study.evaluation.snapshot.campaign
    people = list(study.raters.order_by("pk"))
    routing, unmatched = _matched(source, people)
    campaign = campaigns.create(
        name=f"Before and after, study {study.pk}", guideline=source.guideline, rubric=source.rubric,
        batches=[study.champion_texts, study.challenger_texts], overlap=1, members=people, actor=study.started_by, seed=study.seed,
        splits=[Split.EVALUATION], purpose="study", selection=Selection.RANDOM, routing=routing, session_minutes=source.session_minutes,
        simulated=all(person.simulated for person in people),
    )  # fmt: skip
    if (different := campaign.counts["pairs"]) < evidence.FEWEST:
        raise StudyRefused(
            f"Only {different} prompts got two different answers, and a verdict needs {evidence.FEWEST}: they are too alike."
        )
    campaign = campaigns.open(campaign=campaign, actor=study.started_by)
    said = _protocol(study, campaign, unmatched)
    Study.objects.filter(pk=study.pk).update(campaign=campaign, protocol=said, protocol_digest=digest_of(said), state=StudyState.RUNNING)
    audit.record(study.started_by, "study.opened", study, protocol=digest_of(said), campaign=str(campaign.public_id))


def _matched(source: Campaign, people: Collection[User]) -> tuple[dict[str, Any], list[str]]:
    """The source campaign's rules of who reads what, as far as these raters' fields go; the values whose field nobody has go to anybody."""
    if not source.routing:
        return {}, []
    fields = {field for person in people if (profile := getattr(person, "profile", None)) for field in profile.specialties}
    rules = {value: field for value, field in source.routing["rules"].items() if field in fields}
    unmatched = sorted(source.routing["rules"].keys() - rules.keys())
    return ({"by": source.routing["by"], "rules": rules} if rules else {}), unmatched


def _protocol(study: Study, campaign: Campaign, unmatched: list[str]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "study": str(study.public_id),
        "question": "Do clinicians who do not know which is which prefer the challenger's answers to the champion's?",
        "champion": named(study.champion),
        "challenger": named(study.challenger),
        "evaluation": str(study.evaluation.public_id),
        "decoding": study.champion_texts.decoding,
        "seed": study.seed,
        "campaign": {"id": str(campaign.public_id), "protocol_digest": campaign.protocol_digest, "pairs": campaign.counts["pairs"]},
        "simulated": campaign.simulated,
        "sampling": "Prompts of the evaluation split, uniformly at random; prompts to which both gave the same text are left out.",
        "raters": {"asked": study.raters.count(), "routing": campaign.routing, "no_rater_of_the_field": unmatched},
        "counted": "The answer that stands of each vote in the order of submission. Ties say nothing of the direction. Not counted: "
        "“cannot judge”, second readers' answers after a harm flag, and what comes after the decision.",
        "test": {
            "name": "mixture e-process, Beta(a, a) on p > 1/2, looked at after every judgement", "a": evidence.PRIOR,
            "threshold": evidence.THRESHOLD, "fewest": evidence.FEWEST, "most": evidence.MOST, "raters": evidence.RATERS,
        },
    }  # fmt: skip


def named(version: ModelVersion) -> dict[str, str]:
    """A model as protocols and evidence name it."""
    return {"id": str(version.public_id), "name": version.name, "digest": version.artifact.digest}


# --- read --------------------------------------------------------------------------------------------------------------------------------


def protocol(study: Study) -> dict[str, Any]:
    """What was fixed before the first vote, with its digest (SHA-256 of the rest's canonical JSON). Empty before the campaign opened."""
    return {**study.protocol, "digest": study.protocol_digest} if study.protocol_digest else {}


def raw_votes(study: Study) -> Iterator[dict[str, Any]]:
    """Every counted vote in order of submission, raters and pairs under pseudonyms of this study alone.

    Each: number, pair, rater, challenger_side ("left", "right"), choice (the verdict's name as the rater saw it: "left_much", …),
    in_favour ("challenger", "champion", "tie"), words_challenger, words_champion, major_challenger, major_champion (whether a major harm
    was flagged), life_threatening_challenger, life_threatening_champion, submitted_at (ISO 8601). No text of a case is in it.
    """
    if study.campaign_id is None:
        return
    votes = counted(study).select_related("assignment__pair__first", "assignment__pair__second")
    for number, vote in enumerate(votes, start=1):
        yield _told(study, number, vote)


def counted(study: Study) -> QuerySet[Judgement]:
    """The answers that count, in order of submission; once it was decided, up to the one that decided it."""
    votes = (
        Judgement.objects.votes()
        .filter(assignment__campaign=study.campaign_id, assignment__slot__kind=SlotKind.VOTE)
        .exclude(verdict=Verdict.CANNOT_JUDGE)
        .order_by("assignment__submitted_at", "assignment")
    )
    return votes[: study.counted] if study.counted is not None else votes


def _told(study: Study, number: int, vote: Judgement) -> dict[str, Any]:
    held = vote.assignment
    pair = held.pair
    ours, theirs = ("first", "second") if pair.first.batch_id == study.challenger_texts_id else ("second", "first")
    won = "first" if vote.verdict in FIRST else "second" if vote.verdict in SECOND else ""
    left = "first" if held.first_on_left else "second"
    harm = {"first": vote.harm_first, "second": vote.harm_second}
    assert held.submitted_at is not None
    return {
        "number": number,
        "pair": _pseudonym(study, "pair", pair.pk),
        "rater": _pseudonym(study, "rater", held.annotator_id),
        "challenger_side": "left" if left == ours else "right",
        "choice": f"{'left' if won == left else 'right'}_{vote.verdict.partition('_')[2]}" if won else vote.verdict,
        "in_favour": TIE if not won else CHALLENGER if won == ours else CHAMPION,
        **{f"words_{who}": len(getattr(pair, of).text.split()) for who, of in ((CHALLENGER, ours), (CHAMPION, theirs))},
        **{f"major_{who}": harm[of] in MAJOR for who, of in ((CHALLENGER, ours), (CHAMPION, theirs))},
        **{f"life_threatening_{who}": harm[of] == "life_threatening" for who, of in ((CHALLENGER, ours), (CHAMPION, theirs))},
        "submitted_at": held.submitted_at.isoformat(),
    }


def _pseudonym(study: Study, what: str, number: int) -> str:
    """The same within a study, another in the next; the house's key keeps it from being guessed from small numbers."""
    return f"{what}-{salted_hmac(f'study {study.public_id}', f'{what}:{number}', algorithm='sha256').hexdigest()[:12]}"


@dataclass(frozen=True)
class Progress:
    """Where a study stands. `hours`: of clinicians, for the judgements still missing; None with no end in sight, or no pace yet."""

    verdict: evidence.Verdict
    raters: int
    pairs: int
    hours: float | None


def progress(study: Study, votes: Sequence[dict[str, Any]] | None = None) -> Progress:
    """The verdict as the votes so far say it, and what is missing. `votes` are its raw votes, where they have been read already."""
    votes = list(raw_votes(study)) if votes is None else votes
    raters = len({vote["rater"] for vote in votes})
    found = evidence.follow_votes(votes)
    pairs = 0 if study.campaign is None else int(study.campaign.counts["pairs"])
    return Progress(found, raters, pairs, _hours(study, found))


def _hours(study: Study, found: evidence.Verdict) -> float | None:
    pace = _pace(study.campaign) if study.campaign is not None else None
    return None if found.more is None or pace is None else found.more * pace


def _pace(campaign: Campaign) -> float | None:
    """Hours of a clinician for one judgement, as measured in `campaign`; None where nothing was."""
    votes = Judgement.objects.votes().filter(assignment__campaign=campaign, active_ms__gt=0)
    mean = votes.aggregate(mean=Avg("active_ms"))["mean"]
    return None if mean is None else float(mean) / 3_600_000


def foreseen(evaluation: Evaluation) -> tuple[float, float] | None:
    """Clinician-hours that a study would take at the fewest and at the most judgements, at the pace of the snapshot's campaign."""
    pace = _pace(evaluation.snapshot.campaign) if evaluation.snapshot is not None else None
    return None if pace is None else (evidence.FEWEST * pace, evidence.MOST * pace)


def others(study: Study) -> list[Study]:
    """Other studies of the same two models: each has its own chance of a false verdict, so they are told beside this one."""
    same = Study.objects.filter(champion=study.champion, challenger=study.challenger).exclude(pk=study.pk)
    return list(same.select_related("campaign"))


# --- ended -------------------------------------------------------------------------------------------------------------------------------


def consider(*, campaign: Campaign) -> bool:
    """End the study of `campaign` when its votes have decided it, or no vote is left; whether this call ended it.

    Votes that arrive while it ends come after the decision and are not counted.
    """
    study = Study.objects.select_related("campaign").filter(campaign=campaign, state=StudyState.RUNNING).first()
    if study is None or not _over(study):
        return False
    with transaction.atomic():
        held = Study.objects.select_for_update(of=("self",)).filter(pk=study.pk, state=StudyState.RUNNING).first()
        if held is None:
            return False
        if Campaign.objects.filter(pk=campaign.pk, state__in=CampaignState.running()).exists():
            campaigns.close(campaign=campaign, actor=None)
        votes = list(raw_votes(held))
        found = evidence.follow_votes(votes)
        counted = found.decided_at or min(len(votes), evidence.MOST)
        Study.objects.filter(pk=held.pk).update(state=StudyState.DECIDED, verdict=found.verdict, counted=counted, decided_at=Now())
        audit.record(None, "study.decided", held, verdict=found.verdict, counted=counted)
    return True


def _over(study: Study) -> bool:
    assert study.campaign is not None
    if study.campaign.state == CampaignState.CLOSED:
        return True
    votes = Slot.objects.filter(campaign=study.campaign, kind=SlotKind.VOTE)
    under_way = Assignment.objects.filter(campaign=study.campaign, state=AssignmentState.LEASED, slot__kind=SlotKind.VOTE)
    if not votes.filter(open=True).exists() and not under_way.exists():
        return True
    # Before so many nothing is decided: no vote need be read.
    if votes.filter(open=False).count() < evidence.FEWEST:
        return False
    found = evidence.follow_votes(list(raw_votes(study)))
    return found.decided_at is not None or found.judgements >= evidence.MOST


@transaction.atomic
def stop(*, study: Study, actor: User, reason: str) -> Study:
    """End a study before its time, without a verdict: its jobs are cancelled or its campaign closed. What was judged stays.

    Raises StudyRefused without a reason, and when it has ended already.
    """
    reason = " ".join(reason.split())[:300]
    if not reason:
        raise StudyRefused("Say why it is stopped: the reason stays on its page.")
    held = Study.objects.select_for_update(of=("self",)).get(pk=study.pk)
    if held.state not in StudyState.under_way():
        raise StudyRefused(f"It is over already: {held.get_state_display().lower()}.")
    for job in jobs_of(held) if held.campaign is None else ():
        if job is not None:
            with suppress(NotCancellable):
                submissions.cancel(job=job, actor=actor)
    if held.campaign is not None:
        with suppress(CampaignRefused):  # closed by hand already
            campaigns.close(campaign=held.campaign, actor=actor)
    Study.objects.filter(pk=held.pk).update(state=StudyState.STOPPED, why_failed=reason, stopped_by=actor)
    # The reason is somebody's free text: it stands on the study's page and not in the trail.
    audit.record(actor, "study.stopped", held, was=held.state)
    held.refresh_from_db()
    return held


def mend() -> int:
    """Go on with studies that nobody goes on with: their process died, a job of theirs ended otherwise, their campaign was closed by hand.

    Returns how many moved. Calling it again does nothing more.
    """
    moved = 0
    for study in Study.objects.filter(state__in=StudyState.under_way()).select_related("campaign").order_by("pk"):
        try:
            if study.campaign is not None:
                moved += consider(campaign=study.campaign)
            else:
                open_when_answered(study=study)
                moved += not Study.objects.filter(pk=study.pk, state=StudyState.GENERATING).exists()
        except DatabaseError as error:
            # One that cannot go on must not keep the others waiting.
            log.warning("Study %s could not be gone on with (%s).", study.public_id, type(error).__name__)
    return moved


def listen() -> None:
    """Look at a study's votes after each one's transaction: a rater's answer never waits for a verdict, nor fails by it."""
    judgements.study_heard.connect(_heard, dispatch_uid="training.studies")


def _heard(campaign: Campaign, **_: Any) -> None:
    transaction.on_commit(partial(consider, campaign=campaign), robust=True)
