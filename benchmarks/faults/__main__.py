"""`python -m benchmarks.faults`: run the lanes, print a table and one JSON line. Exit code 1 when anything is red.

--lane L3 (more than once if wanted) runs only those; --quick runs small ones; --mutants breaks the product ten times and expects red;
--seed repeats a run. Histories lie in data/faults/history.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ROOT = PROJECT / "data" / "faults"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--lane", action="append", help="L1 … L10, R; more than once if wanted (default: all)")
    parser.add_argument("--quick", action="store_true", help="small numbers: whether the harness works, not whether the house stands")
    parser.add_argument("--mutants", action="store_true", help="only the mutants; with --mutant N only that one")
    parser.add_argument("--mutant", action="append", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    # Told to stop, it ends its servers and workers on its way out, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    sys.path.insert(0, str(PROJECT))
    ROOT.mkdir(mode=0o711, parents=True, exist_ok=True)
    lock = (ROOT / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("The harness runs already in this project.")
    shutil.rmtree(ROOT / "history", ignore_errors=True)
    for name in ("DATABASE_URL", "CELERY_BROKER_URL"):
        if os.environ.pop(name, None):
            print(f"{name} is passed over: this harness kills its servers, so it has its own.", file=sys.stderr)
    os.environ |= {"ROUNDS_DATA_DIR": str(ROOT), "DJANGO_SETTINGS_MODULE": "benchmarks.faults.settings", "ROUNDS_LOG_LEVEL": "WARNING"}
    from config import embedded

    embedded.provide(data_dir=ROOT)
    import django

    django.setup()
    from benchmarks.faults import lanes
    from benchmarks.faults.house import opened

    began = time.monotonic()
    with opened(ROOT) as house:
        told = lanes.run(
            house, seed, only=arguments.lane, quick=arguments.quick, mutants=arguments.mutants or arguments.mutant, silent=arguments.json
        )
    told["seconds"] = round(time.monotonic() - began)
    print(json.dumps(told))
    return 0 if told["green"] else 1


if __name__ == "__main__":
    sys.exit(main())
