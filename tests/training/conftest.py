"""A data folder of this test's own."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.looping import world  # noqa: F401 (fixture)


@pytest.fixture(autouse=True)
def data_dir(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    return tmp_path / "data"
