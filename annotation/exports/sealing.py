"""What every export ends with: manifest.json, which names each file with its size and SHA-256, and says what is in it and what is not."""

import json
import os
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

MANIFEST, CHECKSUMS = "manifest.json", ".crc32.json"
BLOCK = 2**20


def seal(place: Path, said: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of everything in `place`, flushed to the disk, and beside it each file's CRC-32 for zips that are made later."""
    files, sums = {}, {}
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        name = path.relative_to(place).as_posix()
        size, digest, crc = _read(path)
        files[name] = {"bytes": size, "sha256": digest}
        sums[name] = crc
    manifest = {**said, "files": files}
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (place / MANIFEST).write_text(text, encoding="utf-8")
    sums[MANIFEST] = zlib.crc32(text.encode())
    (place / CHECKSUMS).write_text(json.dumps(sums, sort_keys=True), encoding="ascii")
    return manifest


def _read(path: Path) -> tuple[int, str, int]:
    size, hashed, crc = 0, sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            size += len(block)
            hashed.update(block)
            crc = zlib.crc32(block, crc)
        os.fsync(stream.fileno())
    return size, hashed.hexdigest(), crc


class Tally:
    """What of a whole is in one config and why the rest is not: included and excluded always add up to the total."""

    def __init__(self, unit: str, total: int, excluded: dict[str, int]) -> None:
        self.unit, self.total = unit, total
        self.excluded = {reason: count for reason, count in sorted(excluded.items()) if count}
        self.included = total - sum(self.excluded.values())

    def told(self, rows: dict[str, int]) -> dict[str, Any]:
        """For the manifest. Raises ValueError when a part of the whole is missing: then the files are not what was frozen."""
        if self.included < 0 or any(count < 0 for count in self.excluded.values()):
            raise ValueError(f"{self.unit}: more were left out than there are")
        return {"unit": self.unit, "total": self.total, "included": self.included, "excluded": self.excluded, "rows": rows}
