"""What each tool's rows become: our samples, texts and seven verdicts."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from annotation import reading
from annotation.models import OutputKind, Verdict
from annotation.reading import columns, shapes, verdicts
from annotation.reading.shapes import CompletionRow, DocumentRow, PreferenceRow, SampleRow
from tests.annotation.reading.build import GOOD, INPUT, INSTRUCTION, POOR, PROMPT, jsonl, mediflow, put, said, take

SAMPLE = SampleRow("", INSTRUCTION, INPUT, "", "other", "other", "plain_text", "")
ASKED = "Answer the user's message."


def only(path: Path, **how: Any) -> PreferenceRow:
    taken = take(path, **how)
    assert not taken.problems.found, taken.problems.found
    (record,) = taken.records
    assert isinstance(record, PreferenceRow)
    return record


def test_the_readers_words_are_the_databases() -> None:
    assert set(shapes.VERDICTS) == set(Verdict.values)
    assert {"summary", *columns.OUTPUT_SIZES} == set(OutputKind.values)
    assert set(verdicts.WORDS.values()) == set(Verdict.values)


# --- trainers ----------------------------------------------------------------------------------------------------------------------


def test_trl_conversational(tmp_path: Path) -> None:
    row = {"prompt": PROMPT, "chosen": said(GOOD), "rejected": said(POOR)}
    taken = take(put(tmp_path, "a.jsonl", jsonl([row])))
    assert taken.found.shape == "trl_conversational"
    assert taken.records == [PreferenceRow(SAMPLE, GOOD, "", POOR, "", "first_slightly")]


def test_trl_tells_the_strength_where_there_is_one(tmp_path: Path) -> None:
    for extra, verdict in (({"p_chosen": 0.92}, "first_much"), ({"p_chosen": 0.75}, "first_slightly"), ({"margin": 0.1}, "first_slightly")):
        made = only(put(tmp_path, "a.jsonl", jsonl([{"prompt": PROMPT, "chosen": said(GOOD), "rejected": said(POOR), **extra}])))
        assert (made.verdict, made.extra) == (verdict, extra)
    path = put(tmp_path, "b.jsonl", jsonl([{"prompt": PROMPT, "chosen": said(GOOD), "rejected": said(POOR)}]))
    assert only(path, mapping={"strength": "=much"}).verdict == "first_much"


def test_trl_with_the_prompt_inside_both_conversations(tmp_path: Path) -> None:
    row = {"chosen": [*PROMPT, *said(GOOD)], "rejected": [*PROMPT, *said(POOR)]}
    taken = take(put(tmp_path, "a.jsonl", jsonl([row])))
    assert taken.records == [PreferenceRow(SAMPLE, GOOD, "", POOR, "", "first_slightly")]
    assert taken.problems.counts == {"pair.implicit_prompt": 1}


def test_trl_plain_texts_keep_their_leading_space_and_get_a_declared_instruction(tmp_path: Path) -> None:
    made = only(put(tmp_path, "a.jsonl", jsonl([{"prompt": INPUT, "chosen": " " + GOOD, "rejected": " " + POOR}])))
    assert (made.sample.instruction, made.sample.input) == (ASKED, INPUT)
    assert (made.first_text, made.second_text) == (" " + GOOD, " " + POOR)


def test_trl_plain_texts_without_a_prompt_are_refused(tmp_path: Path) -> None:
    taken = take(put(tmp_path, "a.jsonl", jsonl([{"chosen": INPUT + GOOD, "rejected": INPUT + POOR}])))
    assert taken.codes == ["pair.no_prompt"]
    assert "cannot be read" in taken.found.reason


def test_a_prompt_of_several_turns_becomes_a_transcript_and_that_is_told(tmp_path: Path) -> None:
    turns = [*PROMPT, *said("Which troponin?"), {"role": "user", "content": "High-sensitivity."}]
    taken = take(put(tmp_path, "a.jsonl", jsonl([{"prompt": turns, "chosen": said(GOOD), "rejected": said(POOR)}])))
    (made,) = taken.records
    assert isinstance(made, PreferenceRow)
    assert made.sample.input == f"User: {INPUT}\n\nAssistant: Which troponin?\n\nUser: High-sensitivity."
    assert taken.problems.counts == {"turns.joined": 1}


def test_unpaired_thumbs_are_named_and_not_read(tmp_path: Path) -> None:
    found = take(put(tmp_path, "a.jsonl", jsonl([{"prompt": PROMPT, "completion": said(GOOD), "label": True}]))).found
    assert found.shape == ""
    assert "unpaired" in found.reason


def test_ultrafeedback_binarized_and_its_cleaned_form(tmp_path: Path) -> None:
    user = {"content": INPUT, "role": "user"}
    row = {
        "prompt": INPUT, "prompt_id": "u1", "chosen": [user, {"content": GOOD, "role": "assistant"}],
        "rejected": [user, {"content": POOR, "role": "assistant"}], "messages": [], "score_chosen": 8.5, "score_rejected": 7.0,
    }  # fmt: skip
    path = put(tmp_path, "a.jsonl", jsonl([row, {**row, "prompt_id": "u2", "score_rejected": 2.0}]))
    taken = take(path)
    assert taken.found.shape == "ultrafeedback"
    assert [(r.sample.external_id, r.sample.input, r.verdict) for r in taken.records if isinstance(r, PreferenceRow)] == [
        ("u1", INPUT, "first_slightly"), ("u2", INPUT, "first_much"),
    ]  # fmt: skip
    clean = {"source": "x", "instruction": INPUT, "chosen_response": GOOD, "rejected_response": POOR, "chosen_model": "m"}
    made = only(put(tmp_path, "b.jsonl", jsonl([clean])))
    assert (made.sample.input, made.first_text, made.second_text) == (INPUT, GOOD, POOR)


def test_openai(tmp_path: Path) -> None:
    row = {"input": {"messages": PROMPT, "tools": []}, "preferred_output": said(GOOD), "non_preferred_output": said(POOR)}
    assert only(put(tmp_path, "a.jsonl", jsonl([row]))) == PreferenceRow(SAMPLE, GOOD, "", POOR, "", "first_slightly")


# --- annotation tools --------------------------------------------------------------------------------------------------------------

DATA = {"instruction": INSTRUCTION, "input": INPUT, "response_a": GOOD, "response_b": POOR}


def region(name: str, kind: str, **value: Any) -> dict[str, Any]:
    return {"id": "r", "from_name": name, "to_name": "response_a", "type": kind, "value": value}


def task(*results: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "id": 7, "data": DATA, "predictions": [{"model_version": "m", "result": [region("preference", "pairwise", selected="right")]}],
        "annotations": [
            {"completed_by": number, "lead_time": 31.5, "was_cancelled": False, "ground_truth": False, "result": result,
             "created_at": "2026-03-02T10:00:00Z", **more}
            for number, result in enumerate(results, start=1)
        ],
    }  # fmt: skip


def test_label_studio(tmp_path: Path) -> None:
    left = region("preference", "pairwise", selected="left")
    tasks = [
        task(
            [left],
            [region("verdict", "choices", choices=["tie"])],
            [left, region("verdict", "choices", choices=["a_better"]), region("why", "textarea", text=["Names the finding.", "Short."])],
            [region("verdict", "choices", choices=["both_bad"]), region("confidence", "rating", rating=4)],
        )
    ]
    taken = take(put(tmp_path, "a.json", tasks))
    assert (taken.found.format, taken.found.shape) == ("json", "label_studio")
    made = [record for record in taken.records if isinstance(record, PreferenceRow)]
    assert [(r.rater, r.verdict, r.rationale) for r in made] == [
        ("1", "first_slightly", ""), ("2", "both_acceptable", ""), ("3", "first_slightly", "Names the finding.\nShort."),
        ("4", "both_unacceptable", ""),
    ]  # fmt: skip
    assert made[0].sample == SampleRow("7", INSTRUCTION, INPUT, "", "other", "other", "plain_text", "")
    assert (made[0].first_text, made[0].second_text, made[0].rated_at) == (GOOD, POOR, "2026-03-02T10:00:00Z")
    assert made[3].extra["confidence"] == 4
    assert not taken.problems.found


def test_label_studio_leaves_out_skipped_annotations_and_no_e_mail_address_comes_along(tmp_path: Path) -> None:
    left = region("preference", "pairwise", selected="left")
    taken = take(put(tmp_path, "a.json", [task([left], was_cancelled=True), task([left], completed_by={"id": 5, "email": "a@b.example"})]))
    assert [r.rater for r in taken.records if isinstance(r, PreferenceRow)] == ["5"]
    assert taken.problems.left_out == {"pair.cancelled": 1, "pair.unanswered": 1}
    assert "example" not in repr(taken.records)


def test_label_studio_refuses_a_verdict_against_the_side_selected(tmp_path: Path) -> None:
    result = [region("preference", "pairwise", selected="left"), region("verdict", "choices", choices=["b_better"])]
    assert take(put(tmp_path, "a.json", [task(result)])).codes == ["pair.conflict"]


def test_argilla_records(tmp_path: Path) -> None:
    record = {
        "id": "p1", "status": "completed", "fields": DATA, "metadata": {"task_type": "summarization"}, "vectors": {},
        "suggestions": {"verdict": {"value": "b_much", "score": 1.0, "agent": "m"}},
        "responses": {
            "verdict": [
                {"value": "a_much", "user_id": "u1"}, {"value": "tie", "user_id": "u2"}, {"value": "b", "user_id": "u3", "status": "draft"},
            ],
            "rationale": [{"value": "Complete.", "user_id": "u1"}],
            "safety": [{"value": 4, "user_id": "u1"}],
        },
    }  # fmt: skip
    taken = take(put(tmp_path, "a.json", [record]))
    assert taken.found.shape == "argilla"
    made = [r for r in taken.records if isinstance(r, PreferenceRow)]
    assert [(r.rater, r.verdict, r.rationale, dict(r.extra)) for r in made] == [
        ("u1", "first_much", "Complete.", {"safety": 4}), ("u2", "both_acceptable", "", {}),
    ]  # fmt: skip
    assert made[0].sample.task_type == "summarization"
    assert taken.problems.left_out == {"pair.not_submitted": 1}


def test_argilla_flattened_rankings_and_ratings(tmp_path: Path) -> None:
    ranks = [{"value": "response_b", "rank": 1}, {"value": "response_a", "rank": 2}]
    flat = {
        "id": "p1", "status": "completed", **DATA, "order.responses": [ranks], "order.responses.users": ["u1"],
        "order.responses.status": ["submitted"], "order.suggestion": None,
    }  # fmt: skip
    taken = take(put(tmp_path, "a.jsonl", jsonl([flat])))
    assert taken.found.mapping["verdict"] == "order"
    assert [(r.rater, r.verdict) for r in taken.records if isinstance(r, PreferenceRow)] == [("u1", "second_slightly")]
    rated = {"id": "p1", "fields": DATA, "responses": {q: [{"value": v, "user_id": "u1"}] for q, v in (("score_a", 5), ("score_b", 3))}}
    made = only(put(tmp_path, "b.json", [rated]))
    assert made.verdict == "first_much"


@pytest.mark.parametrize("odd", [[], {}, [[]], 7, True, None])
def test_values_of_any_kind_where_a_word_belongs_are_a_problem_or_left_out(odd: Any, tmp_path: Path) -> None:
    for row, shape in (
        ({"fields": DATA, "responses": {"verdict": [{"value": odd, "user_id": odd, "status": odd}]}}, "argilla"),
        ({"fields": DATA, "responses": {"verdict": [{"value": [{"value": odd, "rank": odd}], "user_id": "u"}]}}, "argilla"),
        (task([region("preference", "pairwise", selected=odd)]), "label_studio"),
        (task([region("verdict", "choices", choices=odd)]), "label_studio"),
    ):
        taken = take(put(tmp_path, "a.jsonl", jsonl([row])), shape=shape, mapping={})
        assert not taken.records
        assert taken.problems.total or taken.problems.left_out


def test_potato_with_its_items_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    put(folder, "items.jsonl", jsonl([{"id": "i1", "prompt": INPUT, "responses": [GOOD, POOR]}]))
    answers = [
        {"instance_id": "i1", "user_id": "alice", "labels": {"preference": {"selection": "B"}}, "spans": {}, "links": {}},
        {"instance_id": "i1", "user_id": "bob", "labels": {"preference": {"selection": "tie"}}, "spans": {}, "links": {}},
    ]
    put(folder, "annotations.jsonl", jsonl(answers))
    taken = take(folder)
    assert (taken.found.format, taken.found.shape) == ("potato", "potato")
    assert [(r.sample.external_id, r.sample.input, r.rater, r.verdict) for r in taken.records if isinstance(r, PreferenceRow)] == [
        ("i1", INPUT, "alice", "second_slightly"), ("i1", INPUT, "bob", "both_acceptable"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "verdict"),
    [("-3", "first_much"), ("-1", "first_slightly"), ("0", "both_acceptable"), ("1", "second_slightly"), (2, "second_much")],
)
def test_potato_scales_and_older_rows(value: Any, verdict: str, tmp_path: Path) -> None:
    row = {
        "user_id": "u", "instance_id": "i", "displayed_text": f"A. {GOOD}<br>B. {POOR}", "prompt": INPUT,
        "label_annotations": {"preference_scale": {"scale_value": value}},
    }  # fmt: skip
    made = only(put(tmp_path, "a.jsonl", jsonl([row])))
    assert (made.first_text, made.second_text, made.verdict) == (GOOD, POOR, verdict)


def test_potato_in_csv_and_without_its_texts(tmp_path: Path) -> None:
    made = only(put(tmp_path, "a.csv", f'instance_id,user_id,preference.selection,prompt,left,right\ni1,u,A,"{INPUT}","{GOOD}","{POOR}"\n'))
    assert (made.first_text, made.verdict) == (GOOD, "first_slightly")
    bare = {"instance_id": "i", "user_id": "u", "labels": {"preference": {"selection": "A"}}}
    assert take(put(tmp_path, "b.jsonl", jsonl([bare]))).codes == ["pair.empty"]


def test_arena_battles(tmp_path: Path) -> None:
    user = {"role": "user", "content": INPUT}
    battle = {
        "question_id": "q1", "model_a": "north", "model_b": "south", "winner": "tie (bothbad)", "judge": "arena_user_7", "turn": 1,
        "conversation_a": [user, *said(GOOD)], "conversation_b": [user, *said(POOR)], "language": "English", "tstamp": 1700000000.5,
    }  # fmt: skip
    longer = {**battle, "conversation_a": [user, *said(GOOD), user, *said(GOOD)]}
    taken = take(put(tmp_path, "a.jsonl", jsonl([battle, {**battle, "winner": "model_b"}, longer])))
    made = [r for r in taken.records if isinstance(r, PreferenceRow)]
    assert [(r.verdict, r.first_system, r.second_system, r.rater) for r in made] == [
        ("both_unacceptable", "north", "south", "arena_user_7"), ("second_slightly", "north", "south", "arena_user_7"),
    ]  # fmt: skip
    assert made[0].rated_at == "1700000000.5"
    assert taken.problems.left_out == {"pair.turns": 1}


def test_the_arenas_55k_file(tmp_path: Path) -> None:
    out = io.StringIO(newline="")
    names = ["id", "model_a", "model_b", "prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"]
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerow(["1", "n", "s", json.dumps([INPUT]), json.dumps([GOOD]), json.dumps([POOR]), "0", "0", "1"])
    writer.writerow(["2", "n", "s", json.dumps([INPUT, "More?"]), json.dumps([GOOD, "x"]), json.dumps([POOR, "y"]), "1", "0", "0"])
    taken = take(put(tmp_path, "train.csv", out.getvalue()))
    assert [(r.sample.external_id, r.first_text, r.verdict) for r in taken.records if isinstance(r, PreferenceRow)] == [
        ("1", GOOD, "both_acceptable")
    ]
    assert taken.problems.left_out == {"pair.turns": 1}


# --- pairs that are none -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "rejected", "code"), [(GOOD, GOOD, "pair.identical"), (GOOD, "", "pair.empty"), (" ", POOR, "pair.empty")]
)
def test_pairs_that_cannot_be_preferred_are_refused_or_left_out_on_request(chosen: str, rejected: str, code: str, tmp_path: Path) -> None:
    rows = [{"prompt": INPUT, "chosen": GOOD, "rejected": POOR}, {"prompt": INPUT, "chosen": chosen, "rejected": rejected}]
    path = put(tmp_path, "a.jsonl", jsonl(rows))
    assert take(path).codes == [code]
    taken = take(path, pairs="exclude")
    assert (len(taken.records), taken.problems.total, taken.problems.left_out) == (1, 0, {code: 1})


# --- rows of our own ---------------------------------------------------------------------------------------------------------------


def test_mediflow_dpo_needs_a_rejected_output_in_every_row(tmp_path: Path) -> None:
    rows = [mediflow(1, rejected_output=POOR, error_type="brevity"), mediflow(2, rejected_output="", error_type="")]
    path = put(tmp_path, "a.jsonl", jsonl(rows))
    assert take(path).found.shape == "mediflow"
    assert take(path, shape="mediflow_dpo").codes == ["pair.empty"]
    assert take(put(tmp_path, "b.jsonl", jsonl(rows[:1]))).found.shape == "mediflow_dpo"


def test_mediflow_columns_may_be_called_otherwise(tmp_path: Path) -> None:
    row = {("task" if name == "task_type" else name): value for name, value in mediflow(difficulty_level=None).items()}
    taken = take(put(tmp_path, "a.jsonl", jsonl([row])), shape="mediflow", mapping={"task_type": "task", "difficulty_level": "=hard"})
    assert [(r.task_type, r.difficulty_level) for r in taken.records if isinstance(r, SampleRow)] == [("summarization", "hard")]


def test_columns_by_a_mapping_with_templates_constants_and_paths(tmp_path: Path) -> None:
    rows = [{"nr": 12, "q": "Which?", "options": {"A": "Yes", "B": "No"}, "lines": ["one", "two"], "gold": 2}]
    mapping = {
        "id": "nr", "instruction": "=Choose {{one}}.", "input": "={q}\nA. {options.A}\nB. {options.B}\n{lines}", "output": "={gold}",
        "task_type": "=multiple choice question answering",
    }  # fmt: skip
    taken = take(put(tmp_path, "a.jsonl", jsonl(rows)), shape="columns", mapping=mapping)
    assert taken.records == [
        SampleRow(
            "12", "Choose {one}.", "Which?\nA. Yes\nB. No\none\ntwo", "2", "multiple choice question answering", "other", "plain_text", ""
        )
    ]
    wrong = take(put(tmp_path, "a.jsonl", jsonl(rows)), shape="columns", mapping={"instruction": "=x", "input": "={options}"})
    assert [(p.code, p.field) for p in wrong.problems.found] == [("import.type", "options")]


def test_completions_and_documents(tmp_path: Path) -> None:
    taken = take(put(tmp_path, "a.jsonl", jsonl([{"id": "s1", "system": "north", "text": GOOD}])))
    assert (taken.found.shape, taken.records) == ("completions", [CompletionRow("s1", "north", GOOD)])
    outputs = {"summary": "Short.", "qa": [["Q?", "A."]], "entities": ["pain"], "relations": [["a", "treats", "b"]]}
    taken = take(put(tmp_path, "b.jsonl", jsonl([{"id": "d1", "title": "T", "text": INPUT, "outputs": outputs}])))
    assert (taken.found.shape, taken.records) == ("documents", [DocumentRow("d1", "T", INPUT, outputs)])
    for wrong in ({"qa": [["Q?"]]}, {"entities": []}, {"poem": "x"}, ["x"]):
        assert take(put(tmp_path, "c.jsonl", jsonl([{"text": INPUT, "outputs": wrong}]))).problems.total == 1


def test_pairs_in_columns(tmp_path: Path) -> None:
    header = "case,question,response_a,response_b,better,who\n"
    path = put(tmp_path, "a.csv", header + f'c1,"{INPUT}","{GOOD}","{POOR}",B much better,kim\nc2,x,"{GOOD}","{POOR}",tie,kim\n')
    taken = take(path)
    assert taken.found.shape == "pairs"
    assert [r.verdict for r in taken.records if isinstance(r, PreferenceRow)] == ["second_much", "both_acceptable"]
    assert take(path, mapping={**taken.found.mapping, "verdict": "who"}).codes == ["pair.verdict", "pair.verdict"]


def test_every_shape_says_what_may_be_mapped() -> None:
    assert len(reading.SHAPES) == 14
    for shape in reading.SHAPES.values():
        names = [target.name for target in shape.targets]
        assert len(names) == len(set(names)), shape.name
        assert all(target.title for target in shape.targets)
