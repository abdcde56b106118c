"""The embedded default: one machine, no set-up by hand. Not for a network that strangers reach: see docs/operations.md."""

import secrets

from .base import *  # noqa: F403
from .base import DATA_DIR, env

ROUNDS_DEMO = env.bool("ROUNDS_DEMO", True)


def _own_secret() -> str:
    """A secret of this installation's own, made on the first start and readable by its owner alone."""
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    path = DATA_DIR / "secret_key"
    try:
        with path.open("x", encoding="ascii") as file:
            path.chmod(0o600)
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text(encoding="ascii")


SECRET_KEY = env.str("ROUNDS_SECRET_KEY", "") or _own_secret()
DEBUG = env.bool("ROUNDS_DEBUG", False)
ALLOWED_HOSTS = env.list("ROUNDS_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
