"""Merging, as a trainer does it, in Chromium on the real worker and engine: tick, look ahead, preview, merge, see what happened where."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from annotation import samples
from modelhub import imports
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
    assert [line for line in page.complaints if not line.startswith(("htmx:afterRequest", "htmx:sendAbort"))] == []
    assert page.strangers == []
