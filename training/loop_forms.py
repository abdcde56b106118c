"""What a trainer says of a campaign's loop, and of a proposal that is put aside."""

from typing import Any

from django import forms

from annotation.filters import MOST_HELD_OUT
from annotation.forms import Share
from annotation.held_out_raters import SUGGESTED
from annotation.models import Campaign
from modelhub import aliases
from modelhub.models import ModelVersion
from training import loop_policies
from training.forms import label_of
from training.models import LoopPolicy

USUAL_PAIRS, USUAL_SEED = 300, 1


class LoopForm(forms.Form):
    """On or off, when a round begins, and how it trains. What is wrong is said beside its field (`refuse`)."""

    active = forms.BooleanField(
        required=False, label="Begin rounds by itself", help_text="Off, nothing begins. A round under way goes on to its proposal."
    )
    pairs_needed = forms.IntegerField(
        min_value=1, max_value=2**31 - 1, initial=USUAL_PAIRS, label="New training pairs before a round begins",
        help_text="Usable pairs of the train split that no earlier round has trained on. Under 100 in all, a round is a dry run only.",
    )  # fmt: skip
    hold_out_raters = Share(
        label="Raters to hold out, %", max_value=int(100 * MOST_HELD_OUT),
        help_text="Their votes train nothing and alone label the evaluation pairs. Without them gate G1, which asks about people the model "
        "has not learnt from, mostly stays open. Empty holds nobody out.",
        widget=forms.NumberInput(attrs={"placeholder": "0"}),
    )  # fmt: skip
    policy = forms.ChoiceField(label="Start model", help_text="Every round trains a copy of it.")
    preset = forms.ChoiceField(label="Recipe", help_text="What is done to the copy, and how.")
    seed = forms.IntegerField(
        min_value=0, max_value=loop_policies.MOST_SEED, initial=USUAL_SEED,
        help_text="The same judgements, model, recipe and seed give the same proposal.",
    )  # fmt: skip

    def __init__(self, *args: Any, loop: LoopPolicy | None, campaign: Campaign, **kwargs: Any) -> None:
        kwargs.setdefault("initial", _as_it_is(loop) if loop else _usual(campaign))
        super().__init__(*args, **kwargs)
        choices: Any = self.fields
        champion = aliases.current(loop_policies.CHAMPION)
        who = f"now {champion.name}" if champion else "nobody yet"
        choices["policy"].choices = [
            (loop_policies.CHAMPION, f"whoever is champion when a round begins ({who})"),
            *((str(version.public_id), label_of(version)) for version in ModelVersion.objects.usable()),
        ]
        choices["preset"].choices = [(preset.key, preset.label) for preset in loop_policies.offered()]

    def asked(self) -> dict[str, Any]:
        """The policy as `loop_policies.put` takes it."""
        said = dict(self.cleaned_data)
        if said["policy"] != loop_policies.CHAMPION:
            said["policy"] = ModelVersion.objects.get(public_id=said["policy"])
        return said

    def refuse(self, problems: dict[str, str]) -> None:
        for field, problem in problems.items():
            self.add_error(field if field in self.fields else None, problem)


def _usual(campaign: Campaign) -> dict[str, Any]:
    usual = {"active": True, "preset": "demo" if campaign.toy else "clinic"}
    # Of simulated raters the planted truth is asked, which is nobody's: nobody need be held out.
    return usual if campaign.toy and campaign.simulated else usual | {"hold_out_raters": round(100 * SUGGESTED)}


def _as_it_is(loop: LoopPolicy) -> dict[str, Any]:
    named = loop.params["policy"]
    return {
        "active": loop.active, "pairs_needed": loop.pairs_needed, "preset": loop.params["preset"], "seed": loop.params["seed"],
        "hold_out_raters": round(100 * loop.hold_out_raters) or None,
        "policy": named.get("alias") or named["version"],
    }  # fmt: skip


class DismissForm(forms.Form):
    """Why a proposal is put aside."""

    reason = forms.CharField(max_length=300, strip=True)
