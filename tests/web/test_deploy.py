"""Production settings pass Django's own deployment check, and refuse to start half-configured."""

import os
import subprocess
import sys

from django.conf import settings


def check(**environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ROUNDS_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=settings.PROJECT, env=inherited | {"DJANGO_SETTINGS_MODULE": "config.settings.prod"} | environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_production_passes_the_deployment_check() -> None:
    done = check(ROUNDS_SECRET_KEY="".join(chr(33 + n % 90) for n in range(64)), ROUNDS_ALLOWED_HOSTS="rounds.example")
    assert done.returncode == 0, done.stderr


def test_production_does_not_start_without_a_secret() -> None:
    done = check(ROUNDS_ALLOWED_HOSTS="rounds.example")
    assert done.returncode != 0
    assert "ROUNDS_SECRET_KEY" in done.stderr
