"""Log-probabilities of a reference model, computed once and kept: a sweep over beta, rate, rank, loss or seed needs them only once.

A store is a folder of entries under a group: one reference model in one precision with one tokenizer and template. An entry is a pair
by the digest of its token ids and the side of the RoPE switch it is computed on. Files are named by their content and never altered, so
two runs may write at once, a file that is torn is passed over, and bringing new ones into the store is a link.

    <store>/<group>/<sha256>.jsonl    {"pair": digest, "side": "short" | "long", "chosen": log p, "rejected": log p}

Standard library only: the web side moves files with it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

NEW = "reference"  # an attempt's own new entries
BLOCK = 2**20
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "chat_template.jinja")

Entry = tuple[str, str]  # pair digest, side
Logps = tuple[float, float]  # chosen, rejected


def group(folder: Path, *, dtype: str) -> str:
    """Digest of what a log-probability hangs on besides the pair: weights, configuration, tokenizer, template and precision."""
    digest = sha256(f"reference 1 {dtype}".encode())
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    for name in ("config.json", *weights, *TOKENIZER_FILES):
        if (folder / name).exists():
            digest.update(f"\0{name}\0{_sha256(folder / name)}".encode())
    return digest.hexdigest()


def pair(prompt: list[int], chosen: list[int], rejected: list[int]) -> str:
    """Digest of a pair's token ids."""
    return sha256(json.dumps([prompt, chosen, rejected], separators=(",", ":")).encode()).hexdigest()


def read(root: Path) -> dict[Entry, Logps]:
    """Every entry of one group's folder. A file whose content is not its name is passed over."""
    found: dict[Entry, Logps] = {}
    for path in sorted(root.glob("*.jsonl")):
        with suppress(FileNotFoundError):  # cleared away since we looked
            if not path.is_symlink() and _sha256(path) == path.stem:
                with path.open(encoding="utf-8", newline="\n") as stream:
                    for line in stream:
                        row = json.loads(line)
                        found[row["pair"], row["side"]] = (row["chosen"], row["rejected"])
    return found


def write(root: Path, entries: Mapping[Entry, Logps]) -> Path | None:
    """New entries as one file under ``root``, whole or not at all."""
    if not entries:
        return None
    lines = [
        json.dumps({"pair": digest, "side": side, "chosen": chosen, "rejected": rejected})
        for (digest, side), (chosen, rejected) in sorted(entries.items())
    ]
    data = ("\n".join(lines) + "\n").encode()
    root.mkdir(parents=True, exist_ok=True)
    final = root / f"{sha256(data).hexdigest()}.jsonl"
    temporary = root / f".{final.name}.{os.getpid()}.tmp"
    with temporary.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(final)
    return final


def bring(attempt: Path, store: Path) -> int:
    """Link an attempt's new entries into the store; returns how many files were new there. Idempotent.

    Only whole files under plain names are taken: what an attempt leaves in its folder is not trusted further than that.
    """
    brought = 0
    for path in sorted((attempt / NEW).glob("*/*.jsonl")):
        groups = path.parent.name
        if path.is_symlink() or path.parent.is_symlink() or not _hex(groups) or _sha256(path) != path.stem:
            continue
        target = store / groups / path.name
        if target.exists():
            continue
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = target.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:
            # Another file system, or one without links.
            shutil.copyfile(path, temporary)
        temporary.replace(target)
        brought += 1
    return brought


def forget(store: Path, *, most_bytes: float, unused_days: float, now: float | None = None) -> int:
    """Delete what was not used for so long, then what was used longest ago, until the rest is within ``most_bytes``; how many files.

    A file is used when it is read, which most systems note once a day, and when it is made. Any may go: it costs one pass of the reference.
    """
    now = time.time() if now is None else now
    found = []
    for path in store.glob("*/*.jsonl"):
        with suppress(FileNotFoundError):
            told = path.lstat()
            found.append((max(told.st_atime, told.st_mtime), told.st_size, path))
    left, gone = sum(size for _, size, _ in found), 0
    for used, size, path in sorted(found):
        if now - used <= 86_400 * unused_days and left <= most_bytes:
            break
        path.unlink(missing_ok=True)
        left, gone = left - size, gone + 1
    for folder in {path.parent for _, _, path in found}:
        with suppress(OSError):  # not empty
            folder.rmdir()
    return gone


def _hex(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _sha256(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
