"""Layered drawings of graphs without cycles: which line a box stands on, its place there, and the curves between; pure arithmetic.

The steps of Sugiyama, Tagawa and Toda (1981): layers by longest path, lines that pass a layer get a place in it, places sorted by the
mean of their neighbours, coordinates as near to the neighbours as boxes may stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

Link = tuple[int, int]
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 164, 40, 20, 36, 10
# A line that passes between boxes needs less room than a box.
LANE = 12
SWEEPS = 6


@dataclass(kw_only=True)
class Box:
    """One thing of a drawing: a rectangle with a line that names it and a line below. SVG units; `x`, `y` are its left upper corner."""

    # Letters that the upper line has room for, the lower one having a few more of its smaller ones; how far in both begin.
    LETTERS: ClassVar[int] = 20
    INSET: ClassVar[int] = 10

    label: str
    note: str
    x: float = 0
    y: float = 0
    width: int = BOX_WIDTH
    height: int = BOX_HEIGHT

    @property
    def short(self) -> str:
        return _cut(self.label, self.LETTERS)

    @property
    def short_note(self) -> str:
        return _cut(self.note, self.LETTERS + 3)

    @property
    def text_x(self) -> float:
        return self.x + self.INSET

    @property
    def label_y(self) -> float:
        return self.y + 17

    @property
    def note_y(self) -> float:
        return self.y + 32


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


@dataclass(frozen=True)
class Arrangement:
    """`places`: left upper corner of each box; `curves`: (upper, lower, path) of each drawn link, as an SVG path from box to box."""

    width: float
    height: float
    places: list[tuple[float, float]]
    curves: list[tuple[int, int, str]]


def layers(count: int, links: Sequence[Link]) -> list[int]:
    """For each of `count` nodes the length of the longest way to it. Raises ValueError for a cycle."""
    below: list[list[int]] = [[] for _ in range(count)]
    waits = [0] * count
    for upper, lower in links:
        below[upper].append(lower)
        waits[lower] += 1
    found = [0] * count
    ready = [node for node in range(count) if not waits[node]]
    for node in ready:
        for lower in below[node]:
            found[lower] = max(found[lower], found[node] + 1)
            waits[lower] -= 1
            if not waits[lower]:
                ready.append(lower)
    if len(ready) < count:
        raise ValueError("The graph has a cycle.")
    return found


def without_shortcuts(count: int, links: Sequence[Link]) -> list[Link]:
    """The transitive reduction: a link is left out where a longer way leads from its one end to the other."""
    depth = layers(count, links)
    below: list[set[int]] = [set() for _ in range(count)]
    for upper, lower in links:
        below[upper].add(lower)
    reached: list[set[int]] = [set() for _ in range(count)]
    for node in sorted(range(count), key=lambda each: -depth[each]):
        for lower in below[node]:
            reached[node] |= {lower} | reached[lower]
    return [
        (upper, lower)
        for upper, lower in dict.fromkeys(links)
        if not any(lower in reached[other] for other in below[upper] if other != lower)
    ]


def arrange(count: int, links: Sequence[Link], *, width: int = BOX_WIDTH, height: int = BOX_HEIGHT) -> Arrangement:
    """Place `count` boxes of one size, each below everything that links to it. Shortcuts are not drawn. Raises ValueError for a cycle."""
    drawn = without_shortcuts(count, links)
    depth = layers(count, drawn)
    chains, rows, ends = _with_lanes(depth, drawn)
    rows = _sorted(rows, ends)
    wide = [width if node < count else LANE for node in range(sum(map(len, rows)))]
    middles = _coordinates(rows, ends, wide)
    left = min((middles[node] - wide[node] / 2 for row in rows for node in row), default=0.0)
    middles = [middle - left + MARGIN for middle in middles]
    tops = [MARGIN + layer * (height + GAP_Y) for layer in range(len(rows))]
    level = {node: layer for layer, row in enumerate(rows) for node in row}
    places = [(round(middles[node] - width / 2, 1), float(tops[depth[node]])) for node in range(count)]
    curves = [(chain[0], chain[-1], _curve([(middles[node], tops[level[node]]) for node in chain], height)) for chain in chains]
    right = max((middles[node] + wide[node] / 2 for row in rows for node in row), default=0.0)
    return Arrangement(
        width=round(right + MARGIN, 1), height=(tops[-1] + height if tops else 0) + MARGIN, places=places, curves=curves
    )  # fmt: skip


def _with_lanes(depth: list[int], links: Sequence[Link]) -> tuple[list[list[int]], list[list[int]], list[Link]]:
    """(each link as the nodes it goes through, nodes by layer, links between neighbouring layers); numbers from `len(depth)` are lanes."""
    rows: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for node, layer in enumerate(depth):
        rows[layer].append(node)
    chains: list[list[int]] = []
    ends: list[Link] = []
    number = len(depth)
    for upper, lower in links:
        chain = [upper]
        for layer in range(depth[upper] + 1, depth[lower]):
            rows[layer].append(number)
            chain.append(number)
            number += 1
        chain.append(lower)
        chains.append(chain)
        ends += pairwise(chain)
    return chains, rows, ends


def _sorted(rows: list[list[int]], ends: Sequence[Link]) -> list[list[int]]:
    """Rows reordered by the mean place of each node's neighbours, down and up again; the order with the fewest crossings is kept."""
    above, below = _neighbours(ends)
    best, fewest = rows, crossings(rows, ends)
    for sweep in range(SWEEPS):
        rows = [list(row) for row in rows]
        order = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for layer in order:
            fixed = rows[layer - 1] if sweep % 2 == 0 else rows[layer + 1]
            place = {node: number for number, node in enumerate(fixed)}
            sides = above if sweep % 2 == 0 else below
            here = {node: number for number, node in enumerate(rows[layer])}

            def mean(node: int, sides: dict[int, list[int]] = sides, place: dict[int, int] = place, here: dict[int, int] = here) -> float:
                near = [place[each] for each in sides.get(node, [])]
                return sum(near) / len(near) if near else here[node]

            rows[layer].sort(key=mean)
        if (now := crossings(rows, ends)) < fewest:
            best, fewest = rows, now
    return best


