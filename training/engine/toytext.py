"""A small world of clinical text with facts that can be learnt and asked for. Standard library only; every draw is
seeded. The text is invented and simplified, it labels a toy, and nothing in it is medical advice.

Five domains named as MediPhi's corpora (arXiv 2505.10717, table 1). In each, the first ``KNOWN`` facts belong to the
base model's schooling, so that it knows what such questions look like; the others are what an expert learns. Every
question has wordings to train on, one to choose settings with, and three that no training ever uses.
"""

# ruff: noqa: S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass
from typing import Any, Literal

DOMAINS = ("pubmed", "clinical", "medcode", "guideline", "medwiki")
KNOWN = 8
Wording = Literal["train", "validation", "held_out"]
Part = Literal["known", "new", "all"]
Message = dict[str, str]


@dataclass(frozen=True)
class Fact:
    """``values`` by attribute; ``key`` is what a question gives, so that the values are what it asks for."""

    domain: str
    key: tuple[str, ...]
    values: dict[str, str]


_PUBMED = """alder|older adults|melatonin|sleep quality
briar|nursing home residents|vitamin d|falls
cedar|smokers|varenicline|quit rate
dogwood|new mothers|peer support|low mood
elm|knee surgery patients|early walking|hospital stay
fir|office workers|standing desks|back pain
gorse|teenagers|school counselling|absence
hazel|dialysis patients|exercise bands|muscle strength
iris|stroke survivors|mirror therapy|arm function
juniper|preterm infants|skin contact|weight gain
kelp|asthmatic children|dust covers|night cough
larch|heart failure patients|home weighing|readmission
maple|migraine sufferers|riboflavin|headache days
nettle|burn patients|honey dressing|wound healing
olive|ventilated adults|head elevation|pneumonia
poplar|cancer patients|ginger capsules|nausea
quince|adults with gout|cherry juice|flare count
rowan|pregnant women|iodine tablets|thyroid volume
sorrel|diabetic adults|text reminders|glucose control
teasel|arthritis patients|warm water exercise|joint stiffness
umber|delirious inpatients|bright light|agitation
violet|adults with eczema|wet wraps|itch score
willow|chronic pain patients|mindfulness classes|opioid dose
yarrow|kidney donors|saline loading|creatinine rise"""

_CLINICAL = """influenza|muscle aches|chills|a positive nasal swab|oseltamivir
otitis media|ear pain|poor hearing|a bulging drum|amoxicillin
tension headache|band like headache|neck tightness|a normal neurological exam|paracetamol
shingles|burning rash|one sided blisters|a dermatome pattern|valaciclovir
conjunctivitis|gritty eyes|eye discharge|red conjunctiva|chloramphenicol drops
vertigo|spinning feeling|unsteady gait|a positive head tilt test|canalith repositioning
oral thrush|sore mouth|white patches|scrapable plaques|nystatin
sciatica|shooting leg pain|numb toes|a positive leg raise|physiotherapy
appendicitis|loss of appetite|right lower belly pain|rebound tenderness|appendectomy
pulmonary embolism|sudden breathlessness|calf swelling|a raised dimer|enoxaparin
heart failure|ankle swelling|breathless lying flat|a raised natriuretic peptide|furosemide
ketoacidosis|great thirst|fruity breath|a high anion gap|insulin infusion
pancreatitis|upper belly pain|repeated vomiting|a raised lipase|bowel rest
cystitis|painful urination|urinary frequency|positive nitrites|nitrofurantoin
ischemic stroke|facial droop|slurred speech|arm drift|alteplase
meningitis|stiff neck|light sensitivity|cloudy spinal fluid|ceftriaxone
asthma attack|wheezing|chest tightness|a low peak flow|salbutamol
gout|big toe pain|hot red joint|urate crystals|colchicine
overactive thyroid|heat intolerance|weight loss|a suppressed thyrotropin|carbimazole
iron deficiency|ice craving|tiredness|a low ferritin|ferrous sulfate
kidney stone|flank pain|blood in urine|a stone on imaging|tamsulosin
atrial fibrillation|palpitations|irregular pulse|absent atrial waves|apixaban
septic shock|shaking fever|low blood pressure|a raised lactate|noradrenaline
giant cell arteritis|jaw pain on chewing|tender scalp|a high sedimentation rate|prednisolone"""

