"""The merge lab's form: fields drawn from the table of methods, a recipe read from them, and them filled from a recipe."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.http import urlencode

from modelhub.imports import ROLE as ADAPTED
from modelhub.models import Kind, LineageEdge, ModelVersion
from training import merge_drafts
from training.engine import recipes
from training.engine.methods import METHODS, Method, Parameter, Variant
from training.engine.recipes import BadRecipe, Recipe
from training.models import MergeRecipe

USUAL_METHOD = "ties"
# Where a slider ends that no range ends: further values are typed.
SLIDER_HIGH = 2.0
SLIDER_STEPS = 100
# More models than anybody looks through are not offered; a name in the address or the YAML brings any of them.
MOST_OFFERED = 40
FIELDS = ("base", "expert", "method", "out_dtype", "seed", "cloned_from")
OUT_DTYPES = {"same": "as the base has", "float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}
FLAGS = {"yes": "yes", "no": "no"}


@dataclass
class Dial:
    """One parameter, of one expert or of all: a number with a slider, or, where `graded` says something, a setting by layer or module."""

    key: str
    parameter: Parameter
    text: str
    graded: str
    errors: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"id_{self.key}"

    @property
    def label(self) -> str:
        return self.parameter.name.replace("_", " ")

    @property
    def is_flag(self) -> bool:
        return self.parameter.kind == "flag"

    @property
    def usual(self) -> str:
        entry = self.parameter
        return merge_drafts.plain(entry.start if entry.default is None else entry.default)

    @property
    def low(self) -> float | None:
        return None if math.isinf(self.parameter.low) else self.parameter.low

    @property
    def high(self) -> float | None:
        return None if math.isinf(self.parameter.high) else self.parameter.high

    @property
    def slider_low(self) -> float:
        return min(self.parameter.low if self.low is not None else 0.0, self._number())

    @property
    def slider_high(self) -> float:
        return max(self.parameter.high if self.high is not None else SLIDER_HIGH, self._number())

    @property
    def slider_step(self) -> float:
        return (self.slider_high - self.slider_low) / SLIDER_STEPS

    def _number(self) -> float:
        try:
            found = float(self.text)
        except ValueError:
            return 0.0
        return found if math.isfinite(found) else 0.0

    def read(self) -> Any:
        """What a recipe's JSON holds for it. Raises merge_drafts.Unreadable."""
        if self.graded:
            return merge_drafts.read(self.graded)
        if not self.text:
            raise merge_drafts.Unreadable("needs a value")
        found = merge_drafts.read(self.text)
        if isinstance(found, list):
            raise merge_drafts.Unreadable("takes one number; several go under “by layer or module”")
        return found


@dataclass
class Choice:
    """A variant of the method, where a paper and mergekit differ."""

    key: str
    variant: Variant
    chosen: str


