"""Model folders and adapters that want harm, or are not what they say: each refused by a named code, and nothing of them stays."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelhub import imports
from modelhub.errors import Refused
from modelhub.models import Artifact, LineageEdge, ModelVersion
from tests.modelhub import real

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.django_db
Spoil = Callable[[Path], Any]
HEAVY = {"torch", "transformers", "safetensors", "peft"}
CFG, TOKENS = "config.json", "tokenizer_config.json"
FIRST, SECOND, INDEX = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"


def write(name: str, content: bytes | str) -> Spoil:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def say(name: str, **changes: Any) -> Spoil:
    """Change keys of a JSON file."""

    def spoil(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(found | changes))

    return spoil


def auto_map(**places: Any) -> Spoil:
    return say(CFG, auto_map=places)


def place(tensor: str, shard: str) -> Spoil:
    def spoil(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        index["weight_map"][tensor] = shard
        (folder / INDEX).write_text(json.dumps(index))

    return spoil


def header(length: int | None = None, **changes: Any) -> Spoil:
    """Another header over the first shard's bytes."""

    def spoil(folder: Path) -> None:
        content = (folder / FIRST).read_bytes()
        size = int.from_bytes(content[:8], "little")
        said = json.loads(content[8 : 8 + size])
        said["model.embed_tokens.weight"] |= changes
        text = json.dumps(said).encode()
        (folder / FIRST).write_bytes((length or len(text)).to_bytes(8, "little") + text + content[8 + size :])

    return spoil


def weights(**content: Any) -> Spoil:
    """All tensors in one file, as `content` changes them; None takes one away."""

    def spoil(folder: Path) -> None:
        for name in (FIRST, SECOND, INDEX):
            (folder / name).unlink()
        shapes = real.tensors() | {name.replace("__", "."): shape for name, shape in content.items() if not name.startswith("spoil")}
        whole = {name: shape for name, shape in shapes.items() if shape is not None}
        (folder / "model.safetensors").write_bytes(real.bf16(whole, spoil=content.get("spoil", ""), bits=content.get("spoil_bits", 0x7FC0)))

    return spoil


def link(name: str) -> Spoil:
    return lambda folder: [(folder / name).unlink(missing_ok=True), (folder / name).symlink_to(folder.parent / "canary")]


def hard_link(name: str) -> Spoil:
    return lambda folder: [(folder / name).unlink(missing_ok=True), os.link(folder.parent / "canary", folder / name)]


def rename(old: str, new: str) -> Spoil:
    return lambda folder: (folder / old).rename(folder / new)


def hole(name: str, size: int) -> Spoil:
    return lambda folder: [(folder / name).touch(), os.truncate(folder / name, size)]


def template(text: Any) -> Spoil:
    return say(TOKENS, chat_template=text)


class Canary:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


