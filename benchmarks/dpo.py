"""How much faster is a DPO step with stored reference log-probabilities, with prompts read once for both answers, and with both?

Against stock TRL 1.16 (DPOTrainer as it comes, reference computed live) on the same random Phi-3, adapter, batches, checkpointing and
optimizer. The four trainers stand side by side in one process and take the same step in turn, in an order that changes from round to
round; a ratio is taken within each round, and its median over the rounds is told. Losses of the four are compared step by step.

Long prompts, as letters make them: 1,500 tokens and two answers of 250 for --device cuda (Phi-3.5-mini's shape, bfloat16), scaled to
384 and 64 for a processor. A second run of a sweep (another beta) is then set up on what the first has stored, and its reference
forwards are counted. Needs the engine's packages; about four minutes of a processor's time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[0] = str(PROJECT)

from training.engine import attempt as engine  # noqa: E402
from training.engine import references, rundir, spec  # noqa: E402

STOCK, CACHED, SHARED, BOTH = "stock TRL, live reference", "stored reference", "shared prompts, live reference", "both"
# Dense bfloat16 peak of cards by what they call themselves, FLOP a second (vendor's data sheets).
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
SIZES: dict[str, dict[str, int]] = {
    "cpu": {
        "hidden": 384, "layers": 8, "heads": 6, "intermediate": 1056, "vocab": 8192, "prompt": 384, "answer": 64, "batch": 1,
        "context": 1024,
    },
    "cuda": {
        "hidden": 3072, "layers": 32, "heads": 32, "intermediate": 8192, "vocab": 32064, "prompt": 1500, "answer": 250, "batch": 2,
        "context": 4096,
    },
}  # fmt: skip


def model_folder(folder: Path, size: dict[str, int]) -> Path:
    """A random Phi-3 of this size with a toy tokenizer, which only has to be there: rows are ids from the start."""
    from transformers import Phi3Config, Phi3ForCausalLM

    from training.engine import models, tokens

    tokenizer = tokens.build(600, 1)
    config = Phi3Config(
        vocab_size=size["vocab"], hidden_size=size["hidden"], num_hidden_layers=size["layers"], num_attention_heads=size["heads"],
        num_key_value_heads=size["heads"], intermediate_size=size["intermediate"], max_position_embeddings=size["context"],
        original_max_position_embeddings=size["context"], pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    models.set_threads(1, 1)
    models.save(Phi3ForCausalLM(config), tokenizer, folder)
    return folder


def rows_of(count: int, size: dict[str, int]) -> list[dict[str, Any]]:
    draw = random.Random("rows")

    def ids(length: int) -> list[int]:
        return [draw.randrange(10, size["vocab"]) for _ in range(length)]

    return [
        {
            "prompt_ids": ids(size["prompt"]), "chosen_ids": ids(size["answer"]), "rejected_ids": ids(size["answer"]), "row": number,
            "id": str(number), "p_chosen": 1.0, "weight": 1.0,
        }
        for number in range(count)
    ]  # fmt: skip


def attempt_of(folder: Path, model: Path, store: Path, options: argparse.Namespace, **changes: Any) -> engine.Attempt:
    params = {
        "learning_rate": 1e-4, "batch_size": SIZES[options.device]["batch"], "lora": {"r": 16, "alpha": 32}, "minimum_pairs": 1,
        "gradient_checkpointing": not options.no_checkpointing, "dtype": "bfloat16" if options.device == "cuda" else "float32",
    }  # fmt: skip
    raw = {
        "schema": 1, "kind": "dpo", "job": "benchmark", "seed": 1, "threads": options.threads, "params": params | changes,
        "models": {"policy": str(model)}, "reference_store": str(store),
    }  # fmt: skip
    rundir.create(folder, spec.parse(raw))
    return engine.Attempt(folder, rundir.read_spec(folder), rundir.Events(folder))


def trainer_of(kind: str, folder: Path, model: Path, store: Path, rows: list[dict[str, Any]], options: argparse.Namespace) -> Any:
    """One of the four, from the same weights and the same first adapter."""
    import torch

    from training.engine import models
    from training.engine.kinds import dpo

    policy, tokenizer = models.load(str(model))
    if options.device == "cuda":
        policy = policy.to("cuda", torch.bfloat16)
        if kind in (SHARED, BOTH) and options.attention:
            policy.set_attn_implementation(options.attention)
    if kind != STOCK:
        attempt = attempt_of(
            folder, model, store, options, shared_prefix=kind in (SHARED, BOTH), reference="stored" if kind in (CACHED, BOTH) else "live"
        )
        return dpo.build(attempt, _params(attempt), policy, tokenizer, rows, [])
    import datasets
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    class Stock(DPOTrainer):
        """As it comes, but for tokenising: the rows are ids already."""

        def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
            return dataset

    return Stock(
        model=policy, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer,
        args=DPOConfig(
            output_dir=str(folder), use_cpu=options.device == "cpu", bf16=False, seed=1, beta=0.1, learning_rate=1e-4, max_length=None,
            report_to=[], disable_tqdm=True, activation_checkpointing=not options.no_checkpointing,
            per_device_train_batch_size=SIZES[options.device]["batch"],
        ),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip


def _params(attempt: engine.Attempt) -> spec.Dpo:
    assert isinstance(attempt.spec.params, spec.Dpo)
    return attempt.spec.params


def step(trainer: Any, numbers: list[int], optimizer: Any) -> tuple[float, float]:
    """(seconds, loss) of one whole step: batch, forward, backward, optimizer. Without a card, seconds of the processor's time: what else
    a shared machine does meanwhile is none of the ratio's business."""
    import torch

    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    _wait()
    began = clock()
    batch = trainer.data_collator([trainer.train_dataset[number] for number in numbers])
    loss = trainer.training_step(trainer.model, batch)
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    _wait()
    return clock() - began, float(loss)


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    import datasets
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    size = SIZES[options.device]
    model, store = model_folder(root / "model", size), root / "store"
    torch.set_num_threads(options.threads)
    rows = rows_of(size["batch"] * options.rounds, size)
    kinds = (STOCK, CACHED, SHARED, BOTH)
    trainers = {kind: trainer_of(kind, root / str(number), model, store, rows, options) for number, kind in enumerate(kinds)}
    for trainer in trainers.values():
        trainer.current_gradient_accumulation_steps = 1
    optimizers = {kind: trainer.create_optimizer() for kind, trainer in trainers.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    apart, losses = 0.0, []
    for number in range(options.rounds):
        numbers = list(range(number * size["batch"], (number + 1) * size["batch"]))
        found = {}
        for kind in kinds[number % 4 :] + kinds[: number % 4]:
            took, found[kind] = step(trainers[kind], numbers, optimizers[kind])
            if number:  # the first round warms up
                seconds[kind].append(took)
        losses.append(found[STOCK])
        apart = max(apart, *(abs(found[kind] - found[STOCK]) for kind in kinds))
        print(f"round {number}: " + ", ".join(f"{kind} {seconds[kind][-1]:.2f} s" for kind in kinds if number), file=sys.stderr, flush=True)
    forwards = trainers[CACHED].store.forwards
    for number in range(4):
        references.bring(root / str(number), store)
    again = attempt_of(root / "again", model, store, options, beta=0.5)
    second = _second(again, model, rows)
    middle = {kind: statistics.median(times) for kind, times in seconds.items()}
    trained = sum(parameter.numel() for parameter in trainers[STOCK].model.parameters())
    made = {
        "device": _device(options), "threads": options.threads, "rounds": options.rounds - 1,
        "shape": {**size, "parameters": trained, "checkpointing": not options.no_checkpointing},
        "seconds_per_step": {kind: round(value, 4) for kind, value in middle.items()},
        **{
            f"speedup_{name}": round(_ratio(seconds[STOCK], seconds[kind]), 3)
            for name, kind in (("cached", CACHED), ("shared_prefix", SHARED), ("both", BOTH))
        },
        "range": {kind: [round(value, 2) for value in _quartiles(seconds[STOCK], seconds[kind])] for kind in kinds[1:]},
        "max_abs_loss_difference": apart, "losses": [round(losses[0], 4), round(losses[-1], 4)],
        "reference_forwards_first_run": forwards, "reference_forwards_second_run": second,
    }  # fmt: skip
    if options.device == "cuda":
        made |= _on_a_card(middle, size, trained)
    return made


def _second(attempt: engine.Attempt, model: Path, rows: list[dict[str, Any]]) -> int:
    import torch

    from training.engine import models
    from training.engine.kinds import dpo

    policy, tokenizer = models.load(str(model))
    if _params(attempt).dtype == "bfloat16":
        policy = policy.to("cuda", torch.bfloat16)
    trainer = dpo.build(attempt, _params(attempt), policy, tokenizer, rows, [])
    assert trainer.store is not None
    return trainer.store.forwards


def _on_a_card(middle: dict[str, float], size: dict[str, int], parameters: int) -> dict[str, Any]:
    """Tokens a second, memory, and the share of the card's peak: 4N FLOP a token for LoRA and 2N for a checkpointed layer's second pass."""
    import torch

    name = torch.cuda.get_device_name()
    peak = next((value for key, value in PEAK.items() if key in name), None)
    tokens = {
        STOCK: size["batch"] * 2 * (size["prompt"] + size["answer"]), BOTH: size["batch"] * (size["prompt"] + 2 * size["answer"] + 1),
    }  # fmt: skip
    rate = {kind: count / middle[kind] for kind, count in tokens.items()}
    return {
        "tokens_per_second": {kind: round(value) for kind, value in rate.items()},
        "peak_memory_gb_of_all_four": round(torch.cuda.max_memory_allocated() / 1e9, 1),
        "share_of_peak": peak and round(6 * parameters * rate[BOTH] / peak, 3),
    }


def _ratio(stock: list[float], other: list[float]) -> float:
    return statistics.median(one / another for one, another in zip(stock, other, strict=True))


def _quartiles(stock: list[float], other: list[float]) -> tuple[float, float]:
    ratios = sorted(one / another for one, another in zip(stock, other, strict=True))
    return (ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4])


def _device(options: argparse.Namespace) -> str:
    if options.device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return f"{platform.machine()}, {options.threads} of {os.cpu_count()} cores, float32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=13, help="steps of each trainer; the first is not timed")
    parser.add_argument(
        "--no-checkpointing", action="store_true", help="keep activations, in all four alike (TRL's default is to recompute)"
    )
    parser.add_argument("--attention", help="for shared prompts on cuda: flex_attention takes the block mask")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    engine.prepare_environment(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(options, Path(temporary))
    for name in ("cached", "shared_prefix", "both"):
        print(f"{name:<14} {found[f'speedup_{name}']:.2f}x of stock TRL's steps a second")
    print(f"losses differ by {found['max_abs_loss_difference']:.1e} at most; second run: {found['reference_forwards_second_run']} forwards")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
