"""What raters said becomes a data set, for benchmarks/gallery.py: looked over, frozen, left empty, frozen by a job; and taken away."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from accounts.models import User
    from annotation.models import Campaign
    from benchmarks.scenes_house import Photographer

NAMES = ("freeze", "freeze-empty", "freeze-job", "snapshot", "snapshot-exporting", "snapshots")
PAIRS, RATERS = 90, 3


def play(camera: Photographer, dan: User) -> None:
    """Three made-up raters judge; looking over and freezing are the real ones, the running jobs stand still for their picture."""
    from annotation import campaigns

    made = _judged(dan)
    page = camera.of(dan)
    here = f"/campaigns/{made.public_id}/freeze/"
    page.goto(f"{here}?min_judgements=2&drop_near_identical=on")
    camera.take("freeze", page)
    page.goto(f"{here}?min_judgements=6&min_margin=0.9")
    page.locator("form#freeze").get_by_role("button").click()
    camera.take("freeze-empty", page)
    with camera.where(ROUNDS_FREEZE_AT_ONCE="10"):
        _by_a_job(camera, dan, made)
    campaigns.close(campaign=made, actor=dan)
    page.goto(f"{here}?min_judgements=2&drop_near_identical=on")
    page.get_by_role("button", name="Freeze what was looked over").click()
    page.wait_for_url("**/snapshots/*/")
    camera.take("snapshot", page)
    _exported(camera, dan, page)
    page.goto("/snapshots/")
    camera.take("snapshots", page)


def _judged(dan: User) -> Campaign:
    """Clear and close calls, ties, cases nobody could judge, a flag of harm, and some that are still to be judged."""
    from accounts.models import Role
    from annotation import judgements
    from tests.annotation import build
    from tests.cast import person

    draw = random.Random(2)
    people = [person(f"reader-{bird}", Role.ANNOTATOR) for bird in ("finch", "robin", "swift")]
    made = build.campaign(people, pairs=PAIRS, overlap=RATERS, name="Discharge letters, second round")
    better = {pair: draw.random() < 0.6 for pair in made.pairs.values_list("pk", flat=True)}
    for number in range(RATERS * PAIRS - 20):
        held = build.lease(made, people[number % RATERS])
        said: dict[str, Any] = {"active_ms": draw.randint(60_000, 180_000)}
        first = better[held.pair_id] if draw.random() < 0.8 else not better[held.pair_id]
        verdict = f"{'first' if first else 'second'}_{draw.choice(('much', 'slightly'))}"
        if (chance := draw.random()) < 0.1:
            verdict = "both_acceptable"
        elif chance < 0.14:
            verdict, said["cannot_reason"] = "cannot_judge", "needs_information"
        elif chance < 0.16:
            said |= {"harm_first": "major", "harm_first_type": "omission", "rationale": "It leaves out the anticoagulant."}
        judgements.submit(assignment=held, verdict=verdict, key=uuid4(), **said)
    return made


def _by_a_job(camera: Photographer, dan: User, made: Campaign) -> None:
    from annotation import freeze_jobs
    from jobs import attempts, claims, pulses, submissions

    page = camera.of(dan)
    page.goto(f"/campaigns/{made.public_id}/freeze/")
    page.get_by_role("button", name="Freeze it").click()
    page.locator("#watched").wait_for()
    job = freeze_jobs.of_campaign(made)
    assert job is not None
    pulses.beat("worker:io", [job.queue], slots=[1])
    pulses.beat(pulses.SWEEPER, [])
    held = claims.claim(job_id=job.pk, worker=attempts.worker_name())
    assert held is not None
    claims.heartbeat(held, phase="reading answers", done=104, total=250)
    page.reload()
    camera.take("freeze-job", page)
    submissions.cancel(job=job, actor=dan)
    claims.acknowledge_cancel(held)


def _exported(camera: Photographer, dan: User, page: Any) -> None:
    """One form is taken, of another a job has made half, a third waits its turn."""
    from accounts.models import Role
    from annotation import export_files, export_jobs, export_rights
    from annotation.models import Snapshot
    from jobs import attempts, claims
    from tests.cast import person

    admin = person("admin-of-exports", Role.ADMIN)
    export_rights.grant(user=dan, level="untagged", actor=admin)
    frozen = Snapshot.objects.latest("pk")
    for form in ("dataset", "csv"):
        export_files.folder(snapshot=frozen, form=form, level="untagged")
    running, _ = (export_jobs.start(snapshot=frozen, form=form, level="untagged", actor=dan) for form in ("argilla", "label-studio"))
    held = claims.claim(job_id=running.pk, worker=attempts.worker_name())
    assert held is not None
    claims.heartbeat(held, phase="writing", done=52, total=90)
    page.reload()
    page.locator("#export").scroll_into_view_if_needed()
    camera.take("snapshot-exporting", page)
