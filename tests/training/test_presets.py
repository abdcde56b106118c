"""The recipes by name: the paper's numbers as it prints them, with the place, and the standard recipe for one card."""

from typing import Any

import pytest

from training import presets
from training.engine.errors import SpecError


def params(key: str) -> dict[str, Any]:
    return presets.usual(presets.named(key))


def effective(found: dict[str, Any]) -> int:
    return int(found["batch_size"] * found["gradient_accumulation"])


# (recipe, parameter) → the value, and where arXiv 2505.10717 prints it.
PAPER = {
    ("dapt-paper", "learning_rate"): (5e-5, "3.1.2; table 6 has 1e-4"),
    ("dapt-paper", "epochs"): (1, "3.1.2 and table 6"),
    ("dapt-paper", "block"): (4096, "table 6: max tokens"),
    ("dapt-paper", "warmup_steps"): (35, "table 6"),
    ("dapt-paper", "neftune_alpha"): (5.0, "table 6"),
    ("pit-paper", "phase_one_epochs"): (1, "3.1.2"),
    ("pit-paper", "phase_one_learning_rate"): (1e-4, "3.1.2"),
    ("pit-paper", "epochs"): (2, "3.1.2"),
    ("pit-paper", "learning_rate"): (3e-4, "3.1.2"),
    ("pit-paper", "outputs"): ("summary", "3.1.2: summaries everywhere but in the case study"),
    ("sft-paper", "learning_rate"): (2e-5, "table 7"),
    ("sft-paper", "warmup_steps"): (40, "table 7"),
    ("sft-paper", "epochs"): (2, "table 7"),
    ("sft-paper", "neftune_alpha"): (5.0, "table 7"),
    ("paper", "learning_rate"): (1e-6, "table 8"),
    ("paper", "warmup_steps"): (50, "table 8"),
    ("paper", "epochs"): (1, "table 8"),
    ("paper", "beta"): (0.1, "table 8"),
    ("paper", "schedule"): ("cosine", "table 8"),
}


@pytest.mark.parametrize(("key", "name"), list(PAPER))
def test_the_paper_recipes_have_the_papers_numbers(key: str, name: str) -> None:
    value, _ = PAPER[key, name]
    assert params(key)[name] == value


def test_batches_are_the_papers_through_accumulation() -> None:
    # Table 6: 16 x 16 x 2; table 7: 16 x 8 x 2; table 8: 8 x 16 x 1. For PIT nothing is printed, table 6's is taken.
    assert {key: effective(params(key)) for key in ("dapt-paper", "pit-paper", "sft-paper", "paper")} == {
        "dapt-paper": 512, "pit-paper": 512, "sft-paper": 256, "paper": 128,
    }  # fmt: skip


def test_what_the_paper_leaves_open_or_contradicts_is_said_to_whoever_chooses_it() -> None:
    said = {preset.key: preset.description for preset in presets.ALL}
    assert "the table has 1e-4" in said["dapt-paper"]
    assert "not given for PIT" in said["pit-paper"]
    assert all("does not say" in said[key] for key in ("paper", "sft-paper", "dapt-paper"))
    assert all(params(key)["lora"] is None for key in ("dapt-paper", "pit-paper", "sft-paper", "paper"))
    assert params("pit-paper")["neftune_alpha"] == 0


@pytest.mark.parametrize("key", ["clinic", "sft-clinic", "pit-clinic", "dapt-clinic"])
def test_the_standard_recipe_is_one_adapter_on_one_card(key: str) -> None:
    found = params(key)
    assert found["lora"] == {"r": 16, "alpha": 32, "dropout": 0.05}
    assert (found["dtype"], found["gradient_checkpointing"], effective(found)) == ("bfloat16", True, 16)
    assert found["early_stop"] > 0


def test_the_standard_dpo_recipe_knows_that_raters_err() -> None:
    found = params("clinic")
    assert (found["targets"], found["loss"], found["nll_weight"], found["learning_rate"], found["beta"]) == (
        "soft",
        "sigmoid",
        0.1,
        1e-5,
        0.1,
    )
    assert (found["schedule"], found["warmup_share"], found["reference"]) == ("cosine", 0.05, "stored")


def test_every_recipe_is_one_the_engine_takes_and_has_a_name_of_its_own() -> None:
    assert len({preset.key for preset in presets.ALL}) == len(presets.ALL)
    for preset in presets.ALL:
        assert presets.usual(preset)
    assert [preset.key for preset in presets.of("pit")] == ["pit-paper", "pit-clinic", "pit-demo", "pit-test"]
    assert {preset.kind for preset in presets.ALL} == {"dpo", "kto", "sft", "pit", "pretrain"}


def test_a_recipe_is_changed_one_setting_at_a_time_and_a_wrong_one_is_named() -> None:
    assert presets.checked(presets.named("pit-paper"), {"learning_rate": 1e-5})["learning_rate"] == 1e-5
    with pytest.raises(SpecError, match="learning_rate"):
        presets.checked(presets.named("sft-paper"), {"learning_rate": -1.0})
