"""What is merged and how: a method, its inputs, its parameters by layer and module. Standard library only.

As JSON, in ``params`` of a merge's spec (``recipe`` stands for any such object):

    {"method": "ties", "base": "base", "out_dtype": "same",
     "inputs": [{"model": "pmc", "parameters": {"weight": 0.5, "density": [1, 0.5]}}, {"model": "clinical"}],
     "parameters": {"weight": [{"filter": "mlp", "value": 1.0}, {"value": 0.3}], "normalize": true},
     "variants": {"trim": "vector"}, "steps": {"clinical": <recipe>}}

Models are named by the spec's references. A parameter is a value; or a list of values laid evenly over the layers' depth and
interpolated; or a list of {"filter", "value"}, of which the first counts whose filter is part of the tensor's name, or is "*" or left
out. An input's own setting goes before the shared one, and a setting none of whose filters fits falls through to the next: mergekit's
rules. ``steps`` are models that are not read but made on the way, in float32 and never rounded, each by a recipe over models and other
steps. Arithmetic is float32 always; ``out_dtype`` same is the dtype the base (else the first input) has.

>>> recipe = parse({"method": "slerp", "base": "base", "inputs": [{"model": "a"}], "parameters": {"t": [0, 1]}})
>>> resolve(recipe, "model.layers.1.mlp.down_proj.weight", layers=5).shared["t"]
0.25
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from training.engine.errors import SpecError
from training.engine.methods import METHODS, Method, Parameter, Scalar

OutDtype = Literal["same", "float32", "bfloat16", "float16"]
LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
# More than any merge has, and few enough that a hostile file costs nothing.
MOST_INPUTS = 64
MOST_POINTS = 512


@dataclass(frozen=True)
class Rule:
    """``value`` for the tensors whose name holds ``filter``; null is for all of them."""

    value: Scalar | tuple[Scalar, ...]
    filter: str | None = None

    def fits(self, tensor: str) -> bool:
        return self.filter is None or self.filter == "*" or self.filter in tensor


Setting = Scalar | tuple[Scalar, ...] | tuple[Rule, ...]


@dataclass(frozen=True)
class Input:
    model: str
    parameters: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One merge. ``inputs`` are the experts, in the order they are added up; the base is not among them."""

    method: str
    inputs: tuple[Input, ...]
    base: str | None = None
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    steps: Mapping[str, Recipe] = field(default_factory=dict)
    out_dtype: OutDtype = "same"

    @property
    def table(self) -> Method:
        return METHODS[self.method]

    def variant(self, name: str) -> str:
        return self.variants.get(name, self.table.variant(name).default)

    def parts(self) -> tuple[str, ...]:
        """The names this recipe itself takes, base first if there is one."""
        return (*([self.base] if self.base is not None else []), *(entry.model for entry in self.inputs))

    def models(self) -> tuple[str, ...]:
        """The models that are read: every part of the recipe and of its steps that is no step, each once, in order of use."""
        steps = {name: step.parts() for name, step in self.steps.items()}
        found: dict[str, None] = {}
        for names in (self.parts(), *steps.values()):
            found.update(dict.fromkeys(name for name in names if name not in steps))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A recipe's numbers for one tensor. ``inputs`` follow the recipe's order; every parameter of the method is there."""

    method: str
    inputs: tuple[Mapping[str, float], ...]
    shared: Mapping[str, float]
    variants: Mapping[str, str]


def layer_of(tensor: str) -> int | None:
    """The layer in a tensor's name; null outside the layers (embedding, last norm, head)."""
    found = LAYER.search(tensor)
    return int(found.group(1)) if found else None


def depth(tensor: str, layers: int) -> float:
    """Where in the depth a tensor lies, 0 to 1. As in mergekit everything outside the layers, the head too, takes the first value of a
    list, and in a model of one layer that layer takes the last."""
    layer = layer_of(tensor)
    if layer is None:
        return 0.0
    assert 0 <= layer < layers, f"{tensor} is not one of {layers} layers"
    return layer / (layers - 1) if layers > 1 else 1.0


