"""Merging whole folders: what comes out, what is refused, and what is said of it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the engine's packages are not installed")
from safetensors.torch import load_file, save_file  # noqa: E402

from tests.engine import merges  # noqa: E402
from tests.engine.merges import TIES, Tensors  # noqa: E402
from training.engine import recipes  # noqa: E402
from training.engine.errors import BadModel, DiskFull  # noqa: E402
from training.engine.merging import journal, operators, plan, stream  # noqa: E402

HALF: dict[str, Any] = {"method": "slerp", "base": "base", "inputs": [{"model": "x"}], "parameters": {"t": 0.5}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return merges.family(tmp_path_factory.mktemp("family"))


def by_hand(recipe: dict[str, Any], parts: dict[str, Tensors], name: str, keys: Sequence[str] = ()) -> torch.Tensor:
    """One tensor by the operator, of stored tensors or those made by hand; float32."""
    parsed = recipes.parse(recipe)
    base = None if parsed.base is None else parts[parsed.base][name]
    taken = operators.held(name, base, [parts[entry.model][name] for entry in parsed.inputs], keys)
    return operators.combine(recipes.resolve(parsed, name, 2), taken)


EXPERTS = [{"model": "x"}, {"model": "y"}, {"model": "z"}]
METHODS: list[dict[str, Any]] = [
    {"method": "linear", "inputs": EXPERTS, "parameters": {"weight": 0.3}},
    {"method": "task_arithmetic", "base": "base", "inputs": EXPERTS, "parameters": {"weight": [0.2, 0.7], "lambda": 0.9}},
    HALF,
    TIES | {"inputs": EXPERTS},
    {"method": "breadcrumbs_ties", "base": "base", "inputs": EXPERTS, "parameters": {"weight": 1.0, "density": 0.5, "gamma": 0.1}},
    {"method": "model_stock", "base": "base", "inputs": EXPERTS},
    # By rows that no chunk ends with.
    {"method": "della", "base": "base", "inputs": EXPERTS, "parameters": {"weight": 1.0, "density": 0.5, "epsilon": 0.2}},
    {"method": "sce", "base": "base", "inputs": EXPERTS, "parameters": {"select_topk": 0.3}},
    {"method": "nuslerp", "inputs": EXPERTS[:2], "parameters": {"weight": 1.0, "nuslerp_flatten": False, "nuslerp_row_wise": True}},
]


@pytest.mark.parametrize("recipe", METHODS, ids=lambda recipe: recipe["method"])
def test_a_folder_merged_from_files_is_every_tensor_merged_in_memory(recipe: dict[str, Any], models: Any, tmp_path: Path) -> None:
    stored = {name: load_file(folder / "model.safetensors") for name, folder in models.items()}
    with ExitStack() as stack:
        keys = [stream.fingerprint(stream.Weights(models[entry["model"]], stack)) for entry in recipe["inputs"]]
    merges.merged(recipe | {"out_dtype": "float32"}, models, tmp_path)
    made = load_file(tmp_path / "output" / "model.safetensors")
    assert list(made) == sorted(merges.SHAPES)
    for name, tensor in made.items():
        assert torch.equal(tensor, by_hand(recipe, stored, name, keys)), name


def test_a_merge_keeps_dtype_configuration_and_tokenizer(models: Any, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = merges.merged(HALF, models, tmp_path, on_tensor=lambda done, total: seen.append((done, total)))
    assert {path.name for path in (tmp_path / "output").iterdir()} == {"model.safetensors", "config.json", "tokenizer.json"}
    assert {tensor.dtype for tensor in load_file(tmp_path / "output" / "model.safetensors").values()} == {torch.bfloat16}
    assert (made.tensors, made.resumed, seen[-1]) == (4, 0, (4, 4))


def test_the_result_depends_on_no_number_of_workers_and_no_sharding(models: Any, tmp_path: Path) -> None:
    """One worker, or three; three files, or one, in and out: the same tensors. Only the files they lie in differ."""
    merges.merged(TIES, models, tmp_path / "one", workers=1)
    merges.merged(TIES, models, tmp_path / "three", workers=3, shard_bytes=200_000)
    names = sorted(path.name for path in (tmp_path / "three" / "output").glob("*.safetensors*"))
    assert names == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)] + ["model.safetensors.index.json"]
    one, three = (read(tmp_path / way / "output") for way in ("one", "three"))
    assert all(torch.equal(one[name], three[name]) for name in merges.SHAPES)
    again = merges.merged(TIES, models | {"x": tmp_path / "three" / "output"}, tmp_path / "again")
    merges.merged(TIES, models | {"x": tmp_path / "one" / "output"}, tmp_path / "twice")
    assert again.tensors == 4
    assert merges.digest(tmp_path / "again" / "output") == merges.digest(tmp_path / "twice" / "output")


def read(folder: Path) -> Tensors:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_a_chain_of_merges_is_rounded_once(models: Any, tmp_path: Path) -> None:
    """The paper's two steps as one recipe: each expert with the base, then all together, in float32 throughout."""
    steps = {f"{name}-half": HALF | {"inputs": [{"model": name}]} for name in "xy"}
    crumbs = {
        "method": "breadcrumbs_ties", "base": "base", "inputs": [{"model": "x-half"}, {"model": "y-half"}],
        "parameters": {"weight": 1.0, "density": 0.6, "gamma": 0.05},
    }  # fmt: skip
    merges.merged({**crumbs, "steps": steps}, models, tmp_path / "once")
    once = load_file(tmp_path / "once" / "output" / "model.safetensors")
    stored = {name: load_file(folder / "model.safetensors") for name, folder in models.items()}
    halves = {key: {name: by_hand(step, stored, name) for name in merges.SHAPES} for key, step in steps.items()}
    for key, step in steps.items():
        merges.merged(step, models, tmp_path / key)
    rounded = {key: tmp_path / key / "output" for key in steps}
    merges.merged(crumbs, models | rounded, tmp_path / "twice")
    twice = load_file(tmp_path / "twice" / "output" / "model.safetensors")
    far, farther = 0.0, 0.0
    for name, tensor in once.items():
        exact = by_hand(crumbs, stored | halves, name)
        # A threshold may fall between two changes that the rounding of a sum tells apart: a handful of entries, not one in a hundred.
        assert float((tensor.float() != exact.bfloat16().float()).float().mean()) < 0.002, name
        far, farther = far + float((tensor - exact).square().sum()), farther + float((twice[name] - exact).square().sum())
    assert far < 0.9 * farther


