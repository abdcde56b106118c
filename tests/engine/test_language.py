"""What the loss sees: packed rows are the same rows, noise is what NEFTune says, and only answers are learnt."""

import itertools
from typing import Any

import pytest

pytest.importorskip("torch", reason="the engine's packages are not installed")

import torch

from tests.engine import architectures
from training.engine import language, loop
from training.engine.errors import BadModel

pytestmark = pytest.mark.engine
ROWS: list[language.Row] = [([5, 9, 17, 3, 8], 0), ([40, 41], 0), ([7], 0), ([11, 12, 13, 14, 15, 16, 18], 3)]


@pytest.fixture(scope="module", params=["phi3", "llama", "qwen2"])
def model(request: Any) -> Any:
    # In double precision: what differs then differs in kind, and not in its last bits.
    return architectures.model_of(request.param, architectures.tokenizer_of(request.param)).eval().double()


def test_log_probabilities_are_the_same_alone_padded_and_packed(model: Any) -> None:
    alone = torch.cat([language.token_logps(model, language.padded([row], 1)) for row in ROWS if len(row[0]) > 1])
    for batch in (language.padded(ROWS, 1), language.packed([ROWS], 1), language.packed([ROWS[:2], ROWS[2:]], 1)):
        assert batch.tokens == len(alone) == 4 + 1 + 0 + 4
        assert torch.allclose(language.token_logps(model, batch), alone, atol=1e-6, rtol=0)
    # Without the boundaries a neighbour is seen: the comparison above can fail.
    blind = language.packed([ROWS], 1)
    blind = language.Batch(blind.inputs, blind.labels, blind.sizes)
    assert float((language.token_logps(model, blind) - alone).detach().abs().max()) > 1e-3


def test_gradients_of_a_packed_line_are_those_of_its_rows(model: Any) -> None:
    found = []
    for batch in (language.padded(ROWS, 1), language.packed([ROWS], 1)):
        model.zero_grad()
        language.loss_of(model, batch).backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(*found, strict=True))


def test_an_architecture_that_looks_across_boundaries_is_found_out(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    language.check_packing(model, [ROWS], 1)
    whole = language.packed

    def without_boundaries(lines: Any, pad: int) -> language.Batch:
        made = whole(lines, pad)
        return language.Batch(made.inputs, made.labels, made.sizes)

    monkeypatch.setattr(language, "packed", without_boundaries)
    with pytest.raises(BadModel, match="see each other"):
        language.check_packing(model, [ROWS], 1)


def test_an_output_layer_with_something_after_it_is_asked_through_the_model(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = language.packed([ROWS], 1)
    short = language.token_logps(model, batch)
    monkeypatch.setattr(language.models, "has_plain_head", lambda model: False)
    assert torch.allclose(language.token_logps(model, batch), short, atol=1e-9)


def test_a_line_keeps_which_tokens_are_labels() -> None:
    batch = language.packed([[([1, 2, 3], 0), ([4, 5, 6, 7], 2)]], 0)
    assert batch.labels.tolist() == [[-100, 2, 3, -100, -100, 6, 7]]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3]]
    assert batch.sizes.tolist() == [[3, 3, 3, 4, 4, 4, 4]]


def test_a_row_that_is_too_long_is_cut_and_keeps_its_labels() -> None:
    assert language.cut([([1, 2, 3, 4, 5], 3), ([6], 0), ([7, 8, 9], 0)], 2) == [
        ([1, 2], 2), ([3, 4], 1), ([7, 8], 0),
    ]  # fmt: skip
    assert language.lines_of([([1, 2, 3, 4, 5], 3)], 3) == [[([1, 2, 3], 3)], [([4, 5], 0)]]


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    drawn = language.epochs(5, 2, seed=1)
    first, second = ([next(drawn) for _ in range(3)] for _ in range(2))
    for epoch in (first, second):
        assert [len(chunk) for chunk in epoch] == [2, 2, 1]
        assert sorted(index for chunk in epoch for index in chunk) == [0, 1, 2, 3, 4]
    assert first != second


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [loop.schedule(step, 100, 10, 0.05) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(0.981, abs=1e-3)
    assert rates[-1] == pytest.approx(0.05, abs=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))
