"""The toy world: the same for ever, learnable, and asked in words nobody trained on."""

import random
import subprocess
import sys

import pytest

from training.engine import family, presets, spec, toycorpus, toytext

# The evaluation sets, frozen before anything was tuned. A change here is a new benchmark and makes old figures void.
FROZEN = {
    "pubmed": "bb87bcaf4ff3be590f48bdf75e27d17b6afda3d766487392290fa8182efeebdb",
    "clinical": "c5b37d0ed20cecfc0fb43425bed88922b06426df9202b1ed13fbdb45537e77d0",
    "medcode": "5ce001c98e11e82c1429317b5d3fe2d3dd6cabf964a84907229869ae45726b32",
    "guideline": "ad110261970a8fa0ba26c4efda96f5c9c40a6872843f270f15a9bc204c553ded",
    "medwiki": "4eb3a7d0ebca993afa8ce6b16766d1f31f8375edcd7bb42dd6b8f82e0b28dad3",
}


@pytest.mark.parametrize("domain", toytext.DOMAINS)
def test_the_evaluation_set_is_frozen(domain: str) -> None:
    rows = toytext.questions(domain, 96, 0, "held_out")
    assert toytext.digest(rows) == FROZEN[domain]
    assert len({row["messages"][0]["content"] for row in rows}) == 96


def test_the_same_seed_writes_the_same_text() -> None:
    for make in (
        lambda seed: toytext.documents("clinical", 20, seed),
        lambda seed: toytext.general_questions(20, seed),
        lambda seed: toytext.questions("pubmed", 20, seed),
    ):
        assert make(1) == make(1) != make(2)
    first, second, other = toycorpus.corpus("base", 1), toycorpus.corpus("base", 1), toycorpus.corpus("base", 2)
    assert [next(first) for _ in range(50)] == [next(second) for _ in range(50)] != [next(other) for _ in range(50)]


@pytest.mark.parametrize("domain", toytext.DOMAINS)
def test_no_training_text_contains_a_held_out_question(domain: str) -> None:
    asked = {row["messages"][0]["content"] for row in toytext.questions(domain, 96, 0)}
    asked |= {row["messages"][0]["content"] for row in toytext.questions(domain, 30, 1, "validation")}
    text = [question for item in toytext.documents(domain, 400, 1, "all") for question, _ in item["qa"]]
    for name in ("base", "reading", "replay"):
        stream = toycorpus.corpus(name, 1)
        text += [next(stream) for _ in range(4000)]
    whole = "\n".join(text)
    assert not [question for question in asked if question in whole]


def test_replay_while_specialising_never_asks_about_a_new_fact() -> None:
    stream = toycorpus.corpus("reading", 3)
    asked = [text.splitlines() for text in (next(stream) for _ in range(8000))]
    questions = "\n".join(line for lines in asked if len(lines) > 1 and not lines[0].startswith("Index of") for line in lines)
    for domain in ("pubmed", "guideline", "medwiki"):
        for fact in toytext.facts(domain, "new"):
            for start in ("What is", "Name the class of", "Which use does", "Give the therapy for", "When is", "Name the outcome of the"):
                assert f"{start} {fact.key[0]}" not in questions
    documents = [lines[0] for lines in asked if len(lines) == 1]
    assert sum(" iris trial " in text for text in documents) > 10  # it only reads about it


def test_an_answer_is_whole_up_to_case_and_punctuation() -> None:
    assert toytext.exact("i21.9.", "I21.9")
    assert not toytext.exact("I21", "I21.9")


def test_more_questions_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="96 questions"):
        toytext.questions("medcode", 97, 0)


@pytest.mark.parametrize("preset", ["demo", "test"])
def test_the_familys_plan_is_in_order_and_fits_the_spec(preset: family.Preset) -> None:
    jobs = family.plan(preset, seed=5)
    ready: dict[str, str] = {}
    for job in jobs:
        assert set(job.models.values()) <= set(ready)
        spec.parse({
            "schema": 1, "kind": job.kind, "job": job.key, "seed": job.seed, "threads": 1, "params": job.params,
            "models": {name: ready[key] for name, key in job.models.items()},
        })  # fmt: skip
        ready[job.key] = f"/models/{job.key}"
    assert [job.kind for job in jobs] == ["build-base", *["pit"] * 5, *["merge"] * 6, "sft"]


def test_every_preset_fits_the_spec() -> None:
    for kind, table in (("dpo", presets.DPO), ("generate", presets.GENERATE), ("evaluate", presets.EVALUATE)):
        for params in table.values():
            spec.parse_params(kind, params)


def test_a_web_process_can_import_what_it_needs_without_torch() -> None:
    modules = "spec, rundir, errors, toytext, toysamples, family, presets, statistics, lifeline"
    code = f"import sys; from training.engine import {modules}; print(sorted(m for m in sys.modules if m in ('torch', 'numpy', 'django')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_chat_layout_is_phis() -> None:
    assert toytext.render([{"role": "user", "content": "Hi"}], generation_prompt=True) == "<|user|>\nHi<|end|>\n<|assistant|>\n"
    assert isinstance(toycorpus.base_text(random.Random(1)), str)
