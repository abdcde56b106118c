"""Continuous batching by transformers, for a GPU: requests join and leave a running batch over a paged cache, and the samples of a
prompt fork from one reading of it.

Its draws come from one generator for the whole batch, so a seed fixes them only together with everything else that is in the batch,
and arithmetic in bfloat16 is not the same in every batch: a job repeated on a GPU is alike in distribution, not to the letter.
On a CPU it is far slower than static batches and takes gigabytes for a toy (docs/generation.md), so there it is only used when asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from training.engine import buckets
from training.engine.answers import Answer, Place
from training.engine.decoding import Decoder
from training.engine.spec import Generate

# A machine without a GPU tells the engine nothing about its memory: a small cache, enough for tests.
ON_CPU = {"num_blocks": 64, "max_batch_tokens": 256, "page_size": 32}


class Stopped(Exception):
    """The engine of transformers could not start, or ended by itself; what is not answered is to be written another way."""


def is_wanted(params: Generate) -> bool:
    """Where it is faster: on a GPU. It knows no shortest answer, and would leave that out without a word."""
    if params.batching == "auto":
        return torch.cuda.is_available() and not params.min_new_tokens
    return params.batching == "continuous"


def answers(
    decoder: Decoder, prompts: Sequence[list[int]], *, n: int, seed: int, skip: Collection[Place] = frozenset()
) -> Iterator[dict[Place, Answer]]:
    """As ``Decoder.answers``, by requests that come and go. Raises ``Stopped`` as well."""
    sides = decoder.sides(prompts)
    for side in (buckets.LONG, buckets.SHORT, ""):
        wanted = {
            index: [number for number in range(n) if (index, number) not in skip] for index in range(len(prompts)) if sides[index] == side
        }
        if wanted := {index: numbers for index, numbers in wanted.items() if numbers}:
            # One side of LongRoPE at a time: requests of both would share forward passes.
            yield from _session(decoder, prompts, wanted, n=n, seed=seed, side=side)


def _session(
    decoder: Decoder, prompts: Sequence[list[int]], wanted: dict[int, list[int]], *, n: int, seed: int, side: str
) -> Iterator[dict[Place, Answer]]:
    how, model = decoder.how, decoder.model
    config = GenerationConfig(
        max_new_tokens=decoder.max_new_tokens, num_return_sequences=n, do_sample=how.temperature > 0,
        temperature=how.temperature or 1.0, top_p=how.top_p, top_k=how.top_k,
        eos_token_id=sorted(decoder.ends), pad_token_id=decoder.tokenizer.pad_token_id,
    )  # fmt: skip
    batching = ContinuousBatchingConfig(seed=seed, drop_unsupported_processors=False, **(ON_CPU if model.device.type == "cpu" else {}))
    try:
        with model.continuous_batching_context_manager(
            generation_config=config, continuous_batching_config=batching, timeout=5, warmup=model.device.type != "cpu"
        ) as manager:
            for index in wanted:
                manager.add_request(prompts[index], request_id=str(index))
            open_samples = len(wanted) * n
            while open_samples:
                decoder.attempt.check()
                result = manager.get_result(timeout=0.25)
                if result is None:
                    if not manager.is_running():
                        raise Stopped
                    continue
                if not result.is_finished():
                    continue
                if result.error is not None:
                    raise Stopped
                open_samples -= 1
                index = int(result.request_id.partition("__child#")[0])
                if wanted[index]:  # of a prompt that an earlier attempt answered in part, the rest is enough
                    yield {(index, wanted[index].pop(0)): decoder.answer(result.generated_tokens, side)}
    except (RuntimeError, ValueError, TypeError, AttributeError, ImportError) as problem:
        raise Stopped(type(problem).__name__) from problem
