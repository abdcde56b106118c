"""What a clinical text can say of a case: sentences with their facts marked, so that entities, relations and answers are known exactly.

An aspect draws its slots from the case, and says them in one of several wordings. Standard library only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from training.engine.grammar import facts
from training.engine.grammar.facts import Case

Slots = dict[str, str]
Draw = Callable[[Case, random.Random, int], Slots]

# What a slot's text is, for named entities; slots that are not here are no entities.
TYPES = {
    "symptom": "Symptom", "condition": "Condition", "comorbidity": "Condition", "kindred": "Condition",
    "medicine": "Medication", "dose": "Dose", "often": "Frequency", "duration": "Duration", "allergen": "Allergen", "reaction": "Reaction",
    "sign": "Finding", "shows": "Finding", "lab": "Test", "picture": "Test", "measure": "Result", "procedure": "Procedure", "pulse": "Vital sign",
    "pressure": "Vital sign", "warmth": "Vital sign", "saturation": "Vital sign", "vaccine": "Vaccine", "gene": "Gene", "variant": "Variant",
    "tooth": "Body part", "site": "Body part", "specimen": "Specimen", "exercise": "Intervention", "dressing": "Intervention",
    "risk": "Risk", "date": "Date", "ward": "Place", "clinic": "Place",
}  # fmt: skip


@dataclass(frozen=True)
class Aspect:
    name: str
    draw: Draw
    says: tuple[str, ...]
    asks: Mapping[str, str]
    talks: tuple[str, ...] = ()
    relates: tuple[tuple[str, str, str], ...] = ()
    most: int = 1  # how often a text may come back to it, with other slots


@dataclass(frozen=True)
class Sentence:
    """One thing said. `slots` are the words it was filled with, `template` what they were put into."""

    aspect: Aspect
    template: str
    slots: Slots
    talk: bool = field(default=False)

    @property
    def text(self) -> str:
        return capital(self.template.format(**self.slots))

    def with_slot(self, slot: str, value: str) -> Sentence:
        return Sentence(self.aspect, self.template, self.slots | {slot: value}, self.talk)

    @property
    def said(self) -> list[str]:
        """Slots that the wording names, in its order."""
        return re.findall(r"{(\w+)}", self.template)

    def entities(self) -> list[tuple[str, str]]:
        return [(self.slots[slot], TYPES[slot]) for slot in self.said if slot in TYPES]

    def relations(self) -> list[tuple[str, str, str]]:
        return [(self.slots[a], name, self.slots[b]) for a, name, b in self.aspect.relates if a in self.said and b in self.said]

    def questions(self) -> list[tuple[str, str, str]]:
        """(slot, question, answer) for what is asked of it and said by it."""
        return [(slot, asked.format(**self.slots), self.slots[slot]) for slot, asked in self.aspect.asks.items() if slot in self.said]

    def statement(self) -> str:
        """The same in the plainest wording, as a sentence of its own."""
        return capital(self.aspect.says[0].format(**self.slots))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


ASPECTS: dict[str, Aspect] = {}


def _a(
    name: str,
    draw: Draw,
    says: str,
    asks: Mapping[str, str],
    *,
    talks: str = "",
    relates: tuple[tuple[str, str, str], ...] = (),
    most: int = 1,
) -> None:
    ASPECTS[name] = Aspect(name, draw, _lines(says), asks, _lines(talks), relates, most)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip().replace(" // ", "\n") for line in text.strip().splitlines() if line.strip())


def _date(chance: random.Random) -> str:
    months = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
    return f"{chance.randrange(1, 29)} {chance.choice(months)}"


def _ratio(chance: random.Random) -> str:
    middle = chance.uniform(0.41, 1.2)
    return f"{middle:.2f} (95% interval {middle - chance.uniform(0.08, 0.2):.2f} to {middle + chance.uniform(0.08, 0.3):.2f})"


def _number(chance: random.Random, low: float, high: float) -> str:
    value = chance.uniform(low, high)
    return f"{value:.0f}" if high >= 30 else f"{value:.1f}"


# --- the person and the illness --------------------------------------------------------------------------------------------------------

_a("identity", lambda c, r, n: {"age": str(c.age), "sex": c.sex, "job": c.job}, """
    The patient is a {age}-year-old {sex}, {job} by occupation.
    {age}-year-old {sex}; occupation: {job}.
    This {sex} of {age} years is a {job}.
    Seen today: a {sex} aged {age}, {job}.
""", {"age": "How old is the patient?", "job": "What is the patient's occupation?"}, talks="""
    Doctor: Can you confirm your age and what you do? // Patient: I am {age}, and I am a {job}.
    Doctor: Tell me a little about yourself. // Patient: I'm {age} and I work as a {job}.
""")  # fmt: skip
_a("complaint", lambda c, r, n: {"symptom": c.symptoms[n % len(c.symptoms)], "duration": c.duration if n == 0 else f"{r.randrange(2, 12)} days"}, """
    The patient has had {symptom} for {duration}.
    Complains of {symptom}, present for {duration}.
    Reports {symptom} over the last {duration}.
    There has been {symptom} for {duration}, and it is getting no better.
    Main concern: {symptom}, duration {duration}.
