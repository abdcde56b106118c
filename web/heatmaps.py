"""Heat maps drawn by the server: one square a place of a grid, darker for more, and the same numbers as a table one click away."""

import math
from collections.abc import Mapping, Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from web.charts import Drawing, figure, number

# At the left there is room for the longest name of a module, post_attention_layernorm.
LEFT, RIGHT, TOP, BOTTOM, ROW = 180, 12, 8, 56, 22
# Columns are named at their feet, as many as there is room for.
MOST_NAMES = 16
# The faintest square is still seen beside one that is not there.
FAINTEST = 0.06

Cells = Mapping[tuple[str, str], float]


def heat_map(
    rows: Sequence[str], columns: Sequence[str], cells: Cells, *, title: str, row_label: str, column_label: str, unit: str,
    limits: tuple[float, float] | None = None, width: int = 640,
) -> SafeString:  # fmt: skip
    """`cells` by (row, column); a place without one stays empty. `limits` are the values of the faintest and the darkest square; without
    them the smallest and the largest value are. Values beyond them are drawn as the nearest; no number (NaN) as none.
    """
    known = {place: value for place, value in cells.items() if math.isfinite(value)}
    if not known:
        return format_html('<figure class="chart"><p class="muted">{}: no measurements yet.</p></figure>', title)
    low, high = limits or (min(known.values()), max(known.values()))
    across = (width - LEFT - RIGHT) / len(columns)
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [_row(name, TOP + ROW * place) for place, name in enumerate(rows)]
    parts += [
        _square(row, column, value, LEFT + across * columns.index(column), TOP + ROW * rows.index(row), across, _darkness(value, low, high))
        for (row, column), value in known.items()
    ]
    foot = TOP + ROW * len(rows)
    every = math.ceil(len(columns) / MOST_NAMES)
    parts += [
        format_html('<text x="{}" y="{}" text-anchor="middle">{}</text>', round(LEFT + across * (place + 0.5), 2), foot + 15, name)
        for place, name in enumerate(columns)
        if place % every == 0
    ]
    parts.append(format_html('<text x="{}" y="{}">{}</text>', LEFT, foot + 34, column_label))
    parts.append(_key(low, high, unit, width - RIGHT, foot + 34))
    summary = f"{unit} from {number(min(known.values()))} to {number(max(known.values()))}"
    table = [[row, *(number(cells[row, column]) if (row, column) in cells else "" for column in columns)] for row in rows]
    return figure(title=title, summary=summary, drawings=[Drawing(width, height, parts)], head=[row_label, *columns], rows=table)


def _darkness(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 1.0
    return round(FAINTEST + (1 - FAINTEST) * min(1.0, max(0.0, share)), 3)


def _row(name: str, y: float) -> SafeString:
    return format_html('<text x="{}" y="{}" text-anchor="end">{}</text>', LEFT - 8, y + 15, name)


def _square(row: str, column: str, value: float, x: float, y: float, across: float, darkness: float) -> SafeString:
    return format_html(
        '<rect class="heat-cell" x="{}" y="{}" width="{}" height="{}" fill-opacity="{}"><title>{}, {}: {}</title></rect>',
        round(x + 0.5, 2), y + 1, round(across - 1, 2), ROW - 2, darkness, row, column, number(value),
    )  # fmt: skip


def _key(low: float, high: float, unit: str, right: float, y: float) -> SafeString:
    """Five squares between the two values that they stand for, at the right."""
    squares = format_html_join(
        "",
        '<rect class="heat-cell" x="{}" y="{}" width="14" height="12" fill-opacity="{}"/>',
        ((right - 130 + 15 * step, y - 10, _darkness(step, 0, 4)) for step in range(5)),
    )
    return format_html(
        '<text x="{}" y="{}" text-anchor="end">{} {}</text>{}<text x="{}" y="{}">{}</text>',
        right - 136, y, unit, number(low), squares, right - 50, y, number(high),
    )  # fmt: skip
