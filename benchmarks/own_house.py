"""A house of a benchmark's own: Django over a database and a data folder that are gone afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def standing(name: str, *, services: bool = False) -> Iterator[Path]:
    """Django set up over a fresh database that `name` is part of the name of; gives an empty folder.

    The database lies on DATABASE_URL's server, else on the embedded one. With `services`, for real workers, PostgreSQL and Redis are the
    tests' own and the processes choose where their data lies; without, there is no queue, and the folder is the data folder.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    if services:
        import tests.cluster  # noqa: F401 (names the services)
    else:
        if not os.environ.get("DATABASE_URL"):
            from config import embedded

            embedded.provide()
        os.environ.setdefault("CELERY_BROKER_URL", "redis://none.invalid/0")
    import django
    from django.conf import settings
    from django.db import connection

    django.setup()
    before = str(connection.settings_dict["NAME"])
    connection.settings_dict.setdefault("TEST", {})["NAME"] = f"rounds_{name}_{os.getpid()}"
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f"rounds-{name}-") as folder:
            if not services:
                settings.DATA_DIR = Path(folder)
            yield Path(folder)
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)
