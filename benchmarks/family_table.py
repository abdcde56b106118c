"""What do the tiny family's models know? Writes the table in docs/family.md.

Measures recall (the whole answer right) on the frozen questions of tests/engine/test_toytext.py, whose wordings no
training uses: 96 a domain, for the base, each expert on its own domain, the same after SLERP with the base, the merged
model and its SFT version, over several seeds of the whole family. Against: the base (difference with a 95 % interval),
and the expert itself (retention = (merged - base) / (expert - base)). Intervals redraw seeds and answers together.

Needs: the engine's packages; on two quiet cores about six minutes a seed. --keep FOLDER keeps the models, which
benchmarks/toy_loop.py then takes as --family FOLDER/1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from training.engine import family, presets, rundir, spec, toytext  # noqa: E402

# correct[stage][seed][domain][question] of the models asked about that domain
Marks = dict[str, dict[int, dict[str, list[bool]]]]
STAGES = ("base", "expert", "slerp", "merged", "sft")
QUESTIONS = {domain: toytext.questions(domain, 96, 0) for domain in toytext.DOMAINS}
DOC = PROJECT / "docs" / "family.md"
BEGIN, END = "<!-- table: benchmarks/family_table.py -->", "<!-- end of table -->"


def attempt(
    folder: Path, kind: str, params: dict[str, Any], models: dict[str, Path], inputs: dict[str, Any] | None, seed: int
) -> dict[str, Any]:
    """One child process; its result. Raises ``RuntimeError`` with the error when it fails."""
    raw = {
        "schema": 1, "kind": kind, "job": folder.name, "seed": seed, "threads": 1, "params": params,
        "models": {name: str(path.resolve()) for name, path in models.items()},
    }  # fmt: skip
    rundir.create(folder, spec.parse(raw), inputs)
    child = subprocess.run(
        [sys.executable, "-m", "training.engine", str(folder)],
        cwd=PROJECT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    result = rundir.read_result(folder)
    if result is None or not result["ok"]:
        raise RuntimeError(f"{kind} in {folder} failed: {result and result['error']}\n{child.stderr.decode()[-2000:]}")
    return result


def build(root: Path, preset: family.Preset, seed: int, at_a_time: int) -> dict[str, Any]:
    """The whole family under ``root``/KEY/output, as many jobs at a time as given. Wall and CPU seconds by job."""
    started, done = time.monotonic(), {}
    waiting = family.plan(preset, seed)
    running: dict[Future[dict[str, Any]], str] = {}
    with ThreadPoolExecutor(at_a_time) as pool:
        while waiting or running:
            for job in [job for job in waiting if set(job.models.values()) <= set(done)]:
                waiting.remove(job)
                models = {name: root / key / "output" for name, key in job.models.items()}
                running[pool.submit(attempt, root / job.key, job.kind, job.params, models, None, job.seed)] = job.key
            for finished in wait(running, return_when="FIRST_COMPLETED").done:
                done[running.pop(finished)] = finished.result()
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(sum(result["cpu_seconds"] for result in done.values()), 1),
        "jobs": {key: {"seconds": result["seconds"], "cpu_seconds": result["cpu_seconds"]} for key, result in done.items()},
        "t": {key: result["metrics"]["t"] for key, result in done.items() if "t" in result["metrics"]},
    }


def ask(root: Path, key: str, domains: tuple[str, ...], seed: int) -> dict[str, list[bool]]:
    """Right or wrong, question by question, for one model."""
    rows = [row for domain in domains for row in QUESTIONS[domain]]
    folder = root / f"recall-{key}"
    attempt(folder, "evaluate", presets.EVALUATE["demo"], {"policy": root / key / "output"}, {"questions.jsonl": rows}, seed)
    items = [json.loads(line) for line in (folder / "output" / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    return {domain: [item["correct"] for item in items if item["domain"] == domain] for domain in domains}


def asked(root: Path, seed: int, marks: Marks) -> None:
    for stage in ("base", "merged", "sft"):
        marks[stage][seed] = ask(root, stage, toytext.DOMAINS, seed)
    for stage in ("expert", "slerp"):
        marks[stage][seed] = {domain: ask(root, f"{stage}-{domain}", (domain,), seed)[domain] for domain in toytext.DOMAINS}


def interval(marks: Marks, figure: Callable[[Callable[[str, str], float]], float], draws: int = 2000) -> tuple[float, float, float]:
    """(value, low, high) of a figure made of recalls; ``figure`` gets a function (stage, domain) → recall in percent.

    Redraws seeds, and within each domain answers with all their wordings, for every stage alike: differences are paired.
    """
    seeds = sorted(marks["base"])
    groups = {domain: by_answer(domain) for domain in toytext.DOMAINS}

    def of(drawn_seeds: list[int], drawn: dict[str, list[list[int]]]) -> float:
        def recall(stage: str, domain: str) -> float:
            chosen = [index for group in drawn[domain] for index in group]
            rows = [marks[stage][seed][domain] for seed in drawn_seeds]
            return 100 * sum(row[index] for row in rows for index in chosen) / (len(rows) * len(chosen))

        return figure(recall)

    rng = random.Random("family table")
    values = sorted(
        of(rng.choices(seeds, k=len(seeds)), {domain: rng.choices(group, k=len(group)) for domain, group in groups.items()})
        for _ in range(draws)
    )
    return of(seeds, groups), values[int(0.025 * draws)], values[int(0.975 * draws)]


def by_answer(domain: str) -> list[list[int]]:
    """Places of the domain's questions, one list an answer: its wordings stand or fall together."""
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(QUESTIONS[domain]):
        groups.setdefault(row["answer"], []).append(index)
    return list(groups.values())


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def figures(marks: Marks, draws: int) -> dict[str, Any]:
    domains = toytext.DOMAINS
    found: dict[str, Any] = {"recall": {}, "gain": {}, "retention": {}}
    for domain in domains:
        found["recall"][domain] = {stage: interval(marks, lambda r, s=stage, d=domain: r(s, d), draws) for stage in STAGES}
        found["gain"][domain] = interval(marks, lambda r, d=domain: r("expert", d) - r("base", d), draws)
    found["recall"]["mean"] = {
        stage: interval(marks, lambda r, s=stage: mean([r(s, domain) for domain in domains]), draws) for stage in STAGES
    }

    def kept(recall: Callable[[str, str], float], domain: str) -> float:
        gained = recall("expert", domain) - recall("base", domain)
        return (recall("merged", domain) - recall("base", domain)) / gained if abs(gained) > 1e-9 else 0.0

    for domain in domains:
        found["retention"][domain] = interval(marks, lambda r, d=domain: kept(r, d), draws)
    found["retention"]["mean"] = interval(marks, lambda r: mean([kept(r, domain) for domain in domains]), draws)
    found["experts_above_base"] = sum(found["gain"][domain][1] > 0 for domain in domains)
    return found


