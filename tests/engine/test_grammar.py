"""The grammar: every cell can be written, answers fit their schema and their text, errors are real edits, all of it by seed."""

import json
import random
import re

import jsonschema
import pytest

from annotation import near
from training.engine.grammar import answering, documents, extracting, faults, grid, judging, tasks, writing
from training.engine.grammar.grid import Cell
from training.engine.grammar.tasks import rewording


def cell(task: str, *, document: str = "Discharge Summary", part: str = "hospital course", form: str = "json", level: str = "hard") -> Cell:
    return Cell(task, document, part, level, form, 1.0, 4)


def test_the_grid_is_the_papers() -> None:
    assert (len(grid.TASKS), len(grid.DOCUMENTS), sum(map(len, grid.DOCUMENTS.values())), grid.cells()) == (14, 36, 98, 16464)
    assert len(grid.ERRORS) == 12
    drawn = grid.draw(count=6000, seed=1)
    assert drawn == grid.draw(count=6000, seed=1) != grid.draw(count=6000, seed=2)
    # Every task × part × format comes once before any comes twice.
    assert len({(one.task, one.document, one.part, one.format) for one in drawn[:2744]}) == 2744
    hot = sum(one.temperature == 1.25 for one in drawn) / 6000
    top = sum(one.difficulty in grid.DIFFICULTIES[3:] for one in drawn) / 6000
    assert 0.27 < hot < 0.33
    assert 0.72 < top < 0.78


@pytest.mark.parametrize("task", grid.TASKS)
def test_every_part_can_be_asked_every_task(task: str) -> None:
    chance = random.Random(task)
    for document, part in documents.PARTS:
        here = Cell(task, document, part, chance.choice(grid.DIFFICULTIES), grid.JSON, 1.0, 2)
        made = writing.write(here, f"{task} {document} {part}")
        assert len(made.examples) == 2
        fits = jsonschema.Draft202012Validator(tasks.TASKS[task].schema(made.options)).is_valid
        for given, value in made.examples:
            assert fits(value)
            assert len(given.split()) > 5
        assert all(json.loads(text) is not None for text in made.outputs(here))


def test_the_same_seed_writes_the_same_to_the_byte() -> None:
    asked = {"stage": "write", "cell": cell("classification").as_json(), "seed": "7"}
    assert answering.answer(asked) == answering.answer(asked) != answering.answer(asked | {"seed": "8"})


def test_entities_and_keywords_stand_in_the_text_in_their_order() -> None:
    for seed in range(20):
        made = writing.write(cell("named entity recognition"), str(seed))
        key = made.options["keys"][0]
        for text, value in made.examples:
            places = [text.index(one[key]) for one in value]
            assert places == sorted(places)


def test_an_answer_is_in_the_text_and_its_evidence_holds_it() -> None:
    for seed in range(20):
        made = writing.write(cell("question answering"), str(seed))
        for text, value in made.examples:
            assert value[made.options["key"]].casefold() in value["evidence"].casefold()
            assert value["evidence"] in text


def test_the_right_choice_is_the_only_one_in_the_text() -> None:
    for seed in range(20):
        made = writing.write(cell("multiple choice question answering"), str(seed))
        for text, value in made.examples:
            body, *choices = re.split(r"\n[A-E]\. ", text)
            assert choices["ABCDE".index(value[made.options["key"]])] == value["text"]
            assert len(set(choices)) == len(choices)
            assert value["text"].casefold() in body.casefold()


def test_a_diagnosis_is_never_written_in_the_text_it_is_to_be_inferred_from() -> None:
    for seed in range(15):
        made = writing.write(cell("reasoning & diagnosis"), str(seed))
        for text, value in made.examples:
            lines = [
                one for one in re.split(r"(?<=\.)\s|\n", text) if not re.search("amily|mother|father|sister|brother|aunt|twin|years", one)
            ]
            assert value[made.options["keys"][0]] not in " ".join(lines)


