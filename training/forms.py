"""What trainers fill in."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django import forms

from accounts.models import Role, User
from annotation import samples
from annotation.models import Sample, Snapshot, Source, Split
from jobs.models import ENDED, State
from modelhub.models import AliasName, ModelVersion
from training import endpoints, hyperparameters, presets, searches, studies
from training.engine.errors import SpecError
from training.engine.methods import METHODS
from training.engine.presets import SEARCH
from training.engine.spec import MAKES_MODEL, MOST_RANK, Endpoint
from training.models import Evaluation, Run, RunQuerySet

MOST_PROMPTS = 5000


def label_of(version: ModelVersion) -> str:
    """Name, kind, and what must not be overlooked."""
    return " · ".join([version.name, version.get_kind_display(), *(mark for mark in ("toy", "simulated") if getattr(version, mark))])


class VersionChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A model version by name, with what must not be overlooked: its kind, and whether it is a toy or fed by simulated raters."""

    def label_from_instance(self, obj: Any) -> str:
        return label_of(obj)


class LaunchForm(forms.Form):
    """Four visible fields; the rest are the recipe's (training/hyperparameters.py), and may be changed one by one."""

    snapshot = forms.ModelChoiceField(
        queryset=Snapshot.objects.none(), to_field_name="public_id", empty_label=None,
        help_text="The judgements to learn from, as they were frozen.",
    )  # fmt: skip
    policy = VersionChoice(
        queryset=ModelVersion.objects.none(), to_field_name="public_id", empty_label=None, label="Start model",
        help_text="It is copied, and the copy is trained.",
    )  # fmt: skip
    preset = forms.ChoiceField(label="Recipe", help_text="What is done to it, and how. Every setting can be changed below.")
    name = forms.SlugField(
        max_length=80, help_text="Letters, digits, hyphens. The new model version keeps this name for ever.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    seed = forms.IntegerField(
        required=False, min_value=0, max_value=2**32 - 1,
        help_text="1 when empty. The same seed, data and recipe give the same model on the same kind of machine.",
    )  # fmt: skip
    also_half = forms.BooleanField(
        required=False, label="Also train on half of the prompts",
        help_text="A second run, named …-half. The two together say whether more judgements would help.",
    )  # fmt: skip
    cloned_from = forms.ModelChoiceField(queryset=Run.objects.none(), required=False, widget=forms.HiddenInput)
    # The recipe that the page shows the settings of: when another is chosen, they are drawn anew.
    drawn = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        choices["snapshot"].queryset = Snapshot.objects.unblinded_for(user).select_related("campaign")
        choices["policy"].queryset = ModelVersion.objects.usable()
        choices["cloned_from"].queryset = Run.objects.filter(snapshot__isnull=False)
        choices["preset"].choices = [
            (title, [(preset.key, preset.label) for preset in presets.of(kind)]) for kind, title in presets.FROM_SNAPSHOTS.items()
        ]
        recipe = self.recipe()
        usual = presets.usual(recipe) if recipe else {}
        for setting in hyperparameters.ALL:
            field = self.fields[setting.name] = setting.field()
            _say_usual(field, setting.of(usual))
        self.order_fields(["snapshot", "policy", "preset", "name", *hyperparameters.BY_NAME, "seed", "also_half"])

    def recipe(self) -> presets.Preset | None:
        """The recipe chosen so far, whatever else is wrong."""
        said = self.data.get("preset") if self.is_bound else self.initial.get("preset")
        return next((preset for preset in presets.of(*presets.FROM_SNAPSHOTS) if preset.key == said), None)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "preset" in cleaned:
            chosen = presets.named(cleaned["preset"])
            try:
                cleaned["params"] = presets.checked(chosen, self.changes(cleaned))
            except SpecError as problem:
                self._complain(problem)
        return cleaned

    def _complain(self, problem: SpecError) -> None:
        path = tuple(problem.field.removeprefix("params.").split("."))
        setting = next((setting for setting in hyperparameters.ALL if setting.path == path), None)
        drawn = setting is not None and setting.name in {field.name for field in self.advanced()}
        self.add_error(setting.name if setting and drawn else None, str(problem))

    @staticmethod
    def changes(cleaned: dict[str, Any]) -> dict[str, Any]:
        """What differs from the recipe."""
        return {name: cleaned[name] for name in hyperparameters.BY_NAME if cleaned.get(name) not in (None, "")}

    def advanced(self) -> list[forms.BoundField]:
        """The settings that the chosen recipe's kind has, and what is about this launch alone."""
        recipe = self.recipe()
        known = [setting.name for setting in hyperparameters.of_kind(recipe.kind)] if recipe else []
        return [self[name] for name in (*known, "seed")]

    def unfolded(self) -> bool:
        """Whether something below the fold is set or wrong."""
        names = (*hyperparameters.BY_NAME, "seed", "also_half")
        return any(self[name].errors or self[name].value() not in (None, "", False) for name in names)


