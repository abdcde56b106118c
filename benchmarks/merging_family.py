"""What does each way of merging the tiny family's experts know? Writes the tables in docs/merging.md.

Over several seeds of the family (a base, five experts): merges by method, each with its usual numbers and some with numbers searched on
validation questions, against the base, the experts, and two controls that were trained on the mixture of all five domains instead of
being merged: with the steps of one expert, and with the steps of all five together. Measured is recall on the frozen evaluation questions
(96 a domain, in wordings that neither training nor any choice used); the numbers themselves are chosen on validation questions alone.
Intervals redraw seeds, and answers with all their wordings, for all models together.

Needs: the engine's packages, and on two quiet cores about eight minutes a seed. --keep FOLDER keeps what is finished there and goes on
from it. --json ends with one line of figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[0] = str(PROJECT)

from benchmarks.family_table import QUESTIONS, attempt, by_answer, mean  # noqa: E402
from training.engine import family, presets, rundir  # noqa: E402
from training.engine.toytext import DOMAINS, digest, general_questions  # noqa: E402

DOC = PROJECT / "docs" / "merging.md"
BEGIN, END = "<!-- table: benchmarks/merging_family.py -->", "<!-- end of table -->"
# The mixture's learning rate is the better of these on validation questions, for the first seed's control of few steps.
RATES = (1e-3, 3e-3)
T = (0.1, 0.25, 0.5)
# As it was merged so far, and as the paper does it: each expert with the base first, then all five.
USUAL: dict[str, dict[str, Any]] = {
    "linear": {"weight": 1.0}, "task_arithmetic": presets.SEARCH["task_arithmetic"]["start"], "ties": presets.SEARCH["ties"]["start"],
    "dare_ties": presets.SEARCH["dare_ties"]["start"], "breadcrumbs_ties": presets.SEARCH["breadcrumbs_ties"]["start"], "model_stock": {},
}  # fmt: skip
PAPER = "SLERP, then breadcrumbs_ties"
Marks = dict[str, dict[str, list[bool]]]  # model → domain → right or wrong, question by question


def recipe(method: str, parameters: dict[str, float], t: dict[str, float] | None = None) -> dict[str, Any]:
    """Of all five experts; with ``t`` of each expert's SLERP with the base, in which nothing is rounded between."""
    named = [f"{domain}-slerp" if t else domain for domain in DOMAINS]
    steps = {
        f"{domain}-slerp": {"method": "slerp", "base": "base", "inputs": [{"model": domain}], "parameters": {"t": share}}
        for domain, share in (t or {}).items()
    }  # fmt: skip
    return {
        "method": method, **({} if method == "linear" else {"base": "base"}), **({"steps": steps} if t else {}),
        "inputs": [{"model": name, "parameters": dict(parameters)} for name in named],
    }  # fmt: skip


def finished(folder: Path, kind: str, params: dict[str, Any], models: dict[str, Path], seed: int) -> dict[str, Any]:
    """The result of an attempt, which is made unless it is there."""
    there = rundir.read_result(folder) if (folder / rundir.RESULT).exists() else None
    return there if there and there["ok"] else attempt(folder, kind, params, models, None, seed)


def build(root: Path, preset: family.Preset, seed: int, steps: int | None) -> int:
    """Base and experts under ``root``/KEY; ``steps`` of each expert in place of the preset's. Returns the steps."""
    for job in family.plan(preset, seed):
        if job.kind not in ("build-base", "pit"):
            continue
        params = job.params | ({"steps": steps} if steps and job.kind == "pit" else {})
        finished(root / job.key, job.kind, params, {name: root / key / "output" for name, key in job.models.items()}, seed)
        taken = params["steps"]
    return int(taken)


def mixture(root: Path, key: str, steps: int, rate: float, seed: int) -> Path:
    """A control: the base trained on all five domains in turn, with the experts' share of replay and all weights but the embeddings'."""
    params = {"domain": "mixture", "steps": steps, "learning_rate": rate, "replay": 0.5}
    finished(root / key, "pit", params, {"policy": root / "base" / "output"}, seed)
    return root / key / "output"


