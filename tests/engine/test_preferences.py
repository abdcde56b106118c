"""The loss of a pair: TRL's own with hard targets, its own probability and weight with soft ones, and the same from shared prompts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="the engine's packages are not installed")

from tests.engine import tiny
from training.engine import attempt as engine
from training.engine import rundir, tokens
from training.engine.spec import Dpo

pytestmark = pytest.mark.engine
LORA = {"r": 4, "alpha": 8}
BASE: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 4, "minimum_pairs": 1, "lora": LORA}
Gradients = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.untrained(tmp_path_factory.mktemp("untrained"))


def ours(folder: Path, model: Path, rows: list[dict[str, Any]], **changes: Any) -> Any:
    """Our trainer on ``rows``, in an attempt of its own, its policy moved away from the reference."""
    from training.engine import models
    from training.engine.kinds import dpo

    attempt = attempt_of(folder, model, rows, **changes)
    params = attempt.spec.params
    assert isinstance(params, Dpo)
    policy, tokenizer = models.load(str(model))
    train = dpo._tokenise(tokenizer, dpo._pairs(attempt, params, "train.jsonl"))
    trainer = dpo.build(attempt, params, policy, tokenizer, train, [])
    moved(trainer.model)
    return trainer


def attempt_of(folder: Path, model: Path, rows: list[dict[str, Any]], **changes: Any) -> engine.Attempt:
    store = changes.pop("store", None)
    tiny.lay_out(folder, BASE | changes, model, {"train.jsonl": rows})
    if store is not None:
        raw = json.loads((folder / "spec.json").read_text())
        (folder / "spec.json").write_text(json.dumps(raw | {"reference_store": str(store)}))
    return engine.Attempt(folder, rundir.read_spec(folder), rundir.Events(folder))


def stock(folder: Path, model: Path, rows: list[dict[str, Any]], *, lora: bool = True, **config: Any) -> Any:
    """TRL's DPOTrainer as it comes, on the rows as text."""
    import datasets
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    from training.engine import models

    policy, tokenizer = models.load(str(model))
    texts = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows]
    trainer = DPOTrainer(
        model=policy, ref_model=None if lora else models.load(str(model))[0], train_dataset=datasets.Dataset.from_list(texts),
        args=DPOConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, seed=1, beta=0.1, max_length=None, report_to=[], disable_tqdm=True,
            gradient_checkpointing=False, per_device_train_batch_size=len(rows), **config,
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None,
    )  # fmt: skip
    moved(trainer.model)
    return trainer


def moved(policy: Any) -> None:
    """Everything that learns, moved by the same draw wherever it is called."""
    import torch

    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, parameter in sorted(policy.named_parameters()):
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.03)


def step(trainer: Any) -> tuple[float, Gradients]:
    """Loss and gradients of the first batch of all rows in their order."""
    trainer.model.train()
    trainer.first_loss = 0.0  # these policies are not at their start, and need not be
    batch = trainer.data_collator([trainer.train_dataset[number] for number in range(len(trainer.train_dataset))])
    loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch))
    loss.backward()
    return float(loss.detach()), {
        name: parameter.grad.clone() for name, parameter in trainer.model.named_parameters() if parameter.grad is not None
    }


def assert_same(one: tuple[float, Gradients], other: tuple[float, Gradients], within: float = 1e-5) -> None:
    assert one[0] == pytest.approx(other[0], abs=within)
    assert one[1].keys() == other[1].keys() != set()
    for name, gradient in one[1].items():
        assert float((gradient - other[1][name]).abs().max()) < within, name
    assert any(float(gradient.abs().max()) > 10 * within for gradient in one[1].values())


def plain(n: int = 4) -> list[dict[str, Any]]:
    return [{key: row[key] for key in ("id", "prompt", "chosen", "rejected")} for row in tiny.pairs(n)]


@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared prompts"])
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "all weights"])
def test_with_hard_targets_loss_and_gradients_are_trls(model: Path, tmp_path: Path, lora: bool, shared: bool) -> None:
    changes = {"lora": LORA if lora else None, "reference": "live", "nll_weight": 0.2, "shared_prefix": shared, "targets": "soft"}
    theirs = step(stock(tmp_path / "trl", model, plain(), lora=lora, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.2]))
    assert_same(step(ours(tmp_path / "a", model, plain(), **changes)), theirs)


