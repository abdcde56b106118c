"""Names the services the tests use, before Django reads its settings: a fast cluster of their own, unless the environment names some.

The last test process to end stops it; a crash leaves nothing that the next run would not clean up.
"""

import os
from pathlib import Path

from config import embedded

DATA = Path(__file__).resolve().parent.parent / "data" / "tests"

# Test processes inherit what the first one named: this tells them that it was ours to name.
OURS = "ROUNDS_TESTS_OWN_QUEUE"
OUR_CLUSTER = "ROUNDS_TESTS_OWN_CLUSTER"
for given, ours in (("CELERY_BROKER_URL", OURS), ("DATABASE_URL", OUR_CLUSTER)):
    if given not in os.environ:
        os.environ[ours] = "yes"
embedded.provide(data_dir=DATA, throwaway=True)
# Side by side they share one Redis, and each rings in a database of its own, as each has its own PostgreSQL database.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and OURS in os.environ:
    os.environ["CELERY_BROKER_URL"] += f"?virtual_host={int(worker.removeprefix('gw')) + 1}"
