"""What a card's metadata must be for the Hub, checked without the Hub; what the writer says is in tests/training/test_model_cards.py."""

import pytest

from modelhub import cards

GOOD = """---
language:
- en
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags:
- clinical
base_model:
- microsoft/Phi-3.5-mini-instruct
base_model_relation: finetune
model-index:
- name: ward-dpo
  results:
  - task:
      type: text-generation
    dataset:
      type: rounds-snapshot
      name: Rounds snapshot 0123456789ab
    metrics:
    - type: accuracy
      value: 0.61
---

# ward-dpo
"""


def test_a_good_card_has_no_problems() -> None:
    assert cards.problems(GOOD) == []


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ("---\nlanguage", "language", "no metadata"),
        ("license: apache-2.0", "license: Apache-2.0", "license: 'Apache-2.0'"),
        ("license: apache-2.0", "license: other", "license_name"),
        ("license: apache-2.0", "license: other\nlicense_name: Our Own", "license_name"),
        ("license: apache-2.0", "license: other\nlicense_name: our-own\nlicense_link: /etc/passwd", "license_link"),
        ("- en", "- English", "language: 'English'"),
        ("microsoft/Phi-3.5-mini-instruct", "our local merge", "base_model: 'our local merge'"),
        ("microsoft/Phi-3.5-mini-instruct", "merged", "base_model: 'merged'"),
        ("relation: finetune", "relation: cousin", "base_model_relation"),
        ("base_model:\n- microsoft/Phi-3.5-mini-instruct\n", "", "base_model_relation"),
        ("- clinical", "- clinical\n- clinical", "tags"),
        ("pipeline_tag: text-generation", "pipeline_tag: Text generation", "pipeline_tag"),
        ("library_name", "libary_name", "libary_name: is no field"),
        ("      type: text-generation\n    dataset", "      name: x\n    dataset", "task needs type"),
        ("      name: Rounds snapshot 0123456789ab\n", "", "dataset needs type and name"),
        ("      value: 0.61\n", "", "a metric needs type and value"),
        ("value: 0.61", "value: .nan", "is not a number"),
        ("    metrics:\n    - type: accuracy\n      value: 0.61\n", "", "has no metrics"),
        ("- name: ward-dpo\n  results", "- results", "a model needs a name"),
        ("tags:", "tags: [", "is not YAML"),
    ],
)
def test_what_the_hub_would_refuse_is_named(was: str, becomes: str, problem: str) -> None:
    assert was in GOOD
    assert problem in " ".join(cards.problems(GOOD.replace(was, becomes, 1)))


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("MIT", {"license": "mit"}),
        ("", {"license": "unknown"}),
        ("CC0-1.0 and MIT", {"license": "other", "license_name": "cc0-1.0-and-mit", "license_link": "LICENSE"}),
        ("Our house's", {"license": "other", "license_name": "our-house-s", "license_link": "LICENSE"}),
    ],
)
def test_a_licence_is_said_as_the_hub_says_it(licence: str, said: dict[str, str]) -> None:
    assert cards.licence_metadata(licence) == said
    head = "\n".join(f"{key}: {value}" for key, value in said.items())
    assert cards.problems(f"---\n{head}\n---\n") == []


def test_code_on_a_card_cannot_end_its_own_fence() -> None:
    assert cards.fenced("a\n```\nb") == "````\na\n```\nb\n````"
    assert cards.plain("a *b* <img>\n| c") == r"a \*b\* \<img\> \| c"
