"""The largest half of a tensor of 50 million changes, by histograms of bits and by torch's sort: CPU seconds, ratio, and that both agree.

python benchmarks/ranks.py [--entries 50000000] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from training.engine.merging import masks
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

    def chunks() -> Iterator[torch.Tensor]:
        return iter(magnitudes.split(CHUNK))

    top, ours = cpu(lambda: masks.largest(chunks, entries, entries // 2))
    band, both = cpu(lambda: masks.middle(chunks, entries, entries // 10, entries // 100))
    order, sort = cpu(lambda: magnitudes.sort(stable=True).indices)
    expected = torch.zeros(entries, dtype=torch.bool)
    expected[order[entries // 10 : entries - entries // 100]] = True
    made = torch.cat([band.mask(chunk, place * CHUNK) for place, chunk in enumerate(chunks())])
    assert int(torch.cat([top.mask(chunk, place * CHUNK) for place, chunk in enumerate(chunks())]).sum()) == entries // 2
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
