"""The states of the house that benchmarks/gallery.py photographs (benchmarks/shots.py), in the order in which they come about."""

from __future__ import annotations

import traceback

from benchmarks import (
    scenes_campaigns,
    scenes_evidence,
    scenes_freezing,
    scenes_importing,
    scenes_joining,
    scenes_leading,
    scenes_looping,
    scenes_merging,
    scenes_promoting,
    scenes_rating,
    scenes_studies,
    scenes_suites,
    scenes_synthesis,
    scenes_training,
)
from benchmarks.scenes_house import House, Photographer

SCENES = (
    scenes_joining.nothing_yet, scenes_joining.joining, scenes_campaigns.planning, scenes_rating.qualifying, scenes_rating.comparing,
    scenes_rating.queueing, scenes_leading.settling, scenes_campaigns.following, scenes_campaigns.looking_back,
)  # fmt: skip
# Pictures of training and of models need none of the rest.
APART = {
    "suites": scenes_suites, "importing": scenes_importing, "freezing": scenes_freezing, "promoting": scenes_promoting,
    "training": scenes_training, "merging": scenes_merging, "synthesis": scenes_synthesis, "evidence": scenes_evidence,
    "looping": scenes_looping, "studies": scenes_studies,
}  # fmt: skip


def play(camera: Photographer) -> None:
    """Bring the house from empty to finished and photograph it on the way. A subject of its own that fails is told of, and costs no other
    its pictures; SystemExit names them in the end."""
    house = House(camera)
    apart = {name for module in APART.values() for name in module.NAMES}
    if not camera.names or camera.names - apart:
        for scene in SCENES:
            print(scene.__name__, flush=True)
            scene(house)
    failed = []
    for subject, module in APART.items():
        if not camera.names or camera.names & set(module.NAMES):
            print(subject, flush=True)
            try:
                module.play(camera, house.dan)
            except Exception:
                traceback.print_exc()
                failed.append(subject)
    if failed:
        raise SystemExit(f"Not photographed to the end: {', '.join(failed)}.")
