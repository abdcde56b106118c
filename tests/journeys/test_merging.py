"""Merging, as a trainer does it, in Chromium on the real worker and engine: tick, look ahead, preview, merge, see what happened where;
then the way back, an expert's change as an adapter, and that adapter merged into the base."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from annotation import samples
from modelhub import artifacts, imports
from modelhub.models import Kind, ModelVersion
from tests.engine import tiny
from tests.journeys import toys
from tests.workers import Processes
from training.models import MergePreview, MergeRecipe

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(600)]


def family(root: Path) -> None:
    """A base of two layers and two experts: the base with a little noise in every tensor, each with its own."""
    import torch
    from safetensors.torch import load_file, save_file

    tiny.untrained(root / "base")
    for seed, name in enumerate(("clinical", "pubmed"), start=1):
        shutil.copytree(root / "base", root / name)
        noise = torch.Generator().manual_seed(seed)
        base = load_file(root / "base" / "model.safetensors")
        moved = {key: value + 0.02 * torch.randn(value.shape, generator=noise).to(value.dtype) for key, value in base.items()}
        save_file(moved, root / name / "model.safetensors", metadata={"format": "pt"})


def adapted(page: Any, models: Path) -> None:
    """Extract, by keyboard, and merge into the base: what is lost on the way is what the extraction said."""
    from safetensors.torch import load_file

    page.goto(f"/models/{ModelVersion.objects.get(name='ward-clinical').public_id}/")
    page.get_by_role("link", name="Extract an adapter …").press("Enter")
    rank = page.get_by_label("Rank")
    rank.fill("4")
    page.get_by_text("4 in each of 8 matrices").wait_for()
    page.get_by_label("Name").fill("ward-lora")
    page.get_by_label("Name").press("Enter")
    page.get_by_role("heading", name="How near it comes").wait_for(timeout=120_000)
    lora = ModelVersion.objects.get(name="ward-lora")
    assert [(edge.role, edge.parent.name) for edge in lora.parent_edges.order_by("pk") if edge.parent] == [
        ("base", "ward-base"), ("expert", "ward-clinical"),
    ]  # fmt: skip
    page.get_by_role("link", name="The model it made").click()
    page.get_by_role("link", name="Merge it into its base …").click()
    page.get_by_label("Name").fill("ward-whole")
    page.get_by_role("button", name="Merge", exact=True).click()
    page.get_by_text("What happened in which layer").wait_for(timeout=120_000)
    whole = artifacts.folder(ModelVersion.objects.get(name="ward-whole").artifact)
    base, clinical, made = (load_file(folder / "model.safetensors") for folder in (models / "base", models / "clinical", whole))
    left, change = (sum(float((clinical[name] - other[name]).double().square().sum()) for name in base) for other in (made, base))
    assert lora.metrics["error"] == pytest.approx((left / change) ** 0.5, rel=1e-3)
    # Noise has no direction that matters more than others: rank 4 of 32 holds little of it, and the page must not flatter it.
    assert 0.5 < lora.metrics["error_of_matrices"] < lora.metrics["error"] < 1


def test_experts_are_merged_previewed_and_looked_into(
    processes: Processes, open_page: Callable[..., Any], dan: User, tmp_path: Path
) -> None:
    family(tmp_path / "models")
    for name, kind in (("base", Kind.BASE), ("clinical", Kind.EXPERT), ("pubmed", Kind.EXPERT)):
        imports.import_folder(folder=tmp_path / "models" / name, name=f"ward-{name}", kind=kind, licence="MIT", actor=dan)
    samples.import_jsonl(file=toys.corpus(60), source="toy", licence="CC0-1.0", actor=dan)
    processes.start_worker(slots=1)
    processes.start_sweeper()
    page = open_page(dan, viewport={"width": 1366, "height": 768})
    page.goto("/merge/?method=breadcrumbs_ties")
    for name in ("ward-clinical", "ward-pubmed"):
        page.get_by_role("checkbox", name=re.compile(name)).check()
    page.get_by_text("Nothing stands in its way.").wait_for(timeout=60_000)
    page.get_by_role("button", name="Preview on 20 prompts").click()
    page.wait_for_url("**/merge/previews/*/")
    page.get_by_role("link", name="Back to the lab with this recipe").wait_for(timeout=120_000)
    preview = MergePreview.objects.get()
    assert preview.answers.count() == 20
    assert ModelVersion.objects.count() == 3
    page.get_by_role("link", name="Back to the lab with this recipe").click()
    page.get_by_label("Name of the merge").fill("ward-merged")
    page.get_by_role("button", name="Merge", exact=True).click()
    page.wait_for_url("**/merge/recipes/*/")
    # The page notices by itself that the merge is there, and draws what it did.
    page.get_by_text("What happened in which layer").wait_for(timeout=120_000)
    assert page.locator("#report .heat-cell").count() > 10
    row = MergeRecipe.objects.get()
    made = ModelVersion.objects.get(name="ward-merged")
    assert (row.runs.get().output, made.licence) == (made, "MIT")
    assert sorted(made.parent_edges.values_list("role", flat=True)) == ["base", "expert:ward-clinical", "expert:ward-pubmed"]
    adapted(page, tmp_path / "models")
    assert [line for line in page.complaints if not line.startswith(("htmx:afterRequest", "htmx:sendAbort"))] == []
    assert page.strangers == []
