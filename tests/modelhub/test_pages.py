"""The hub's pages in a real browser: examined by axe in light and dark and on a phone; a model is brought in without JavaScript."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from jobs.models import Job
from modelhub import aliases, artifacts
from tests.looks import faults
from tests.modelhub import family, real

pytestmark = pytest.mark.browser
Make = Callable[..., Path]


@pytest.fixture
def furnished(model_folder: Make, dan: User, data_dir: Path) -> None:
    made = family.build(model_folder, dan)
    aliases.move(name="champion", to=made["dpo"], actor=dan, expected=None, reason="first")
    artifacts.blob({entry["name"]: entry["sha256"] for entry in made["sft"].artifact.manifest}["model.safetensors"]).unlink()
    real.phi(data_dir / "incoming-models" / "Phi-3.5-mini-instruct")
    real.lora(data_dir / "incoming-models" / "triage-lora")
    (real.phi(data_dir / "incoming-models" / "old-checkpoint") / "pytorch_model.bin").write_bytes(b"x")


def test_axe_finds_nothing_serious(open_page: Any, dan: User, furnished: None) -> None:
    page = open_page(dan)
    wrong = []
    for number, address in enumerate(("/models/", "/models/?state=archived", "/models/import/")):
        page.goto(address)
        wrong += [f"{address}: {fault}" for fault in faults(page, f"models-{number}")]
    assert not wrong, "\n".join(wrong)


def test_a_model_is_brought_in_without_javascript(open_page: Any, dan: User, furnished: None) -> None:
    page = open_page(dan, java_script_enabled=False)
    page.goto("/models/")
    page.get_by_role("link", name="Bring a model in").click()
    page.get_by_label("Folder", exact=True).select_option("Phi-3.5-mini-instruct")
    page.get_by_label("Name", exact=True).fill("phi")
    page.get_by_role("button", name="Bring it in").click()
    page.wait_for_url("**/jobs/*/")
    assert page.get_by_role("heading", name="Import phi").is_visible()
    assert Job.objects.get().spec["folder"] == "Phi-3.5-mini-instruct"
