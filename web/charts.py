"""Charts drawn by the server: SVG with classes and presentation attributes only, and the same numbers as a table one click away.

A strict content security policy forbids inline style and script; clinics have no CDN and no Node. So a chart is markup.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

MOST_SERIES = 4
Point = tuple[float, float]
Row = tuple[str, float | None, float | None, float | None, str]
# left, right, top, bottom room for labels, in user units (pixels at natural size)
LEFT, RIGHT, TOP, BOTTOM = 52, 112, 12, 36
# Every chart is drawn twice, for a page and for a phone: made smaller, its letters could not be read. The sheet shows one of the two.
WIDE, NARROW = 640, 320
ROW = 28


@dataclass(frozen=True)
class Series:
    """One line. `band` holds (x, low, high), the interval around it."""

    name: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] | None = None


@dataclass(frozen=True)
class Drawing:
    """A chart at one width: its shapes, in user units."""

    width: int
    height: int
    parts: Sequence[SafeString]


@dataclass(frozen=True)
class _Scale:
    """Maps [low, high] to [start, end] linearly."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers covering [low, high]: the first is ≤ low, the last ≥ high; steps are 1, 2 or 5 times a power of ten."""
    if not low < high:
        room = abs(low) / 2 or 1.0
        low, high = low - room, high + room
    raw = (high - low) / max(about - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def number(value: float) -> str:
    """A figure for an axis or a table: at most four significant digits, thousands apart; "–" for what is no number."""
    if not math.isfinite(value):
        return "–"
    if value == round(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:,.4g}"


def _short(value: float) -> str:
    """A figure beside what it belongs to: three significant digits, as a reader takes in; the table has them all."""
    return number(value) if value == round(value) or abs(value) >= 100 else number(float(f"{value:.3g}"))


def _finite(series: Series) -> Series:
    """Without the points a line cannot show (NaN, infinity); the table still lists them."""
    band = [b for b in series.band if all(map(math.isfinite, b))] if series.band else None
    return Series(series.name, [p for p in series.points if all(map(math.isfinite, p))], band)


@dataclass(frozen=True)
class _LogScale:
    """Maps [low, high], both above 0, to [start, end] by the logarithm; what lies outside is drawn at the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 2)


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    height: int = 240,
    y_from_zero: bool = False,
    y_log: tuple[float, float] | None = None,
    reference: tuple[float, str] | None = None,
) -> SafeString:
    """Lines with their names at their ends, bands for intervals, and a table. Raises ValueError above four series.

    `y_log` makes the upright axis logarithmic between two powers of ten (what lies outside is drawn at the edge, and told by the table);
    `reference` draws a labelled level line.
    """
    if len(series) > MOST_SERIES:
        raise ValueError(f"At most {MOST_SERIES} series a chart; {len(series)} were given.")
    drawn = [_finite(s) for s in series]
    xs = [x for s in drawn for x, _ in s.points]
    ys = [y for s in drawn for _, y in s.points] + [v for s in drawn for b in s.band or () for v in b[1:]]
    if not xs:
        return format_html('<figure class="chart"><p class="muted">{}: no measurements yet.</p></figure>', title)
    y_ticks = _powers(*y_log) if y_log else ticks(min(0.0, *ys) if y_from_zero else min(ys), max(ys))
    y = (_LogScale if y_log else _Scale)(y_ticks[0], y_ticks[-1], height - BOTTOM, TOP)
    x_ends = (min(xs), max(xs))
    drawings = [
        Drawing(width, height, _lines(drawn, y, y_ticks, x_ends, width=width, height=height, x_label=x_label, reference=reference))
        for width in (WIDE, NARROW)
    ]
    head = [x_label, *(s.name for s in series)]
    return figure(title=f"{title} ({y_label})", summary=_line_summary(drawn, y_label), drawings=drawings, head=head, rows=_by_x(series))


def _lines(
    drawn: Sequence[Series], y: "_Scale | _LogScale", y_ticks: Sequence[float], ends: tuple[float, float], *, width: int, height: int,
    x_label: str, reference: tuple[float, str] | None,
) -> list[SafeString]:  # fmt: skip
    # On a phone the names at the lines' ends get two thirds of the room.
    right, letters = (RIGHT, 16) if width == WIDE else (76, 11)
    x_ticks = ticks(*ends, about=5 if width == WIDE else 3)
    x_low, x_high = ends if ends[0] < ends[1] else (x_ticks[0], x_ticks[-1])
    x = _Scale(x_low, x_high, LEFT, width - right)
    parts = [_y_axis(y_ticks, y, x.end), _x_axis([t for t in x_ticks if x_low <= t <= x_high], x, height, x_label)]
    if reference:
        parts.append(_level(reference, y, x.end))
    heights = _apart([y(s.points[-1][1]) if s.points else 0.0 for s in drawn], low=TOP + 4, high=height - BOTTOM)
    for place, s in enumerate(drawn, start=1):
        if s.band:
            upper = [f"{x(a)},{y(high)}" for a, _, high in s.band]
            lower = [f"{x(a)},{y(low)}" for a, low, _ in reversed(s.band)]
            parts.append(format_html('<polygon class="band s{}" points="{}"/>', place, " ".join(upper + lower)))
        if len(s.points) == 1:
            parts.append(format_html('<circle class="dot s{}" cx="{}" cy="{}" r="3"/>', place, x(s.points[0][0]), y(s.points[0][1])))
        elif s.points:
            parts.append(format_html('<polyline class="line s{}" points="{}"/>', place, " ".join(f"{x(a)},{y(b)}" for a, b in s.points)))
        if s.points:
            end, name = x(s.points[-1][0]) + 6, _clip(s.name, letters)
            parts.append(format_html('<text class="s{}" x="{}" y="{}">{}</text>', place, end, heights[place - 1] + 4, name))
    return parts


def bar_chart(
    rows: Sequence[tuple[str, float, float | None, float | None]],
    *,
    title: str,
    x_label: str,
    from_zero: bool = True,
    reference: tuple[float, str] | None = None,
) -> SafeString:
    """One horizontal bar a row (label, value, low, high) with its interval as a whisker; `reference` draws a labelled upright line."""
    if not rows:
        return format_html('<figure class="chart"><p class="muted">{}: no measurements yet.</p></figure>', title)
    values = [v for _, value, low, high in rows for v in (value, low, high) if v is not None and math.isfinite(v)]
    values += [reference[0]] if reference else []
    values = values or [0.0]
    ends = (min(0.0, *values) if from_zero else min(values), max(0.0, *values) if from_zero else max(values))
    drawings = []
    for width in (WIDE, NARROW):
        rail = _Rail(width, len(rows), reference)
        marks = ticks(*ends, about=rail.marks)
        x = _Scale(marks[0], marks[-1], rail.left, width - 56)
        parts = [*rail.frame(marks, x, x_label)]
        for place, (label, value, low, high) in enumerate(rows):
            parts += [rail.name(place, label), *_bar(x, value, low, high, middle=rail.middle(place))]
        drawings.append(Drawing(width, rail.height, parts))
    cells = [[label, number(value), _interval(low, high)] for label, value, low, high in rows]
    summary = "; ".join(f"{label} {number(value)}" for label, value, _, _ in rows)
    return figure(title=title, summary=summary, drawings=drawings, head=["", x_label, "95 % interval"], rows=cells)


def _bar(x: _Scale, value: float, low: float | None, high: float | None, *, middle: float) -> list[SafeString]:
    if not math.isfinite(value):
        return []
    start, end = sorted((x(0.0) if x.low <= 0 <= x.high else x(x.low), x(value)))
    parts = [format_html('<rect class="bar s1" x="{}" y="{}" width="{}" height="16"/>', start, middle - 8, round(max(end - start, 1), 2))]
    right = x(value)
    if low is not None and high is not None and math.isfinite(low) and math.isfinite(high):
        right = max(right, x(high))
        shape = '<path class="whisker" d="M{0},{2} H{1} M{0},{3} V{4} M{1},{3} V{4}"/>'
        parts.append(format_html(shape, x(low), x(high), middle, middle - 4, middle + 4))
    return [*parts, format_html('<text class="chart-name" x="{}" y="{}">{}</text>', right + 6, middle + 4, _short(value))]


def interval_chart(
    rows: Sequence[Row],
    *,
    title: str,
    x_label: str,
    limits: tuple[float, float] | None = None,
    reference: tuple[float, str] | None = None,
) -> SafeString:
    """A dot with its 95 % interval a row (label, value, low, high, note); a row without a value shows its note instead.

    `limits` fixes the axis (shares: 0 and 1); `reference` draws a labelled upright line (chance, one half).
    """
    if not rows:
        return format_html('<figure class="chart"><p class="muted">{}: no measurements yet.</p></figure>', title)
    values = [v for _, value, low, high, _ in rows for v in (value, low, high) if v is not None and math.isfinite(v)]
    values += [*(limits or ()), *([reference[0]] if reference else [])]
    ends = (min(values, default=0.0), max(values, default=1.0))
    drawings = []
    for width in (WIDE, NARROW):
        rail = _Rail(width, len(rows), reference)
        marks = ticks(*ends, about=rail.marks)
        x = _Scale(marks[0], marks[-1], rail.left, width - (72 if width == WIDE else 48))
        parts = [*rail.frame(marks, x, x_label)]
        for place, row in enumerate(rows):
            parts += [rail.name(place, row[0]), *_dot(x, row, middle=rail.middle(place), left=rail.left)]
        drawings.append(Drawing(width, rail.height, parts))
    cells = [[label, note if value is None else number(value), _interval(low, high)] for label, value, low, high, note in rows]
    summary = "; ".join(f"{label} {note if value is None else number(value)}" for label, value, _, _, note in rows)
    return figure(title=title, summary=summary, drawings=drawings, head=["", x_label, "95 % interval"], rows=cells)


def _dot(x: _Scale, row: Row, *, middle: float, left: float) -> list[SafeString]:
    _, value, low, high, note = row
    if value is None or not math.isfinite(value):
        return [format_html('<text x="{}" y="{}">{}</text>', left + 6, middle + 4, note)]
    parts, right = [], x(value)
    if low is not None and high is not None:
        right = max(right, x(high))
        parts.append(format_html('<path class="whisker" d="M{},{} H{}"/>', x(low), middle, x(high)))
    parts.append(format_html('<circle class="dot s1" cx="{}" cy="{}" r="4"/>', x(value), middle))
    return [*parts, format_html('<text class="chart-name" x="{}" y="{}">{}</text>', right + 8, middle + 4, _short(value))]


class _Rail:
    """The rows of a chart that lie below one another: names at the left, an axis below, at most one labelled upright line."""

    def __init__(self, width: int, rows: int, reference: tuple[float, str] | None) -> None:
        self.left, self.letters, self.marks = (168, 24, 5) if width == WIDE else (124, 18, 3)
        self.reference, self.top = reference, TOP + (12 if reference else 0)
        self.height = self.top + ROW * rows + BOTTOM

    def middle(self, place: int) -> float:
        return self.top + ROW * place + ROW / 2

    def name(self, place: int, label: str) -> SafeString:
        shown = _clip(label, self.letters)
        return format_html('<text x="{}" y="{}" text-anchor="end">{}</text>', self.left - 8, self.middle(place) + 4, shown)

    def frame(self, marks: Sequence[float], x: _Scale, x_label: str) -> Iterator[SafeString]:
        yield _x_axis(marks, x, self.height, x_label)
        if self.reference:
            at, base = x(self.reference[0]), self.height - BOTTOM
            yield format_html('<line class="axis" x1="{0}" x2="{0}" y1="{1}" y2="{2}" stroke-dasharray="4 3"/>', at, self.top, base)
            yield format_html('<text x="{}" y="{}" text-anchor="middle">{}</text>', at, 12, self.reference[1])


def figure(*, title: str, summary: str, drawings: Sequence[Drawing], head: Sequence[str], rows: Sequence[Sequence[str]]) -> SafeString:
    """Drawings of one thing, the second for a phone, with its name above and its numbers folded below; `summary` is what a screen reader
    says of them."""
    table = format_html(
        '<div class="table-scroll" tabindex="0" role="region" aria-label="{}"><table class="table">'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>",
        title,
        format_html_join("", '<th scope="col">{}</th>', ((name,) for name in head)),
        format_html_join("", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows)),
    )
    classes = ["only-wide", "only-narrow"] if len(drawings) > 1 else ["only"]
    return format_html(
        '<figure class="chart"><figcaption class="chart-name">{}</figcaption>{}<details><summary>Numbers</summary>{}</details></figure>',
        title,
        format_html_join(
            "",
            '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}. {}"><title>{}</title>{}</svg>',
            (
                # Each part came from format_html.
                (of, drawing.width, drawing.height, title, summary, title, mark_safe("".join(drawing.parts)))  # noqa: S308
                for of, drawing in zip(classes, drawings, strict=True)
            ),
        ),
        table,
    )


def _powers(low: float, high: float) -> list[float]:
    """The powers of ten from `low` to `high`, which are two of them."""
    return [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]


def _level(reference: tuple[float, str], y: _Scale | _LogScale, end: float) -> SafeString:
    at = y(reference[0])
    return format_html(
        '<line class="axis" x1="{0}" x2="{1}" y1="{2}" y2="{2}" stroke-dasharray="4 3"/><text x="{3}" y="{4}">{5}</text>',
        LEFT, end, at, LEFT + 6, at - 4, reference[1],
    )  # fmt: skip


def _y_axis(marks: Sequence[float], y: _Scale | _LogScale, end: float) -> SafeString:
    return format_html_join(
        "",
        '<line class="grid" x1="{1}" x2="{2}" y1="{0}" y2="{0}"/><text x="{3}" y="{4}" text-anchor="end">{5}</text>',
        ((y(t), LEFT, end, LEFT - 6, y(t) + 4, number(t)) for t in marks),
    )


def _x_axis(marks: Sequence[float], x: _Scale, height: int, label: str) -> SafeString:
    base = height - BOTTOM
    axis = format_html('<line class="axis" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>', x.start, x.end, base)
    texts = format_html_join("", '<text x="{}" y="{}" text-anchor="middle">{}</text>', ((x(t), base + 15, number(t)) for t in marks))
    name = format_html('<text x="{}" y="{}" text-anchor="middle">{}</text>', (x.start + x.end) / 2, height - 4, label)
    return axis + texts + name


def _apart(places: Sequence[float], *, low: float, high: float, room: float = 14) -> list[float]:
    """Label heights moved so that no two are nearer than `room`, in the same order as given."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, here in pairwise(order):
        moved[here] = max(moved[here], moved[before] + room)
    if order and moved[order[-1]] > high:
        moved[order[-1]] = high
        for after, here in pairwise(reversed(order)):
            moved[here] = min(moved[here], moved[after] - room)
    return [max(low, place) for place in moved]


def _by_x(series: Sequence[Series]) -> list[list[str]]:
    """Table rows: one an x, a cell a series; at most 200, evenly taken, the last always there."""
    columns = [dict(s.points) for s in series]
    xs = sorted({x for column in columns for x in column})
    stride = max(1, math.ceil(len(xs) / 200))
    kept = [x for place, x in enumerate(xs) if place % stride == 0 or place == len(xs) - 1]
    return [[number(x), *(number(column[x]) if x in column else "" for column in columns)] for x in kept]


def _line_summary(series: Sequence[Series], y_label: str) -> str:
    ends = (f"{s.name} from {number(s.points[0][1])} to {number(s.points[-1][1])}" for s in series if s.points)
    return f"{y_label}: " + "; ".join(ends)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
