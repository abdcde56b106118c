"""Models side by side on the mini-suite: each against what it was made from, task by task, with what asking it cost."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import UUID

from django.utils.safestring import SafeString

from jobs.models import ENDED
from modelhub import lineage
from modelhub.models import Kind, LineageEdge, ModelVersion
from training import suiteruns
from training.models import Run, Suite, SuiteRun
from training.suite import figures, mini, paired, published
from training.suite.results import SuiteResult
from web.charts import interval_chart

# More models than this are a page that nobody reads: the newest are shown.
MOST = 24
MOST_KEPT = 1000
T = TypeVar("T")
TASKS: tuple[str, ...] = tuple(mini.TASKS)
# How a family comes about: what stands further to the left is made first.
STAGES = (Kind.BASE, Kind.EXPERT, Kind.MERGED, Kind.SFT, Kind.DPO)


@dataclass(frozen=True)
class Cell:
    """One task, or the mean of all of them, in points (0 to 100): the score, and with a parent the gain with its interval (95 %, for this
    figure alone) and the relative gain in percent, None where the parent scored nothing. `worse` says that it is a regression."""

    score: float
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None
    p: float | None = None
    worse: bool = False
    before: float | None = None


@dataclass(frozen=True)
class Against:
    """A model against one parent: a cell a task in the suite's order, their mean, and in words what got worse; or why it cannot be."""

    parent: ModelVersion
    role: str = ""
    cells: Mapping[str, Cell] = field(default_factory=dict)
    mean: Cell | None = None
    regressions: tuple[str, ...] = ()
    problem: str = ""

    @property
    def rows(self) -> list[tuple[str, str, Cell]]:
        return [(name, mini.TASKS[name][1].replace("_", " "), cell) for name, cell in self.cells.items()]


@dataclass
class Row:
    """A model of the table. `run` stands, `latest` is the newest whatever became of it; `against` its parent among the models shown."""

    version: ModelVersion
    run: SuiteRun | None
    latest: SuiteRun | None
    told: SuiteResult | None
    against: Against | None = None
    standing: figures.Standing | None = None

    @property
    def cells(self) -> list[Cell]:
        if self.told is None:
            return []
        found = self.against.cells if self.against else {}
        return [found.get(name) or Cell(100 * self.told.tasks[name].score) for name in TASKS]

    @property
    def average(self) -> float | None:
        return 100 * figures.average(_scores(self.told)) if self.told else None

    @property
    def under_way(self) -> bool:
        return self.latest is not None and self.latest.job.state not in ENDED


@dataclass
class Table:
    """`focus` is the model whose parents are looked at closely; `base` the one that #DG and CV∆ are counted from."""

    rows: list[Row]
    focus: Row
    base: Row | None
    parents: list[Against]

    @property
    def alive(self) -> bool:
        return any(row.under_way for row in self.rows)

    @property
    def lacking(self) -> list[Row]:
        return [row for row in self.rows if row.told is None]


def lineage_of(version: ModelVersion) -> list[ModelVersion]:
    """The version and every whole model it was made from, in the order a family comes about. Two queries."""
    above = lineage.edges_above(version)
    found = {edge.parent.pk: edge.parent for edges in above.values() for edge in edges if edge.parent} | {version.pk: version}
    return in_order(one for one in found.values() if one.kind != Kind.ADAPTER)


def in_order(versions: Iterable[ModelVersion]) -> list[ModelVersion]:
    return sorted(versions, key=lambda one: (STAGES.index(Kind(one.kind)), one.pk))


def of_family(name: str) -> list[ModelVersion]:
    """What the jobs of a family made, and what was trained from that since. Empty when there is no such family."""
    made = Run.objects.filter(preset=f"family:{name}", output__isnull=False)
    since = Run.objects.filter(policy__run__in=made, output__isnull=False)
    found = ModelVersion.objects.usable().filter(run__in=made) | ModelVersion.objects.usable().filter(run__in=since)
    return in_order(found.distinct())


