"""The form that sets up a campaign: usual values in every field, so that name, texts and people are enough."""

from typing import Any

from django import forms
from django.db.models import Count

from accounts.models import Role, Specialty, User
from annotation import pairs, rubrics, worth
from annotation.forms import GUIDELINE, Share
from annotation.models import Campaign, CampaignState, GenerationBatch, RationaleWhen, Rubric, Sample, Selection, Split
from annotation.pairs import Sources

PURPOSES = [("collect", "Collect preferences"), ("qualify", "Qualify raters: pairs whose answer is known, with feedback")]
SESSIONS = [(10, "10 minutes"), (20, "20 minutes"), (30, "30 minutes")]


class BatchChoice(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        toy = " · toy" if obj.version is not None and obj.version.toy else ""
        heat = f" · temperature {obj.decoding['temperature']}" if "temperature" in obj.decoding else ""
        return f"{obj}{heat} · {obj.texts} texts · {obj.created_at:%Y-%m-%d %H:%M}{toy}"


class PeopleChoice(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.username}{' · simulated' if obj.simulated else ''}"


class RubricChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj} · {obj.name}"


def batches_with_texts() -> Any:
    """The texts that can be compared, the newest first, each with how many there are."""
    counted = GenerationBatch.objects.select_related("version").annotate(texts=Count("completions"))
    return counted.filter(texts__gt=0).order_by("-pk")


def people_who_rate() -> Any:
    raters = User.objects.filter(is_active=True, grants__role__in=[Role.ANNOTATOR, Role.ADJUDICATOR]).distinct()
    return raters.order_by("simulated", "username")


