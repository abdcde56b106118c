"""The twelve ways in which an answer is spoilt a little, as edits of the answer itself. Standard library only.

A JSON answer stays JSON: its texts are edited, and its lists. What every edit does is written beside it; the definitions are ours, the
names are those of arXiv 2505.10717, appendix A.7.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

from training.engine.grammar.grid import ERRORS

DEFINITIONS = {
    "ambiguity": "a figure or a name becomes vague, so that it can be read in several ways",
    "partial correctness": "a part of what was asked is left out",
    "over-verbosity": "the answer says the same again with more words",
    "brevity": "only the first words of the answer are left",
    "unbalanced detail": "one point is spun out with a detail that nobody asked for, and others suffer",
    "stylistic issues": "the tone does not fit a clinical record",
    "factual inaccuracy": "a figure, a label or a name is wrong",
    "logical flaws": "the answer contradicts itself",
    "misinterpretation": "something else of the text is answered than was asked",
    "simplistic reasoning": "a rule of thumb takes the place of the evidence",
    "grammatical errors": "words do not agree, or are missing",
    "spelling errors": "words are misspelt",
}
assert tuple(DEFINITIONS) == ERRORS

_FILLER = (
    "In other words, and to put it once more in full, this is what has been stated above.", "It should be noted that the foregoing has been taken from the text as given.",
    "As has been mentioned, and as the reader will have seen, this repeats what was said.",
)  # fmt: skip
_CONTRARY = ("At the same time this is not the case.", "Therefore the opposite is true as well.", "However, none of this was found.")
_RULE = (
    "It is nearly always this, so it must be so here.",
    "Because this is common, no other reading is possible.",
    "Most people have this, therefore it applies.",
)
_CHATTY = ("OK so, basically ", "Well, guess what: ", "Hey, just so you know, ")
Edit = Callable[[str, str, random.Random], str]


def spoil(output: str, *, error: str, given: str, seed: str) -> str:
    """The output with an error of the kind, never the output itself. `given` is the input that it answers."""
    chance = random.Random(f"spoil {error} {seed}")  # noqa: S311 - reproducible, not secret
    try:
        value = json.loads(output)
    except ValueError:
        value = None
    if isinstance(value, dict | list):
        made = json.dumps(_in_json(value, error, given, chance), ensure_ascii=False)
        return made if made != output else json.dumps(_longest_replaced(value, _always(error, chance)), ensure_ascii=False)
    made = EDITS[error](output, given, chance)
    return made if made.strip() and made != output else _always(error, chance)(output)


def _in_json(value: Any, error: str, given: str, chance: random.Random) -> Any:
    lists = [found for found in _lists(value) if len(found) > 1]
    if error in ("partial correctness", "brevity") and lists:
        longest = max(lists, key=len)
        kept = longest[:1] if error == "brevity" else [one for at, one in enumerate(longest) if at != chance.randrange(len(longest))]
        if kept != longest:
            return _swapped(value, longest, kept or longest[:1])
    return _longest_replaced(value, lambda text: EDITS[error](text, given, chance))


def _lists(value: Any) -> list[list[Any]]:
    if isinstance(value, list):
        return [value, *(found for one in value for found in _lists(one))]
    return [found for one in value.values() for found in _lists(one)] if isinstance(value, dict) else []


def _swapped(value: Any, old: Any, new: Any) -> Any:
    if value is old:
        return new
    if isinstance(value, list):
        return [_swapped(one, old, new) for one in value]
    return {key: _swapped(one, old, new) for key, one in value.items()} if isinstance(value, dict) else value


def _longest_replaced(value: Any, edit: Callable[[str], str]) -> Any:
    """Edit the longest text in it; where there is none, a number goes up by one, and an empty list gets an entry."""
    texts = _leaves(value, str)
    if texts and (longest := max(texts, key=len)):
        done = False

        def walk(node: Any) -> Any:
            nonlocal done
            if isinstance(node, str) and node == longest and not done:
                done = True
                return edit(node)
            if isinstance(node, list):
                return [walk(one) for one in node]
            return {key: walk(one) for key, one in node.items()} if isinstance(node, dict) else node

        return walk(value)
    if isinstance(value, dict):
        return {
            key: one + 1 if isinstance(one, int) and not isinstance(one, bool) else [*one, "unclear"] if one == [] else one
            for key, one in value.items()
        }
    return [*value, "unclear"]


def _leaves(value: Any, kind: type) -> list[Any]:
    if isinstance(value, dict):
        return [found for one in value.values() for found in _leaves(one, kind)]
    if isinstance(value, list):
        return [found for one in value for found in _leaves(one, kind)]
    return [value] if isinstance(value, kind) else []


def _always(error: str, chance: random.Random) -> Callable[[str], str]:
    """For texts that the edit found nothing to bite on."""
    ends = {
        "ambiguity": " or something like it", "partial correctness": ", and so on", "over-verbosity": f". {_FILLER[0]}", "brevity": "…",
        "unbalanced detail": ", as the third line of the text says at some length", "stylistic issues": ", obviously!!", "factual inaccuracy": ", on both sides",
        "logical flaws": f". {_CONTRARY[0]}", "misinterpretation": ", as far as the relatives are concerned", "simplistic reasoning": f". {_RULE[0]}",
        "grammatical errors": " which it are", "spelling errors": " (acording to the recrod)",
    }  # fmt: skip
    return lambda text: text + ends[error]


def _ambiguity(text: str, given: str, chance: random.Random) -> str:
    """The first figure becomes "some"; without one, a word in the middle does."""
    if re.search(r"\d", text):
        return re.sub(r"\d[\d.,/]*", chance.choice(("some", "about a few", "several")), text, count=1)
    words = text.split()
    return f"possibly {text}" if len(words) < 3 else " ".join([*words[:2], "or possibly another", *words[3:]])


def _partial(text: str, given: str, chance: random.Random) -> str:
    """The last line, entry, sentence or half of the words is gone."""
    for mark in ("\n", "; ", ". "):
        parts = text.split(mark)
        if len(parts) > 1:
            return mark.join(parts[:-1])
    words = text.split()
    return " ".join(words[: max(1, (len(words) + 1) // 2)])


def _verbose(text: str, given: str, chance: random.Random) -> str:
    lead = chance.choice(
        ("What can be said here is that ", "In answer to what was asked, ", "Having read all of it, one finds the following: ")
    )
    return f"{lead}{text} {' '.join(chance.sample(_FILLER, 2))}"


def _brief(text: str, given: str, chance: random.Random) -> str:
    words = text.split()
    return " ".join(words[: max(1, len(words) // 4)])


def _unbalanced(text: str, given: str, chance: random.Random) -> str:
    """A sentence of the input that was not asked for is put in at length, and the end is cut."""
    sentences = [one for one in re.split(r"(?<=[.!?])\s+|\n", given) if 4 < len(one.split()) < 40 and one not in text]
    extra = chance.choice(sentences) if sentences else "The circumstances were described at length."
    return f"{_partial(text, given, chance)} {extra}"


def _style(text: str, given: str, chance: random.Random) -> str:
    return f"{chance.choice(_CHATTY)}{text[:1].lower()}{text[1:].rstrip('.')}!!"


def _inaccurate(text: str, given: str, chance: random.Random) -> str:
    """A figure is changed for another; without one, a word is swapped for one of the input."""
    if match := re.search(r"\d+", text):
        value = int(match[0])
        return text[: match.start()] + str(value + chance.choice((1, 2, 3, 10))) + text[match.end() :]
    words = text.split()
    spare = [word.strip(".,;:") for word in given.split() if len(word) > 4 and word.strip(".,;:").isalpha() and word not in text]
    if spare and words:
        at = max(range(len(words)), key=lambda place: len(words[place]))
        return " ".join([*words[:at], chance.choice(spare), *words[at + 1 :]])
    return text


def _illogical(text: str, given: str, chance: random.Random) -> str:
    return f"{text.rstrip('.')}. {chance.choice(_CONTRARY)}"


def _misread(text: str, given: str, chance: random.Random) -> str:
    """Another sentence of the input stands for the answer."""
    sentences = [
        one.strip() for one in re.split(r"(?<=[.!?])\s+|\n", given) if 2 < len(one.split()) < 40 and text not in one and one.strip() != text
    ]
    return chance.choice(sentences) if sentences else text


def _simplistic(text: str, given: str, chance: random.Random) -> str:
    return f"{text.rstrip('.')}. {chance.choice(_RULE)}"


def _ungrammatical(text: str, given: str, chance: random.Random) -> str:
    swaps = {
        "is": "are",
        "was": "were",
        "has": "have",
        "are": "is",
        "were": "was",
        "have": "has",
        "takes": "take",
        "a": "an",
        "an": "a",
        "the": "",
        "of": "",
        "to": "",
    }
    words = text.split(" ")
    places = [at for at, word in enumerate(words) if word.lower() in swaps]
    for at in chance.sample(places, min(2, len(places))):
        words[at] = swaps[words[at].lower()]
    if not places:
        words.insert(min(1, len(words)), "are")
    return " ".join(word for word in words if word)


def _misspelt(text: str, given: str, chance: random.Random) -> str:
    """In up to three long words two letters change places."""
    places = [found.span() for found in re.finditer(r"[A-Za-z]{5,}", text)]
    for start, end in sorted(chance.sample(places, min(3, len(places))), reverse=True):
        at = chance.randrange(start + 1, end - 2)
        if text[at] != text[at + 1]:
            text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        else:
            text = text[:at] + text[at + 1 :]
    return text


EDITS: dict[str, Edit] = dict(
    zip(
        ERRORS,
        (
            _ambiguity,
            _partial,
            _verbose,
            _brief,
            _unbalanced,
            _style,
            _inaccurate,
            _illogical,
            _misread,
            _simplistic,
            _ungrammatical,
            _misspelt,
        ),
        strict=True,
    )
)
