"""The safetensors format, read without loading a tensor: an 8-byte length, a JSON header, then the bytes it describes.

Format: https://github.com/huggingface/safetensors#format. A header that lies is refused here, long before a library maps it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from modelhub.refusals import Refused

MAX_HEADER = 100_000_000
# Bytes of one element.
DTYPES = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


# A float is infinite or no number when all bits of its exponent are set: (bytes of the integer that holds it, its bits without the sign,
# the least of them that is not finite). E4M3 has one such value, E8M0 likewise.
NOT_FINITE = {
    "F64": (8, 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000), "F32": (4, 0x7FFFFFFF, 0x7F800000), "F16": (2, 0x7FFF, 0x7C00),
    "BF16": (2, 0x7FFF, 0x7F80), "F8_E5M2": (1, 0x7F, 0x7C), "F8_E4M3": (1, 0x7F, 0x7F), "F8_E8M0": (1, 0xFF, 0xFF),
}  # fmt: skip
CHUNK = 16 * 2**20


@dataclass(frozen=True)
class Header:
    """Names and shapes of a file's tensors; `places` gives each one's type and its bytes in the file, from and to."""

    shapes: dict[str, tuple[int, ...]]
    places: dict[str, tuple[str, int, int]]

    @property
    def parameters(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())


def read_header(path: Path, *, name: str | None = None, most: int = MAX_HEADER) -> Header:
    """The header of one file, checked against its bytes: known types, sizes that match shapes, no hole, no overlap, nothing left over.

    `name` is what messages call the file; `most` bytes of header are read. Raises Refused with code "corrupt_weights".
    """
    name = name or path.name
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise _lie(name, f"holds {size} bytes, too few for a safetensors file")
        length = int.from_bytes(start, "little")
        if length > most:
            raise _lie(name, f"claims a header of {length} bytes; the limit is {most}")
        if length > size - 8:
            raise _lie(name, f"claims a header of {length} bytes but holds {size - 8} after the length")
        try:
            raw = json.loads(stream.read(length).decode("utf-8"), object_pairs_hook=_unique)
        except (UnicodeDecodeError, ValueError, RecursionError):
            raise _lie(name, "has a header that is not JSON, or names a tensor twice") from None
    if not isinstance(raw, dict):
        raise _lie(name, "has a header that is not an object")
    raw.pop("__metadata__", None)
    spans = sorted((_span(name, tensor, entry), tensor) for tensor, entry in raw.items())
    reached = 0
    for (begin, end), tensor in spans:
        if begin != reached:
            raise _lie(name, f"leaves a hole or overlaps at byte {begin}, tensor {tensor[:80]}")
        reached = end
    if reached != size - 8 - length:
        raise _lie(name, f"describes {reached} bytes of tensors but holds {size - 8 - length}")
    return Header(
        {tensor: tuple(entry["shape"]) for tensor, entry in raw.items()},
        {tensor: (raw[tensor]["dtype"], 8 + length + begin, 8 + length + end) for (begin, end), tensor in spans},
    )


def check_finite(path: Path, header: Header, *, name: str, tell: Callable[[int], None] = lambda done: None) -> None:
    """Read every float of a file, as bits and a few megabytes at a time; `tell` hears how many bytes were read.

    Raises Refused with code "nonfinite" and the tensor's name for the first that is infinite or no number.
    """
    import numpy as np

    with path.open("rb") as stream:
        for tensor, (dtype, begin, end) in header.places.items():
            if dtype not in NOT_FINITE:
                continue
            width, mask, least = NOT_FINITE[dtype]
            stream.seek(begin)
            for start in range(begin, end, CHUNK):
                bits = np.frombuffer(stream.read(min(CHUNK, end - start)), dtype=f"<u{width}")
                if len(bits) and int((bits & bits.dtype.type(mask)).max()) >= least:
                    raise Refused(
                        "model.nonfinite",
                        name,
                        f"holds values in tensor {tensor[:100]} that are infinite or no numbers. The training broke down.",
                    )
                tell(start + width * len(bits))


def _span(name: str, tensor: str, entry: Any) -> tuple[int, int]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise _lie(name, f"does not say type, shape and place of tensor {tensor[:80]}") from None
    if dtype not in DTYPES:
        raise _lie(name, f"has a tensor of unknown type {str(dtype)[:20]}")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in [*shape, begin, end]):
        raise _lie(name, f"gives tensor {tensor[:80]} a shape or place that is no number")
    if end - begin != prod(shape) * DTYPES[dtype]:
        raise _lie(name, f"gives tensor {tensor[:80]} {end - begin} bytes where its shape needs {prod(shape) * DTYPES[dtype]}")
    return begin, end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _lie(name: str, what: str) -> Refused:
    return Refused("model.corrupt", name, f"{what}. The file is damaged or no safetensors file; fetch or save it again.")
