"""What many prompts begin with: found, read once, and nothing that is said or scored changes by it."""

from __future__ import annotations

import random
import types
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the engine's packages are not installed")

import torch

from training.engine import beginnings, tokens
from training.engine.decoding import Decoder
from training.engine.sampling import Sampling

pytestmark = pytest.mark.engine
SHOTS = [9, 10, 11, 12] * 8
QUIET = types.SimpleNamespace(progress=lambda *_: None, metric=lambda *_: None, log=lambda *_: None)
ATTEMPT: Any = types.SimpleNamespace(check=lambda: None, events=QUIET, spec=types.SimpleNamespace(seed=3))


class Counting:
    """The model, and how many tokens it was given to read at once."""

    def __init__(self, model: Any) -> None:
        self.model, self.read = model, 0
        self.config, self.generation_config, self.eval = model.config, model.generation_config, model.eval
        self.dtype, self.device = model.dtype, model.device

    def __call__(self, **inputs: Any) -> Any:
        self.read += inputs["input_ids"].numel()
        return self.model(**inputs)


def phi3(tokenizer: Any, *, switch: int | None = None) -> Any:
    """Untrained and loud; with ``switch`` it turns positions by other angles above so many tokens, as Phi-3.5 does above 4,096."""
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(1)
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    config = Phi3Config(
        vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, intermediate_size=64,
        max_position_embeddings=256, original_max_position_embeddings=switch or 256, pad_token_id=tokenizer.pad_token_id, bos_token_id=1,
        eos_token_id=tokenizer.eos_token_id, initializer_range=0.3, attn_implementation="sdpa",
        **({"rope_parameters": rope | {"original_max_position_embeddings": switch}} if switch else {}),
    )  # fmt: skip
    return Phi3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokens.build(500, 1)


def prompts(count: int, *, own: int = 12) -> list[list[int]]:
    draw = random.Random(5)
    return [[*SHOTS, *(draw.randrange(8, 480) for _ in range(draw.randrange(1, own)))] for _ in range(count)]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], []),
        ([SHOTS], []),
        ([[*SHOTS, 1], [*SHOTS, 2, 3]], SHOTS),
        ([[*SHOTS, 1], SHOTS], SHOTS[:-1]),  # every row keeps a token of its own
        ([SHOTS, SHOTS, SHOTS], SHOTS[:-1]),
        ([[*SHOTS[:15], 1], [*SHOTS[:15], 2]], []),  # not worth it
        ([[*SHOTS, 1], [*SHOTS, 2], [*SHOTS, 3], [5, 6, *SHOTS]], SHOTS),  # one has lost its beginning
        # Three share forty, twenty more share only the first twenty of these: 2 x 40 < 22 x 20.
        ([*([*SHOTS, *[7] * 8, i] for i in range(3)), *([*SHOTS[:20], 99, i] for i in range(20))], SHOTS[:20]),
        ([*([*SHOTS, *[7] * 8, i] for i in range(9)), *([*SHOTS[:20], 99, i] for i in range(5))], [*SHOTS, *[7] * 8]),
    ],
)
def test_the_beginning_is_the_one_that_saves_most(rows: list[list[int]], found: list[int]) -> None:
    assert beginnings.shared(rows) == found
    assert beginnings.shared(rows[::-1]) == found


def test_it_saves_as_much_as_any_other_would() -> None:
    draw = random.Random(2)
    for _ in range(60):
        stems = [[draw.randrange(2) for _ in range(draw.randrange(10, 40))] for _ in range(3)]
        rows = [[*draw.choice(stems), *(draw.randrange(2) for _ in range(draw.randrange(4)))] for _ in range(8)]

        def saved(start: list[int], rows: list[list[int]] = rows) -> int:
            return len(start) * max(0, sum(len(row) > len(start) and row[: len(start)] == start for row in rows) - 1)

        best = max((saved(row[:length]) for row in rows for length in range(beginnings.WORTH, len(row))), default=0)
        assert saved(beginnings.shared(rows)) == best


@pytest.mark.parametrize("how", [Sampling(), Sampling(temperature=1.0)], ids=["greedy", "hot"])
def test_answers_are_the_same_and_the_beginning_is_read_once(tokenizer: Any, how: Sampling) -> None:
    asked = [*prompts(9), [7, 8, *SHOTS][2:5], [8] * 20]
    found, read = {}, {}
    for sharing in (False, True):
        model = Counting(phi3(tokenizer))
        decoder = Decoder(ATTEMPT, model, tokenizer, how, max_new_tokens=5, batch_size=4, share_beginnings=sharing)
        found[sharing] = {place: answer for some in decoder.answers(asked, n=2) for place, answer in some.items()}
        read[sharing] = model.read
    assert len(found[True]) == 2 * len(asked)
    assert found[True] == found[False]
    assert len({answer.text for answer in found[True].values()}) > 5
    assert read[True] < read[False] - 5 * len(SHOTS)


def test_what_is_on_the_long_side_of_longrope_shares_nothing(tokenizer: Any) -> None:
    short, long = prompts(3, own=4), [[*row, *[15] * 40] for row in prompts(3)]
    answers = {}
    for sharing in (False, True):
        decoder = Decoder(
            ATTEMPT, phi3(tokenizer, switch=64), tokenizer, Sampling(), max_new_tokens=5, batch_size=4, share_beginnings=sharing
        )
        answers[sharing] = {place: answer for some in decoder.answers([*short, *long]) for place, answer in some.items()}
    assert {answer.rope for answer in answers[True].values()} == {"short", "long"}
    assert answers[True] == answers[False]


@pytest.mark.parametrize("switch", [None, 48])
def test_scores_are_those_of_each_row_alone(tokenizer: Any, switch: int | None) -> None:
    from training.engine.clue.lm import EngineLM

    model = Counting(phi3(tokenizer, switch=switch))
    lm = EngineLM(ATTEMPT, model, tokenizer, batch_size=4)
    asked = prompts(8, own=30)
    requests = [(None, ids, continuation) for ids in asked for continuation in ([20], [21], [22, 23])]
    together = lm._loglikelihood_tokens(requests)
    read, model.read = model.read, 0
    alone = [lm._loglikelihood_tokens([one])[0] for one in requests]
    assert [one for one, _ in together] == pytest.approx([one for one, _ in alone], abs=1e-5)
    assert [greedy for _, greedy in together] == [greedy for _, greedy in alone]
    if switch is None:
        whole = 2 * sum(map(len, asked)) + len(asked)
        assert read < whole - 10 * len(SHOTS)
