"""The compare screen's keys: one for each action, to be exchanged or switched off by whoever uses them (WCAG 2.1.4).

A key is written as the page shows it: a single character without its capital ("d", "/", "5"), or "Shift+A". Kept on the server with the
person, so that nothing of it stays in a browser.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction

from accounts.models import User

SHIFT = "Shift+"


@dataclass(frozen=True)
class Action:
    """Something the compare screen does at a key. `group` is its heading on the page of keys."""

    code: str
    label: str
    default: str
    group: str


ACTIONS = (
    Action("a_much", "A much better", "1", "Verdict"),
    Action("a_slightly", "A slightly better", "2", "Verdict"),
    Action("both_acceptable", "Both acceptable", "3", "Verdict"),
    Action("b_slightly", "B slightly better", "4", "Verdict"),
    Action("b_much", "B much better", "5", "Verdict"),
    Action("both_unacceptable", "Both unacceptable", "0", "Verdict"),
    Action("cannot", "Cannot judge", "s", "Verdict"),
    Action("submit", "Submit and go on", "Enter", "Verdict"),
    Action("undo", "Take back the last answer", "u", "Verdict"),
    Action("reasons", "Choose reasons", "r", "Detail"),
    Action("harm_a", "Safety flag of A", "Shift+A", "Detail"),
    Action("harm_b", "Safety flag of B", "Shift+B", "Detail"),
    Action("edit", "Edit the better text", "e", "Detail"),
    Action("next_sentence", "Next sentence", "j", "Detail"),
    Action("previous_sentence", "Sentence before", "k", "Detail"),
    Action("mark", "Mark the sentence", "m", "Detail"),
    Action("diff", "Show differences", "d", "Reading"),
    Action("sync", "Scroll both sides together", "y", "Reading"),
    Action("find", "Find in the input", "/", "Reading"),
    Action("extend", "More time for this pair", "x", "Reading"),
    Action("help", "Guideline and keys", "?", "Reading"),
)
DEFAULTS = {action.code: action.default for action in ACTIONS}
# Enter sends a form wherever one is filled in: it stays what it is.
FIXED = {"submit"}


class KeysRefused(ValueError):
    """Keys that cannot be used. `faults` say why, by action; nothing was changed."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        self.faults = dict(faults)
        super().__init__(" ".join(faults.values()))


def of(user: User) -> dict[str, str]:
    """Every action's key for this person. What was kept for an action that is no more, or makes no sense any more, is passed over."""
    kept = user.preferences.get("keys", {})
    chosen = {code: kept[code] if isinstance(kept.get(code), str) else key for code, key in DEFAULTS.items()}
    return DEFAULTS if check(chosen) else chosen


def are_off(user: User) -> bool:
    """Whether single characters do nothing on the compare screen for this person. Enter, Tab and Escape go on working."""
    return bool(user.preferences.get("keys_off", False))


def written(typed: str) -> str:
    """A key as typed, in the one way it is kept: "D" and "shift+d" are "Shift+D"; "" for what is no key."""
    text = typed.strip()
    if text.casefold() == "enter":
        return "Enter"
    if text[: len(SHIFT)].casefold() == SHIFT.casefold() and len(text) == len(SHIFT) + 1:
        text = text[-1].upper() if text[-1].isalpha() else ""
    if len(text) != 1 or not text.isprintable() or text.isspace():
        return ""
    return f"{SHIFT}{text}" if text.isalpha() and text != text.lower() else text


def check(chosen: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with a key for every action, by action; empty when they can be used."""
    faults: dict[str, str] = {}
    by_key: dict[str, str] = {}
    for action in ACTIONS:
        key = chosen.get(action.code, "")
        if action.code in FIXED:
            if key != action.default:
                faults[action.code] = f"“{action.label}” keeps its key {action.default}."
        elif key == "Enter":
            faults[action.code] = "Enter is kept for sending the answer: choose another key."
        elif not key or written(key) != key:
            faults[action.code] = "One character, or Shift+ and a letter."
        if key in by_key:
            faults.setdefault(action.code, f"{key} is taken by “{by_key[key]}” already.")
        elif key:
            by_key[key] = action.label
    return faults


def save(*, user: User, chosen: Mapping[str, str], off: bool) -> None:
    """Keep a person's keys, and whether single characters are off. Only what differs from the defaults is kept. Raises KeysRefused."""
    keys = {code: written(chosen.get(code, default)) for code, default in DEFAULTS.items()}
    if faults := check(keys):
        raise KeysRefused(faults)
    with transaction.atomic():
        held = User.objects.select_for_update().get(pk=user.pk)
        changed = {code: key for code, key in keys.items() if key != DEFAULTS[code]}
        held.preferences = {**held.preferences, "keys": changed, "keys_off": off}
        held.save(update_fields=["preferences"])
    user.preferences = held.preferences
