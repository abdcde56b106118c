"""Twelve shapes of clinical instruction about the toy world, to be taught: what MediFlow's instructions are to a model of useful size.

Shapes are those that CLUE+ asks (arXiv 2505.10717, 6.1). The mini-suite (training/suite/mini.py) asks the same shapes in texts and
wordings of its own, of which none is here (tests/training/test_mini.py looks). Standard library only; every draw is seeded.
"""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

import random
from collections.abc import Callable, Iterator

from training.engine import toytext
from training.engine.toytext import Fact, Part

# A maker gives the user turn and the right answer for a draw of facts of one part.
Maker = Callable[[random.Random, Part], tuple[str, str]]


def rows(seed: int, part: Part) -> Iterator[list[toytext.Message]]:
    """Endless conversations of three turns, every shape as often as the others; the system turn asks, the assistant's is right."""
    rng = random.Random(f"shapes {part} {seed}")
    while True:
        yield row(rng, part)


def row(rng: random.Random, part: Part) -> list[toytext.Message]:
    """One conversation: system, user, assistant."""
    systems, make = rng.choice(list(SHAPES.values()))
    user, answer = make(rng, part)
    return [{"role": "system", "content": rng.choice(systems)}, *toytext.chat(user, answer)]


def _fact(rng: random.Random, domain: str, part: Part) -> Fact:
    return rng.choice(toytext.facts(domain, part))


def _options(rng: random.Random, right: str, wrong: list[str], layout: str) -> tuple[str, str]:
    every = [right, *wrong]
    rng.shuffle(every)
    return "\n".join(f"{letter}) {layout.format(text)}" for letter, text in zip("ABCD", every, strict=True)), "ABCD"[every.index(right)]


def _others(rng: random.Random, fact: Fact, attribute: str, count: int) -> list[str]:
    return rng.sample(sorted({one.values[attribute] for one in toytext.FACTS[fact.domain]} - {fact.values[attribute]}), count)


def _entailment(rng: random.Random, part: Part) -> tuple[str, str]:
    fact = _fact(rng, "clinical", part)
    name, treatment = fact.values["diagnosis"], fact.values["treatment"]
    premise = rng.choice((
        f"Day {rng.randint(1, 20)}: {treatment} is given for {name}.", f"In bed {rng.randint(1, 40)}, {name} was treated by {treatment}.",
        f"Because of {name}, {treatment} was started on day {rng.randint(1, 9)}.",
        f"A nurse on ward {rng.randint(1, 20)} gave {treatment} for {name}.",
    ))  # fmt: skip
    label, claims = rng.choice((
        ("entailment", (f"The patient gets {treatment}.", f"This patient receives {treatment}.", f"The person is treated by {treatment}.")),
        ("contradiction", (f"The patient gets nothing for {name}.", f"The person receives no treatment for {name}.",
                           f"Nothing is given for {name}.")),
        ("neutral", (f"The patient lives {rng.choice(('with a brother', 'in a town', 'near a park'))}.",
                     f"This patient works {rng.choice(('at night', 'in a shop', 'with children'))}.", "The person has two dogs.")),
    ))  # fmt: skip
    layout = rng.choice(("Premise: {}\nHypothesis: {}", "Hypothesis: {1}\nPremise: {0}", "Text: {}\nHypothesis: {}"))
    return layout.format(premise, rng.choice(claims)), label


def _plain_summary(rng: random.Random, part: Part) -> tuple[str, str]:
    value = _fact(rng, "pubmed", part).values
    who, what, outcome = value["population"], value["intervention"], value["outcome"]
    text = rng.choice((
        f"A study at {rng.randint(2, 30)} sites looked at {outcome}. Those who joined were {who}. One group got {what}, the others none.",
        f"{who.capitalize()} were asked to join. Some got {what}. After {rng.randint(2, 20)} weeks {outcome} was measured.",
        f"We wished to know if {what} changes {outcome}. We asked {rng.randint(20, 400)} {who}.",
        f"Does {what} help? Volunteers, all of them {who}, were followed for {outcome}. Half got it.",
    ))  # fmt: skip
    return text, f"{what} was tried in {who} for {outcome}"


def _asked_short(rng: random.Random, part: Part) -> tuple[str, str]:
    fact = _fact(rng, "medwiki", part)
    drug, use, who = fact.key[0], fact.values["use"], rng.choice(("mother", "brother", "friend", "son", "wife"))
    text = rng.choice((
        f"Dear doctor, my {who} has had {use} for {rng.randint(2, 40)} days. The chemist gave us {drug}. Is it right? Many thanks.",
        f"Good morning. I have {drug} at home from my {who}. Now it is {use} that I worry about. Sorry to ask. Thank you.",
        f"Hello. {use.capitalize()} has been bad for my {who} for {rng.randint(2, 20)} weeks. Somebody told us of {drug}. We are not sure.",
        f"I write about {drug}. My {who} wants to take it, and the trouble is {use}. Sorry for this letter.",
    ))  # fmt: skip
    return text, f"does {drug} help with {use}"


