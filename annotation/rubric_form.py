"""The studio's form: a rubric as JSON, kept as it was typed when something is wrong with it."""

import json
import re
from typing import Any

from django import forms

from annotation import rubrics

NEXT, COPY = "next", "copy"
# JSON can write what no page can show.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class RubricForm(forms.Form):
    """`content` as text becomes what annotation.rubrics.validate knows; each of its faults is said with its place."""

    save_as = forms.ChoiceField(
        label="Save as", choices=[(NEXT, "the next version"), (COPY, "a rubric of its own")], initial=NEXT, widget=forms.RadioSelect
    )
    code = forms.CharField(label="Code of the copy", max_length=10, required=False, help_text="A letter, then letters, digits, hyphens.")
    name = forms.CharField(label="Name", max_length=80)
    content = forms.CharField(
        label="What is asked", widget=forms.Textarea(attrs={"rows": 28, "spellcheck": "false", "class": "mono"}),
        help_text="JSON: axes (scales comparative, which, count or risk, with anchors), reasons, spans, checks. Keys are what answers "
        "are stored by: keep a key as long as it means the same.",
    )  # fmt: skip

    def clean_content(self) -> Any:
        try:
            content = json.loads(self.cleaned_data["content"])
        except json.JSONDecodeError as wrong:
            raise forms.ValidationError(f"Not JSON: {wrong.msg} in line {wrong.lineno}, column {wrong.colno}.") from None
        except (RecursionError, ValueError):
            raise forms.ValidationError("Not a rubric: nested too deeply, or with a number of thousands of digits.") from None
        if _LONE_SURROGATE.search(json.dumps(content, ensure_ascii=False)):
            raise forms.ValidationError("A text holds half a character (a lone surrogate).")
        try:
            rubrics.validate(content)
        except rubrics.RubricRefused as refused:
            raise forms.ValidationError([str(fault) for fault in refused.faults]) from None
        return content

    def clean(self) -> dict[str, Any]:
        asked: dict[str, Any] = super().clean() or self.cleaned_data
        if asked.get("save_as") == COPY and not asked.get("code") and "code" not in self.errors:
            self.add_error("code", "A copy needs a code of its own.")
        return asked
