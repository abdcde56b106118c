"""A zip of files on the disk, made while it is sent: stored and not deflated, so that its length is known and any part can be asked for.

Weights do not compress, and nobody should wait, or pay in memory, for finding that out. Sizes beyond 4 GiB use ZIP64
(PKWARE APPNOTE 6.3.10, 4.3.7-4.3.16, 4.5.3). A file's CRC-32 stands before its bytes, so it is computed when its turn comes and kept.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = 2**20
LIMIT = 0xFFFFFFFF
MANY = 0xFFFF
# 1 January 1980, the earliest day a zip knows: the same files give the same bytes.
TIME, DATE = 0, 0x0021


@dataclass(frozen=True)
class Member:
    """One file: `content`, or the file at `path` with `size` bytes."""

    name: str
    size: int
    path: Path | None = None
    content: bytes = b""

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes from `start` to `stop`."""
        if self.path is None:
            yield self.content[start:stop]
            return
        with self.path.open("rb") as stream:
            stream.seek(start)
            while start < stop and (block := stream.read(min(BLOCK, stop - start))):
                start += len(block)
                yield block


@dataclass(frozen=True)
class _Part:
    """A run of the archive's bytes: a header that is made when it is asked for, or a member's own bytes."""

    size: int
    member: Member | None = None
    header: Callable[[], bytes] = bytes


class Archive:
    """The zip of `members`. `crc` gives a member's CRC-32; it may read the whole file."""

    def __init__(self, members: list[Member], crc: Callable[[Member], int] | None = None) -> None:
        self.crc = crc or crc_of
        self.parts: list[_Part] = []
        offset = 0
        placed: list[tuple[Member, int]] = []
        for member in members:
            placed.append((member, offset))
            size = 30 + len(_name(member)) + (20 if member.size >= LIMIT else 0)
            self.parts.append(_Part(size, header=lambda member=member: self._local(member)))  # type: ignore[misc]
            self.parts.append(_Part(member.size, member=member))
            offset += size + member.size
        sizes = [46 + len(_name(member)) + len(_extra(member, at)) for member, at in placed]
        directory = sum(sizes)
        large = offset + directory >= LIMIT or len(placed) >= MANY
        end = (76 if large else 0) + 22
        self.parts.append(_Part(directory, header=lambda: b"".join(self._central(member, at) for member, at in placed)))
        self.parts.append(_Part(end, header=lambda: _end(len(placed), directory, offset, large=large)))
        self.size = offset + directory + end

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The archive's bytes from `start` to `stop`; nothing outside them is read but what a header needs."""
        stop = self.size if stop is None else stop
        reached = 0
        for part in self.parts:
            first, last = max(start - reached, 0), min(stop - reached, part.size)
            if first < last:
                if part.member is None:
                    yield part.header()[first:last]
                else:
                    yield from part.member.blocks(first, last)
            reached += part.size
            if reached >= stop:
                return

    def _local(self, member: Member) -> bytes:
        name, large = _name(member), member.size >= LIMIT
        extra = struct.pack("<HHQQ", 1, 16, member.size, member.size) if large else b""
        said = min(member.size, LIMIT)
        fixed = struct.pack(
            "<4s5H3I2H", b"PK\x03\x04", 45 if large else 20, 0, 0, TIME, DATE, self.crc(member), said, said, len(name), len(extra)
        )
        return fixed + name + extra

    def _central(self, member: Member, offset: int) -> bytes:
        name, extra = _name(member), _extra(member, offset)
        said, place = min(member.size, LIMIT), min(offset, LIMIT)
        fixed = struct.pack(
            "<4s6H3I5H2I", b"PK\x01\x02", 3 << 8 | 45, 45 if extra else 20, 0, 0, TIME, DATE, self.crc(member), said, said, len(name),
            len(extra), 0, 0, 0, 0o100644 << 16, place,
        )  # fmt: skip
        return fixed + name + extra


def crc_of(member: Member) -> int:
    found = 0
    for block in member.blocks(0, member.size):
        found = zlib.crc32(block, found)
    return found


def _name(member: Member) -> bytes:
    return member.name.encode("ascii")


def _extra(member: Member, offset: int) -> bytes:
    wide = [member.size, member.size] if member.size >= LIMIT else []
    wide += [offset] if offset >= LIMIT else []
    return struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""


def _end(count: int, size: int, offset: int, *, large: bool) -> bytes:
    made = b""
    if large:
        made += struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
        made += struct.pack("<4sIQI", b"PK\x06\x07", 0, offset + size, 1)
    few = min(count, MANY)
    return made + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, few, few, min(size, LIMIT), min(offset, LIMIT), 0)
