"""Do the statistics keep what they promise? Simulations with a planted truth: coverage of every interval, false alarms, biases found.

Measures annotation's agreement, ranking, bias, reliability and resolution modules (the simulations are benchmarks/planted.py) and needs
nothing but NumPy. Full: about four minutes of CPU; --quick: under a minute, with fewer repetitions and so wider margins.
"""

import sys
from pathlib import Path
from typing import Any

if __name__ == "statistics":
    # Another script of this folder, or a library it loads, asked for the standard library's module of this name: hand that over.
    import importlib.util
    import sysconfig

    spec = importlib.util.spec_from_file_location("statistics", Path(sysconfig.get_path("stdlib")) / "statistics.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["statistics"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["statistics"])


DOC = Path(__file__).resolve().parent.parent / "docs" / "statistics.md"
MARKS = ("<!-- table: benchmarks/statistics.py -->\n", "<!-- end of table -->")


def table(found: dict[str, Any]) -> str:
    """The tables of docs/statistics.md."""
    rows = ["| interval of | mean coverage, % | lowest | highest |", "|---|---|---|---|"]
    for name, ends in found["coverage_extremes"].items():
        lowest, highest = (f"{100 * share:.1f} ({setting})" for share, setting in (ends["lowest"], ends["highest"]))
        rows.append(f"| {name} | {100 * found['coverage'][name]:.1f} | {lowest} | {highest} |")
    rows += ["", "| alarm or finding | how often |", "|---|---|"]
    for title, key in (("false", "false_positives"), ("true", "found"), ("control, has to miss 95 %", "controls")):
        rows += [f"| {title}: {name} | {value:.1%} |" for name, value in found[key].items()]
    rows += ["", f"| planted flip rate | {' | '.join(found['flip_rate'])} |", "|---|---|---|---|"]
    rows.append(f"| found, mean | {' | '.join(f'{value:.3f}' for value in found['flip_rate'].values())} |")
    rows += [
        "",
        "| trained on (20 % flips, one to three votes a pair unless said) | accuracy, % | log loss | gain, points |",
        "|---|---|---|---|",
    ]
    for raters, arms in found["soft_targets_at_20_percent_flips"].items():
        for name, arm in arms.items():
            gain = "" if name == "majority labels" else f"{100 * arm['gain']:+.1f} ± {196 * arm['gain_se']:.1f}"
            rows.append(f"| {raters}: {name} | {100 * arm['accuracy']:.1f} | {arm['log_loss']:.3f} | {gain} |")
    return "\n".join(rows) + "\n"


def write(found: dict[str, Any]) -> None:
    before, rest = DOC.read_text(encoding="utf-8").split(MARKS[0])
    DOC.write_text(before + MARKS[0] + table(found) + MARKS[1] + rest.split(MARKS[1])[1], encoding="utf-8")


def main() -> None:
    import argparse
    import json
    import time

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the repetitions")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/statistics.md")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    arguments = parser.parse_args()
    from benchmarks import planted

    began = time.process_time()
    part = 8 if arguments.quick else 1
    reps, few = 2000 // part, 1000 // part
    tables = {
        "agreement": planted.agreement_coverage(reps),
        "ranking": planted.ranking_coverage(few),
        "raters": planted.rater_coverage(few),
    }
    tables["win-rate"], naive_wins, length_alarms = planted.win_rate_coverage(reps)
    no_bias, biased = planted.side_alarms(10 * reps, 0.0), planted.side_alarms(10 * reps, 0.08)
    tables["side"] = {"500 judgements, no bias": {"left share": no_bias[1]}, "500 judgements, +8 points": {"left share": biased[1]}}
    coverage = {
        name: round(sum(values) / len(values), 4)
        for name in sorted({name for table in tables.values() for shares in table.values() for name in shares})
        if (values := [shares[name] for table in tables.values() for shares in table.values() if name in shares])
    }
    found: dict[str, Any] = {
        "coverage": coverage,
        "coverage_extremes": planted.extremes(tables.values()),
        "coverage_margin": {
            "reps": reps,
            "margin": round(planted.halfwidth(reps), 4),
            "ranking_and_raters": round(planted.halfwidth(few), 4),
        },
        "controls": {"raw agreement, clusters ignored": planted.unclustered_agreement(reps), "win-rate, clusters ignored": naive_wins},
        "false_positives": {
            "left alarm at no bias, 500 judgements": round(no_bias[0], 4),
            "length effect where none is": round(length_alarms, 4),
            **{name: round(value, 4) for name, value in planted.ranks_of_equals(few).items()},
        },
        "found": {
            "left bias of 8 points, 500 judgements": round(biased[0], 4),
            "left bias of 8 points, 500 decisive judgements": round(planted.side_alarms(10 * reps, 0.08, ties=0.0)[0], 4),
        },
        "flip_rate": planted.flip_rates(few),
        "soft_targets_at_20_percent_flips": planted.soft_against_majority(160 // part),
        "by_setting": tables,
        "cpu_seconds": round(time.process_time() - began, 1),
    }
    for title, table in tables.items():
        print(f"\n{title}: share of 95 % intervals that hold the planted value")
        for setting, shares in table.items():
            print(f"  {setting:50}" + "   ".join(f"{name} {value:.1%}" for name, value in shares.items()))
    for title in ("controls", "false_positives", "found", "flip_rate"):
        print(f"\n{title.replace('_', ' ')}")
        for name, value in found[title].items():
            print(f"  {name:50}{value:.4f}")
    print("\nsoft targets against majority labels, 20 % flips: accuracy on the planted order, log loss of one more vote")
    for raters, arms in found["soft_targets_at_20_percent_flips"].items():
        for name, arm in arms.items():
            said = f"{arm['accuracy']:.1%}   {arm['log_loss']:.3f}   gain {100 * arm['gain']:+.1f} ± {196 * arm['gain_se']:.1f} points"
            print(f"  {raters + ': ' + name:50}{said}")
    print(f"\n{found['cpu_seconds']} s of CPU")
    if arguments.write:
        write(found)
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    # This folder off the path, the project on it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    main()
