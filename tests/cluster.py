"""Names the services the tests use, before Django reads its settings."""

import os

os.environ.setdefault("DATABASE_URL", "postgresql://root@127.0.0.1:5432/rounds")
os.environ.setdefault("CELERY_BROKER_URL", "redis://127.0.0.1:6379/9")