def resolve(recipe: Recipe, tensor: str, layers: int) -> Resolved:
    """The numbers for one tensor of a model with so many layers. Raises ``SpecError`` where they do not go together."""
    table, at = recipe.table, depth(tensor, layers)
    inputs = tuple(
        {entry.name: float(_find(entry, (given.parameters, recipe.parameters), tensor, at)) for entry in table.per_input}
        for given in recipe.inputs
    )
    shared = {entry.name: float(_find(entry, (recipe.parameters,), tensor, at)) for entry in table.shared}
    if recipe.method == "linear" and shared["normalize"] and abs(sum(entry["weight"] for entry in inputs)) < 1e-8:
        raise SpecError("params.parameters.weight", f"the weights for {tensor} add up to 0 and cannot be normalised")
    if recipe.method.startswith("della"):
        for entry in inputs:
            if entry["density"] < 1 and not 0 < entry["density"] - entry["epsilon"] <= entry["density"] + entry["epsilon"] < 1:
                raise SpecError("params.parameters.epsilon", f"density ± epsilon must stay between 0 and 1, which it does not for {tensor}")
    variants = {entry.name: recipe.variant(entry.name) for entry in table.variants}
    return Resolved(method=recipe.method, inputs=inputs, shared=shared, variants=variants)


def _find(parameter: Parameter, scopes: tuple[Mapping[str, Setting], ...], tensor: str, at: float) -> Scalar:
    for scope in scopes:
        if parameter.name in scope and (value := _value(parameter, scope[parameter.name], tensor, at)) is not None:
            return value
    assert parameter.default is not None, f"{parameter.name} is required: parse() would have refused"
    return parameter.default


def _value(parameter: Parameter, setting: Setting, tensor: str, at: float) -> Scalar | None:
    if not isinstance(setting, tuple):
        return setting
    for point in setting:
        if isinstance(point, Rule):
            if point.fits(tensor):
                return _value(parameter, point.value, tensor, at)
        else:
            return _interpolate(parameter, [value for value in setting if not isinstance(value, Rule)], at)
    return None


def _interpolate(parameter: Parameter, points: list[Scalar], at: float) -> Scalar:
    if parameter.kind == "flag":
        return points[int(at * (len(points) - 1))]
    place = at * (len(points) - 1)
    left = int(place)
    right, share = min(len(points) - 1, left + 1), place - left
    return (1 - share) * points[left] + share * points[right]


class BadRecipe(SpecError):
    """``problems``: every (field, what is wrong); the error itself names the first."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__(*problems[0])
        self.problems = problems


def parse(raw: object, path: str = "params") -> Recipe:
    """``raw`` (decoded JSON) as a recipe. Raises ``BadRecipe`` with every problem at once, each by its field's path."""
    reader = _Reader()
    recipe = reader.recipe(raw, path, top=True)
    if reader.problems:
        raise BadRecipe(reader.problems)
    assert recipe is not None
    return recipe


