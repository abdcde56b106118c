"""Does the machinery of a promotion keep its promises? Simulated studies and suites with a planted truth.

  studies   a challenger that is no better, looked at after every judgement: how often is it called better, or worse? One that wins 60
            and 65 of 100 decisive judgements: how many judgements until it is decided? With the fixed-sample test people would use.
  suites    twelve tasks of 100 to 1,000 items, two models: how often is a regression seen where there is none (the same model sampled
            twice), and is one planted on one task found, by its size?

Needs: NumPy. One to three minutes of CPU; --quick: a tenth of the repetitions. --json ends with one line of figures.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402

from training.evidence import verdict  # noqa: E402
from training.suite import paired  # noqa: E402

SIZES = (100, 150, 200, 237, 300, 400, 485, 500, 597, 674, 800, 1000)
TIES = 0.2


def studies(rate: float, count: int, seed: int) -> list[verdict.Verdict]:
    """`count` studies of up to verdict.MOST judgements, a fifth of them ties, in which the challenger wins `rate` of the decisive ones."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        tie, win = rng.random(verdict.MOST) < TIES, rng.random(verdict.MOST) < rate
        found.append(verdict.follow(np.where(tie, 0, np.where(win, 1, -1)).tolist()))
    return found


def peeked(rate: float, count: int, seed: int) -> float:
    """How often a normal test at 5 %, looked at after every judgement from the 30th on, ever speaks for the challenger or against it."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(count):
        wins = np.cumsum(rng.random(verdict.MOST) < rate)
        n = np.arange(1, verdict.MOST + 1)
        hits += bool((np.abs(wins - n / 2) / np.sqrt(n / 4) > 1.96)[29:].any())
    return hits / count


def suite(rng: np.random.Generator, fall: float) -> tuple[dict[str, paired.Array], dict[str, paired.Array], str]:
    """Two models' right answers: of every item's chance to be answered right, drawn twice; on one task the model lost `fall` of it."""
    model, parent = {}, {}
    names = [f"task {number:02}" for number in range(len(SIZES))]
    hurt = names[int(rng.integers(len(names)))]
    for name, size in zip(names, SIZES, strict=True):
        chance = rng.beta(1.2, 0.8, size)
        parent[name] = (rng.random(size) < chance).astype(float)
        model[name] = (rng.random(size) < chance - (fall if name == hurt else 0.0)).astype(float)
    return model, parent, hurt


def suites(count: int, fall: float, draws: int) -> tuple[float, float]:
    """(share of comparisons in which the hurt task was flagged, share in which anything else was)."""
    rng = np.random.default_rng(round(1000 * fall) + 17)
    found = others = 0
    for number in range(count):
        model, parent, hurt = suite(rng, fall)
        flagged = set(paired.compare(model, parent, draws=draws, seed=number).regressions)
        found += hurt in flagged
        others += bool(flagged - ({hurt, paired.MEAN} if fall else set()))
    return found / count, others / count


def median_judgements(found: list[verdict.Verdict]) -> float:
    """Until a decision; a study that never decides counts as endless."""
    return statistics.median(one.decided_at or math.inf for one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="studies and comparisons of each sort (default: 1000)")
    parser.add_argument("--draws", type=int, default=paired.DRAWS, help="bootstrap draws a comparison")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    count = 100 if options.quick else options.count
    began = time.process_time()
    equal, sixty, better = studies(0.5, count, 1), studies(0.6, count, 2), studies(0.65, count, 3)
    told: dict[str, Any] = {
        "studies": count,
        "false_promotion_rate": sum(one.verdict == verdict.BETTER for one in equal) / count,
        "false_decision_rate": sum(one.verdict != verdict.UNDECIDED for one in equal) / count,
        "false_decision_rate_of_a_peeked_test": peeked(0.5, count, 4),
        "median_judgements_at_60": median_judgements(sixty),
        "decided_better_at_60": sum(one.verdict == verdict.BETTER for one in sixty) / count,
        "median_judgements_at_65": median_judgements(better),
        "decided_better_at_65": sum(one.verdict == verdict.BETTER for one in better) / count,
    }
    told["false_regressions"] = suites(count, 0.0, options.draws)[1]
    told["planted_regressions_found"], told["others_flagged_beside"] = suites(count, 0.2, options.draws)
    told["planted_found_at_a_fall_of_10_points"], _ = suites(max(count // 5, 20), 0.1, options.draws)
    told["cpu_seconds"] = round(time.process_time() - began, 1)
    for name, value in told.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    if options.json:
        print(json.dumps({name: None if value == math.inf else value for name, value in told.items()}))


if __name__ == "__main__":
    main()