""", {"duration": "For how long has {symptom} been present?", "symptom": "Which symptom has been present for {duration}?"}, talks="""
    Doctor: What brings you in today? // Patient: I've had {symptom} for {duration} now.
    Doctor: What has been troubling you? // Patient: It's {symptom}. It has been going on for {duration}.
    Doctor: And what else have you noticed? // Patient: There is {symptom} too, for {duration} I would say.
""", relates=(("symptom", "has_duration", "duration"),), most=3)  # fmt: skip


def _absent(c: Case, r: random.Random, n: int) -> Slots:
    others = [one for condition in facts.CONDITIONS if condition.system != c.condition.system for one in condition.symptoms]
    return {"absent": r.choice([one for one in others if one not in c.condition.symptoms])}


_a("denial", _absent, """
    The patient does not have {absent}.
    No {absent} was reported.
    Denies {absent}.
    Specifically asked about {absent}: none.
""", {}, talks="""
    Doctor: Any {absent}? // Patient: No, nothing like that.
    Doctor: Have you noticed {absent}? // Patient: No, I haven't.
""", most=2)  # fmt: skip
_a("history", lambda c, r, n: {"comorbidity": c.comorbidities[n % 4], "year": str(r.randrange(1985, 2023))}, """
    The patient has had {comorbidity} since {year}.
    Background of {comorbidity}, known since {year}.
    Past history includes {comorbidity} (from {year}).
    {comorbidity} was first recorded in {year}.
""", {"year": "Since which year has {comorbidity} been known?"}, talks="""
    Doctor: Any other conditions? // Patient: I was told about {comorbidity} in {year}.
    Doctor: What about your past health? // Patient: There is {comorbidity}, since {year}.
""", relates=(("comorbidity", "known_since", "year"),), most=3)  # fmt: skip
_a("medicine", lambda c, r, n: dict(zip(("medicine", "dose", "often"), c.medicines[n % len(c.medicines)], strict=True)) | {"condition": c.condition.name}, """
    The patient takes {medicine} {dose} {often} for {condition}.
    {medicine} {dose} {often} is prescribed for {condition}.
    Current treatment of {condition}: {medicine} {dose}, {often}.
    On {medicine} {dose} {often} because of {condition}.
""", {"dose": "What dose of {medicine} is given?", "often": "How often is {medicine} taken?", "medicine": "Which medicine is given for {condition}?"}, talks="""
    Doctor: What do you take for {condition}? // Patient: {medicine}, {dose}, {often}.
    Nurse: How are you taking your {medicine}? // Patient: {dose}, {often}, for {condition}.
""", relates=(("medicine", "has_dose", "dose"), ("medicine", "has_frequency", "often"), ("medicine", "treats", "condition")), most=3)  # fmt: skip
_a("allergy", lambda c, r, n: {"allergen": c.allergy[0], "reaction": c.allergy[1]}, """
    The patient is allergic to {allergen}, which causes {reaction}.
    Allergy: {allergen} ({reaction}).
    {allergen} has caused {reaction} in the past.
    Known reaction to {allergen}: {reaction}.
""", {"allergen": "What is the patient allergic to?", "reaction": "Which reaction does {allergen} cause?"}, talks="""
    Doctor: Are you allergic to anything? // Patient: Yes, {allergen}. It gives me {reaction}.
    Nurse: Any allergies I should know of? // Patient: {allergen} caused {reaction} once.
""", relates=(("allergen", "causes", "reaction"),))  # fmt: skip
_a("social", lambda c, r, n: {"living": c.living}, """
    The patient {living}.
    At home, the patient {living}.
    Social situation: {living}.
""", {"living": "What is the living situation?"}, talks="""
    Doctor: Who is at home with you? // Patient: Put down that the patient {living}, that's me.
""")  # fmt: skip
_a("habits", lambda c, r, n: {"smoking": c.smoking, "alcohol": c.alcohol}, """
    The patient {smoking} and {alcohol}.
    Lifestyle: {smoking}; {alcohol}.
    By own account the patient {smoking} and {alcohol}.
""", {"smoking": "What is said about smoking?", "alcohol": "What is said about alcohol?"})  # fmt: skip
_a("family", lambda c, r, n: {"relative": r.choice(facts.RELATIVES), "kindred": r.choice(facts.CONDITIONS).name, "years": str(r.randrange(31, 84))}, """
    The patient's {relative} had {kindred} from the age of {years}.
    Family history: {relative} with {kindred}, diagnosed at {years}.
    {kindred} was diagnosed in the {relative} at {years} years.
""", {"kindred": "Which condition did the {relative} have?", "years": "At what age was the {relative} diagnosed?"}, talks="""
    Doctor: Does anything run in the family? // Patient: My {relative} had {kindred}, from about {years}.
