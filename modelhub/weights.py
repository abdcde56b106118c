"""The safetensors format, read without loading a tensor: an 8-byte length, a JSON header, then the bytes it describes.

Format: https://github.com/huggingface/safetensors#format. A header that lies is refused here, long before a library maps it.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from modelhub.errors import Refused

MAX_HEADER = 100_000_000
# Bytes of one element.
DTYPES = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """Names and shapes of a file's tensors."""

    shapes: dict[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())


def read_header(path: Path, *, name: str | None = None) -> Header:
    """The header of one file, checked against its bytes: known types, sizes that match shapes, no hole, no overlap, nothing left over.

    `name` is what messages call the file. Raises Refused with code "corrupt_weights".
    """
    name = name or path.name
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise _lie(name, f"holds {size} bytes, too few for a safetensors file")
        length = int.from_bytes(start, "little")
        if length > MAX_HEADER:
            raise _lie(name, f"claims a header of {length} bytes; the limit is {MAX_HEADER}")
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
    return Header({tensor: tuple(entry["shape"]) for tensor, entry in raw.items()})


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
    return Refused("corrupt_weights", name, f"{what}. The file is damaged or no safetensors file; fetch or save it again.")
