"""What in a text may tell who somebody is: rules with their reasons, pure and fast enough for millions of rows.

A rule finds places, never copies them. Each weighs 2 (alone enough for the quarantine) or 1 (two different ones are): a doctor's name
or a lone full date is in half of all notes, and a quarantine that holds half of a data set is read by nobody. After the identifiers of
the HIPAA Safe Harbor list, 45 CFR 164.514(b)(2)(i), as far as they can be told from their form.

What it does not find: names without a title or a label, rare diseases, places, and whatever is spelled out. It is a net, not a proof.
Kept out on purpose: numbers that no authority ever issued (SSN 000, 666 and 9xx; telephone 555-01xx; example.org), placeholders of
de-identified notes ([**…**], ___, XXX), NHS numbers whose check digit is wrong, identifiers of papers and trials (PMID, doi, NCT).
"""

import re
from dataclasses import dataclass

# Rule → (weight, what it is in words).
RULES = {
    "patient_name": (2, "a name after a label such as “Patient name:”"),
    "titled_name": (2, "a name after Mr, Mrs, Ms or Miss"),
    "doctor_name": (1, "a name after Dr or Professor"),
    "date_of_birth": (2, "a date of birth"),
    "full_date": (1, "a full date near a person's event (admission, discharge, death)"),
    "phone": (2, "a telephone number"),
    "email": (2, "an e-mail address"),
    "record_number": (2, "a medical record number"),
    "ssn": (2, "a US social security number"),
    "nhs_number": (2, "an NHS number with a right check digit"),
    "address": (2, "a street address"),
}
ENOUGH = 2
MOST_HITS = 20

# What runs over whole texts begins with a set of characters, which the engine skips to; all else looks at what that found.
_TITLED = re.compile(r"[MDP](?:rs?|s|iss|x|octor|rof(?:essor)?)\.?[ \t]+(?=([A-Z][a-z]{1,20})\b)")
_LABELLED = re.compile(
    r"(?i:\b(?:patient|full|last|first|sur|next of kin)(?:'s)?[ _]?names?|\bname of patient|\bname)[ \t]*[:=][ \t]*(?=[A-Z][a-z])"
)
# A run of digits and what separates them, or the number of a house; [0-9] and not \\d, which asks a table of all scripts' digits.
_NUMBERS = re.compile(r"[0-9](?:[0-9 ().\-/]{4,24}[0-9]|[0-9]{0,4}(?:[A-Za-z]|st|nd|rd|th)?,? (?=[A-Z]|(?:19|20)[0-9]{2}))")
_EMAIL = re.compile(r"[A-Za-z0-9._%+\-]{1,64}@([A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,4})")
_STREET = re.compile(
    r"\d{1,5}[A-Za-z]?,? (?:(?:North|South|East|West|N|S|E|W)\.? )?(?:[A-Z][a-z]{2,20} ){1,3}"
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Close|Crescent|Way|Place|Terrace)\b\.?"
)
_DATE = re.compile(r"(?:\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d{2}|(?:19|20)\d{2}[./-]\d{1,2}[./-]\d{1,2})")
# “3 May 1956” from its day, “May 3, 1956” from its month.
_DAY_FIRST = re.compile(r"[0-9]{1,2}(?:st|nd|rd|th)? [A-Z][a-z]{2,8},? [0-9]{4}")
_MONTH_BEFORE = re.compile(r"[A-Z][a-z]{2,8} $")
_BEFORE_BIRTH = re.compile(r"(?i:(?:dob|d\.o\.b\.?|date of birth|birth ?date|born(?: on)?)[ \t]*[:=(]?[ \t]*)$")
_BEFORE_EVENT = re.compile(
    r"(?i:(?:admitted|admission(?: date)?|discharged?(?: date)?|seen|died|death|deceased|visit(?: date)?)(?: on)?[ \t]*[:=(]?[ \t]*)$"
)
_BEFORE_RECORD = re.compile(
    r"(?i:\b(?:mrn|m\.r\.n\.|medical record(?: (?:number|no\.?|#))?|(?:record|account|chart|hospital) (?:number|no\.?|#)|"
    r"patient (?:id|number|no\.?|#)|nhs(?: (?:number|no\.?))?|ssn|social security(?: (?:number|no\.?))?)[ \t]*[:=#]?[ \t]*)$"
)
_BEFORE_PHONE = re.compile(r"(?i:\b(?:tel|phone|telephone|mobile|cell|fax|call|contact)(?: (?:number|no\.?|at|on))?\.?[ \t]*[:=]?[ \t]*)$")
_BEFORE_PAPER = re.compile(r"(?i:(?:pmid|doi|nct|isbn|issn|arxiv|pmc|trial|icd|cpt|snomed|loinc|lot|ref)[ \t]*[:=#]?[ \t]*)$")
_SSN = re.compile(r"\d{3}-\d{2}-\d{4}")
_NHS = re.compile(r"\d{3}[ -]\d{3}[ -]\d{4}")
_US_PHONE = re.compile(r"(?:\+?1[ .-]?)?\(?[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4}")
_INTERNATIONAL = re.compile(r"\+\d{1,3}[ ().-]?(?:\d[ ().-]?){7,12}")
_UK_PHONE = re.compile(r"\(?0\d{2,4}\)?[ ]\d{3,4}[ ]?\d{3,4}")
# Names that are no person's: sayings, brands and eponyms.
_NO_PERSON = frozenset({"Scholl", "Pepper", "Bean", "Right", "Who"})
_NO_MAIL = ("example.com", "example.org", "example.net", "example.edu")
_INVENTED = frozenset({"123-45-6789", "078-05-1120", "219-09-9999"})


