"""Names the services the tests use, before Django reads its settings: a fast cluster of their own, unless the environment names some.

The last test process to end stops it; a crash leaves nothing that the next run would not clean up.
"""

import os
from pathlib import Path

from config import embedded

DATA = Path(__file__).resolve().parent.parent / "data" / "tests"

embedded.provide(data_dir=DATA, throwaway=True)
# Test processes side by side share one Redis; each has keys of its own there, as each has its own PostgreSQL database.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["ROUNDS_QUEUE_PREFIX"] = worker
