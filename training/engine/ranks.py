"""Several processes of one machine that train one model together: who is who, what they agree on, and torchrun to start them.

``python -m training.engine.ranks --processes N ATTEMPT_DIR`` is torchrun in our own process, so that it holds the lifeline: the
supervisor's child is torchrun's agent, and the ranks are the agent's. The kernel ends each when its parent dies, down to the last.

Only rank 0 writes into the attempt's folder. The others compute, and say what they saw when asked. A checkpoint holds the random state of
rank 0 alone: with dropout the others' masks differ after a resumption. Standard library only, until something has to be agreed on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from training.engine import lifeline

LOCAL = "127.0.0.1"


def rank() -> int:
    return int(os.environ.get("RANK", "0")) if world() > 1 else 0


def world() -> int:
    """How many processes there are: 1 unless torchrun started us."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def first() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def together(mine: Any) -> list[Any]:
    """What each rank has to say, in the order of ranks, on every rank. All must call it; alone it costs nothing."""
    if world() == 1:
        return [mine]
    import torch.distributed as dist

    said: list[Any] = [None] * world()
    dist.all_gather_object(said, mine)
    return said


def command(folder: Path, processes: int) -> list[str]:
    """torchrun's arguments for one attempt on this machine, with no name to resolve and no port but one of its own choice."""
    return [
        "--nnodes=1", f"--nproc-per-node={processes}", "--max-restarts=0", "--rdzv-backend=c10d", f"--rdzv-endpoint={LOCAL}:0",
        "--rdzv-id=rounds", f"--local-addr={LOCAL}", "-m", "training.engine", str(folder),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.engine.ranks", description=__doc__)
    parser.add_argument("--processes", type=int, required=True, help="how many processes train together")
    parser.add_argument("attempt_dir", type=Path, help="a folder with spec.json and inputs/")
    options = parser.parse_args()
    if not options.attempt_dir.is_dir():
        parser.error(f"{options.attempt_dir} is not a folder")
    lifeline.hold()
    # For the ranks the agent is the parent to outlive; the pipe stays with the agent.
    if lifeline.PARENT in os.environ:
        os.environ[lifeline.PARENT] = str(os.getpid())
    os.environ.pop(lifeline.FD, None)
    # gloo looks its own host name up unless it is told which interface to take.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    from torch.distributed import run

    run.main(command(options.attempt_dir.resolve(), options.processes))


if __name__ == "__main__":
    main()
