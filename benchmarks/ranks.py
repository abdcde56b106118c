"""The largest half of a tensor of 50 million changes, found in one pass and by torch's sort: CPU seconds, ratio, and that both agree.

python benchmarks/ranks.py [--entries 50000000] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from training.engine.merging import masks, ranks
from training.engine.merging.ranks import Wish
from training.engine.merging.work import CHUNK


def cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    made = work()
    return made, time.process_time() - began


def measure(entries: int, *, bfloat16: bool) -> dict[str, float | bool]:
    """Of normal changes; or of such as bfloat16 leaves, among which many are equal."""
    generator = torch.Generator().manual_seed(1)
    magnitudes = torch.cat([torch.randn(part.numel(), generator=generator) for part in torch.empty(entries).split(1 << 22)]).abs_()
    if bfloat16:
        magnitudes = magnitudes.bfloat16().float()

    def look(start: int, stop: int, those: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        return ((index, magnitudes[start:stop].numpy()) for index in those)

    def spans() -> Iterator[tuple[int, int]]:
        return ((start, min(start + CHUNK, entries)) for start in range(0, entries, CHUNK))

    def kept(band: masks.Band) -> torch.Tensor:
        made = magnitudes.clone()
        for start, stop in spans():
            masks.thin(made[start:stop], band, start, torch.empty(stop - start))
        return made

    (top,), ours = cpu(lambda: ranks.bands([Wish(entries, largest=entries // 2)], look, spans))
    (band,), both = cpu(lambda: ranks.bands([Wish(entries, bottom=entries // 10, top=entries // 100)], look, spans))
    order, sort = cpu(lambda: magnitudes.sort(stable=True).indices)
    expected = torch.zeros(entries)
    middle = order[entries // 10 : entries - entries // 100]
    expected[middle] = magnitudes[middle]
    made = kept(band)
    assert int(torch.count_nonzero(kept(top))) == entries // 2
    return {
        "sort_seconds": round(sort, 3), "largest_seconds": round(ours, 3), "middle_seconds": round(both, 3),
        "largest_ratio": round(sort / ours, 1), "middle_ratio": round(sort / both, 1), "equal": bool(torch.equal(made, expected)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=50_000_000)
    parser.add_argument("--json", action="store_true", help="only one JSON object, on the last line")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: measure(given.entries, bfloat16=name == "bfloat16") for name in ("float32", "bfloat16")}
    if not given.json:
        for name, figures in found.items():
            for what in ("largest", "middle"):
                faster = (
                    f"{figures[f'{what}_seconds']} s, {figures[f'{what}_ratio']} times faster than the sort's {figures['sort_seconds']} s"
                )
                print(f"{name}, {what}: {faster}; equal: {figures['equal']}")
    print(json.dumps({"entries": given.entries, **found}))


if __name__ == "__main__":
    main()