def _long_record(rng: random.Random, part: Part) -> tuple[str, str]:
    fact = _fact(rng, "clinical", part)
    others = rng.sample([one for one in toytext.FACTS["clinical"] if one is not fact], 3)
    beds = rng.sample(range(1, 40), 4)
    said = rng.choice(
        ("In bed {0} {2} is given for {1}.", "Bed {0} has {1} and gets {2}.", "{1} in room {0}; {2} is used.", "Room {0} gets {2} for {1}.")
    )
    place = "room" if "oom" in said else "bed"
    notes = [said.format(bed, one.values["diagnosis"], one.values["treatment"]) for bed, one in zip(beds, [fact, *others], strict=True)]
    rng.shuffle(notes)
    options, answer = _options(rng, fact.values["treatment"], [one.values["treatment"] for one in others], "{}")
    asked = rng.choice(("Which treatment has {} {}?", "What is {} {} on?", "What does the person in {} {} get?")).format(place, beds[0])
    return " ".join(notes) + f"\n{asked}\n{options}", answer


def _letter_asked(rng: random.Random, part: Part) -> tuple[str, str]:
    fact = _fact(rng, "clinical", part)
    finding, name, treatment = fact.key[2], fact.values["diagnosis"], fact.values["treatment"]
    text = rng.choice((
        f"Dear doctor, this patient was with us for {rng.randint(2, 12)} nights. Exam: {finding}. It was {name}; we gave {treatment}.",
        f"To the family doctor. After {rng.randint(2, 12)} days your patient went home. We saw {finding}. It is called {name}. "
        f"Given: {treatment}.",
        f"Letter {rng.randint(10, 99)}. Found: {finding}, so {name}. {treatment.capitalize()} was used.",
    ))  # fmt: skip
    attribute, asked = rng.choice((
        ("treatment", ("What treatment did I get?", "What was given to me?", "Which drug was I given?")),
        ("diagnosis", ("What is my illness?", "What was the problem I had?", "Which illness did I have?")),
    ))  # fmt: skip
    return f"{text}\n{rng.choice(asked)}", fact.values[attribute]


def _letter_coded(rng: random.Random, part: Part) -> tuple[str, str]:
    chosen = rng.sample(toytext.facts("medcode", part), rng.randint(1, 3))
    head, between = rng.choice(
        (("Problems: ", " and "), ("Leaving with: ", "; also "), ("Diagnoses: ", ", then "), ("Home with ", " with "))
    )
    return head + between.join(one.values["meaning"] for one in chosen), ", ".join(one.values["code"] for one in chosen)


def _report_asked(rng: random.Random, part: Part) -> tuple[str, str]:
    fact = _fact(rng, "clinical", part)
    finding, name, number = fact.key[2], fact.values["diagnosis"], rng.randint(1000, 9999)
    text = rng.choice((
        f"Report {number}. There is {finding}. The conclusion is {name}.\nWhat is the conclusion?",
        f"We see {finding}. Our impression is {name}. Signed {number}.\nWhat is the impression?",
        f"Number {number}. {finding.capitalize()} is seen, which means {name}.\nWhat does the report say it is?",
    ))  # fmt: skip
    return text, name


def _drug_asked(rng: random.Random, part: Part) -> tuple[str, str]:
    fact = _fact(rng, "medwiki", part)
    attribute = rng.choice(list(fact.values))
    own = {
        "use": ("Why do people take {0}?", "For what does somebody get {0}?"),
        "effect": ("What unwanted thing may {0} do?", "What may {0} cause?"),
        "class": ("{0} is what kind of drug?", "Of what kind is {0}?"),
    }[attribute]
    return rng.choice((*(text.format(fact.key[0]) for text in own), toytext.question(fact, attribute, rng))), fact.values[attribute]


def _error_found(rng: random.Random, part: Part) -> tuple[str, str]:
    fact = _fact(rng, "clinical", part)
    wrong = rng.random() < 0.5
    treatment = _others(rng, fact, "treatment", 1)[0] if wrong else fact.values["treatment"]
    name = fact.values["diagnosis"]
    last = rng.choice(
        (f"{name.capitalize()} is treated with {treatment}.", f"For {name} we give {treatment}.", f"We gave {treatment} for {name}.")
    )
    said = [rng.choice((f"Seen on day {rng.randint(1, 28)}.", f"Bed {rng.randint(1, 40)}.")), f"There is {rng.choice(fact.key[:2])}.", last]
    rng.shuffle(said)
    return "\n".join(f"{number} {text}" for number, text in enumerate(said, 1)), str(said.index(last) + 1) if wrong else "none"