""", relates=(("relative", "has_condition", "kindred"),), most=2)  # fmt: skip
_a("vitals", lambda c, r, n: {
    "pulse": f"{r.randrange(54, 128)} beats per minute", "pressure": f"{r.randrange(96, 184)}/{r.randrange(54, 104)} mmHg",
    "warmth": f"{r.uniform(35.8, 39.6):.1f} °C", "saturation": f"{r.randrange(88, 100)} percent",
}, """
    The heart rate was {pulse}, the blood pressure {pressure}, the temperature {warmth} and the oxygen saturation {saturation}.
    Observations: heart rate {pulse}, blood pressure {pressure}, temperature {warmth}, oxygen saturation {saturation}.
    Oxygen saturation {saturation}; blood pressure {pressure}; heart rate {pulse}; temperature {warmth}.
""", {"pulse": "What was the heart rate?", "pressure": "What was the blood pressure?", "warmth": "What was the temperature?", "saturation": "What was the oxygen saturation?"}, talks="""
    Nurse: Your blood pressure is {pressure} and your heart rate {pulse}. // Patient: And my temperature? // Nurse: That is {warmth}, with an oxygen saturation of {saturation}.
""")  # fmt: skip
_a("series", lambda c, r, n: {
    "time": f"{(6 + 4 * n) % 24:02d}:{r.randrange(60):02d}", "pulse": f"{r.randrange(54, 128)} beats per minute",
    "pressure": f"{r.randrange(96, 184)}/{r.randrange(54, 104)} mmHg", "saturation": f"{r.randrange(88, 100)} percent",
}, """
    At {time} the heart rate was {pulse}, the blood pressure {pressure} and the oxygen saturation {saturation}.
    {time} | heart rate {pulse} | blood pressure {pressure} | oxygen saturation {saturation}
    {time}: blood pressure {pressure}, oxygen saturation {saturation}, heart rate {pulse}.
""", {"pulse": "What was the heart rate at {time}?", "pressure": "What was the blood pressure at {time}?", "saturation": "What was the oxygen saturation at {time}?"},
   relates=(("pulse", "measured_at", "time"), ("pressure", "measured_at", "time")), most=5)  # fmt: skip
_a("sign", lambda c, r, n: {"sign": c.condition.signs[n % len(c.condition.signs)]}, """
    On examination there was {sign}.
    Examination showed {sign}.
    Of note on examination: {sign}.
    Findings today include {sign}.
""", {"sign": "What did the examination show?"}, talks="""
    Doctor: When I examine you I find {sign}. // Patient: Is that bad? // Doctor: It helps us to know what this is.
""", most=2)  # fmt: skip


def _lab(c: Case, r: random.Random, n: int) -> Slots:
    lab, unit, low, high = c.condition.labs[n % len(c.condition.labs)]
    return {"lab": lab, "measure": f"{_number(r, low, high)} {unit}", "date": _date(r)}


_a("lab", _lab, """
    The {lab} was {measure} on {date}.
    {lab}: {measure} ({date}).
    Blood taken on {date} showed a {lab} of {measure}.
    {date} {lab} {measure}.
""", {"measure": "What was the {lab}?", "date": "When was the {lab} measured?"}, talks="""
    Doctor: Your results of {date} are back: the {lab} is {measure}. // Patient: What does that mean? // Doctor: It fits with what you told me.
""", relates=(("lab", "has_result", "measure"),), most=3)  # fmt: skip
_a("imaging", lambda c, r, n: {"picture": c.condition.imaging[0], "shows": c.condition.imaging[1], "date": _date(r)}, """
    The {picture} of {date} showed {shows}.
    {picture} ({date}): {shows}.
    {shows} was seen on the {picture} of {date}.
""", {"shows": "What did the {picture} show?"}, talks="""
    Doctor: The {picture} of {date} showed {shows}. // Patient: I was afraid of that.
""", relates=(("picture", "shows", "shows"),))  # fmt: skip
_a("diagnosis", lambda c, r, n: {"condition": c.condition.name}, """
    The diagnosis is {condition}.
    Working diagnosis: {condition}.
    The picture is that of {condition}.
    Impression: {condition}.
""", {"condition": "What is the diagnosis?"}, talks="""
    Doctor: All of this points to {condition}. // Patient: I see. What happens now?
    Nurse: The doctors think it is {condition}. // Patient: Yes, they explained it.
""")  # fmt: skip
_a("course", lambda c, r, n: {"medicine": c.medicines[0][0], "condition": c.condition.name, "change": r.choice(("improved", "slowly improved", "improved at first and then settled", "did not improve", "improved markedly")), "after": f"{r.randrange(2, 15)} days"}, """
    With {medicine} the {condition} {change} within {after}.
    {condition} was treated with {medicine} and {change} over {after}.
    After {after} of {medicine}, the {condition} {change}.
""", {"change": "How did the {condition} respond to {medicine}?", "after": "Over what time was the response to {medicine} seen?"}, relates=(("medicine", "treats", "condition"),))  # fmt: skip
_a("procedure", lambda c, r, n: {"procedure": c.condition.procedure, "date": _date(r), "minutes": f"{r.randrange(12, 190)} minutes"}, """
    The patient underwent {procedure} on {date}, which took {minutes}.
    {procedure} was done on {date} ({minutes}).
    On {date}: {procedure}, duration {minutes}.
