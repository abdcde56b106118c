"""Where the servers keep their files and their sockets, chosen once and remembered in the data folder.

Usually `data/services`, a 0700 folder of the account that runs them. Two things can forbid that: as root, the account may be
unable to pass through a private parent; and a Unix socket's path may have at most 107 bytes. Then another place is taken and
written down. No existing folder's mode is ever changed.
"""

import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .account import Account, choose
from .errors import EmbeddedError

LONGEST_SOCKET_PATH = 107
# PostgreSQL names its socket after a port even when it listens on none.
POSTGRES_SOCKET = ".s.PGSQL.5432"
REDIS_SOCKET = "redis.sock"
REMEMBERED = "services.json"
LASTING = Path("/var/lib")
TEMPORARY = Path("/tmp")  # noqa: S108
BELONGS_TO = "belongs-to"


@dataclass(frozen=True)
class Places:
    """One installation's folders. `home` and `run` are 0700 and belong to `account`; `programs` holds copies only root may write."""

    data_dir: Path
    account: Account
    home: Path
    run: Path
    programs: Path

    @property
    def cluster(self) -> Path:
        return self.home / "postgres"

    @property
    def redis(self) -> Path:
        return self.home / "redis"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def postgres_socket(self) -> Path:
        return self.run / POSTGRES_SOCKET

    @property
    def redis_socket(self) -> Path:
        return self.run / REDIS_SOCKET


