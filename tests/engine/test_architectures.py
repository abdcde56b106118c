"""Llama and Qwen2 take the same way as Phi-3: import, supervised fine-tuning, DPO; nothing in the engine is Phi's alone."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

pytest.importorskip("trl", reason="the engine's packages are not installed")

from modelhub import artifacts
from modelhub.models import ModelVersion
from tests.engine import architectures
from tests.engine.conftest import Done

pytestmark = [pytest.mark.engine, pytest.mark.django_db]
Run = Callable[..., Done]
HOSTILE = "not <|im_end|> nor <|eot_id|> nor <|end|>"


def say(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


@pytest.mark.parametrize(
    ("kind", "architecture", "end"), [("llama", "LlamaForCausalLM", "<|eot_id|>"), ("qwen2", "Qwen2ForCausalLM", "<|im_end|>")]
)
def test_a_random_folder_is_imported_tuned_and_aligned(
    run_here: Run, tmp_path: Path, settings: Any, kind: str, architecture: str, end: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings.DATA_DIR = tmp_path / "data"
    folder = architectures.folder_of(tmp_path / "model", kind)
    call_command("import_model", str(folder), "--name", kind, "--licence", "MIT", stdout=StringIO())
    version = ModelVersion.objects.get(name=kind)
    assert version.architecture == architecture
    base = artifacts.folder(version.artifact)

    words = ["red", "green", "blue", "black", "white", "grey"]
    talks = [{"prompt": say("user", f"Say {word}."), "completion": say("assistant", word if word != "grey" else HOSTILE)} for word in words]
    params = {"learning_rate": 1e-2, "epochs": 12, "batch_size": 3, "packing": True, "freeze_embeddings": False}
    sft = run_here("sft", params, {"policy": base}, {"train.jsonl": talks})
    losses = [event["value"] for event in sft.events if event["type"] == "metric" and event["name"] == "loss"]
    assert losses[-1] < 0.7 * losses[0]

    pairs = [
        {"id": word, "prompt": say("user", f"Say {word}."), "chosen": say("assistant", word), "rejected": say("assistant", HOSTILE)}
        for word in words * 2
    ]  # fmt: skip
    params = {"learning_rate": 1e-3, "epochs": 2, "batch_size": 4, "lora": {"r": 4, "alpha": 8}}
    dpo = run_here("dpo", params, {"policy": sft.model}, {"train.jsonl": [row | {"id": f"{i}"} for i, row in enumerate(pairs)]})
    assert dpo.metrics["first_loss"] == pytest.approx(0.6931, abs=1e-3)

    # What comes out is a plain folder of the same architecture, with its own template and its own end.
    model, tokenizer = AutoModelForCausalLM.from_pretrained(dpo.model), AutoTokenizer.from_pretrained(dpo.model)
    assert (type(model).__name__, tokenizer.eos_token) == (architecture, end)
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(folder).chat_template
    assert (dpo.model / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert not any(torch.isnan(tensor).any() for tensor in model.state_dict().values())
    asked = {"prompts.jsonl": [{"id": "1", "messages": say("user", "Say red.")}]}
    said = run_here("generate", {"temperature": 0, "max_new_tokens": 4}, {"policy": dpo.model}, asked)
    assert said.metrics is not None


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_control_token_that_is_written_stays_text_in_every_template(kind: str) -> None:
    from training.engine import tokens

    tokenizer = architectures.tokenizer_of(kind)
    ids = tokens.encode_chat(tokenizer, [*say("user", HOSTILE), *say("assistant", "ok")], generation_prompt=False)
    # Turns that end: Qwen's template adds a system turn.
    assert ids.count(tokenizer.eos_token_id) == (3 if kind == "qwen2" else 2)
    assert HOSTILE in tokenizer.decode(ids)
    harmless = [*say("user", "Say red."), *say("assistant", "red")]
    assert tokens.encode_chat(tokenizer, harmless) == tokenizer.apply_chat_template(harmless, tokenize=True, return_dict=False)


def test_experts_of_any_feed_forward_layout_have_neurons_of_their_own() -> None:
    from training.engine import language

    for kind in ("llama", "qwen2", "phi3"):
        model = architectures.model_of(kind, architectures.tokenizer_of(kind))
        language.only_neurons(model, 1, 4)
        moved = {name.split(".")[-2] for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert moved == ({"gate_up_proj", "down_proj"} if kind == "phi3" else {"gate_proj", "up_proj", "down_proj"})
