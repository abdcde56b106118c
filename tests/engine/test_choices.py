"""Four answers to a question: which is likeliest, and how likely the right one, with what a model should gain by learning it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="the engine's packages are not installed")

from tests.engine import architectures
from tests.engine.conftest import Done
from training.engine import documents
from training.engine.errors import InputError
from training.engine.kinds import choices

pytestmark = pytest.mark.engine
Run = Callable[..., Done]
FACTS = {"red": "stop", "green": "go", "amber": "wait", "blue": "call"}


def asked() -> list[dict[str, Any]]:
    others = list(FACTS.values())
    return [
        {
            "id": colour, "group": colour, "domain": "lights", "question": f"What does {colour} mean?",
            "answers": [right, *[other for other in others if other != right]],
        }
        for colour, right in FACTS.items()
    ]  # fmt: skip


def test_learning_the_answers_moves_both_figures_and_a_model_against_itself_moves_neither(run_here: Run, tmp_path: Path) -> None:
    base = architectures.folder_of(tmp_path / "base", "qwen2")
    rows = [{"text": f"{c} {a}", "outputs": {"qa": [[f"What does {c} mean?", a]]}} for c, a in FACTS.items()]
    params = {"learning_rate": 1e-2, "epochs": 40, "batch_size": 4, "freeze_embeddings": False}
    expert = run_here("pit", params, {"policy": base}, {"documents.jsonl": rows})
    done = run_here("evaluate", {"bootstrap": 200}, {"policy": expert.model, "reference": base}, {"choices.jsonl": asked()})
    found = done.metrics["choices"]
    assert set(found) == {"lights", "all"}
    assert found["all"]["questions"] == 4
    assert found["all"]["accuracy"]["policy"]["value"] == 1.0
    assert found["all"]["logp_difference"]["low"] > 1.0
    assert found["all"]["logp_difference"]["value"] == pytest.approx(
        found["all"]["logp"]["policy"]["value"] - found["all"]["logp"]["reference"]["value"]
    )
    items = [json.loads(line) for line in (done.folder / "output" / "items.jsonl").read_text().splitlines()]
    assert [(item["type"], item["id"], len(item["policy"])) for item in items] == [("choice", colour, 4) for colour in FACTS]
    same = run_here("evaluate", {"bootstrap": 50}, {"policy": base, "reference": base}, {"choices.jsonl": asked()}).metrics["choices"][
        "all"
    ]
    assert (same["accuracy_difference"]["value"], same["logp_difference"]["value"]) == (0, 0)


def test_an_answers_score_is_the_mean_of_its_tokens_and_its_end(run_here: Run, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = architectures.folder_of(tmp_path / "base", "llama")
    done = run_here("evaluate", {}, {"policy": base}, {"choices.jsonl": asked()[:1]})
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    start = tokenizer("What does red mean?\n", add_special_tokens=False)["input_ids"]
    whole = [*tokenizer("What does red mean?\nstop", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert whole[: len(start)] == start
    logps = torch.log_softmax(model(torch.tensor([whole])).logits[0, :-1], -1)
    wanted = logps.gather(-1, torch.tensor(whole[1:])[:, None])[len(start) - 1 :].mean()
    assert done.metrics["choices"]["all"]["logp"]["policy"]["value"] == pytest.approx(float(wanted), abs=1e-5)


def test_figures_by_hand() -> None:
    rows = [{"domain": "a", "group": "1"}, {"domain": "b", "group": "2"}]
    scores = {"policy": [[-1.0, -2.0], [-3.0, -2.0]], "reference": [[-2.0, -2.0], [-4.0, -2.0]]}
    found = choices.compare(rows, scores, draws=100, seed=1)
    # A tie is no choice. The first is right for the policy alone, the second for neither.
    assert found["all"]["accuracy"]["policy"] == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 2}
    assert found["all"]["accuracy"]["reference"]["value"] == 0.0
    assert found["all"]["logp_difference"]["value"] == 1.0
    assert found["b"]["logp"]["policy"]["value"] == -3.0


@pytest.mark.parametrize("answers", [["one"], ["a", "a"], ["a", 3], "a"])
def test_what_is_no_choice_is_refused_by_line(tmp_path: Path, answers: Any) -> None:
    path = tmp_path / "choices.jsonl"
    path.write_text(json.dumps({"id": "1", "group": "1", "domain": "a", "question": "?", "answers": answers}) + "\n")
    with pytest.raises(InputError, match="line 1"):
        choices.read(path)


def test_elements_are_in_the_order_they_came() -> None:
    outputs = {"qa": [["Q?", "A."]], "summary": "S.", "entities": ["gout", "rest"], "relations": [["rest", "helps", "gout"]]}
    assert [documents.elements(outputs, task) for task in ("qa", "summary", "entities", "relations")] == [
        ["Q?\nA."], ["S."], ["gout", "rest"], ["rest helps gout"],
    ]  # fmt: skip
    assert documents.sequence({"text": "D.", "outputs": outputs}, "summary", with_document=True) == ["S.", "D."]
    assert documents.sequence({"text": "D.", "outputs": {}}, "summary", with_document=False) == []
