"""LoRA adapters as inputs of a merge, against PEFT's own merging; and an adapter made of two models' difference."""

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the engine's packages are not installed")
from safetensors.torch import load_file, save_file  # noqa: E402

from tests.engine import merges, tiny  # noqa: E402
from training.engine.errors import BadModel  # noqa: E402
from training.engine.merging import adapters  # noqa: E402

ONTO: dict[str, Any] = {"method": "task_arithmetic", "base": "base", "inputs": [{"model": "adapter"}], "parameters": {"weight": 1.0}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.untrained(tmp_path_factory.mktemp("base") / "base")


def with_adapter(base: Path, folder: Path, **options: Any) -> Any:
    """A PEFT model with a random adapter, saved to ``folder``."""
    import peft
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["qkv_proj", "down_proj"], "task_type": "CAUSAL_LM"} | options)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True, "alpha_pattern": {"down_proj": 3}, "rank_pattern": {"down_proj": 2}},
        {"target_modules": ["embed_tokens", "o_proj"]},
    ],
    ids=["plain", "rslora and patterns", "an embedding"],
)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_an_adapter_merged_into_its_base_is_what_peft_makes_of_it(base: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    expected = with_adapter(base, tmp_path / "adapter", **options).merge_and_unload().state_dict()
    merges.merged(ONTO, {"base": base, "adapter": tmp_path / "adapter"}, tmp_path, reported=False)
    made, before = load_file(tmp_path / "output" / "model.safetensors"), load_file(base / "model.safetensors")
    changed = [name for name in made if not torch.equal(made[name], before[name])]
    assert len(changed) == (3 if "target_modules" in options else 4)
    assert max(float((made[name] - expected[name]).abs().max()) for name in made) <= 1e-6


def test_adapters_and_whole_models_merge_together(base: Path, tmp_path: Path) -> None:
    """An adapter stands for the base with it on: the same as that model's own folder."""
    with_adapter(base, tmp_path / "adapter")
    merges.merged(ONTO, {"base": base, "adapter": tmp_path / "adapter"}, tmp_path / "onto")
    recipe = {"method": "slerp", "base": "base", "inputs": [{"model": "adapter"}], "parameters": {"t": 0.3}}
    merges.merged(recipe, {"base": base, "adapter": tmp_path / "adapter"}, tmp_path / "one")
    merges.merged(recipe, {"base": base, "adapter": tmp_path / "onto" / "output"}, tmp_path / "other")
    one, other = (load_file(tmp_path / way / "output" / "model.safetensors") for way in ("one", "other"))
    assert max(float((one[name] - other[name]).abs().max()) for name in one) <= 1e-7


@pytest.mark.parametrize(
    ("config", "rename", "problem"),
    [
        ({"use_dora": True}, {}, "uses DoRA"),
        ({"modules_to_save": ["lm_head"]}, {}, "brings whole modules along"),
        ({"bias": "all"}, {}, "trains biases"),
        ({"peft_type": "IA3"}, {}, "of type IA3"),
        ({}, {"layers.0": "layers.9"}, r"changes model.layers.9.*, which the base has not"),
        ({}, {"qkv_proj": "o_proj"}, r"o_proj.weight has another shape than the base's: found \[96, 32\], expected \[32, 32\]"),
        ({}, {"lora_A": "lora_magnitude_vector"}, "is no part of a plain LoRA adapter"),
        ({}, {"down_proj.lora_A": "gate_up_proj.lora_A"}, "has no fitting pair of A and B"),
    ],
)
def test_an_adapter_that_is_more_than_two_matrices_is_refused_by_name(
    base: Path, tmp_path: Path, config: dict[str, Any], rename: dict[str, str], problem: str
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    told = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["qkv_proj", "down_proj"]}
    (folder / adapters.CONFIG).write_text(json.dumps(told | config))
    tensors = {}
    for module, (rows, columns) in {"self_attn.qkv_proj": (96, 32), "mlp.down_proj": (32, 64)}.items():
        at = f"base_model.model.model.layers.0.{module}"
        tensors |= {f"{at}.lora_A.weight": torch.ones(2, columns), f"{at}.lora_B.weight": torch.ones(rows, 2)}
    for old, new in rename.items():
        tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / adapters.WEIGHTS)
    with pytest.raises(BadModel, match=f"^adapter: .*{problem}"):
        merges.merged(ONTO, {"base": base, "adapter": folder}, tmp_path)


def test_an_extracted_adapter_is_the_best_of_its_rank_and_peft_loads_it(base: Path, tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    before = load_file(base / "model.safetensors")
    draw = torch.Generator().manual_seed(4)
    after = {name: tensor + 0.02 * torch.randn(tensor.shape, generator=draw) * ("layers" in name) for name, tensor in before.items()}
    expert = tmp_path / "expert"
    expert.mkdir()
    for file in base.iterdir():
        (expert / file.name).write_bytes(file.read_bytes())
    save_file(after, expert / "model.safetensors", metadata={"format": "pt"})
    told = adapters.extract(base, expert, tmp_path / "adapter", rank=6)
    for name, said in told.items():
        delta = (after[name] - before[name]).double()
        if delta.dim() == 1:  # a norm's change no adapter holds: said, and lost
            assert (said["error"], "norm" in name) == (1.0, True)
            continue
        values = torch.linalg.svdvals(delta)
        bound = float((values[6:].square().sum() / values.square().sum()).sqrt())
        assert said["error"] == pytest.approx(bound, rel=1e-5)
        assert said["bound"] == pytest.approx(bound, rel=1e-5)
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter").merge_and_unload()
    merges.merged(ONTO, {"base": base, "adapter": tmp_path / "adapter"}, tmp_path)
    made = load_file(tmp_path / "output" / "model.safetensors")
    assert max(float((tensor - made[name]).abs().max()) for name, tensor in model.state_dict().items()) <= 1e-6


def test_a_large_matrix_is_decomposed_as_well_as_a_small_one() -> None:
    """By random projections, the same every time; a spectrum that falls slowly, as that of fine-tuning does."""
    draw = torch.Generator().manual_seed(1)
    left, right = torch.linalg.qr(torch.randn(700, 530, generator=draw)).Q, torch.linalg.qr(torch.randn(600, 530, generator=draw)).Q
    values = 1 / torch.arange(1, 531).float().sqrt()
    delta = left * values @ right.T
    one, other, bound = adapters.nearest(delta, 8)
    exact = float((values[8:].square().sum() / values.square().sum()).sqrt())
    assert float((delta - one @ other).norm() / delta.norm()) == pytest.approx(exact, rel=1e-3)
    assert bound == pytest.approx(exact, rel=1e-3)
    assert torch.equal(adapters.nearest(delta, 8)[0], one)