def tokenised(model: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from training.engine.kinds import dpo

    return dpo._tokenise(tokens.load(model), [{"p_chosen": 1.0, "weight": 1.0} | row for row in rows])


NAMED = ["hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down"]


def test_trls_other_losses_are_passed_through_by_name(model: Path, tmp_path: Path) -> None:
    mine, theirs = ours(tmp_path / "a", model, plain(), loss="hinge", shared_prefix=True), stock(tmp_path / "trl", model, plain())
    assert (mine.loss_types, theirs.loss_types) == (["hinge"], ["sigmoid"])
    for loss in (*NAMED, "discopop", "sigmoid_norm"):
        for trainer in (mine, theirs):
            trainer.loss_types = [loss]
            trainer.label_smoothing = 0.1 if loss in ("robust", "exo_pair", "aot", "aot_unpaired") else 0.0
            trainer.model.zero_grad()
        # Gradients of squared errors are hundreds of times larger: the same to five digits.
        assert_same(step(mine), step(theirs), within=1e-3 if loss in ("sppo_hard", "ipo") else 1e-5)


def test_ld_alpha_is_trls_with_a_live_reference(model: Path, tmp_path: Path) -> None:
    mine = ours(tmp_path / "a", model, plain(), ld_alpha=0.5, reference="live")
    assert_same(step(mine), step(stock(tmp_path / "trl", model, plain(), ld_alpha=0.5)))


def test_a_pairs_own_probability_and_weight_make_its_loss() -> None:
    import torch

    from training.engine.preferences import soft_loss

    delta = torch.tensor([0.0, 2.0, -1.0], requires_grad=True)
    p, w = torch.tensor([1.0, 0.75, 0.6]), torch.tensor([1.0, 2.0, 0.5])
    loss = soft_loss(delta, p, w, beta=0.5)
    # −log σ(0) = 0.693147; −(0.75·log σ(1) + 0.25·log σ(−1)) = 0.563262; −(0.6·log σ(−0.5) + 0.4·log σ(0.5)) = 0.774077.
    assert float(loss.detach()) == pytest.approx((0.693147 + 2 * 0.563262 + 0.5 * 0.774077) / 3, abs=1e-6)
    loss.backward()
    # d/dΔ = w·β·(σ(βΔ) − p) / n: the pull ends where σ(βΔ) = p.
    assert delta.grad is not None
    assert delta.grad.tolist() == pytest.approx(
        [0.5 * (0.5 - 1) / 3, 2 * 0.5 * (0.731059 - 0.75) / 3, 0.25 * (0.377541 - 0.6) / 3], abs=1e-6
    )


def test_soft_targets_reach_the_gradient(model: Path, tmp_path: Path) -> None:
    soft = ours(tmp_path / "soft", model, tiny.pairs(4), targets="soft")
    hard = ours(tmp_path / "hard", model, tiny.pairs(4), targets="hard")
    assert step(soft)[0] != pytest.approx(step(hard)[0], abs=1e-3)
    assert_same(step(ours(tmp_path / "again", model, plain(), targets="soft")), step(ours(tmp_path / "plain", model, plain())))


def test_every_run_starts_at_ln_2_and_stops_when_it_does_not(run_here: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    from training.engine.errors import ReferenceMismatch

    for number, changes in enumerate(({"targets": "soft"}, {"loss": "apo_zero"}, {"shared_prefix": True, "nll_weight": 1.0})):
        done = run_here("dpo", BASE | {"max_steps": 1} | changes, {"policy": model}, {"train.jsonl": tiny.pairs(4)}, seed=number)
        assert done.metrics["first_loss"] == pytest.approx(math.log(2), abs=1e-6)
    trainer = ours(tmp_path / "a", model, tiny.pairs(4), targets="soft")
    trainer.model.train()
    batch = trainer.data_collator([trainer.train_dataset[number] for number in range(4)])
    with pytest.raises(ReferenceMismatch, match=r"the first loss is 0\.\d{4} and not ln 2 = 0\.6931"):
        trainer.compute_loss(trainer.model, batch)


def test_neither_answer_sees_the_other_by_the_dense_mask_and_by_flex_attentions() -> None:
    import torch
    from torch.nn.attention.flex_attention import create_mask

    from training.engine import sharing

    rows = [
        {"prompt_ids": [5, 6, 7], "chosen_ids": [8], "rejected_ids": [9, 10]},
        {"prompt_ids": [5, 6], "chosen_ids": [8], "rejected_ids": [9]},
    ]
    made = sharing.lay_out(rows, pad=0, width=5)
    assert made["shared_ids"].tolist() == [[5, 6, 7, 8, 7, 9, 10], [5, 6, 8, 6, 9, 0, 0]]
    assert made["shared_positions"].tolist() == [[0, 1, 2, 3, 2, 3, 4], [0, 1, 2, 1, 2, 0, 0]]
    assert made["shared_labels"].tolist() == [[-100, -100, 8, -100, 9, 10, -100], [-100, 8, -100, 9, -100, -100, -100]]
    assert made["shared_places"].tolist() == [[-1, -1, 2, -1], [-1, 1, -1, -1], [-1, -1, 4, 5], [-1, 3, -1, -1]]
    dense = sharing.dense_mask(made["shared_parts"], torch.float32)
    assert [[int(value) for value in row] for row in (dense[0, 0] == 0).tolist()] == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0],
        [1, 1, 0, 0, 1, 1, 0],
        [1, 1, 0, 0, 1, 1, 1],
    ]
    assert torch.equal(create_mask(sharing.rule(made["shared_parts"]), 2, 1, 7, 7, device="cpu"), dense == 0)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_shared_prompts_are_exact_for_other_architectures_too(architecture: str, model: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    tokenizer = tokens.load(model)
    size: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 512,
    }  # fmt: skip
    other = LlamaForCausalLM(LlamaConfig(**size)) if architecture == "llama" else Qwen2ForCausalLM(Qwen2Config(**size))
    folder = tmp_path / architecture
    other.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    apart, shared = (ours(tmp_path / name, folder, plain(), shared_prefix=name == "shared") for name in ("apart", "shared"))
    assert_same(step(shared), step(apart))


