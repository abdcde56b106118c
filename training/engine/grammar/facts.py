"""Cases: invented people with conditions, symptoms, medicines and results that fit together. No real person, no advice.

Everything a text says comes out of one case, so that an answer to it can be computed. Standard library only.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Condition:
    """What goes with one illness. Medicines are "name, dose, how often"; labs are "name, unit, low, high" of what it looks like here."""

    name: str
    short: str
    system: str
    lay: str
    symptoms: tuple[str, ...]
    signs: tuple[str, ...]
    labs: tuple[tuple[str, str, float, float], ...]
    imaging: tuple[str, str]
    medicines: tuple[tuple[str, str, str], ...]
    procedure: str
    advice: str


def _condition(line: str) -> Condition:
    name, short, system, lay, symptoms, signs, labs, imaging, medicines, procedure, advice = (part.strip() for part in line.split("|"))
    cut = [tuple(piece.strip() for piece in one.split(",")) for one in labs.split(";")]
    pictured, shown = (piece.strip() for piece in imaging.split("="))
    given = [tuple(piece.strip() for piece in one.split(",")) for one in medicines.split(";")]
    return Condition(
        name, short, system, lay, _list(symptoms), _list(signs), tuple((lab, unit, float(low), float(high)) for lab, unit, low, high in cut),
        (pictured, shown), tuple((medicine, dose, often) for medicine, dose, often in given), procedure, advice,
    )  # fmt: skip


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";"))


# name | abbreviation | system | in plain words | symptoms | signs | labs | picture = what it shows | medicines | procedure | advice
_LINES = """
community-acquired pneumonia | CAP | respiratory | a lung infection | productive cough; fever; pleuritic chest pain; breathlessness; rigors | crackles at the right base; bronchial breathing; reduced air entry on the right | C-reactive protein, mg/L, 90, 260; white cell count, x10^9/L, 12, 21 | chest radiograph = right lower lobe consolidation | amoxicillin, 500 mg, three times daily; doxycycline, 100 mg, twice daily | sputum culture | finish the antibiotics and rest
heart failure with reduced ejection fraction | HFrEF | cardiovascular | a weak heart pump | breathlessness on exertion; ankle swelling; orthopnoea; tiredness; weight gain | raised jugular venous pressure; pitting oedema to the knees; basal crackles | NT-proBNP, ng/L, 900, 6200; sodium, mmol/L, 128, 134 | echocardiogram = an ejection fraction below 40 percent | furosemide, 40 mg, once daily; bisoprolol, 2.5 mg, once daily; ramipril, 5 mg, once daily | echocardiography | weigh yourself every morning
type 2 diabetes mellitus | T2DM | endocrine | high blood sugar | thirst; passing urine often; blurred vision; tiredness; numb feet | reduced sensation in both feet; dry mucous membranes | HbA1c, mmol/mol, 58, 104; fasting glucose, mmol/L, 8, 16 | retinal photograph = background retinopathy | metformin, 500 mg, twice daily; gliclazide, 80 mg, once daily; empagliflozin, 10 mg, once daily | retinal screening | check your feet every day
chronic obstructive pulmonary disease | COPD | respiratory | long-term lung damage | wheeze; chronic cough; breathlessness on stairs; sputum every morning | hyperinflated chest; expiratory wheeze; pursed-lip breathing | arterial carbon dioxide, kPa, 6.1, 8.4; haemoglobin, g/L, 158, 182 | chest radiograph = flattened diaphragms | tiotropium, 18 micrograms, once daily; salbutamol, 100 micrograms, as needed; prednisolone, 30 mg, once daily | spirometry | stop smoking and keep your inhaler near
atrial fibrillation | AF | cardiovascular | an uneven heartbeat | palpitations; dizziness; reduced exercise tolerance; chest fluttering | irregularly irregular pulse; apex rate above radial rate | thyroid stimulating hormone, mU/L, 0.6, 3.8; potassium, mmol/L, 3.3, 4.6 | electrocardiogram = absent P waves with an irregular rhythm | apixaban, 5 mg, twice daily; bisoprolol, 5 mg, once daily; digoxin, 125 micrograms, once daily | cardioversion | report any bleeding
acute appendicitis | AA | gastrointestinal | an inflamed appendix | right lower abdominal pain; nausea; loss of appetite; vomiting | tenderness at McBurney's point; rebound tenderness; guarding | white cell count, x10^9/L, 12, 19; C-reactive protein, mg/L, 40, 180 | abdominal ultrasound = a thickened appendix | co-amoxiclav, 1.2 g, three times daily; paracetamol, 1 g, four times daily | laparoscopic appendicectomy | keep the wounds dry
urinary tract infection | UTI | urological | a bladder infection | burning on passing urine; urinary frequency; suprapubic pain; cloudy urine | suprapubic tenderness; loin tenderness | white cell count, x10^9/L, 11, 17; creatinine, micromol/L, 70, 130 | renal ultrasound = no hydronephrosis | nitrofurantoin, 100 mg, twice daily; trimethoprim, 200 mg, twice daily | urine culture | drink plenty of water
chronic kidney disease | CKD | renal | kidneys that work less well | tiredness; itching; poor appetite; ankle swelling; night cramps | pallor; peripheral oedema | creatinine, micromol/L, 180, 420; haemoglobin, g/L, 82, 108; potassium, mmol/L, 5.1, 5.9 | renal ultrasound = small echogenic kidneys | ramipril, 2.5 mg, once daily; darbepoetin, 30 micrograms, once weekly; sevelamer, 800 mg, three times daily | fistula formation | avoid anti-inflammatory tablets
rheumatoid arthritis | RA | musculoskeletal | inflamed joints | morning stiffness; painful swollen knuckles; fatigue; stiff wrists | synovitis of the hands; reduced grip strength | erythrocyte sedimentation rate, mm/h, 38, 90; anti-CCP antibody, U/mL, 60, 320 | hand radiograph = periarticular erosions | methotrexate, 15 mg, once weekly; folic acid, 5 mg, once weekly; hydroxychloroquine, 200 mg, once daily | joint injection | never take methotrexate daily
migraine with aura | MA | neurological | severe one-sided headaches | throbbing headache; zigzag lights; nausea; dislike of light | normal cranial nerves; no neck stiffness | erythrocyte sedimentation rate, mm/h, 4, 12; haemoglobin, g/L, 124, 150 | brain magnetic resonance imaging = no abnormality | sumatriptan, 50 mg, as needed; propranolol, 40 mg, twice daily; topiramate, 25 mg, twice daily | headache diary review | keep a headache diary
ischaemic stroke | CVA | neurological | a blocked brain artery | left arm weakness; slurred speech; facial droop; sudden unsteadiness | left pronator drift; upgoing left plantar; facial asymmetry | total cholesterol, mmol/L, 5.4, 8.1; glucose, mmol/L, 5.2, 9.8 | head computed tomography = an early right middle cerebral artery infarct | clopidogrel, 75 mg, once daily; atorvastatin, 80 mg, once daily; amlodipine, 5 mg, once daily | thrombolysis | call for help at once if weakness returns
iron deficiency anaemia | IDA | haematological | too little iron in the blood | tiredness; breathlessness on exertion; pale skin; restless legs | conjunctival pallor; koilonychia | haemoglobin, g/L, 68, 102; ferritin, micrograms/L, 3, 14 | colonoscopy = a caecal angiodysplasia | ferrous sulfate, 200 mg, once daily; ascorbic acid, 200 mg, once daily | upper endoscopy | take iron with juice and not with tea
hypothyroidism | HT | endocrine | an underactive thyroid | weight gain; cold intolerance; constipation; dry skin; low mood | slow-relaxing reflexes; periorbital puffiness | thyroid stimulating hormone, mU/L, 12, 68; free thyroxine, pmol/L, 3, 8 | thyroid ultrasound = a small heterogeneous gland | levothyroxine, 75 micrograms, once daily | thyroid antibody testing | take the tablet before breakfast
major depressive disorder | MDD | psychiatric | depression | low mood; early waking; loss of interest; poor concentration; tearfulness | flat affect; slowed speech; poor eye contact | vitamin D, nmol/L, 18, 46; thyroid stimulating hormone, mU/L, 1.1, 3.4 | head computed tomography = no abnormality | sertraline, 50 mg, once daily; mirtazapine, 15 mg, at night | cognitive behavioural therapy | do one planned activity every day
asthma exacerbation | AE | respiratory | an asthma attack | wheeze; chest tightness; night-time cough; breathlessness at rest | widespread wheeze; use of accessory muscles | eosinophil count, x10^9/L, 0.5, 1.4; peak flow, L/min, 140, 260 | chest radiograph = clear lung fields | salbutamol, 5 mg, every four hours; prednisolone, 40 mg, once daily; beclometasone, 200 micrograms, twice daily | peak flow monitoring | use your preventer inhaler every day
gout | G | musculoskeletal | crystals in a joint | hot painful big toe; swollen ankle; sudden night pain | a red tender first metatarsophalangeal joint; warm swollen ankle | urate, micromol/L, 460, 690; C-reactive protein, mg/L, 18, 88 | foot radiograph = soft tissue swelling | colchicine, 500 micrograms, twice daily; allopurinol, 100 mg, once daily; naproxen, 500 mg, twice daily | joint aspiration | drink less beer
acute pancreatitis | AP | gastrointestinal | an inflamed pancreas | epigastric pain through to the back; vomiting; bloating; fever | epigastric tenderness; reduced bowel sounds | lipase, U/L, 620, 2900; calcium, mmol/L, 1.9, 2.2 | abdominal computed tomography = an oedematous pancreas | morphine, 5 mg, as needed; ondansetron, 4 mg, three times daily | endoscopic retrograde cholangiopancreatography | avoid alcohol altogether
deep vein thrombosis | DVT | cardiovascular | a clot in a leg vein | calf pain; unilateral leg swelling; warmth of the calf | a swollen tender left calf; pitting of the left shin | D-dimer, micrograms/L, 1200, 5400; platelet count, x10^9/L, 180, 390 | leg duplex ultrasound = a non-compressible popliteal vein | rivaroxaban, 15 mg, twice daily; dalteparin, 12500 units, once daily | compression ultrasonography | keep walking and come back if breathless
cellulitis of the leg | CL | dermatological | a skin infection | a spreading red patch; leg pain; shivering; skin warmth | erythema to mid-calf; tender warm skin; inguinal lymph nodes | C-reactive protein, mg/L, 45, 190; white cell count, x10^9/L, 11, 18 | leg duplex ultrasound = no thrombosis | flucloxacillin, 1 g, four times daily; clindamycin, 300 mg, four times daily | skin swab | keep the leg raised
gastro-oesophageal reflux disease | GORD | gastrointestinal | acid reflux | heartburn; acid taste; chest burning after meals; night-time cough | mild epigastric tenderness; a normal chest | haemoglobin, g/L, 126, 152; ferritin, micrograms/L, 30, 90 | upper endoscopy = grade B oesophagitis | omeprazole, 20 mg, once daily; famotidine, 20 mg, at night | upper endoscopy | do not eat late
osteoporotic hip fracture | NOF | musculoskeletal | a broken hip | hip pain after a fall; inability to bear weight; groin pain | a shortened externally rotated leg; pain on hip movement | haemoglobin, g/L, 92, 118; vitamin D, nmol/L, 14, 38 | pelvic radiograph = a displaced neck of femur fracture | alendronic acid, 70 mg, once weekly; calcium carbonate, 1.5 g, once daily; dalteparin, 5000 units, once daily | hemiarthroplasty | use the frame for every walk
epilepsy | EP | neurological | seizures | brief blackouts; tongue biting; morning confusion; jerking of the limbs | a lateral tongue laceration; normal tone and power | lactate, mmol/L, 2.4, 6.8; sodium, mmol/L, 136, 142 | electroencephalogram = generalised spike and wave discharges | levetiracetam, 500 mg, twice daily; lamotrigine, 100 mg, twice daily | electroencephalography | do not drive until reviewed
coeliac disease | CD | gastrointestinal | a reaction to gluten | bloating; loose stools; weight loss; mouth ulcers | a low body mass index; aphthous ulcers | tissue transglutaminase antibody, U/mL, 64, 250; ferritin, micrograms/L, 4, 16 | duodenal biopsy = villous atrophy | folic acid, 5 mg, once daily; calcium carbonate, 1.5 g, once daily | upper endoscopy | follow a strict gluten-free diet
benign prostatic hyperplasia | BPH | urological | an enlarged prostate | a weak stream; hesitancy; passing urine at night; dribbling | a smooth enlarged prostate; a palpable bladder | prostate specific antigen, micrograms/L, 1.4, 5.2; creatinine, micromol/L, 80, 150 | bladder ultrasound = a raised residual volume | tamsulosin, 400 micrograms, once daily; finasteride, 5 mg, once daily | transurethral resection | drink less in the evening
"""
CONDITIONS = tuple(_condition(line) for line in _LINES.strip().splitlines())

COMORBIDITIES = (
    "hypertension", "osteoarthritis", "hyperlipidaemia", "psoriasis", "glaucoma", "irritable bowel syndrome", "sleep apnoea", "eczema",
    "diverticulosis", "hay fever", "varicose veins", "gallstones", "a previous ankle fracture", "anxiety", "tinnitus", "carpal tunnel syndrome",
    "a treated melanoma", "sciatica", "cataracts", "rosacea",
)  # fmt: skip
# short form → what it stands for: what abbreviation tasks and shorthand notes are made with
ABBREVIATIONS = {
    "BP": "blood pressure", "HR": "heart rate", "RR": "respiratory rate", "Hx": "history", "Rx": "treatment", "Dx": "diagnosis",
    "c/o": "complains of", "PMH": "past medical history", "NKDA": "no known drug allergies", "OD": "once daily", "BD": "twice daily",
    "TDS": "three times daily", "PRN": "as needed", "f/u": "follow-up", "O/E": "on examination", "SpO2": "oxygen saturation",
    "Ix": "investigations", "SH": "social history", "y/o": "year-old",
}  # fmt: skip
ALLERGIES = (
    ("penicillin", "a rash"), ("trimethoprim", "facial swelling"), ("latex", "hives"), ("codeine", "vomiting"), ("iodine", "itching"),
    ("ibuprofen", "wheezing"), ("shellfish", "lip swelling"), ("erythromycin", "stomach cramps"), ("plasters", "blisters"), ("eggs", "hives"),
)  # fmt: skip
JOBS = (
    "retired teacher", "bus driver", "baker", "software tester", "farmer", "school cook", "electrician", "librarian", "shop manager", "nurse",
    "gardener", "accountant", "postal worker", "hairdresser", "carpenter", "music student", "security guard", "seamstress", "fisherman",
    "translator", "warehouse packer", "florist", "plumber", "retired engineer",
)  # fmt: skip
LIVING = (
    "lives alone in a first-floor flat", "lives with a partner and two children", "lives with a daughter", "lives in a care home",
    "shares a house with friends", "lives with a spouse in a bungalow", "lives with elderly parents", "stays in a hostel at present",
    "lives alone with a dog", "lives on a farm with a brother",
)  # fmt: skip
SMOKING = (
    "never smoked", "stopped smoking in {year}", "smokes {n} cigarettes a day", "vapes daily and smokes {n} cigarettes a week",
    "smoked {n} a day until {year}",
)  # fmt: skip
ALCOHOL = ("drinks no alcohol", "drinks {n} units of alcohol a week", "drinks about {n} units on weekends", "stopped alcohol in {year}")
RELATIVES = ("mother", "father", "sister", "brother", "maternal aunt", "paternal grandfather", "maternal grandmother", "twin")
WARDS = (
    "medical assessment unit", "ward 4B", "respiratory ward", "surgical short-stay unit", "cardiology ward", "rehabilitation ward", "ward 12",
    "day unit", "stroke unit", "elderly care ward",
)  # fmt: skip
CLINICS = (
    "general practice", "the outpatient clinic", "the community team", "the specialist nurse clinic", "the day hospital", "telephone review",
    "the walk-in centre", "the pre-assessment clinic",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One invented person. All further facts are drawn from `seed`, and are the same whoever asks for them."""

    seed: str
    condition: Condition
    age: int
    sex: str  # "man" or "woman"
    symptoms: tuple[str, ...]
    duration: str
    days: int
    comorbidities: tuple[str, ...]
    medicines: tuple[tuple[str, str, str], ...]
    allergy: tuple[str, str]
    job: str
    living: str
    smoking: str
    alcohol: str

    @cached_property
    def chance(self) -> random.Random:
        return random.Random(f"facts {self.seed}")  # noqa: S311 - reproducible, not secret


