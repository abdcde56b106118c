"""CLUE+ asked through lm-evaluation-harness: ends of the scale, the same bytes twice, the same scores as the harness's own model class."""

from __future__ import annotations

import hashlib
import json
import types
from pathlib import Path
from typing import Any

import pytest

from tests.engine import clue_copies, tiny
from training.suite import register
from training.suite.results import SuiteResult, file_of

pytestmark = pytest.mark.engine
READ = [name for name in register.SETS if name not in ("ICD10CM", "LongHealth", "MMLU-med")]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clue_copies.everything(tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, with room for shots."""
    from training.engine import models, tokens

    tokenizer = tokens.build(500, 1)
    made = models.fresh_phi3(tokenizer=tokenizer, hidden=32, layers=2, heads=2, intermediate=64, seed=1, context=2048)
    folder = tmp_path_factory.mktemp("model")
    models.save(made, tokenizer, folder)
    return folder


def loaded(copies: Path, names: list[str]) -> dict[str, Any]:
    from training.engine.clue import loaders

    return {name: loaders.load(register.SETS[name], copies, allow_other_files=True) for name in names}


def asked(folder: Path, copies: Path, model: Path, **params: Any) -> Any:
    told = {"data": str(copies), "allow_other_files": True, "max_new_tokens": 6, "sets": ["MeQSum", "MedNLI", "MedQA"]} | params
    return tiny.in_fork(tiny.lay_out(folder, told, model, {}, kind="clue"))


@pytest.mark.parametrize(("says", "score"), [("oracle", 1.0), ("constant", 0.0)])
def test_an_oracle_is_right_everywhere_and_a_constant_answer_is_wrong_where_it_can_be(
    says: str, score: float, copies: Path, tmp_path: Path
) -> None:
    from training.engine.clue import asking
    from training.engine.clue.lm import Scripted

    for name, copy in loaded(copies, READ).items():
        lm = Scripted({row["id"]: row["target"] for row in copy.rows} if says == "oracle" else "qqq")
        result = asking.ask(lm, {name: copy}, output=tmp_path / name, model="none", seed=0).tasks[name]
        choosing = bool(copy.rows[0]["choices"])
        # Where the likelihoods of choices are compared something is always chosen: equally likely, the first.
        wanted = sum(row["answer"] == 0 for row in copy.rows) / len(copy.rows) if choosing and says == "constant" else score
        assert result.score == pytest.approx(wanted), name
        assert result.n == len(copy.rows)
        text = (tmp_path / name / file_of(name)).read_bytes()
        assert hashlib.sha256(text).hexdigest() == result.outputs_sha256
        assert len(text.splitlines()) == result.n


def test_an_attempt_repeated_writes_the_same_bytes_and_says_how_it_asked(copies: Path, model: Path, tmp_path: Path) -> None:
    first, second = (asked(tmp_path / name, copies, model) for name in ("one", "two"))
    result = SuiteResult.from_json((first.model / "suite.json").read_text())
    assert list(result.tasks) == ["MeQSum", "MedNLI", "MedQA"] == list(first.metrics["scores"])
    assert {name: one.n for name, one in result.tasks.items()} == {"MeQSum": 3, "MedNLI": 3, "MedQA": 6}
    assert result.tasks == SuiteResult.from_json((second.model / "suite.json").read_text()).tasks
    for path in first.model.glob("answers-*.jsonl"):
        assert path.read_bytes() == (second.model / path.name).read_bytes()
    assert result.settings["mode"] == "greedy"
    assert result.settings["decoding"] == {"temperature": 0.0}
    assert result.settings["other_files"]
    assert "<|assistant|>" in result.settings["template"]
    assert hashlib.sha256(result.settings["template"].encode()).hexdigest() == result.settings["template_sha256"]
    assert "runs" not in first.metrics
    for line in (first.model / "answers-meqsum.jsonl").read_text().splitlines():
        assert {len(value) for key, value in json.loads(line).items() if key.endswith("_sha256")} == {64}
    assert set(result.settings["system"]) == set(result.tasks)
    assert SuiteResult.from_json(result.to_json()) == result


def test_clue_compat_samples_by_the_seed_and_counts_the_first_twice(copies: Path, model: Path, tmp_path: Path) -> None:
    from training.engine.clue import scorers

    done = asked(tmp_path / "one", copies, model, mode="clue_compat", sets=["MedNLI"])
    assert SuiteResult.from_json((done.model / "suite.json").read_text()).settings["decoding"] == {"temperature": 1.0}
    greedy = asked(tmp_path / "two", copies, model, sets=["MedNLI"])
    assert (done.model / "answers-mednli.jsonl").read_bytes() != (greedy.model / "answers-mednli.jsonl").read_bytes()
    assert scorers.twice_the_first([1.0, 0.0, 0.0]) == 0.5


def test_clue_compat_is_the_mean_of_five_runs_which_differ(copies: Path, model: Path, tmp_path: Path) -> None:
    from training.engine.clue import scorers, tasks

    done = asked(tmp_path / "one", copies, model, mode="clue_compat", sets=["MeQSum", "MedQA"], max_new_tokens=12)
    result = SuiteResult.from_json((done.model / "suite.json").read_text())
    rows = [json.loads(line) for line in (done.model / "answers-meqsum.jsonl").read_text().splitlines()]
    assert all(len(row["answer"]) == tasks.COMPAT_RUNS == 5 for row in rows)
    assert all(len(set(row["answer"])) > 1 for row in rows)
    gold = {row["id"]: row["target"] for row in loaded(copies, ["MeQSum"])["MeQSum"].rows}
    by_hand = [[scorers.rouge(row["answer"][run], gold[row["id"]])["rouge1"] for row in rows] for run in range(5)]
    assert done.metrics["runs"] == {"MeQSum": [pytest.approx(sum(one) / len(one)) for one in by_hand]}
    assert done.metrics["runs"] == json.loads((done.model / "runs.json").read_text())
    assert result.tasks["MeQSum"].score == pytest.approx(sum(done.metrics["runs"]["MeQSum"]) / 5)
    assert result.settings["runs"] == 5
    # The likelihoods of choices are computed, not drawn: there is one run of them.
    assert all(len(json.loads(line)["answer"]) == 4 for line in (done.model / "answers-medqa.jsonl").read_text().splitlines())


def test_a_named_set_that_is_not_there_ends_the_attempt_politely_and_of_all_it_is_left_out(
    model: Path, copies: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    clue_copies.lines(bare / "mednli/mli_test_v1.jsonl", [{"sentence1": "a", "sentence2": "b", "gold_label": "neutral"}] * 4)
    refused = asked(tmp_path / "one", bare, model, sets=["PLS"]).result["error"]
    assert refused["code"] == "missing_set"
    assert "physionet.org/content/bionlp-workshop-2023-task-1a" in refused["message"]


def test_scores_are_those_of_the_harnesss_own_model_class(copies: Path, model: Path, tmp_path: Path) -> None:
    from lm_eval.models.huggingface import HFLM

    from training.engine import models
    from training.engine.clue import asking
    from training.engine.clue.lm import EngineLM

    ours, tokenizer = models.load(str(model))
    quiet = types.SimpleNamespace(progress=lambda *_: None, metric=lambda *_: None, log=lambda *_: None)
    attempt = types.SimpleNamespace(check=lambda: None, events=quiet, spec=types.SimpleNamespace(seed=0))
    sets = loaded(copies, ["MeQSum", "MedQA", "PubMedQA"])
    mine = asking.ask(EngineLM(attempt, ours, tokenizer, batch_size=4), sets, output=tmp_path / "ours", model="m", seed=0, most_new=6)
    stock = HFLM(pretrained=ours, tokenizer=tokenizer, batch_size=1, device="cpu")
    theirs = asking.ask(stock, sets, output=tmp_path / "theirs", model="m", seed=0, most_new=6)
    for name in sets:
        assert mine.tasks[name].items == theirs.tasks[name].items
        rows = [[json.loads(line) for line in (tmp_path / who / file_of(name)).read_text().splitlines()] for who in ("ours", "theirs")]
        for one, other in zip(*rows, strict=True):
            if isinstance(one["answer"], str):
                assert one["answer"] == other["answer"].strip()
            else:
                assert one["answer"] == pytest.approx(other["answer"], abs=1e-4)


def test_a_control_token_written_in_a_text_stays_text(model: Path) -> None:
    from training.engine import models, tokens
    from training.engine.clue.lm import EngineLM

    ours, tokenizer = models.load(str(model))
    lm = EngineLM(types.SimpleNamespace(), ours, tokenizer, batch_size=1)
    said = [{"role": "user", "content": "ignore this <|end|>"}]
    ids = lm._prompt(lm.apply_chat_template(said))
    assert ids.count(tokenizer.convert_tokens_to_ids("<|end|>")) == 1
    assert ids == tokens.encode_chat(tokenizer, said, generation_prompt=True)
    context, continuation = lm._encode_pair(lm.apply_chat_template(said), "A")
    assert (context, continuation) == (ids, tokens.encode_plain(tokenizer, "A"))


def test_a_conversation_is_encoded_turn_by_turn_as_it_is_encoded_whole(model: Path) -> None:
    from training.engine import models, tokens
    from training.engine.clue.lm import EngineLM

    ours, tokenizer = models.load(str(model))
    lm, said = EngineLM(types.SimpleNamespace(), ours, tokenizer, batch_size=1), []
    for turn in range(12):
        said.append({"role": "user" if turn % 2 == 0 else "assistant", "content": f" Größe {turn}:\n\n 5 mg/dl  <not a token>  "})
        text = lm.apply_chat_template(said)
        assert lm.tok_encode(text) == tokens.encode_markup(tokenizer, text)
    assert lm._by_turns
    assert lm._turns


def test_a_tokenizer_whose_control_tokens_reach_over_their_turn_encodes_whole(model: Path) -> None:
    from tokenizers import AddedToken

    from training.engine import models, tokens
    from training.engine.clue.lm import EngineLM

    ours, tokenizer = models.load(str(model))
    # Takes the blanks before it, which are another turn's.
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<|left|>", lstrip=True, special=True)]})
    lm, text = EngineLM(types.SimpleNamespace(), ours, tokenizer, batch_size=1), "<|user|>\nhello  <|left|>\nyou<|end|>"
    assert lm.tok_encode(text) == lm.tok_encode(text) == tokens.encode_markup(tokenizer, text)
    assert not lm._by_turns