def _say_usual(field: forms.Field, value: Any) -> None:
    """What an empty field stands for."""
    said = (
        "none"
        if value is None
        else {True: "yes", False: "no"}[value]
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else value
    )
    if isinstance(field, forms.ChoiceField):
        choices: Any = field.choices
        field.choices = [(key, f"as in the recipe: {said}" if key == "" else label) for key, label in choices]
    else:
        field.widget.attrs["placeholder"] = f"as in the recipe: {said}"


def free_name(stem: str) -> str:
    """The first of stem-1, stem-2, … that neither a run nor a version has."""
    taken = {*Run.objects.filter(name__startswith=stem).values_list("name", flat=True)}
    taken |= {*ModelVersion.objects.filter(name__startswith=stem).values_list("name", flat=True)}
    return next(f"{stem[:70]}-{number}" for number in range(1, 10_000) if f"{stem[:70]}-{number}" not in taken)


class VersionChoices(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Model versions by name, with what must not be overlooked."""

    def label_from_instance(self, obj: Any) -> str:
        return label_of(obj)


class SearchForm(forms.Form):
    """A search for a merge's numbers: what is merged, how, and how long may be looked."""

    base = VersionChoice(
        queryset=ModelVersion.objects.none(), to_field_name="public_id", empty_label=None,
        help_text="What the experts' changes are measured from.",
    )  # fmt: skip
    experts = VersionChoices(
        queryset=ModelVersion.objects.none(), to_field_name="public_id", widget=forms.CheckboxSelectMultiple,
        help_text="Each gets numbers of its own.",
    )  # fmt: skip
    method = forms.ChoiceField(help_text="Its numbers begin where they usually stand, and the search never ends below that.")
    evaluations = forms.IntegerField(
        label="Merges to try", min_value=searches.FEWEST, max_value=searches.MOST, initial=searches.USUAL,
        help_text="Each is made in memory and asked the validation questions. Some dozens for each number searched are a good start.",
    )  # fmt: skip
    minutes = forms.FloatField(
        required=False, min_value=0.1, max_value=1440, label="At most, in minutes", help_text="No limit when empty.",
    )  # fmt: skip
    name = forms.SlugField(
        max_length=80, help_text="Letters, digits, hyphens. The best merge becomes a version of this name.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    seed = forms.IntegerField(required=False, min_value=0, max_value=2**32 - 1, help_text="1 when empty.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        choices["base"].queryset = choices["experts"].queryset = ModelVersion.objects.usable().filter(toy=True)
        choices["method"].choices = [(name, METHODS[name].title) for name in SEARCH]

    def seconds(self) -> float | None:
        """The budget in seconds, if there is one."""
        minutes = self.cleaned_data.get("minutes")
        return None if minutes is None else 60 * float(minutes)


class ExtractForm(forms.Form):
    """An adapter out of a version: what its change is measured from, and how much of it is to be held."""

    base = VersionChoice(
        queryset=ModelVersion.objects.none(), to_field_name="public_id", empty_label=None,
        help_text="The adapter is for this model: put on it, it comes as near to the other as its rank allows.",
    )  # fmt: skip
    rank = forms.IntegerField(
        min_value=1, max_value=MOST_RANK, help_text="Directions kept in each matrix. A higher rank is nearer, and a larger file."
    )
    name = forms.SlugField(
        max_length=80, help_text="Letters, digits, hyphens. The adapter keeps this name for ever.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip

    def __init__(self, *args: Any, bases: Sequence[ModelVersion], **kwargs: Any) -> None:
        """`bases` in the order in which they are offered."""
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        choices["base"].queryset = ModelVersion.objects.filter(pk__in=[base.pk for base in bases]).select_related("artifact")
        choices["base"].choices = [(str(base.public_id), label_of(base)) for base in bases]


class NameForm(forms.Form):
    """What a new version is to be called."""

    name = forms.SlugField(
        max_length=80, help_text="Letters, digits, hyphens. The new version keeps this name for ever.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip


class RunFilterForm(forms.Form):
    """Which runs a list shows. What it does not understand it leaves out."""

    STATES: ClassVar = {"": "any state", "going": "waiting or running", "done": "done", "not": "failed or stopped"}

    name = forms.CharField(required=False, max_length=80, label="Name has")
    kind = forms.ChoiceField(required=False)
    state = forms.ChoiceField(required=False, choices=list(STATES.items()))
    snapshot = forms.ModelChoiceField(
        queryset=Snapshot.objects.all(), to_field_name="public_id", required=False, empty_label="any snapshot"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        choices["kind"].choices = [("", "any kind"), *((kind, kind) for kind in sorted(MAKES_MODEL))]

    def chosen(self, runs: RunQuerySet) -> RunQuerySet:
        self.is_valid()
        said = self.cleaned_data
        if said.get("name"):
            runs = runs.filter(name__icontains=said["name"])
        if said.get("kind"):
            runs = runs.filter(job__kind=said["kind"])
        if said.get("snapshot"):
            runs = runs.filter(snapshot=said["snapshot"])
        match said.get("state"):
            case "going":
                return runs.exclude(job__state__in=ENDED)
            case "done":
                return runs.filter(job__state=State.SUCCEEDED)
            case "not":
                return runs.filter(job__state__in=(State.FAILED, State.CANCELLED))
        return runs


class _RatersField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, user: Any) -> str:
        """Who trains as well may have read what both models answered before: whoever chooses should know."""
        seen = {grant.role for grant in user.grants.all()} & {Role.TRAINER, Role.ADMIN}
        return f"{user.username} (trains too, and may have read both models' answers)" if seen else str(user.username)


class StudyForm(forms.Form):
    """Whom a study asks, where it is not everybody of the snapshot's campaign, and the seed of its draws."""

    raters = _RatersField(
        queryset=User.objects.none(), required=False, widget=forms.CheckboxSelectMultiple,
        help_text="None chosen means everybody who rates in the snapshot's campaign.",
    )  # fmt: skip
    seed = forms.IntegerField(
        required=False, min_value=0, max_value=2**32 - 1,
        help_text="Drawn when empty. The same seed draws the same prompts, orders and sides.",
    )  # fmt: skip

    def __init__(self, *args: Any, evaluation: Evaluation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        simulated = evaluation.snapshot is not None and evaluation.snapshot.campaign.simulated
        may = User.objects.filter(is_active=True, grants__role__in=studies.RATE)
        choices["raters"].queryset = (
            (may if simulated else may.filter(simulated=False)).distinct().order_by("username").prefetch_related("grants")
        )


class StudyStopForm(forms.Form):
    """Why a study is stopped: it stays on its page."""

    reason = forms.CharField(max_length=300)


class PromoteForm(forms.Form):
    """`expected` is what the alias named when the page was drawn: the move is off if it has moved since.

    `override` is written against a lead clinician's block, and kept with it. `alias` is the name that moves: the champion where none is
    said. `back` says which page it was sent from.
    """

    expected = forms.UUIDField(required=False)
    reason = forms.CharField(required=False, max_length=200)
    override = forms.CharField(required=False, max_length=400)
    alias = forms.ChoiceField(required=False, choices=AliasName.choices)
    back = forms.CharField(required=False, max_length=10)


class ProducerField(forms.ChoiceField):
    """Who answers: a model version by its public id, or `endpoint:` and the name of a server that the operator's settings allow."""

    def offer(self, versions: Iterable[ModelVersion], servers: Iterable[Endpoint]) -> None:
        self._servers = {f"endpoint:{server.name}": server for server in servers}
        models = [(str(version.public_id), label_of(version)) for version in versions]
        asked = [(value, f"{server.name} · {server.model}") for value, server in self._servers.items()]
        self.choices = [("Models", models), ("Servers", asked)] if asked else models

    def clean(self, value: Any) -> ModelVersion | Endpoint:
        chosen = super().clean(value)
        return self._servers.get(chosen) or ModelVersion.objects.get(public_id=chosen)


class GenerateForm(forms.Form):
    """Two producers for the same prompts: a model version or an allowed server, and a temperature each."""

    first = ProducerField(label="First producer")
    first_temperature = forms.FloatField(
        initial=0.3, min_value=0, max_value=2, label="Its temperature", help_text="0 always takes the likeliest word."
    )
    second = ProducerField(label="Second producer")
    second_temperature = forms.FloatField(initial=0.9, min_value=0, max_value=2, label="Its temperature")
    source = forms.ModelChoiceField(queryset=Source.objects.none(), label="Samples of", empty_label=None)
    task_type = forms.ChoiceField(required=False, label="Task")
    count = forms.IntegerField(
        initial=200,
        min_value=1,
        max_value=MOST_PROMPTS,
        label="How many",
        help_text="70 % to train on, 10 % to validate, 20 % to evaluate: as split at import.",
    )
    max_new_tokens = forms.IntegerField(initial=64, min_value=1, max_value=4096, label="Longest answer, in tokens")
    seed = forms.IntegerField(initial=1, min_value=0, max_value=2**31)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        versions, servers = list(ModelVersion.objects.usable()), list(endpoints.allowed().values())
        for name in ("first", "second"):
            choices[name].offer(versions, servers)
        self.has_producers = bool(versions or servers)
        choices["source"].queryset = Source.objects.filter(counts__rows__gt=0).distinct()
        choices["task_type"].choices = [("", "every task"), *((kind, kind) for kind in samples.task_types())]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        greedy = cleaned.get("first_temperature") == cleaned.get("second_temperature") == 0
        if greedy and cleaned.get("first") == cleaned.get("second"):
            self.add_error("second_temperature", "The same model at temperature 0 twice gives the same text twice.")
        if "source" in cleaned:
            self.fits = Sample.objects.usable().filter(source=cleaned["source"], **self._filters(cleaned))
            if not self.fits.exists():
                self.add_error("task_type", "No sample of this source has this task.")
        return cleaned

    @staticmethod
    def _filters(cleaned: dict[str, Any]) -> dict[str, Any]:
        return {"task_type": cleaned["task_type"]} if cleaned.get("task_type") else {}

    def counts(self) -> dict[str, int]:
        """Prompts wanted of each split."""
        most = self.cleaned_data["count"]
        wanted = {Split.TRAIN.value: round(0.7 * most), Split.VALIDATION.value: round(0.1 * most)}
        return wanted | {Split.EVALUATION.value: most - sum(wanted.values())}

    def filters(self) -> dict[str, Any]:
        return {"source": self.cleaned_data["source"], **self._filters(self.cleaned_data)}


class AskAgainForm(forms.Form):
    """Which batches the page showed, to show them again."""

    batches = forms.RegexField(r"^[0-9a-f,-]{36,300}$", required=False)
