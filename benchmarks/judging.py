"""Can eight clinicians judge a hundred thousand pairs at full speed, and is every pair judged exactly as often as it wants?

Measures `judgements_per_s` and `p95_ms` (next + submit together, as the annotator waits) over HTTP against gunicorn with production
settings (sessions, CSRF, audit on), `claim_p50_ms_busy` (assignments.lease_next of one annotator after 1,500 own items, whose pairs'
other slots are open still) and `over_overlap`, against `floor_judgements_per_s`: as many connections in a bare SKIP LOCKED
claim + insert loop on the same server in the same run.

What is driven: by default the form of a browser without script: POST the answer, be redirected, get the next whole page; the wait
is both. With --client script what the page's script sends, waiting for each request in turn: the answer as a background POST,
POST …/extend/?shown=1 for the pair in hand, POST …/ahead/ for the one after it. On the real page people wait for none of these. With
--client api a program with a session and CSRF: POST /api/v1/assignments/ID/submit/, POST /api/v1/campaigns/ID/next/ (its limit of 600
requests a minute and person is raised for that). The figures named above are those of --client; `clients` has all three, the other two
driven for a shorter time on the same server.

Needs a PostgreSQL (DATABASE_URL, else the embedded one) on which it may create and drop a database of its own; rows are COPYed.

The same work on the peers (commands as run for reference/web.md, sections 5 and 9; rows of 40 + 120 + 120 words, as here):
  Label Studio 1.23   pip install label-studio; DJANGO_DB=default POSTGRE_HOST=… (needs pg_trgm) LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true
      label-studio start --no-browser --username U --password P --user-token T; then, in its package's folder,
      gunicorn core.wsgi:application -w 2 -k gthread --threads 4
    POST /api/projects/ {title, label_config, maximum_annotations: 1} with the label_config
      <View><Text name="prompt" value="$prompt"/><Pairwise name="pw" toName="left,right"/>
      <Text name="left" value="$a"/><Text name="right" value="$b"/></View>
    POST /api/projects/ID/import with 100,000 rows in batches of 2,000; eight users with tokens, each in a loop:
      GET /api/projects/ID/next; POST /api/tasks/T/annotations/?project=ID {"result": [{"id": "x1", "from_name": "pw",
      "to_name": "left,right", "type": "pairwise", "value": {"selected": "left"}}], "lead_time": 1.5}
  Potato 2.12   pip install potato-annotation; potato start config.yaml -p 8910
    config: annotation_type pairwise, mode binary, num_annotators_per_item 1, assignment_strategy fixed_order,
      max_annotations_per_user 25, require_password false; eight sessions, each POST /auth and then in a loop:
      GET /api/current_instance; POST /updateinstance {instance_id, annotations: {"preference:selection": "A"}};
      POST /annotate {action: next_instance}
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.load import server, world
from benchmarks.load.clinician import Clinician, Tally

OWN_ITEMS = 1500


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--annotators", type=int, default=8)
    parser.add_argument("--overlap", type=int, default=2, help="judgements wanted for each pair (default 2)")
    parser.add_argument("--seconds", type=float, default=60, help="of judging (default 60)")
    parser.add_argument("--client", choices=["pages", "script", "api"], default="pages", help="what each browser does (default pages)")
    parser.add_argument("--workers", type=int, default=2, help="of gunicorn (default 2, as `manage.py up`)")
    parser.add_argument("--threads", type=int, default=4, help="of each worker (default 4)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser.parse_args()


def together(work: Sequence[Callable[[], None]]) -> float:
    """Run every piece in a thread of its own, all from the same moment; seconds until the last is done. Raises what went wrong first."""
    ready, wrong = threading.Barrier(len(work) + 1), []  # type: ignore[var-annotated]

    def run(piece: Callable[[], None]) -> None:
        try:
            ready.wait(timeout=60)
            piece()
        except BaseException as error:  # told below: a thread that died must not pass for a fast one
            wrong.append(error)

    threads = [threading.Thread(target=run, args=[piece]) for piece in work]
    for thread in threads:
        thread.start()
    ready.wait(timeout=60)
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if wrong:
        raise wrong[0]
    return time.perf_counter() - began


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def at_work(clinician: Clinician, campaign: str, seconds: float, client: str) -> Callable[[], None]:
    judge = {"pages": clinician.judge_by_pages, "script": clinician.judge_by_script, "api": clinician.judge_by_api}[client]
    return lambda: judge(campaign, time.perf_counter() + seconds)


def warmed_up(port: int, usernames: Sequence[str], campaign: str, arguments: argparse.Namespace) -> tuple[list[Clinician], int]:
    """Everybody signs in and judges for a moment; how many answers that were."""
    clinicians = [Clinician(port, username, world.PASSWORD) for username in usernames]
    together([at_work(clinician, campaign, min(3, arguments.seconds), arguments.client) for clinician in clinicians])
    warm = sum(clinician.tally.acknowledged for clinician in clinicians)
    for clinician in clinicians:
        clinician.tally = Tally()
    return clinicians, warm


def judge(clinicians: Sequence[Clinician], campaign: str, arguments: argparse.Namespace) -> tuple[list[Tally], float]:
    """Everybody judges for as long as asked; what each of them did, and the seconds it took."""
    seconds = together([at_work(clinician, campaign, arguments.seconds, arguments.client) for clinician in clinicians])
    return [clinician.tally for clinician in clinicians], seconds


def others(clinicians: Sequence[Clinician], campaign: str, arguments: argparse.Namespace) -> tuple[dict[str, dict[str, float]], int]:
    """Every other client's figures by its name, and how many answers they gave. Each drives a fifth of the time, ten seconds at most."""
    found, given = {}, 0
    for client in {"pages", "script", "api"} - {arguments.client}:
        for clinician in clinicians:
            clinician.tally = Tally()
        limit = min(10, arguments.seconds / 5)
        seconds = together([at_work(clinician, campaign, limit, client) for clinician in clinicians])
        tallies = [clinician.tally for clinician in clinicians]
        found[client] = figures(tallies, seconds)
        given += sum(tally.acknowledged for tally in tallies)
    return found, given