def crossings(rows: Sequence[Sequence[int]], ends: Sequence[Link]) -> int:
    """How often links between neighbouring rows cross."""
    place = {node: (layer, number) for layer, row in enumerate(rows) for number, node in enumerate(row)}
    by_layer: dict[int, list[tuple[int, int]]] = {}
    for upper, lower in ends:
        by_layer.setdefault(place[upper][0], []).append((place[upper][1], place[lower][1]))
    return sum(
        (one[0] - other[0]) * (one[1] - other[1]) < 0
        for found in by_layer.values()
        for number, one in enumerate(found)
        for other in found[:number]
    )


def _neighbours(ends: Sequence[Link]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for upper, lower in ends:
        above.setdefault(lower, []).append(upper)
        below.setdefault(upper, []).append(lower)
    return above, below


def _coordinates(rows: list[list[int]], ends: Sequence[Link], wide: Sequence[float]) -> list[float]:
    """The middle of each node: as near to the mean of its neighbours as order and width allow."""
    above, below = _neighbours(ends)
    middles = [0.0] * len(wide)
    for row in rows:
        for node, middle in zip(row, _spread([0.0] * len(row), [wide[node] for node in row]), strict=True):
            middles[node] = middle
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            # Down by what stands above, up by what stands below; the last sweep weighs both.
            sides = [above, below] if sweep == SWEEPS - 1 else [above] if sweep % 2 == 0 else [below]
            wanted = []
            for node in row:
                near = [middles[each] for side in sides for each in side.get(node, [])]
                wanted.append(sum(near) / len(near) if near else middles[node])
            for node, middle in zip(row, _spread(wanted, [wide[node] for node in row]), strict=True):
                middles[node] = middle
    return middles


def _spread(wanted: Sequence[float], wide: Sequence[float]) -> list[float]:
    """Middles in the given order, GAP_X apart, with the least sum of squared distances to `wanted`: isotonic regression, pooling."""
    offsets = [0.0]
    for one, other in pairwise(wide):
        offsets.append(offsets[-1] + (one + other) / 2 + GAP_X)
    pools: list[tuple[float, int]] = []
    for middle, offset in zip(wanted, offsets, strict=False):
        mean, size = middle - offset, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, size = (before * many + mean * size) / (many + size), many + size
        pools.append((mean, size))
    flat = [mean for mean, size in pools for _ in range(size)]
    return [middle + offset for middle, offset in zip(flat, offsets, strict=False)]


def _curve(points: Sequence[tuple[float, float]], height: float) -> str:
    """From the lower edge of the first to the upper edge of the last; straight through the layers it passes."""
    (x, y), rest = points[0], points[1:]
    y += height
    path = f"M{x:.1f} {y:.1f}"
    for number, (goal, top) in enumerate(rest, start=1):
        bend = GAP_Y / 2
        path += f"C{x:.1f} {y + bend:.1f} {goal:.1f} {top - bend:.1f} {goal:.1f} {top:.1f}"
        x, y = goal, top
        if number < len(rest):
            y = top + height
            path += f"V{y:.1f}"
    return path