def test_a_pairs_log_probabilities_do_not_hang_on_who_else_is_in_the_batch(model: Path, tmp_path: Path) -> None:
    """At batch 1, at batch 8 and packed with its other half, on both sides of a RoPE switch. Not to the last bit: a matrix product of
    another shape adds in another order: a few steps of float32 in sums up to 170."""
    from training.engine import preferences

    rows = plain(12)
    sizes = sorted(map(preferences.length, tokenised(model, rows)))
    folder = tiny.untrained(tmp_path / "longrope", switch=sizes[6])
    found = []
    for number, (size, shared) in enumerate(((1, False), (8, False), (8, True))):
        trainer = ours(tmp_path / str(number), folder, rows, batch_size=size, shared_prefix=shared)
        entries = {trainer.store.key(row): trainer.store.get(row) for row in trainer.rows["train"]}
        assert {side for _, side in entries} == {"short", "long"}
        found.append(entries)
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for key, logps in other.items():
            assert logps == pytest.approx(found[0][key], rel=4e-7)
    # And they would, were the sides of the switch mixed: a short pair beside a long one gets the long one's factors.
    short, *_, long = sorted(trainer.rows["train"], key=preferences.length)
    chosen, _ = trainer._reference(trainer.data_collator([short, long]))
    assert abs(float(chosen[0]) - found[0][trainer.store.key(short)][0]) > 1e-3


def test_the_second_run_of_a_sweep_does_no_reference_forward(run_here: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    from training.engine import references

    store = tmp_path / "store"
    rows = plain(8)
    first = attempt_of(tmp_path / "1", model, rows, store=store, max_steps=1)
    assert engine.main(first.folder) == 0
    assert rundir.read_result(first.folder)["metrics"]["reference_forwards"] == 2  # type: ignore[index]
    assert references.bring(first.folder, store) == 1
    assert references.bring(first.folder, store) == 0
    for number, changes in enumerate(({"beta": 0.5}, {"learning_rate": 1e-5}, {"lora": {"r": 2, "alpha": 4}}, {"lora": None}), start=2):
        again = attempt_of(tmp_path / str(number), model, rows, store=store, max_steps=1, **changes)
        assert engine.main(again.folder) == 0
        metrics = rundir.read_result(again.folder)["metrics"]  # type: ignore[index]
        assert (metrics["reference_forwards"], metrics["reference_reused"]) == (0, 8)
        assert metrics["first_loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert references.bring(again.folder, store) == 0
    more = attempt_of(tmp_path / "more", model, plain(12), store=store, max_steps=1)
    assert engine.main(more.folder) == 0
    assert rundir.read_result(more.folder)["metrics"]["reference_reused"] == 8  # type: ignore[index]


def test_what_is_no_probability_is_refused(run_here: Callable[..., Any], model: Path) -> None:
    for wrong in ({"p_chosen": 1.2}, {"p_chosen": "0.7"}, {"weight": -1}, {"weight": True}):
        rows = [*plain(3), plain(1)[0] | wrong]
        done = run_here("dpo", BASE, {"policy": model}, {"train.jsonl": rows})
        assert done.result["error"]["code"] == "bad_input"
        assert done.result["error"]["message"].startswith(f"inputs/train.jsonl line 4: {next(iter(wrong))} is not a number from 0")
