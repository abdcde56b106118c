"""The drawing as a file of its own: well-formed, complete in itself, the same boxes as on the page."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as XML

import pytest
from django.test import Client

from accounts.models import User
from modelhub.models import ModelVersion
from tests.training.test_lineage import build_world, url

pytestmark = pytest.mark.django_db
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def world(dan: User, tmp_path: Path) -> dict[str, Any]:
    return build_world(dan, tmp_path)


def test_it_stands_alone(world: dict[str, Any], as_dan: Client) -> None:
    response = as_dan.get(url("model", world["dpo"].public_id, "drawing.svg"))
    assert response["Content-Type"] == "image/svg+xml"
    assert response["Content-Disposition"].endswith('-up.svg"')
    assert response["Content-Security-Policy"] == "sandbox"
    drawn = XML.fromstring(response.content)
    assert drawn.tag == f"{SVG}svg"
    assert not list(drawn.iter(f"{SVG}a"))
    assert all("style" not in each.attrib and not each.attrib.get("href") for each in drawn.iter())
    words = [text.text for text in drawn.iter(f"{SVG}text")]
    page = as_dan.get(url("model", world["dpo"].public_id)).content.decode()
    assert len(words) == 2 * page.count('id="box-')
    assert "toy-dpo-1" in words
    # Everything drawn lies on the sheet.
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    for box in drawn.iter(f"{SVG}rect"):
        assert float(box.attrib["x"]) + float(box.attrib["width"]) <= width
        assert float(box.attrib["y"]) + float(box.attrib["height"]) <= height


def test_names_are_text(world: dict[str, Any], as_dan: Client) -> None:
    ModelVersion.objects.filter(pk=world["sft"].pk).update(name="<a>&b")
    drawn = XML.fromstring(as_dan.get(url("model", world["dpo"].public_id, "drawing.svg")).content)
    assert "<a>&b" in [text.text for text in drawn.iter(f"{SVG}text")]
