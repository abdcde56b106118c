"""L10, wrong clocks and many sweepers: workers an hour fast and an hour slow steal nothing early, and three sweepers do the work of one."""

from __future__ import annotations

from django.db import connection

from benchmarks.faults import checker, fake
from benchmarks.faults.checker import Report
from benchmarks.faults.house import House
from jobs import sweeper
from jobs.models import ENDED, Attempt, Job, Outbox
from tests.threads import at_once
from tests.workers import wait_until

HOUR = 3600


def run(house: House, seed: int, *, quick: bool) -> Report:
    report = Report("L10", "clocks and sweepers", seed)
    count = 8 if quick else 40
    with house.lane("clocks") as history:
        # A lease that a busy machine does not overrun: what is stolen here was stolen by a clock.
        house.environment["ROUNDS_LEASE_SECONDS"] = "8"
        for number in range(count):
            fake.ask(seed=number, steps=20, pause=0.05, every=10, bytes=1000)
        # No message is left: the sweepers must ring, each job once a while and not three times.
        house.redis("FLUSHALL")
        for number, skew in enumerate((HOUR, 0, -HOUR)):
            house.sweeper(f"s{number}", every=0.3, FAULTS_SKEW=str(skew))
        for name, skew in (("fast", HOUR), ("slow", -HOUR)):
            house.worker(name, FAULTS_SKEW=str(skew))
        report.faults = 5
        try:
            wait_until(lambda: Job.objects.filter(state__in=ENDED).count() == count, seconds=90, why="all jobs end")
        except AssertionError as late:
            report.wrong.append(str(late))
        checker.jobs(report)
        stolen = Attempt.objects.exclude(reason="succeeded").count()
        history.note("harness", "attempts", stolen=stolen)
        report.told = {"attempts": Attempt.objects.count(), "stolen": stolen, "bells": Outbox.objects.count()}
        report.expect(not stolen, f"{stolen} attempts ended otherwise than by publishing")
        report.expect(report.published == count, f"{report.published} of {count} jobs were published")
        doubled = bells_too_many()
        report.expect(not doubled, f"three sweepers rang {len(doubled)} bells more than one would")
        checker.close(report)
    return report


def bells_too_many(seconds: float = 2.5) -> list[tuple[int, int]]:
    """Bells for one job within less time than a sweeper leaves between two."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.job_id, b.id FROM jobs_outbox a JOIN jobs_outbox b ON b.job_id = a.job_id AND b.id > a.id"
            " AND b.created_at < a.created_at + make_interval(secs => %s)"
            " JOIN jobs_job j ON j.id = a.job_id WHERE j.created_at < a.created_at - interval '0.5 s'",
            [seconds],
        )
        return cursor.fetchall()


def sweep_together(rounds: int) -> None:
    """Three sweepers of this very moment, again and again."""
    for _ in range(rounds):
        at_once(sweeper.sweep, sweeper.sweep, sweeper.sweep)