@dataclass(frozen=True, slots=True)
class Hit:
    """A place in a text: `start` and `end` count characters."""

    rule: str
    start: int
    end: int


def scan(text: str) -> list[Hit]:
    """All that the rules find in one text, in its order; at most MOST_HITS."""
    found: list[Hit] = []
    if "@" in text:
        found += [Hit("email", match.start(), match.end()) for match in _EMAIL.finditer(text) if not match[1].lower().endswith(_NO_MAIL)]
    for match in _TITLED.finditer(text):
        if match[1] not in _NO_PERSON and not text[match.start() - 1 : match.start()].isalnum():
            found.append(Hit("titled_name" if match[0][0] == "M" else "doctor_name", match.start(), match.end() + len(match[1])))
    if (":" in text or "=" in text) and ("ame" in text or "AME" in text):
        found += [Hit("patient_name", match.start(), _name_end(text, match.end())) for match in _LABELLED.finditer(text)]
    for match in _NUMBERS.finditer(text):
        if hit := _number(text, match) if text[match.end() - 1] != " " else _house(text, match.start()):
            found.append(hit)
    found.sort(key=lambda hit: hit.start)
    return found[:MOST_HITS]


def suspicious(rules: set[str]) -> bool:
    """Whether what was found, in all texts of a row together, is enough for the quarantine."""
    return sum(RULES[rule][0] for rule in rules) >= ENOUGH


def redact(text: str, hits: list[Hit]) -> str:
    """The text with every place replaced by its rule's name in square brackets. Overlapping places become one."""
    parts, at = [], 0
    for hit in sorted(hits, key=lambda one: (one.start, -one.end)):
        if hit.end <= at:
            continue
        parts += [text[at : max(at, hit.start)], f"[{hit.rule.replace('_', ' ')}]"]
        at = hit.end
    return "".join([*parts, text[at:]])


def _name_end(text: str, at: int) -> int:
    """The end of up to three capitalised words."""
    match = re.compile(r"[A-Z][\w'-]*(?:,? [A-Z][\w'.-]*){0,2}").match(text, at)
    return match.end() if match else at


def _house(text: str, at: int) -> Hit | None:
    """A street address, or a date of birth in words, that begins with the number at `at`."""
    if street := _STREET.match(text, at):
        return Hit("address", street.start(), street.end())
    before = text[max(0, at - 48) : at]
    if (day := _DAY_FIRST.match(text, at)) and _BEFORE_BIRTH.search(before):
        return Hit("date_of_birth", at, day.end())
    if (month := _MONTH_BEFORE.search(before)) and _BEFORE_BIRTH.search(before[: month.start()]):
        return Hit("date_of_birth", at - len(month[0]), text.index(" ", at) + 5)
    return None


def _number(text: str, match: "re.Match[str]") -> Hit | None:
    """What a run of digits and separators is, told by its form and by the words before it."""
    start = match.start()
    if match.end() - start < 8 and not match[0].isdigit() and not _DATE.fullmatch(match[0]):
        return None  # a blood pressure, a range: most of what is found
    while start and text[start - 1] in "(+":
        start -= 1
    number = text[start : match.end()]
    before = text[max(0, start - 32) : start]
    digits = sum(character.isdigit() for character in number)
    rule = _date(number, before)
    if not rule and digits >= 6 and not before[-1:].isalpha() and not _BEFORE_PAPER.search(before):
        rule = _identifier(number, digits, before)
    return Hit(rule, start, match.end()) if rule else None


def _date(number: str, before: str) -> str:
    if not _DATE.fullmatch(number):
        return ""
    if _BEFORE_BIRTH.search(before):
        return "date_of_birth"
    return "full_date" if _BEFORE_EVENT.search(before) else ""


def _identifier(number: str, digits: int, before: str) -> str:
    if _SSN.fullmatch(number):
        area = number[:3]
        return "" if number in _INVENTED or area in {"000", "666"} or area[0] == "9" or number[4:6] == "00" else "ssn"
    if _BEFORE_RECORD.search(before):
        return "nhs_number" if "nhs" in before.lower() and _is_nhs(number) else "record_number"
    if _NHS.fullmatch(number) and " " in number and _is_nhs(number):
        return "nhs_number"
    labelled = _BEFORE_PHONE.search(before) is not None
    if _US_PHONE.fullmatch(number):
        plain = re.sub(r"\D", "", number)[-10:]
        return "" if plain[3:8] == "55501" else "phone"
    if _INTERNATIONAL.fullmatch(number) or (labelled and digits >= 7) or (_UK_PHONE.fullmatch(number) and 10 <= digits <= 11):
        return "phone"
    return ""


def _is_nhs(number: str) -> bool:
    """The check of NHS numbers: ten digits, weights 10 to 2, remainder to 11 is the last digit."""
    digits = [int(character) for character in number if character.isdigit()]
    if len(digits) != 10 or len(set(digits)) == 1:
        return False
    check = 11 - sum(weight * digit for weight, digit in zip(range(10, 1, -1), digits, strict=False)) % 11
    return check % 11 == digits[9]