def test_a_correction_is_a_hundredth_of_what_stands_there() -> None:
    found = 0
    for seed in range(20):
        made = writing.write(cell("error detection & correction"), str(seed))
        number, mended = made.options["keys"]
        for text, value in made.examples:
            if value[mended]:
                line = text.split("\n")[value[number] - 1].split(" ", 1)[1]
                assert line != value[mended]
                wrong, right = (re.findall(r"\d+(?:\.\d+)?", one) for one in (line, value[mended]))
                assert [round(float(a) / float(b)) for a, b in zip(wrong, right, strict=True) if a != b] == [100]
                found += 1
    assert found > 20


def test_an_abbreviation_read_back_gives_the_text() -> None:
    short, key = rewording.shorthand("On examination the blood pressure was low, once daily.")
    assert short == "O/E the BP was low, OD."
    assert key == [("O/E", "on examination"), ("BP", "blood pressure"), ("OD", "once daily")]


def test_a_score_counts_the_elements_that_are_there() -> None:
    made = writing.write(cell("note scoring"), "1")
    for _, value in made.examples:
        assert value[made.options["key"]] + len(value["missing"]) == len(made.options["elements"])


@pytest.mark.parametrize("error", grid.ERRORS)
def test_every_error_is_a_real_edit_of_any_output(error: str) -> None:
    chance = random.Random(error)
    for one in grid.draw(count=40, seed=4):
        made = writing.write(one, str(chance.random()))
        for output, (given, _) in zip(made.outputs(one), made.examples, strict=True):
            spoilt = faults.spoil(output, error=error, given=given, seed="1")
            assert spoilt.strip()
            assert spoilt != output
            if one.format == grid.JSON:
                json.loads(spoilt)


def test_some_errors_as_eyes_see_them() -> None:
    given, output = "Fever for 3 days. The chest was clear. Amoxicillin 500 mg is given.", "Fever for 3 days; amoxicillin 500 mg."
    made = {error: faults.spoil(output, error=error, given=given, seed="1") for error in grid.ERRORS}
    assert made["partial correctness"] == "Fever for 3 days"
    assert made["brevity"] == "Fever"
    assert re.fullmatch(r"Fever for (some|about a few|several) days; amoxicillin 500 mg.", made["ambiguity"])
    assert re.fullmatch(r"Fever for (4|5|6|13) days; amoxicillin 500 mg.", made["factual inaccuracy"])
    assert sorted(made["spelling errors"]) == sorted(output)


def test_a_fuller_instruction_is_planted_as_the_better_one() -> None:
    hasty = judging.planted("Sum it up.")
    thorough = judging.planted(writing.write(cell("summarization", level="extreme"), "3").instruction)
    assert all(thorough[name] >= hasty[name] for name in ("quality", "alignment", "realism", "difficulty"))
    draws = [judging.judge("Sum it up.", str(seed))["quality"]["score"] for seed in range(40)]
    assert abs(sum(map(float, map(str, draws))) / 40 - hasty["quality"]) < 0.3


def test_documents_outputs_are_in_the_document() -> None:
    text = (
        "Asthma is a disease of the airways. It is common. Salbutamol treats acute attacks. Peak flow indicates severity of Severe Asthma."
    )
    summary = extracting.outputs(text, "summary")
    assert summary in text
    assert ["Salbutamol", "treats", "acute attacks"] in extracting.outputs(text, "relations")
    assert "Severe Asthma" in extracting.outputs(text, "entities")
    assert all(len(pair) == 2 for pair in extracting.outputs(text, "qa"))
    assert extracting.outputs("", "qa") is None


def test_inputs_of_many_draws_are_not_alike() -> None:
    inputs = [given for at, one in enumerate(grid.draw(count=150, seed=9)) for given, _ in writing.write(one, f"9 {at}").examples]
    assert len(set(inputs)) == len(inputs)
    assert sum(len(group) - 1 for group in near.groups(range(len(inputs)), inputs)) / len(inputs) < 0.02
