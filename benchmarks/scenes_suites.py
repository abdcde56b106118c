"""The mini-suite for benchmarks/gallery.py: models asked and not, one under way, and a family's table beside the published rows.

The answers are made up: what a real family got is in docs/family.md.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accounts.models import User
    from benchmarks.scenes_house import Photographer
    from modelhub.models import ModelVersion
    from training.suite.results import SuiteResult

NAMES = ("suites-empty", "suites", "suite-comparison", "suite-lacking")
# How often each gets a question right; of one task the last has unlearnt something.
RIGHT = {"clinic-base": 0.22, "clinic-clinical": 0.41, "clinic-pubmed": 0.36, "clinic-merged": 0.52, "clinic-sft": 0.66,
         "clinic-dpo": 0.69}  # fmt: skip
UNLEARNT = {("clinic-dpo", "MEDEC"): 0.25}


def play(camera: Photographer, dan: User) -> None:
    """A base, two experts, their merge, what was tuned on it; the newest is being asked when the list is photographed."""
    from django.conf import settings

    from jobs import attempts, claims
    from tests.training import build
    from training import suiteruns

    page = camera.of(dan)
    page.goto("/suites/")
    camera.take("suites-empty", page)
    build.everything_runs()
    family = _family()
    for name in list(RIGHT)[:-1]:
        build.finish_suite(suiteruns.start(version=family[name], actor=dan), told=_told(name))
    last = family["clinic-dpo"]
    page.goto(f"/suites/compare/?model={last.public_id}")
    camera.take("suite-lacking", page)
    build.finish_suite(suiteruns.start(version=last, actor=dan), told=_told("clinic-dpo"))
    newer = build.version(
        Path(settings.DATA_DIR) / "clinic", "clinic-dpo-2", last.kind, toy=True, parents=[(family["clinic-sft"], "policy")]
    )
    held = claims.claim(job_id=suiteruns.start(version=newer, actor=dan).job.pk, worker=attempts.worker_name())
    assert held is not None
    claims.heartbeat(held, phase="asking", done=210, total=480)
    page.goto("/suites/")
    camera.take("suites", page)
    page.goto(f"/suites/compare/?model={last.public_id}")
    camera.take("suite-comparison", page)


def _family() -> dict[str, ModelVersion]:
    from django.conf import settings

    from modelhub.models import Kind
    from tests.training import build

    folder, made = Path(settings.DATA_DIR) / "clinic", {}
    parents = {
        "base": (Kind.BASE, {}), "clinical": (Kind.EXPERT, {"base": "policy"}), "pubmed": (Kind.EXPERT, {"base": "policy"}),
        "merged": (Kind.MERGED, {"clinical": "expert:clinical", "pubmed": "expert:pubmed", "base": "base"}),
        "sft": (Kind.SFT, {"merged": "policy"}), "dpo": (Kind.DPO, {"sft": "policy"}),
    }  # fmt: skip
    for name, (kind, of) in parents.items():
        made[name] = build.version(folder, f"clinic-{name}", kind, toy=True, parents=[(made[parent], role) for parent, role in of.items()])
    return {version.name: version for version in made.values()}


def _told(name: str) -> SuiteResult:
    """A result whose right answers lie where chance put them; a question that is hard is so for everybody."""
    from tests.training import build

    told = build.suite_result(tokens_per_s=2345.6 + 40 * len(name), p50_latency_ms=11.0 + len(name) / 10)
    tasks = {}
    for task, asked in told.tasks.items():
        hard = random.Random(task)
        slip = random.Random(f"{name} {task}")
        share = UNLEARNT.get((name, task), RIGHT[name] + slip.uniform(-0.08, 0.08))
        items = [float(0.7 * hard.random() + 0.3 * slip.random() < share) for _ in range(asked.n)]
        tasks[task] = replace(asked, items=items, score=sum(items) / asked.n)
    return replace(told, tasks=tasks)
