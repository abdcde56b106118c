"""Do soft targets learn more from noisy raters than majority labels? A tiny real Phi-3, the engine's own loss, and a planted truth.

Raters compare two answers that differ in their closing sentence. A closing is worth the sum of what its three parts are worth (36 closings
in all), and every vote is the wrong way round with a probability of --flips; a clear difference is called "much better". Pairs have one,
two or three votes. Each seed plants other worths and draws other pairs, votes and flips, and trains three times from the same base on the
same pairs:

    soft      p of each pair from its votes, by annotation/resolution.py's map (0.92, 0.75, one imaginary vote for "equal")
    majority  the side with more votes, as certain; pairs that balance are left out
    shuffled  labels that say nothing: half of the pairs turned over, whatever their difference

Told is the share of new pairs, labelled by the truth without noise, on which the trained model's implicit reward has the right sign; 95 %
intervals over seeds (Student's t), the difference of soft and majority within seeds. All weights are trained in a bare loop around
training.engine.preferences.soft_loss, for TRL's figures of every step cost more than a model of this size. Settings were chosen on seed 0,
which is not among those counted. Needs the engine's packages; about twenty seconds of a processor's time a seed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[0] = str(PROJECT)

from annotation import resolution  # noqa: E402
from training.engine import attempt as engine  # noqa: E402
from training.engine import buckets, rundir, spec  # noqa: E402

ACTS = ("Please confirm this", "Discuss this", "Check this once more", "Decide on this")
WITH = ("with the treating doctor", "with a colleague", "with the family")
WHEN = ("today", "before discharge", "at the next visit")
CLOSINGS = tuple(f"{act} {who} {when}." for act, who, when in itertools.product(ACTS, WITH, WHEN))
PROMPT = [{"role": "user", "content": "Next step?"}]
CLEAR = 1.0  # a difference in worth from which a rater says "much"
BASE = {"steps": 150, "batch_size": 8, "block": 64, "hidden_size": 64, "layers": 2, "heads": 4, "intermediate_size": 192}
EPOCHS, BATCH, RATE, BETA, WARM_UP = 10, 10, 1e-3, 0.1, 10
# Two-sided 95 % points of Student's t by degrees of freedom.
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 9: 2.262, 14: 2.145, 19: 2.093, 59: 2.001}

Row = dict[str, Any]


def worths(seed: int) -> dict[str, float]:
    """What each closing is worth: a sum over its parts, so that what is learnt of one says something about others."""
    draw = random.Random(f"worths {seed}")
    parts = {part: draw.gauss(0, 1) for part in (*ACTS, *WITH, *WHEN)}
    return {f"{act} {who} {when}.": parts[act] + parts[who] + parts[when] for act, who, when in itertools.product(ACTS, WITH, WHEN)}


def pairs(count: int, seed: int, worth: dict[str, float], what: str) -> list[Row]:
    """Pairs with the better answer first, by the truth; ``gap`` is the difference in worth."""
    draw = random.Random(f"{what} {seed}")
    made = []
    for _ in range(count):
        one, other = draw.sample(CLOSINGS, 2)
        better, worse = (one, other) if worth[one] > worth[other] else (other, one)
        made.append({"chosen": better, "rejected": worse, "gap": worth[better] - worth[worse], "p_chosen": 1.0})
    return made


def judged(rows: Sequence[Row], flips: float, seed: int) -> list[list[str]]:
    """One to three votes a pair; "first" is the better side by the truth, and every vote may be the wrong way round."""
    draw = random.Random(f"votes {seed}")
    votes = []
    for row in rows:
        strength = "much" if row["gap"] >= CLEAR else "slightly"
        votes.append([f"{'second' if draw.random() < flips else 'first'}_{strength}" for _ in range(draw.randint(1, 3))])
    return votes


def soft(rows: Sequence[Row], votes: Sequence[Sequence[str]]) -> list[Row]:
    made = []
    for row, cast in zip(rows, votes, strict=True):
        found = resolution.resolve(cast)
        if found.first_is_chosen is not None:
            made.append((row if found.first_is_chosen else turned(row)) | {"p_chosen": found.p_chosen})
    return made


def majority(rows: Sequence[Row], votes: Sequence[Sequence[str]]) -> list[Row]:
    made = []
    for row, cast in zip(rows, votes, strict=True):
        first = sum(vote.startswith("first") for vote in cast)
        if 2 * first != len(cast):
            made.append(row if 2 * first > len(cast) else turned(row))
    return made


def shuffled(rows: Sequence[Row], seed: int) -> list[Row]:
    """Every second of the rows in the order of their difference is turned over: no chance leaning towards the truth is left."""
    start = random.Random(f"shuffled {seed}").randrange(2)
    order = sorted(range(len(rows)), key=lambda place: rows[place]["gap"])
    over = {place for nth, place in enumerate(order) if nth % 2 == start}
    return [turned(row) if place in over else row for place, row in enumerate(rows)]


def turned(row: Row) -> Row:
    return row | {"chosen": row["rejected"], "rejected": row["chosen"]}


def base_model(folder: Path) -> str:
    """Schooled for a moment on the toy family's general text, so that words are words."""
    raw = {"schema": 1, "kind": "build-base", "job": "noise", "seed": 1, "threads": 1, "params": BASE, "models": {}}
    rundir.create(folder, spec.parse(raw))
    assert engine.main(folder) == 0
    return str(folder / rundir.OUTPUT)


