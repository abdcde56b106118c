"""Makes a screenshot small: at most 256 colours, a quarter to a third of the bytes, and no difference that an eye sees on a page of text.

A screenshot of ours holds a few flat colours and the greys and tints of smoothed letters. Colours are gathered in steps of 8 of 256,
the commonest 256 become the palette, and every other takes the nearest one.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = 256


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """(type, data) of every chunk. Raises ValueError for what is no PNG."""
    if not png.startswith(SIGNATURE):
        raise ValueError("This is no PNG.")
    found, at = [], len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def pixels(png: bytes) -> Bytes:
    """Height × width × 3 of an eight-bit RGB or RGBA PNG as Chromium writes it (not interlaced); transparency is dropped.

    Undoes the five filters of the PNG specification, section 9. Raises ValueError for any other kind.
    """
    parts = chunks(png)
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0][1])
    if depth != 8 or kind not in (2, 6) or interlaced:
        raise ValueError("Only eight-bit RGB and RGBA without interlacing.")
    each = 3 if kind == 2 else 4
    raw = np.frombuffer(zlib.decompress(b"".join(data for name, data in parts if name == b"IDAT")), dtype=np.uint8)
    lines = raw.reshape(height, 1 + width * each)
    out = np.zeros((height, width, each), dtype=np.uint8)
    above = np.zeros((width, each), dtype=np.uint8)
    for row, line in enumerate(lines):
        above = out[row] = _unfiltered(int(line[0]), line[1:].reshape(width, each), above)
    return out[:, :, :3]


def _unfiltered(how: int, line: Bytes, above: Bytes) -> Bytes:
    if how == 0:
        return line
    if how == 1:
        return np.cumsum(line, axis=0, dtype=np.uint8)
    if how == 2:
        return line + above
    done = np.zeros_like(line)
    left = corner = [0] * line.shape[1]
    for at, (here, up) in enumerate(zip(line.tolist(), above.tolist(), strict=True)):
        if how == 3:
            left = [(one + (west + north) // 2) % 256 for one, west, north in zip(here, left, up, strict=True)]
        else:
            left = [(one + _paeth(w, n, nw)) % 256 for one, w, n, nw in zip(here, left, up, corner, strict=True)]
        corner = up
        done[at] = left
    return done


def _paeth(west: int, north: int, corner: int) -> int:
    guess = west + north - corner
    return min((west, north, corner), key=lambda one: abs(guess - one))


def quantised(image: Bytes) -> tuple[Bytes, Bytes]:
    """(palette n × 3, height × width of places in it) with n ≤ 256. An image with no more colours than that keeps them exactly."""
    height, width, _ = image.shape
    packed = image.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    colours, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    rgb = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.int32)
    if len(colours) > COLOURS:
        # Of each step of 8 the commonest colour stands for it, so that flat surfaces keep theirs to the bit.
        steps = (rgb // 8) @ np.array([1024, 32, 1])
        order = np.lexsort((-counts, steps))
        first = order[np.concatenate([[True], steps[order][1:] != steps[order][:-1]])]
        weight = np.bincount(np.searchsorted(steps[first], steps), weights=counts)
        kept = first[np.argsort(-weight)[:COLOURS]]
        palette = rgb[kept]
        nearest = ((rgb[:, None, :] - palette[None, :, :]) ** 2).sum(axis=2).argmin(axis=1)
    else:
        palette, nearest = rgb, np.arange(len(colours))
    return palette.astype(np.uint8), nearest[places.reshape(height, width)].astype(np.uint8)


def small(png: bytes) -> bytes:
    """The same picture as a PNG with a palette."""
    palette, places = quantised(pixels(png))
    height, width = places.shape
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), places], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 9)
    parts = ((b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", body), (b"IEND", b""))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