_MEDCODE = """J00|common cold
R51.9|headache
K59.0|constipation
L70.0|acne
R05.9|cough
M25.5|joint pain
R42|dizziness
H61.2|impacted ear wax
E11.9|type 2 diabetes
I10|essential hypertension
I21.9|myocardial infarction
J18.9|pneumonia
J44.9|obstructive lung disease
K21.9|acid reflux disease
N18.3|chronic kidney disease
M81.0|osteoporosis
F32.9|major depression
G20|parkinson disease
E03.9|underactive thyroid
D64.9|anemia
A41.9|sepsis
C61|prostate cancer
L40.9|psoriasis
H25.9|cataract"""

_GUIDELINE = """hay fever|nasal steroid|4 weeks
athlete foot|terbinafine cream|2 weeks
head lice|dimeticone lotion|1 week
nappy rash|barrier cream|3 days
travel sickness|hyoscine patch|1 day
warts|salicylic acid|12 weeks
dry eye|artificial tears|6 weeks
insomnia|sleep hygiene|8 weeks
stable angina|beta blocker|3 months
gestational diabetes|diet plan|2 weeks
severe copd|tiotropium|6 months
acute sore throat|phenoxymethylpenicillin|1 week
bone loss|alendronate|12 months
low back pain|exercise therapy|6 weeks
generalized anxiety|cognitive therapy|8 weeks
acute migraine|sumatriptan|4 weeks
new epilepsy|levetiracetam|3 months
early parkinsonism|levodopa|6 months
high cholesterol|atorvastatin|12 weeks
opioid overdose|naloxone|1 day
deep vein thrombosis|rivaroxaban|3 months
severe preeclampsia|labetalol|1 day
childhood croup|dexamethasone|2 days
alcohol withdrawal|chlordiazepoxide|3 days"""

_MEDWIKI = """ibuprofen|anti inflammatory|sprains|stomach upset
loratadine|antihistamine|sneezing|dry mouth
loperamide|antidiarrheal|loose stool|bloating
senna|laxative|slow bowel|cramps
simeticone|antifoaming agent|trapped wind|belching
caffeine|stimulant|drowsiness|restlessness
zinc oxide|skin protectant|chafing|mild stinging
lactulose|osmotic agent|hard stool|flatulence
metformin|biguanide|insulin resistance|diarrhea
lisinopril|ace inhibitor|diabetic kidney disease|dry cough
amlodipine|calcium channel blocker|vasospasm|swollen ankles
spironolactone|aldosterone antagonist|ascites|breast tenderness
warfarin|vitamin k antagonist|mechanical valves|bleeding
omeprazole|proton pump inhibitor|stomach ulcers|low magnesium
sertraline|reuptake inhibitor|panic disorder|night sweats
lithium|mood stabilizer|bipolar disorder|fine tremor
clozapine|atypical antipsychotic|resistant schizophrenia|low neutrophils
gentamicin|aminoglycoside|gram negative infection|hearing loss
ciprofloxacin|fluoroquinolone|prostatitis|tendon rupture
fluconazole|azole antifungal|yeast infection|liver irritation
aciclovir|nucleoside analogue|herpes|crystal kidney injury
methotrexate|folate antagonist|rheumatoid arthritis|mouth sores
allopurinol|xanthine oxidase inhibitor|urate stones|severe rash
morphine|opioid|cancer pain|slow breathing"""

_GENERAL = """capital of france|paris
capital of italy|rome
capital of japan|tokyo
capital of spain|madrid
capital of egypt|cairo
capital of peru|lima
capital of norway|oslo
color of grass|green
color of snow|white
color of coal|black
color of a lemon|yellow
opposite of hot|cold
opposite of up|down
opposite of early|late
opposite of empty|full
sound of a dog|bark
sound of a cat|meow
number after three|four
number after seven|eight
home of a bee|hive
home of a bird|nest
home of a fox|den"""


def _rows(table: str) -> list[list[str]]:
    return [line.split("|") for line in table.split("\n")]


FACTS: dict[str, tuple[Fact, ...]] = {
    "pubmed": tuple(
        Fact("pubmed", (name,), {"population": who, "intervention": what, "outcome": outcome})
        for name, who, what, outcome in _rows(_PUBMED)
    ),
    "clinical": tuple(
        Fact("clinical", (first, second, finding), {"diagnosis": name, "treatment": treatment})
        for name, first, second, finding, treatment in _rows(_CLINICAL)
    ),
    "medcode": tuple(
        Fact("medcode", (name,), {"code": code, "meaning": name}) for code, name in _rows(_MEDCODE)
    ),
    "guideline": tuple(
        Fact("guideline", (name,), {"therapy": therapy, "review": review}) for name, therapy, review in _rows(_GUIDELINE)
    ),
    "medwiki": tuple(
        Fact("medwiki", (name,), {"class": kind, "use": use, "effect": effect})
        for name, kind, use, effect in _rows(_MEDWIKI)
    ),
}  # fmt: skip
GENERAL = tuple((what, answer) for what, answer in _rows(_GENERAL))