""", {"procedure": "Which procedure was done?", "minutes": "How long did {procedure} take?", "date": "On what date was {procedure} done?"}, relates=(("procedure", "done_on", "date"),))  # fmt: skip
_a("plan", lambda c, r, n: {"clinic": facts.CLINICS[(n + r.randrange(8)) % 8], "when": f"{r.randrange(2, 13)} {r.choice(('days', 'weeks'))}"}, """
    The patient is to be reviewed at {clinic} in {when}.
    Follow-up at {clinic} in {when}.
    Review arranged with {clinic}, {when} from now.
    Plan: {clinic} in {when}.
""", {"clinic": "Where will the patient be reviewed?", "when": "In what time will the patient be reviewed?"}, talks="""
    Doctor: I'd like you to be seen at {clinic} in {when}. // Patient: I can do that.
    Nurse: Your next appointment is with {clinic} in {when}. // Patient: Thank you, I'll write it down.
""")  # fmt: skip
_a("advice", lambda c, r, n: {"advice": c.condition.advice}, """
    The patient was told to {advice}.
    Advice given: {advice}.
    It was explained how important it is to {advice}.
""", {"advice": "What was the patient told to do?"}, talks="""
    Doctor: Please {advice}. // Patient: I will do my best.
    Nurse: Remember to {advice}. // Patient: Yes, I remember.
""")  # fmt: skip
_a("admission", lambda c, r, n: {"ward": r.choice(facts.WARDS), "route": r.choice(("by ambulance", "from clinic", "on foot", "by transfer", "by taxi", "through the general practitioner")), "date": _date(r)}, """
    The patient came to the {ward} {route} on {date}.
    Admitted to the {ward} on {date}, {route}.
    {date}: arrival on the {ward}, {route}.
""", {"ward": "To which ward was the patient admitted?", "route": "How did the patient arrive?"})  # fmt: skip
_a("state", lambda c, r, n: {"pain": f"{r.randrange(0, 9)} out of 10", "walk": r.choice(("walks unaided", "walks with a stick", "needs a frame", "needs one person to help", "is in bed", "walks with two sticks"))}, """
    The patient {walk} and rates pain at {pain}.
    Pain {pain}; the patient {walk}.
    At present the patient {walk}, with pain of {pain}.
""", {"pain": "How is pain rated?", "walk": "How does the patient move?"}, talks="""
    Nurse: How is the pain today? // Patient: About {pain}. // Nurse: I see the patient {walk}, I'll note that down.
""")  # fmt: skip

# --- theatre ---------------------------------------------------------------------------------------------------------------------------

_a("indication", lambda c, r, n: {"procedure": c.condition.procedure, "condition": c.condition.name}, """
    The indication for {procedure} was {condition}.
    {procedure} was offered because of {condition}.
    Reason for {procedure}: {condition}.
""", {"condition": "What was the indication for {procedure}?"}, relates=(("procedure", "indicated_by", "condition"),))  # fmt: skip
_a("anaesthesia", lambda c, r, n: {"kind": r.choice(("general anaesthesia", "spinal anaesthesia", "local anaesthesia with sedation", "a regional block")), "position": r.choice(("supine", "left lateral", "prone", "lithotomy", "semi-recumbent")), "grade": r.choice(("one", "two", "three"))}, """
    The patient had {kind} in the {position} position, fitness grade {grade}.
    {kind} was given; position {position}; fitness grade {grade}.
    Grade {grade} patient, {position}, under {kind}.
""", {"kind": "What kind of anaesthesia was given?", "position": "In which position was the patient?"})  # fmt: skip
_a("steps", lambda c, r, n: {"step": r.choice(("the field was cleaned with chlorhexidine", "a midline approach was used", "the tissue planes were developed bluntly", "the target was identified and secured", "haemostasis was achieved with diathermy", "the cavity was washed with warm saline", "landmarks were marked with ultrasound", "a second check of the count was made")), "loss": f"{r.randrange(5, 480)} mL"}, """
    During the operation {step}, with a blood loss of {loss}.
    {step}; blood loss so far {loss}.
    Next, {step} (loss {loss}).
""", {"loss": "How much blood was lost when {step}?"}, most=3)  # fmt: skip
_a("complication", lambda c, r, n: {"event": r.choice(("no complication", "a brief fall in blood pressure", "a small serosal tear", "transient bradycardia", "minor bleeding at a port site", "difficult access"))}, """
    During the operation there was {event}.
    Complications: {event}.
    The team noted {event}.
""", {"event": "What was noted as a complication?"})  # fmt: skip
_a("closure", lambda c, r, n: {"suture": r.choice(("absorbable sutures", "interrupted nylon", "skin clips", "tissue glue", "a subcuticular stitch")), "dressing": r.choice(("a dry dressing", "a hydrocolloid dressing", "a vacuum dressing", "a pressure bandage")), "drain": r.choice(("no drain", "one suction drain", "a corrugated drain"))}, """
    The wound was closed with {suture} under {dressing}, with {drain}.
    Closure: {suture}; {dressing}; {drain}.
    {suture} to skin, {dressing} on top, {drain} left.
