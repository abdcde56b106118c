"""A file coming in, for benchmarks/gallery.py: from the empty wizard to the report; and what the privacy scan held back, decided."""

from __future__ import annotations

import csv
import io
import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accounts.models import User
    from benchmarks.scenes_house import Photographer

NAMES = (
    "import-empty", "import-mapping", "import-unknown", "import-no-licence", "import-ready", "import-done", "import-again",
    "import-faults", "import-refused", "import-reading", "import-cancelled", "imports", "samples-in", "quarantine-empty", "quarantine",
    "quarantine-one", "quarantine-decided", "quarantine-none",
)  # fmt: skip
# The columns of a house's own spreadsheet, for MediFlow's.
COLUMNS = {"instruction": "question", "input": "note", "output": "answer", "task_type": "kind_of_task", "input_data": "document"}
ROWS, LARGE_ROWS = 140, 2_400
# Invented people; rules that find them are named in annotation/privacy.py.
NAMED = (
    "Patient name: Edda Larkspur, seen on 3 March 2024. Mrs. Larkspur reports a dry cough since the new tablet, worse at night.",
    "Mr. Quill called from 5 Elm Street; his telephone is +1 312 867 5309. Blood pressure 148/92 mmHg at home, twice.",
    "MRN: 48213377. Wound dry, stitches out on day ten. Copy to j.fenwick@lakeside-clinic.net.",
)


def play(camera: Photographer, dan: User) -> None:
    """Sent by the browser; the jobs are the real ones, but for one whose progress is made up so that it stands still."""
    from accounts.models import Role
    from tests.cast import person

    sam = person("steward-of-imports", Role.STEWARD)
    keeper = camera.of(sam)
    keeper.goto("/quarantine/")
    camera.take("quarantine-empty", keeper)
    page = camera.of(dan)
    page.goto("/samples/import/")
    camera.take("import-empty", page)
    _mapped(camera, page)
    _faulty(camera, page)
    _large(camera, page)
    page.goto("/samples/import/")
    camera.take("imports", page)
    page.goto("/samples/")
    camera.take("samples-in", page)
    _decided(camera, keeper)


def _rows(count: int, *, seed: int = 3) -> list[dict[str, Any]]:
    """MediFlow rows: the hand-written samples, each told of another patient where more are asked for than there are."""
    from benchmarks.scenes_house import hand_written

    draw, written = random.Random(seed), [row["sample"] for row in hand_written().values()]
    made = []
    for number in range(count):
        row = {name: value for name, value in written[number % len(written)].items() if name in (*COLUMNS, "output_format")}
        lines = row["input"].split(". ")
        # As notes are: some are short, a few are long.
        kept = lines[: draw.randint(2, len(lines))] if number >= len(written) else lines
        made.append({"id": f"case-{number + 1:04d}", **row, "input": f"Case {number + 1}. " + ". ".join(kept)})
    return made


