"""Does holding raters out give gate G1 people to ask? A simulated campaign, frozen without and with a share of its raters held out.

The world: `--samples` toy samples, split by their own hashes (20 % evaluation), two texts each (one closes safely, a part of them are
wrong), pairs with two votes, `--raters` simulated raters who answer by what was planted in them, with 12 % slips (training/raters.py).
Their answers are written in bulk; everything after them goes by the house's own verbs.

With nobody held out and with `--share` a snapshot is frozen, frozen again and rebuilt, and a model pretended to be trained on it is
evaluated on it: it orders a pair as the planted truth does, but for one in four. Prints what the page foresees for every share; of the two
the pairs to learn from, the pairs G1 counts, its state and what it says; how many votes of held-out raters any row that trains has (to be
0); and processor seconds of freezing and of the preview. Fails unless G1 is not known with nobody held out, and a verdict on at least 200
pairs with `--share` held out.

Needs a PostgreSQL (DATABASE_URL, else the embedded one) on which it may create and drop a database of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import own_house

SYSTEMS = ("north", "south")
WRONG, MISORDERED = 0.15, 0.25


def cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    """What came of it, and processor seconds of this process and of its database server together."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        stat = Path(f"/proc/{cursor.fetchone()[0]}/stat")

    def spent() -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    began = spent()
    return work(), round(spent() - began, 2)


def lines(rows: list[dict[str, Any]]) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def judged(samples: int, people: int, seed: int) -> Any:
    """The campaign, closed, with two votes a pair."""
    from django.utils import timezone

    from annotation import campaigns, completions, judgements
    from annotation import samples as intake
    from annotation.models import Assignment, GenerationBatch, Judgement, Slot
    from training import raters
    from training.engine import toysamples

    draw = random.Random(seed)
    rows = [row | {"id": f"s{number}"} for number, row in enumerate(toysamples.samples(samples, seed))]
    intake.import_jsonl(file=lines(rows), source="toys", licence="CC0-1.0", actor=None)
    texts = []
    for number, row in enumerate(rows):
        for system, closing in zip(SYSTEMS, draw.sample([toysamples.HEDGES[0], toysamples.BLUNT[0]], 2), strict=True):
            answer = "I cannot say." if draw.random() < WRONG else toysamples.core(row["output"])
            texts.append({"id": row["id"], "system": system, "text": f"{answer} Note {number}. {closing}"})
    completions.import_external(file=lines(texts), filename="texts.jsonl", source="toys", actor=None)
    crew = raters.ensure(people)
    made = campaigns.create(
        name="Simulated", guideline="Correct first, then a safe closing sentence.", overlap=2, members=crew, actor=None, seed=seed,
        batches=list(GenerationBatch.objects.filter(system__in=SYSTEMS).order_by("system")), toy=True, simulated=True,
    )  # fmt: skip
    made = campaigns.open(campaign=made, actor=None)
    now = timezone.now()
    chosen = {pair: draw.sample(crew, 2) for pair in made.pairs.values_list("pk", flat=True)}
    taken = dict.fromkeys(chosen, 0)
    held = []
    for slot in Slot.objects.filter(campaign=made, kind="vote").order_by("pk"):
        held.append(
            Assignment(
                campaign=made, pair_id=slot.pair_id, slot=slot, annotator=chosen[slot.pair_id][taken[slot.pair_id]],
                first_on_left=slot.first_on_left, state="submitted", expires_at=now, submitted_at=now,
            )
        )  # fmt: skip
        taken[slot.pair_id] += 1
    Assignment.objects.bulk_create(held)
    said = []
    found = Assignment.objects.filter(campaign=made).select_related("pair__first", "pair__second", "pair__prompt__sample")
    for each in found.iterator(chunk_size=2000):
        verdict, _ = raters.opinion(each, slip=raters.SLIP, seed=seed)
        said.append(Judgement(assignment=each, idempotency_key=each.public_id, verdict=judgements.by_side(each, verdict), active_ms=9000))
    Judgement.objects.bulk_create(said, batch_size=2000)
    return campaigns.close(campaign=made, actor=None)


def model(name: str, kind: str, snapshot: Any = None, parent: Any = None) -> Any:
    from benchmarks.load import world
    from modelhub.models import Artifact, LineageEdge, ModelVersion

    artifact = Artifact.objects.create(digest=world.digest(name), manifest=[], bytes=0)
    made = ModelVersion.objects.create(name=name, kind=kind, artifact=artifact, toy=True, simulated=snapshot is not None)
    if snapshot is not None:
        LineageEdge.objects.create(child=made, parent=parent, role="policy")
        LineageEdge.objects.create(child=made, source_kind="snapshot", source_digest=snapshot.digest, role="preferences")
    return made


