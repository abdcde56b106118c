"""Weights in another precision: a safetensors file rewritten tensor by tensor, a block at a time, without torch.

Rounding is to the nearest, ties to even, as torch rounds; what is too large for the new type becomes an infinity, as in torch.
Tensors of integers and truth values are copied as they are.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from modelhub import weights

# What a user calls it: what the format calls it.
DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_WIDTH = weights.DTYPES
_FLOATS = {"F64", "F32", "F16", "BF16"}
# Numbers a block: 8 MiB of float32.
BLOCK = 2**21


def recast(source: Path, target: Path, *, dtype: str) -> tuple[str, int]:
    """Write `source` to the new file `target` with its floating tensors as `dtype` (a key of DTYPES). Returns its SHA-256 and size.

    Names, order and shapes stay. Raises Refused when the source's header lies.
    """
    weights.read_header(source)
    wanted = DTYPES[dtype]
    with source.open("rb") as reader:
        length = int.from_bytes(reader.read(8), "little")
        said: dict[str, Any] = json.loads(reader.read(length))
        start = 8 + length
        metadata = said.pop("__metadata__", None)
        order = sorted(said, key=lambda name: (said[name]["data_offsets"], name))
        header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
        reached = 0
        for name in order:
            kind = wanted if said[name]["dtype"] in _FLOATS else said[name]["dtype"]
            size = prod(said[name]["shape"]) * _WIDTH[kind]
            header[name] = {"dtype": kind, "shape": said[name]["shape"], "data_offsets": [reached, reached + size]}
            reached += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight, as safetensors itself writes them
        hashed = sha256()
        with target.open("xb") as writer:
            for piece in [len(text).to_bytes(8, "little"), text]:
                hashed.update(piece)
                writer.write(piece)
            for name in order:
                reader.seek(start + said[name]["data_offsets"][0])
                for piece in _pieces(reader, said[name], header[name]["dtype"]):
                    hashed.update(piece)
                    writer.write(piece)
    return hashed.hexdigest(), 8 + len(text) + reached


def _pieces(reader: IO[bytes], entry: dict[str, Any], wanted: str) -> Iterator[bytes]:
    count, here = prod(entry["shape"]), entry["dtype"]
    while count:
        some = min(count, BLOCK)
        raw = reader.read(some * _WIDTH[here])
        yield raw if here == wanted else encode(decode(raw, here), wanted)
        count -= some


def decode(raw: bytes, dtype: str) -> NDArray[Any]:
    """Bytes of F64, F32, F16 or BF16 as numbers, exactly."""
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])


def encode(values: NDArray[Any], dtype: str) -> bytes:
    """Numbers as F32, F16 or BF16."""
    with np.errstate(over="ignore"):
        if dtype == "F32":
            return values.astype("<f4").tobytes()
        if dtype == "F16":
            return values.astype("<f2").tobytes()
        bits = values.astype(np.float32).view(np.uint32)
    # Half of the last place kept, a bit less where it is even: then the cut rounds to nearest, ties to even.
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) >> 16).astype("<u2")
    rounded[np.isnan(bits.view(np.float32))] = 0x7FC0
    return rounded.tobytes()