def figures(tallies: Sequence[Tally], seconds: float) -> dict[str, float]:
    """Judgements a second, and what was waited for in ms: the answer with the next pair, and the answer alone."""
    waits = [ms for tally in tallies for ms in tally.waits]
    return {
        "judgements_per_s": round(sum(tally.acknowledged for tally in tallies) / seconds, 1),
        "p50_ms": round(percentile(waits, 0.5), 1),
        "p95_ms": round(percentile(waits, 0.95), 1),
        "submit_p95_ms": round(percentile([ms for tally in tallies for ms in tally.submits], 0.95), 1),
    }


def floor(database: str, connections: int, seconds: float) -> float:
    """Claims + inserts a second when nothing else is asked for: an open row taken with SKIP LOCKED, a row inserted, committed."""
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE floor_slot AS SELECT id, true AS open FROM generate_series(1, 100000) id")
        connection.execute("CREATE TABLE floor_judgement (id bigserial PRIMARY KEY, slot_id bigint UNIQUE, verdict text, at timestamptz)")
        connection.execute("CREATE INDEX floor_open ON floor_slot (id) WHERE open")
        connection.execute("ALTER TABLE floor_slot ADD PRIMARY KEY (id)")
    done = [0] * connections

    def work(number: int) -> Callable[[], None]:
        def run() -> None:
            with psycopg.connect(database) as connection:
                until = time.perf_counter() + seconds
                while time.perf_counter() < until:
                    (slot,) = connection.execute(
                        "UPDATE floor_slot SET open = false WHERE id = "
                        "(SELECT id FROM floor_slot WHERE open ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"
                    ).fetchone()  # type: ignore[misc]
                    connection.execute("INSERT INTO floor_judgement (slot_id, verdict, at) VALUES (%s, 'first_much', now())", [slot])
                    connection.commit()
                    done[number] += 1

        return run

    took = together([work(number) for number in range(connections)])
    return sum(done) / took


def busy_claims(campaign: Any, rater: Any, count: int = 200) -> list[float]:
    """Milliseconds of each claim of somebody who has judged 1,500 pairs already, in the order they come."""
    from annotation import assignments
    from annotation.models import Assignment

    world.answered_before(campaign, rater, OWN_ITEMS)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        held = assignments.lease_next(campaign=campaign, annotator=rater)
        times.append(1000 * (time.perf_counter() - began))
        if held is None:
            raise SystemExit("The busy annotator got no pair.")
        Assignment.objects.filter(pk=held.pk).update(state="submitted")
    return times


def check(campaign: Any, acknowledged: int) -> int:
    """How many pairs have more holders than they want. Stops when an acknowledged answer is missing or the books do not balance."""
    from annotation import slots
    from annotation.models import Assignment, Judgement

    stored = Judgement.objects.filter(assignment__campaign=campaign).count()
    if stored != acknowledged:
        raise SystemExit(f"{acknowledged} answers were acknowledged and {stored} are stored: the speed means nothing.")
    if wrong := slots.unbalanced(campaign):
        raise SystemExit(f"{len(wrong)} slots are not exactly one of open, withdrawn and held, such as {wrong[0]}.")
    from django.db.models import Count

    holders = Assignment.objects.filter(campaign=campaign, state__in=["leased", "submitted"]).values("pair").annotate(n=Count("pk"))
    return holders.filter(n__gt=campaign.overlap).count()