class _Reader:
    """Reads on after a problem, so that all of them are found."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []

    def wrong(self, path: str, problem: str) -> None:
        self.problems.append((path, problem))

    def keys(self, raw: Mapping[str, object], path: str, known: set[str], needed: set[str]) -> None:
        for key in raw:
            if key not in known:
                self.wrong(f"{path}.{key}", "is unknown")
        for key in sorted(needed - set(raw)):
            self.wrong(f"{path}.{key}", "is missing")

    def recipe(self, raw: object, path: str, *, top: bool) -> Recipe | None:
        """Only at the ``top`` may steps be named."""
        if not isinstance(raw, dict):
            self.wrong(path, "must be an object")
            return None
        method = raw.get("method")
        if not isinstance(method, str) or method not in METHODS:
            self.wrong(f"{path}.method", f"must be one of {', '.join(METHODS)}" if "method" in raw else "is missing")
            return None
        allowed = {"method", "base", "inputs", "parameters", "variants"} | ({"steps", "out_dtype"} if top else set())
        self.keys(raw, path, allowed, {"method", "inputs"})
        steps = self.steps(raw.get("steps", {}), f"{path}.steps") if top else {}
        table = METHODS[method]
        base = self.base(table, raw.get("base"), f"{path}.base")
        inputs = self.inputs(table, raw.get("inputs", []), f"{path}.inputs", base)
        parameters = self.parameters(table.parameters, raw.get("parameters", {}), f"{path}.parameters")
        for index, given in enumerate(inputs):
            for entry in table.per_input:
                if entry.required and not (_covers(given.parameters, entry.name) or _covers(parameters, entry.name)):
                    self.wrong(f"{path}.inputs[{index}].parameters.{entry.name}", "is missing for some tensors or all")
        for entry in table.shared:
            if entry.required and not _covers(parameters, entry.name):
                self.wrong(f"{path}.parameters.{entry.name}", "is missing for some tensors or all")
        out_dtype = raw.get("out_dtype", "same")
        if out_dtype not in get_args(OutDtype):
            self.wrong(f"{path}.out_dtype", f"must be one of {', '.join(get_args(OutDtype))}")
        made = Recipe(
            method=method, base=base, inputs=tuple(inputs), parameters=parameters, out_dtype=out_dtype, steps=steps,
            variants=self.variants(table, raw.get("variants", {}), f"{path}.variants"),
        )  # fmt: skip
        if made.variants.get("trim") == "vector":
            places = [(f"{path}.parameters", parameters), *((f"{path}.inputs[{i}].parameters", e.parameters) for i, e in enumerate(inputs))]
            for where, settings in places:
                if isinstance(settings.get("density"), tuple):
                    self.wrong(f"{where}.density", "must be one number when the whole model is trimmed as one vector")
        if top:
            used = {name for recipe in (made, *steps.values()) for name in recipe.parts()}
            for name in steps:
                if name not in used:
                    self.wrong(f"{path}.steps.{name}", "is used by nothing")
        return made

    def base(self, table: Method, raw: object, path: str) -> str | None:
        if raw is None:
            if table.base == "needed":
                self.wrong(path, f"is needed for {table.name}")
            return None
        if table.base == "none":
            self.wrong(path, f"{table.name} knows no base: name it among the inputs, if it is to go in")
            return None
        return self.name(raw, path)

    def name(self, raw: object, path: str) -> str | None:
        if not isinstance(raw, str) or not _NAME.fullmatch(raw):
            self.wrong(path, "must be a model's name")
            return None
        return raw

    def inputs(self, table: Method, raw: object, path: str, base: str | None) -> list[Input]:
        if not isinstance(raw, list):
            self.wrong(path, "must be a list")
            return []
        fewest, most = table.inputs
        if len(raw) < fewest or len(raw) > (most or MOST_INPUTS):
            wanted = (
                f"exactly {fewest}" if fewest == most else f"at least {fewest}" if len(raw) < fewest else f"at most {most or MOST_INPUTS}"
            )
            self.wrong(path, f"{table.name} needs {wanted}{' besides the base' if table.base != 'none' else ''}, not {len(raw)}")
            return []
        found: list[Input] = []
        for index, item in enumerate(raw):
            at = f"{path}[{index}]"
            if not isinstance(item, dict):
                self.wrong(at, "must be an object")
                continue
            self.keys(item, at, {"model", "parameters"}, {"model"})
            name = self.name(item["model"], f"{at}.model") if "model" in item else None
            if name is not None and name in {base, *(entry.model for entry in found)}:
                self.wrong(f"{at}.model", "is the base" if name == base else "is named twice")
            found.append(Input(name or "", self.parameters(table.per_input, item.get("parameters", {}), f"{at}.parameters")))
        return found

    def parameters(self, known: tuple[Parameter, ...], raw: object, path: str) -> dict[str, Setting]:
        if not isinstance(raw, dict):
            self.wrong(path, "must be an object")
            return {}
        table = {entry.name: entry for entry in known}
        found: dict[str, Setting] = {}
        for key, value in raw.items():
            if key not in table:
                self.wrong(f"{path}.{key}", f"is unknown here; known are {', '.join(table) or 'none'}")
            else:
                # What is wrong is said once, and not again as missing.
                setting = self.setting(table[key], value, f"{path}.{key}")
                found[key] = 0.0 if setting is None else setting
        return found

    def setting(self, parameter: Parameter, raw: object, path: str) -> Setting | None:
        if isinstance(raw, dict):  # mergekit takes a single rule without its list
            raw = [raw]
        if not isinstance(raw, list) or not any(isinstance(item, dict) for item in raw):
            return self.curve(parameter, raw, path)
        rules = []
        for index, item in enumerate(raw):
            at = f"{path}[{index}]"
            if not isinstance(item, dict):
                self.wrong(at, "values and filters cannot be mixed in one list")
                continue
            self.keys(item, at, {"filter", "value"}, {"value"})
            wanted = item.get("filter")
            if wanted is not None and (not isinstance(wanted, str) or not _NAME.fullmatch(wanted)):
                self.wrong(f"{at}.filter", "must be part of a tensor's name")
            elif "value" in item and (value := self.curve(parameter, item["value"], f"{at}.value")) is not None:
                rules.append(Rule(value, wanted))
        return tuple(rules)

    def curve(self, parameter: Parameter, raw: object, path: str) -> Scalar | tuple[Scalar, ...] | None:
        points: list[Any] = raw if isinstance(raw, list) else [raw]
        if not 1 <= len(points) <= MOST_POINTS:
            self.wrong(path, f"must have from 1 to {MOST_POINTS} values")
            return None
        if parameter.kind == "whole" and isinstance(raw, list):
            self.wrong(path, "is a count, and cannot go from one value to another")
            return None
        wrong = [(index, problem) for index, value in enumerate(points) if (problem := parameter.problem(value))]
        for index, problem in wrong:
            self.wrong(f"{path}[{index}]" if isinstance(raw, list) else path, problem)
        if wrong:
            return None
        made = tuple(bool(value) if parameter.kind == "flag" else float(value) for value in points)
        return made if isinstance(raw, list) else made[0]

    def variants(self, table: Method, raw: object, path: str) -> dict[str, str]:
        if not isinstance(raw, dict):
            self.wrong(path, "must be an object")
            return {}
        known = {entry.name: entry for entry in table.variants}
        for key, value in raw.items():
            if key not in known:
                self.wrong(f"{path}.{key}", f"is unknown for {table.name}")
            elif not isinstance(value, str) or value not in known[key].choices:
                self.wrong(f"{path}.{key}", f"must be one of {', '.join(known[key].choices)}")
        # All of them are written down, so that a recipe means the same when a default has changed.
        return {name: raw.get(name, entry.default) for name, entry in known.items()}

    def steps(self, raw: object, path: str) -> dict[str, Recipe]:
        if not isinstance(raw, dict) or len(raw) > MOST_INPUTS:
            self.wrong(path, f"must be an object of at most {MOST_INPUTS}")
            return {}
        found = {str(name): made for name, item in raw.items() if (made := self.recipe(item, f"{path}.{name}", top=False))}
        # In the order in which they can be made: JSON objects have none, and sorted keys would be the wrong one.
        ordered: dict[str, Recipe] = {}
        while len(ordered) < len(found):
            ready = [name for name, step in found.items() if name not in ordered and not set(step.parts()) & (set(found) - set(ordered))]
            if not ready:
                for name in sorted(set(found) - set(ordered)):
                    self.wrong(f"{path}.{name}", "is made of itself, by way of other steps or straight")
                break
            ordered |= {name: found[name] for name in ready}
        return ordered


def _covers(settings: Mapping[str, Setting], name: str) -> bool:
    """Whether every tensor gets a value."""
    setting = settings.get(name)
    if not isinstance(setting, tuple):
        return setting is not None
    rules = [point for point in setting if isinstance(point, Rule)]
    return not rules or any(rule.filter in (None, "*") for rule in rules)


def as_json(recipe: Recipe) -> dict[str, Any]:
    """The exact object ``parse`` reads back; what is empty or as usual is left out."""
    made: dict[str, Any] = {"method": recipe.method}
    if recipe.base is not None:
        made["base"] = recipe.base
    made["inputs"] = [
        {"model": entry.model, **({"parameters": _settings(entry.parameters)} if entry.parameters else {})} for entry in recipe.inputs
    ]
    if recipe.parameters:
        made["parameters"] = _settings(recipe.parameters)
    if recipe.variants:
        made["variants"] = dict(recipe.variants)
    if recipe.steps:
        made["steps"] = {name: as_json(step) for name, step in recipe.steps.items()}
    if recipe.out_dtype != "same":
        made["out_dtype"] = recipe.out_dtype
    return made


def _settings(settings: Mapping[str, Setting]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, Rule):
            return {**({"filter": value.filter} if value.filter is not None else {}), "value": plain(value.value)}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return {name: plain(setting) for name, setting in settings.items()}


def rules(recipe: Recipe) -> Iterator[tuple[str, Rule]]:
    """Every rule with its parameter, so that a filter which fits no tensor can be named before a merge."""
    for settings in (recipe.parameters, *(entry.parameters for entry in recipe.inputs)):
        for name, setting in settings.items():
            if isinstance(setting, tuple):
                yield from ((name, point) for point in setting if isinstance(point, Rule))


def digest(recipe: Recipe) -> str:
    """sha256 of the recipe as canonical JSON: equal recipes, equal digests. Models count by name, not by their weights."""
    text = json.dumps(as_json(recipe), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
