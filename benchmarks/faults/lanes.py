"""Which lanes there are, in the order in which they run, and the table they end in."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from benchmarks.faults import broker, cancels, clocks, crashes, disk, kills, leases, machines, real, torn
from benchmarks.faults import mutants as breaking
from benchmarks.faults.checker import Report
from benchmarks.faults.house import House

LANES: dict[str, Callable[..., Report]] = {
    "L1": leases.run, "L2": crashes.run, "L3": kills.run, "L4": broker.run, "L5": cancels.run, "L6": disk.run,
    "L7": torn.run, "L8": machines.run, "L10": clocks.run, "R": real.run,
}  # fmt: skip


def run(house: House, seed: int, *, only: list[str] | None, quick: bool, mutants: bool | list[int], silent: bool) -> dict[str, Any]:
    """Every lane, one after the other; what the JSON line says."""
    say = (lambda line: None) if silent else (lambda line: print(line, flush=True))
    say(f"seed {seed}")
    reports = []
    for name, lane in LANES.items():
        if mutants or (only and name not in only):
            continue
        began = time.monotonic()
        try:
            report = lane(house, seed, quick=quick)
        except Exception:
            report = Report(name, "broke down", seed, wrong=[traceback.format_exc()])
        report.seconds = time.monotonic() - began
        if not report.wrong:
            house.drop()
        reports.append(report)
        say(row(report))
        for wrong in report.wrong[:10]:
            say(f"     {wrong}")
    figures = {
        report.lane: {name: getattr(report, name) for name in ("seed", "faults", "jobs", "published", "duplicates", "lost", "rework")}
        | {"seconds": round(report.seconds, 1), "green": not report.wrong, **report.told}
        for report in reports
    }
    told = {"seed": seed, "green": all(not report.wrong for report in reports), "lanes": figures}
    if mutants or not only:
        began = time.monotonic()
        caught, wrong = breaking.run(house, seed, say, set(mutants) if isinstance(mutants, list) else None)
        for each in wrong:
            say(f"     {each}")
        told |= {"mutants_caught": caught, "mutants": len(breaking.MUTANTS), "mutants_seconds": round(time.monotonic() - began)}
        told["green"] &= caught == len(breaking.MUTANTS) and not wrong
    return told


def row(report: Report) -> str:
    rework = f"{report.rework:.1%}" if report.rework is not None else "—"
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report.told.items())
    return (
        f"{report.lane:<4} {'green' if not report.wrong else 'RED  '} {report.title:<22} seed {report.seed} {report.seconds:>5.0f} s  "
        f"faults {report.faults:>5}  jobs {report.jobs:>6}  published {report.published:>6}  duplicates {report.duplicates}  "
        f"lost {report.lost}  rework {rework:>6}  {told}"
    )
