"""Answers are taken strictly: what each refusal is called, and the rule by which a diverse top-K is kept."""

import json

import pytest

from training.engine.grammar.grid import CRITERIA
from training.synthesis import parsing
from training.synthesis.parsing import Refused
from training.synthesis.trimming import Candidate, Rules, deal, trim

ONE = "<example><input>I</input><output>O</output></example>"
SCORED = {name: {"rationale": "So.", "score": 3} for name in CRITERIA}


def test_instruction_and_pairs_are_read() -> None:
    made = parsing.written(f"\n<instruction> Do it. </instruction>\n<examples>\n{ONE}\n{ONE.replace('I', 'J')}\n</examples>")
    assert made == parsing.Written("Do it.", [("I", "O"), ("J", "O")])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_tags"),
        ("Do it.", "no_tags"),
        (f"Sure: <instruction>D</instruction><examples>{ONE}</examples>", "text_around"),
        (f"<instruction>D</instruction><examples>{ONE}</examples> Done.", "text_around"),
        ("<instruction>D</instruction><examples></examples>", "no_examples"),
        (f"<instruction>D</instruction><examples>{ONE} and so on</examples>", "broken_example"),
        ("<instruction>D</instruction><examples><example><input>I</input></example></examples>", "broken_example"),
        (f"<instruction>D<input></instruction><examples>{ONE}</examples>", "nested_tags"),
        (f"<instruction> </instruction><examples>{ONE}</examples>", "empty_instruction"),
        ("<instruction>D</instruction><examples><example><input> </input><output>O</output></example></examples>", "empty_input"),
        ("<instruction>D</instruction><examples><example><input>I</input><output></output></example></examples>", "empty_output"),
        (f"<instruction>D</instruction><examples>{ONE}{ONE}</examples>", "repeated_input"),
        (f"<instruction>D\x00</instruction><examples>{ONE}</examples>", "control_character"),
        (f"<instruction>{'D' * 20_001}</instruction><examples>{ONE}</examples>", "too_long"),
        (f"<INSTRUCTION>D</INSTRUCTION><examples>{ONE}</examples>", "no_tags"),
    ],
)
def test_whatever_else_is_refused_by_its_name(text: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        parsing.written(text)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("good", "not_json"), ("```json\n{}\n```", "not_json"), ("[]", "not_an_object"), ("{}", "wrong_criteria"),
        (json.dumps(SCORED | {"charm": {"rationale": "", "score": 3}}), "wrong_criteria"),
        (json.dumps(SCORED | {"quality": 3}), "no_rationale"),
        (json.dumps(SCORED | {"quality": {"rationale": "So.", "score": 5}}), "bad_score"),
        (json.dumps(SCORED | {"quality": {"rationale": "So.", "score": 3.5}}), "bad_score"),
        (json.dumps(SCORED | {"quality": {"rationale": "So.", "score": True}}), "bad_score"),
    ],
)  # fmt: skip
def test_scores_are_whole_numbers_of_all_five_criteria(answer: str, reason: str) -> None:
    assert parsing.scores(json.dumps(SCORED)) == dict.fromkeys(CRITERIA, 3)
    with pytest.raises(Refused) as refused:
        parsing.scores(answer)
    assert refused.value.reason == reason


def test_means_are_weighted_by_how_often_a_score_was_given() -> None:
    draws = [dict.fromkeys(CRITERIA, score) for score in (3, 3, 3, 4, 2)]
    assert parsing.means(draws)["quality"] == 3.0


def test_both_orders_have_to_agree() -> None:
    assert [parsing.both_orders(*said) for said in ("AB", "BA", "AA", "BB")] == ["output", "rejected", "tie", "tie"]


def test_a_rejected_output_names_its_error_and_differs() -> None:
    def answer(error: str, text: str) -> str:
        return json.dumps({"error_type": error, "rejected_output": text})

    assert parsing.spoilt(answer("brevity", "No"), error="brevity", output="No fever.") == "No"
    for text, reason in (
        (answer("brevity", "No  fever."), "unchanged"),
        (answer("ambiguity", "No"), "other_error"),
        (answer("brevity", " "), "empty_output"),
    ):
        with pytest.raises(Refused, match=reason):
            parsing.spoilt(text, error="brevity", output="No fever.")


