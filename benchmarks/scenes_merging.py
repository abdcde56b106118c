"""Real merges for benchmarks/gallery.py: a tiny base and three experts are trained, merged in the lab, and photographed from all sides."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from benchmarks.scenes_training import attempt, beat

if TYPE_CHECKING:
    from accounts.models import User
    from benchmarks.scenes_house import Photographer

NAMES = (
    "merge-lab", "merge-recipe", "merge-preview", "search-merge", "models", "model", "card", "extract", "extracted", "lineage",
    "model-import",
)  # fmt: skip
BASE = {"steps": 240, "batch_size": 8, "block": 64, "learning_rate": 3e-3, "hidden_size": 64, "layers": 4, "intermediate_size": 128}
EXPERT = {"steps": 80, "batch_size": 8, "learning_rate": 2e-3}
DOMAINS = ("pubmed", "clinical", "medcode")


def play(camera: Photographer, dan: User) -> None:
    """The lab with its checks, the recipe with what came of it, the hub, a model, its card, its adapter, its lineage."""
    from jobs.models import Job

    over = threading.Event()
    heart = threading.Thread(target=beat, args=(over,), daemon=True)
    heart.start()
    try:
        _family(dan)
        _samples(dan)
        page = camera.of(dan)
        experts = "".join(f"&expert=ward-{domain}" for domain in DOMAINS)
        page.goto(f"/merge/?base=ward-base{experts}&method=breadcrumbs_ties")
        page.get_by_label("Name of the merge").fill("ward-merged")
        page.locator("#preflight").get_by_text("Nothing stands in its way.").wait_for()
        page.wait_for_timeout(1500)
        camera.take("merge-lab", page)
        page.get_by_role("button", name="Preview on 20 prompts").click()
        page.wait_for_url("**/merge/previews/*/")
        attempt(Job.objects.latest("pk"))
        page.reload()
        camera.take("merge-preview", page)
        page.get_by_role("link", name="Back to the lab with this recipe").click()
        page.get_by_label("Name of the merge").fill("ward-merged")
        page.get_by_role("button", name="Merge", exact=True).click()
        page.wait_for_url("**/merge/recipes/*/")
        attempt(Job.objects.latest("pk"))
        page.reload()
        camera.take("merge-recipe", page)
        page.goto("/runs/search/")
        page.locator("#preflight").get_by_text("Expect about").wait_for()
        camera.take("search-merge", page)
        _taken_apart(camera, page)
    finally:
        over.set()
        heart.join()


def _taken_apart(camera: Photographer, page: Any) -> None:
    """An expert's change as an adapter, and everything that is known of the merge."""
    from jobs.models import Job
    from modelhub.models import ModelVersion

    page.goto(f"/models/{ModelVersion.objects.get(name='ward-clinical').public_id}/extract/")
    page.get_by_label("Rank").fill("8")
    page.locator("#preflight").get_by_text("8 in each of").wait_for()
    camera.take("extract", page)
    page.get_by_role("button", name="Extract").click()
    page.wait_for_url("**/runs/*/")
    attempt(Job.objects.latest("pk"))
    page.reload()
    camera.take("extracted", page)
    for name, address in (
        ("models", "/models/"), ("model", f"/models/{_merged().public_id}/"), ("card", f"/models/{_merged().public_id}/card/"),
        ("lineage", f"/lineage/model/{_merged().public_id}/"), ("model-import", "/models/import/"),
    ):  # fmt: skip
        page.goto(address)
        camera.take(name, page)


def _merged() -> Any:
    from modelhub.models import ModelVersion

    return ModelVersion.objects.get(name="ward-merged")


def _family(dan: User) -> None:
    """A base and an expert a domain, each by the engine's own training."""
    from modelhub.models import Kind
    from training import runs

    made = runs.build(
        kind="build-base", name="ward-base", label="Build ward-base", params=BASE, models={}, seed=1, preset="", actor=dan, waits_for=[],
        publish={"kind": Kind.BASE, "toy": True, "simulated": False, "roles": {}, "corpus": "toy corpus base"},
    )  # fmt: skip
    attempt(made.job)
    for domain in DOMAINS:
        run = runs.build(
            kind="pit", name=f"ward-{domain}", label=f"Train ward-{domain}", params={"domain": domain, **EXPERT}, seed=1, preset="",
            models={"policy": {"job": str(made.job.public_id)}}, actor=dan, waits_for=[],
            publish={"kind": Kind.EXPERT, "toy": True, "simulated": False, "roles": {"policy": "base"}, "corpus": f"toy corpus {domain}"},
        )  # fmt: skip
        attempt(run.job)


def _samples(dan: User) -> None:
    """Some to preview on, where nothing has come in yet."""
    from annotation import samples
    from annotation.models import Sample
    from benchmarks.scenes_house import jsonl
    from training.engine import toytext

    if not Sample.objects.exists():
        rows = toytext.samples(60, 5, with_rejected=True)
        samples.import_jsonl(
            file=jsonl({"id": f"toy-{n}", **row} for n, row in enumerate(rows)), source="Toy texts", licence="Apache-2.0", actor=dan
        )
