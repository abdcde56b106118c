"""What a merge measured of itself, drawn: tensors by module and layer as a heat map, and each expert's gain that was kept; and how near an
extracted adapter comes.

Both come from the merged version's metrics as its job wrote them:
    merge_report  {"tensors": [{"name", "layer", "module", "numel", "base_norm", "delta_norm": {expert}, "cosine": {expert},
                   "sign_conflict", "merged_norm", "pairwise_cosine", "kept"}]}   (training/engine/merging/report.py)
    extraction    {"tensors": [{"name", "layer", "module", "norm", "error", "bound"}]}   (training/engine/kinds/extract.py)
    retention     {"questions", "experts": {expert: {"base", "expert", "merged", "gain", "kept", "interval": [low, high]}}}
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString

from web.charts import interval_chart
from web.heatmaps import heat_map

# Tensors that belong to no layer: embeddings, the last norm, the head.
OUTSIDE = "other"

# key: (what it is called, what it is, whether each expert has its own)
METRICS: dict[str, tuple[str, str, bool]] = {
    "delta": ("Change by the expert", "length of its difference from the base, as a share of the base's", True),
    "cosine": ("Agreement with the merge", "cosine of its difference from the base with the merge's", True),
    "changed": ("Entries changed", "share of entries in which the merge differs from the base", False),
    "pairwise": ("Agreement of the experts", "mean cosine of two experts' differences from the base", False),
    "conflict": ("Sign conflict", "share of entries that some experts push up and others down", False),
    "merged": ("Length of the merged tensor", "as a share of the base's", False),
}


@dataclass(frozen=True)
class Report:
    """A drawn heat map, with what else could be drawn."""

    chart: SafeString
    metric: str
    expert: str
    experts: tuple[str, ...]
    tensors: int

    @property
    def metrics(self) -> list[tuple[str, str]]:
        return [(key, label) for key, (label, _, _) in METRICS.items()]

    @property
    def meaning(self) -> str:
        said = METRICS[self.metric][1]
        return said[0].upper() + said[1:]

    @property
    def by_expert(self) -> bool:
        return METRICS[self.metric][2]


def report(metrics: Mapping[str, Any], *, metric: str = "", expert: str = "", order: Sequence[str] = ()) -> Report | None:
    """The heat map of one metric, of one expert where each has its own; what is asked for and is not there is the first there is.

    None where the version's job has written none, as a merge of an earlier release has not. `order` is the experts' in the recipe.
    """
    tensors = (metrics.get("merge_report") or {}).get("tensors") or []
    if not tensors:
        return None
    experts = tuple(_ordered({name for tensor in tensors for name in tensor["delta_norm"]}, order))
    metric = metric if metric in METRICS else "delta"
    expert = expert if expert in experts else next(iter(experts), "")
    cells = _cells(tensors, metric, expert)
    layers = sorted({layer for _, layer in cells if layer != OUTSIDE}, key=int)
    columns = [*layers, *([OUTSIDE] if any(layer == OUTSIDE for _, layer in cells) else [])]
    modules = list(dict.fromkeys(tensor["module"] for tensor in tensors))
    label, _, by_expert = METRICS[metric]
    chart = heat_map(
        [module for module in modules if any((module, column) in cells for column in columns)], columns, cells,
        title=f"{label}{f': {expert}' if by_expert else ''}", row_label="module", column_label="layer", unit=_UNITS[metric],
        limits=(0.0, 1.0) if metric == "cosine" else None,
    )  # fmt: skip
    return Report(chart=chart, metric=metric, expert=expert, experts=experts, tensors=len(tensors))


_UNITS = {"delta": "change", "cosine": "cosine", "changed": "share", "pairwise": "cosine", "conflict": "share", "merged": "length"}
# What a metric of its own is called in the report.
_KEYS = {"changed": "kept", "pairwise": "pairwise_cosine", "conflict": "sign_conflict"}


def _cells(tensors: list[dict[str, Any]], metric: str, expert: str) -> dict[tuple[str, str], float]:
    """One value a module and layer. Where several tensors share a place (a weight and its bias), lengths are those of both together and
    shares are weighted by their entries."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for tensor in tensors:
        found[tensor["module"], OUTSIDE if tensor["layer"] is None else str(tensor["layer"])].append(tensor)
    return {place: value for place, those in found.items() if (value := _value(those, metric, expert)) is not None}


