"""Files opened with a watch on them: how much is read, how much comes out of a compressed one, and the digest of what was sent."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from annotation.reading.limits import LIMITS, MIB, Limits
from annotation.records import Problems

CODECS = {"gz": "gzip", "zst": "zstd"}
CHUNK = 256 * 1024


class TooMuch(Exception):
    """A compressed file unpacks to more than it may."""


class Damaged(Exception):
    """A compressed file ends early or is none."""


class Watched(io.RawIOBase):
    """A file that counts what is read of it and feeds a digest."""

    def __init__(self, file: IO[bytes], digest: Any) -> None:
        self._file, self._digest, self.count = file, digest, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        if self._digest is not None:
            self._digest.update(data)
        return len(data)


class Unpacked(io.RawIOBase):
    """What a compressed file holds, refused as soon as it is more than `limits.ratio` times what was read of the file."""

    def __init__(self, packed: Watched, codec: str, limits: Limits) -> None:
        self._packed, self._limits, self.count = packed, limits, 0
        self._stream = pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), codec)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(min(len(buffer), CHUNK))
        except OSError as error:
            raise Damaged from error
        buffer[: len(data)] = data
        self.count += len(data)
        if self.count > self._limits.ratio_from and self.count > self._limits.ratio * self._packed.count:
            raise TooMuch
        return len(data)


def too_large(path: Path, problems: Problems, limits: Limits = LIMITS) -> bool:
    if (size := path.stat().st_size) > limits.file_bytes:
        problems.add(
            0, "", f"The file has {size // MIB:,} MiB; {limits.file_bytes // MIB:,} MiB are allowed. Send it in parts.", "upload.too_large"
        )
        return True
    return False


@contextmanager
def opened(path: Path, codec: str, problems: Problems, digest: Any, limits: Limits = LIMITS) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked when `codec` is one of CODECS. What is wrong with the packing becomes a problem at the block's end."""
    try:
        with path.open("rb", buffering=0) as file:
            watched = Watched(cast("IO[bytes]", file), digest)
            raw = Unpacked(watched, CODECS[codec], limits) if codec else watched
            yield io.BufferedReader(raw, CHUNK)
    except TooMuch:
        problems.add(
            0, "", f"It unpacks to more than {limits.ratio} times its size, which text does not. Send it unpacked, or in parts.",
            "upload.ratio",
        )  # fmt: skip
    except Damaged:
        problems.add(0, "", "The compressed file is damaged or cut off.", "upload.damaged")