def test_tied_weights_and_whole_numbers_come_through(models: Any, tmp_path: Path) -> None:
    """One of two tied models has its output layer stored all the same: nothing reads it, and nothing is made of it."""
    table, ids = torch.ones(3, 2), torch.tensor([1, 2])
    base = merges.folder(tmp_path / "base", {"model.embed_tokens.weight": table, "ids": ids}, tie_word_embeddings=True)
    tensors = {"model.embed_tokens.weight": table * 3, "lm_head.weight": table * 3, "ids": ids}
    expert = merges.folder(tmp_path / "expert", tensors, tie_word_embeddings=True)
    merges.merged(HALF, {"base": base, "x": expert}, tmp_path)
    made = load_file(tmp_path / "output" / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in made.items()} == {"model.embed_tokens.weight": [[2.0, 2.0]] * 3, "ids": [1, 2]}
    other = merges.folder(tmp_path / "other", tensors | {"ids": ids + 1}, tie_word_embeddings=True)
    with pytest.raises(BadModel, match="x: ids differs from base's"):
        merges.merged(HALF, {"base": base, "x": other}, tmp_path / "refused")


def test_inputs_may_differ_in_dtype_and_the_output_may_be_asked_for(tmp_path: Path) -> None:
    base = merges.folder(tmp_path / "base", {"w": torch.ones(2, 2, dtype=torch.bfloat16)})
    x = merges.folder(tmp_path / "x", {"w": torch.full((2, 2), 2.0, dtype=torch.float64)}, torch_dtype="float64")
    merges.merged(HALF, {"base": base, "x": x}, tmp_path / "same")
    assert load_file(tmp_path / "same" / "output" / "model.safetensors")["w"].dtype == torch.bfloat16
    merges.merged(HALF | {"out_dtype": "float32"}, {"base": base, "x": x}, tmp_path / "wide")
    made = load_file(tmp_path / "wide" / "output" / "model.safetensors")["w"]
    assert (made.dtype, made.tolist()) == (torch.float32, [[1.5, 1.5]] * 2)
    huge = merges.folder(tmp_path / "huge", {"w": torch.full((2, 2), 1e6)})
    with pytest.raises(BadModel, match="w is not finite after merging: too large for float16"):
        merges.merged(HALF | {"out_dtype": "float16"}, {"base": base, "x": huge}, tmp_path / "narrow")


