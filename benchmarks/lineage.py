"""How long a lineage of more than ten thousand things takes, up from a model and down from the file it began with.

The world: `--pairs` samples of one file, their prompts, two systems' texts, pairs, two judgements each by six raters, a snapshot frozen
of them by the house's own verb, a base, five experts, a merge, an SFT and a DPO model with the run between, an evaluation, a promotion
and a move of an alias.

Prints for both directions `seconds` (walk, collapse and drawing), `cpu_seconds` (of these, what processors spent, the database's
included: what an idle machine would take), `walk_seconds` (the query and the votes alone), `page_seconds` (the whole page through Django's
test client), `prov_seconds` and, as a yardstick from the same run, `plain_read_seconds`: every id and foreign key of the same tables
fetched by one plain SELECT each. Fails when `seconds` or `page_seconds` is above `limit_seconds` = 1.

Needs a PostgreSQL (DATABASE_URL, else the embedded one) on which it may create and drop a database of its own.
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

LIMIT = 1.0
RATERS = 6
PLAIN = (
    ("id, source_id", "annotation_sample"),
    ("id, sample_id", "annotation_prompt"),
    ("id, prompt_id, batch_id", "annotation_completion"),
    ("id, first_id, second_id", "annotation_pair"),
    ("id, pair_id", "annotation_assignment"),
    ("id, assignment_id", "annotation_judgement"),
    ("pair_id, snapshot_id, split", "annotation_snapshotrow"),
)


def timed(work: Callable[[], Any], rounds: int) -> float:
    """The median of `rounds` runs after one that warms up, in seconds."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times), 3)


