"""The merge lab in a real browser: sliders and numbers together, fields and text together, by keyboard; every page fit to be seen."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from modelhub.models import Kind, ModelVersion
from tests.looks import DARK_PHONE, FIRST
from tests.training import adapted, build
from tests.training.test_merge_recipes import METRICS, previewed
from tests.training.test_pages_browser import examine
from training import adapters, merges
from training.engine import recipes
from training.models import MergeRecipe

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


@pytest.fixture
def models(tmp_path: Path) -> dict[str, ModelVersion]:
    build.everything_runs()
    base = build.version(tmp_path, "ward-base", Kind.BASE)
    experts = [build.version(tmp_path, f"ward-{name}", Kind.EXPERT, toy=True) for name in ("clinical", "pubmed")]
    return {version.name: version for version in (base, *experts)}


def test_dials_text_and_address_move_together(open_page: Callable[..., Any], dan: User, models: dict[str, ModelVersion]) -> None:
    page = open_page(dan, viewport={"width": 1366, "height": 768})
    page.goto("/merge/?base=ward-base")
    for name in ("ward-clinical", "ward-pubmed"):
        page.get_by_role("checkbox", name=re.compile(name)).focus()
        page.keyboard.press("Space")
    text = page.get_by_role("textbox", name="As mergekit's YAML")
    page.get_by_role("group", name="ward-pubmed").get_by_label("weight", exact=True).wait_for()
    # The focus stays on what was pressed, though fields were drawn around it.
    assert page.evaluate("document.activeElement.value") == "ward-pubmed"
    group = page.get_by_role("group", name="ward-clinical")
    # The slider by key, and the number with it; the text and the address follow.
    group.get_by_label("density, slider").focus()
    for _ in range(25):
        page.keyboard.press("ArrowLeft")
    assert group.get_by_label("density", exact=True).input_value() == "0.75"
    page.wait_for_url("**density-*=0.75**")
    assert "density: 0.75" in text.input_value()
    # A number beyond the slider's end moves the end.
    group.get_by_label("weight", exact=True).fill("3.5")
    assert group.get_by_label("weight, slider").input_value() == "3.5"
    page.keyboard.press("Tab")
    page.wait_for_url("**weight-*=3.5**")
    # And back: the text sets the dials.
    text.fill(text.input_value().replace("weight: 3.5", "weight: 0.25"))
    page.keyboard.press("Tab")
    page.wait_for_url("**weight-*=0.25**")
    assert group.get_by_label("weight", exact=True).input_value() == "0.25"
    text.fill(text.input_value().replace("merge_method: ties", "merge_method: magic"))
    page.keyboard.press("Tab")
    page.get_by_text("Line 1: merge_method 'magic' is not built here").wait_for()
    assert "magic" in text.input_value()
    text.fill(text.input_value().replace("magic", "ties"))
    page.keyboard.press("Tab")
    page.get_by_text("Nothing stands in its way.").wait_for()
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert page.get_by_role("group", name="ward-clinical").get_by_label("weight", exact=True).input_value() == "0.25"
    page.get_by_role("button", name="Save the recipe").click()
    page.wait_for_url("**/merge/recipes/*/")
    saved = MergeRecipe.objects.get()
    assert {each["model"]: each["parameters"] for each in saved.params["inputs"]} == {
        "ward-clinical": {"weight": 0.25, "density": 0.75}, "ward-pubmed": {"weight": 1.0, "density": 1.0},
    }  # fmt: skip
    # A newer change ends the request of an older one, which htmx calls an error.
    assert [line for line in page.complaints if not line.startswith(("htmx:afterRequest", "htmx:sendAbort"))] == []


def test_every_page_of_the_lab_is_fit_to_be_seen(open_page: Callable[..., Any], dan: User, models: dict[str, ModelVersion]) -> None:
    build.snapshot()
    page = open_page(dan)
    rows = []
    for density in (0.25, [0.2, 0.8]):
        raw = {"method": "breadcrumbs_ties", "base": "ward-base", "inputs": [
            {"model": name, "parameters": {"weight": 0.5, "density": density}} for name in ("ward-clinical", "ward-pubmed")
        ]}  # fmt: skip
        rows.append(merges.save(recipe=recipes.parse(raw), versions=models, actor=dan))
    run = merges.start(recipe=rows[0], name="ward-merged", actor=dan)
    waiting = merges.preview(recipe=rows[0], beside=models["ward-pubmed"], actor=dan)
    build.finish(run.job, metrics=METRICS)
    done = [previewed(row, dan, "Take 200 mg with water, and come back in a week") for row in rows]
    for name, address in {
        "lab": f"/merge/?recipe={rows[1].public_id}", "lab-wrong": "/merge/?base=ward-base&expert=ward-clinical&density-2=7&method=ties",
        "recipes": "/merge/recipes/", "recipe": f"/merge/recipes/{rows[0].public_id}/", "preview": f"/merge/previews/{done[0].public_id}/",
        "waiting": f"/merge/previews/{waiting.public_id}/",
        "compare": f"/merge/recipes/compare/?recipe={rows[0].public_id}&recipe={rows[1].public_id}",
        "lineage": f"/lineage/recipe/{rows[0].public_id}/",
    }.items():  # fmt: skip
        page.goto(address)
        examine(page, f"merge-{name}", FIRST | DARK_PHONE)


def test_every_page_of_adapters_is_fit_to_be_seen(open_page: Callable[..., Any], dan: User, tmp_path: Path) -> None:
    """One about to be extracted, how near it came, and one about to be merged into its base."""
    build.everything_runs()
    base = adapted.base(tmp_path)
    ward, lora = adapted.expert(tmp_path), adapted.adapter(tmp_path, base)
    run = adapters.extract(expert=ward, base=base, rank=2, name="ward-lora", actor=dan)
    build.finish(run.job, metrics=adapted.EXTRACTED)
    page = open_page(dan)
    for name, address in {
        "extract": f"/models/{ward.public_id}/extract/", "extracted": f"/runs/{run.pk}/", "merge": f"/models/{lora.public_id}/merge/",
    }.items():  # fmt: skip
        page.goto(address)
        examine(page, f"adapter-{name}", FIRST | DARK_PHONE)