def stored(path: Path, **tensors: torch.Tensor) -> None:
    save_file(tensors, path / "model.safetensors")


def _index(path: Path) -> None:
    (path / plan.INDEX).write_text(json.dumps({"weight_map": {"w": "model.safetensors", "v": "model.safetensors"}}))


def _short(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-3])


OTHER_VOCAB = '{"model": {"vocab": {"b": 0}}}'
CONFIG = '{"model_type": "phi3", "hidden_size": 4, "num_hidden_layers": 2}'
LONGROPE = '{"model_type": "phi3", "hidden_size": 2, "num_hidden_layers": 2, "rope_scaling": {"type": "longrope", "long_factor": [2]}}'


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: (path / "tokenizer.json").write_text(OTHER_VOCAB), "x: tokenizer.json differs from base's in model"),
        (lambda path: (path / "tokenizer.json").unlink(), "x: tokenizer.json differs from base's: found none"),
        (lambda path: (path / "config.json").write_text(CONFIG), r"x: hidden_size differs from base's in config.json: found 4, expected 2"),
        (lambda path: (path / "config.json").write_text(LONGROPE), r"x: rope differs from base's in config.json: found .*long_factor"),
        (lambda path: (path / "config.json").unlink(), "x: the folder has no readable config.json"),
        (lambda path: stored(path, v=torch.ones(2, 2)), "x: its tensors are not base's: v found, expected none"),
        (lambda path: stored(path, w=torch.ones(4, 1)), r"x: w has another shape.*found \[4, 1\], expected \[2, 2\]"),
        (lambda path: stored(path, w=torch.ones(2, 2).long()), "x: w has another type.*found I64, expected F32"),
        (lambda path: stored(path, w=torch.full((2, 2), torch.nan)), "w is not finite after merging"),
        (lambda path: (path / "model.safetensors").unlink(), "x: the folder has no safetensors"),
        (lambda path: (path / "model.safetensors").write_bytes(b"\xff" * 20), "x: model.safetensors is no safetensors file"),
        (_short, "x: model.safetensors: w does not lie where the header says"),
        (_index, "x: model.safetensors.index.json and the files disagree about v"),
    ],
)
def test_models_that_do_not_fit_are_refused_by_name(tmp_path: Path, spoil: Any, problem: str) -> None:
    two = {name: merges.folder(tmp_path / name, {"w": torch.ones(2, 2)}) for name in ("base", "x")}
    spoil(two["x"])
    with pytest.raises(BadModel, match=problem):
        merges.merged(HALF, two, tmp_path)
    assert not (tmp_path / "output").exists()


