"""What a model writes and what it scores: the same in whatever batch, each prompt read once, and nobody waits for others."""

import copy
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the engine's packages are not installed")

import torch

from tests.engine.conftest import PROJECT, Done, environment, laid_out
from training.engine import attempt as engine
from training.engine import checkpoints, continuous, decoding, models, rundir, sampling, spec, tokens
from training.engine.attempt import Attempt
from training.engine.decoding import Answer, Decoder, Place
from training.engine.errors import RopeSide, TooLong
from training.engine.sampling import Sampling
from training.engine.spec import Generate

pytestmark = pytest.mark.engine
HOT = Sampling(temperature=1.0)
SIZE = {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 64}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokens.build(500, 1)


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    """Untrained and loud: with weights so large it prefers some tokens to others, so that greedy answers differ."""
    made = models.fresh_phi3(tokenizer=tokenizer, seed=1, **SIZE)
    with torch.no_grad():
        for weights in made.parameters():
            if weights.dim() > 1:
                weights.mul_(3)
    return made.eval()


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    params = {"temperature": 1.0, "max_new_tokens": 1}
    raw = {"schema": 1, "kind": "generate", "job": "j", "seed": 7, "threads": 1, "params": params, "models": {"policy": "/m"}}
    folder = rundir.create(tmp_path / "attempt", spec.parse(raw))
    return Attempt(folder, spec.parse(raw), rundir.Events(folder))


def prompts(count: int, *, seed: int = 3, longest: int = 50) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(8, 480) for _ in range(draw.randrange(2, longest))] for _ in range(count)]


def written(
    attempt: Attempt, model: Any, tokenizer: Any, asked: list[list[int]], how: Sampling = HOT, *, n: int = 1, batch_size: int = 32,
    **more: Any,
) -> dict[Place, Answer]:  # fmt: skip
    decoder = Decoder(attempt, model, tokenizer, how, max_new_tokens=more.pop("max_new_tokens", 12), batch_size=batch_size, **more)
    return {place: answer for found in decoder.answers(asked, n=n) for place, answer in found.items()}


@pytest.mark.parametrize(
    "how",
    [
        Sampling(), HOT, Sampling(temperature=0.7, top_p=0.9), Sampling(temperature=1.3, top_k=20),
        Sampling(temperature=0.8, top_k=40, top_p=0.95, min_new_tokens=3),
    ],
    ids=["greedy", "hot", "top-p", "top-k", "all"],
)  # fmt: skip
def test_a_text_is_the_same_in_every_batch_and_every_order(attempt: Attempt, model: Any, tokenizer: Any, how: Sampling) -> None:
    asked, n = prompts(14), 2 if how.temperature else 1
    alone = written(attempt, model, tokenizer, asked, how, n=n, batch_size=1)
    assert len(alone) == 14 * n
    for batch_size in (4, 32):
        order = random.Random(batch_size).sample(range(14), 14)
        found = written(attempt, model, tokenizer, [asked[index] for index in order], how, n=n, batch_size=batch_size)
        assert {(order[index], number): answer for (index, number), answer in found.items()} == alone
    assert written(attempt, model, tokenizer, asked, how, n=n, token_budget=150) == alone


def test_another_seed_or_number_is_another_text_and_an_equal_prompt_the_same(attempt: Attempt, model: Any, tokenizer: Any) -> None:
    prompt, other = prompts(2)
    found = written(attempt, model, tokenizer, [prompt, other, prompt], n=2)
    assert found[0, 0] != found[0, 1]
    assert [found[2, number] for number in (0, 1)] == [found[0, number] for number in (0, 1)]
    raw = spec.as_json(attempt.spec) | {"seed": 8}
    again = Attempt(attempt.folder, spec.parse(raw), attempt.events)
    assert written(again, model, tokenizer, [prompt])[0, 0] != found[0, 0]