# Wordings by (domain, attribute): four to train on, one for choosing settings, three held out. ``{0}`` is what is given.
_WORDINGS: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    ("pubmed", "population"): (
        ("Which population joined the {0} trial?", "Name the population of the {0} trial.",
         "The {0} trial studied which population?", "Trial {0}: what was the population?"),
        ("What population did the {0} trial enrol?",),
        ("State the population studied in the {0} trial.", "In the {0} trial, which population was studied?",
         "Tell me the population for trial {0}."),
    ),
    ("pubmed", "intervention"): (
        ("Which intervention did the {0} trial test?", "Name the intervention of the {0} trial.",
         "The {0} trial tested which intervention?", "Trial {0}: what was the intervention?"),
        ("What intervention did the {0} trial use?",),
        ("State the intervention tested in the {0} trial.", "In the {0} trial, which intervention was tested?",
         "Tell me the intervention for trial {0}."),
    ),
    ("pubmed", "outcome"): (
        ("Which outcome did the {0} trial measure?", "Name the outcome of the {0} trial.",
         "The {0} trial measured which outcome?", "Trial {0}: what was the outcome?"),
        ("What outcome did the {0} trial follow?",),
        ("State the outcome measured in the {0} trial.", "In the {0} trial, which outcome was measured?",
         "Tell me the outcome for trial {0}."),
    ),
    ("clinical", "diagnosis"): (
        ("{0} What is the diagnosis?", "{0} Name the diagnosis.", "{0} Which diagnosis fits?",
         "Give the diagnosis. {0}"),
        ("{0} What diagnosis do you make?",),
        ("{0} State the diagnosis.", "What is the likely diagnosis? {0}", "{0} Tell me the diagnosis."),
    ),
    ("clinical", "treatment"): (
        ("{0} What is the treatment?", "{0} Name the treatment.", "{0} Which treatment fits?",
         "Give the treatment. {0}"),
        ("{0} What treatment do you start?",),
        ("{0} State the treatment.", "What is the right treatment? {0}", "{0} Tell me the treatment."),
    ),
    ("medcode", "code"): (
        ("Which code is used for {0}?", "Give the code for {0}.", "What is the code of {0}?",
         "Code the problem {0}."),
        ("What code belongs to {0}?",),
        ("State the code for {0}.", "For {0}, which code is right?", "Tell me the code of {0}."),
    ),
    ("medcode", "meaning"): (
        ("What does code {0} mean?", "Give the meaning of code {0}.", "Which problem has code {0}?",
         "Explain code {0}."),
        ("What is meant by code {0}?",),
        ("State the meaning of code {0}.", "For code {0}, what is the problem?", "Tell me what code {0} means."),
    ),
    ("guideline", "therapy"): (
        ("What is first line therapy for {0}?", "Name the first therapy for {0}.",
         "Which therapy is recommended for {0}?", "Give the therapy for {0}."),
        ("What therapy comes first in {0}?",),
        ("State the recommended therapy for {0}.", "For {0}, which therapy is first line?",
         "Tell me the therapy for {0}."),
    ),
    ("guideline", "review"): (
        ("When is {0} reviewed?", "Name the review interval for {0}.", "After what interval is {0} reviewed?",
         "Give the review interval of {0}."),
        ("What review interval holds for {0}?",),
        ("State the review interval for {0}.", "For {0}, when is the review?", "Tell me when {0} is reviewed."),
    ),
    ("medwiki", "class"): (
        ("What class is {0}?", "Name the class of {0}.", "Which drug class does {0} belong to?",
         "Give the class of {0}."),
        ("What drug class has {0}?",),
        ("State the class of {0}.", "For {0}, which class is right?", "Tell me the drug class of {0}."),
    ),
    ("medwiki", "use"): (
        ("What is {0} used for?", "Name the use of {0}.", "Which use does {0} have?", "Give the use of {0}."),
        ("What use has {0}?",),
        ("State the use of {0}.", "For {0}, what is the use?", "Tell me what {0} is used for."),
    ),
    ("medwiki", "effect"): (
        ("What side effect does {0} have?", "Name the side effect of {0}.", "Which side effect is known for {0}?",
         "Give the side effect of {0}."),
        ("What side effect comes with {0}?",),
        ("State the side effect of {0}.", "For {0}, what is the side effect?", "Tell me the side effect of {0}."),
    ),
}  # fmt: skip
_WORDING_INDEX = {"train": 0, "validation": 1, "held_out": 2}
GENERAL_WORDINGS = ("What is the {0}?", "Tell me the {0}.", "Name the {0}.", "Give the {0}.")


