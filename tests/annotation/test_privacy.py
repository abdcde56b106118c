"""What may tell who somebody is: what is found, what is left alone, and what a redacted text says."""

import pytest

from annotation import privacy

FOUND = {
    "patient_name": "Patient name: John Smith, seen today",
    "titled_name": "Mrs. Jones called twice",
    "doctor_name": "Dr. Smith saw him",
    "date_of_birth": "DOB: 01/02/1970, male",
    "full_date": "admitted on 01/02/2020 with pain",
    "phone": "reachable at 212-455-3143",
    "email": "write to j.jones@hospital.nhs.uk",
    "record_number": "MRN 1234567",
    "ssn": "SSN 219-43-1234",
    "nhs_number": "NHS number 943 476 5919",
    "address": "lives at 12 Elm Tree Road, Leeds",
}


@pytest.mark.parametrize("rule", FOUND)
def test_it_finds(rule: str) -> None:
    assert [hit.rule for hit in privacy.scan(FOUND[rule])] == [rule]


def test_every_rule_is_tried() -> None:
    assert set(FOUND) == set(privacy.RULES)


@pytest.mark.parametrize(
    "text",
    ["BP 120/80 mmHg, HR 72, 98.6 F, 2-3 times", "WBC 12,000, 135-140-145-150 mmol", "PMID: 12345678", "call 212-555-0143",
     "SSN 123-45-6789",
     "SSN 900-12-3456", "write to jane@example.org", "NHS 943 476 5918 is mistyped", "[**2101-3-4**] [**Hospital1**] ___",
     "Dr. Pepper and Mr. Bean", "in 2019 she had 3 Tesla MRI", "Grade 2 Street drugs"],
)  # fmt: skip
def test_it_leaves_alone(text: str) -> None:
    assert [hit.rule for hit in privacy.scan(text) if hit.rule != "record_number"] == []


@pytest.mark.parametrize("said", ["born on 3 May 1956", "Date of birth: May 3, 1956", "D.O.B. 3.5.56", "birth date = 1956-05-03"])
def test_a_date_of_birth_is_found_in_any_spelling(said: str) -> None:
    assert [hit.rule for hit in privacy.scan(f"He was {said}, and is well.")] == ["date_of_birth"]


def test_one_weak_sign_is_not_enough_and_two_are() -> None:
    assert not privacy.suspicious({"doctor_name"})
    assert privacy.suspicious({"doctor_name", "full_date"})
    assert privacy.suspicious({"phone"})


def test_a_redacted_text_says_what_stood_there() -> None:
    text = "Mrs. Jones, DOB: 01/02/1970, called from 212-455-3143."
    assert privacy.redact(text, privacy.scan(text)) == "[titled name], DOB: [date of birth], called from [phone]."
    assert privacy.scan(privacy.redact(text, privacy.scan(text))) == []
