"""The wizard and the quarantine in real Chromium, in every state: a file brought in, a broken one, a wrong one, a job, its cancel."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from annotation.models import Import
from tests.annotation.build import jsonl, row
from tests.annotation.test_queue_pages_browser import looked_at

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

Open = Callable[..., Any]


def test_a_file_comes_in_by_the_wizard_and_what_it_held_back_is_decided(
    open_page: Open, dan: User, sam: User, tmp_path: Path, settings: Any
) -> None:
    settings.DATA_DIR = tmp_path / "data"
    settings.ROUNDS_IMPORT_FOLDER = tmp_path / "incoming"
    settings.ROUNDS_IMPORT_FOLDER.mkdir()
    page = open_page(dan, viewport={"width": 1366, "height": 768})

    def choose(name: str, content: bytes) -> None:
        page.goto("/samples/import/")
        page.get_by_label("File", exact=True).set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})
        page.get_by_role("button", name="Go on").click()

    def bring() -> None:
        page.get_by_label("Source", exact=True).fill("mediflow")
        page.get_by_label("Licence").fill("CC0-1.0")
        page.get_by_role("button", name=re.compile("^Import")).click()

    page.goto("/samples/import/")
    looked_at(page, "import-first")
    rows = [row(n, id=f"m{n}", input=f"Case {n}. " + "Pain eased overnight. " * (n * 3 + 1)) for n in range(1, 40)]
    rows[3]["input"] = "Mrs. Canary, DOB: 01/02/1970, was seen. <script>alert(1)</script>"
    choose("mediflow.jsonl", jsonl(rows).read())
    assert "All 39 rows were looked at" in page.content()
    looked_at(page, "import-seen")
    # Enter in a field looks again and stores nothing, even where all is said.
    page.get_by_label("Source", exact=True).fill("mediflow")
    page.get_by_label("Licence").fill("CC0-1.0")
    page.get_by_label("Licence").press("Enter")
    page.wait_for_load_state()
    assert page.get_by_label("Licence").input_value() == "CC0-1.0"
    assert not Import.objects.filter(state="stored").exists()
    bring()
    assert page.get_by_text("39 of 39 rows stored").is_visible()
    assert page.get_by_text("1 row went into quarantine").is_visible()
    looked_at(page, "import-stored")

    choose("broken.jsonl", jsonl([row(1), row(2, task_type=None)]).read() + b'{"instruction": \n')
    bring()
    assert page.get_by_text("The file was refused").is_visible()
    looked_at(page, "import-refused")
    for name, content in (("empty.jsonl", b""), ("letter.pdf", b"%PDF-1.4 binary")):
        choose(name, content)
        assert page.get_by_text("nothing in it that could be stored").is_visible() or page.get_by_role("alert").is_visible()
    looked_at(page, "import-wrong")

    settings.ROUNDS_IMPORT_AT_ONCE_BYTES = 10
    choose("large.jsonl", jsonl([row(n, id=f"l{n}") for n in range(100, 140)]).read())
    bring()
    assert page.get_by_text("All rows are stored in one moment at the end").is_visible()
    looked_at(page, "import-job")
    page.get_by_role("button", name="Cancel").click()
    assert page.get_by_text("The last try was cancelled").is_visible()
    looked_at(page, "import-cancelled")
    assert Import.objects.filter(state="stored").count() == 1
    page.goto("/samples/?task_type=summarization")
    looked_at(page, "samples")

    page = open_page(sam, viewport={"width": 1366, "height": 768})
    page.goto("/quarantine/")
    looked_at(page, "quarantine")
    # Enter on a box decides nothing.
    page.get_by_role("checkbox").press("Space")
    page.get_by_role("checkbox").press("Enter")
    page.get_by_text("Choose the samples first").wait_for()
    page.get_by_role("checkbox").press("Space")
    page.get_by_role("button", name="Redact").press("Enter")
    assert page.get_by_text("1 sample redacted and released").is_visible()
    looked_at(page, "quarantine-empty")
