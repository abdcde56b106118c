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
DOMAINS = ("pubmed", "clinical", "medcode")
# What the tiny family's own merge takes of each expert.
NUMBERS = {"weight": 2.0, "density": 0.18, "gamma": 0.001}


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
        page.goto(f"/merge/?{_draft()}")
        page.get_by_label("Name of the merge").fill("ward-merged")
        page.locator("#preflight").get_by_text("Nothing stands in its way.").wait_for()
        page.wait_for_timeout(1500)
        page.evaluate("scrollTo(0, 0)")
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
        page.goto(f"/runs/search/?{_searched()}")
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
    """The tiny family's base and some of its experts, as the house trains them: five minutes of one processor."""
    from modelhub.models import Kind
    from training import runs
    from training.engine import family

    made: dict[str, Any] = {}
    for step in family.plan("demo"):
        domain = step.key.removeprefix("expert-")
        if step.key == "base" or domain in DOMAINS:
            models = {reference: {"job": str(made[key].job.public_id)} for reference, key in step.models.items()}
            run = made[step.key] = runs.build(
                kind=step.kind, name=f"ward-{domain}", label=f"Train ward-{domain}", params=step.params, seed=step.seed, preset="",
                models=models, actor=dan, waits_for=[],
                publish={
                    "kind": Kind.EXPERT if step.models else Kind.BASE, "toy": True, "simulated": False, "roles": {},
                    "corpus": f"toy corpus {domain}",
                },
            )  # fmt: skip
            attempt(run.job)


def _draft() -> str:
    """The lab's address with base, experts and numbers."""
    from urllib.parse import urlencode

    from modelhub.models import ModelVersion

    said: list[tuple[str, Any]] = [("base", "ward-base"), ("method", "breadcrumbs_ties")]
    for domain in DOMAINS:
        expert = ModelVersion.objects.get(name=f"ward-{domain}")
        said += [("expert", expert.name), *((f"{name}-{expert.pk}", value) for name, value in NUMBERS.items())]
    return urlencode(said)


def _searched() -> str:
    """The address of a search over the same models."""
    from urllib.parse import urlencode

    from modelhub.models import ModelVersion

    ids = dict(ModelVersion.objects.values_list("name", "public_id"))
    return urlencode([("base", ids["ward-base"]), *(("experts", ids[f"ward-{domain}"]) for domain in DOMAINS)])


def _samples(dan: User) -> None:
    """Some to preview on, where nothing has come in yet."""
    from annotation import samples
    from annotation.models import Sample
    from benchmarks.scenes_house import jsonl
    from training.engine import toysamples

    if not Sample.objects.exists():
        rows = toysamples.samples(60, 5, with_rejected=True)
        samples.import_jsonl(
            file=jsonl({"id": f"toy-{n}", **row} for n, row in enumerate(rows)), source="Toy texts", licence="Apache-2.0", actor=dan
        )
