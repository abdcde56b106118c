"""The lead's form: a ruling by side, as the lead sees the pair, and its way to completions and back."""

import uuid
from typing import Any

from django import forms

from annotation import answers
from annotation.adjudications import Ruling
from annotation.models import Adjudication, Dispute, Outcome, Severity

MAX_RATIONALE = answers.MAX_RATIONALE

DECIDE_A, DECIDE_B = "decide_a", "decide_b"
# What a lead presses, with its key; the last three are about the pair as a whole.
DECISIONS = (
    (DECIDE_A, "A is better", "1"),
    (DECIDE_B, "B is better", "2"),
    (Outcome.EQUIVALENT.value, "Genuinely equivalent", "3"),
    (Outcome.DEFECTIVE.value, "The sample is defective", "4"),
    (Outcome.RUBRIC_UNCLEAR.value, "The rubric is unclear", "5"),
)
HARMS = (("", "No harm"), *Severity.choices)
_OF_EACH_SIDE = ("harm", "must_not_train", "block_promotion")


class RulingForm(forms.Form):
    """`key` is made with the form, so that sending it twice counts once; `votes_version` is what the page was drawn with."""

    decision = forms.ChoiceField(
        choices=[(value, label) for value, label, _ in DECISIONS], error_messages={"required": "Choose what you decide first."}
    )
    harm_a = forms.ChoiceField(required=False, choices=HARMS)
    harm_b = forms.ChoiceField(required=False, choices=HARMS)
    must_not_train_a = forms.BooleanField(required=False)
    must_not_train_b = forms.BooleanField(required=False)
    block_promotion_a = forms.BooleanField(required=False)
    block_promotion_b = forms.BooleanField(required=False)
    # Twice the limit, so that the message can say by how much.
    rationale = forms.CharField(required=False, strip=False, max_length=2 * MAX_RATIONALE)
    key = forms.UUIDField(widget=forms.HiddenInput)
    votes_version = forms.IntegerField(min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput)

    def __init__(self, *args: Any, dispute: Dispute, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dispute = dispute
        # Django's own refusal of NUL would not say where it stands.
        self.fields["rationale"].validators = []

    @classmethod
    def fresh(cls, dispute: Dispute, *, flagged: tuple[str, str], last: Adjudication | None) -> "RulingForm":
        """A form that starts with the last ruling, or with the harm that raters flagged: lowering it is an act, confirming it is not."""
        by_completion: dict[str, Any] = {"harm_first": flagged[0], "harm_second": flagged[1]}
        start: dict[str, Any] = {"key": str(uuid.uuid4()), "votes_version": dispute.votes_version}
        if last is not None:
            by_completion = {f"{name}_{of}": getattr(last, f"{name}_{of}") for name in _OF_EACH_SIDE for of in ("first", "second")}
            start |= {"decision": decision_of(dispute, last.outcome), "rationale": last.rationale}
        for name in _OF_EACH_SIDE:
            for side in ("a", "b"):
                start[f"{name}_{side}"] = by_completion.get(f"{name}_{answers.which_of(dispute, side)}", "")
        return cls(dispute=dispute, initial=start)

    def clean_rationale(self) -> str:
        text = answers.unix(str(self.cleaned_data["rationale"]))
        if len(text) > MAX_RATIONALE:
            raise forms.ValidationError(f"The reason has {len(text):,} characters; {MAX_RATIONALE:,} are allowed.")
        if problem := answers.unstorable(text):
            raise forms.ValidationError(problem)
        return text.strip()

    def ruling(self) -> Ruling:
        """By completion. Only after `is_valid()`."""
        said = self.cleaned_data
        sides = {f"{name}_{answers.which_of(self.dispute, side)}": said[f"{name}_{side}"] for name in _OF_EACH_SIDE for side in ("a", "b")}
        return Ruling(outcome=outcome_of(self.dispute, said["decision"]), rationale=said["rationale"], **sides)

    def sides(self) -> list[dict[str, Any]]:
        """The questions about each side, as the page shows them: A, then B."""
        return [{"letter": side.upper(), **{name: self[f"{name}_{side}"] for name in _OF_EACH_SIDE}} for side in ("a", "b")]


def outcome_of(dispute: Dispute, decision: str) -> str:
    """The outcome by completion behind what a lead pressed by side."""
    if decision in (DECIDE_A, DECIDE_B):
        return answers.which_of(dispute, decision[-1])
    return decision


def decision_of(dispute: Dispute, outcome: str) -> str:
    """The inverse of `outcome_of`."""
    if outcome in (Outcome.FIRST, Outcome.SECOND):
        return DECIDE_A if answers.side_of(dispute, outcome) == "a" else DECIDE_B
    return str(outcome)
