"""A recipe while it is being written: every number spelled out, settings by layer or module as one line of text, and back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from training.engine.methods import Method, Parameter, Scalar
from training.engine.recipes import Input, Recipe, Rule, Setting

# What every setting without a filter of its own is said for.
REST = (None, "*")


class Unreadable(ValueError):
    """A line that says no setting; the message says what is wrong in it."""


def spelled(recipe: Recipe) -> Recipe:
    """The same merge with every input's own parameters and every shared one written down, whether they were or came from elsewhere.

    Two recipes that mean the same have the same spelling, so that a form and a text can be compared.
    """
    table = recipe.table
    inputs = tuple(
        Input(given.model, {entry.name: _whole(entry, given.parameters, recipe.parameters) for entry in table.per_input})
        for given in recipe.inputs
    )
    shared = {entry.name: _whole(entry, recipe.parameters) for entry in table.shared}
    variants = {entry.name: recipe.variant(entry.name) for entry in table.variants}
    steps = {name: spelled(step) for name, step in recipe.steps.items()}
    return replace(recipe, inputs=inputs, parameters=shared, variants=variants, steps=steps)


def _whole(parameter: Parameter, *scopes: Mapping[str, Setting]) -> Setting:
    """One setting that gives every tensor what looking through `scopes` in order, and then at the default, gives it."""
    rules: list[Rule] = []
    for scope in scopes:
        setting = scope.get(parameter.name)
        if setting is None:
            continue
        if not (isinstance(setting, tuple) and any(isinstance(point, Rule) for point in setting)):
            return _closed(parameter, rules, setting)  # a value or a curve: for all that is left
        for rule in setting:
            assert isinstance(rule, Rule)
            if rule.filter in REST:
                return _closed(parameter, rules, rule.value)
            if rule.filter not in {each.filter for each in rules}:
                rules.append(rule)
    assert parameter.default is not None
    return _closed(parameter, rules, parameter.default)


def _closed(parameter: Parameter, rules: list[Rule], rest: Any) -> Setting:
    plain = [Rule(_typed(parameter, rule.value), rule.filter) for rule in rules]
    value = _typed(parameter, rest)
    return (*plain, Rule(value)) if plain else value


def _typed(parameter: Parameter, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_typed(parameter, point) for point in value)
    return bool(value) if parameter.kind == "flag" else float(value)


def defaults(method: Method, models: Sequence[str]) -> dict[str, Any]:
    """A recipe's JSON to begin with: each parameter at the value its table starts a form at."""
    each = {entry.name: entry.start if entry.required else entry.default for entry in method.per_input}
    return {
        "method": method.name,
        "inputs": [{"model": name, "parameters": dict(each)} for name in models],
        "parameters": {entry.name: entry.start if entry.required else entry.default for entry in method.shared},
    }


# --- settings as text ---------------------------------------------------------------------------------------------------------------


def said(setting: Setting) -> str:
    """A setting as one line: `0.5`; `0.2, 0.5, 1` over the depth; `mlp: 0.5; self_attn: 0.1, 0.9; 0.3` by part of the tensor's name."""
    if isinstance(setting, tuple) and any(isinstance(point, Rule) for point in setting):
        return "; ".join(_rule_said(point) for point in setting if isinstance(point, Rule))
    return _curve_said(setting)


def _rule_said(rule: Rule) -> str:
    return _curve_said(rule.value) if rule.filter in REST else f"{rule.filter}: {_curve_said(rule.value)}"


def _curve_said(value: Any) -> str:
    # A list of one is a list, and says so with its comma.
    return ", ".join(map(plain, value)) + ("," if len(value) == 1 else "") if isinstance(value, tuple) else plain(value)


def plain(value: Scalar) -> str:
    """A number as it is typed, without loss: what Python reads back as the same number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def read(line: str) -> Any:
    """`said` backwards, as the JSON a recipe holds. Raises Unreadable. Whether the numbers are in range is for the recipe to say."""
    parts = [part.strip() for part in re.split(r"[;\n]", line) if part.strip()]
    if not parts:
        raise Unreadable("says nothing")
    rules = [_read_rule(part) for part in parts]
    if len(rules) == 1 and "filter" not in rules[0]:
        return rules[0]["value"]
    for place, rule in enumerate(rules[:-1]):
        if "filter" not in rule:
            raise Unreadable(f"“{parts[place]}” is for all the rest, and so must stand last")
    return rules


def _read_rule(part: str) -> dict[str, Any]:
    wanted, colon, values = part.rpartition(":")
    if colon and not wanted.strip():
        raise Unreadable(f"“{part}” has no name before its colon")
    return {**({"filter": wanted.strip()} if colon else {}), "value": _read_curve(values)}


def _read_curve(text: str) -> Any:
    points = [point.strip() for point in text.split(",")]
    if len(points) > 1 and not points[-1]:
        points.pop()
        return [_read_number(point) for point in points]
    found = [_read_number(point) for point in points]
    return found if len(found) > 1 else found[0]


def _read_number(text: str) -> Scalar:
    if text.lower() in ("yes", "true"):
        return True
    if text.lower() in ("no", "false"):
        return False
    try:
        return float(text)
    except ValueError:
        raise Unreadable(f"“{text[:40]}” is no number") from None
