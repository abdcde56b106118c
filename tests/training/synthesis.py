"""Synthesis without workers: a run's jobs from claim to publication, with the grammar or a script in the child's place."""

import json
from collections.abc import Callable
from typing import Any

from jobs import claims, kinds
from jobs.attempts import folder_of
from jobs.models import State
from tests.training import build
from training.engine import rundir
from training.engine.grammar import answering
from training.synthesis import backends, runs, trimming
from training.synthesis.models import SynthesisRun

# (row of prompts.jsonl, number of the draw) → text, or None for no answer.
Script = Callable[[dict[str, Any], int], str | None]


def start(**changes: Any) -> SynthesisRun:
    wanted = runs.Wanted(**{"count": 20, **{key: changes.pop(key) for key in list(changes) if key in runs.Wanted.__dataclass_fields__}})
    told: dict[str, Any] = {
        "name": "spring", "generator": backends.find("grammar"), "judge": backends.find("grammar", judging=True), "seed": 1,
        "licence": "CDLA-Permissive-2.0", "actor": None, **changes,
    }  # fmt: skip
    return runs.start(wanted=wanted, **told)


def by_grammar(row: dict[str, Any], number: int) -> str | None:
    return answering.answer(row["asked"], number=number)


def carry(run: SynthesisRun, script: Script = by_grammar, *, most: int = 100) -> int:
    """Work off the run's jobs until none is left, at most so many; returns how many there were."""
    done = 0
    while done < most and (step := run.steps.filter(job__state=State.QUEUED).order_by("pk").first()):
        job = step.job
        claim = build.claimed(job)
        kind = kinds.get(job.kind)
        folder = folder_of(job, claim.number)
        folder.mkdir(parents=True)
        kind.prepare(job, folder)
        if step.stage == "trim":
            trimming.main(folder)
            result = rundir.read_result(folder)
            assert result is not None
        else:
            n = job.spec["params"]["n"]
            items = []
            for row in rundir.read_jsonl(folder / "inputs" / "prompts.jsonl", {"id": str, "messages": list}):
                for number in range(n):
                    text = script(row, number)
                    answer = {
                        "text": text or "",
                        "finish_reason": "stop",
                        "tokens": 3,
                        "rope": "",
                        "error": "" if text is not None else "http_500",
                    }
                    items.append({"id": row["id"], "n": number, **answer})
            (folder / "output").mkdir()
            (folder / "output" / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
            result = {
                "schema": 1,
                "ok": True,
                "kind": "generate",
                "metrics": {"tokens": 3 * len(items), "prompt_tokens": 7},
                "seconds": 1.5,
            }
            result |= {"items": "items.jsonl", "output": None}
        claims.begin_publish(claim)
        claims.publish(claim, kind=kind, result=result, staged=kind.stage(job, result, folder))
        done += 1
    run.refresh_from_db()
    return done