class CampaignForm(forms.Form):
    """`terms()` are the arguments of campaigns.create; `sources()` and `people()` serve the plan while it is being filled in."""

    name = forms.CharField(label="Name", max_length=120, help_text="Annotators see it: it must not say who wrote the texts.")
    purpose = forms.ChoiceField(label="Purpose", choices=PURPOSES, initial="collect", required=False)
    batches = BatchChoice(
        label="Texts to compare", queryset=GenerationBatch.objects.none(), widget=forms.CheckboxSelectMultiple, required=False
    )
    members = PeopleChoice(label="Who judges", queryset=User.objects.none(), widget=forms.CheckboxSelectMultiple, required=False)
    rubric = RubricChoice(
        label="Rubric", queryset=Rubric.objects.none(), required=False, help_text="What is asked beside the verdict. T0 is the quickest."
    )
    guideline = forms.CharField(
        label="Guideline",
        widget=forms.Textarea,
        # Callable: read when a form is shown, from the guideline of the first campaign.
        initial=lambda: GUIDELINE.read_text(encoding="utf-8"),
        help_text="One screen; annotators open it with “?”. Headings, lists, tables, **strong** and *emphasis* are set as such.",
    )

    splits = forms.MultipleChoiceField(
        label="From the splits", choices=Split.choices, initial=Split.values, widget=forms.CheckboxSelectMultiple,
        help_text="Training never sees evaluation samples; judgements on them serve the final comparison.",
    )  # fmt: skip
    pairing = forms.ChoiceField(
        label="Pairs", choices=[(pairs.EVERY_PAIR, "every two texts of a prompt"), (pairs.ONE_PAIR, "one pair a prompt, drawn")]
    )
    leaving = forms.MultipleChoiceField(
        label="Leave out pairs with", choices=list(worth.REASONS.items()), widget=forms.CheckboxSelectMultiple, required=False,
        initial=[worth.CUT, worth.INVALID, worth.NEAR],
        help_text="They cost time and teach little. A text counts as much longer from half as long again.",
    )  # fmt: skip
    limit = forms.IntegerField(label="At most this many pairs", required=False, min_value=1, help_text="Empty: all.")
    selection = forms.ChoiceField(
        label="Drawn", choices=Selection.choices, initial=Selection.RANDOM, required=False, widget=forms.RadioSelect,
        help_text="Only a random draw measures, so the evaluation split allows no other. An informative one teaches a model most.",
    )  # fmt: skip

    overlap = forms.IntegerField(label="Judgements for each pair", min_value=1, max_value=20, initial=1)
    double_share = Share(
        label="Pairs that get one judgement more, %", max_value=100, initial=25,
        help_text="Drawn at random; they show how well raters agree. Never pairs of the evaluation split.",
    )  # fmt: skip
    repeat_share = Share(
        label="Answers asked again later, %", max_value=50, initial=5, help_text="Of the same rater, a day later, with sides swapped."
    )
    gold = forms.IntegerField(
        label="Gold pairs", min_value=0, max_value=100, initial=0, required=False,
        help_text="Copied from what closed campaigns settled; every rater gets them, and they look like the others.",
    )  # fmt: skip
    rationale_when = forms.MultipleChoiceField(
        label="A few words are required when", choices=RationaleWhen.choices, widget=forms.CheckboxSelectMultiple, required=False,
        initial=[RationaleWhen.BOTH_UNACCEPTABLE, RationaleWhen.FLAG],
    )  # fmt: skip

    session_minutes = forms.TypedChoiceField(label="A session", choices=SESSIONS, coerce=int, initial=20, required=False, empty_value=None)
    deadline = forms.DateField(label="Deadline", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    hourly_cost = forms.DecimalField(
        label="Cost of a clinician's hour", required=False, min_value=0, max_digits=8, decimal_places=2, help_text="In your currency."
    )
    lease_minutes = forms.IntegerField(
        label="Minutes a pair is kept for its rater", min_value=5, max_value=240, initial=30, required=False,
        help_text="They can extend it; then it goes to somebody else.",
    )  # fmt: skip
    qualification = forms.ModelChoiceField(
        label="Qualification to pass first", queryset=Campaign.objects.none(), required=False, empty_label="none"
    )
    pass_share = Share(label="To pass, % of the answers as expected", max_value=100, initial=80, help_text="Of a qualification.")
    attempts = forms.IntegerField(label="Tries", min_value=1, max_value=5, initial=2, required=False, help_text="At a qualification.")
    cohorts = forms.CharField(
        label="Cohorts", required=False, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line: <code>hospital: alice, bob</code>. Every pair is then judged in each cohort.",
    )  # fmt: skip
    routing_by = forms.ChoiceField(
        label="Route pairs to specialties", required=False,
        choices=[("", "no: anybody judges any pair"), ("task_type", "by task"), ("input_data", "by document")],
    )  # fmt: skip
    routing = forms.CharField(
        label="Which goes where", required=False, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line: <code>ECG Report: cardiology</code>. What is not named goes to anybody.",
    )  # fmt: skip
    simulated = forms.BooleanField(label="Simulated raters judge: part of a demonstration", required=False)

    FIRST = ("name", "purpose", "batches", "members", "rubric", "guideline")
    FOLDS = (
        ("Which pairs", ("splits", "pairing", "leaving", "limit", "selection")),
        ("Judgements and their quality", ("overlap", "double_share", "repeat_share", "gold", "rationale_when")),
        ("Time and cost", ("session_minutes", "deadline", "hourly_cost", "lease_minutes")),
        (
            "Cohorts, specialties, qualification",
            ("qualification", "pass_share", "attempts", "cohorts", "routing_by", "routing", "simulated"),
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rubrics.ensure()
        self._offer("batches", batches_with_texts())
        self._offer("members", people_who_rate())
        self._offer("rubric", Rubric.objects.filter(retired_at__isnull=True))
        self._offer("qualification", Campaign.objects.filter(purpose="qualify", state=CampaignState.OPEN))
        self.fields["rubric"].initial = lambda: rubrics.default().pk

    def _offer(self, name: str, queryset: Any) -> None:
        self.fields[name].queryset = queryset  # type: ignore[attr-defined]

    def first(self) -> list[forms.BoundField]:
        return [self[name] for name in self.FIRST]

    def folds(self) -> list[dict[str, Any]]:
        """The rest, in groups; one with an error in it, or with what was filled in, stands open."""
        return [
            {
                "title": title,
                "fields": [self[name] for name in names],
                "open": any(self[name].errors for name in names),
            }
            for title, names in self.FOLDS
        ]

    def as_asked(self) -> "CampaignForm":
        """The same values in a form that complains of nothing: for a plan while it is being filled in."""
        return CampaignForm(
            initial={name: field.widget.value_from_datadict(self.data, self.files, name) for name, field in self.fields.items()}
        )

    # --- what was filled in, read -----------------------------------------------------------------------------------------------------

    def _clean_fields(self) -> None:
        """A field that was not sent at all keeps its usual value; one that was sent empty is empty."""
        super()._clean_fields()  # type: ignore[misc]
        for name, field in self.fields.items():
            if name not in self.data and not field.required and name not in self.errors:
                usual = self.get_initial_for_field(field, name)
                if isinstance(field, Share):
                    self.cleaned_data[name] = (usual or 0) / 100
                elif usual is not None and not isinstance(field, forms.ModelChoiceField | forms.MultipleChoiceField):
                    self.cleaned_data[name] = usual

    def clean_purpose(self) -> str:
        return self.cleaned_data["purpose"] or "collect"

    def clean_selection(self) -> str:
        return self.cleaned_data["selection"] or Selection.RANDOM

    def clean_cohorts(self) -> dict[str, list[User]]:
        """{cohort: people} from lines "cohort: name, name"."""
        by_name = {user.username: user for user in people_who_rate()}
        found: dict[str, list[User]] = {}
        seated: set[str] = set()
        for cohort, names in self._lines("cohorts", "hospital: alice, bob"):
            if cohort in found:
                raise forms.ValidationError(f"The cohort “{cohort}” is there twice.")
            if len(cohort) > 40:
                raise forms.ValidationError("A cohort's name has 40 characters at most.")
            people = [name.strip() for name in names.split(",") if name.strip()]
            for name in people:
                if name not in by_name:
                    raise forms.ValidationError(f"Nobody who may rate is called “{name}”.")
                if name in seated:
                    raise forms.ValidationError(f"{name} is in two cohorts.")
                seated.add(name)
            if not people:
                raise forms.ValidationError(f"Nobody is in the cohort “{cohort}”.")
            found[cohort] = [by_name[name] for name in people]
        return found

    def clean_routing(self) -> dict[str, str]:
        """{value: specialty} from lines "value: specialty"."""
        known = {label.casefold(): value for value, label in Specialty.choices} | {value: value for value in Specialty.values}
        found = {}
        for value, field in self._lines("routing", "ECG Report: cardiology"):
            if field.casefold() not in known:
                raise forms.ValidationError(f"There is no specialty “{field}”; there are: {', '.join(Specialty.values)}.")
            found[value] = str(known[field.casefold()])
        return found

    def _lines(self, name: str, example: str) -> list[tuple[str, str]]:
        """The field's lines as (before, after) the colon."""
        read = []
        for number, line in enumerate(self.cleaned_data[name].splitlines(), start=1):
            before, colon, after = line.rpartition(":")
            if line.strip() and not (colon and before.strip() and after.strip()):
                raise forms.ValidationError(f"Line {number} is not written like “{example}”.")
            if line.strip():
                read.append((before.strip(), after.strip()))
        return read

    def clean(self) -> dict[str, Any]:
        asked: dict[str, Any] = super().clean() or self.cleaned_data
        if not asked.get("batches") and not (asked.get("purpose") == "qualify" and asked.get("gold")) and "batches" not in self.errors:
            self.add_error("batches", "Choose the texts to compare.")
        if not self.people() and "members" not in self.errors and "cohorts" not in self.errors:
            self.add_error("members", "Choose who judges.")
        by, rules = asked.get("routing_by"), asked.get("routing")
        if by and rules:
            # One look for each, and not a reading of all that have it.
            known = {label for label in rules if Sample.objects.filter(**{by: label}).exists()}
            if missing := sorted(set(rules) - known):
                self.add_error("routing", f"No sample has the {'task' if by == 'task_type' else 'document'} “{missing[0]}”.")
        elif by and "routing" not in self.errors:
            self.add_error("routing", "Say which goes where.")
        elif rules:
            self.add_error("routing_by", "Say whether tasks or documents are routed.")
        return asked

    def sources(self) -> Sources:
        """What would be drawn from, as far as it was said."""
        asked = self.cleaned_data
        return Sources(
            tuple(asked.get("batches") or ()), tuple(asked.get("splits") or ()), (), asked.get("pairing") or pairs.EVERY_PAIR,
            tuple(asked.get("leaving") or ()),
        )  # fmt: skip

    def people(self) -> list[User]:
        """Everybody who would judge, in cohorts or not."""
        asked = self.cleaned_data
        everybody = [*(asked.get("members") or ()), *(user for inside in (asked.get("cohorts") or {}).values() for user in inside)]
        return list({user.pk: user for user in everybody}.values())

    def terms(self) -> dict[str, Any]:
        """The arguments of campaigns.create."""
        asked = dict(self.cleaned_data)
        by = asked.pop("routing_by")
        asked["routing"] = {"by": by, "rules": asked["routing"]} if by else {}
        asked["members"] = self.people()
        asked["rubric"] = asked["rubric"] or rubrics.default()
        asked["gold"] = asked["gold"] or 0
        asked["attempts"] = asked["attempts"] or 2
        asked["lease_minutes"] = asked["lease_minutes"] or 30
        asked["session_minutes"] = asked["session_minutes"] or 20
        return asked


# --- on the way --------------------------------------------------------------------------------------------------------------------------


class MembersForm(forms.Form):
    """More people, into a cohort where there are any."""

    members = PeopleChoice(label="Who judges too", queryset=User.objects.none(), widget=forms.CheckboxSelectMultiple)
    cohort = forms.ChoiceField(label="In the cohort")

    def __init__(self, *args: Any, campaign: Campaign, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        there = campaign.memberships.filter(revoked_at__isnull=True).values("user")
        self.fields["members"].queryset = people_who_rate().exclude(pk__in=there)  # type: ignore[attr-defined]
        if campaign.cohorts:
            self.fields["cohort"].choices = [(cohort, cohort) for cohort in campaign.cohorts]  # type: ignore[attr-defined]
        else:
            del self.fields["cohort"]


class ExtendForm(MembersForm):
    """A later deadline, more pairs by the same protocol, more people: at least one of them."""

    deadline = forms.DateField(label="New deadline", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    more_pairs = forms.IntegerField(
        label="More pairs", required=False, min_value=1, help_text="Drawn as the first ones were, from what was not drawn."
    )
    field_order = ("deadline", "more_pairs", "members", "cohort")

    def __init__(self, *args: Any, campaign: Campaign, **kwargs: Any) -> None:
        super().__init__(*args, campaign=campaign, **kwargs)
        self.fields["members"].required = False
        if "cohort" in self.fields:
            self.fields["cohort"].required = False
        if not self.fields["members"].queryset.exists():  # type: ignore[attr-defined]
            del self.fields["members"]
            self.fields.pop("cohort", None)

    def clean_more_pairs(self) -> int:
        return self.cleaned_data["more_pairs"] or 0


class DeriveForm(forms.Form):
    """The next campaign by the same protocol."""

    name = forms.CharField(label="Name", max_length=120, help_text="Annotators see it: it must not say who wrote the texts.")
    batches = BatchChoice(
        label="Texts to compare", queryset=GenerationBatch.objects.none(), widget=forms.CheckboxSelectMultiple, required=False,
        help_text="None chosen: the pairs that this campaign left unjudged.",
    )  # fmt: skip
    limit = forms.IntegerField(label="At most this many pairs", required=False, min_value=1, help_text="Empty: all.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["batches"].queryset = batches_with_texts()  # type: ignore[attr-defined]


class CampaignFilter(forms.Form):
    """What the list shows. A filter that is not understood shows everything."""

    state = forms.ChoiceField(required=False, choices=[("", "every state"), *CampaignState.choices])
    purpose = forms.ChoiceField(
        required=False, choices=[("", "every purpose"), ("collect", "Collect"), ("qualify", "Qualify"), ("study", "Study")]
    )

    def _chosen(self) -> dict[str, str]:
        return {name: value for name, value in self.cleaned_data.items() if value} if self.is_valid() else {}

    @property
    def narrows(self) -> bool:
        return bool(self._chosen())

    def narrow(self, found: Any) -> Any:
        return found.filter(**self._chosen())
