"""mergekit's YAML in and out of recipes: read as hostile text, every problem with its line, nothing ignored in silence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from training.engine import recipes
from training.engine.methods import METHODS
from training.engine.recipes import Recipe
from training.yaml_text import BadYaml, Mapping, Problem, documents, join

__all__ = ["BadYaml", "Document", "Problem", "read", "write"]

_TOP = ("merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype", "tokenizer_source", "name", "rounds")
_REFUSED = {
    "modules": "models of several modules, such as text and vision, are not merged here",
    "tokenizer": "inputs must share one tokenizer to the byte, and the merged model keeps it",
    "chat_template": "the inputs' own chat template is kept",
}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_DTYPES = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}


@dataclass(frozen=True)
class Document:
    """``layers``: how many a slice says there are, to be held against the models. ``notes``: what is otherwise than in mergekit."""

    recipe: Recipe
    layers: int | None = None
    notes: tuple[str, ...] = ()


def read(text: str) -> Document:
    """A recipe whose models bear the names that the text gives them (paths or ids).

    Several documents, all but the last with a ``name``, are steps (mergekit-multi's form). Variants are mergekit's, unless our own key
    ``rounds`` says otherwise. Raises ``BadYaml``.
    """
    texts = [Mapping(node, "") for node in documents(text)]
    steps = {}
    problems: list[Problem] = []
    read_ones = []
    for place, document in enumerate(texts):
        one = _One(document, last=place == len(texts) - 1)
        problems += one.problems
        read_ones.append(one)
        if place < len(texts) - 1:
            steps[one.name] = one
    if len(steps) < len(texts) - 1:
        problems.append(Problem(texts[-1].line, "name", "is given to two documents"))
    if problems:
        raise BadYaml(problems)
    final = read_ones[-1]
    raw = final.raw | ({"steps": {name: one.raw for name, one in steps.items()}} if steps else {})
    try:
        recipe = recipes.parse(raw, "")
    except recipes.BadRecipe as bad:
        raise BadYaml([_located(path, text, final, steps) for path, text in bad.problems]) from None
    counts = {one.layers for one in read_ones if one.layers is not None}
    if len(counts) > 1:
        raise BadYaml([Problem(None, "slices", "the documents' slices have different numbers of layers")])
    return Document(recipe, counts.pop() if counts else None, tuple(dict.fromkeys(note for one in read_ones for note in one.notes)))


def write(recipe: Recipe) -> str:
    """The YAML that ``read`` reads back to an equal recipe; for mergekit too, save what stands under ``rounds``.

    Raises ``ValueError`` for a name that mergekit would take apart.
    """
    made = [{"name": name} | _plain(step, recipe.out_dtype) for name, step in recipe.steps.items()]
    made.append(_plain(recipe, recipe.out_dtype))
    head = ""
    if any("rounds" in document for document in made):
        head = "# mergekit ignores what stands under rounds, and would compute its own variant.\n"
    return head + yaml.dump_all(made, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140)


def _plain(recipe: Recipe, out_dtype: str) -> dict[str, Any]:
    raw = recipes.as_json(recipe)
    for name in recipe.parts():
        if "+" in name:
            raise ValueError(f"mergekit reads the + in {name} as an adapter")
    made: dict[str, Any] = {"merge_method": recipe.method}
    if recipe.base is not None:
        made["base_model"] = recipe.base
    made["models"] = raw["inputs"]
    if "parameters" in raw:
        made["parameters"] = raw["parameters"]
    if out_dtype != "same":
        made |= {"dtype": "float32", "out_dtype": out_dtype}
    ours = {name: choice for name, choice in recipe.variants.items() if choice != recipe.table.variant(name).mergekit}
    return made | ({"rounds": {"variants": ours}} if ours else {})


class _Dumper(yaml.SafeDumper):
    """Lists of numbers on one line; no anchors, which we would not read back."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=all(isinstance(item, bool | int | float) for item in data))


_Dumper.add_representer(list, _represent_list)


@dataclass
class _One:
    """One document as a raw recipe. ``origin``: where each path of it stands in the text."""

    document: Mapping
    last: bool
    name: str = ""
    raw: dict[str, Any] = field(default_factory=dict)
    layers: int | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    origin: dict[str, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        top = self.document
        self.origin[""] = ("", top.line)
        self.problems += top.problems
        for key, line in top.lines.items():
            if key in _REFUSED:
                self.wrong(line, key, f"is not read: {_REFUSED[key]}")
            elif key not in _TOP:
                self.wrong(line, key, "is unknown")
        self._name()
        self._method()
        if not self.problems:
            self._inputs()
            self._dtype()
            self._tokenizer()
            self._rounds()

    def wrong(self, line: int | None, field: str, text: str) -> None:
        self.problems.append(Problem(line, field, text))

    def value(self, key: str) -> Any:
        """A top key as plain data; null where it is not there."""
        node = self.document.nodes.get(key)
        return None if node is None else self.plain(node, key)

    def plain(self, node: yaml.Node, path: str) -> Any:
        if isinstance(node, yaml.MappingNode):
            mapping = Mapping(node, path)
            self.problems += mapping.problems
            return {key: self.plain(value, join(path, key)) for key, value in mapping.nodes.items()}
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node)
        except (ValueError, yaml.YAMLError, OverflowError):
            self.wrong(node.start_mark.line + 1, path, "is no value that can be read")
            return None
        # YAML 1.1 reads 1e-3, without a dot, as text; mergekit makes a number of it, and so do we where one is wanted.
        return value if isinstance(value, str | bool | int | float) or value is None else str(node.value)

    def text(self, key: str) -> str | None:
        value = self.value(key)
        if value is not None and not isinstance(value, str):
            self.wrong(self.document.lines[key], key, "must be text")
            return None
        return value

    def _name(self) -> None:
        name = self.text("name")
        if not self.last and not name:
            self.wrong(self.document.line, "name", "is missing: every document but the last makes a model that a later one names")
        if self.last and name:
            self.wrong(self.document.lines["name"], "name", "is for documents before the last")
        self.name = name or ""

    def _method(self) -> None:
        method = self.text("merge_method")
        if method is None or method not in METHODS:
            known = f"known are {', '.join(METHODS)}"
            line = self.document.lines.get("merge_method", self.document.line)
            self.wrong(line, "merge_method", "is missing" if method is None else f"{method[:80]!r} is not built here; {known}")
            return
        self.raw["method"] = method
        self.at("method", "merge_method", self.document.lines["merge_method"])
        if variants := METHODS[method].variants:
            self.raw["variants"] = {entry.name: entry.mergekit for entry in variants}

    def at(self, path: str, yaml_path: str, line: int) -> None:
        self.origin[path] = (yaml_path, line)

    def _inputs(self) -> None:
        if ("models" in self.document.nodes) == ("slices" in self.document.nodes):
            self.wrong(self.document.line, "models", "give models, or slices with one slice over all layers")
            return
        method = METHODS[self.raw["method"]]
        base = self.text("base_model")
        scopes = []
        if "models" in self.document.nodes:
            items = list(self._items(self.document.nodes["models"], "models", {"model", "parameters"}))
        else:
            items, own = self._slice()
            scopes.append(own)
        if "parameters" in self.document.nodes:
            scopes.append((self.document.nodes["parameters"], "parameters"))
        shared = self._settings([scope for scope in scopes if scope[0] is not None], "parameters")
        inputs: list[dict[str, Any]] = []
        for item in items:
            model = self.plain(item.nodes["model"], f"{item.path}.model") if "model" in item.nodes else None
            if not isinstance(model, str):
                self.wrong(item.line, f"{item.path}.model", "must be a model's path or id" if "model" in item.nodes else "is missing")
                continue
            self._adapter(model, item.lines["model"], f"{item.path}.model")
            given = item.nodes.get("parameters")
            if model == base and method.base != "none":
                # mergekit takes the base for the base wherever it is listed, and reads none of its own weights or densities.
                self.notes.append("the base among the models is not one of the experts")
                continue
            at = f"inputs[{len(inputs)}]"
            self.at(at, item.path, item.line)
            self.at(f"{at}.model", f"{item.path}.model", item.lines["model"])
            settings = self._settings([(given, f"{item.path}.parameters")] if given is not None else [], f"{at}.parameters")
            inputs.append({"model": model} | ({"parameters": settings} if settings else {}))
        if base is not None:
            self._adapter(base, self.document.lines["base_model"], "base_model")
            self.at("base", "base_model", self.document.lines["base_model"])
            if method.base != "none":
                self.raw["base"] = base
            elif base not in {entry["model"] for entry in inputs}:
                self.notes.append(f"{method.name} knows no base, so base_model is one more of the models, as in mergekit")
                inputs.append({"model": base})
        self.at("inputs", *next((key, self.document.lines[key]) for key in ("models", "slices") if key in self.document.nodes))
        self.raw["inputs"] = inputs
        if shared:
            self.raw["parameters"] = shared

    def _adapter(self, model: str, line: int, path: str) -> None:
        if "+" in model:
            self.wrong(line, path, "names an adapter after a +: register the adapter and name it by itself")

    def _items(self, node: yaml.Node, path: str, known: set[str]) -> Iterator[Mapping]:
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(node.start_mark.line + 1, path, "must be a list")
            return
        for index, item in enumerate(node.value):
            at = f"{path}[{index}]"
            if not isinstance(item, yaml.MappingNode):
                self.wrong(item.start_mark.line + 1, at, "must be a mapping, such as model: name")
                continue
            mapping = Mapping(item, at)
            self.problems += mapping.problems
            for key, line in mapping.lines.items():
                if key not in known:
                    self.wrong(line, join(at, key), "is unknown")
            yield mapping

    def _slice(self) -> tuple[list[Mapping], tuple[yaml.Node | None, str]]:
        slices = list(self._items(self.document.nodes["slices"], "slices", {"sources", "parameters"}))
        line = self.document.lines["slices"]
        if len(slices) != 1 or "sources" not in slices[0].nodes:
            self.wrong(line, "slices", "must be one slice with sources: layers are not cut out or stacked here")
            return [], (None, "")
        sources = list(self._items(slices[0].nodes["sources"], "slices[0].sources", {"model", "layer_range", "parameters"}))
        for source in sources:
            at = f"{source.path}.layer_range"
            span = self.plain(source.nodes["layer_range"], at) if "layer_range" in source.nodes else None
            if not (isinstance(span, list) and len(span) == 2 and span[0] == 0 and type(span[1]) is int and 0 < span[1] < 10_000):
                self.wrong(source.lines.get("layer_range", source.line), at, "must be [0, the number of layers]: all of them, in order")
            elif self.layers not in (None, span[1]):
                self.wrong(source.lines["layer_range"], at, "is not that of the source before it")
            else:
                self.layers = span[1]
        return sources, (slices[0].nodes.get("parameters"), "slices[0].parameters")

    def _settings(self, scopes: list[tuple[Any, str]], path: str) -> dict[str, Any]:
        """The parameters of scopes, the nearest first, as one; ``path`` is where they go in the recipe."""
        method = METHODS[self.raw["method"]]
        kinds = {entry.name: entry.kind for entry in method.parameters}
        made: dict[str, Any] = {}
        for node, yaml_path in scopes:
            if not isinstance(node, yaml.MappingNode):
                self.wrong(node.start_mark.line + 1, yaml_path, "must be a mapping")
                continue
            mapping = Mapping(node, yaml_path)
            self.problems += mapping.problems
            for name, value in mapping.nodes.items():
                if name == "int8_mask" and ("weight" in kinds or method.name == "sce"):
                    self.notes.append("int8_mask is left out: it saves mergekit memory and changes no number")
                    continue
                setting = _numbers(self.plain(value, f"{yaml_path}.{name}"), flag=kinds.get(name) == "flag")
                self._trace(value, f"{path}.{name}", f"{yaml_path}.{name}", mapping.lines[name])
                made[name] = _fall_through(made[name], setting) if name in made else setting
        return made

    def _trace(self, node: yaml.Node, path: str, yaml_path: str, line: int) -> None:
        self.origin.setdefault(path, (yaml_path, line))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._trace(item, f"{path}[{index}]", f"{yaml_path}[{index}]", item.start_mark.line + 1)
        elif isinstance(node, yaml.MappingNode):
            for key, item in node.value:
                self._trace(item, f"{path}.{key.value}", f"{yaml_path}.{key.value}", key.start_mark.line + 1)

    def _dtype(self) -> None:
        arithmetic, out = self.text("dtype"), self.text("out_dtype")
        for key, value in (("dtype", arithmetic), ("out_dtype", out)):
            if value is not None and value not in _DTYPES:
                self.wrong(self.document.lines[key], key, f"must be one of {', '.join(_DTYPES)}")
        if arithmetic not in (None, "float32"):
            self.notes.append(
                f"dtype: {arithmetic} is how mergekit would calculate; here it is float32, rounded once to {out or arithmetic}"
            )
        if self.last and (wanted := out or arithmetic):
            self.raw["out_dtype"] = wanted

    def _tokenizer(self) -> None:
        source = self.value("tokenizer_source")
        if source not in (None, "base"):
            self.wrong(
                self.document.lines["tokenizer_source"], "tokenizer_source",
                "must be base or left out: inputs must share one tokenizer to the byte, so there is nothing to unite or to choose",
            )  # fmt: skip

    def _rounds(self) -> None:
        ours = self.value("rounds")
        if ours is None:
            return
        line = self.document.lines["rounds"]
        if not isinstance(ours, dict) or set(ours) - {"variants"} or not isinstance(ours.get("variants", {}), dict):
            self.wrong(line, "rounds", "may hold variants, and nothing else")
            return
        self.at("variants", "rounds.variants", line)
        self.raw["variants"] = self.raw.get("variants", {}) | ours.get("variants", {})


def _numbers(value: Any, *, flag: bool) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item, flag=flag) if key == "value" else item for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item, flag=flag) for item in value]
    return float(value) if isinstance(value, str) and not flag and len(value) < 40 and _NUMBER.fullmatch(value) else value


def _fall_through(near: Any, far: Any) -> Any:
    """A slice's setting before the global one: rules that fit nothing give way to the farther."""

    def as_rules(setting: Any) -> list[Any]:
        listed = [setting] if isinstance(setting, dict) else setting
        return listed if isinstance(listed, list) and any(isinstance(item, dict) for item in listed) else [{"value": setting}]

    return as_rules(near) + as_rules(far) if isinstance(near, dict | list) and any(isinstance(i, dict) for i in as_rules(near)) else near


def _located(path: str, text: str, final: _One, steps: dict[str, _One]) -> Problem:
    """A recipe's problem at the place in the YAML that it came from."""
    one, path = final, path.removeprefix(".")
    for name, step in steps.items():
        if path == f"steps.{name}" or path.startswith(f"steps.{name}."):
            one, path = step, path.removeprefix(f"steps.{name}").removeprefix(".")
    known, suffix = path, ""
    while known and known not in one.origin:
        place = max(known.rfind("."), known.rfind("["))
        known, suffix = known[: max(place, 0)], path[max(place, 0) :]
    where, line = one.origin[known]
    return Problem(line, (where + suffix).removeprefix("."), text)