# --- trimming --------------------------------------------------------------------------------------------------------------------------


def candidate(number: int, text: str = "", *, mean: float = 3.0, stratum: str = "t plain_text", output: str = "out") -> Candidate:
    task, form = stratum.split()
    return Candidate(number, (number, 1), (task, "d", form), mean, "Do it.", text or f"{number} " + f"word{number} " * 40, output)


def test_strata_take_turns_and_the_best_of_each_goes_first() -> None:
    many = [candidate(n, mean=3 + n / 100, stratum="many plain_text") for n in range(1, 9)]
    few = [candidate(20, mean=1.5, stratum="few plain_text"), candidate(21, mean=1.9, stratum="few plain_text")]
    kept, dropped = trim([*many, *few], Rules(most=5))
    assert kept == [8, 21, 7, 20, 6]
    assert set(dropped.values()) == {"beyond_top_k"}
    assert deal([], 5) == []


def test_every_reason_by_its_name() -> None:
    text = "The patient had fever for three days and was given amoxicillin five hundred milligrams three times a day by mouth."
    held_out = "A held out case, told at some length, so that likeness can be measured at all."
    shared = "one two three four five six seven eight nine ten eleven twelve thirteen"
    rows = [
        candidate(1, text), candidate(2, text), candidate(3, f"{text}!", mean=2.0), candidate(4, mean=0.5),
        candidate(5, stratum="t json", output="{"), candidate(6, "The same words.", output="the  same words."), candidate(7, held_out),
        candidate(8, stratum="t json", output="[]"), candidate(9, f"Prefix of another kind altogether: {shared} and an end."),
    ]  # fmt: skip
    kept, dropped = trim(rows, Rules(most=9), evaluation=[f"{held_out}!"], named=[f"Something else before it: {shared} fourteen."])
    assert dropped == {
        2: "duplicate", 3: "near_duplicate", 4: "below_threshold", 5: "invalid_json", 6: "echo", 7: "near_evaluation", 9: "shares_words"
    }  # fmt: skip
    assert sorted(kept) == [1, 8]


CASE = (
    "Held out: a 54-year-old baker came with palpitations for nine days, an irregularly irregular pulse and absent P waves on the "
    "electrocardiogram. Apixaban five milligrams twice daily was begun, bisoprolol was kept, and cardioversion is planned for the autumn."
)
ANSWER = (
    "Atrial fibrillation, found by palpitations, an irregular pulse and absent P waves; anticoagulation with apixaban was begun, rate "
    "control by bisoprolol goes on, and a cardioversion is planned once six weeks of tablets have been taken."
)


@pytest.mark.parametrize(
    ("given", "output", "reason"),
    [
        (CASE, "Something else.", "near_evaluation"),
        (ANSWER, "Something else.", "near_evaluation"),  # a held-out answer set as a question
        ("", ANSWER.replace("six", "four"), "output_near_evaluation"),
        ("", json.dumps({"summary": ANSWER}), "output_near_evaluation"),
        ("", CASE, "output_near_evaluation"),
        ("{words} " + CASE.upper() + " {words}", "Something else.", "holds_evaluation"),
        ("{words} " + " ".join(CASE.split()[:26]), "Something else.", "holds_evaluation"),  # its larger half is enough
        ("{words} " + " ".join(ANSWER.split()[4:]), "Something else.", "holds_evaluation"),
        ("", "{words} So: " + ANSWER, "output_holds_evaluation"),
        ("{words} " + " ".join(CASE.split()[:18]), "Something else.", ""),  # a sentence is no passage
        ("", "Atrial fibrillation", ""),  # a label is nobody's
    ],
)
def test_texts_of_held_out_samples_are_found_wherever_they_stand(given: str, output: str, reason: str) -> None:
    words = " ".join(f"word{number}" for number in range(150))
    row = candidate(1, given.format(words=words), output=output if output.startswith('{"') else output.format(words=words))
    _, dropped = trim([row], Rules(most=9), evaluation=[CASE, ANSWER, "Atrial fibrillation"])
    assert dropped.get(1, "") == reason