class LabForm(forms.Form):
    """What is merged and how, always bound: what the data do not say is as the method's table has it. `recipe` is what the fields come to,
    or None; what is wrong stands at the fields, and `missing` says what is still to be chosen.
    """

    base = forms.ModelChoiceField(
        queryset=ModelVersion.objects.none(), to_field_name="name", required=False, empty_label="choose one", label="Base",
        help_text="What all of them were trained from. Its configuration and tokenizer go with the merge.",
    )  # fmt: skip
    expert = forms.ModelMultipleChoiceField(
        queryset=ModelVersion.objects.none(), to_field_name="name", required=False, label="Experts"
    )  # fmt: skip
    method = forms.ChoiceField(label="Method", required=False)
    out_dtype = forms.ChoiceField(
        choices=list(OUT_DTYPES.items()), required=False, label="Saved as", help_text="Arithmetic is in float32; this is the one rounding."
    )
    seed = forms.IntegerField(required=False, min_value=0, max_value=2**32 - 1, help_text="Of methods that draw at random.")
    name = forms.CharField(required=False, max_length=80, label="Name of the merge", help_text="Its model will have this name for ever.")
    cloned_from = forms.ModelChoiceField(
        queryset=MergeRecipe.objects.all(), to_field_name="public_id", required=False, widget=forms.HiddenInput
    )

    def __init__(self, data: QueryDict) -> None:
        super().__init__(_filled(data))
        choices: Any = self.fields
        choices["base"].queryset = ModelVersion.objects.usable().select_related("artifact")
        choices["expert"].queryset = ModelVersion.objects.mergeable().select_related("artifact")
        choices["method"].choices = [(method.name, method.title) for method in METHODS.values()]
        self.recipe: Recipe | None = None
        self.missing: list[str] = []
        self.per_expert: list[tuple[ModelVersion, list[Dial]]] = []
        self.shared: list[Dial] = []
        self.variants: list[Choice] = []
        self.is_valid()

    # --- reading ---------------------------------------------------------------------------------------------------------------

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        # In the order of the address: it is that in which they are added up.
        self.chosen_base: ModelVersion | None = cleaned.get("base")
        order: list[str] = getattr(self.data, "getlist", lambda key: [])("expert")
        self.chosen = sorted(cleaned.get("expert") or [], key=lambda version: order.index(version.name))
        if self.table is None:
            return cleaned
        for version in self.chosen:
            self.per_expert.append((version, [self._dial(entry, f"{entry.name}-{version.pk}") for entry in self.table.per_input]))
        self.shared = [self._dial(entry, entry.name) for entry in self.table.shared]
        self.variants = [self._choice(entry) for entry in self.table.variants]
        self._read(cleaned)
        return cleaned

    @property
    def table(self) -> Method | None:
        return METHODS.get(self.data.get("method", ""))

    def _dial(self, parameter: Parameter, key: str) -> Dial:
        start = parameter.start if parameter.default is None else parameter.default
        text = self.data.get(key, merge_drafts.plain(start)).strip()
        return Dial(key, parameter, text, self.data.get(f"by-{key}", "").strip())

    def _choice(self, variant: Variant) -> Choice:
        said = self.data.get(f"variant-{variant.name}", variant.default)
        return Choice(f"variant-{variant.name}", variant, said if said in variant.choices else variant.default)

    def _read(self, cleaned: dict[str, Any]) -> None:
        assert self.table is not None
        if self.chosen_base is None and "base" not in self.errors:
            self.missing.append("a base")
        fewest, most = self.table.inputs
        if len(self.chosen) < fewest:
            self.missing.append("an expert" if fewest == 1 else f"{fewest} experts")
        if most is not None and len(self.chosen) > most:
            self.add_error("expert", f"{self.table.title} merges {most} expert with the base, not {len(self.chosen)}. Untick the others.")
        if self.chosen_base in self.chosen and self.table.base != "none":
            self.add_error("expert", f"{self.chosen_base} is the base, and cannot be its own expert.")
        said = {dial.key: value for dial in self.dials() if (value := _read_dial(dial)) is not None}
        if self.missing or self.errors or any(dial.errors for dial in self.dials()):
            return
        raw = {
            "method": self.table.name,
            **({"base": str(self.chosen_base)} if self.table.base != "none" else {}),
            "inputs": [
                {"model": version.name, "parameters": {dial.parameter.name: said[dial.key] for dial in dials}}
                for version, dials in self.per_expert
            ],
            "parameters": {dial.parameter.name: said[dial.key] for dial in self.shared},
            "variants": {choice.variant.name: choice.chosen for choice in self.variants},
            "out_dtype": cleaned.get("out_dtype") or "same",
        }
        try:
            self.recipe = merge_drafts.spelled(recipes.parse(raw))
        except BadRecipe as wrong:
            for path, problem in wrong.problems:
                self._complain(path, problem)

    def _complain(self, path: str, problem: str) -> None:
        """A recipe's problem at the field it came from."""
        own = re.match(r"params\.inputs\[(\d+)\]\.parameters\.(\w+)", path)
        shared = re.match(r"params\.parameters\.(\w+)", path)
        dials = self.per_expert[int(own.group(1))][1] if own else self.shared
        name = own.group(2) if own else shared.group(1) if shared else ""
        for dial in dials:
            if dial.parameter.name == name:
                dial.errors.append(problem)
                return
        self.add_error(None, f"{path.removeprefix('params.')} {problem}")

    def dials(self) -> Iterator[Dial]:
        for _, dials in self.per_expert:
            yield from dials
        yield from self.shared

    def complaints(self) -> list[tuple[str, str]]:
        """(field, what is wrong in it), for where the fields themselves are out of sight."""
        of_dials = {dial.key: f"{version.name}, {dial.label}" for version, dials in self.per_expert for dial in dials}
        found = [(of_dials.get(dial.key, dial.label), error) for dial in self.dials() for error in dial.errors]
        return found + [(str(self[name].label), str(error)) for name in self.errors if name in self.fields for error in self.errors[name]]

    def models(self) -> dict[str, ModelVersion]:
        """The models of `recipe` by name."""
        assert self.recipe is not None
        there = {version.name: version for version in (self.chosen_base, *self.chosen) if version}
        return {name: there[name] for name in self.recipe.models()}

    @property
    def seed_or_usual(self) -> int:
        return self.cleaned_data.get("seed") or 0

    @property
    def unfolded(self) -> bool:
        """Whether something in the advanced fold is set or wrong."""
        return any(dial.graded for dial in self.dials()) or bool(self.data.get("seed")) or self.data.get("out_dtype", "same") != "same"

    @property
    def usable(self) -> bool:
        return self.recipe is not None and not self.errors

    # --- what can be chosen ----------------------------------------------------------------------------------------------------

    def offered(self) -> list[tuple[ModelVersion, bool]]:
        """Models that could be experts of the base, and its adapters: those chosen, in their order, then experts, then others, the newest
        first."""
        base = self.chosen_base
        fits = ModelVersion.objects.usable().filter(kind__in=(Kind.EXPERT, Kind.MERGED, Kind.SFT, Kind.DPO)).select_related("artifact")
        if base is not None:
            of_base = LineageEdge.objects.filter(parent=base, role=ADAPTED, child__kind=Kind.ADAPTER).values("child")
            fits = fits.made_alike(base).filter(pk__gt=base.pk) | ModelVersion.objects.mergeable().filter(pk__in=of_base)
            fits = fits.select_related("artifact")
        found = sorted(fits.order_by("-pk")[:MOST_OFFERED], key=lambda version: (version.kind != Kind.EXPERT, -version.pk))
        return [(version, True) for version in self.chosen] + [(version, False) for version in found if version not in self.chosen]

    # --- writing -----------------------------------------------------------------------------------------------------------------

    def address(self) -> str:
        """The query that draws this form again: the draft as a link."""
        return urlencode([(name, value) for name, value in self._said() if name != "name"])

    def digest(self) -> str:
        """Changes when a field does, and not with what the recipe is called."""
        return sha256(self.address().encode()).hexdigest()[:16]

    def _said(self) -> list[tuple[str, str]]:
        """What the fields say, whether they were sent or stand for what is usual; always in the same order."""
        data: Any = self.data
        pairs = [(name, value) for name in FIELDS for value in data.getlist(name) if value and (name, value) != ("out_dtype", "same")]
        for dial in self.dials():
            pairs += [(dial.key, dial.text), (f"by-{dial.key}", dial.graded)]
        pairs += [(choice.key, choice.chosen) for choice in self.variants if choice.chosen != choice.variant.default]
        return [(name, value) for name, value in pairs if value]


