"""The house as it runs: web server, worker and sweeper as processes of their own, over one database and one data folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers import Processes


@pytest.fixture
def processes(transactional_db: None, settings: Any, tmp_path: Path) -> Iterator[Processes]:
    settings.DATA_DIR = tmp_path
    children = Processes(tmp_path)
    yield children
    children.stop_all()