def encoded(tokenizer: Any, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Both sides of each pair: ids of the whole conversation, and where the answer starts."""
    from training.engine import tokens

    def side(text: str) -> Row:
        start, rest = tokens.split_completion(tokenizer, PROMPT, [{"role": "assistant", "content": text}])
        return {"ids": start + rest, "start": len(start)}

    return [(side(row["chosen"]), side(row["rejected"])) for row in rows]


def ratios(model: Any, sides: Sequence[tuple[Row, Row]], pad: int) -> Any:
    """log π(chosen) − log π(rejected) of each pair (n,)."""
    import torch

    flat = [chosen for chosen, _ in sides] + [rejected for _, rejected in sides]
    width = max(len(one["ids"]) for one in flat)
    ids, mask = torch.full((len(flat), width), pad), torch.zeros((len(flat), width))
    for index, one in enumerate(flat):
        ids[index, : len(one["ids"])] = torch.tensor(one["ids"])
        mask[index, one["start"] : len(one["ids"])] = 1
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    said = logits.gather(-1, ids[:, 1:, None])[..., 0] - logits.logsumexp(-1)
    chosen, rejected = (said * mask[:, 1:]).sum(-1).chunk(2)
    return chosen - rejected


def of_all(model: Any, sides: Sequence[tuple[Row, Row]], pad: int) -> Any:
    import torch

    with torch.no_grad():
        return torch.cat([ratios(model, sides[start : start + 50], pad) for start in range(0, len(sides), 50)])


def trained(base: str, rows: Sequence[Row], new: Sequence[Row], seed: int) -> float:
    """Held-out accuracy after DPO on ``rows``."""
    import torch

    from training.engine import models
    from training.engine.preferences import soft_loss

    model, tokenizer = models.load(base)
    pad, sides, held = tokenizer.pad_token_id, encoded(tokenizer, rows), encoded(tokenizer, new)
    reference, held_reference = of_all(model, sides, pad), of_all(model, held, pad)
    p_chosen = torch.tensor([row["p_chosen"] for row in rows])
    plan = buckets.plan([1] * len(rows), batch_size=BATCH, seed=seed, epochs=EPOCHS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    model.train()
    for step, batch in enumerate(plan):
        for part in optimizer.param_groups:
            part["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / len(plan)))
        delta = ratios(model, [sides[row] for row in batch], pad) - reference[batch]
        soft_loss(delta, p_chosen[batch], torch.ones(len(batch)), BETA).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    return float((of_all(model, held, pad) > held_reference).float().mean())


def one_seed(seed: int, base: str, options: argparse.Namespace) -> dict[str, float]:
    worth = worths(seed)
    rows, new = pairs(options.pairs, seed, worth, "train"), pairs(options.new, seed, worth, "new")
    votes = judged(rows, options.flips, seed)
    arms = {"soft": soft(rows, votes), "majority": majority(rows, votes), "shuffled": shuffled(rows, seed)}
    return {arm: round(trained(base, given, new, seed), 4) for arm, given in arms.items()}


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean with a 95 % interval over seeds."""
    middle, n = statistics.mean(values), len(values)
    reach = T95[max(key for key in T95 if key <= n - 1)] * statistics.stdev(values) / math.sqrt(n)
    return {"mean": round(middle, 4), "low": round(middle - reach, 4), "high": round(middle + reach, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="from 1 on")
    parser.add_argument("--seed", type=int, help="only this one, without intervals")
    parser.add_argument("--flips", type=float, default=0.2)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--new", type=int, default=400, help="held-out pairs")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    engine.prepare_environment(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        with contextlib.redirect_stderr(io.StringIO()):
            base = base_model(Path(temporary) / "base")
        found = []
        for seed in [options.seed] if options.seed is not None else range(1, options.seeds + 1):
            found.append(one_seed(seed, base, options))
            print(f"seed {seed}: " + ", ".join(f"{arm} {value:.3f}" for arm, value in found[-1].items()), flush=True)
    if options.seed is not None:
        return
    figures: dict[str, Any] = {arm: interval([one[arm] for one in found]) for arm in ("soft", "majority", "shuffled")}
    figures["soft_minus_majority"] = interval([one["soft"] - one["majority"] for one in found])
    for name, value in figures.items():
        print(f"{name:<20} {value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]")
    if options.json:
        spent = os.times()
        figures |= {
            "flips": options.flips, "seeds": len(found), "pairs": options.pairs, "held_out_pairs": options.new, "by_seed": found,
            "cpu_seconds": round(spent.user + spent.system), "seconds": round(time.monotonic() - began),
        }  # fmt: skip
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