class Bench:
    """One family in memory: merges it, and asks."""

    def __init__(self, root: Path, seed: int) -> None:
        from training.engine import models, recipes
        from training.engine.kinds import exam, search

        self.root, self.seed = root, seed
        models.set_threads(1, seed)
        folders = {"base": root / "base" / "output", **{domain: root / f"expert-{domain}" / "output" for domain in DOMAINS}}
        self.folders = folders
        self.attempt: Any = SimpleNamespace(source=folders.__getitem__, spec=SimpleNamespace(seed=seed), check=lambda: None)
        self._parse, self._ready, self._load = recipes.parse, search.ready, models.load
        self.model, self.exam, _ = self._ready(self.attempt, recipes.parse(recipe("task_arithmetic", {"weight": 1.0})), 32)
        tokenizer = models.load(str(folders["base"]))[1]
        self.held_out = {domain: exam.Exam(tokenizer, QUESTIONS[domain]) for domain in DOMAINS}
        self.of_domain = {
            domain: exam.Exam(tokenizer, [row for row in exam.validation_questions(32) if row["domain"] == domain]) for domain in DOMAINS
        }
        self.general = exam.Exam(tokenizer, general_questions(22, 1))

    def become(self, raw: dict[str, Any]) -> Any:
        parsed = self._parse(raw)
        model, _, blend = self._ready(self.attempt, parsed, 1)
        blend.become(parsed)
        return model

    def asked(self, model: Any, domains: Sequence[str] = DOMAINS) -> dict[str, list[bool]]:
        return {domain: [right for right, _ in self.held_out[domain].marks(self.attempt, model)] for domain in domains}

    def loaded(self, folder: Path) -> Any:
        return self._load(str(folder))[0]

    def validation(self, model: Any) -> float:
        return float(self.exam.score(self.attempt, model).accuracy)

    def best_t(self, domain: str) -> float:
        """As the family's merges choose it: the mean of the domain's and of general questions, equal ones for the larger t."""

        def worth(t: float) -> float:
            step = {"method": "slerp", "base": "base", "inputs": [{"model": domain}], "parameters": {"t": t}}
            model = self.become(step)
            return mean([self.exam_share(self.of_domain[domain], model), self.exam_share(self.general, model)])

        return max(T, key=lambda t: (worth(t), t))

    def exam_share(self, sat: Any, model: Any) -> float:
        return mean([float(right) for right, _ in sat.marks(self.attempt, model)])

    def searched(self, name: str, raw: dict[str, Any], evaluations: int, together: bool) -> tuple[dict[str, Any], Path]:
        """The result of a search from ``raw``, and the merge it ended with."""
        params = {"recipe": raw, "ranges": presets.SEARCH[raw["method"]]["ranges"], "evaluations": evaluations, "each": not together}
        key = name.replace(", ", "-").replace(" ", "-")
        folder = self.root / f"search-{key}-{evaluations}{'-together' if together else ''}"
        return finished(folder, "search", params, self.folders, self.seed), folder / "output"


def best_rate(root: Path, seed: int, options: argparse.Namespace) -> float:
    """The mixtures' learning rate, by one family's control of few steps."""
    steps = build(root, options.preset, seed, options.steps)
    folders = {one: mixture(root, f"same-{one:g}", steps, one, seed) for one in RATES}
    bench = Bench(root, seed)
    return max(RATES, key=lambda one: bench.validation(bench.loaded(folders[one])))


def trained(root: Path, seed: int, options: argparse.Namespace, rate: float) -> tuple[int, dict[str, Path]]:
    """Everything of one family that is trained, in children of its own: the experts' steps, and the controls."""
    steps = build(root, options.preset, seed, options.steps)
    controls = {"same steps": mixture(root, f"same-{rate:g}", steps, rate, seed)}
    if not options.without_equal:
        controls["equal compute"] = mixture(root, "equal", len(DOMAINS) * steps, rate, seed)
    say(f"seed {seed}: experts of {steps} steps and controls, learning rate {rate:g}")
    return steps, controls


