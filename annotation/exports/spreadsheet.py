"""Judgements and pairs as CSV that a spreadsheet opens without running anything in it, and the way back to the very same text. Pure.

A cell that a spreadsheet would take for a formula begins with an apostrophe (OWASP ASVS 1.2.10); one that began with an apostrophe gets
another, so that taking one away always gives back what was there.
"""

import csv
import json
from pathlib import Path
from typing import Any

from annotation.exports import card, laid, sealing, tables
from annotation.exports.laid import Row, Say
from annotation.exports.shards import Meter

# As themselves, and in the full width that East Asian input methods write and spreadsheets fold.
_BEGINS = frozenset("=+-@\t\r\n\0|%＝＋－＠｜％")
MARK = "'"


def safe(text: str) -> str:
    """`text` as a cell that is text to every spreadsheet."""
    trimmed = text.lstrip()
    dangerous = text[:1] in _BEGINS or trimmed[:1] in _BEGINS or text.startswith(MARK)
    return MARK + text if dangerous else text


def plain(cell: str) -> str:
    """What `safe` was given."""
    return cell.removeprefix(MARK)


def cells(row: Row) -> list[str]:
    """Numbers as they are written, texts safe, lists and objects as JSON, nothing as an empty cell."""
    return [_cell(value) for value in row.values()]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # A number below zero is a number to a spreadsheet, and no formula.
        return repr(value)
    return safe(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))


def comparison(pair: Row, answer: Row, facts: Row) -> Row:
    """One answer with what it is about, in one row."""
    made = tables.judgment(answer, facts)
    instruction, asked = laid.turns(pair["prompt"] or [])
    return {
        "judgment_id": made.pop("judgment_id"), "pair_id": made.pop("pair_id"), "sample_id": made.pop("sample_id"), "split": pair["split"],
        "task_type": made.pop("task_type"), "document_type": pair["document_type"], "instruction": instruction, "input": asked,
        "first": pair["first"], "second": pair["second"], "first_by": pair["first_by"], "second_by": pair["second_by"], **made,
    }  # fmt: skip


def write(folder: Path, place: Path, say: Say | None = None) -> dict[str, Any]:
    """judgments.csv (UTF-8 with a byte order mark, as Excel wants it; a header; CRLF) and manifest.json."""
    facts = laid.facts(folder)
    meter, rows, header = Meter(say, facts["total"]), 0, False
    with (place / "judgments.csv").open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.writer(out)
        for pair, answers in laid.heard(folder, facts["level"]):
            for answer in answers:
                row = comparison(pair, answer, facts)
                if not header:
                    writer.writerow(row)
                    header = True
                writer.writerow(cells(row))
                rows += 1
            meter(1 + len(answers))
    told = sealing.Tally("answers", facts["answers"], {})
    return sealing.seal(place, {**card.identity(facts), "form": "csv", "configs": {"judgments": told.told({"all": rows})}})