def _talk_noted(rng: random.Random, part: Part) -> tuple[str, str]:
    fact = _fact(rng, "clinical", part)
    first, second, finding = fact.key
    name, treatment = fact.values["diagnosis"], fact.values["treatment"]
    text = rng.choice((
        f"Doctor: Good morning, what is it? Patient: I have {first}. Doctor: And else? Patient: Also {second}. Doctor: There is {finding}. "
        f"It is {name}. I give you {treatment}.",
        f"Doctor: How can I help? Patient: {first}, doctor, and {second}. Doctor: Let me look. I find {finding}, so this is {name}; "
        f"take {treatment}.",
        f"Patient: Hello, {first} since {rng.randint(2, 9)} days. And {second}. Doctor: I notice {finding}. You have {name}. "
        f"We try {treatment}.",
    ))  # fmt: skip
    return text, f"{first}, {second}. {finding}. {name}. {treatment}."


_SOCIAL = {
    "tobacco": ("smokes ten a day", "smokes a pipe", "smokes two packs a week", "took up tobacco", "chews a lot of tobacco"),
    "alcohol": ("has a beer at lunch", "drinks two beers", "drinks wine every night", "has wine at weekends", "drinks at night"),
    "drugs": ("uses cocaine", "uses cannabis every night", "injects at times", "used to take cannabis", "used heroin"),
    "work": ("drives a lorry", "has a job at the bank", "lost the job", "works at a mill", "drives for the school bus"),
    "living": ("sleeps at a hostel", "has a flat", "lives with a son", "shares a house with a sister", "stays in a shelter"),
}


def _social_labelled(rng: random.Random, part: Part) -> tuple[str, str]:
    labels = rng.sample(sorted(_SOCIAL), rng.randint(1, 3))
    said = [rng.choice(_SOCIAL[label]) for label in labels]
    age = rng.randint(20, 90)
    text = rng.choice(
        (f"{age} years, {', '.join(said)}.", f"Aged {age}: {', '.join(said)}.", f"This person of {age} {' and '.join(said)}.")
    )
    return text, ", ".join(labels)


def _code_chosen(rng: random.Random, part: Part) -> tuple[str, str]:
    fact = _fact(rng, "medcode", part)
    options, answer = _options(
        rng, fact.values["code"], _others(rng, fact, "code", 3), rng.choice(("code {}", "{} in the book", "{} it is"))
    )
    asked = rng.choice((
        "Which ICD-10 code has {0}?", "Sheet {1}. Code of {0}:", "Pick the code for {0}.", "What is the ICD-10 code of {0} (page {1})?",
    )).format(fact.values["meaning"], rng.randint(1, 99))  # fmt: skip
    return f"{asked}\n{options}", answer


_LETTER = ("Choose the right option: reply with its letter.", "Reply with one letter.", "Give the letter of the option that is right.")

# By the CLUE+ set whose shape it has: what the system turn may say, and the maker.
SHAPES: dict[str, tuple[tuple[str, ...], Maker]] = {
    "MedNLI": (
        ("Say entailment, contradiction or neutral of the hypothesis.",
         "Does the hypothesis follow from the premise? Entailment, contradiction or neutral.",
         "Reply entailment, contradiction or neutral: is the hypothesis true?"),
        _entailment,
    ),
    "PLS": (
        ("Say in one sentence what the study did.", "Put the study in plain words.", "Sum the study up in one plain line."),
        _plain_summary,
    ),
    "MeQSum": (
        ("Make the letter one short question.", "What is the question in the letter?", "Shorten what is asked to one question."),
        _asked_short,
    ),
    "LongHealth": (_LETTER, _long_record),
    "MeDiSumQA": (
        ("Answer the question from the letter.", "The patient asks; answer from the letter.", "Use the letter to answer."), _letter_asked,
    ),
    "MeDiSumCode": (
        ("Give the ICD-10 codes of the problems.", "List all codes, with commas.", "Code every problem, commas between."), _letter_coded,
    ),
    "RRS QA": (("Answer what is asked of the report.", "Use the report to answer.", "Reply from the report."), _report_asked),
    "MedicationQA": (("Reply in few words.", "Answer about the drug.", "Give a short answer."), _drug_asked),
    "MEDEC": (
        ("Which sentence is wrong? Give its number, or none.", "Reply with the number of the wrong sentence or with none.",
         "One sentence may be wrong: its number, or none."),
        _error_found,
    ),
    "ACI-Bench": (("Write a note of the talk.", "Make the visit into a note.", "Note down this visit."), _talk_noted),
    "SDoH": (
        ("Which of tobacco, alcohol, drugs, work, living does it tell of?", "List what is told: tobacco, alcohol, drugs, work, living.",
         "Name what comes up: living, work, drugs, alcohol, tobacco."),
        _social_labelled,
    ),
    "ICD10CM": (_LETTER, _code_chosen),
}  # fmt: skip