def _value(those: list[dict[str, Any]], metric: str, expert: str) -> float | None:
    if metric in ("delta", "merged"):
        long = [tensor["delta_norm"].get(expert) if metric == "delta" else tensor["merged_norm"] for tensor in those]
        if any(value is None for value in long):
            return None
        base = math.hypot(*(tensor["base_norm"] for tensor in those))
        return math.hypot(*long) / base if base else None
    each = [tensor["cosine"].get(expert) if metric == "cosine" else tensor.get(_KEYS[metric]) for tensor in those]
    if any(value is None for value in each):
        return None
    entries = sum(tensor["numel"] for tensor in those)
    return sum(value * tensor["numel"] for value, tensor in zip(each, those, strict=True)) / entries if entries else None


@dataclass(frozen=True)
class Kept:
    """One expert: its score and the base's and the merge's on the expert's questions, and the share of its gain that was kept."""

    name: str
    base: float
    expert: float
    merged: float
    gain: float
    kept: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Retention:
    questions: int
    rows: list[Kept]

    @property
    def chart(self) -> SafeString:
        shown = [
            (row.name, row.kept, *(row.interval or (None, None)), "" if row.kept is not None else "the expert gained nothing")
            for row in self.rows
        ]
        return interval_chart(shown, title="Share of each expert's gain that was kept", x_label="share kept", reference=(1.0, "all of it"))


def _ordered(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """As in the recipe: the database keeps no order of an object's keys."""
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def retention(metrics: Mapping[str, Any], *, order: Sequence[str] = ()) -> Retention | None:
    """None where nothing was asked of the merge."""
    found = metrics.get("retention") or {}
    if not found.get("experts"):
        return None
    rows = [
        Kept(
            name=name, base=row["base"], expert=row["expert"], merged=row["merged"], gain=row["gain"], kept=row["kept"],
            interval=tuple(row["interval"]) if row.get("interval") and None not in row["interval"] else None,
        )
        for name in _ordered(found["experts"], order)
        for row in [found["experts"][name]]
    ]  # fmt: skip
    return Retention(questions=found["questions"], rows=rows)


# --- adapters -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extraction:
    """How near an extracted adapter comes to the change it was made of: `error` is what is lost of it, as a share of its length."""

    rank: int
    error: float
    error_of_matrices: float
    held: int
    lost: list[str]
    chart: SafeString


def extraction(metrics: Mapping[str, Any]) -> Extraction | None:
    """None for any other version."""
    tensors = (metrics.get("extraction") or {}).get("tensors") or []
    if not tensors:
        return None
    cells: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for tensor in tensors:
        cells[tensor["module"], OUTSIDE if tensor["layer"] is None else str(tensor["layer"])].append(tensor)
    layers = sorted({layer for _, layer in cells if layer != OUTSIDE}, key=int)
    columns = [*layers, *([OUTSIDE] if any(layer == OUTSIDE for _, layer in cells) else [])]
    chart = heat_map(
        list(dict.fromkeys(tensor["module"] for tensor in tensors)), columns, {place: _lost(those) for place, those in cells.items()},
        title="Reconstruction error", row_label="module", column_label="layer", unit="error", limits=(0.0, 1.0),
    )  # fmt: skip
    return Extraction(
        rank=metrics["rank"], error=metrics["error"], error_of_matrices=metrics["error_of_matrices"], held=metrics["held"],
        lost=[tensor["name"] for tensor in tensors if tensor["error"] >= 1], chart=chart,
    )  # fmt: skip


def _lost(those: list[dict[str, Any]]) -> float:
    """Of tensors that share a place, of the change of all of them together."""
    return math.hypot(*(each["norm"] * each["error"] for each in those)) / math.hypot(*(each["norm"] for each in those))
