"""A data folder of this test's own."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.looping import world  # noqa: F401 (fixture)
from training import gates


@pytest.fixture
def few_pairs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """What learned from ten pairs may be promoted: the snapshots of these tests are small."""
    monkeypatch.setattr(gates, "FEWEST_PAIRS", 10)


@pytest.fixture(autouse=True)
def data_dir(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    return tmp_path / "data"