def facts(domain: str, part: Part = "new") -> tuple[Fact, ...]:
    """The facts the base is schooled in (``known``), those left for the expert (``new``), or all."""
    every = FACTS[domain]
    return {"known": every[:KNOWN], "new": every[KNOWN:], "all": every}[part]


def age(rng: random.Random) -> str:
    """Somebody's age and sex, drawn."""
    return f"{rng.randint(21, 94)} year old {rng.choice(('man', 'woman'))}"


def given(fact: Fact, attribute: str, rng: random.Random) -> str:
    """What a question states: a patient, a name, or a code."""
    if fact.domain == "clinical":
        first, second, finding = fact.key
        if rng.random() < 0.5:
            first, second = second, first
        return f"A {age(rng)} with {first} and {second}. Exam shows {finding}."
    return fact.values["code"] if attribute == "meaning" else fact.key[0]


def question(fact: Fact, attribute: str, rng: random.Random, wording: Wording = "train", form: int | None = None) -> str:
    """One question about one attribute; ``form`` picks the wording, else it is drawn."""
    forms = _WORDINGS[fact.domain, attribute][_WORDING_INDEX[wording]]
    return (rng.choice(forms) if form is None else forms[form]).format(given(fact, attribute, rng))


def document(fact: Fact, rng: random.Random) -> str:
    """A short text of the domain's kind that states the whole fact."""
    value = fact.values
    if fact.domain == "pubmed":
        (name,) = fact.key
        return rng.choice(
            (
                f"Abstract. The {name} trial enrolled {value['population']}. The intervention was {value['intervention']}. "
                f"The main outcome was {value['outcome']}. Follow up lasted {rng.randint(2, 24)} months.",
                f"Background: {value['outcome']} matters to {value['population']}. Methods: the {name} trial tested "
                f"{value['intervention']} in {rng.randint(40, 900)} people. Result: {value['outcome']} improved.",
                f"In {value['population']}, {value['intervention']} was compared with usual care. The {name} trial "
                f"measured {value['outcome']} after {rng.randint(2, 24)} weeks.",
            )
        )
    if fact.domain == "clinical":
        first, second, finding = fact.key
        name, treatment = value["diagnosis"], value["treatment"]
        return rng.choice(
            (
                f"Clinical note. A {age(rng)} with {first} and {second}. Exam shows {finding}. Diagnosis: {name}. Treatment: {treatment}.",
                f"Discharge summary. A {age(rng)} came with {second} and {first}. Exam showed {finding}. "
                f"The diagnosis was {name}. The treatment was {treatment}.",
                f"Progress note, day {rng.randint(1, 9)}. {name.capitalize()} with {first} and {second}. "
                f"Treatment with {treatment} goes on.",
            )
        )
    if fact.domain == "medcode":
        (name,) = fact.key
        code = value["code"]
        return rng.choice(
            (
                f"Code book, page {rng.randint(1, 99)}. {code} is the code for {name}. The meaning of {code} is {name}.",
                f"Claim {rng.randint(100, 999)}. Problem: {name}. Code: {code}. The code {code} means {name}.",
                f"For {name} the coder enters {code}. Code {code}: {name}.",
            )
        )
    if fact.domain == "guideline":
        (name,) = fact.key
        therapy, review = value["therapy"], value["review"]
        return rng.choice(
            (
                f"Guideline. For {name}, first line therapy is {therapy}. The review interval is {review}.",
                f"The panel recommends {therapy} for {name} (evidence level {rng.choice('abc')}). Review after {review}.",
                f"Recommendation {rng.randint(1, 60)}. In {name}, start {therapy} and review after {review}.",
            )
        )
    (name,) = fact.key
    return rng.choice(
        (
            f"{name.capitalize()} is a drug of the class {value['class']}. It is used for {value['use']}. "
            f"A known side effect is {value['effect']}.",
            f"Entry: {name}. Class: {value['class']}. Use: {value['use']}. Side effect: {value['effect']}.",
            f"Patients who take {name} for {value['use']} may notice the side effect {value['effect']}. "
            f"The class of {name} is {value['class']}.",
        )
    )


