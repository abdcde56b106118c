"""The unattended loop for benchmarks/gallery.py: a policy with what it waits for, a round under way, a proposal, and the list of them.

The engine is a pretended one, as in the tests: what is photographed is what the loop says, not what a model learnt.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accounts.models import User
    from benchmarks.scenes_house import Photographer

NAMES = ("loop", "round-working", "proposal", "proposals")


def play(camera: Photographer, dan: User) -> None:
    """One campaign's loop has proposed; another's round is being trained."""
    from django.conf import settings

    from modelhub.models import ModelVersion
    from tests.training import build, looping
    from training import loop_rounds
    from training.models import LoopRound

    # The evidence's study has made one of the name, where it was photographed before.
    start = ModelVersion.objects.filter(name="ward-sft").first() or build.version(Path(settings.DATA_DIR) / "made", "ward-sft")
    asked: dict[str, Any] = {"policy": start, "actor": dan}
    letters = looping.judged(name="Chest pain letters")
    one = looping.proposed(looping.policy(letters, **asked))
    copy = looping.judged(name="Discharge summaries", batches=list(_batches()))
    second = looping.policy(copy, **asked)
    loop_rounds.begin(loop=second)
    loop_rounds.look()

    page = camera.of(dan)
    page.goto(f"/campaigns/{letters.public_id}/loop/")
    camera.take("loop", page)
    page.goto(f"/proposals/{LoopRound.objects.get(loop=second).public_id}/")
    camera.take("round-working", page)
    page.goto(f"/proposals/{one.public_id}/")
    camera.take("proposal", page)
    page.goto("/proposals/")
    camera.take("proposals", page)


def _batches() -> Any:
    from annotation.models import GenerationBatch

    return GenerationBatch.objects.filter(system__in=("north", "south"))