def remembered(data_dir: Path) -> Places | None:
    """The places chosen earlier, None before the first start. Makes nothing."""
    try:
        noted = json.loads((data_dir / REMEMBERED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EmbeddedError(f"{data_dir / REMEMBERED} cannot be read ({error}). It says where the database lives: restore it.") from error
    home = data_dir / noted["home"]
    return Places(
        data_dir=data_dir,
        account=choose(owner_of=home),
        home=home,
        run=data_dir / noted["run"],
        programs=data_dir / noted["programs"],
    )


def settle(data_dir: Path, *, throwaway: bool = False) -> Places:
    """The places of this data folder; chosen, made and written down on the first call, made again where they went missing.

    Raises EmbeddedError when no place will do, or when somebody else holds one.
    """
    places = remembered(data_dir)
    if throwaway and places is not None and not places.home.exists():
        # Its files lay in a temporary folder that a restart of the machine swept: nothing of worth is lost.
        places = None
    if places is None:
        places = _choose(data_dir, throwaway=throwaway)
        _make(places)
        _remember(places)
        return places
    if not places.home.exists() and not places.home.is_relative_to(data_dir):
        raise EmbeddedError(
            f"The database of {data_dir} lived in {places.home}, which is gone. Restore that folder; "
            f"or, to begin with an empty database, delete {data_dir / REMEMBERED}."
        )
    _make(places)
    return places


def forget(places: Places) -> None:
    """Delete the servers' files for good. Only for clusters made to be thrown away."""
    shutil.rmtree(places.run, ignore_errors=True)
    shutil.rmtree(places.home, ignore_errors=True)
    shutil.rmtree(places.programs, ignore_errors=True)
    if not places.home.is_relative_to(places.data_dir) and places.home.name == "home":
        shutil.rmtree(places.home.parent, ignore_errors=True)
    (places.data_dir / REMEMBERED).unlink(missing_ok=True)


def unclaimed() -> list[Path]:
    """Folders in /var/lib whose data folder is gone or names another place. Nobody deletes them but a person: a disk may be away."""
    found = []
    for note in LASTING.glob(f"rounds-*/{BELONGS_TO}"):
        noted = Path(note.read_text(encoding="utf-8").strip()) / REMEMBERED
        if not noted.is_file() or json.loads(noted.read_text(encoding="utf-8")).get("home") != str(note.parent / "home"):
            found.append(note.parent)
    return found


def _choose(data_dir: Path, *, throwaway: bool) -> Places:
    home = data_dir / "services"
    account = choose(owner_of=home)
    programs = data_dir / "programs"
    if not account.is_us and not account.reaches(data_dir):
        home, programs = _elsewhere(data_dir, account, throwaway=throwaway)
    return Places(data_dir, account, home, _socket_folder(data_dir, home / "run", account), programs)


def _elsewhere(data_dir: Path, account: Account, *, throwaway: bool) -> tuple[Path, Path]:
    """A folder of root's that the account can pass through, with one inside that is the account's own."""
    temporary = [Path(tempfile.gettempdir()), TEMPORARY]
    # What belongs to a temporary data folder is temporary too.
    short_lived = throwaway or any(data_dir.is_relative_to(base.resolve()) for base in temporary)
    bases = temporary if short_lived else [LASTING, *temporary]
    for base in bases:
        if not (account.reaches(base) and os.access(base, os.W_OK)):
            continue
        # A random name, not one derived from the data folder: an emptied data folder must not wake an old database.
        folder = base.resolve() / f"rounds-{secrets.token_hex(6)}"
        folder.mkdir(mode=0o755)
        folder.chmod(0o711)
        (folder / BELONGS_TO).write_text(f"{data_dir}\n", encoding="utf-8")
        return folder / "home", folder / "programs"
    raise EmbeddedError(
        f"The account {account.name!r} can reach none of {', '.join(map(str, bases))}. "
        "Set ROUNDS_DATA_DIR to a folder it can reach, or DATABASE_URL and CELERY_BROKER_URL to servers of your own."
    )


def _socket_folder(data_dir: Path, wanted: Path, account: Account) -> Path:
    """The wanted folder when socket paths in it stay short enough, else a short one named by a hash of the data folder."""
    if _fits(wanted):
        return wanted
    name = f"rounds-{account.uid}-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    bases = ([Path(runtime)] if runtime and account.is_us else []) + [Path(tempfile.gettempdir()), TEMPORARY]
    for base in bases:
        if base.is_dir() and os.access(base, os.W_OK) and account.reaches(base) and _fits(base / name):
            return base / name
    raise EmbeddedError(
        f"Sockets under {wanted} would have paths longer than {LONGEST_SOCKET_PATH} bytes, and no short folder for them is at hand. "
        "Set ROUNDS_DATA_DIR to a shorter path."
    )


def _fits(folder: Path) -> bool:
    # PostgreSQL puts a lock file beside its socket; only the sockets themselves are bound by the limit.
    return max(len(os.fsencode(folder / name)) for name in (POSTGRES_SOCKET, REDIS_SOCKET)) <= LONGEST_SOCKET_PATH


def _make(places: Places) -> None:
    _refuse_shell_characters(places.home)
    _own(places.home, places.account)
    inside = [places.redis, places.logs]
    if places.run.is_relative_to(places.home):
        inside.append(places.run)
    if not all(folder.is_dir() for folder in inside):
        places.account.make_folders(*inside)
    _own(places.run, places.account)


def _refuse_shell_characters(path: Path) -> None:
    """initdb and pg_ctl hand paths to a shell inside double quotes."""
    if any(character in str(path) for character in '"$`\\\n'):
        raise EmbeddedError(
            f"PostgreSQL's own tools cannot work in {str(path)!r}: its name holds a quote, dollar, backslash, backtick or line break. "
            "Set ROUNDS_DATA_DIR to another folder."
        )


def _own(folder: Path, account: Account) -> None:
    """Make a 0700 folder of the account's own; refuse one that somebody else put there."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        if not account.is_us:
            os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or stat.S_IMODE(found.st_mode) & 0o077:
        raise EmbeddedError(
            f"{folder} must be a folder of {account.name!r} that nobody else can enter (0700), and it is not. "
            "Remove it, or set ROUNDS_DATA_DIR."
        )


def _remember(places: Places) -> None:
    def short(path: Path) -> str:
        # Relative where it can be: a project folder may be moved.
        return str(path.relative_to(places.data_dir)) if path.is_relative_to(places.data_dir) else str(path)

    noted = {"home": short(places.home), "run": short(places.run), "programs": short(places.programs)}
    fresh = places.data_dir / f"{REMEMBERED}.new"
    fresh.write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")
    fresh.rename(places.data_dir / REMEMBERED)