def table(versions: Sequence[ModelVersion], *, focus: ModelVersion) -> Table:
    """The models given, each against its parent among them. Two queries: what was asked, and who came from whom."""
    shown = list(versions)[-MOST:]
    digest = suiteruns.settings_digest(suite=Suite.MINI)
    asked: dict[int, list[SuiteRun]] = {}
    for run in SuiteRun.objects.filter(version__in=shown, suite=Suite.MINI, settings_digest=digest).select_related("job").order_by("-id"):
        asked.setdefault(run.version_id, []).append(run)
    rows = {version.pk: row_of(version, asked.get(version.pk, [])) for version in shown}
    edges: dict[int, list[LineageEdge]] = {}
    for edge in LineageEdge.objects.filter(child__in=shown, parent__in=shown).order_by("pk"):
        edges.setdefault(edge.child_id, []).append(edge)
    for pk, row in rows.items():
        if above := edges.get(pk):
            chosen = min(above, key=_nearest)
            row.against = _against(rows[chosen.parent_id or 0], row, chosen.role)
    base = next((row for row in rows.values() if row.version.kind == Kind.BASE and row.told), None)
    for row in rows.values():
        if base and base.told and row.told and row is not base:
            row.standing = figures.standing(_points(row.told), _points(base.told))
    close = rows[focus.pk]
    ordered = sorted({edge.parent_id: edge for edge in reversed(edges.get(focus.pk, []))}.values(), key=_nearest)
    parents = [_closely(rows[edge.parent_id or 0], close, edge.role) for edge in ordered]
    return Table(list(rows.values()), close, base, parents)


def _nearest(edge: LineageEdge) -> tuple[int, int]:
    """What a model was trained from comes before what else went into it; of a merge, its base."""
    return ({"policy": 0, "base": 1}.get(edge.role, 2), edge.pk)


def row_of(version: ModelVersion, runs: Sequence[SuiteRun]) -> Row:
    done = max((run for run in runs if run.finished_at), key=lambda run: (run.finished_at, run.pk), default=None)
    return Row(version, done, runs[0] if runs else None, suiteruns.result(done) if done else None)


def _scores(told: SuiteResult) -> dict[str, float]:
    return {name: task.score for name, task in told.tasks.items()}


def _points(told: SuiteResult) -> dict[str, float]:
    return {name: 100 * task.score for name, task in told.tasks.items()}


# Results never change and comparing two takes a tenth of a second: what was worked out once in this process is kept.
_kept: dict[tuple[str, UUID, UUID], Any] = {}


def _once(what: str, before: SuiteRun, after: SuiteRun, work: Callable[[], T]) -> T:
    key = (what, before.public_id, after.public_id)
    if key not in _kept:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        _kept[key] = work()
    found: T = _kept[key]
    return found


def _against(before: Row, after: Row, role: str) -> Against:
    """Scores and gains; relative gains without their intervals, which `_closely` adds."""
    if not (before.run and after.run and before.told and after.told):
        return Against(before.version, role, problem=f"{(before if not before.run else after).version.name} has no result yet.")
    one, other = before.run, after.run
    one.version, other.version = before.version, after.version
    try:
        found = _once("comparison", one, other, lambda: suiteruns.compare(before=one, after=other))
    except suiteruns.SuitesDiffer as differ:
        return Against(before.version, role, problem=str(differ))
    was, has = _points(before.told), _points(after.told)
    cells = {name: _cell(was[name], has[name], found.tasks[name], name in found.regressions) for name in TASKS}
    mean = _cell(figures.average(was), figures.average(has), found.mean, paired.MEAN in found.regressions)
    return Against(before.version, role, cells, mean, found.regressions)


def _cell(was: float, has: float, difference: paired.Difference, worse: bool) -> Cell:
    return Cell(
        score=has, before=was, gain=100 * difference.value, low=100 * difference.low, high=100 * difference.high, p=difference.p,
        relative=100 * (has - was) / was if was else None, worse=worse,
    )  # fmt: skip


def _closely(before: Row, after: Row, role: str) -> Against:
    found = _against(before, after, role)
    if found.problem or not (before.run and after.run and before.told and after.told):
        return found
    ours, theirs = suiteruns.scores(after.told), suiteruns.scores(before.told)
    gains = _once(
        "relative", before.run, after.run, lambda: {name: paired.relative(ours[name], theirs[name]) for name in found.cells}
    )  # fmt: skip
    cells = {name: _with(cell, gains[name]) for name, cell in found.cells.items()}
    return replace(found, cells=cells)


def _with(cell: Cell, gain: paired.Relative | None) -> Cell:
    return replace(cell, relative_low=100 * gain.low, relative_high=100 * gain.high) if gain else cell


# --- drawings -----------------------------------------------------------------------------------------------------------------------


def _tenth(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 1)


