"""How long a study's evidence page takes, with 400 votes and a lineage of ten thousand things; and its pack, which is made as a job.

    .venv/bin/python benchmarks/evidence.py [--votes 400] [--pairs 1450] [--rounds 40] [--json]

The house is the one of benchmarks/lineage.py: about seven things a pair above the model; on top a study of its model that ended without a
verdict at its last vote, the most there can be. Exit status 1 where the page's p95 is over its limit, 400 ms for a page with figures.
Processor time stands beside it, as a loaded machine makes every page slow.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import own_house

LIMIT = 0.4
RATERS = 4


def study(dpo: Any, votes: int) -> Any:
    """A study of `dpo` against what it was made from, with so many votes, half of them for either; its texts are 120 words long."""
    from django.utils import timezone

    from accounts.models import User
    from annotation import campaigns
    from annotation.models import Assignment, Completion, GenerationBatch, Judgement, Prompt, Slot
    from annotation.records import digest_of
    from benchmarks.load import world
    from training import studies
    from training.models import Evaluation, Study

    evaluation = Evaluation.objects.get(policy=dpo)
    Evaluation.objects.filter(pk=evaluation.pk).update(finished_at=timezone.now())
    spec = {"params": {"bootstrap": 1000, "indifference": 0.0}, "seed": 1, "inputs": {}}
    type(evaluation.job).objects.filter(pk=evaluation.job_id).update(spec=spec)
    raters = list(User.objects.filter(username__startswith="clinician-").order_by("pk")[:RATERS])
    prompts = list(Prompt.objects.order_by("pk")[:votes])
    batches = [GenerationBatch.objects.create(version=version, decoding={}, seed=1) for version in (evaluation.reference, dpo)]
    for number, batch in enumerate(batches):
        Completion.objects.bulk_create(
            Completion(
                batch=batch, prompt=prompt, text=f"Answer {number} to {prompt.pk}: " + "rest and fluids for a week " * (20 + 4 * number),
                digest=world.digest(f"{number} {prompt.pk}"),
            )
            for prompt in prompts
        )  # fmt: skip
    campaign = campaigns.create(
        name="Before and after", guideline="Judge which answer you would rather send.", batches=batches, overlap=1, members=raters,
        actor=None, seed=1, purpose="study",
    )  # fmt: skip
    campaign = campaigns.open(campaign=campaign, actor=None)
    made = Study.objects.create(
        evaluation=evaluation, champion=evaluation.reference, challenger=dpo, champion_texts=batches[0], challenger_texts=batches[1], seed=1
    )
    said = studies._protocol(made, campaign, [])
    Study.objects.filter(pk=made.pk).update(campaign=campaign, protocol=said, protocol_digest=digest_of(said), state="running")
    now = timezone.now()
    held = Assignment.objects.bulk_create(
        Assignment(
            campaign=campaign, pair_id=slot.pair_id, slot=slot, annotator=raters[number % RATERS], first_on_left=slot.first_on_left,
            state="submitted", expires_at=now, submitted_at=now,
        )
        for number, slot in enumerate(Slot.objects.filter(campaign=campaign).order_by("position"))
    )  # fmt: skip
    Judgement.objects.bulk_create(
        Judgement(assignment=each, idempotency_key=each.public_id, verdict=("first_much", "second_much")[number % 2], active_ms=9000)
        for number, each in enumerate(held)
    )
    Slot.objects.filter(campaign=campaign).update(open=False)
    campaign.refresh_from_db()
    if not studies.consider(campaign=campaign):
        raise SystemExit("The study did not end.")
    return Study.objects.get(pk=made.pk)


def over(work: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Median and 95th percentile in seconds, by the wall and of this process's processor time, after one run that warms up."""
    work()
    wall, cpu = [], []
    for _ in range(rounds):
        began, spent = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - spent)
    return {
        "p50": round(statistics.median(wall), 3), "p95": round(sorted(wall)[int(0.95 * (rounds - 1))], 3),
        "cpu_p50": round(statistics.median(cpu), 3), "cpu_p95": round(sorted(cpu)[int(0.95 * (rounds - 1))], 3),
    }  # fmt: skip


def measure(votes: int, pairs: int, rounds: int) -> dict[str, Any]:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from benchmarks import lineage
    from training.evidence import pack
    from training.provenance.walk import walk

    dpo, _, trainer = lineage.build(pairs)
    found = study(dpo, votes)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    client = Client()
    client.force_login(trainer)
    address = f"/studies/{found.public_id}/evidence/"
    with CaptureQueriesContext(connection) as queries:
        response = client.get(address)
    if response.status_code != 200:
        raise SystemExit(f"{address} answers {response.status_code}.")
    told: dict[str, Any] = {
        "votes": found.counted, "nodes": len(walk(kind="evaluation", pk=found.evaluation_id, direction="up", user=None).nodes),
        "queries": len(queries), "limit_seconds": LIMIT, "page": over(lambda: client.get(address), rounds),
        "study_page": over(lambda: client.get(f"/studies/{found.public_id}/"), rounds),
        "pack": over(lambda: pack.assemble(found), 3), "pack_bytes": pack.assemble(found).archive.size,
        "load": os.getloadavg()[0],
    }  # fmt: skip
    told["within_limit"] = told["page"]["p95"] <= LIMIT
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=1450, help="about seven things each in the lineage (default 1450)")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    with own_house.standing("evidence"):
        found = measure(options.votes, options.pairs, options.rounds)
    print(f"{found['votes']} votes, {found['nodes']:,} things above the model, {found['queries']} queries, load {found['load']:.1f}")
    for name in ("page", "study_page", "pack"):
        of = found[name]
        print(f"{name:<11} p50 {of['p50']} s, p95 {of['p95']} s; processor {of['cpu_p50']} and {of['cpu_p95']} s")
    if options.json:
        print(json.dumps(found))
    if not found["within_limit"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