PICKLE = pickle.dumps(Canary())
ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
MAP = "model.layers.0.self_attn.qkv_proj.weight"
# What was done to a whole Phi-3.5 folder, the code of the refusal, and the file it names.
MODELS: dict[str, tuple[Spoil, str, str]] = {
    "a pickle beside the weights": (write("pytorch_model.bin", PICKLE), "model.unsafe_format", "pytorch_model.bin"),
    "training arguments, pickled": (write("training_args.bin", PICKLE), "model.unsafe_format", "training_args.bin"),
    "a pickle named safetensors": (write(FIRST, PICKLE + bytes(64)), "model.corrupt", FIRST),
    "a library": (write("libtorch_ops.so", b"\x7fELF"), "model.remote_code", "libtorch_ops.so"),
    "a shell script": (write("setup.sh", "touch ran"), "model.remote_code", "setup.sh"),
    "code of somebody's repository": (auto_map(AutoModelForCausalLM="evil/phi--modeling_phi3.Phi3ForCausalLM"), "model.remote_code", CFG),
    "code of a class of its own": (auto_map(AutoModelForCausalLM="modeling_phi3.Evil"), "model.remote_code", CFG),
    "code of a file of its own": (auto_map(AutoConfig="evil.Phi3Config"), "model.remote_code", CFG),
    "code by a path": (auto_map(AutoConfig="../../evil/configuration_phi3.Phi3Config"), "model.remote_code", CFG),
    "code for the tokenizer": (say(TOKENS, auto_map={"AutoTokenizer": ["tok.Evil", None]}), "model.remote_code", TOKENS),
    "remote code, nested": (say(CFG, text_config={"trust_remote_code": True}), "model.remote_code", CFG),
    "remote code, for truth a number": (say("generation_config.json", trust_remote_code=1), "model.remote_code", "generation_config.json"),
    "a pipeline of its own": (say(CFG, custom_pipelines={"x": {"impl": "x.Y"}}), "model.remote_code", CFG),
    "an unknown type with code": (say(CFG, model_type="phi-msft", auto_map={"AutoConfig": "c.D"}), "model.unknown_architecture", CFG),
    "an encoder": (say(CFG, architectures=["Phi3ForSequenceClassification"]), "model.not_causal", CFG),
    "quantised weights": (say(CFG, quantization_config={"quant_method": "awq"}), "model.quantised", CFG),
    "a link to a secret": (link("README.md"), "model.link", "README.md"),
    "a link for weights": (link(SECOND), "model.link", SECOND),
    "a hard link to a secret": (hard_link("LICENSE"), "model.link", "LICENSE"),
    "a pipe": (lambda folder: os.mkfifo(folder / "merges.txt"), "model.not_a_file", "merges.txt"),
    "an index that leads out": (place(MAP, "../../../etc/passwd"), "model.path", INDEX),
    "an index with an absolute path": (place(MAP, "/etc/passwd"), "model.path", INDEX),
    "an index with a NUL": (place(MAP, SECOND + "\0.safetensors"), "model.path", INDEX),
    "an index to the wrong shard": (place("lm_head.weight", FIRST), "model.bad_index", INDEX),
    "an index that is none": (write(INDEX, '{"weight_map": [], "metadata": {}}'), "model.bad_index", INDEX),
    "a shard too few": (lambda folder: (folder / SECOND).unlink(), "model.missing_shard", SECOND),
    "a hundred thousand shards": (rename(FIRST, "model-00001-of-99999.safetensors"), "model.bad_index", "model-00001-of-99999.safetensors"),
    "a tensor in two files": (
        lambda f: (f / "model.safetensors").write_bytes((f / FIRST).read_bytes()), "model.bad_index", "model.safetensors",
    ),
    "two names in one": (write("Config.json", "{}"), "model.path", CFG),
    "a name of look-alikes": (write("ｍodel.safetensors", b""), "model.path", "ｍodel.safetensors"),
    "a name that turns the reading round": (write("x\u202enosj.gifnoc", b""), "model.path", "x\u202enosj.gifnoc"),
    "a name with a backslash": (write("..\\..\\model.safetensors", b""), "model.path", "..\\..\\model.safetensors"),
    "a header of terabytes": (header(length=2**40), "model.corrupt", FIRST),
    "a header beyond the limit": (header(length=100_000_001), "model.corrupt", FIRST),
    "offsets beyond the file": (header(data_offsets=[0, 2**40]), "model.corrupt", FIRST),
    "a shape larger than its bytes": (header(shape=[2**31, 2**31]), "model.corrupt", FIRST),
    "a truncated file": (lambda folder: os.truncate(folder / FIRST, (folder / FIRST).stat().st_size - 7), "model.corrupt", FIRST),
    "a vocabulary that lies": (say(CFG, vocab_size=32064), "model.shape_mismatch", CFG),
    "a width that lies": (say(CFG, hidden_size=16), "model.shape_mismatch", CFG),
    "heads that lie": (say(CFG, num_key_value_heads=1), "model.shape_mismatch", CFG),
    "layers that lie": (say(CFG, num_hidden_layers=10**8), "model.shape_mismatch", CFG),
    "a size of a trillion": (say(CFG, vocab_size=10**12), "model.bad_config", CFG),
    "a tensor too few": (weights(model__norm__weight=None), "model.missing_tensor", ""),
    "a tensor too many": (weights(model__layers__0__evil__weight=[2, 2]), "model.unknown_tensor", ""),
    "a NaN": (weights(spoil=MAP), "model.nonfinite", "model.safetensors"),
    "an infinity": (weights(spoil="lm_head.weight", spoil_bits=0xFF80), "model.nonfinite", "model.safetensors"),
    "a token beyond the embedding": (write("tokenizer.json", real.tokenizer(last=real.WORDS)), "model.vocab_mismatch", "tokenizer.json"),
    "a tokenizer of no kind": (
        write("tokenizer.json", '{"model": {"type": "Pickle", "vocab": {}}}'), "model.bad_tokenizer", "tokenizer.json",
    ),
    "a tokenizer of a hundred megabytes": (
        lambda folder: os.truncate(folder / "tokenizer.json", 10**8), "model.too_large", "tokenizer.json",
    ),
    "a template that reaches for Python": (template(ESCAPE), "model.chat_template", TOKENS),
    "such a template in a file": (write("chat_template.jinja", ESCAPE), "model.chat_template", "chat_template.jinja"),
    "a template with a path for a name": (template([{"name": "../../x", "template": ""}]), "model.chat_template", TOKENS),
    "a template of a megabyte": (template("{{ messages }}" * 80_000), "model.chat_template", TOKENS),
    "JSON a hundred thousand deep": (write("config.json", "[" * 100_000), "model.not_json", CFG),
    "JSON with NaN": (write("generation_config.json", '{"temperature": NaN}'), "model.not_json", "generation_config.json"),
    "JSON with a key twice": (write("config.json", '{"model_type": "phi3", "model_type": "x"}'), "model.not_json", CFG),
    "a configuration of megabytes": (write("config.json", b" " * (8 * 2**20 + 1)), "model.too_large", CFG),
    "a file of eight terabytes that takes no room": (hole("vocab.json", 2**43), "model.no_room", ""),
}  # fmt: skip


