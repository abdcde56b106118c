"""docs/gallery.md and docs/screens belong together, and a picture made small is still the same picture."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser import palette

DOCS = Path(__file__).resolve().parents[2] / "docs"
LIMIT = 5_000_000  # bytes: every clone carries them


def test_the_gallery_names_every_picture_and_no_other() -> None:
    listing = (DOCS / "gallery.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(screens/([^)]+)\)", listing))
    there = {path.name for path in (DOCS / "screens").iterdir()}
    assert named == there
    assert len(there) >= 40
    assert sum(path.stat().st_size for path in (DOCS / "screens").iterdir()) <= LIMIT


def test_every_picture_the_documents_show_is_there() -> None:
    for document in [DOCS.parent / "README.md", *DOCS.glob("*.md")]:
        for name in re.findall(r"screens/([\w-]+\.png)", document.read_text(encoding="utf-8")):
            assert (DOCS / "screens" / name).is_file(), f"{document.name} shows {name}"


def as_png(image: palette.Bytes, filters: list[int]) -> bytes:
    """An RGB PNG whose rows are written with these filters, by the formulas of the specification."""
    height, width, _ = image.shape
    rows, above = [], np.zeros((width, 3), dtype=int)
    for line, how in zip(image.astype(int), filters, strict=True):
        west = np.vstack([np.zeros((1, 3), dtype=int), line[:-1]])
        corner = np.vstack([np.zeros((1, 3), dtype=int), above[:-1]])
        guess = west + above - corner
        near = np.stack([abs(guess - west), abs(guess - above), abs(guess - corner)])
        paeth = np.choose(near.argmin(axis=0), [west, above, corner])
        foretold = [np.zeros_like(line), west, above, (west + above) // 2, paeth][how]
        rows.append(bytes([how]) + ((line - foretold) % 256).astype(np.uint8).tobytes())
        above = line
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    return palette.SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def shown(png: bytes) -> palette.Bytes:
    """What a viewer makes of a PNG with a palette and unfiltered rows."""
    parts = dict(palette.chunks(png))
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    colours = np.frombuffer(parts[b"PLTE"], dtype=np.uint8).reshape(-1, 3)
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), dtype=np.uint8).reshape(height, 1 + width)
    return colours[lines[:, 1:]]


def test_all_five_filters_are_undone() -> None:
    image = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(palette.pixels(as_png(image, [0, 1, 2, 3, 4])), image)


def test_few_colours_are_kept_to_the_bit() -> None:
    colours = np.random.default_rng(2).integers(0, 256, (palette.COLOURS, 3), dtype=np.uint8)
    image = colours[np.random.default_rng(3).integers(0, palette.COLOURS, (20, 30))]
    assert np.array_equal(shown(palette.small(as_png(image, [4] * 20))), image)


def test_many_colours_become_the_nearest_of_a_few_and_a_few_red_letters_stay_red() -> None:
    image = np.full((64, 64, 3), 245, dtype=np.uint8)
    image[:32, :, :] = np.add.outer(np.arange(32) * 4, np.arange(64) * 2)[:, :, None] % 256 + np.array([0, 1, 2])
    image[40, 10:14] = (179, 38, 30)
    after = shown(palette.small(as_png(image, [2] * 64)))
    assert len(np.unique(after.reshape(-1, 3), axis=0)) == palette.COLOURS
    assert np.array_equal(after[32:], image[32:]), "a flat surface keeps its colour, and what stands on it"
    assert np.abs(after.astype(int) - image).max() <= 8


def test_what_is_no_png_is_refused() -> None:
    with pytest.raises(ValueError, match="no PNG"):
        palette.small(b"GIF89a")
