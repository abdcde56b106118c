"""How much of a file is read, at most: bytes, ratio of a compressed file, rows, a line, a row's depth and its number of values."""

from dataclasses import dataclass

MIB = 2**20
MAX_LINE_BYTES = 4 * MIB
MAX_DEPTH = 32
MAX_BLANK = 1_000_000
# A row of four MiB could hold a million empty lists, which take a hundred MiB of memory.
MAX_VALUES = 100_000
MAX_COLUMNS = 500


@dataclass(frozen=True)
class Limits:
    """What one import may bring. `file_bytes` as it is sent, `bytes` once unpacked; `ratio` counts from `ratio_from` bytes on."""

    file_bytes: int = 16 * 2**30
    bytes: int = 64 * 2**30
    ratio: int = 20
    ratio_from: int = MIB
    rows: int = 10_000_000
    # A workbook's texts lie in memory while it is read, and an array is one document.
    workbook_bytes: int = 256 * MIB
    workbook_texts_bytes: int = 16 * MIB


LIMITS = Limits()
