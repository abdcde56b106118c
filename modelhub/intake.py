"""Bringing a foreign folder in: looked at where it lies, copied to where only we write, looked at again there. No Django, no torch.

What is checked is the copy, so that nobody can change a file between the look and the use. Nothing outside the target is written.
"""

import json
import os
import re
import shutil
import stat as modes
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from modelhub import adapters, listing, scanning, weights
from modelhub.adapters import Base
from modelhub.refusals import Refused

BLOCK = 2**20
# Room that stays free beside the copy.
SPARE = 64 * 2**20

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Brought:
    """What came in; `removed` says in words what the kept configuration lacks, with the digest of the file as it was."""

    names: tuple[str, ...]
    left_out: tuple[str, ...]
    removed: str = ""
    licence: str = ""


def _quiet(phase: str, done: int, total: int) -> None:
    pass


def bring(
    source: Path, target: Path, *, adapter: bool = False, base: Base | None = None, same_base: bool = False, tell: Tell = _quiet
) -> Brought:
    """Copy what is taken of `source` into the new folder `target` and check it. `tell` hears a phase, and bytes done and in all.

    With `adapter` the folder must be a LoRA adapter for `base`. Raises Refused; then the target is to be thrown away.
    """
    names, left_out = look(source, adapter=adapter, base=base, same_base=same_base, deep=False)
    total = sum((source / name).lstat().st_size for name in names)
    free = shutil.disk_usage(target.parent).free
    if total + SPARE > free:
        raise Refused("model.no_room", "", f"Its files need {total} bytes here, and {free} are free. Make room, or take another volume.")
    target.mkdir(mode=0o700)
    done = 0
    for name in names:
        done += _copy(source / name, target / name, _from(tell, "copying", done, total))
    names, _ = look(target, adapter=adapter, base=base, same_base=same_base, left_out=left_out)
    removed = "" if adapter else _clean(target, scanning.check_model(target, names))
    read = 0
    for name, header in scanning.read_headers(target, names).items():
        weights.check_finite(target / name, header, name=name, tell=_from(tell, "checking", read, total))
        read += (target / name).stat().st_size
    return Brought(tuple(names), tuple(left_out), removed, licence_of(target))


def _from(tell: Tell, phase: str, before: int, total: int) -> Callable[[int], None]:
    return lambda done: tell(phase, before + done, total)


def look(
    folder: Path, *, adapter: bool, base: Base | None = None, same_base: bool = False, deep: bool = True, left_out: list[str] | None = None,
    most_header: int = weights.MAX_HEADER,
) -> tuple[list[str], list[str]]:  # fmt: skip
    """All that can be said without reading a tensor: the names taken and those left out. Raises Refused."""
    names, others = listing.names(folder, outside=True)
    left_out = others if left_out is None else left_out
    if adapter:
        left_out += [name for name in names if name not in adapters.KEPT]
        names = [name for name in names if name in adapters.KEPT]
        adapters.check(folder, names, left_out, base, same_base=same_base)
    else:
        if adapters.looks_like_one(names):
            raise Refused("model.is_adapter", adapters.CONFIG, "says this is an adapter, not a model. Import it as one, and name its base.")
        scanning.check_model(folder, names, deep=deep, most_header=most_header)
    return names, sorted(left_out)


def _copy(source: Path, target: Path, tell: Callable[[int], None]) -> int:
    """One file, never through a link, and never more of it than it had when it was opened."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        raise Refused("model.unreadable", source.name, "cannot be read. Give the account that runs Rounds leave to read it.") from None
    with os.fdopen(descriptor, "rb") as reader:
        found = os.fstat(reader.fileno())
        if not modes.S_ISREG(found.st_mode):
            raise Refused("model.not_a_file", source.name, "became something else while it was read.")
        left = found.st_size
        with target.open("xb") as writer:
            while left and (block := reader.read(min(BLOCK, left))):
                writer.write(block)
                left -= len(block)
                tell(found.st_size - left)
    if left:
        raise Refused("model.changed", source.name, "became shorter while it was read. Wait until it is whole.")
    return found.st_size


def _clean(folder: Path, keys: tuple[str, ...]) -> str:
    """Take keys out of config.json; what was done, in words, or nothing."""
    if not keys:
        return ""
    path = folder / "config.json"
    before = path.read_bytes()
    kept = scanning.cleaned(json.loads(before), keys)
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return (
        f"{', '.join(keys)} was left out of config.json: it named the code that became transformers' own class. "
        f"The file as it came had the SHA-256 {sha256(before).hexdigest()}."
    )


def licence_of(folder: Path) -> str:
    """The licence that the model's README names in its front matter, or an empty string."""
    try:
        with (folder / "README.md").open("rb") as stream:
            text = stream.read(20_000).decode("utf-8", "replace")
    except OSError:
        return ""
    front = re.match(r"---[ \t]*\r?\n(.*?)\n---", text, flags=re.DOTALL)
    found = re.search(r"^license:\s*['\"]?([\w.+-]{1,60})", front.group(1), flags=re.MULTILINE) if front else None
    return found.group(1) if found else ""