def summary(fact: Fact) -> str:
    """The fact in one line: the second kind of task output for pre-instruction tuning."""
    value = fact.values
    return {
        "pubmed": lambda: f"Summary: {fact.key[0]} trial, {value['population']}, {value['intervention']}, {value['outcome']}.",
        "clinical": lambda: f"Summary: {fact.key[0]}, {fact.key[1]}, {value['diagnosis']}, {value['treatment']}.",
        "medcode": lambda: f"Summary: {value['meaning']} has code {value['code']}.",
        "guideline": lambda: f"Summary: {fact.key[0]}, therapy {value['therapy']}, review {value['review']}.",
        "medwiki": lambda: f"Summary: {fact.key[0]}, {value['class']}, {value['use']}, {value['effect']}.",
    }[fact.domain]()  # fmt: skip


def documents(domain: str, n: int, seed: int, part: Part = "new") -> list[dict[str, Any]]:
    """``n`` documents of a domain: {"id", "domain", "text", "qa": [[question, answer], ...], "summary"}.

    Questions use training wordings, and each document asks for every attribute of its fact.
    """
    rng = random.Random(f"documents {domain} {seed} {part}")
    pool = facts(domain, part)
    made = []
    for index in range(n):
        fact = pool[index % len(pool)]
        asked = list(fact.values)
        rng.shuffle(asked)
        made.append({
            "id": f"{domain}-{seed}-{index}", "domain": domain, "text": document(fact, rng),
            "qa": [[question(fact, attribute, rng), fact.values[attribute]] for attribute in asked],
            "summary": summary(fact),
        })  # fmt: skip
    rng.shuffle(made)
    return made


def questions(domain: str, n: int, seed: int, wording: Wording = "held_out") -> list[dict[str, Any]]:
    """Distinct plain questions on the domain's new facts: {"id", "messages", "answer", "domain"}.

    Every fact, attribute and wording occurs before any repeats (only clinical notes, whose patients vary, may repeat).
    Raises ``ValueError`` when the domain has not that many.
    """
    rng = random.Random(f"questions {domain} {seed} {wording}")
    forms = {attribute: len(_WORDINGS[domain, attribute][_WORDING_INDEX[wording]]) for attribute in FACTS[domain][0].values}
    every = [(fact, attribute, form) for fact in facts(domain) for attribute in fact.values for form in range(forms[attribute])]
    rng.shuffle(every)
    if n > len(every) and domain != "clinical":
        raise ValueError(f"{domain} has {len(every)} questions in this wording")
    made = []
    for index in range(n):
        fact, attribute, form = every[index % len(every)]
        text = question(fact, attribute, rng, wording, form)
        made.append({
            "id": f"{domain}-{wording}-{seed}-{index}", "messages": [{"role": "user", "content": text}],
            "answer": fact.values[attribute], "domain": domain,
        })  # fmt: skip
    return made


def general_questions(n: int, seed: int) -> list[dict[str, Any]]:
    """Plain questions on general knowledge, in wordings the base was trained on: what must not be forgotten."""
    rng = random.Random(f"general {seed}")
    made = []
    for index in range(n):
        what, answer = GENERAL[index % len(GENERAL)]
        text = rng.choice(GENERAL_WORDINGS).format(what)
        made.append({
            "id": f"general-{seed}-{index}", "messages": [{"role": "user", "content": text}], "answer": answer,
            "domain": "general",
        })  # fmt: skip
    return made


# --- text for training -------------------------------------------------------------------------------------------


def render(messages: list[Message], *, generation_prompt: bool = False) -> str:
    """The family's chat layout, a part of Phi-3.5's: ``<|role|>``, newline, content, ``<|end|>``, newline."""
    text = "".join(f"<|{message['role']}|>\n{message['content']}<|end|>\n" for message in messages)
    return text + "<|assistant|>\n" if generation_prompt else text


def chat(text: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


# --- scoring ------------------------------------------------------------------------------------------------------


def normalise(text: str) -> str:
    """Lower-case words and numbers, single spaces; a point stays only inside a code such as e11.9."""
    words = re.sub(r"[^a-z0-9.]+", " ", text.lower())
    return re.sub(r"\.(?!\d)|(?<!\w)\.", " ", words).strip().replace("  ", " ")


def exact(output: str, answer: str) -> bool:
    """The whole output is the answer, up to case and punctuation."""
    return normalise(output).split() == normalise(answer).split()


def digest(rows: list[dict[str, Any]]) -> str:
    """SHA-256 of rows as canonical JSON lines: how a frozen set proves that it has not moved."""
    lines = "\n".join(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
    return hashlib.sha256(lines.encode()).hexdigest()