def shown(value: tuple[float, float, float], digits: int = 0) -> str:
    return f"{value[0]:.{digits}f} [{value[1]:.{digits}f}, {value[2]:.{digits}f}]"


def table(found: dict[str, Any], builds: list[dict[str, Any]]) -> str:
    lines = [
        "| recall, % | base | expert | SLERP with base | merged | SFT | expert − base | retention |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for domain in toytext.DOMAINS:
        cells = [shown(found["recall"][domain][stage]) for stage in STAGES]
        lines.append(f"| {domain} | {' | '.join(cells)} | {shown(found['gain'][domain])} | {shown(found['retention'][domain], 2)} |")
    cells = [shown(found["recall"]["mean"][stage]) for stage in STAGES]
    lines.append(f"| mean | {' | '.join(cells)} | | {shown(found['retention']['mean'], 2)} |")
    cpu, wall = mean([one["cpu_seconds"] for one in builds]), mean([one["seconds"] for one in builds])
    lines += [
        "",
        f"{len(builds)} seeds; {found['experts_above_base']} of 5 experts above the base on their own domain (interval of the "
        f"difference above 0). One family: {cpu:.0f} s of CPU, {wall:.0f} s by the clock on the machine that wrote this.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("demo", "test"), default="demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-a-time", type=int, default=2, help="jobs at a time")
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws")
    parser.add_argument("--keep", type=Path, help="keep the families in this folder, and reuse what is finished there")
    parser.add_argument("--write", action="store_true", help="put the table into docs/family.md")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    marks: Marks = {stage: {} for stage in STAGES}
    builds = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(1, options.seeds + 1):
            root = (options.keep or Path(temporary)) / str(seed)
            if (root / "marks.json").exists():
                kept = json.loads((root / "marks.json").read_text(encoding="utf-8"))
                builds.append(kept["build"])
                for stage in STAGES:
                    marks[stage][seed] = kept["marks"][stage]
                continue
            builds.append(build(root, options.preset, seed, options.at_a_time))
            asked(root, seed, marks)
            saved = {"build": builds[-1], "marks": {stage: marks[stage][seed] for stage in STAGES}}
            (root / "marks.json").write_text(json.dumps(saved), encoding="utf-8")
            print(f"seed {seed}: built in {builds[-1]['seconds']} s, {builds[-1]['cpu_seconds']} s of CPU", flush=True)
    found = figures(marks, options.draws)
    text = table(found, builds)
    print(text)
    if options.write:
        before, _, rest = DOC.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        DOC.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    if options.json:
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(json.dumps({"toy": True, "preset": options.preset, "figures": found, "builds": builds, "peak_rss_mb": round(peak)}))


if __name__ == "__main__":
    main()
