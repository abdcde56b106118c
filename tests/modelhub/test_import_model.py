"""`manage.py import_model FOLDER`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from modelhub import architectures, artifacts
from modelhub.models import Artifact, ModelVersion
from tests.modelhub import real
from tests.modelhub.conftest import PHI3

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


def run(folder: Path, *arguments: str) -> str:
    out = StringIO()
    call_command("import_model", str(folder), *arguments, stdout=out)
    return out.getvalue()


def test_a_folder_becomes_a_version(model_folder: Make) -> None:
    said = run(model_folder("my-phi", files={"README.md": b"---\nlicense: mit\ntags: [x]\n---\n# Hello\nlicense: wrong\n"}))
    version = ModelVersion.objects.get()
    assert (version.name, version.kind, version.licence, version.toy, version.simulated) == ("my-phi", "base", "mit", False, False)
    assert "my-phi was imported: Phi3ForCausalLM, 28 parameters" in said


def test_the_last_line_is_json_when_asked(model_folder: Make) -> None:
    source = model_folder("my-phi", files={"notes.txt": b"x"})
    said = json.loads(run(source, "--json", "--name", "phi", "--kind", "expert", "--licence", "mit").splitlines()[-1])
    version = ModelVersion.objects.get()
    assert said == {
        "version": str(version.public_id), "name": "phi", "architecture": "Phi3ForCausalLM", "parameters": 28,
        "bytes": version.artifact.bytes, "digest": version.artifact.digest, "licence": "mit", "left_out": ["notes.txt"],
        "removed": "", "already": False,
    }  # fmt: skip
    assert version.kind == "expert"


def test_twice_is_once(model_folder: Make) -> None:
    source = model_folder()
    run(source)
    assert "is here already" in run(source)
    assert ModelVersion.objects.count() == Artifact.objects.count() == 1


def test_another_model_cannot_take_a_name(model_folder: Make) -> None:
    run(model_folder("one"), "--name", "phi")
    with pytest.raises(CommandError, match=r"“phi” already.*Use --name"):
        run(model_folder("two", value=0.25), "--name", "phi")
    assert ModelVersion.objects.count() == Artifact.objects.count() == 1


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an encoder": ({"architectures": ["BertForSequenceClassification"], "model_type": "bert"}, "model.not_causal"),
    "a vision model": ({"architectures": ["ViTForImageClassification"], "model_type": "vit"}, "model.not_causal"),
    "no architecture": ({"model_type": "phi3"}, "model.no_architecture"),
    "no model type": ({"architectures": ["Phi3ForCausalLM"]}, "model.no_architecture"),
    "code of its own": ({**PHI3, "auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}, "model.remote_code"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_causal_language_model_is_refused(model_folder: Make, what: str) -> None:
    config, code = REFUSED[what]
    with pytest.raises(CommandError) as refusal:
        run(model_folder(config=config), "--json")
    said = json.loads(str(refusal.value))
    assert (said["refused"], said["file"]) == (code, "config.json")
    assert not ModelVersion.objects.exists()


@pytest.mark.skipif(architectures.causal_models() is None, reason="transformers is not installed to ask")
def test_an_architecture_transformers_does_not_know_is_refused(model_folder: Make) -> None:
    config = {"architectures": ["NovelForCausalLM"], "model_type": "novel"}
    with pytest.raises(CommandError, match=r"model\.unknown_architecture"):
        run(model_folder(config=config))


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_part_is_named(model_folder: Make, missing: str) -> None:
    source = model_folder()
    (source / missing).unlink()
    with pytest.raises(CommandError, match=missing.replace("model.", r"\*.")):
        run(source)


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is not a folder"):
        run(tmp_path / "nowhere")


@pytest.mark.engine
def test_models_that_transformers_wrote_come_in_and_open_again(tmp_path: Path) -> None:
    """Three architectures, untied and tied, whole and in shards: saved by transformers, imported, opened from the store."""
    code = """
import json, sys, torch
from pathlib import Path
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Phi3Config, PreTrainedTokenizerFast
out = Path(sys.argv[1])
small = dict(vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2)
configs = {"phi3": Phi3Config(**small, pad_token_id=0), "llama": LlamaConfig(**small, tie_word_embeddings=True),
           "gpt2": GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2)}
words = {f"w{i}": i for i in range(40)}
figures = {}
for name, config in configs.items():
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(out / name, max_shard_size="8KB" if name == "phi3" else "5GB")
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0")); tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0").save_pretrained(out / name)
    figures[name] = sum(p.numel() for p in model.parameters())
print(json.dumps(figures))
"""
    saved = tmp_path / "saved"
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert len(list((saved / "phi3").glob("*.safetensors"))) > 1
    folders = []
    for name, parameters in figures.items():
        said = json.loads(run(saved / name, "--json"))
        assert said["parameters"] == parameters, name
        folders.append(str(artifacts.folder(Artifact.objects.get(digest=said["digest"]))))
    # One with code beside it, as Microsoft's is: from the store it opens as transformers' own class, and no code of its own runs.
    said = json.loads(run(real.phi(tmp_path / "phi-with-code"), "--json"))
    folders.append(str(artifacts.folder(Artifact.objects.get(digest=said["digest"]))))
    opens = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
for folder in sys.argv[1:]:
    if folder != sys.argv[-1]:
        AutoTokenizer.from_pretrained(folder)
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", opens, *folders], capture_output=True, text=True, timeout=200, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
