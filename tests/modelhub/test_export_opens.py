"""An export opens in plain transformers with the very logits of what was trained, and its adapter, or one that was brought in, in PEFT with
those of the whole model."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from modelhub import artifacts, exports, imports, versions

pytest.importorskip("trl", reason="the engine's packages are not installed")
pytestmark = [pytest.mark.engine, pytest.mark.django_db]

TRAIN = """
import sys
from pathlib import Path
from tests.engine import tiny
from training.engine import attempt
out = Path(sys.argv[1])
base = tiny.untrained(out / "base")
params = {"learning_rate": 5e-3, "max_steps": 3, "batch_size": 4, "lora": {"r": 4, "alpha": 8}}
folder = tiny.lay_out(out / "attempt", params, base, {"train.jsonl": tiny.pairs(12)})
sys.exit(attempt.main(folder))
"""
OPEN = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
out = sys.argv[1]
def whole(name):
    model, info = AutoModelForCausalLM.from_pretrained(f"{out}/{name}", output_loading_info=True, dtype="auto")
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model.eval()
tokenizer = AutoTokenizer.from_pretrained(f"{out}/hf")
ids = tokenizer.apply_chat_template([{"role": "user", "content": "What is it?"}], add_generation_prompt=True, return_tensors="pt")
ids = ids["input_ids"] if hasattr(ids, "keys") else ids
def logits(model):
    with torch.no_grad():
        return model(input_ids=ids).logits.float()
trained, base = logits(whole("attempt/output")), logits(whole("base"))
adapter = PeftModel.from_pretrained(whole("base-hf"), f"{out}/adapter").eval()
brought = PeftModel.from_pretrained(whole("base-hf"), f"{out}/brought").eval()
narrow = whole("narrow")
assert next(narrow.parameters()).dtype == torch.bfloat16
for name, tensor in whole("hf").state_dict().items():
    assert torch.equal(tensor.to(torch.bfloat16), narrow.state_dict()[name]), name
print(json.dumps({
    "moved": float((trained - base).abs().max()), "folder": float((logits(whole("hf")) - trained).abs().max()),
    "zip": float((logits(whole("unzipped/ward-dpo")) - trained).abs().max()), "adapter": float((logits(adapter) - trained).abs().max()),
    "brought": float((logits(brought) - trained).abs().max()),
}))
"""


def child(code: str, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=280, check=False, env=environment,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_folder_zip_and_adapter_have_the_logits_that_were_trained(tmp_path: Path) -> None:
    child(TRAIN, tmp_path)
    attempt = tmp_path / "attempt"
    assert json.loads((attempt / "output_adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"
    base = versions.register(name="ward-base", kind="base", artifact=artifacts.save(artifacts.stage(folder=tmp_path / "base")), actor=None)
    version = versions.register(
        name="ward-dpo", kind="dpo", artifact=artifacts.save(artifacts.stage(folder=attempt / "output")), actor=None,
        adapter=artifacts.save(artifacts.stage(folder=attempt / "output_adapter")), parents=[(base, "policy")],
    )  # fmt: skip
    exports.write(version=base, to=tmp_path / "base-hf")
    exports.write(version=version, to=tmp_path / "hf")
    exports.write(version=version, to=tmp_path / "narrow", dtype="bfloat16")
    exports.write(version=version, to=tmp_path / "adapter", form="adapter")
    # As somebody else's adapter comes in, and goes out again by the name its base has here.
    brought = imports.import_adapter(folder=attempt / "output_adapter", base=base, name="ward-lora", same_base=True, actor=None).version
    exports.write(version=brought, to=tmp_path / "brought", form="adapter")
    assert json.loads((tmp_path / "brought" / "adapter_config.json").read_text())["base_model_name_or_path"] == "ward-base"
    with (tmp_path / "export.zip").open("wb") as stream:
        stream.writelines(exports.archive(exports.layout(version)).blocks())
    with zipfile.ZipFile(tmp_path / "export.zip") as opened:
        opened.extractall(tmp_path / "unzipped")
    found = json.loads(child(OPEN, tmp_path).splitlines()[-1])
    assert found["moved"] > 1e-3
    assert found["folder"] == 0.0
    assert found["zip"] == 0.0
    assert found["adapter"] < 1e-5
    assert found["brought"] < 1e-5