def _read_dial(dial: Dial) -> Any:
    try:
        return dial.read()
    except merge_drafts.Unreadable as problem:
        dial.errors.append(str(problem))
        return None


def _filled(data: QueryDict) -> QueryDict:
    filled = data.copy()
    if filled.get("method") not in METHODS:
        filled["method"] = USUAL_METHOD
    return filled


def of_recipe(recipe: Recipe, versions: Mapping[str, ModelVersion], *, seed: int = 0, base: str = "", cloned_from: str = "") -> QueryDict:
    """The data with which the form says this recipe. `base` is for methods that know none: what the merge is checked against."""
    recipe = merge_drafts.spelled(recipe)
    data = QueryDict(mutable=True)
    data["method"] = recipe.method
    data["base"] = recipe.base or base
    data.setlist("expert", [given.model for given in recipe.inputs])
    for given in recipe.inputs:
        for entry in recipe.table.per_input:
            _say(data, f"{entry.name}-{versions[given.model].pk}", given.parameters[entry.name], entry)
    for entry in recipe.table.shared:
        _say(data, entry.name, recipe.parameters[entry.name], entry)
    for name, value in recipe.variants.items():
        data[f"variant-{name}"] = value
    if recipe.out_dtype != "same":
        data["out_dtype"] = recipe.out_dtype
    if seed:
        data["seed"] = str(seed)
    if cloned_from:
        data["cloned_from"] = cloned_from
    return data


def _say(data: QueryDict, key: str, setting: Any, entry: Parameter) -> None:
    if isinstance(setting, tuple):
        data[f"by-{key}"] = merge_drafts.said(setting)
        data[key] = merge_drafts.plain(entry.start if entry.default is None else entry.default)
    else:
        data[key] = merge_drafts.plain(setting)
