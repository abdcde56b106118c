"""For pytest and mypy: fast password hashes, no demo, a secret that is none."""

import os

# The type checker reads settings and connects to nothing; the tests' plugin has named real services before this line.
os.environ.setdefault("DATABASE_URL", "postgresql:///rounds")
os.environ.setdefault("CELERY_BROKER_URL", "redis://")

from .base import *  # noqa: F403
from .base import ACCOUNT_RATE_LIMITS, env

SECRET_KEY = "only-for-tests"  # noqa: S105
DEBUG = False
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Tests sign in more often than a person may.
ACCOUNT_RATE_LIMITS = dict.fromkeys([*ACCOUNT_RATE_LIMITS, "signup", "change_password", "reauthenticate"], "100000/m/ip")
# A test that kills a worker waits for the next attempt.
ROUNDS_BACK_OFF = env.list("ROUNDS_BACK_OFF", [1.0, 2.0, 5.0], subcast=float)
