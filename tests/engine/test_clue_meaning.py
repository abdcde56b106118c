"""BERTScore and UMLS-F1 by hand: what takes what, which terms are concepts, and that both are left out when nobody names what they need."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.engine import clue_copies, clue_meanings, tiny
from training.engine.clue import umls
from training.suite.results import SuiteResult

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clue_meanings.encoder(tmp_path_factory.mktemp("encoder"))


def embedded(*vectors: tuple[float, float], counts: list[int]) -> Any:
    import torch

    from training.engine.clue.bertscore import Embedded

    return Embedded(torch.nn.functional.normalize(torch.tensor(vectors), dim=-1), torch.tensor(counts))


def test_every_piece_takes_the_likest_of_the_other_text() -> None:
    from training.engine.clue import bertscore

    # Two pieces of the answer, at 0 and 90 degrees; one of the gold, at 30.
    gold = embedded((math.cos(math.pi / 6), 0.5), counts=[1])
    answer = embedded((1.0, 0.0), (0.0, 1.0), counts=[1, 1])
    precision, recall = (math.cos(math.pi / 6) + 0.5) / 2, math.cos(math.pi / 6)
    f1 = 2 * precision * recall / (precision + recall)
    assert bertscore.matched(answer, gold) == pytest.approx((precision, recall, f1), abs=1e-6)
    assert bertscore.matched(gold, answer) == pytest.approx((recall, precision, f1), abs=1e-6)


def test_marks_count_nothing_and_may_be_taken() -> None:
    from training.engine.clue import bertscore

    marked = embedded((1.0, 0.0), (0.0, 1.0), counts=[0, 1])
    plain = embedded((1.0, 0.0), counts=[1])
    assert bertscore.matched(plain, marked) == pytest.approx((1.0, 0.0, 0.0), abs=1e-6)
    assert bertscore.matched(embedded((1.0, 0.0), counts=[0]), plain) == (0.0, 0.0, 0.0)


def test_an_encoders_score_is_that_of_its_embeddings_one_by_one(encoder: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from training.engine.clue.bertscore import Encoder

    pairs = [("the patient has sepsis", "the patient has an infection"), ("fever", "cough of the heart"), ("", "fever")]
    model, tokenizer = AutoModel.from_pretrained(encoder).eval(), AutoTokenizer.from_pretrained(encoder)
    layer = 2  # of three

    def pieces(text: str) -> tuple[list[list[float]], list[list[float]]]:
        with torch.no_grad():
            told = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0].tolist()
        return told, told[1:-1]

    def cosine(one: list[float], other: list[float]) -> float:
        dot = sum(a * b for a, b in zip(one, other, strict=True))
        return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))

    found = Encoder(encoder).scores(pairs)
    for (answer, gold), told in zip(pairs[:2], found, strict=False):
        (all_of_answer, of_answer), (all_of_gold, of_gold) = pieces(answer), pieces(gold)
        precision = sum(max(cosine(one, other) for other in all_of_gold) for one in of_answer) / len(of_answer)
        recall = sum(max(cosine(one, other) for other in all_of_answer) for one in of_gold) / len(of_gold)
        assert told == pytest.approx((precision, recall, 2 * precision * recall / (precision + recall)), abs=1e-5)
    assert found[2] == (0.0, 0.0, 0.0)
    assert Encoder(encoder).scores([("fever", " fever ")])[0] == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)


def test_the_record_says_which_encoder_and_which_of_its_layers(encoder: Path, tmp_path: Path) -> None:
    from training.engine.clue.bertscore import BadEncoder, Encoder

    assert Encoder(encoder).settings == {"sha256": Encoder(encoder).digest, "layer": 2, "idf": False, "longest": 12}
    assert Encoder(clue_meanings.encoder(tmp_path / "other", seed=1)).digest != Encoder(encoder).digest
    assert Encoder(encoder, 1).scores([("fever", "cough")]) != Encoder(encoder, 3).scores([("fever", "cough")])
    with pytest.raises(BadEncoder, match="has 3 layers, and layer 4"):
        Encoder(encoder, 4)
    with pytest.raises(BadEncoder, match="no safetensors"):
        Encoder(tmp_path)


UMLS: list[Any] = [
    ("C0027051", "Heart attack"), ("C0027051", "Myocardial Infarction"), ("C0018787", "Heart"), ("C0021311", "Infection"),
    ("C0243026", "Sepsis"), ("C0002871", "Anaemia"), ("C0002871", "ANAEMIA"), ("C0009443", "Cold, common"), ("C0009264", "Cold"),
    ("C0024117", "cold"), ("C0024117", "COLD"), ("C0021247", "IN"), ("C0000001", "fever", "ENG", "O"), ("C0000002", "tos", "SPA", "N"),
    ("C0000003", "2 3"),
]  # fmt: skip


def concepts(path: Path, *texts: str) -> umls.Concepts:
    return umls.Concepts(clue_meanings.umls(path / "MRCONSO.RRF", UMLS), texts)


def test_the_longest_term_names_the_concept_whatever_its_case_and_punctuation(tmp_path: Path) -> None:
    text = "Admitted in 2 3 days with HEART-ATTACK; the heart, sepsis. Fever, tos."
    assert concepts(tmp_path, text).named(text) == {"C0027051", "C0018787", "C0243026"}
    assert concepts(tmp_path, "common cold, cold common").named("common cold, cold common") == {"C0024117", "C0009443"}


def test_umls_f1_is_the_overlap_of_concepts_so_that_synonyms_agree(tmp_path: Path) -> None:
    gold, answer = "sepsis, anaemia, heart attack", "Myocardial infarction and infection"
    assert concepts(tmp_path, gold, answer).scores(answer, gold) == pytest.approx((1 / 2, 1 / 3, 2 * 1 / 5))
    assert concepts(tmp_path, gold).scores(gold, gold) == (1.0, 1.0, 1.0)
    assert concepts(tmp_path, gold).scores("nothing", gold) == (0.0, 0.0, 0.0)
    assert concepts(tmp_path, "nothing").scores("nothing", "nothing") == (0.0, 0.0, 0.0)


def test_what_is_no_umls_is_refused_with_where_it_is_to_be_had(tmp_path: Path) -> None:
    for text in ("", "a|b|c\n"):
        (tmp_path / "other").write_text(text)
        with pytest.raises(umls.BadUmls, match=r"nlm\.nih\.gov/research/umls"):
            umls.check(tmp_path / "other")
    with pytest.raises(umls.BadUmls, match="FileNotFoundError"):
        umls.check(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.untrained(tmp_path_factory.mktemp("model"), context=1024)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clue_copies.everything(tmp_path_factory.mktemp("copies"))


def asked(folder: Path, copies: Path, model: Path, **params: Any) -> Any:
    told = {"data": str(copies), "allow_other_files": True, "max_new_tokens": 6, "sets": ["PLS", "MeQSum", "MedQA"]} | params
    return tiny.in_fork(tiny.lay_out(folder, told, model, {}, kind="clue"))


def test_a_job_adds_both_to_the_sets_that_have_them_and_says_what_by(copies: Path, model: Path, encoder: Path, tmp_path: Path) -> None:
    terms = clue_meanings.umls(tmp_path / "MRCONSO.RRF", UMLS)
    done = asked(tmp_path / "one", copies, model, encoder=str(encoder), umls=str(terms))
    result = SuiteResult.from_json((done.model / "suite.json").read_text())
    assert set(result.settings["meaning"]) == {"bertscore", "umls"}
    assert result.settings["meaning"]["umls"]["rows"] == len(UMLS)
    assert done.metrics["lacking"] == []
    assert done.metrics["figures"] == json.loads((done.model / "figures.json").read_text())
    rows = {
        name: [json.loads(line) for line in (done.model / f"answers-{name}.jsonl").read_text().splitlines()] for name in ("pls", "meqsum")
    }
    from training.engine.clue.bertscore import NAMES

    assert {*NAMES, *umls.NAMES} <= set(rows["pls"][0])
    # Of consumers' questions CLUE logs BERTScore alone.
    assert set(NAMES) <= set(rows["meqsum"][0])
    assert not set(umls.NAMES) & set(rows["meqsum"][0])
    mean = sum(row["bertscore_f1"] for row in rows["pls"]) / len(rows["pls"])
    assert done.metrics["figures"]["PLS"]["bertscore_f1"] == pytest.approx(mean)
    assert done.metrics["figures"]["MedQA"].keys() == {"accuracy"}


def test_without_them_a_job_says_politely_what_it_left_out(copies: Path, model: Path, tmp_path: Path) -> None:
    done = asked(tmp_path / "one", copies, model, sets=["PLS"])
    assert "meaning" not in SuiteResult.from_json((done.model / "suite.json").read_text()).settings
    assert done.metrics["figures"]["PLS"].keys() == {"rouge1", "rouge2", "rougeL"}
    bert, terms = done.metrics["lacking"]
    assert bert.startswith("BERTScore is left out: name a folder with an encoder")
    assert "nlm.nih.gov/research/umls" in terms
    assert asked(tmp_path / "two", copies, model, sets=["MedQA"]).metrics["lacking"] == []


def test_a_wrong_path_is_told_before_anything_is_asked(copies: Path, model: Path, tmp_path: Path) -> None:
    refused = asked(tmp_path / "one", copies, model, encoder=str(tmp_path)).result["error"]
    assert refused["code"] == "bad_encoder"
    assert not (tmp_path / "one/output/answers-pls.jsonl").exists()
    assert asked(tmp_path / "two", copies, model, umls=str(tmp_path / "none")).result["error"]["code"] == "bad_umls"