class Spent:
    """Processor time of the run by who spent it, and how busy the machine was: others may share it."""

    def __init__(self, database: str, gunicorn: int) -> None:
        import psutil

        self.database, self.gunicorn, self.psutil = database, psutil.Process(gunicorn), psutil
        self.began, self.machine = self._now(), psutil.cpu_times()

    def _now(self) -> dict[str, dict[int, float]]:
        import psycopg

        with psycopg.connect(self.database) as connection:
            backends = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()").fetchall()
        groups = {
            "web": [self.gunicorn.pid, *(child.pid for child in self.gunicorn.children(recursive=True))],
            "postgres": [pid for (pid,) in backends],
            "clients": [os.getpid()],
        }
        return {name: {pid: self._of(pid) for pid in pids} for name, pids in groups.items()}

    def _of(self, pid: int) -> float:
        # A server elsewhere, or one that another account may not look into, counts nothing.
        with contextlib.suppress(self.psutil.Error):
            times = self.psutil.Process(pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    def since(self, judgements: int) -> dict[str, float]:
        now, machine = self._now(), self.psutil.cpu_times()
        spent = {name: sum(seconds - self.began[name].get(pid, 0.0) for pid, seconds in pids.items()) for name, pids in now.items()}
        idle = machine.idle + machine.iowait - self.machine.idle - self.machine.iowait
        total = max(1e-9, sum(machine) - sum(self.machine))
        return {
            **{f"cpu_ms_{name}": round(1000 * seconds / judgements, 2) for name, seconds in spent.items()},
            "cpu_busy_share": round(1 - idle / total, 3),
            "cpu_share_of_others": round(max(0.0, (total - idle - sum(spent.values())) / total), 3),
            "load_1min": round(os.getloadavg()[0], 2),
        }


def measure(arguments: argparse.Namespace, database: str) -> dict[str, Any]:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    *raters, busy = world.people(arguments.annotators + 1)
    campaign = world.campaign([*raters, busy], pairs=arguments.pairs, overlap=arguments.overlap)
    copied = time.perf_counter() - began
    names = [rater.username for rater in raters]
    with server.web(arguments.workers, arguments.threads) as (port, gunicorn):
        clinicians, warm = warmed_up(port, names, str(campaign.public_id), arguments)
        spent = Spent(database, gunicorn)
        tallies, seconds = judge(clinicians, str(campaign.public_id), arguments)
        share = spent.since(sum(tally.acknowledged for tally in tallies))
        beside, given = others(clinicians, str(campaign.public_id), arguments)
    over = check(campaign, warm + given + sum(tally.acknowledged for tally in tallies))
    lower = floor(database, arguments.annotators, min(10, arguments.seconds))
    claims = busy_claims(campaign, busy)
    main = figures(tallies, seconds)
    return {
        "pairs": arguments.pairs,
        "annotators": arguments.annotators,
        "overlap": arguments.overlap,
        "client": arguments.client,
        "seconds": round(seconds, 1),
        **main,
        "clients": {arguments.client: main, **beside},
        "claim_p50_ms_busy": round(statistics.median(claims), 2),
        "claim_p95_ms_busy": round(percentile(claims, 0.95), 2),
        "over_overlap": over,
        "floor_judgements_per_s": round(lower, 1),
        "ratio_to_floor": round(main["judgements_per_s"] / lower, 3),
        "copied_s": round(copied, 1),
        **share,
    }


def main() -> None:
    arguments = parse()
    with server.throw_away_database() as database:
        os.environ.update(server.production(database))
        found = measure(arguments, database)
        from django.db import connections

        connections.close_all()
    print(f"{found['annotators']} annotators, {found['pairs']} pairs, overlap {found['overlap']}, {found['seconds']} s ({found['client']})")
    print(f"judgements        {found['judgements_per_s']:>8} /s   next + submit p50 {found['p50_ms']} ms, p95 {found['p95_ms']} ms")
    for name, one in found["clients"].items():
        print(f"  as {name:<8}{one['judgements_per_s']:>12} /s   next + submit p50 {one['p50_ms']} ms, p95 {one['p95_ms']} ms")
    print(f"bare claim+insert {found['floor_judgements_per_s']:>8} /s   judging reaches {found['ratio_to_floor']:.0%} of it")
    print(f"claim after {OWN_ITEMS} own items: p50 {found['claim_p50_ms_busy']} ms, p95 {found['claim_p95_ms_busy']} ms")
    spent = ", ".join(f"{name} {found[f'cpu_ms_{name}']}" for name in ("web", "postgres", "clients"))
    print(f"over overlap {found['over_overlap']}; processor time of a judgement in ms: {spent}")
    print(f"processors busy {found['cpu_busy_share']:.0%}, of it others {found['cpu_share_of_others']:.0%}; load {found['load_1min']}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
