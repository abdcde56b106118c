"""Every merge method as a table: what it needs, its parameters with range and meaning, its source. Standard library only.

The recipes (training.engine.recipes) are checked against it, the operators (training.engine.merging.operators) compute what it names,
and a form can be drawn from it without torch. Parameters bear mergekit's names.

>>> METHODS["breadcrumbs_ties"].parameter("gamma").default
0.01
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Scalar = float | bool
Scope = Literal["input", "shared"]
BaseUse = Literal["needed", "optional", "none"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One number of a method. ``scope`` input: every expert has its own, and a shared value is for those that have none.

    ``default`` null means that it must be given, and ``start`` is what a form begins with. Both ends of the range are allowed, save
    ``low`` where ``above_low``.
    """

    name: str
    kind: Literal["number", "whole", "flag"]
    scope: Scope
    meaning: str
    default: Scalar | None = None
    start: Scalar = 1.0
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False

    @property
    def required(self) -> bool:
        return self.default is None

    def problem(self, value: object) -> str | None:
        """What is wrong with one value, in words that follow the field's name."""
        if self.kind == "flag":
            # mergekit's files write flags as 0.0 and 1.0 too.
            return None if isinstance(value, bool) or value in (0, 1) else "must be true or false"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if not math.isfinite(value):
            return "must be a finite number"
        if self.kind == "whole" and value != int(value):
            return "must be a whole number"
        if value < self.low or value > self.high or (self.above_low and value == self.low):
            return f"must be {self.range}"
        return None

    @property
    def range(self) -> str:
        """The allowed values in words, for a message or a form's hint."""
        low = f"above {self.low:g}" if self.above_low else f"at least {self.low:g}"
        if math.isinf(self.low):
            return "any number" if math.isinf(self.high) else f"at most {self.high:g}"
        return low if math.isinf(self.high) else f"{low} and at most {self.high:g}"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Where a paper and mergekit differ: the choices by name, each with what it does, and which is taken if nothing is said."""

    name: str
    choices: dict[str, str]
    default: str
    mergekit: str


@dataclass(frozen=True, kw_only=True)
class Method:
    """``inputs`` are the fewest and the most experts (null: any number), the base not counted."""

    name: str
    title: str
    meaning: str
    base: BaseUse
    inputs: tuple[int, int | None]
    parameters: tuple[Parameter, ...] = ()
    variants: tuple[Variant, ...] = ()
    random: bool = False
    source: str = ""

    def parameter(self, name: str) -> Parameter:
        """Raises ``KeyError``."""
        return {entry.name: entry for entry in self.parameters}[name]

    def variant(self, name: str) -> Variant:
        """Raises ``KeyError``."""
        return {entry.name: entry for entry in self.variants}[name]

    @property
    def per_input(self) -> tuple[Parameter, ...]:
        return tuple(entry for entry in self.parameters if entry.scope == "input")

    @property
    def shared(self) -> tuple[Parameter, ...]:
        return tuple(entry for entry in self.parameters if entry.scope == "shared")


WEIGHT = Parameter(name="weight", kind="number", scope="input", meaning="How much of this expert goes in")
DENSITY = Parameter(
    name="density", kind="number", scope="input", meaning="The share of the expert's changes that is kept", default=1.0, low=0, high=1,
    above_low=True,
)  # fmt: skip
GAMMA = Parameter(
    name="gamma", kind="number", scope="input", default=0.01, start=0.01, low=0,
    meaning="The share of the largest changes that is dropped as outliers; where density leaves less, only that much is",
)  # fmt: skip
EPSILON = Parameter(
    name="epsilon", kind="number", scope="input", default=0.15, start=0.15, low=0, high=0.5,
    meaning="How far the chance to be kept moves from density, down for a row's smallest change and up for its largest",
)  # fmt: skip
LAMBDA = Parameter(name="lambda", kind="number", scope="shared", meaning="Scales the summed changes before they are added", default=1.0)
T = Parameter(name="t", kind="number", scope="shared", meaning="The expert's share: 0 is the base, 1 the expert", start=0.5, low=0, high=1)


def _normalize(default: bool, meaning: str) -> Parameter:
    return Parameter(name="normalize", kind="flag", scope="shared", meaning=meaning, default=default, start=default)


NORMALIZE_SUM = "Divide by the sum of the weights"
NORMALIZE_VOTE = "Divide every entry by the weights of the experts that agree there"
RESCALE = Parameter(
    name="rescale", kind="flag", scope="shared", meaning="Scale what is left up, for what was dropped", default=True, start=True
)
DARE_RESCALE = Variant(
    name="dare_rescale", default="density", mergekit="l1",
    choices={
        "density": "Divide by density, as in the paper: right on average over masks",
        "l1": "Restore the sum of magnitudes, as mergekit does: right for this very mask",
    },
)  # fmt: skip
DELLA_RESCALE = Variant(
    name="della_rescale", default="chance", mergekit="l1",
    choices={
        "chance": "Divide each entry by its own chance to be kept, as in the paper",
        "l1": "Restore the sum of magnitudes, as mergekit does",
    },
)  # fmt: skip
SCE_WEIGHTS = Variant(
    name="sce_weights", default="paper", mergekit="floor",
    choices={
        "paper": "Weigh by mean square change, however small",
        "floor": "Equal weights where the mean square changes add up to less than 1e-6, as in mergekit",
    },
)  # fmt: skip
TRIM = Variant(
    name="trim", default="tensor", mergekit="tensor",
    choices={
        "tensor": "The largest changes of every tensor, as mergekit takes them",
        "vector": "The largest changes of the whole model, as in the authors' code",
    },
)  # fmt: skip

_TABLE = (
    Method(
        name="linear", title="Linear", base="none", inputs=(1, None), source="arXiv 2203.05482",
        meaning="The weighted mean of the models' weights.",
        parameters=(WEIGHT, _normalize(True, NORMALIZE_SUM)),
    ),
    Method(
        name="slerp", title="SLERP", base="needed", inputs=(1, 1), source="Shoemake 1985; arXiv 2505.10717, 3.1.3",
        meaning="From base to expert along the arc between them, or along the line where they all but point the same way.",
        parameters=(T,),
    ),
    Method(
        name="task_arithmetic", title="Task arithmetic", base="needed", inputs=(1, None), source="arXiv 2212.04089",
        meaning="The base and the weighted sum of every expert's changes.",
        parameters=(WEIGHT, _normalize(False, NORMALIZE_SUM), LAMBDA),
    ),
    Method(
        name="ties", title="TIES", base="needed", inputs=(1, None), source="arXiv 2306.01708",
        meaning="Each expert's largest changes; entry by entry a vote on the sign; the mean of those that agree with it.",
        parameters=(WEIGHT, DENSITY, _normalize(True, NORMALIZE_VOTE), LAMBDA), variants=(TRIM,),
    ),
    Method(
        name="dare_linear", title="DARE", base="needed", inputs=(1, None), source="arXiv 2311.03099", random=True,
        meaning="Changes dropped at random and the rest scaled up, then summed.",
        parameters=(WEIGHT, DENSITY, _normalize(False, NORMALIZE_SUM), RESCALE, LAMBDA), variants=(DARE_RESCALE,),
    ),
    Method(
        name="dare_ties", title="DARE with TIES' vote", base="needed", inputs=(1, None), source="arXiv 2311.03099", random=True,
        meaning="Changes dropped at random and the rest scaled up, then TIES' vote.",
        parameters=(WEIGHT, DENSITY, _normalize(False, NORMALIZE_VOTE), RESCALE, LAMBDA), variants=(DARE_RESCALE,),
    ),
    Method(
        name="breadcrumbs", title="Breadcrumbs", base="needed", inputs=(1, None), source="arXiv 2312.06795",
        meaning="Each expert's changes without the largest and the smallest, summed.",
        parameters=(WEIGHT, DENSITY, GAMMA, _normalize(False, NORMALIZE_SUM), LAMBDA),
    ),
    Method(
        name="breadcrumbs_ties", title="Breadcrumbs with TIES' vote", base="needed", inputs=(1, None),
        source="arXiv 2312.06795; arXiv 2505.10717, 3.1.3",
        meaning="Each expert's changes without the largest and the smallest, then TIES' vote. MediPhi's own.",
        parameters=(WEIGHT, DENSITY, GAMMA, _normalize(False, NORMALIZE_VOTE), LAMBDA),
    ),
    Method(
        name="model_stock", title="Model Stock", base="needed", inputs=(2, None), source="arXiv 2403.19522",
        meaning="From the base towards the experts' mean, as far as the angle between their changes says.",
        parameters=(
            Parameter(
                name="filter_wise", kind="flag", scope="shared", default=False, start=False,
                meaning="One angle for every row of a matrix, not for the whole",
            ),
        ),
    ),
    Method(
        name="della", title="DELLA", base="needed", inputs=(1, None), source="arXiv 2406.11617", random=True,
        meaning="Changes dropped at random, small ones of a row more often, the rest scaled up; then TIES' vote.",
        parameters=(WEIGHT, DENSITY, EPSILON, _normalize(True, NORMALIZE_VOTE), RESCALE, LAMBDA), variants=(DELLA_RESCALE,),
    ),
    Method(
        name="della_linear", title="DELLA without the vote", base="needed", inputs=(1, None), source="arXiv 2406.11617", random=True,
        meaning="Changes dropped at random, small ones of a row more often, the rest scaled up and summed.",
        parameters=(WEIGHT, DENSITY, EPSILON, _normalize(False, NORMALIZE_SUM), RESCALE, LAMBDA), variants=(DELLA_RESCALE,),
    ),
    Method(
        name="nuslerp", title="NuSLERP", base="optional", inputs=(2, 2), source="mergekit",
        meaning="Along the arc between two experts, or with a base between their changes; the weights say how far.",
        parameters=(
            WEIGHT,
            Parameter(
                name="nuslerp_flatten", kind="flag", scope="shared", default=True, start=True,
                meaning="A whole tensor is one vector; without, every row is one",
            ),
            Parameter(
                name="nuslerp_row_wise", kind="flag", scope="shared", default=False, start=False,
                meaning="Without flatten: every column is a vector in place of every row, whatever the name says",
            ),
        ),
    ),
    Method(
        name="karcher", title="Karcher mean", base="none", inputs=(1, None), source="arXiv 2603.04972; Karcher 1977",
        meaning="The mean of the models' directions on the sphere, times the mean of their lengths.",
        parameters=(
            Parameter(
                name="max_iter", kind="whole", scope="shared", meaning="The most steps towards the mean", default=10, start=10, low=1,
                high=1000,
            ),
            Parameter(
                name="tol", kind="number", scope="shared", meaning="A step shorter than this is the last", default=1e-5, start=1e-5, low=0,
                high=1, above_low=True,
            ),
        ),
    ),
    Method(
        name="sce", title="SCE", base="needed", inputs=(1, None), source="arXiv 2408.07990",
        meaning="Where the experts' changes vary most: their mean, weighted by how much each changed, of those that agree on the sign.",
        parameters=(
            Parameter(
                name="select_topk", kind="number", scope="shared", meaning="The share of varying entries that is merged", default=1.0,
                low=0, high=1,
            ),
        ),
        variants=(SCE_WEIGHTS,),
    ),
)  # fmt: skip
METHODS: dict[str, Method] = {method.name: method for method in _TABLE}