def test_how_a_model_was_saved_makes_no_difference(tmp_path: Path) -> None:
    rope = {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}
    base = merges.folder(tmp_path / "base", {"w": torch.ones(2, 2)}, rope_theta=10000.0, rope_scaling=rope, torch_dtype="bfloat16")
    told = {"rope_type": "longrope", "rope_theta": 10000.0, "long_factor": [1.0], "short_factor": [1.0]}
    x = merges.folder(tmp_path / "x", {"w": torch.ones(2, 2)}, rope_parameters=told, transformers_version="5.0", use_cache=False)
    (x / "tokenizer.json").write_text('{"padding": {"x": 1}, "model": {"vocab": {"a":0}}}')
    assert merges.merged(HALF, {"base": base, "x": x}, tmp_path).tensors == 1


def test_room_is_asked_for_before_the_first_byte(models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 200_000

    monkeypatch.setattr(plan.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(DiskFull) as full:
        merges.merged(HALF, models, tmp_path)
    written = tmp_path / "written"
    monkeypatch.undo()
    merges.merged(HALF, models, written)
    assert full.value.need == sum(path.stat().st_size for path in (written / "output").iterdir())
    assert not list(tmp_path.glob("checkpoints/*/*"))


def test_the_report_says_what_was_done_to_each_tensor(tmp_path: Path) -> None:
    rows = {"base": [3.0, 4.0, 0.0, 0.0], "x": [3.0, 4.0, 3.0, 4.0], "y": [3.0, 4.0, 0.0, -4.0]}
    three = {
        name: merges.folder(tmp_path / name, {"model.layers.3.mlp.up.weight": torch.tensor([row]), "model.norm.weight": torch.ones(1)})
        for name, row in rows.items()
    }
    recipe = {"method": "task_arithmetic", "base": "base", "inputs": [{"model": "x"}, {"model": "y"}], "parameters": {"weight": 1.0}}
    first, second = merges.merged(recipe, three, tmp_path).report
    assert first == {
        "name": "model.layers.3.mlp.up.weight", "layer": 3, "module": "mlp.up", "numel": 4, "looked_at": 4, "base_norm": 5.0,
        "merged_norm": 5.83095, "delta_norm": {"x": 5.0, "y": 4.0}, "cosine": {"x": 0.6, "y": 0.0}, "pairwise_cosine": -0.8,
        "sign_conflict": 0.25, "kept": 0.25,
    }  # fmt: skip
    assert (second["layer"], second["module"], second["cosine"], second["sign_conflict"]) == (None, "norm", {"x": None, "y": None}, 0.0)


def test_sharded_and_whole_load_alike_in_transformers(tmp_path: Path) -> None:
    from tests.engine import tiny
    from training.engine import models as loading

    two = {"base": tiny.untrained(tmp_path / "base"), "x": tiny.untrained(tmp_path / "x")}
    file = two["x"] / "model.safetensors"
    save_file({name: tensor + 0.01 * torch.randn_like(tensor) for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    merges.merged(HALF, two, tmp_path / "whole")
    merges.merged(HALF, two, tmp_path / "sharded", shard_bytes=60_000)
    assert len(list((tmp_path / "sharded" / "output").glob("*.safetensors"))) > 2
    ids = torch.arange(24).view(1, 24)
    with torch.no_grad():
        one, other, base = (loading.load(str(tmp_path / way))[0](ids).logits for way in ("whole/output", "sharded/output", "base"))
    assert torch.equal(one, other)
    assert not torch.equal(one, base)


def test_merging_imports_no_transformers() -> None:
    code = "import sys; import training.engine.kinds.merge; print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True False\n"


def test_models_are_told_apart_by_their_weights_and_not_by_their_files(models: Any, tmp_path: Path) -> None:
    """What a random method draws for an expert depends on it."""
    merges.merged(HALF, models, tmp_path / "whole")
    merges.merged(HALF, models, tmp_path / "sharded", shard_bytes=100_000)
    with ExitStack() as stack:
        prints = [stream.fingerprint(stream.Weights(folder, stack)) for folder in (*models.values(), *tmp_path.glob("*/output"))]
    assert len(set(prints)) == 5
    assert prints[4] == prints[5]
    assert not journal.read(tmp_path, b"", "")[0]