def one_seed(root: Path, seed: int, options: argparse.Namespace, rate: float) -> dict[str, Any]:
    """Everything about one family: marks by model, validation scores, what was chosen."""
    steps, controls = trained(root, seed, options, rate)
    bench = Bench(root, seed)
    marks: Marks = {"base": bench.asked(bench.loaded(bench.folders["base"])), "expert": {}}
    for domain in DOMAINS:
        marks["expert"] |= bench.asked(bench.loaded(bench.folders[domain]), [domain])
    marks |= {name: bench.asked(bench.loaded(folder)) for name, folder in controls.items()}
    t = {domain: bench.best_t(domain) for domain in DOMAINS}
    recipes = {method: recipe(method, parameters) for method, parameters in USUAL.items()}
    recipes[PAPER] = recipe("breadcrumbs_ties", USUAL["breadcrumbs_ties"], t)
    validation = {}
    for name, raw in recipes.items():
        model = bench.become(raw)
        marks[name], validation[name] = bench.asked(model), bench.validation(model)
    say(f"seed {seed}: {len(recipes)} merges")
    found = {}
    for name in options.search:
        told, merged = bench.searched(name, recipes[name], options.evaluations, options.together)
        label = f"{name}, searched"
        found[label] = told["metrics"] | {"cpu_seconds": told["cpu_seconds"]}
        marks[label] = bench.asked(bench.loaded(merged))
        validation[label] = told["metrics"]["validation"]["best"]["accuracy"]
        say(f"seed {seed}: {label}, validation {validation[name]:.3f} → {validation[label]:.3f}")
    return {"marks": marks, "validation": validation, "t": t, "rate": rate, "steps": steps, "searches": found}


