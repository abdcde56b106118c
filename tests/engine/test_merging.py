"""Merging whole folders."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the engine's packages are not installed")
from safetensors.torch import load_file, save_file  # noqa: E402

from training.engine.errors import BadModel  # noqa: E402
from training.engine.merging import folders, operators  # noqa: E402
from training.engine.recipes import Input, Recipe, resolve  # noqa: E402


def folder(path: Path, **tensors: "torch.Tensor") -> Path:
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"model_type": "phi3", "hidden_size": 2}))
    (path / "tokenizer.json").write_text("{}")
    return path


def test_a_merge_keeps_dtype_configuration_and_tokenizer(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", w=torch.ones(2, 2, dtype=torch.bfloat16))
    two = folder(tmp_path / "two", w=torch.full((2, 2), 3.0, dtype=torch.bfloat16))
    seen: list[tuple[int, int]] = []
    half = Recipe(method="slerp", base="base", inputs=(Input("expert"),), parameters={"t": 0.5})
    folders.merge(
        {"base": one, "expert": two}, tmp_path / "out",
        lambda name, parts: operators.combine(resolve(half, name, 1), operators.Parts(name, parts["base"], [parts["expert"]])),
        lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    made = load_file(tmp_path / "out" / "model.safetensors")["w"]
    assert made.dtype == torch.bfloat16
    assert made.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.safetensors", "config.json", "tokenizer.json"}
    assert seen == [(1, 1)]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: (path / "tokenizer.json").write_text("[]"), "tokenizer.json differs"),
        (lambda path: (path / "config.json").write_text('{"model_type": "phi3", "hidden_size": 4}'), "hidden_size differs"),
        (lambda path: (path / "config.json").unlink(), "config.json"),
        (lambda path: save_file({"v": torch.ones(2, 2)}, path / "model.safetensors"), "tensors are not"),
        (lambda path: save_file({"w": torch.ones(4, 1)}, path / "model.safetensors"), "another shape"),
        (lambda path: save_file({"w": torch.full((2, 2), torch.nan)}, path / "model.safetensors"), "not finite"),
        (lambda path: (path / "model.safetensors").unlink(), "no safetensors"),
    ],
)
def test_models_that_do_not_fit_are_refused(tmp_path: Path, spoil: object, problem: str) -> None:
    one, two = folder(tmp_path / "one", w=torch.ones(2, 2)), folder(tmp_path / "two", w=torch.ones(2, 2))
    spoil(two)  # type: ignore[operator]
    with pytest.raises(BadModel, match=problem):
        folders.merge({"base": one, "expert": two}, tmp_path / "out", lambda name, parts: parts["expert"], lambda done, total: None)
    assert not (tmp_path / "out").exists()


def test_merging_imports_no_transformers() -> None:
    code = "import sys; import training.engine.kinds.merge; print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True False\n"
