"""``python -m training.engine ATTEMPT_DIR``: run the attempt in that folder, by a supervisor or by hand."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.engine import attempt, lifeline


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.engine", description=__doc__)
    parser.add_argument("attempt_dir", type=Path, help="a folder with spec.json and inputs/")
    folder: Path = parser.parse_args().attempt_dir
    if not folder.is_dir():
        parser.error(f"{folder} is not a folder")
    lifeline.hold()
    return attempt.main(folder.resolve())


if __name__ == "__main__":
    sys.exit(main())