def change(name: str, *, spoil: str = "", **tensors: Any) -> Spoil:
    """Other tensors for an adapter: `name` is the key's end, None takes it away."""

    def act(folder: Path) -> None:
        found = {key: tensors.get("shape") if key.endswith(name) else shape for key, shape in real.lora_tensors().items()}
        kept = {key: shape for key, shape in found.items() if shape is not None}
        (folder / "adapter_model.safetensors").write_bytes(real.bf16(kept, spoil=spoil))

    return act


def lora(**changes: Any) -> Spoil:
    return say("adapter_config.json", **changes)


CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
QKV_A = "0.self_attn.qkv_proj.lora_A.weight"
ADAPTERS: dict[str, tuple[Spoil, str, str]] = {
    "a pickled adapter": (write("adapter_model.bin", PICKLE), "model.unsafe_format", "adapter_model.bin"),
    "code in an adapter": (write("modeling.py", "import os"), "model.remote_code", "modeling.py"),
    "a library to import": (lora(auto_mapping={"base_model_class": "X", "parent_library": "evil"}), "model.remote_code", CONFIG),
    "another library to import": (lora(megatron_core="evil.core"), "model.remote_code", CONFIG),
    "remote code in an adapter": (lora(eva_config={"trust_remote_code": True}), "model.remote_code", CONFIG),
    "another base": (lora(base_model_name_or_path="meta-llama/Llama-3.2-1B"), "model.base_mismatch", CONFIG),
    "a base by a path": (lora(base_model_name_or_path="../../etc/passwd"), "model.base_mismatch", CONFIG),
    "a base by an address": (lora(base_model_name_or_path="https://evil.example/x?revision=main"), "model.base_mismatch", CONFIG),
    "a base of another width": (change(QKV_A, shape=[2, 16]), "model.base_mismatch", ADAPTER),
    "another rank": (lora(r=16), "model.rank_mismatch", ADAPTER),
    "a rank of a million": (lora(r=10**6), "model.adapter_key", CONFIG),
    "half a pair": (change(QKV_A, shape=None), "model.adapter_tensors", ADAPTER),
    "a module that is not there": (lora(target_modules=["qkv_proj", "down_proj", "q_proj"]), "model.no_such_module", CONFIG),
    "a target that was not named": (lora(target_modules=["qkv_proj"]), "model.adapter_tensors", ADAPTER),
    "a pattern to be tried for hours": (lora(target_modules="(a+)+$"), "model.adapter_key", CONFIG),
    "DoRA": (lora(use_dora=True), "model.adapter_type", CONFIG),
    "IA3": (lora(peft_type="IA3"), "model.adapter_type", CONFIG),
    "PiSSA, which changes the base": (lora(init_lora_weights="pissa_niter_4"), "model.adapter_type", CONFIG),
    "whole modules": (lora(modules_to_save=["lm_head"]), "model.adapter_type", CONFIG),
    "a key of tomorrow": (lora(hyper_lora={"on": True}), "model.adapter_key", CONFIG),
    "an adapter of nothing": (change("", shape=None), "model.adapter_tensors", ADAPTER),
    "a NaN in an adapter": (
        change(QKV_A, spoil="base_model.model.model.layers." + QKV_A, shape=[2, real.WIDE]), "model.nonfinite", ADAPTER,
    ),
}  # fmt: skip


