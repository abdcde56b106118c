"""How many pairs a second annotators can claim, and how close that is to what the database can insert at all.

Measures annotation.assignments.lease_next + judgements.submit (the whole "next pair" of an annotator, exactly once for each slot) by
many threads at once, and lease_next alone, against a limit measured in the same run on the same server: the same threads inserting
ready-made assignment rows, one transaction each, with nothing to decide.

Needs a PostgreSQL (DATABASE_URL, else the embedded one) on which it may create and drop a database of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import own_house


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=16, help="annotators at once (default 16)")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--overlap", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser.parse_args()


def together(work: list[Callable[[list[float]], None]]) -> tuple[float, list[float]]:
    """Run every piece of work in a thread with its own connection; seconds for all, and the milliseconds of each step."""
    from django.db import connection

    ready, times, wrong = threading.Barrier(len(work) + 1), [[] for _ in work], []  # type: ignore[var-annotated]

    def run(piece: Callable[[list[float]], None], mine: list[float]) -> None:
        try:
            connection.ensure_connection()
            ready.wait()
            piece(mine)
        except BaseException as error:  # told below: a thread that died must not pass for a fast one
            wrong.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in zip(work, times, strict=True)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if wrong:
        raise wrong[0]
    return seconds, sorted(ms for mine in times for ms in mine)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    from django.db import connection

    from accounts import consents
    from accounts.models import Consent, Role, RoleGrant, User
    from annotation import assignments, judgements
    from annotation.models import Assignment, Slot, Verdict
    from tests.annotation.build import campaign

    people = User.objects.bulk_create([User(username=f"rater-{n}") for n in range(arguments.threads)])
    RoleGrant.objects.bulk_create([RoleGrant(user=person, role=Role.ANNOTATOR) for person in people])
    text = consents.current()
    Consent.objects.bulk_create([Consent(user=person, text=text) for person in people])
    made = campaign(people, pairs=arguments.pairs, overlap=arguments.overlap)
    wanted = arguments.pairs * arguments.overlap

    def reset() -> None:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE annotation_assignment CASCADE")
            cursor.execute("UPDATE annotation_slot SET open = true")
            cursor.execute("VACUUM ANALYZE annotation_slot")

    def annotator(person: Any, answer: Callable[[Any], object]) -> Callable[[list[float]], None]:
        def work(mine: list[float]) -> None:
            while True:
                began = time.perf_counter()
                held = assignments.lease_next(campaign=made, annotator=person)
                if held is None:
                    return
                mine.append(1000 * (time.perf_counter() - began))
                answer(held)

        return work

    def submit(held: Any) -> None:
        judgements.submit(assignment=held, verdict=Verdict.FIRST_SLIGHTLY, key=uuid4())

    def mark(held: Any) -> None:
        Assignment.objects.filter(pk=held.pk).update(state="submitted")

    def run(answer: Callable[[Any], object]) -> tuple[float, list[float]]:
        reset()
        seconds, times = together([annotator(person, answer) for person in people])
        held = Assignment.objects.filter(state="submitted")
        if held.count() != wanted or held.values("slot").distinct().count() != wanted:
            raise SystemExit(f"{held.count()} assignments instead of {wanted}: the claim is broken, its speed means nothing.")
        return seconds, times

    whole_seconds, _ = run(submit)
    claim_seconds, claim_times = run(mark)

    reset()
    # The limit: rows whose every value is known beforehand, slot by slot, and no constraint in anybody's way.
    rows = list(Slot.objects.filter(campaign=made).values_list("pk", "pair_id", "number"))
    shares = [rows[start :: len(people)] for start in range(len(people))]
    sql = (
        "INSERT INTO annotation_assignment (public_id, campaign_id, pair_id, slot_id, annotator_id, first_on_left, repeat, lease_number, "
        "state, expires_at) "
        "VALUES (%s, %s, %s, %s, %s, true, %s, 1, 'submitted', now())"
    )

    def inserter(person: Any, share: list[tuple[int, int, int]]) -> Callable[[list[float]], None]:
        def work(mine: list[float]) -> None:
            with connection.cursor() as cursor:
                for slot, pair, number in share:
                    began = time.perf_counter()
                    cursor.execute(sql, [uuid4(), made.pk, pair, slot, person.pk, number])
                    mine.append(1000 * (time.perf_counter() - began))

        return work

    insert_seconds, _ = together([inserter(person, share) for person, share in zip(people, shares, strict=True)])
    claims, limit = wanted / claim_seconds, wanted / insert_seconds
    return {
        "threads": arguments.threads,
        "assignments": wanted,
        "claims_per_second": round(claims, 1),
        "claim_and_submit_per_second": round(wanted / whole_seconds, 1),
        "bare_inserts_per_second": round(limit, 1),
        "ratio_to_limit": round(claims / limit, 3),
        "claim_ms_p50": round(statistics.median(claim_times), 2),
        "claim_ms_p95": round(claim_times[int(0.95 * len(claim_times))], 2),
        "over": 0,
        "lost": 0,
    }


def main() -> None:
    arguments = parse()
    with own_house.standing("claims"):
        found = measure(arguments)
    print(f"{found['assignments']} assignments by {found['threads']} annotators at once, each slot exactly once")
    print(f"claims             {found['claims_per_second']:>8} /s   p50 {found['claim_ms_p50']} ms, p95 {found['claim_ms_p95']} ms")
    print(f"claim and submit   {found['claim_and_submit_per_second']:>8} /s")
    print(f"bare INSERT        {found['bare_inserts_per_second']:>8} /s   claims reach {found['ratio_to_limit']:.0%} of it")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
