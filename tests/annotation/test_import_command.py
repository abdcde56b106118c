"""manage.py import_samples: rows that cannot be stored refuse the file, or are left out, counted and named where that was said."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation import imports
from annotation.models import Import, Sample
from tests.annotation.build import jsonl, row

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    path = tmp_path / "m.jsonl"
    path.write_bytes(jsonl([row(1), row(2, task_type=None), row(3)]).read() + b"{no}\n")
    return path


def said(file: Path, *more: str) -> str:
    out = io.StringIO()
    call_command("import_samples", str(file), "--source", "mediflow", "--licence", "CC0-1.0", *more, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_bad_rows_refuse_the_file_unless_they_are_to_be_left_out(file: Path) -> None:
    with pytest.raises(CommandError, match=r"2 problem\(s\); nothing was stored."):
        said(file)
    assert not Sample.objects.exists()
    assert "2 rows, 2 warnings, 0 for the quarantine, 2 more that would be left out: not stored." in said(
        file, "--skip-bad-rows", "--dry-run"
    )
    assert not Sample.objects.exists()
    told = json.loads(said(file, "--skip-bad-rows", "--json"))
    assert (told["state"], told["stored"], told["bad_rows"], told["problems"]) == ("stored", 2, 2, 0)
    report = imports.report_of(Import.objects.latest("pk"))
    assert report is not None
    assert [line.split(",")[1] for line in report.read_text().splitlines() if ",left out," in line] == ["2", "4"]


def test_it_says_how_many_were_left_out(file: Path) -> None:
    assert "2 rows: 2 stored, 2 more left out, 0 were there already, 2 warnings." in said(file, "--skip-bad-rows")


def test_a_file_that_is_damaged_is_refused_whatever_was_said_of_its_rows(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\xff\xfe\n")
    with pytest.raises(CommandError, match="nothing was stored"):
        said(file, "--skip-bad-rows")
    assert not Sample.objects.exists()
