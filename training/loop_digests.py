"""What a proposed model came of, as one digest: the same inputs give the same, whenever and under whatever names they were used."""

from hashlib import sha256
from typing import Any

from annotation.models import Snapshot, SnapshotRow
from annotation.records import digest_of
from training.models import Evaluation, EvaluationItem, EvaluationPair, LoopRound

FORMAT = "loop-lineage-2"
# Of what the engine says of where it ran: the platform's name holds the kernel's patch level, which computes nothing.
NOT_SOFTWARE = {"platform"}


def of(one: LoopRound) -> str:
    """SHA-256 of the canonical JSON of `lineage(one)`."""
    return digest_of(lineage(one))


def lineage(one: LoopRound) -> dict[str, Any]:
    """Everything the round's model came of and how, and what was found about it; no id, name, date or timing.

    The round has its snapshot, a run with its output, finished evaluations, and finished suite runs. Digests are of contents: the
    snapshot's rows, every model's files, every text that was compared.
    """
    run, evaluation, anchor = one.run, one.evaluation, one.anchor
    assert one.snapshot is not None
    assert run is not None
    assert run.policy is not None
    assert run.output is not None
    assert evaluation is not None
    assert anchor is not None
    environment = run.job.result.get("environment", {})
    return {
        "format": FORMAT,
        "data": data_digest(one.snapshot),
        "policy": run.policy.artifact.digest,
        "reference": run.reference.artifact.digest if run.reference else None,
        "training": {
            "kind": run.job.kind, "preset": run.preset, "params": run.params, "seed": run.seed,
            "processes": run.job.spec.get("processes", 1),
        },
        "software": {name: version for name, version in environment.items() if name not in NOT_SOFTWARE},
        "output": run.output.artifact.digest,
        "evaluation": _evaluation(evaluation),
        "round 0": _evaluation(anchor) if anchor != evaluation else None,
        "suites": sorted((_suite(made) for made in one.suite_runs.select_related("version__artifact")), key=digest_of),
    }  # fmt: skip


def _evaluation(found: Evaluation) -> dict[str, Any]:
    """How it was compared with which model, and what was found; the margins of the pairs and the texts by their digests."""
    return {
        "against": found.reference.artifact.digest, "params": found.job.spec["params"], "seed": found.job.spec["seed"],
        "simulated": found.simulated, "results": _results(found.results),
        "pairs": digest_of(list(EvaluationPair.objects.filter(evaluation=found).values_list("margin", flat=True))),
        "texts": _texts_digest(found.pk),
    }  # fmt: skip


def _results(found: dict[str, Any]) -> dict[str, Any]:
    """Without the numbers that pairs have in this database."""
    if "unseen" not in found:
        return found
    return found | {"unseen": found["unseen"] | {"left_out": len(found["unseen"]["left_out"])}}


def data_digest(snapshot: Snapshot) -> str:
    """SHA-256 over the rows by content, in the order of their digests. The snapshot's own digest also covers which campaign it is of."""
    rows = SnapshotRow.objects.filter(snapshot=snapshot).values_list(
        "prompt__sample__digest", "prompt__digest", "chosen__digest", "rejected__digest", "p_chosen", "votes", "split"
    )
    names = ("sample", "prompt", "chosen", "rejected", "p_chosen", "votes", "split")
    whole = sha256(digest_of({"simulated": snapshot.simulated, "toy": snapshot.toy, "external": snapshot.external}).encode())
    for digest in sorted(digest_of(dict(zip(names, row, strict=True))) for row in rows.iterator(chunk_size=2000)):
        whole.update(digest.encode())
    return whole.hexdigest()


def _texts_digest(evaluation: int) -> str:
    """Of the before and after texts, in the order they were asked."""
    whole = sha256()
    items = EvaluationItem.objects.filter(evaluation=evaluation).order_by("position")
    for row in items.values_list("prompt__digest", "before", "after").iterator(chunk_size=500):
        whole.update(digest_of(row).encode())
    return whole.hexdigest()


def _suite(made: Any) -> dict[str, Any]:
    """What was asked of which model, and one score an item; how fast it answered is left out."""
    found = made.results
    tasks = {name: {"metric": task["metric"], "items": task["items"]} for name, task in found["tasks"].items()}
    return {
        "suite": made.suite, "model": made.version.artifact.digest, "seed": found["seed"], "settings": made.settings_digest, "tasks": tasks,
    }  # fmt: skip
