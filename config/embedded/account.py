"""Who runs the servers. PostgreSQL refuses root, so root lends them to an existing unprivileged account.

Nothing here creates an account or changes the mode of a folder that exists. What lies inside the account's own folder
is written by the account, never by root: a link planted there must not lead root elsewhere.
"""

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import EmbeddedError

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """An account of this machine that runs the servers."""

    name: str
    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        return self.uid == os.geteuid()

    def run(
        self, arguments: Sequence[str], *, home: Path, text: str | None = None, seconds: float = 120, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this account with a clean environment. Does not raise on a failing exit status."""
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": str(home), "TZ": "UTC", **(extra or {})}
        try:
            return subprocess.run(
                list(arguments),
                # Never the caller's folder: the account may be unable to stand there.
                cwd="/",
                env=environment,
                input=text if text is not None else "",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
                umask=0o077,
                user=None if self.is_us else self.uid,
                group=None if self.is_us else self.gid,
                extra_groups=None if self.is_us else [],
            )
        except PermissionError as error:
            if self.is_us:
                raise
            raise EmbeddedError(
                f"Running as root, Rounds lends PostgreSQL to the account {self.name!r}, and this machine forbids changing to it. "
                "Run as an ordinary user, or set DATABASE_URL and CELERY_BROKER_URL to servers of your own."
            ) from error

    def reaches(self, path: Path) -> bool:
        """Whether this account can pass through every folder down to this one."""
        if self.is_us:
            return os.access(path, os.X_OK)
        return self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(path)], home=Path("/")).returncode == 0

    def executes(self, program: Path) -> bool:
        """Whether this account may execute the program."""
        if self.is_us:
            return os.access(program, os.X_OK)
        return self.run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(program)], home=Path("/")).returncode == 0

    def make_folders(self, *folders: Path) -> None:
        """Make folders with mode 0700 inside the account's own."""
        answer = self.run(["/bin/mkdir", "-p", *map(str, folders)], home=Path("/"))
        if answer.returncode:
            raise EmbeddedError(f"Cannot make {folders[0]}: {answer.stderr.strip()}")

    def write(self, path: Path, text: str) -> None:
        """Write a file whole (a temporary name, then a rename)."""
        answer = self.run(["/bin/sh", "-c", 'cat > "$1.new" && mv -f -- "$1.new" "$1"', "sh", str(path)], home=Path("/"), text=text)
        if answer.returncode:
            raise EmbeddedError(f"Cannot write {path}: {answer.stderr.strip()}")


def choose(owner_of: Path | None = None) -> Account:
    """Ourselves; as root the owner of a folder the servers already have, else an existing unprivileged account.

    Raises EmbeddedError when root finds none, or when this user has no name (PostgreSQL insists on one).
    """
    uid = os.geteuid()
    if uid != 0:
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            raise EmbeddedError(
                f"User {uid} has no entry in /etc/passwd, and PostgreSQL will not start for a nameless user. "
                "Add one, or set DATABASE_URL to a server of your own."
            ) from None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    if owner_of is not None and owner_of.exists() and (owner := owner_of.stat().st_uid) != 0:
        try:
            entry = pwd.getpwuid(owner)
        except KeyError:
            raise EmbeddedError(f"{owner_of} belongs to user {owner}, who has no name on this machine. Name one in /etc/passwd.") from None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL refuses to run as root, and this machine has none of the accounts {', '.join(CANDIDATES)}. "
        "Run as an ordinary user, or set DATABASE_URL and CELERY_BROKER_URL."
    )
