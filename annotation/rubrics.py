"""Rubrics: what is asked about a pair, as versioned data. Editing makes the next version; the templates that come with Rounds are files."""

import json
from pathlib import Path
from typing import Any

from annotation import records
from annotation.models import Rubric

FOLDER = Path(__file__).parent / "rubric_files"
DEFAULT = "T0"


def template(code: str) -> Rubric:
    """The newest version of a template that comes with Rounds, written to the database when it is first asked for."""
    newest = Rubric.objects.filter(code=code).order_by("-version").first()
    if newest is not None:
        return newest
    read: dict[str, Any] = json.loads((FOLDER / f"{code}.json").read_text(encoding="utf-8"))
    made, _ = Rubric.objects.get_or_create(
        code=read["code"],
        version=1,
        defaults={"name": read["name"], "content": read["content"], "digest": records.digest_of(read["content"])},
    )
    return made


def default() -> Rubric:
    return template(DEFAULT)