def _sheet(rows: list[dict[str, Any]]) -> bytes:
    """The rows as a spreadsheet whose columns have names of their own."""
    text = io.StringIO(newline="")
    written = csv.writer(text)
    written.writerow(["case", *COLUMNS.values()])
    written.writerows([row["id"], *(row[name] for name in COLUMNS)] for row in rows)
    return text.getvalue().encode()


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _send(page: Any, name: str, content: bytes) -> None:
    page.goto("/samples/import/")
    page.get_by_label("File", exact=True).set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/samples/imports/*/")


def _mapped(camera: Photographer, page: Any) -> None:
    """A spreadsheet whose columns are called otherwise is mapped, tried, stored, and sent once more."""
    rows = _rows(ROWS)
    for place, told in zip((5, 17, 88), NAMED, strict=True):
        rows[place]["input"] = told
    content = _sheet(rows)
    _send(page, "discharge-letters.csv", content)
    camera.take("import-unknown", page)
    for name, column in {"id": "case", **COLUMNS, "output_format": "=plain_text"}.items():
        page.locator(f"[name=map-{name}]").fill(column)
    page.get_by_role("button", name="Preview again").click()
    page.get_by_text("0 problems").wait_for()
    camera.take("import-mapping", page)
    page.get_by_label("Source", exact=True).fill("Discharge letters")
    page.locator("form.stack").evaluate("form => form.noValidate = true")
    page.get_by_role("button", name="Import", exact=True).click()
    page.locator(".error").first.wait_for()
    camera.take("import-no-licence", page)
    page.get_by_label("Licence").fill("CC-BY-4.0")
    page.get_by_role("button", name="Dry run").click()
    page.get_by_text("The dry run found nothing in the way").wait_for()
    camera.take("import-ready", page)
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("rows stored").wait_for()
    camera.take("import-done", page)
    address = page.url
    _send(page, "discharge-letters-copy.csv", content)
    _as_before(page, address)
    camera.take("import-again", page)


def _as_before(page: Any, address: str) -> None:
    """The same mapping again, as the file's twin was read."""
    from annotation.models import Import

    first = Import.objects.get(public_id=address.rstrip("/").rsplit("/", 1)[1])
    page.locator("[name=shape]").select_option(first.shape)
    page.get_by_role("button", name="Preview again").click()
    page.locator("[name=map-instruction]").wait_for()
    for name, column in first.mapping.items():
        page.locator(f"[name=map-{name}]").fill(column)
    page.get_by_label("Source", exact=True).fill(first.target)
    page.get_by_label("Licence").fill(first.licence)
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("Already imported as").wait_for()


def _faulty(camera: Photographer, page: Any) -> None:
    """Rows that lack a column, a line cut in half: seen at once, and refused with a report."""
    rows = _rows(30, seed=5)
    for place in (3, 11, 12, 26):
        del rows[place]["task_type"]
    rows[8]["output"] = ""
    rows[20]["id"] = rows[19]["id"]
    _send(page, "clinic-notes.jsonl", _lines(rows) + b'{"id": "case-0031", "instruction": "Summarise the\n')
    camera.take("import-faults", page)
    page.get_by_label("Source", exact=True).fill("Clinic notes")
    page.get_by_label("Licence").fill("CC0-1.0")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("The file was refused").wait_for()
    camera.take("import-refused", page)


def _large(camera: Photographer, page: Any) -> None:
    """More than is stored while somebody waits: a job, half way, and cancelled."""
    from annotation.models import Import
    from jobs import attempts, claims, pulses

    _send(page, "ward-round-archive.jsonl", _lines(_rows(LARGE_ROWS, seed=8)))
    page.get_by_label("Source", exact=True).fill("Ward rounds")
    page.get_by_label("Licence").fill("CC-BY-4.0")
    page.get_by_role("button", name="Import as a job").click()
    made = Import.objects.select_related("job").get(label="ward-round-archive.jsonl")
    assert made.job is not None
    pulses.beat("worker:io", [made.job.queue], slots=[1])
    pulses.beat(pulses.SWEEPER, [])
    held = claims.claim(job_id=made.job.pk, worker=attempts.worker_name())
    assert held is not None
    claims.heartbeat(held, phase="reading", done=1_130_000, total=made.bytes)
    Import.objects.filter(pk=made.pk).update(counts={"pace": {"rows": 1_100, "rows_per_s": 5_790, "seconds_left": 1}})
    page.reload()
    camera.take("import-reading", page)
    page.get_by_role("button", name="Cancel").click()
    claims.acknowledge_cancel(held)
    page.reload()
    page.get_by_text("The last try was cancelled").wait_for()
    camera.take("import-cancelled", page)


def _decided(camera: Photographer, page: Any) -> None:
    """Three rows wait; one is read whole, redacted, and the others are released and withdrawn."""
    page.goto("/quarantine/")
    camera.take("quarantine", page)
    boxes = page.get_by_role("checkbox")
    boxes.first.check()
    page.get_by_text("All of it").first.click()
    camera.take("quarantine-one", page)
    page.get_by_role("button", name="Redact").click()
    page.get_by_text("redacted and released").wait_for()
    camera.take("quarantine-decided", page)
    page.goto("/quarantine/?rule=ssn")
    camera.take("quarantine-none", page)
