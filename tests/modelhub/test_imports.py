"""What is found on the Hub comes in: Phi-3.5 with the code that lies beside it, MediPhi, and a LoRA adapter."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from modelhub import artifacts, imports, weights
from modelhub.errors import Refused
from modelhub.models import Kind, ModelVersion
from tests.modelhub import real

pytestmark = pytest.mark.django_db


def kept(version: ModelVersion) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in artifacts.folder(version.artifact).iterdir()}


def test_a_real_phi_comes_in_without_its_code(tmp_path: Path) -> None:
    source = real.phi(tmp_path / "Phi-3.5-mini-instruct")
    done = imports.import_folder(folder=source)
    assert done.left_out == (
        ".gitattributes", "CODE_OF_CONDUCT.md", "SECURITY.md", "configuration_phi3.py", "modeling_phi3.py", "sample_finetune.py",
    )  # fmt: skip
    version, files = done.version, kept(done.version)
    assert (version.architecture, version.licence, version.source_name) == ("Phi3ForCausalLM", "mit", "Phi-3.5-mini-instruct")
    assert "auto_map" in json.loads((source / "config.json").read_text())
    said = json.loads(files.pop("config.json"))
    assert said == {key: value for key, value in real.config().items() if key != "auto_map"}
    assert files == {name: (source / name).read_bytes() for name in files}
    assert {"NOTICE.md", "LICENSE", "tokenizer.model", "added_tokens.json"} <= set(files)
    assert "auto_map was left out" in version.notes
    assert artifacts.hash_of(source / "config.json") in version.notes


def test_a_real_mediphi_comes_in_though_its_configuration_points_to_phis_repository(tmp_path: Path) -> None:
    done = imports.import_folder(folder=real.mediphi(tmp_path / "MediPhi-Instruct"), kind="expert")
    assert "auto_map" not in json.loads(kept(done.version)["config.json"])
    assert done.left_out == (".gitattributes",)


def test_an_adapter_comes_in_as_a_child_of_its_base(tmp_path: Path) -> None:
    base = imports.import_folder(folder=real.phi(tmp_path / "Phi-3.5-mini-instruct"), name="phi").version
    done = imports.import_adapter(folder=real.lora(tmp_path / "triage-lora"), base=base)
    adapter = done.version
    assert (adapter.name, adapter.kind, adapter.architecture, adapter.licence) == ("triage-lora", Kind.ADAPTER, "Phi3ForCausalLM", "mit")
    assert [(edge.parent, edge.role) for edge in adapter.parent_edges.all()] == [(base, "base")]
    assert adapter.parameters == 2 * (2 * (8 + 24) + 2 * (12 + 8))
    assert adapter.tokenizer_digest == base.tokenizer_digest != ""
    assert set(kept(adapter)) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert "tokenizer.json" in done.left_out
    assert imports.import_adapter(folder=tmp_path / "triage-lora", base=base).already
    assert list(ModelVersion.objects.usable()) == [base]


def test_a_base_under_another_name_is_taken_at_the_trainers_word(tmp_path: Path) -> None:
    base = imports.import_folder(folder=real.phi(tmp_path / "a-copy")).version
    folder = real.lora(tmp_path / "lora")
    with pytest.raises(Refused, match=r"made for microsoft/Phi-3\.5-mini-instruct; expected a-copy.*--same-base"):
        imports.import_adapter(folder=folder, base=base)
    assert imports.import_adapter(folder=folder, base=base, same_base=True).version.kind == Kind.ADAPTER


def test_an_adapter_can_be_no_base_and_is_no_model(tmp_path: Path) -> None:
    base = imports.import_folder(folder=real.phi(tmp_path / "Phi-3.5-mini-instruct")).version
    adapter = imports.import_adapter(folder=real.lora(tmp_path / "lora"), base=base).version
    with pytest.raises(Refused, match="is an adapter itself"):
        imports.import_adapter(folder=tmp_path / "lora", base=adapter, name="again")
    with pytest.raises(Refused, match="not a model") as refusal:
        imports.import_folder(folder=tmp_path / "lora")
    assert refusal.value.code == "model.is_adapter"


def test_the_command_takes_adapters_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("import_model", str(real.phi(tmp_path / "phi")))
    folder = str(real.lora(tmp_path / "lora"))
    with pytest.raises(CommandError, match="no model called “nobody”"):
        call_command("import_model", folder, "--adapter-of", "nobody")
    call_command("import_model", folder, "--adapter-of", "phi", "--same-base", "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == "lora"


# The dtype, a value's bytes, and whether it is a number: the ends of each format, by its standard.
VALUES = {
    "largest F32": ("F32", "ffff7f7f", True), "F32 infinity": ("F32", "0000807f", False), "F32 NaN, negative": ("F32", "0100c0ff", False),
    "largest BF16": ("BF16", "7f7f", True), "BF16 infinity, negative": ("BF16", "80ff", False), "largest F16": ("F16", "ff7b", True),
    "F16 infinity": ("F16", "007c", False), "F64 NaN": ("F64", "000000000000f87f", False), "largest E4M3": ("F8_E4M3", "7e", True),
    "E4M3 NaN": ("F8_E4M3", "ff", False), "largest E5M2": ("F8_E5M2", "7b", True), "E5M2 infinity": ("F8_E5M2", "fc", False),
    "E8M0 NaN": ("F8_E8M0", "ff", False), "an integer of all ones": ("I32", "ffffffff", True),
}  # fmt: skip


@pytest.mark.parametrize("what", VALUES)
def test_no_number_is_found_by_its_bits(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dtype, value, fine = VALUES[what]
    width = len(value) // 2
    monkeypatch.setattr(weights, "CHUNK", 16)
    text = json.dumps({"w": {"dtype": dtype, "shape": [33], "data_offsets": [0, 33 * width]}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(32 * width) + bytes.fromhex(value))
    header = weights.read_header(path)
    if fine:
        weights.check_finite(path, header, name="w.safetensors")
    else:
        with pytest.raises(Refused, match="tensor w ") as refusal:
            weights.check_finite(path, header, name="w.safetensors")
        assert refusal.value.code == "model.nonfinite"
