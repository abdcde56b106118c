"""A study that has ended, for benchmarks/gallery.py: real votes, a decision, and the page of its evidence."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accounts.models import User
    from benchmarks.scenes_house import Photographer

NAMES = ("evidence-unmade", "evidence-making", "evidence")
PROMPTS, VOTES = 165, 150


def play(camera: Photographer, dan: User) -> None:
    """Judged to its verdict through the verbs that pages use, promoted, and taken once. The texts and the three raters are made up."""
    from accounts.models import Role
    from tests.cast import person
    from tests.training import studied
    from training.evidence import pack
    from training.models import Study

    raters = [person(f"rater-{bird}", Role.ANNOTATOR) for bird in ("heron", "kestrel", "wren")]
    with tempfile.TemporaryDirectory(prefix="rounds-models-") as folder:
        evaluation = studied.evaluated(Path(folder), raters, dan, prompts=PROMPTS)
        study = studied.decided(evaluation, raters, dan, fewest=VOTES)
    studied.suites(study, dan)
    studied.promoted(study, dan)
    study = Study.objects.get(pk=study.pk)
    page = camera.of(dan)
    page.goto(f"/studies/{study.public_id}/evidence/")
    camera.take("evidence-unmade", page)
    page.get_by_role("button", name="Make the pack").click()
    page.get_by_text("It is being made").wait_for()
    camera.take("evidence-making", page)
    pack.record(study=study, digest=studied.packed(study, dan).digest, actor=dan, via="page")
    page.goto(f"/studies/{study.public_id}/evidence/")
    camera.take("evidence", page)