def places(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def rows() -> tuple[int, int, int]:
    return Artifact.objects.count(), ModelVersion.objects.count(), LineageEdge.objects.count()


def is_refused(act: Callable[[], Any], tmp_path: Path, code: str, name: str) -> None:
    """By that code and name, with no row, no file anywhere but the store's empty folders, and nothing run or loaded."""
    before, had, loaded = places(tmp_path), rows(), HEAVY & sys.modules.keys()
    with pytest.raises(Refused) as refusal:
        act()
    assert (refusal.value.code, refusal.value.file) == (code, name), refusal.value
    assert refusal.value.message
    assert rows() == had
    new = {place for place in places(tmp_path) - before if not (tmp_path / place).is_dir()}
    assert not new
    assert not any("ran" in place.split("/") for place in places(tmp_path))
    assert not list((tmp_path / "data" / "artifacts").glob("incoming/*"))
    assert HEAVY & sys.modules.keys() == loaded


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "canary").write_text("a secret")
    return tmp_path / "outside"


@pytest.mark.parametrize("what", MODELS)
def test_a_hostile_model_is_refused_by_name(what: str, outside: Path, tmp_path: Path) -> None:
    spoil, code, name = MODELS[what]
    folder = real.phi(outside / "phi")
    spoil(folder)
    is_refused(lambda: imports.import_folder(folder=folder), tmp_path, code, name)


@pytest.fixture
def base(outside: Path) -> ModelVersion:
    return imports.import_folder(folder=real.phi(outside / "Phi-3.5-mini-instruct"), name="phi").version


@pytest.mark.parametrize("what", ADAPTERS)
def test_a_hostile_adapter_is_refused_by_name(what: str, outside: Path, base: ModelVersion, tmp_path: Path) -> None:
    spoil, code, name = ADAPTERS[what]
    folder = real.lora(outside / "adapter")
    spoil(folder)
    is_refused(lambda: imports.import_adapter(folder=folder, base=base), tmp_path, code, name)


def test_a_base_of_other_sizes_is_refused_whatever_it_is_called(outside: Path, tmp_path: Path) -> None:
    small = imports.import_folder(folder=other_phi(outside / "Phi-3.5-mini-instruct"), name="other").version
    folder = real.lora(outside / "adapter")
    is_refused(lambda: imports.import_adapter(folder=folder, base=small, same_base=True), tmp_path, "model.base_mismatch", ADAPTER)


def test_looking_loads_neither_torch_nor_django(tmp_path: Path) -> None:
    """The same code, alone in a process, on a folder that is refused only when its weights were read."""
    folder = real.phi(tmp_path / "phi")
    weights(spoil=MAP)(folder)
    code = f"""
import sys
from pathlib import Path
from modelhub import intake
from modelhub.refusals import Refused
try:
    intake.bring(Path({str(folder)!r}), Path({str(tmp_path / "copy")!r}))
except Refused as refused:
    print(refused.code, sorted(set({sorted(HEAVY | {"django"})!r}) & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=PROJECT)
    assert done.stdout == "model.nonfinite []\n"


def other_phi(folder: Path) -> Path:
    """A whole Phi-3 of one layer more of inner width."""
    real.phi(folder, intermediate_size=real.INNER + 1)
    for name in (FIRST, SECOND, INDEX):
        (folder / name).unlink()
    wider = {
        key: [n + (n == real.INNER) + 2 * (n == 2 * real.INNER) * ("gate" in key) for n in shape] for key, shape in real.tensors().items()
    }
    (folder / "model.safetensors").write_bytes(real.bf16(wider))
    return folder