def evaluated(snapshot: Any, policy: Any, reference: Any, seed: int) -> Any:
    """The evaluation of a model that orders pairs as planted, but for MISORDERED of them."""
    from django.utils import timezone

    from benchmarks.load import world
    from jobs.models import Job
    from training import evaluations, specs, unseen
    from training.engine import toysamples
    from training.models import Evaluation

    truths = dict(snapshot.rows.values_list("pair", "prompt__sample__output"))
    draw = random.Random(f"policy {seed}")
    items = []
    for row in specs.held_out_pairs(snapshot, labels="raters"):
        chosen, rejected = (toysamples.planted_utility(row[side][0]["content"], truths[int(row["id"])]) for side in ("chosen", "rejected"))
        as_planted = (chosen >= rejected) != (draw.random() < MISORDERED)
        items.append({"type": "pair", "id": row["id"], "margin": 1.0 if as_planted else -1.0, "correct": float(as_planted)})
    job = Job.objects.create(
        kind="evaluate", label="evaluate", state="succeeded", spec={"seed": seed, "inputs": {}, "params": {}},
        spec_digest=world.digest(policy.name),
    )  # fmt: skip
    made = Evaluation.objects.create(job=job, policy=policy, reference=reference, snapshot=snapshot, simulated=True)
    told = unseen.share({int(item["id"]): item["correct"] for item in items}, {int(item["id"]): int(item["id"]) for item in items})
    evaluations.fill(evaluation=made, metrics={"preference_accuracy": told}, items=items)
    made.finished_at = timezone.now()
    made.save()
    return made


def measure(options: argparse.Namespace) -> dict[str, Any]:
    from annotation import held_out_raters, snapshots
    from annotation.models import Judgement, Snapshot, Split
    from training import gates, unseen

    # With nobody held out toys are otherwise asked about the planted truth, and here it is about raters' votes.
    Snapshot.planted = False  # type: ignore[assignment,method-assign]
    campaign = judged(options.samples, options.raters, options.seed)
    before, seconds = cpu(lambda: held_out_raters.ahead(campaign, seed=1))
    found: dict[str, Any] = {
        "pairs": campaign.pairs.count(), "votes": Judgement.objects.count(), "preview_cpu_seconds": seconds, "shares": [],
    }  # fmt: skip
    base = model("toy-sft", "sft")
    found["foreseen"] = [each._asdict() for each in before]
    for each in (before[0], next(each for each in before if each.share == options.share)):
        asked = {"hold_out_raters": each.share} if each.share else {}

        def freeze(asked: dict[str, Any] = asked) -> Snapshot:
            return snapshots.freeze(campaign=campaign, name=f"held {asked}", actor=None, **asked)  # type: ignore[typeddict-item]

        snapshot, seconds = cpu(freeze)
        held = held_out_raters.drawn(campaign, share=each.share, seed=1)
        policy = model(f"toy-dpo-{each.share}", "dpo", snapshot, base)
        evaluation = evaluated(snapshot, policy, base, options.seed)
        gate = next(gate for gate in gates.of(evaluation=evaluation, champion=None) if gate.code == "G1")
        training = snapshot.rows.exclude(split=Split.EVALUATION).values("pair")
        heard = [person for people in unseen.voters(snapshot, training).values() for person in people]
        used = snapshot.counts["used"]
        found["shares"].append({
            "share": each.share, "raters": each.raters,
            "learnt": used["train"] + used["validation"], "evaluation": used["evaluation"],
            "counted": evaluation.results["unseen"]["n"], "state": gate.state, "said": gate.value,
            "held_out_votes_that_train": sum(person in held for person in heard), "freeze_cpu_seconds": seconds,
            "same_when_rebuilt": snapshots.rebuild(snapshot) == snapshot.digest == freeze().digest,
        })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=3200, help="one pair each (default 3200)")
    parser.add_argument("--raters", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.2, choices=(0.1, 0.2, 0.3, 0.4, 0.5), help="(default 0.2)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    with own_house.standing("held_out"):
        found = measure(options)
    print(f"{found['pairs']:,} pairs, {found['votes']:,} votes; the preview took {found['preview_cpu_seconds']} s of processor")
    for each in found["foreseen"]:
        print(f"{each['share']:4.0%} would leave {each['training']:,} pairs to learn from, {each['evaluation']:,} for G1")
    for each in found["shares"]:
        print(
            f"{each['share']:4.0%} ({each['raters']} raters): {each['learnt']:,} pairs to learn from, G1 counts {each['counted']:,}: "
            f"{each['state']}, {each['said']}; frozen in {each['freeze_cpu_seconds']} s of processor"
        )
    if options.json:
        print(json.dumps(found))
    none, asked = found["shares"]
    clean = all(each["held_out_votes_that_train"] == 0 and each["same_when_rebuilt"] for each in found["shares"])
    if not (clean and none["state"] == "unknown" and asked["counted"] >= 200 and asked["state"] in ("passed", "failed")):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
