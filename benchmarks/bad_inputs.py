"""Whether every bad input is refused as the reliability research's section D says: 25 cases, then bombs, then what hypothesis makes up.

Prints `cases` (25), `refused_as_specified` (cases of which every input came out as the table says; the differences that were decided are
named), `server_errors` (answers of 500 and exceptions, bombs and generated inputs included), `bombs` and `bombs_refused` (within two
seconds of a processor's time and 64 MB beyond what the readers need at rest, each in a process of its own), `slowest_bomb_cpu_s`,
`largest_bomb_mb`, with --fuzz N the number of generated inputs by check, and with
--schemathesis PROGRAM how many requests that program made of the import endpoints and how many of the answers were server errors.

Needs a PostgreSQL (DATABASE_URL, else the embedded one) on which it may create and drop a database of its own, and two gigabytes of disk
for files that unfold. Without --cases it does everything but the generated inputs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import own_house

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parent.parent
SECONDS, MEGABYTES = 2.0, 64.0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="*", metavar="N", help="only these of the table's cases, and no bombs")
    parser.add_argument("--no-cases", action="store_true", help="only bombs and generated inputs: no database is needed")
    parser.add_argument("--fuzz", type=int, default=0, metavar="N", help="feed so many generated inputs too (10000: some minutes)")
    parser.add_argument("--schemathesis", metavar="PROGRAM", help="path of schemathesis (4.x, in an environment of its own): tries the API")
    parser.add_argument("--examples", type=int, default=200, help="of each of its operations (default 200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser.parse_args()


def with_a_database(act: Callable[[], T]) -> T:
    """What `act` gives, with Django set up and a database and a data folder of its own that are gone afterwards."""
    with own_house.standing("bad") as folder:
        from django.conf import settings

        from annotation import imports

        settings.ROUNDS_IMPORT_FOLDER = folder / "incoming"
        # While the caller waits, not in a job that nobody here would do.
        settings.ROUNDS_IMPORT_AT_ONCE_BYTES = 64 * 2**20
        # What is answered is looked at here, not how soon on a machine that does other things too: bombs have their own clock.
        imports.LOOK_SECONDS = imports.AT_ONCE_SECONDS = 600.0
        return act()


def of_the_table(numbers: list[int] | None) -> dict[int, list[Any]]:
    def act() -> dict[int, list[Any]]:
        from benchmarks.bad import cases

        return cases.run(numbers, say)

    def say(number: int, one: Any) -> None:
        differs = f" [{one.differs}]" if one.differs else ""
        print(f"{number:>3} {'ok  ' if one.ok else 'WRONG'} {one.status} {one.what}: {one.told}{differs}", flush=True)

    return with_a_database(act)


def of_bombs() -> list[dict[str, Any]]:
    from benchmarks.bad.bombs import BOMBS

    found = []
    for title, name, write, codes in BOMBS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            write(path)
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.bad.measured", str(path)], cwd=PROJECT, capture_output=True, text=True, timeout=300,
                check=False,
            )  # fmt: skip
        if done.returncode:
            seen: dict[str, Any] = {
                "codes": {},
                "status": 500,
                "cpu_seconds": 0.0,
                "seconds": 0.0,
                "extra_mb": 0.0,
                "error": done.stderr[-300:],
            }
        else:
            seen = json.loads(done.stdout)
        named = bool(codes & seen["codes"].keys()) and seen["status"] in (413, 422)
        found.append({"bomb": title, **seen, "refused": named and seen["cpu_seconds"] < SECONDS and seen["extra_mb"] <= MEGABYTES})
    return found


def main() -> None:
    arguments = parse()
    result: dict[str, Any] = {"cases": 0, "refused_as_specified": 0, "server_errors": 0}
    if not arguments.no_cases:
        table = of_the_table(arguments.cases)
        result["cases"] = len(table)
        result["refused_as_specified"] = sum(bool(seen) and all(one.ok for one in seen) for seen in table.values())
        result["server_errors"] += sum(one.status >= 500 for seen in table.values() for one in seen)
        result["seen"] = {
            number: [{"what": one.what, "expected": one.expected, "status": one.status, "told": one.told, "ok": one.ok} for one in seen]
            for number, seen in table.items()
        }
        result["decided_differences"] = sorted({one.differs for seen in table.values() for one in seen if one.differs})
    if arguments.cases is None:
        found = of_bombs()
        for one in found:
            verdict, what = "ok  " if one["refused"] else "WRONG", ", ".join(one["codes"]) or one.get("error")
            print(f"{verdict} {one['bomb']}: {what}, CPU {one['cpu_seconds']} s, clock {one['seconds']} s, {one['extra_mb']} MB")
        result |= {
            "bombs": len(found), "bombs_refused": sum(one["refused"] for one in found),
            "slowest_bomb_cpu_s": max(one["cpu_seconds"] for one in found), "largest_bomb_mb": max(one["extra_mb"] for one in found),
        }  # fmt: skip
        result["server_errors"] += sum(one["status"] >= 500 for one in found)
    if arguments.fuzz:
        from benchmarks.bad import fuzz

        result["generated"] = fuzz.run(arguments.fuzz, start=arguments.seed)
        print(f"{sum(result['generated'].values())} generated inputs: no exception, nothing changed in silence")
    if arguments.schemathesis:
        from benchmarks.bad import endpoints

        tried = with_a_database(lambda: endpoints.run(arguments.schemathesis, arguments.examples, arguments.seed))
        result["endpoints"] = {name: tried[name] for name in ("requests", "server_errors", "exit")}
        result["server_errors"] += tried["server_errors"]
        print(
            f"schemathesis: {tried['requests']} requests, {tried['server_errors']} server errors{tried['tail'] and chr(10) + tried['tail']}"
        )
    if arguments.json:
        print(json.dumps(result))
    wrong = (
        result["refused_as_specified"] != result["cases"] or result["server_errors"] or result.get("bombs") != result.get("bombs_refused")
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