""", {"suture": "How was the wound closed?", "dressing": "What was put on the wound?"})  # fmt: skip
_a("specimen", lambda c, r, n: {"specimen": r.choice(("a skin ellipse", "a synovial biopsy", "a duodenal biopsy", "an appendix", "a prostate core", "a lymph node", "a colonic polyp", "a gastric biopsy")), "size": f"{r.randrange(3, 68)} mm", "pot": f"pot {r.choice('ABCD')}{r.randrange(1, 9)}"}, """
    The laboratory received {specimen} of {size} in {pot}.
    {pot}: {specimen}, {size}.
    Sent for histology: {specimen} ({size}, {pot}).
""", {"specimen": "Which specimen was sent?", "size": "How large was the specimen in {pot}?"}, relates=(("specimen", "has_size", "size"),), most=2)  # fmt: skip
_a("microscopy", lambda c, r, n: {"cells": r.choice(("chronic inflammation without atypia", "acute inflammation with neutrophils", "villous blunting", "mild dysplasia", "reactive changes only", "granulation tissue", "a benign naevus")), "margin": f"{r.uniform(0.2, 9.9):.1f} mm"}, """
    Under the microscope there was {cells}, with a margin of {margin}.
    Microscopy: {cells}; nearest margin {margin}.
    Sections show {cells} and a clear margin of {margin}.
""", {"cells": "What did microscopy show?", "margin": "How wide was the margin?"})  # fmt: skip

# --- special records ---------------------------------------------------------------------------------------------------------------------

_VACCINES = (
    "influenza",
    "tetanus",
    "hepatitis B",
    "pneumococcal",
    "shingles",
    "measles, mumps and rubella",
    "typhoid",
    "rabies",
    "polio",
    "varicella",
)
_a("vaccine", lambda c, r, n: {"vaccine": f"{_VACCINES[(r.randrange(10) + n) % 10]} vaccine", "date": _date(r), "lot": f"{r.choice('ABCDEFGHK')}{r.randrange(1000, 9999)}", "site": r.choice(("left deltoid", "right deltoid", "left thigh", "right thigh"))}, """
    The {vaccine} was given into the {site} on {date}, lot {lot}.
    {date}: {vaccine}, lot {lot}, {site}.
    {vaccine} ({lot}) | {site} | {date}
""", {"lot": "Which lot of the {vaccine} was given?", "site": "Where was the {vaccine} injected?", "date": "When was the {vaccine} given?"}, relates=(("vaccine", "given_on", "date"), ("vaccine", "injected_into", "site")), most=5)  # fmt: skip
_GENES = (
    ("BRCA2", "c.5946delT"),
    ("HFE", "p.Cys282Tyr"),
    ("CFTR", "p.Phe508del"),
    ("LDLR", "c.1060+1G>A"),
    ("MYH7", "p.Arg403Gln"),
    ("MLH1", "c.1852_1854del"),
    ("SCN5A", "p.Glu1784Lys"),
    ("FBN1", "p.Cys1663Arg"),
    ("TTR", "p.Val50Met"),
    ("GBA1", "p.Asn409Ser"),
)
_a("gene", lambda c, r, n: dict(zip(("gene", "variant"), _GENES[(r.randrange(10) + n) % 10], strict=True)) | {"class": r.choice(("pathogenic", "likely pathogenic", "of uncertain significance", "likely benign", "benign")), "depth": f"{r.randrange(28, 190)} reads"}, """
    The variant {variant} in {gene} was classified as {class}, read {depth} deep.
    {gene} {variant}: {class} ({depth}).
    In {gene}, {variant} was found with a depth of {depth} and is {class}.
""", {"class": "How was the variant {variant} in {gene} classified?", "variant": "Which variant was found in {gene}?"}, relates=(("variant", "lies_in", "gene"),), most=3)  # fmt: skip
_a("tooth", lambda c, r, n: {"tooth": f"tooth {r.randrange(1, 5)}{r.randrange(1, 9)}", "decay": r.choice(("occlusal caries", "a fractured cusp", "a failing filling", "an apical shadow", "gingival recession", "a vertical crack")), "mend": r.choice(("a composite filling", "root canal treatment", "extraction", "a temporary crown", "scaling and polishing")), "pocket": f"{r.randrange(2, 9)} mm"}, """
    The {tooth} has {decay} with a pocket of {pocket}, and {mend} is planned.
    {tooth}: {decay}, pocket {pocket}, for {mend}.
    {decay} at {tooth} (pocket {pocket}); treatment: {mend}.
""", {"decay": "What was found at {tooth}?", "mend": "What is planned for {tooth}?", "pocket": "How deep is the pocket at {tooth}?"}, relates=(("mend", "planned_for", "tooth"),), most=4)  # fmt: skip
_a("incident", lambda c, r, n: {"mishap": r.choice(("an unwitnessed fall", "a missed dose", "a wrong label on a tube", "a delayed transfer", "a needle injury", "a call bell out of reach", "a spilled feed", "a mislaid chart")), "ward": r.choice(facts.WARDS), "time": f"{r.randrange(24):02d}:{r.randrange(60):02d}", "harm": r.choice(("no harm", "mild bruising", "a short delay in care", "a small skin tear"))}, """
    There was {mishap} on the {ward} at {time}, which led to {harm}.
    {time}, {ward}: {mishap}. Outcome: {harm}.
    Staff of the {ward} reported {mishap} at {time}, with {harm}.
