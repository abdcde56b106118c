"""Makes a screenshot small: at most 40 colours, a fifth to a quarter of the bytes, and no difference that an eye sees on a page of text.

A screenshot of ours holds a few flat colours and the greys and tints of smoothed letters. Beginning with the commonest, the palette takes
again and again the colour that most is gained by: how far it is from those taken already, squared, times the root of how often it is
there. So a badge of a few red letters keeps its red, which the commonest colours alone would turn grey. Every other takes the nearest.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = 40


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
    """(palette n × 3, height × width of places in it) with n ≤ COLOURS. An image with no more colours than that keeps them exactly."""
    height, width, _ = image.shape
    packed = image.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    colours, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    rgb = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.int32)
    if len(colours) > COLOURS:
        palette = rgb[_taken(rgb, counts)]
        nearest = _distance(rgb, palette).argmin(axis=1)
    else:
        palette, nearest = rgb, np.arange(len(colours))
    return palette.astype(np.uint8), nearest[places.reshape(height, width)].astype(np.uint8)


def _taken(rgb: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> list[int]:
    """Places of COLOURS colours in ``rgb`` (n × 3), each the one by which most is gained when it is taken."""
    taken = [int(counts.argmax())]
    far = _distance(rgb, rgb[taken])[:, 0]
    while len(taken) < COLOURS:
        taken.append(int((np.sqrt(counts) * far).argmax()))
        far = np.minimum(far, _distance(rgb, rgb[taken[-1:]])[:, 0])
    return taken


def _distance(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Squared, of every colour of one (n × 3) to every colour of the other (m × 3): n × m."""
    found: npt.NDArray[np.int32] = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2, dtype=np.int32)
    return found


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