def answered(root: Path, seed: int, options: argparse.Namespace, rate: float) -> dict[str, Any]:
    """``one_seed``, unless the folder has the answer."""
    # What was asked is part of its name: another run in the same folder goes on from its models, not from its answers.
    asked = f"{options.preset}-{options.steps}-{options.evaluations}-{options.together}-{options.search}-{options.without_equal}"
    kept = root / f"merging-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.json"
    if not kept.exists():
        kept.write_text(json.dumps(one_seed(root, seed, options, rate)), encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def interval(seeds: list[Marks], figure: Callable[[Callable[[str, str], float]], float], draws: int) -> tuple[float, float, float]:
    """(value, low, high) of a figure made of recalls; ``figure`` gets a function (model, domain) → recall in percent."""
    groups = {domain: by_answer(domain) for domain in DOMAINS}

    def of(drawn_seeds: list[Marks], drawn: dict[str, list[list[int]]]) -> float:
        chosen = {domain: [index for group in drawn[domain] for index in group] for domain in DOMAINS}

        def recall(model: str, domain: str) -> float:
            rows = [marks[model][domain] for marks in drawn_seeds]
            return 100 * sum(row[index] for row in rows for index in chosen[domain]) / (len(rows) * len(chosen[domain]))

        return figure(recall)

    rng = random.Random("merging family")
    values = sorted(
        of(rng.choices(seeds, k=len(seeds)), {domain: rng.choices(group, k=len(group)) for domain, group in groups.items()})
        for _ in range(draws)
    )
    return of(seeds, groups), values[int(0.025 * draws)], values[int(0.975 * draws)]


def figures(seeds: list[dict[str, Any]], draws: int) -> dict[str, Any]:
    marks = [seed["marks"] for seed in seeds]
    models = [name for name in marks[0] if name != "expert" and all(name in each for each in marks)]
    equal = "equal compute" in models

    def average(recall: Callable[[str, str], float], model: str) -> float:
        return mean([recall(model, domain) for domain in DOMAINS])

    def kept(recall: Callable[[str, str], float], model: str) -> float:
        gained = average(recall, "expert") - average(recall, "base")
        return (average(recall, model) - average(recall, "base")) / gained if gained else 0.0

    rows = {}
    for name in models:
        rows[name] = {
            "recall": interval(marks, lambda r, m=name: average(r, m), draws),
            "less_same": interval(marks, lambda r, m=name: average(r, m) - average(r, "same steps"), draws),
            "less_equal": interval(marks, lambda r, m=name: average(r, m) - average(r, "equal compute"), draws) if equal else None,
            "kept": interval(marks, lambda r, m=name: kept(r, m), draws),
        }
    for name in models:
        if name.endswith(", searched"):
            usual = name.removesuffix(", searched")
            rows[name]["less_usual"] = interval(marks, lambda r, m=name, u=usual: average(r, m) - average(r, u), draws)
    best = max((name for name in models if name not in ("base", "same steps", "equal compute")), key=lambda name: rows[name]["recall"][0])
    by_domain = {
        domain: {
            "base": interval(marks, lambda r, d=domain: r("base", d), draws),
            "expert": interval(marks, lambda r, d=domain: r("expert", d), draws),
            "merged": interval(marks, lambda r, d=domain: r(best, d), draws),
            "kept": interval(
                marks, lambda r, d=domain: (r(best, d) - r("base", d)) / gain if (gain := r("expert", d) - r("base", d)) else 0.0, draws
            ),
        }
        for domain in DOMAINS
    }
    return {"models": rows, "expert": interval(marks, lambda r: average(r, "expert"), draws), "best": best, "retention": by_domain}


def shown(value: Sequence[float], digits: int = 0) -> str:
    return f"{value[0]:.{digits}f} [{value[1]:.{digits}f}, {value[2]:.{digits}f}]"


def table(found: dict[str, Any], seeds: list[dict[str, Any]], options: argparse.Namespace) -> str:
    lines = [
        "| | recall, % | gain kept | less the same-steps control | less the equal-compute control | less its usual numbers |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found["models"].items():
        searched = shown(row["less_usual"]) if "less_usual" in row else ""
        kept = "" if name == "base" else shown(row["kept"], 2)
        lines.append(
            f"| {name} | {shown(row['recall'])} | {kept} | {'' if name == 'same steps' else shown(row['less_same'])} | "
            f"{'' if name == 'equal compute' or row['less_equal'] is None else shown(row['less_equal'])} | {searched} |"
        )
    lines.append(f"| experts, own domain | {shown(found['expert'])} | | | | |")
    lines += [
        "",
        f"By domain, for {found['best']}, the best by recall:",
        "",
        "| | base | expert | merged | gain kept |",
        "|---|---|---|---|---|",
    ]
    for domain, row in found["retention"].items():
        lines.append(f"| {domain} | {shown(row['base'])} | {shown(row['expert'])} | {shown(row['merged'])} | {shown(row['kept'], 2)} |")
    rates = ", ".join(f"{rate:g}" for rate in sorted({seed["rate"] for seed in seeds}))
    steps, shared = seeds[0]["steps"], "shared by all experts" if options.together else "for each expert"
    frozen = digest([row for domain in DOMAINS for row in QUESTIONS[domain]])[:12]
    searched = f" Searches of {options.evaluations} merges, with numbers {shared}." if options.search else ""
    lines += [
        "",
        f"{len(seeds)} seeds; experts of {steps} steps, mixtures at learning rate {rates}.{searched} Evaluation questions {frozen}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("demo", "test"), default="demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of each expert, in place of the preset's")
    parser.add_argument("--evaluations", type=int, default=200, help="merges a search tries")
    parser.add_argument("--together", action="store_true", help="search one number for all experts, and not one for each")
    parser.add_argument("--search", nargs="*", default=["task_arithmetic", "ties", PAPER], help="which of the merges are searched too")
    parser.add_argument("--without-equal", action="store_true", help="leave out the control with the steps of all five experts")
    parser.add_argument("--at-a-time", type=int, default=1, help="seeds at the same time, one thread each")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    parser.add_argument("--keep", type=Path, help="keep the families in this folder, and reuse what is finished there")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/merging.md")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        roots = {seed: (options.keep or Path(temporary)) / str(seed) for seed in range(1, options.seeds + 1)}
        # Not by fork: a child that has torch's threads from its parent may wait for them for ever.
        with ProcessPoolExecutor(options.at_a_time, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(build, roots.values(), repeat(options.preset), roots, repeat(options.steps)))
            rate = pool.submit(best_rate, roots[1], 1, options).result()
            seeds = list(pool.map(answered, roots.values(), roots, repeat(options), repeat(rate)))
    found = figures(seeds, options.draws)
    text = table(found, seeds, options)
    print(text)
    if options.write:
        before, _, rest = DOC.read_text(encoding="utf-8").partition(BEGIN)
        DOC.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    if options.json:
        print(json.dumps({"toy": True, "preset": options.preset, "figures": found, "seeds": len(seeds)}))


if __name__ == "__main__":
    main()