""", {"mishap": "What happened at {time}?", "harm": "What came of the incident at {time}?", "ward": "Where did the incident at {time} happen?"}, relates=(("mishap", "happened_on", "ward"),), most=2)  # fmt: skip
_a("measures", lambda c, r, n: {"measure_taken": r.choice(("the lead nurse was told", "the family was informed", "a new bed alarm was fitted", "the chart was corrected", "a debrief was held", "the item was replaced", "hourly checks were begun")), "time": f"{r.randrange(24):02d}:{r.randrange(60):02d}"}, """
    Afterwards {measure_taken} at {time}.
    {time}: {measure_taken}.
    As an action, {measure_taken} ({time}).
""", {"measure_taken": "What was done at {time}?"}, most=3)  # fmt: skip
_a("consent", lambda c, r, n: {"procedure": c.condition.procedure, "risk": r.choice(("infection", "bleeding", "a scar", "nerve injury", "a reaction to the anaesthetic", "a clot", "a repeat procedure", "numbness")), "share": f"{r.randrange(1, 30)} in {r.choice((100, 500, 1000))}"}, """
    Before {procedure}, the risk of {risk} was given as {share}.
    Risk of {procedure} explained: {risk}, {share}.
    For {procedure} the patient understands that {risk} may happen in {share}.
""", {"share": "How likely is {risk} after {procedure}?", "risk": "Which risk was given as {share}?"}, relates=(("procedure", "has_risk", "risk"),), most=4)  # fmt: skip
_a("diet", lambda c, r, n: {"weight": f"{r.uniform(41, 128):.1f} kg", "energy": f"{r.randrange(900, 2900, 50)} kcal", "supplement": r.choice(("a fortified drink", "thickened fluids", "a low-potassium plan", "a high-protein snack", "a soft diet", "a low-salt menu", "a carbohydrate-counting plan"))}, """
    The patient weighs {weight}, eats {energy} a day and was given {supplement}.
    Weight {weight}; intake {energy}; started on {supplement}.
    With {weight} and an intake of {energy}, {supplement} was chosen.
""", {"weight": "How much does the patient weigh?", "energy": "What is the daily intake?", "supplement": "Which dietary measure was chosen?"}, most=2)  # fmt: skip
_a("mood", lambda c, r, n: {"mood": r.choice(("low", "anxious", "irritable", "flat", "brighter than last week", "tearful", "restless")), "sleep": f"{r.randrange(2, 10)} hours", "score": f"{r.randrange(3, 27)} of 27"}, """
    The patient's mood is {mood}, with {sleep} of sleep and a questionnaire score of {score}.
    Mood {mood}; sleep {sleep}; score {score}.
    Sleeping {sleep} a night, mood {mood}, scoring {score}.
""", {"mood": "How is the patient's mood?", "sleep": "How long does the patient sleep?", "score": "What was the questionnaire score?"})  # fmt: skip
_a("mental", lambda c, r, n: {"speech": r.choice(("slow", "pressured", "normal in rate", "quiet", "hesitant")), "thought": r.choice(("no delusions", "ruminations about work", "worries about health", "ideas of guilt", "poverty of thought")), "insight": r.choice(("good", "partial", "limited"))}, """
    Speech was {speech}, thought content showed {thought} and insight was {insight}.
    Mental state: speech {speech}; {thought}; insight {insight}.
    With {insight} insight and {speech} speech, there was {thought}.
""", {"speech": "How was the patient's speech?", "insight": "How was the patient's insight?", "thought": "What did thought content show?"})  # fmt: skip
_a("danger", lambda c, r, n: {"level": r.choice(("low", "moderate", "high")), "shield": r.choice(("a supportive partner", "young children at home", "regular contact with a friend", "a faith community", "a pet", "a good relation with the team")), "agreed": r.choice(("a written safety plan", "daily telephone contact", "removal of spare tablets", "a crisis card", "a stay with relatives"))}, """
    The risk of self-harm is {level}, {shield} protects, and {agreed} was agreed.
    Risk: {level}. Protective: {shield}. Agreed: {agreed}.
    With {shield} as a protective factor the risk is {level}; {agreed} was arranged.
""", {"level": "How high is the risk of self-harm?", "shield": "What protects the patient?", "agreed": "What was agreed for safety?"})  # fmt: skip
_a("goal", lambda c, r, n: {"goal": r.choice(("climb one flight of stairs", "dress without help", "walk to the shop", "return to work", "hold a cup safely", "sit for an hour", "sleep through the night", "drive again")), "weeks": f"{r.randrange(2, 16)} weeks"}, """
    The goal is to {goal} within {weeks}.
    Goal set: {goal}, in {weeks}.
    In {weeks} the patient wants to {goal}.