def cpu(work: Callable[[], Any]) -> float | None:
    """Processor seconds of one run, this process and its database server's together; None where the server's cannot be read."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        stat = Path(f"/proc/{cursor.fetchone()[0]}/stat")

    def spent() -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    try:
        began = spent()
        work()
        return round(spent() - began, 3)
    except OSError:
        return None


def build(pairs: int) -> tuple[Any, Any, Any]:
    """(the DPO model, the entry of the samples' import, a trainer)."""
    from django.contrib.auth.hashers import make_password
    from django.utils import timezone

    from accounts import audit
    from accounts.models import Role, RoleGrant, User
    from annotation import snapshots
    from annotation.models import Assignment, Judgement, Slot
    from benchmarks.load import world
    from jobs.models import Job
    from modelhub import aliases
    from modelhub.models import Artifact, LineageEdge, ModelVersion
    from training.models import Evaluation, Promotion, Run

    raters = world.people(RATERS)
    campaign = world.campaign(raters, pairs=pairs, overlap=2)
    source = campaign.pairs.first().prompt.sample.source
    entry = audit.record(None, "samples.imported", source, rows=pairs, stored=pairs, file=world.digest("the file"))
    now = timezone.now()
    slots = list(Slot.objects.filter(campaign=campaign).order_by("pk"))
    held = Assignment.objects.bulk_create(
        Assignment(
            campaign=campaign, pair_id=slot.pair_id, slot=slot, annotator=raters[(slot.pair_id + slot.number * 3) % RATERS],
            first_on_left=slot.first_on_left, state="submitted", expires_at=now, submitted_at=now,
        )
        for slot in slots
    )  # fmt: skip
    Judgement.objects.bulk_create(
        Judgement(assignment=each, idempotency_key=each.public_id, verdict="first_much", active_ms=9000) for each in held
    )
    snapshot = snapshots.freeze(campaign=campaign, name="spring", actor=None)

    def model(name: str, kind: str, *parents: Any) -> Any:
        made = ModelVersion.objects.create(
            name=name, kind=kind, artifact=Artifact.objects.create(digest=world.digest(name), manifest=[], bytes=0)
        )
        LineageEdge.objects.bulk_create(LineageEdge(child=made, parent=parent, role=f"expert:{parent.name}"[:40]) for parent in parents)
        return made

    def job(kind: str) -> Any:
        return Job.objects.create(
            kind=kind, label=kind, state="succeeded", spec={"inputs": {}, "params": {}}, spec_digest=world.digest(kind)
        )

    base = model("base", "base")
    experts = [model(f"expert-{n}", "expert", base) for n in range(5)]
    sft = model("sft", "sft", model("merged", "merged", base, *experts))
    dpo = model("dpo", "dpo", sft)
    Run.objects.create(job=job("dpo"), name="dpo", policy=sft, reference=sft, snapshot=snapshot, output=dpo)
    evaluation = Evaluation.objects.create(job=job("evaluate"), policy=dpo, reference=sft, snapshot=snapshot)
    Promotion.objects.create(decision="promoted", alias="champion", version=dpo, evaluation=evaluation, reason="won")
    aliases.move(name="champion", to=dpo, actor=None, expected=None, reason="won")
    trainer = User.objects.create(username="trainer", password=make_password(None))
    RoleGrant.objects.create(user=trainer, role=Role.TRAINER)
    return dpo, entry, trainer


def measure(pairs: int, rounds: int) -> dict[str, Any]:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from training.provenance import drawing, prov
    from training.provenance.walk import walk

    dpo, entry, trainer = build(pairs)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    client = Client()
    client.force_login(trainer)
    found: dict[str, Any] = {"limit_seconds": LIMIT, "pairs": pairs}
    for direction, kind, pk, key in (("up", "model", dpo.pk, dpo.public_id), ("down", "file", entry.pk, entry.pk)):

        def graph(kind: str = kind, pk: int = pk, direction: Any = direction) -> Any:
            return walk(kind=kind, pk=pk, direction=direction, user=trainer)

        address = f"/lineage/{kind}/{key}/?direction={direction}"
        with CaptureQueriesContext(
            connection,
        ) as queries:
            response = client.get(address)
        if response.status_code != 200:
            raise SystemExit(f"{address} answers {response.status_code}.")
        made = graph()
        found[direction] = {
            "nodes": len(made.nodes), "edges": len(made.edges), "boxes": len(drawing.draw(made).boxes), "page_queries": len(queries),
            "walk_seconds": timed(graph, rounds), "seconds": timed(lambda graph=graph: drawing.draw(graph()), rounds),  # type: ignore[misc]
            "cpu_seconds": cpu(lambda graph=graph: drawing.draw(graph())),  # type: ignore[misc]
            "page_seconds": timed(lambda address=address: client.get(address), rounds),  # type: ignore[misc]
            "prov_seconds": timed(lambda graph=graph: prov.document(graph()), min(rounds, 3)),  # type: ignore[misc]
        }  # fmt: skip
    found["plain_read_seconds"] = timed(plain_read, rounds)
    found["within_limit"] = all(found[way][name] <= LIMIT for way in ("up", "down") for name in ("seconds", "page_seconds"))
    return found


def plain_read() -> None:
    """What nobody could do without: the ids and references of every row, table by table."""
    from django.db import connection

    with connection.cursor() as cursor:
        for columns, table in PLAIN:
            cursor.execute(f"SELECT {columns} FROM {table}")
            cursor.fetchall()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000, help="about seven things each in the lineage (default 2000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    with own_house.standing("lineage"):
        found = measure(options.pairs, options.rounds)
    for way in ("up", "down"):
        told = found[way]
        seconds = ", ".join(f"{name} {told[f'{name}_seconds']} s" for name in ("walk", "cpu", "page", "prov"))
        print(f"{way:<5} {told['nodes']:,} things, {told['edges']:,} edges, {told['boxes']} boxes: {told['seconds']} s ({seconds})")
    print(f"plain SELECTs of the same rows: {found['plain_read_seconds']} s; the limit: {LIMIT} s")
    if options.json:
        print(json.dumps(found))
    if not found["within_limit"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