class Wobbly:
    """The model with logits off by up to 5e-5, by batch: more than any real batch does, and a quarter of what is allowed for."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.config, self.generation_config, self.eval = model.config, model.generation_config, model.eval
        self.dtype, self.device = model.dtype, model.device

    def __call__(self, **inputs: Any) -> Any:
        made = self.model(**inputs)
        rows = inputs["input_ids"].shape[0]
        if rows > 1:
            wobble = torch.Generator().manual_seed(rows)
            made.logits += 1e-4 * (torch.rand(made.logits.shape, generator=wobble) - 0.5)
        return made


@pytest.fixture
def twins(tokenizer: Any) -> Any:
    """A model that can hardly tell each token from its neighbour: every draw is nearly a tie."""
    made = models.fresh_phi3(tokenizer=tokenizer, seed=1, **SIZE)
    with torch.no_grad():
        made.lm_head.weight[1::2] = made.lm_head.weight[::2] * (1 + 1e-6)
    return made.eval()


def test_what_a_batchs_arithmetic_leaves_open_is_drawn_alone(attempt: Attempt, twins: Any, tokenizer: Any, monkeypatch: Any) -> None:
    asked, greedy = prompts(12), Sampling()
    decoder = Decoder(attempt, Wobbly(twins), tokenizer, greedy, max_new_tokens=8, batch_size=12)
    found = {place: answer for some in decoder.answers(asked) for place, answer in some.items()}
    assert decoder.drawn_alone > 12
    assert found == written(attempt, Wobbly(twins), tokenizer, asked, greedy, batch_size=1, max_new_tokens=8)
    assert found == written(attempt, Wobbly(twins), tokenizer, asked, greedy, batch_size=5, max_new_tokens=8)
    # Without the second look it would not be so.
    monkeypatch.setattr(sampling, "MARGIN", 0.0)
    hasty = [written(attempt, Wobbly(twins), tokenizer, asked, greedy, batch_size=size, max_new_tokens=8) for size in (1, 12)]
    assert hasty[0] != hasty[1]


def test_batches_move_logits_far_less_than_the_margin(model: Any, tokenizer: Any) -> None:
    asked = prompts(32)
    with torch.inference_mode():
        alone = torch.cat([model(input_ids=torch.tensor([ids]), logits_to_keep=1).logits[:, -1] for ids in asked])
        for size in (4, 32):
            for start in range(0, 32, size):
                ids, mask = decoding._left_padded(asked[start : start + size], tokenizer.pad_token_id, 0)
                positions = (mask.cumsum(-1) - 1).clamp(min=0)
                together = model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1).logits[:, -1]
                assert float((together - alone[start : start + size]).abs().max()) < sampling.MARGIN / 5


def test_greedy_is_what_transformers_generates(attempt: Attempt, model: Any, tokenizer: Any) -> None:
    asked = prompts(4)
    found = written(attempt, model, tokenizer, asked, Sampling())
    for index, ids in enumerate(asked):
        made = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=tokenizer.eos_token_id)
        assert found[index, 0].text == tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True).strip()


def seen(model: Any, monkeypatch: Any) -> list[tuple[int, int]]:
    """(rows, width) of every forward pass from here on."""
    shapes: list[tuple[int, int]] = []
    forward: Callable[..., Any] = model.forward

    def counted(*args: Any, **inputs: Any) -> Any:
        shapes.append(tuple(inputs["input_ids"].shape))
        return forward(*args, **inputs)

    monkeypatch.setattr(model, "forward", counted)
    return shapes


def test_a_prompt_is_read_once_for_all_its_samples(attempt: Attempt, model: Any, tokenizer: Any, monkeypatch: Any) -> None:
    shapes = seen(model, monkeypatch)
    long, short = [9] * 40, [11] * 6
    four = Sampling(temperature=1.0, min_new_tokens=4)
    found = written(attempt, model, tokenizer, [short, long], four, n=8, max_new_tokens=4)
    assert shapes == [(2, 40), (16, 1), (16, 1), (16, 1)]
    assert len(found) == 16
    one_by_one = written(attempt, model, tokenizer, [long], four, n=8, batch_size=1, max_new_tokens=4)
    assert {number: found[1, number] for number in range(8)} == {number: one_by_one[0, number] for number in range(8)}


def test_who_has_ended_leaves_the_batch(attempt: Attempt, tokenizer: Any, monkeypatch: Any) -> None:
    model = models.fresh_phi3(tokenizer=tokenizer, seed=1, **SIZE).eval()  # all tokens alike: one in thirty ends the answer below
    model.generation_config.eos_token_id = list(range(8, 8 + model.config.vocab_size // 30))
    shapes = seen(model, monkeypatch)
    found = written(attempt, model, tokenizer, prompts(20), max_new_tokens=60)
    rows = [rows for rows, _ in shapes]
    assert rows[0] == 20 > rows[-1]
    assert rows == sorted(rows, reverse=True)
    assert sum(rows) == sum(answer.tokens + (answer.finish_reason == "stop") for answer in found.values())
    assert {answer.finish_reason for answer in found.values()} == {"stop", "length"}


def test_an_answer_is_not_shorter_than_asked(attempt: Attempt, model: Any, tokenizer: Any) -> None:
    model.generation_config.eos_token_id = list(range(8, 400))
    try:
        found = written(attempt, model, tokenizer, prompts(6), Sampling(temperature=1.0, min_new_tokens=5))
    finally:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    assert min(answer.tokens for answer in found.values()) == 5
    assert "stop" in {answer.finish_reason for answer in found.values()}


def test_what_is_done_is_not_written_again(attempt: Attempt, model: Any, tokenizer: Any) -> None:
    asked = prompts(4)
    whole = written(attempt, model, tokenizer, asked, n=2)
    decoder = Decoder(attempt, model, tokenizer, HOT, max_new_tokens=12, batch_size=3)
    done = {(0, 0), (0, 1), (2, 1)}
    rest = {place: answer for found in decoder.answers(asked, n=2, skip=done) for place, answer in found.items()}
    assert rest == {place: answer for place, answer in whole.items() if place not in done}


def test_a_killed_attempts_answers_are_not_written_again(model: Any, tokenizer: Any, tmp_path: Path, run_here: Callable[..., Done]) -> None:
    models.save(copy.deepcopy(model), tokenizer, tmp_path / "model")
    asked = {"prompts.jsonl": [{"id": f"p{index}", "messages": [{"role": "user", "content": "a " * index}]} for index in range(12)]}
    params = {"temperature": 1.0, "max_new_tokens": 40, "batch_size": 2, "checkpoint_seconds": 0}
    whole = run_here("generate", params | {"batch_size": 12, "checkpoint_seconds": 60}, {"policy": tmp_path / "model"}, asked)
    folder = laid_out(tmp_path / "first", "generate", params, {"policy": tmp_path / "model"}, asked, 1)
    child = subprocess.Popen([sys.executable, "-m", "training.engine", str(folder)], cwd=PROJECT, env=environment())
    while child.poll() is None and not any(event["type"] == "checkpoint" for event in rundir.read_events(folder)[0]):
        time.sleep(0.02)
    child.kill()
    child.wait()
    kept = checkpoints.newest(folder / checkpoints.FOLDER, checkpoints.BY_HAND)
    assert kept is not None
    again = laid_out(tmp_path / "again", "generate", params, {"policy": tmp_path / "model"}, asked, 1)
    checkpoints.keep(kept.path, again / checkpoints.RESUME, checkpoints.BY_HAND)
    assert engine.main(again) == 0
    second = Done(again, 0, "")
    assert second.metrics["resumed"] == kept.step > 0
    assert second.metrics["tokens"] < whole.metrics["tokens"]
    assert (again / "output" / "items.jsonl").read_bytes() == (whole.folder / "output" / "items.jsonl").read_bytes()


@pytest.fixture
def two_sided(tokenizer: Any) -> Any:
    """A model that turns every position by another angle once a sequence has more than 32 tokens, as Phi-3.5 does above 4,096."""
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(1)
    config = Phi3Config(
        vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, intermediate_size=64,
        max_position_embeddings=128, original_max_position_embeddings=32, pad_token_id=tokenizer.pad_token_id, bos_token_id=1,
        eos_token_id=tokenizer.eos_token_id, initializer_range=0.3,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
            "original_max_position_embeddings": 32,
        },
    )  # fmt: skip
    return Phi3ForCausalLM(config).eval()


def test_no_batch_mixes_the_two_sides_of_longrope(attempt: Attempt, two_sided: Any, tokenizer: Any) -> None:
    short, long = [9, 10, 11] * 4, [12, 13] * 20
    mixed = written(attempt, two_sided, tokenizer, [short, long, short[:5]], Sampling())
    assert [mixed[index, 0].rope for index in range(3)] == ["short", "long", "short"]
    for index, ids in enumerate((short, long, short[:5])):
        assert written(attempt, two_sided, tokenizer, [ids], Sampling())[0, 0] == mixed[index, 0]


def test_an_answer_that_might_cross_to_the_other_side_is_refused(attempt: Attempt, two_sided: Any, tokenizer: Any) -> None:
    assert written(attempt, two_sided, tokenizer, [[9] * 20])[0, 0].rope == "short"  # 20 + 12 = 32: just not
    with pytest.raises(RopeSide, match=r"1 prompts and 12 new tokens would cross the 32 tokens .* prompts 2\. Ask for fewer"):
        written(attempt, two_sided, tokenizer, [[9] * 20, [9] * 21])
    with pytest.raises(TooLong, match="prompt 1 has 120 tokens"):
        written(attempt, two_sided, tokenizer, [[9] * 120])


def test_the_race_draws_each_token_as_often_as_its_probability_says() -> None:
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    stream = sampling.Stream(seed=1, prompt=[1, 2], number=0, size=4)
    noise = torch.stack([sampling.exponentials(stream.block()) for _ in range(20_000)])
    token, decided = sampling.choose(shares.log().expand(20_000, -1), HOT, noise)
    assert torch.bincount(token).div(20_000).tolist() == pytest.approx(shares.tolist(), abs=0.01)
    assert 0.999 < float(decided.double().mean()) <= 1
    cold, _ = sampling.choose(shares.log().expand(20_000, -1), Sampling(temperature=0.5), noise)
    squares = shares.square() / shares.square().sum()
    assert torch.bincount(cold).div(20_000).tolist() == pytest.approx(squares.tolist(), abs=0.01)


@pytest.mark.parametrize(
    ("how", "stay"),
    [
        ({"top_k": 2}, [0, 1]),
        ({"top_p": 0.79}, [0, 1]),  # the token that brings the sum to 0.8 stays
        ({"top_p": 0.81}, [0, 1, 2]),
        ({"top_p": 0.4}, [0]),
        ({"top_k": 2, "top_p": 0.6}, [0]),  # of 0.5 and 0.3, the first alone is 0.625
        ({"top_k": 3, "top_p": 0.6}, [0, 1]),
    ],
)
def test_top_k_and_top_p_leave_in_what_they_say(how: dict[str, Any], stay: list[int]) -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(2000, -1)
    stream = sampling.Stream(seed=2, prompt=[], number=0, size=4)
    noise = torch.stack([sampling.exponentials(stream.block()) for _ in range(2000)])
    token, decided = sampling.choose(logits, Sampling(temperature=1.0, **how), noise)
    assert sorted(set(token.tolist())) == stay
    assert float(decided.double().mean()) > 0.99


def test_a_token_on_the_border_of_top_p_is_left_undecided() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    third_wins = torch.tensor([[9.0, 9.0, 0.01, 9.0]], dtype=torch.float64)
    for top_p, said in ((0.9, True), (0.80001, False), (0.79999, False)):
        token, decided = sampling.choose(logits, Sampling(temperature=1.0, top_p=top_p), third_wins)
        assert (token.tolist(), decided.tolist()) == ([2], [said]), top_p
    first_wins = torch.tensor([[0.01, 9.0, 9.0, 9.0]], dtype=torch.float64)
    assert sampling.choose(logits, Sampling(temperature=1.0, top_p=0.80001), first_wins)[1].tolist() == [True]


def test_a_stream_is_the_same_on_every_machine() -> None:
    """Written out: another version of numpy or of us that changes it changes every text of every seed."""
    stream = sampling.Stream(seed=1, prompt=[5, 6], number=0, size=2)
    assert stream.block().tolist() == [3501896782547348435, 2561446803352426356]
    assert stream.block().tolist() == [17440012517988906819, 2102447814440094548]


def test_a_pair_scores_the_same_at_batch_1_and_8_and_packed(attempt: Attempt, model: Any) -> None:
    rows = [(ids, ids[::-1][:20]) for ids in prompts(16)]
    alone = decoding.completion_logps(attempt, model, 0, rows, 1)
    assert decoding.completion_logps(attempt, model, 0, rows, 8) == pytest.approx(alone, rel=1e-6)
    lengths = [len(prompt) + len(completion) for prompt, completion in rows]
    ids = torch.tensor([[token for prompt, completion in rows for token in prompt + completion]])
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    with torch.inference_mode():
        shares = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0].double().log_softmax(-1)
    ends = [sum(lengths[: index + 1]) for index in range(len(rows))]
    packed = [
        float(sum(shares[end - len(completion) + place - 1, token] for place, token in enumerate(completion)))
        for end, (_, completion) in zip(ends, rows, strict=True)
    ]
    assert packed == pytest.approx(alone, rel=1e-6)
    assert max(alone) < -10


def test_a_score_stays_on_its_side_of_longrope(attempt: Attempt, two_sided: Any) -> None:
    rows = [([9] * 10, [11, 12]), ([9] * 30, [11] * 10)]
    alone = [decoding.completion_logps(attempt, two_sided, 0, [row], 1)[0] for row in rows]
    assert decoding.completion_logps(attempt, two_sided, 0, rows, 2) == pytest.approx(alone, rel=1e-6)


def asks(**changes: Any) -> Generate:
    return Generate(**{"temperature": 1.0, "max_new_tokens": 6} | changes)


def test_continuous_batching_is_for_machines_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [continuous.is_wanted(asks(batching=way)) for way in ("auto", "static", "continuous")] == [False, False, True]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [continuous.is_wanted(asks(batching=way)) for way in ("auto", "static", "continuous")] == [True, False, True]
    assert not continuous.is_wanted(asks(min_new_tokens=2))  # which it would leave out without a word


def test_continuous_batching_writes_what_static_batches_write(attempt: Attempt, model: Any, tokenizer: Any) -> None:
    asked, how = prompts(3), Sampling()
    decoder = Decoder(attempt, model, tokenizer, how, max_new_tokens=6, batch_size=8)
    found = {place: answer for some in continuous.answers(decoder, asked, n=1, seed=1, skip={(1, 0)}) for place, answer in some.items()}
    whole = written(attempt, model, tokenizer, asked, how, max_new_tokens=6)
    assert found == {place: answer for place, answer in whole.items() if place != (1, 0)}


def test_continuous_batching_forks_samples_from_a_prompt(attempt: Attempt, model: Any, tokenizer: Any) -> None:
    decoder = Decoder(attempt, model, tokenizer, HOT, max_new_tokens=6, batch_size=8)
    found = {place: answer for some in continuous.answers(decoder, prompts(2), n=3, seed=1) for place, answer in some.items()}
    assert sorted(found) == [(index, number) for index in range(2) for number in range(3)]
    assert len({answer.text for answer in found.values()}) > 2


def test_what_continuous_batching_leaves_is_written_in_static_batches(
    model: Any, tokenizer: Any, tmp_path: Path, run_here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    models.save(copy.deepcopy(model), tokenizer, tmp_path / "model")
    asked = {"prompts.jsonl": [{"id": f"p{index}", "messages": [{"role": "user", "content": "a " * index}]} for index in range(4)]}
    params = {"temperature": 0, "max_new_tokens": 6}
    static = run_here("generate", params, {"policy": tmp_path / "model"}, asked)

    def broken(decoder: Decoder, encoded: list[list[int]], **how: Any) -> Iterator[dict[Place, Answer]]:
        yield {(2, 0): Answer("from the GPU", "stop", 3)}
        raise continuous.Stopped("RuntimeError")

    monkeypatch.setattr(continuous, "answers", broken)
    done = run_here("generate", params | {"batching": "continuous"}, {"policy": tmp_path / "model"}, asked)
    items, before = ((one.folder / "output" / "items.jsonl").read_text().splitlines() for one in (done, static))
    assert [items[index] for index in (0, 1, 3)] == [before[index] for index in (0, 1, 3)]
    assert "from the GPU" in items[2]
    assert any("continuous batching stopped (RuntimeError)" in event.get("message", "") for event in done.events)