""", {"goal": "What is to be reached within {weeks}?", "weeks": "By when is the patient to {goal}?"}, most=2)  # fmt: skip
_a("exercise", lambda c, r, n: {"exercise": r.choice(("heel raises", "seated marching", "shoulder pendulums", "sit-to-stand", "grip squeezes", "balance on one leg", "paced breathing", "step-ups", "neck turns", "bridging")), "sets": f"{r.randrange(2, 6)} sets of {r.randrange(4, 20)}", "days": f"{r.randrange(2, 8)} days a week"}, """
    The patient does {exercise} in {sets} on {days}.
    {exercise}: {sets}, {days}.
    Prescribed {sets} of {exercise}, {days}.
""", {"sets": "How many {exercise} are prescribed?", "days": "On how many days are {exercise} done?"}, relates=(("exercise", "has_amount", "sets"),), most=4)  # fmt: skip
_a("wound", lambda c, r, n: {"site": r.choice(("left heel", "right shin", "sacrum", "left ankle", "abdomen", "right elbow", "left hip")), "width": f"{r.randrange(4, 70)} by {r.randrange(3, 40)} mm", "dressing": r.choice(("a foam dressing", "a honey dressing", "an alginate dressing", "dry gauze", "a silver dressing"))}, """
    The wound on the {site} measures {width} and was covered with {dressing}.
    {site}: {width}, {dressing}.
    Wound care of the {site} ({width}) with {dressing}.
""", {"width": "How large is the wound on the {site}?", "dressing": "What was put on the wound on the {site}?"}, relates=(("dressing", "applied_to", "site"),), most=2)  # fmt: skip
_a("screening", lambda c, r, n: {"test": r.choice(("bowel screening", "a mammogram", "cervical screening", "aortic ultrasound", "retinal screening", "a bone density scan", "a hearing check")), "outcome": r.choice(("normal", "borderline", "abnormal", "incomplete")), "date": _date(r), "again": f"{r.randrange(1, 6)} years"}, """
    The result of {test} on {date} was {outcome}, to be repeated in {again}.
    {date} {test}: {outcome}; next in {again}.
    {test} ({date}) came back {outcome}; recall in {again}.
""", {"outcome": "What was the result of {test}?", "again": "When is {test} to be repeated?"}, relates=(("test", "has_result", "outcome"),), most=3)  # fmt: skip
_a("wishes", lambda c, r, n: {"place": r.choice(("at home", "in the hospice", "on this ward", "in the care home", "at a daughter's house")), "wish": r.choice(("no resuscitation", "music in the room", "a visit from the chaplain", "no further blood tests", "the window open", "a phone call to a brother", "comfort care only")), "who": r.choice(("the spouse", "a daughter", "a son", "a close friend", "a sister"))}, """
    The patient wishes to be cared for {place}, asks for {wish}, and named {who} as contact.
    Preferred place: {place}. Wish: {wish}. Contact: {who}.
    Wants {wish}, {place}; {who} is to be called.
""", {"place": "Where does the patient wish to be cared for?", "wish": "What does the patient ask for?", "who": "Who is to be called?"})  # fmt: skip
_a("support", lambda c, r, n: {"need": r.choice(("help with washing", "a benefits review", "a stair lift", "meals on wheels", "respite for the carer", "a key safe", "transport to clinic", "debt advice")), "who": r.choice(("the council", "a charity", "the social work team", "a neighbour", "the housing officer")), "hours": f"{r.randrange(2, 28)} hours a week"}, """
    The patient needs {need}, which {who} will arrange, with {hours} of support.
    Need: {need}. Arranged by {who}. Support: {hours}.
    {who} was asked for {need} ({hours}).
""", {"need": "What does the patient need?", "who": "Who will arrange {need}?", "hours": "How much support is planned for {need}?"}, most=3)  # fmt: skip
_a("triage", lambda c, r, n: {"category": r.choice(("red", "orange", "yellow", "green")), "wait": f"{r.randrange(1, 240)} minutes", "route": r.choice(("by ambulance", "on foot", "by car", "with police", "from a clinic"))}, """
    The patient arrived {route}, was put into category {category} and waited {wait}.
    Category {category}; arrived {route}; wait {wait}.
    {route}, triaged {category}, seen after {wait}.
""", {"category": "Into which category was the patient put?", "wait": "How long did the patient wait?"})  # fmt: skip
_a("care", lambda c, r, n: {"trouble": r.choice(("a risk of falls", "poor intake", "broken sleep", "a risk of pressure damage", "pain on moving", "breathlessness at night", "low confidence")), "act": r.choice(("two-hourly turns", "a bedside commode", "food charts", "a night light", "regular analgesia", "a fan at the bedside", "daily encouragement")), "check": f"{r.randrange(1, 8)} days"}, """
    For {trouble} there is {act}, to be checked in {check}.
    Problem: {trouble}. Action: {act}. Check: {check}.
    {act} was begun because of {trouble}; review in {check}.
