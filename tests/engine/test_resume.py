"""Killed for good at any step, a run goes on from its checkpoint as if nothing had been: the same pairs, losses and weights."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="the engine's packages are not installed")

from tests.engine import tiny
from tests.engine.conftest import Done

pytestmark = pytest.mark.engine
LORA = {
    "learning_rate": 5e-3, "epochs": 2, "batch_size": 2, "gradient_accumulation": 2, "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
    "targets": "soft", "nll_weight": 0.1, "checkpoint_steps": 1, "watch_tokens": 4, "schedule": "cosine", "warmup_steps": 1,
}  # fmt: skip
STEPS = 6  # twelve pairs, two rounds, four pairs a step
SIGKILL = -9


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.untrained(tmp_path_factory.mktemp("untrained"))


def inputs() -> dict[str, Any]:
    return {"train.jsonl": tiny.pairs(12), "validation.jsonl": tiny.pairs(4, seed=5), "watch.jsonl": tiny.watch()}


def losses(*runs: Done) -> dict[int, float]:
    """Loss by step; what a killed run took back is said again by the one after it."""
    return {event["step"]: event["value"] for run in runs for event in run.events if event["type"] == "metric" and event["name"] == "loss"}


def visited(run: Done) -> list[list[str]]:
    return [json.loads(line)["ids"] for line in (run.folder / "order.jsonl").read_text().splitlines()]


def weights(run: Done) -> bytes:
    return (run.model / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    done = tiny.in_fork(tiny.lay_out(tmp_path_factory.mktemp("whole") / "a", LORA, model, inputs()))
    assert done.metrics["steps"] == STEPS
    return done


def test_a_run_visits_every_pair_once_a_round(whole: Done) -> None:
    order = visited(whole)
    assert list(map(len, order)) == [4] * STEPS
    for start in (0, 3):
        assert sorted(chain(*order[start : start + 3])) == sorted(row["id"] for row in tiny.pairs(12))
    assert order[:3] != order[3:]


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_in_a_step_and_resumed_it_ends_with_the_same_bits(whole: Done, model: Path, tmp_path: Path, step: int) -> None:
    first = tiny.in_fork(
        tiny.lay_out(tmp_path / "1", LORA, model, inputs()),
        kill=lambda event: event.get("phase") == "training" and event["done"] == step,
    )
    assert first.returncode == SIGKILL
    second = tiny.in_fork(tiny.go_on(first.folder, tmp_path / "2"))
    assert second.metrics.get("resumed_from") == (step - 1 or None)
    assert visited(second) == visited(whole)
    assert Counter(chain(*visited(second))) == Counter({row["id"]: 2 for row in tiny.pairs(12)})
    assert losses(first, second) == losses(whole)
    assert weights(second) == weights(whole)
    ours, theirs = second.metrics, whole.metrics
    assert {name: ours[name] for name in ("loss", "validation_loss", "validation_accuracy", "first_loss")} == {
        name: theirs[name] for name in ("loss", "validation_loss", "validation_accuracy", "first_loss")
    }


def test_killed_twice_and_after_the_last_checkpoint_too(whole: Done, model: Path, tmp_path: Path) -> None:
    first = tiny.in_fork(
        tiny.lay_out(tmp_path / "1", LORA, model, inputs()), kill=lambda event: event["type"] == "checkpoint" and event["step"] == 2
    )
    second = tiny.in_fork(
        tiny.go_on(first.folder, tmp_path / "2"), kill=lambda event: event["type"] == "checkpoint" and event["step"] == STEPS
    )
    third = tiny.in_fork(tiny.go_on(second.folder, tmp_path / "3"))
    assert (first.returncode, second.returncode) == (SIGKILL, SIGKILL)
    assert third.metrics["resumed_from"] == STEPS
    assert visited(third) == visited(whole)
    assert weights(third) == weights(whole)


def test_all_weights_killed_and_resumed_are_the_same_bits(model: Path, tmp_path: Path) -> None:
    params = LORA | {"lora": None, "learning_rate": 1e-3, "checkpoint_steps": 2}
    whole = tiny.in_fork(tiny.lay_out(tmp_path / "whole", params, model, inputs()))
    first = tiny.in_fork(
        tiny.lay_out(tmp_path / "1", params, model, inputs()),
        kill=lambda event: event.get("phase") == "training" and event["done"] == 5,
    )
    second = tiny.in_fork(tiny.go_on(first.folder, tmp_path / "2"))
    assert second.metrics["resumed_from"] == 4
    assert losses(first, second) == losses(whole)
    assert weights(second) == weights(whole)


def test_a_checkpoint_holds_no_file_that_could_run_code_but_those_of_torch(whole: Done) -> None:
    import torch

    kept = sorted(path.name for path in (whole.folder / "checkpoints").iterdir())
    assert kept == ["ckpt-5", "ckpt-6"]
    for path in (whole.folder / "checkpoints" / "ckpt-6").rglob("*.p*t*"):
        if path.name != "rng_state.pth":  # numpy's state, which transformers reads by a list of its own
            torch.load(path, weights_only=True)
    assert not list(whole.folder.rglob("training_args.bin"))


def test_the_fixed_prompts_are_answered_at_the_start_and_at_every_checkpoint(whole: Done) -> None:
    samples = [(event["step"], event["index"]) for event in whole.events if event["type"] == "sample"]
    assert samples == [(step, index) for step in range(STEPS + 1) for index in (0, 1)]
    apart = {event["step"]: event["value"] for event in whole.events if event["type"] == "metric" and event["name"] == "kl"}
    assert sorted(apart) == [1, 2, 3, 4, 5, 6]
    assert apart[1] == pytest.approx(0, abs=1e-6)  # the first step is all warm-up
    assert apart[6] > 1e-4


def test_stop_and_keep_saves_the_model_of_the_step_it_stopped_at(whole: Done, model: Path, tmp_path: Path) -> None:
    folder = tiny.lay_out(tmp_path / "a", LORA, model, inputs())
    (folder / "stop").write_text("keep")
    done = tiny.in_fork(folder)
    assert done.metrics["stopped_early"] is True
    assert done.metrics["stopped_at"] == done.metrics["steps"] == 1
    assert losses(done) == {1: losses(whole)[1]}
    assert weights(done) != weights(whole)


def test_early_stop_keeps_the_best_weights_across_a_kill(model: Path, tmp_path: Path) -> None:
    # Held-out pairs ask for the opposite of what is trained: the first checkpoint is the best there will be.
    opposite = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in tiny.pairs(12)]
    params = LORA | {"early_stop": 2, "epochs": 8, "nll_weight": 0.0, "targets": "hard", "watch_tokens": 1}
    files = inputs() | {"validation.jsonl": opposite}
    whole = tiny.in_fork(tiny.lay_out(tmp_path / "whole", params, model, files))
    assert (whole.metrics["best_step"], whole.metrics["stopped_at"]) == (1, 3)
    assert whole.metrics["stopped_early"] is True
    first = tiny.in_fork(
        tiny.lay_out(tmp_path / "1", params, model, files), kill=lambda event: event["type"] == "checkpoint" and event["step"] == 2
    )
    second = tiny.in_fork(tiny.go_on(first.folder, tmp_path / "2"))
    assert (second.metrics["best_step"], second.metrics["stopped_at"]) == (1, 3)
    assert weights(second) == weights(whole)


def test_a_probe_takes_three_steps_and_foretells_the_run(model: Path, tmp_path: Path) -> None:
    folder = tiny.lay_out(tmp_path / "a", LORA | {"epochs": 100}, model, inputs())
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps(spec | {"probe": True}))
    done = tiny.in_fork(folder)
    assert done.result["output"] is None
    assert set(done.metrics) == {"startup_seconds", "seconds_per_step", "tokens_per_second", "steps_total", "peak_rss_mb"}
    assert done.metrics["steps_total"] == 300
    assert 0 < done.metrics["seconds_per_step"] < 10
    assert not os.path.exists(folder / "checkpoints")


def test_an_adapter_learnt_in_bfloat16_is_merged_into_weights_that_were_not_rounded(model: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from safetensors.torch import load_file

    from training.engine import models

    params = LORA | {"dtype": "bfloat16", "learning_rate": 1e-4, "max_steps": 2, "nll_weight": 0.0}
    done = tiny.in_fork(tiny.lay_out(tmp_path / "narrow", params, model, inputs()))
    expected = PeftModel.from_pretrained(models.load(str(model))[0], done.folder / "output_adapter").merge_and_unload().state_dict()
    made, start = load_file(done.model / "model.safetensors"), load_file(model / "model.safetensors")
    assert all((made[name] == expected[name]).all() for name in made)
    changed = [name for name in made if not (made[name] == start[name]).all()]
    assert changed
    # A change this small would have vanished in bfloat16's eight bits nearly everywhere.
    assert max(float((made[name] - start[name]).abs().max()) for name in changed) < 1e-3