def case(seed: str) -> Case:
    """An invented person with a condition and all that goes with it, from any text as seed."""
    chance = random.Random(f"case {seed}")  # noqa: S311 - reproducible, not secret
    condition = chance.choice(CONDITIONS)
    amount, unit, days = chance.choice(
        [(n, "days", n) for n in range(2, 14)] + [(n, "weeks", 7 * n) for n in range(2, 12)] + [(n, "months", 30 * n) for n in range(3, 19)]
    )
    year = chance.randrange(1998, 2024)
    return Case(
        seed=seed, condition=condition, age=chance.randrange(19, 94), sex="man" if condition.short == "BPH" else chance.choice(("man", "woman")),
        symptoms=tuple(chance.sample(condition.symptoms, len(condition.symptoms))), duration=f"{amount} {unit}", days=days,
        comorbidities=tuple(chance.sample(COMORBIDITIES, 4)),
        medicines=tuple(chance.sample(condition.medicines, len(condition.medicines))), allergy=chance.choice(ALLERGIES),
        job=chance.choice(JOBS), living=chance.choice(LIVING), smoking=chance.choice(SMOKING).format(n=chance.randrange(3, 35), year=year),
        alcohol=chance.choice(ALCOHOL).format(n=chance.randrange(2, 40), year=year),
    )  # fmt: skip