def averages_chart(shown: Table) -> SafeString:
    """AVG of every model that was asked."""
    states = [row.latest.job.get_state_display() if row.latest else "not asked" for row in shown.rows]
    rows = [(row.version.name, _tenth(row.average), None, None, state) for row, state in zip(shown.rows, states, strict=True)]
    return interval_chart(rows, title="Mean over the twelve tasks", x_label="points of 100", limits=(0.0, 100.0))


def gains_chart(name: str, against: Against) -> SafeString:
    """What a model gained over one parent, task by task."""
    cells = [*against.cells.items(), *([("mean", against.mean)] if against.mean else [])]
    rows = [(task, _tenth(cell.gain), _tenth(cell.low), _tenth(cell.high), "") for task, cell in cells]
    return interval_chart(
        rows, title=f"{name} less {against.parent.name}", x_label="points of 100, 95 % interval", reference=(0.0, "no change")
    )


# --- what the paper printed ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    name: str
    scores: list[float]
    average: float
    gained: int | None
    cv: float | None


def published_rows() -> list[Published]:
    """Tables 2, 3, 11 and 12 of arXiv 2505.10717, as printed: other models, on other data."""
    return [Published(name, [scores[task] for task in TASKS], *published.PRINTED[name]) for name, scores in published.CLUE.items()]


# --- for a terminal -----------------------------------------------------------------------------------------------------------------


def as_markdown(shown: Table) -> list[str]:
    """The table as lines of Markdown: tasks down, models across, each score with its gain over what it stands against."""
    rows = [row for row in shown.rows if row.told]
    lines = [
        "| | " + " | ".join(row.version.name for row in rows) + " |",
        "|---" * (len(rows) + 1) + "|",
        "| against | " + " | ".join(row.against.parent.name if row.against else "–" for row in rows) + " |",
    ]
    for place, task in enumerate(TASKS):
        lines.append(f"| {task} | " + " | ".join(_written(row.cells[place]) for row in rows) + " |")
    means = [row.against.mean if row.against and row.against.mean else Cell(row.average or 0.0) for row in rows]
    lines.append("| AVG | " + " | ".join(map(_written, means)) + " |")
    for name, told in (
        ("#DG", [str(row.standing.gained) if row.standing else "–" for row in rows]),
        ("CV∆ (n − 1, as printed)", [_number(row.standing.cv_sample if row.standing else None) for row in rows]),
        ("CV∆ (n, as defined)", [_number(row.standing.cv_population if row.standing else None) for row in rows]),
        ("regressions", [", ".join(row.against.regressions) or "none" if row.against else "–" for row in rows]),
        ("tokens/s", [_number(row.told.tokens_per_s) for row in rows if row.told]),
        ("p50 latency, ms", [_number(row.told.p50_latency_ms) for row in rows if row.told]),
        ("peak memory, MB", [_number(row.told.peak_rss_mb) for row in rows if row.told]),
    ):
        lines.append(f"| {name} | " + " | ".join(told) + " |")
    return lines + [f"not asked: {row.version.name}" for row in shown.lacking]


def _written(cell: Cell) -> str:
    if cell.gain is None:
        return f"{cell.score:.1f}"
    relative = "—" if cell.relative is None else f"{cell.relative:+.0f} %"
    return f"{cell.score:.1f} ({cell.gain:+.1f} [{cell.low:.1f}, {cell.high:.1f}], {relative})" + (" worse" if cell.worse else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def as_json(shown: Table) -> list[dict[str, Any]]:
    """A model an entry: scores in points, what it stands against and how, and what asking it cost."""
    return [
        {
            "model": row.version.name, "kind": row.version.kind, "state": row.latest.job.state if row.latest else None,
            "against": row.against.parent.name if row.against else None, "problem": row.against.problem if row.against else "",
            "tasks": dict(zip(TASKS, map(vars, row.cells), strict=False)), "average": row.average,
            "mean": vars(row.against.mean) if row.against and row.against.mean else None,
            "regressions": list(row.against.regressions) if row.against else [],
            **({"gained": row.standing.gained, "cv_sample": row.standing.cv_sample, "cv_population": row.standing.cv_population}
               if row.standing else {}),
            **({"tokens_per_s": row.told.tokens_per_s, "p50_latency_ms": row.told.p50_latency_ms, "peak_rss_mb": row.told.peak_rss_mb}
               if row.told else {}),
        }
        for row in shown.rows
    ]  # fmt: skip
