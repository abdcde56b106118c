"""The recipes on text that is given: what each one reads in which order, that it goes on bit for bit, and when it stops."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="the engine's packages are not installed")

from tests.engine import architectures, tiny
from tests.engine.conftest import Done, laid_out
from training.engine import checkpoints, language, toytext
from training.engine.kinds import pit
from training.engine.language import Batch
from training.engine.loop import Schooling
from training.engine.spec import Pit

pytestmark = pytest.mark.engine
Run = Callable[..., Done]


def documents(n: int = 24) -> list[dict[str, Any]]:
    made = []
    for index, item in enumerate(toytext.documents("guideline", n, 3)):
        outputs = {"qa": [list(pair) for pair in item["qa"]], "summary": item["summary"]}
        made.append({"id": str(index), "text": item["text"], "outputs": outputs if index else {}})
    return made


def talks(n: int = 12) -> list[dict[str, Any]]:
    return [
        {"prompt": [{"role": "user", "content": f"Say {word}."}], "completion": [{"role": "assistant", "content": f"{word} {word}"}]}
        for word in ["one", "two", "three", "four", "five", "six"] * (n // 6)
    ]  # fmt: skip


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return architectures.folder_of(tmp_path_factory.mktemp("llama") / "model", "llama")


@pytest.fixture(scope="session")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return architectures.folder_of(tmp_path_factory.mktemp("phi") / "model", "phi3")


def weights(done: Done) -> bytes:
    return (done.model / "model.safetensors").read_bytes()


# --- pre-instruction tuning --------------------------------------------------------------------------------------------------------


def test_phase_one_reads_outputs_and_phase_two_outputs_and_then_the_document(
    run_here: Run, phi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Batch]] = []
    phase = Schooling.phase

    def watched(self: Schooling, batches: Any, **told: Any) -> float:
        seen.append([])
        rates.append(told["learning_rate"])

        def noted() -> Any:
            for batch in batches:
                seen[-1].append(batch)
                yield batch

        return phase(self, noted(), **told)

    rates: list[float] = []
    monkeypatch.setattr(pit.Schooling, "phase", watched)
    rows = [
        {"text": "Gout hurts.", "outputs": {"qa": [["Does it?", "Yes <|end|>."], ["Long?", "No."]], "summary": "Pain."}},
        {"text": "Acne itches.", "outputs": {}},
    ]
    params = {"learning_rate": 3e-4, "epochs": 2, "outputs": "qa", "batch_size": 1, "freeze_embeddings": False}
    done = run_here("pit", params, {"policy": phi}, {"documents.jsonl": rows})
    assert (done.metrics["documents"], done.metrics["with_outputs"], done.metrics["cut"]) == (2, 1, 0)
    assert rates == [pytest.approx(1e-4), 3e-4]
    tokenizer = architectures.tokenizer_of("phi3")
    texts = [[tokenizer.decode(batch.inputs[0].tolist()) for batch in batches] for batches in seen]
    end = "<|end|>"
    asked = f"Does it?\nYes {end}.{end}Long?\nNo.{end}"
    # One epoch of the one document that has outputs; then two epochs of both, in an order of their own.
    assert texts[0] == [asked]
    assert sorted(texts[1]) == sorted(2 * [f"{asked}Gout hurts.{end}", f"Acne itches.{end}"])
    # The end that was written is text: three ids end something here, and the loss is on every token but the first.
    first = seen[0][0]
    assert (first.inputs == tokenizer.eos_token_id).sum() == 2
    assert (first.labels == first.inputs).all()


def test_a_single_task_is_asked_of_the_documents(run_here: Run, phi: Path) -> None:
    params = {"learning_rate": 1e-3, "steps": 4, "outputs": "entities", "batch_size": 2}
    done = run_here("pit", params, {"policy": phi}, {"documents.jsonl": documents(4)})
    assert done.result["error"]["code"] == "bad_input"
    assert "outputs.entities" in done.result["error"]["message"]


@pytest.mark.parametrize("packing", [False, True])
def test_pit_learns_from_documents_whether_they_lie_side_by_side_or_not(run_here: Run, phi: Path, packing: bool) -> None:
    params = {"learning_rate": 3e-3, "epochs": 4, "batch_size": 4, "packing": packing, "max_length": 96, "freeze_embeddings": False}
    done = run_here("pit", params, {"policy": phi}, {"documents.jsonl": documents(), "validation.jsonl": documents(4)})
    told = [event["value"] for event in done.events if event["type"] == "metric" and event["name"] == "eval_loss"]
    assert told[-1] < told[0]
    assert done.metrics["validation_loss"] == pytest.approx(min(told))
    assert done.metrics["tokens"] > done.metrics["document_tokens"]


def test_documents_longer_than_a_line_are_cut_and_counted_and_nothing_is_lost(run_here: Run, phi: Path) -> None:
    params = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 4, "block": 16}
    done = run_here("pretrain", params, {"policy": phi}, {"documents.jsonl": documents(8)})
    assert done.metrics["cut"] == 8
    # Every token is predicted once, but the first of each piece, which has nothing before it.
    rows = _sizes(phi, documents(8))
    assert done.metrics["document_tokens"] == sum(rows)
    assert done.metrics["tokens"] == sum(size - -(-size // 16) for size in rows)


def _sizes(folder: Path, rows: list[dict[str, Any]]) -> list[int]:
    tokenizer = architectures.tokenizer_of("phi3")
    return [len(tokenizer(row["text"], add_special_tokens=False)["input_ids"]) + 1 for row in rows]


def test_a_base_and_its_tokenizer_are_built_from_the_documents_given(run_here: Run) -> None:
    params = {
        "steps": 6, "tokenizer": "documents", "vocab_size": 400, "context": 128, "block": 64, "batch_size": 2, "hidden_size": 32,
        "layers": 1, "heads": 2, "intermediate_size": 32,
    }  # fmt: skip
    done = run_here("build-base", params, {}, {"documents.jsonl": documents()})
    from transformers import AutoConfig, AutoTokenizer

    assert AutoConfig.from_pretrained(done.model).max_position_embeddings == 128
    tokenizer = AutoTokenizer.from_pretrained(done.model)
    text = documents()[1]["text"]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) <= 400
    assert "code book" not in str(tokenizer.get_vocab())


# --- supervised fine-tuning --------------------------------------------------------------------------------------------------------

SFT: dict[str, Any] = {"learning_rate": 1e-2, "epochs": 6, "batch_size": 4, "freeze_embeddings": False}


def losses(done: Done, name: str = "loss") -> list[float]:
    return [event["value"] for event in done.events if event["type"] == "metric" and event["name"] == name]


@pytest.mark.parametrize(
    "changes",
    [
        {"packing": True, "neftune_alpha": 5.0},
        {"gradient_accumulation": 2, "gradient_checkpointing": True},
        {"lora": {"r": 4, "alpha": 8, "dropout": 0.05}, "dtype": "bfloat16", "gradient_checkpointing": True},
        {"dtype": "bfloat16"},
    ],
    ids=["packed and noisy", "accumulated and checkpointed", "adapter in bfloat16", "bfloat16"],
)
def test_sft_learns_with_every_option(run_here: Run, llama: Path, changes: dict[str, Any]) -> None:
    done = run_here("sft", SFT | changes, {"policy": llama}, {"train.jsonl": talks()})
    found = losses(done)
    assert found[-1] < 0.8 * found[0]
    assert (done.folder / "output_adapter" / "adapter_model.safetensors").exists() == ("lora" in changes)


def test_accumulated_batches_are_one_batch(run_here: Run, llama: Path) -> None:
    params = {"learning_rate": 1e-2, "steps": 1, "freeze_embeddings": False}
    one = run_here("sft", params | {"batch_size": 12}, {"policy": llama}, {"train.jsonl": talks()})
    many = run_here("sft", params | {"batch_size": 3, "gradient_accumulation": 4}, {"policy": llama}, {"train.jsonl": talks()})
    assert losses(one) == pytest.approx(losses(many), rel=1e-5)


def test_noise_is_as_large_as_neftune_says_for_each_sequence_by_itself(tmp_path: Path) -> None:
    import torch

    from training.engine.attempt import Attempt
    from training.engine.spec import Sft

    model = architectures.model_of("llama", architectures.tokenizer_of("llama"))

    class Quiet(Attempt):
        def __init__(self) -> None:
            self.spec = type("Spec", (), {"seed": 1, "probe": False})()  # type: ignore[assignment]
            self.folder = tmp_path
            self.key = checkpoints.BY_HAND

    schooling = Schooling(Quiet(), model, Sft(learning_rate=1.0, steps=1, neftune_alpha=5.0), total=1)
    batch = language.packed([[([5] * 100, 0), ([6] * 4, 0)]], 0)
    clean = model.get_input_embeddings()(batch.inputs)
    with schooling._noise() as remember:
        remember(batch)
        model.train()
        noise = model.get_input_embeddings()(batch.inputs) - clean
        model.eval()
        assert torch.equal(model.get_input_embeddings()(batch.inputs), clean)
    # alpha / sqrt(L d), with 32 dimensions: L is 100 for the first sequence and 4 for its neighbour.
    assert float(noise.detach()[0, :100].abs().max()) == pytest.approx(5 / (100 * 32) ** 0.5, rel=0.01)
    assert float(noise.detach()[0, 100:].abs().max()) == pytest.approx(5 / (4 * 32) ** 0.5, rel=0.05)


def test_it_stops_early_and_keeps_the_best_weights(run_here: Run, llama: Path) -> None:
    held = talks(6)
    for row in held:
        row["completion"] = [{"role": "assistant", "content": "something quite else"}]
    params = SFT | {"epochs": None, "steps": 60, "evaluate_steps": 2, "early_stop": 2, "warmup_steps": 6}
    done = run_here("sft", params, {"policy": llama}, {"train.jsonl": talks(), "validation.jsonl": held})
    told = losses(done, "eval_loss")
    assert done.metrics["stopped_early"]
    assert done.metrics["stopped_at"] == 2 * len(told) < 60
    assert told[-1] > told[-3] < told[-2]
    # Measured again, the model that was saved is the best one and not the last.
    again = run_here(
        "sft", SFT | {"epochs": None, "steps": 1, "learning_rate": 1e-12}, {"policy": done.model},
        {"train.jsonl": talks(), "validation.jsonl": held},
    )  # fmt: skip
    assert again.metrics["validation_loss"] == pytest.approx(told[-3], rel=1e-4)


def test_asked_to_keep_it_stops_at_the_next_step_and_saves(run_here: Run, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.engine.attempt import Attempt

    monkeypatch.setattr(Attempt, "asked_to_keep", property(lambda self: True))
    done = run_here("sft", SFT, {"policy": llama}, {"train.jsonl": talks()})
    assert (done.metrics["stopped_early"], done.metrics["stopped_at"], done.metrics["steps"]) == (True, 1, 1)
    assert done.model.exists()


def test_fixed_prompts_are_answered_before_the_first_step_and_at_every_fifth_of_the_run(run_here: Run, llama: Path) -> None:
    asked = [{"id": str(index), "messages": [{"role": "user", "content": f"Say {word}."}]} for index, word in enumerate(("one", "two"))]
    params = SFT | {"epochs": None, "steps": 40, "lora": {"r": 8, "alpha": 32}}
    done = run_here("sft", params, {"policy": llama}, {"train.jsonl": talks(), "watch.jsonl": asked})
    said = {(event["step"], event["index"]): event["text"] for event in done.events if event["type"] == "sample"}
    assert sorted(said) == [(step, index) for step in (0, 8, 16, 24, 32, 40) for index in (0, 1)]
    assert said[40, 0] != said[0, 0]
    # Looking changes nothing: without it the weights are the same.
    blind = run_here("sft", params, {"policy": llama}, {"train.jsonl": talks()})
    assert weights(blind) == weights(done)


def test_a_loss_that_is_no_number_ends_the_run_in_words(run_here: Run, llama: Path) -> None:
    done = run_here("sft", SFT | {"learning_rate": 1e30, "warmup_steps": 0}, {"policy": llama}, {"train.jsonl": talks()})
    assert done.result["error"]["code"] == "not_finite"
    assert done.result["error"]["message"].startswith("step ")
    assert not done.result["error"]["retryable"]


# --- going on ----------------------------------------------------------------------------------------------------------------------

LONG: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "pit": (
        "pit", {"learning_rate": 1e-3, "steps": 8, "phase_one": 0.5, "batch_size": 2, "packing": True, "max_length": 96},
        {"documents.jsonl": documents()},
    ),
    "toy pit": ("pit", {"learning_rate": 1e-3, "steps": 8, "domain": "medcode", "anchor": 1.0, "replay": 0.5, "batch_size": 2}, {}),
    "sft": (
        "sft", SFT | {"lora": {"r": 2, "alpha": 4, "dropout": 0.1}, "neftune_alpha": 5.0, "early_stop": 9, "gradient_accumulation": 2},
        {"train.jsonl": talks(), "validation.jsonl": talks(6)},
    ),
    "pretrain": ("pretrain", {"learning_rate": 1e-3, "steps": 8, "block": 48, "batch_size": 2}, {"documents.jsonl": documents()}),
}  # fmt: skip


@pytest.mark.parametrize("what", list(LONG))
def test_a_resumed_run_makes_the_weights_of_an_uninterrupted_one_bit_for_bit(
    run_here: Run, phi: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, params, inputs = LONG[what]
    # Every step leaves a checkpoint, all are kept: from each of them the rest is run.
    monkeypatch.setattr(checkpoints, "prune", lambda *given, **told: [])
    whole = run_here(kind, params | {"checkpoint_steps": 1}, {"policy": phi}, inputs)
    left = checkpoints.named(whole.folder / checkpoints.FOLDER)
    assert len(left) == whole.metrics["steps"] - 1
    for path in (left[0], left[len(left) // 2], left[-1]):
        monkeypatch.setattr("training.engine.attempt.Attempt.resume", checkpoints.verify(path, checkpoints.BY_HAND))
        rest = run_here(kind, params, {"policy": phi}, inputs)
        assert weights(rest) == weights(whole), path.name
        same = {name for name, value in whole.metrics.items() if rest.metrics[name] == value}
        assert same == set(whole.metrics)
        assert any(event["type"] == "log" and path.name.removeprefix("ckpt-") in event["message"] for event in rest.events)


def test_specs_that_would_be_ignored_in_part_are_refused() -> None:
    from training.engine.errors import SpecError
    from training.engine.spec import parse_params

    for kind, params, field in (
        ("pit", {"learning_rate": 1, "epochs": 1, "replay": 0.3}, "domain"),
        ("pit", {"learning_rate": 1, "steps": 1, "domain": "medcode", "packing": True}, "packing"),
        ("pit", {"learning_rate": 1, "epochs": 1, "domain": "medcode"}, "steps"),
        ("pit", {"learning_rate": 1, "steps": 1, "domain": "medcode", "lora": {}, "neurons": {"index": 0, "of": 5}}, "lora"),
        ("sft", {"learning_rate": 1, "epochs": 1, "packing": True, "replay": 0.1}, "packing"),
        ("pretrain", {"learning_rate": 1, "steps": 1, "epochs": 1}, "steps"),
        ("build-base", {"steps": 1, "block": 600}, "block"),
        ("build-base", {"steps": 1, "lora": {}}, "lora"),
        ("sft", {"learning_rate": 1, "epochs": 1, "early_stop": -1}, "early_stop"),
    ):
        with pytest.raises(SpecError) as problem:
            parse_params(kind, params)
        assert problem.value.field == f"params.{field}"
    assert isinstance(parse_params("pit", {"learning_rate": 1, "epochs": 2}), Pit)


@pytest.mark.parametrize("what", ["pit", "sft", "pretrain"])
def test_a_probe_makes_three_steps_and_no_model(phi: Path, what: str, tmp_path: Path) -> None:
    kind, params, inputs = LONG[what]
    folder = laid_out(tmp_path / "attempt", kind, params, {"policy": phi}, inputs, 1)
    asked = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps(asked | {"probe": True}))
    done = tiny.in_fork(folder)
    assert done.result["output"] is None
    assert done.metrics["steps_total"] == (9 if what == "sft" else 8)
    assert min(done.metrics[name] for name in ("startup_seconds", "seconds_per_step", "tokens_per_second", "peak_rss_mb")) > 0
    assert max(event["step"] for event in done.events if event["type"] == "metric") == 3


def test_events_are_plain_json(run_here: Run, phi: Path) -> None:
    done = run_here("pretrain", LONG["pretrain"][1], {"policy": phi}, LONG["pretrain"][2])
    names = {event["name"] for event in done.events if event["type"] == "metric"}
    assert {"loss", "learning_rate", "grad_norm", "tokens_per_second"} <= names
    assert json.loads((done.folder / "result.json").read_text())["metrics"]["steps"] == 8
