"""How fast completions are written on this machine: ours against plain ``model.generate``, in one process, turn by turn.

    .venv/bin/python benchmarks/generation.py --json

The model is the demo's shape (1.9 M parameters, vocabulary 2,700) with random weights, whose every token is about equally likely; one
in thirty ends an answer, so lengths are geometric with a mean of about 25 and a limit of 96. Prompts are real in shape: a third short
(30 to 45 tokens), two thirds with a document before the question (up to 380). `plain` pads batches in order of arrival and waits for
the longest answer of each; `ours` sorts, packs by a token budget and lets go who has ended. Both sample at temperature 1 and are
measured in tokens that belong to answers. `samples` asks for 8 answers a prompt of about 380 tokens and 24 new ones: `plain` by
`num_return_sequences`, which reads a prompt 8 times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from pathlib import Path
from typing import Any

PROMPTS, LONGEST, SAMPLES, SAMPLED, SAMPLE_TOKENS = 96, 96, 8, 8, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON and nothing else")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    made = measure(rounds=options.rounds, batch_size=options.batch_size, threads=options.threads)
    print(json.dumps(made) if options.json else "\n".join(f"{name}: {value}" for name, value in made.items()))


def measure(*, rounds: int, batch_size: int, threads: int) -> dict[str, Any]:
    import torch

    from training.engine import models, tokens

    torch.set_num_threads(threads)
    tokenizer = tokens.build(2700, 1)
    model = models.fresh_phi3(tokenizer=tokenizer, hidden=128, layers=4, heads=4, intermediate=384, seed=1).eval()
    model.generation_config.eos_token_id = list(range(300, 300 + model.config.vocab_size // 30))
    mixed, long = prompts(tokenizer)
    ways = {
        "plain": lambda: plain(model, tokenizer, mixed, batch_size=batch_size, n=1, longest=LONGEST),
        "ours": lambda: ours(model, tokenizer, mixed, batch_size=batch_size, n=1, longest=LONGEST),
        "samples_plain": lambda: plain(model, tokenizer, long, batch_size=batch_size // SAMPLES, n=SAMPLES, longest=SAMPLE_TOKENS),
        "samples_ours": lambda: ours(model, tokenizer, long, batch_size=batch_size, n=SAMPLES, longest=SAMPLE_TOKENS),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            began = time.process_time()
            written = way()
            if turn:  # the first warms up
                rates[name].append(written / (time.process_time() - began))
    middle = {name: statistics.median(found) for name, found in rates.items()}
    ratios = {
        told: [one / other for one, other in zip(rates[ours_], rates[plain_], strict=True)]
        for told, ours_, plain_ in (("ratio", "ours", "plain"), ("samples_ratio", "samples_ours", "samples_plain"))
    }
    return {
        **{f"{name}_tokens_per_cpu_second": round(value) for name, value in middle.items()},
        **{told: round(statistics.median(found), 2) for told, found in ratios.items()},
        **{f"{told}_range": [round(min(found), 2), round(max(found), 2)] for told, found in ratios.items()},
        "rounds": rounds, "batch_size": batch_size, "threads": threads, "prompts": len(mixed), "torch": torch.__version__, "device": "cpu",
    }  # fmt: skip


def prompts(tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """(mixed lengths in random order, long ones)."""
    from training.engine import tokens, toysamples, toytext

    draw = random.Random(5)
    asked = [tokens.encode_chat(tokenizer, toysamples.messages(row), generation_prompt=True) for row in toysamples.samples(PROMPTS, 5)]
    filler = tokens.encode_plain(tokenizer, " ".join(item["text"] for item in toytext.documents("clinical", 60, 1)))
    mixed = [filler[: draw.choice([0, draw.randrange(340), draw.randrange(340)])] + ids for ids in asked]
    return mixed, [filler[place : place + 340] + ids for place, ids in enumerate(asked[:SAMPLED])]


def plain(model: Any, tokenizer: Any, asked: list[list[int]], *, batch_size: int, n: int, longest: int) -> int:
    import torch

    ends, written = set(model.generation_config.eos_token_id), 0
    for start in range(0, len(asked), batch_size):
        batch = asked[start : start + batch_size]
        width = max(map(len, batch))
        ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(one)) + one for one in batch])
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in batch])
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=longest, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                num_return_sequences=n, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        for row in made[:, width:].tolist():
            written += next((place for place, token in enumerate(row) if token in ends), len(row))
    return written


def ours(model: Any, tokenizer: Any, asked: list[list[int]], *, batch_size: int, n: int, longest: int) -> int:
    from training.engine.decoding import Decoder
    from training.engine.sampling import Sampling

    decoder = Decoder(_Quiet(), model, tokenizer, Sampling(temperature=1.0), max_new_tokens=longest, batch_size=batch_size)
    return sum(answer.tokens or 0 for found in decoder.answers(asked, n=n) for answer in found.values())


class _Quiet:
    """An attempt that nobody watches."""

    class spec:
        seed = 1

    def check(self) -> None:
        pass


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