""", {"act": "What is done for {trouble}?", "check": "When is the action for {trouble} checked?"}, relates=(("act", "addresses", "trouble"),), most=3)  # fmt: skip
_a("dispensing", lambda c, r, n: {"medicine": c.medicines[n % len(c.medicines)][0], "amount": f"{r.choice((7, 14, 21, 28, 30, 56, 60, 84))} tablets", "repeats": r.choice(("no repeats", "one repeat", "two repeats", "five repeats"))}, """
    The pharmacy is to supply {amount} of {medicine} with {repeats}.
    {medicine}: supply {amount}, {repeats}.
    Dispense {amount}, {medicine}, {repeats}.
""", {"amount": "How much {medicine} is to be supplied?", "repeats": "How many repeats of {medicine} are allowed?"}, relates=(("medicine", "has_amount", "amount"),), most=3)  # fmt: skip

# --- studies ---------------------------------------------------------------------------------------------------------------------------

_a("design", lambda c, r, n: {"design": r.choice(("a randomised trial", "a cohort study", "a case-control study", "a cross-sectional survey", "a pragmatic crossover trial", "a registry analysis")), "people": str(r.randrange(48, 4200)), "centres": str(r.randrange(2, 40)), "condition": c.condition.name}, """
    This was {design} of {people} adults with {condition} in {centres} centres.
    We did {design} in {centres} centres with {people} participants who had {condition}.
    {people} people with {condition} from {centres} centres took part in {design}.
""", {"people": "How many people took part?", "design": "What kind of study was done?", "centres": "In how many centres was it done?"})  # fmt: skip
_a("effect", lambda c, r, n: {"medicine": c.medicines[n % len(c.medicines)][0], "outcome": r.choice(("readmission", "pain at six weeks", "quality of life", "symptom days", "need for rescue treatment", "walking distance", "time to recovery")), "ratio": _ratio(r)}, """
    For {outcome}, the ratio with {medicine} was {ratio}.
    {medicine} and {outcome}: ratio {ratio}.
    The effect of {medicine} on {outcome} was a ratio of {ratio}.
""", {"ratio": "What was the ratio for {outcome} with {medicine}?"}, relates=(("medicine", "has_effect_on", "outcome"),), most=4)  # fmt: skip
_a("eligible", lambda c, r, n: {"condition": c.condition.name, "from": str(r.randrange(18, 41)), "to": str(r.randrange(64, 91)), "excluded": r.choice(facts.COMORBIDITIES)}, """
    Eligible were people of {from} to {to} years with {condition}; {excluded} was a reason for exclusion.
    We enrolled adults aged {from} to {to} with {condition} and excluded those with {excluded}.
    Inclusion: {condition}, age {from} to {to}. Exclusion: {excluded}.
""", {"excluded": "What was a reason for exclusion?", "from": "From what age could people take part?"})  # fmt: skip
_a("shortcoming", lambda c, r, n: {"weakness": r.choice(("a short follow-up", "many missing diaries", "the open design", "a single language", "few older participants", "self-reported outcomes", "an early stop", "unequal groups")), "lost": f"{r.randrange(2, 31)} percent"}, """
    A limitation is {weakness}, and {lost} were lost to follow-up.
    Limits: {weakness}; {lost} lost to follow-up.
    With {lost} lost to follow-up, {weakness} has to be kept in mind.
""", {"weakness": "What is named as a limitation?", "lost": "How many were lost to follow-up?"}, most=2)  # fmt: skip
_a("burden", lambda c, r, n: {"condition": c.condition.name, "share": f"{r.uniform(0.4, 12):.1f} percent", "region": r.choice(("northern Europe", "South America", "coastal towns", "rural districts", "large cities", "East Africa")), "cost": f"{r.randrange(12, 980)} million euros"}, """
    In {region}, {condition} affects {share} of adults and costs {cost} a year.
    {condition} is found in {share} of adults in {region}, at {cost} a year.
    The yearly cost of {condition} in {region} is {cost}; its prevalence is {share}.
""", {"share": "How common is {condition} in {region}?", "cost": "What does {condition} cost in {region}?"})  # fmt: skip
_a("meaning", lambda c, r, n: {"medicine": c.medicines[0][0], "condition": c.condition.name, "verdict": r.choice(("may be offered more widely", "should stay a second choice", "needs a larger trial", "is safe in routine care", "brings little for most people"))}, """
    We conclude that {medicine} for {condition} {verdict}.
    In {condition}, {medicine} {verdict}.
    Taken together, {medicine} {verdict} in {condition}.
""", {"verdict": "What do the authors conclude about {medicine}?"})  # fmt: skip
_a("lay", lambda c, r, n: {"condition": c.condition.name, "plain": c.condition.lay, "symptom": c.symptoms[n % len(c.symptoms)]}, """
    Your condition is called {condition}, which means {plain}, and it may give you {symptom}.
    {condition} is {plain}. A common sign is {symptom}.
    What is {condition}? It is {plain}; many people notice {symptom}.
""", {"plain": "What does {condition} mean?", "symptom": "Which sign of {condition} is named?"}, relates=(("condition", "has_symptom", "symptom"),), most=2)  # fmt: skip
