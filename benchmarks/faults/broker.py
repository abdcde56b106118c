"""L4, the broker is cut, silenced, flushed and restarted empty: “Start” answers at once, and every job starts within a minute."""

from __future__ import annotations

import http.client
import itertools
import random
import threading
import time

from django.db.models import F

from accounts.models import Role, User
from benchmarks.faults import checker
from benchmarks.faults.checker import Report
from benchmarks.faults.history import History
from benchmarks.faults.house import House
from benchmarks.faults.proxy import Proxy
from jobs.models import ENDED, Job
from tests.cast import person, signed_in
from tests.workers import wait_until

START_SECONDS = 60
ANSWER_MS = 500
KINDS = ("refuse", "reset", "silence", "delay 0.5", "cut 7", "pause", "flush", "restart")


def run(house: House, seed: int, *, quick: bool) -> Report:
    report = Report("L4", "broker", seed)
    faults, seconds = (8, 0.8) if quick else (40, 1.1)
    with house.lane("broker") as history:
        proxy = house.proxy("redis")
        house.environment["CELERY_BROKER_URL"] = f"redis://127.0.0.1:{proxy.port}/0"
        dan = person("dan", Role.TRAINER)
        house.sweeper(every=1.0)
        house.worker("w1", slots=2)
        keeper = Keeper(house)
        keeper.start()
        door = Door(house.web(), dan, history)
        draw = random.Random(seed)
        moods = list(itertools.islice(itertools.cycle(KINDS), faults))
        draw.shuffle(moods)
        for number, mood in enumerate(moods):
            history.note("harness", "fault", what=mood, number=number)
            break_broker(house, proxy, mood, seconds)
            asking = threading.Thread(target=door.start_some, args=[draw.uniform(0.1, 0.4), seconds])
            asking.start()
            time.sleep(seconds)
            proxy.obey("pass")
            asking.join()
            time.sleep(draw.uniform(0.1, 0.5))
        everything = Job.objects.count()
        ended = lambda: Job.objects.filter(state__in=ENDED).count() == everything  # noqa: E731
        try:
            wait_until(ended, seconds=START_SECONDS + 10, why="all jobs end")
        except AssertionError as late:
            report.wrong.append(f"{late}; where the worker stands is at the end of {house.data_dir}/w1.log")
            keeper.stop()
            house.dump("w1")
        keeper.stop()
        report.faults = len(history.of("fault"))
        report.told["workers_started_anew"] = keeper.count
        judge(report, history)
        checker.close(report)
    return report


def judge(report: Report, history: History) -> None:
    posts = history.of("start")
    waits = sorted(1000 * one.seconds for one in posts)
    p95 = waits[int(0.95 * len(waits))]
    checker.jobs(report)
    started = Job.objects.exclude(started_at=None).annotate(wait=F("started_at") - F("created_at")).values_list("wait", flat=True)
    longest = max((wait.total_seconds() for wait in started), default=0.0)
    asked = {one.answer["job"] for one in posts if one.outcome == "ok"}
    gone = asked - set(Job.objects.values_list("pk", flat=True))
    report.told |= {
        "posts": len(posts), "p50_ms": round(waits[len(waits) // 2]), "p95_ms": round(p95), "longest_ms": round(waits[-1]),
        "longest_to_start_s": round(longest, 1),
    }  # fmt: skip
    report.lost += len(gone)
    report.expect(all(one.outcome == "ok" for one in posts), "a POST failed")
    report.expect(not gone, f"{len(gone)} acknowledged jobs are not there")
    report.expect(report.published == report.jobs, f"{report.published} of {report.jobs} jobs were published")
    report.expect(longest <= START_SECONDS, f"a job started {longest:.0f} s after it was asked for")
    report.expect(p95 < ANSWER_MS, f"I10 the 95th percentile of a POST was {p95:.0f} ms")


def break_broker(house: House, proxy: Proxy, mood: str, seconds: float) -> None:
    if mood == "pause":
        house.redis("CLIENT", "PAUSE", str(int(1000 * seconds)), "ALL")
    elif mood == "flush":
        house.redis("FLUSHALL")
    elif mood == "restart":
        house.restart_redis_empty()
    else:
        proxy.obey(mood)


class Keeper(threading.Thread):
    """Starts a worker that has ended anew, as `manage.py up` does: one that is found to be deaf ends itself."""

    def __init__(self, house: House) -> None:
        super().__init__(daemon=True)
        self.house, self.over, self.count = house, threading.Event(), 0

    def run(self) -> None:
        while not self.over.wait(0.5):
            if self.house.children["w1"].poll() is not None:
                self.house.worker("w1", slots=2)
                self.count += 1

    def stop(self) -> None:
        self.over.set()
        self.join()


class Door:
    """A trainer at the web server: one POST asks for one job."""

    def __init__(self, port: int, user: User, history: History) -> None:
        self.port, self.history = port, history
        session = signed_in(user).cookies["sessionid"].value
        token = "t" * 32
        self.headers = {"Cookie": f"sessionid={session}; csrftoken={token}", "X-CSRFToken": token}
        wait_until(self._answers, seconds=60, why="the web server answers")

    def _answers(self) -> bool:
        try:
            return self.post(count=False) > 0
        except OSError:
            return False

    def post(self, *, count: bool = True) -> int:
        """The number of the job that the server says it took. Raises OSError when it does not answer."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            client.request("POST", "/faults/start/", headers=self.headers)
            answer = client.getresponse()
            body = answer.read()
        finally:
            client.close()
        if answer.status != 200:
            raise OSError(f"{answer.status}: {body[:200]!r}")
        return int(body)

    def start_some(self, pause: float, seconds: float) -> None:
        """POST again and again for so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self.history.asking("dan", "start") as asked:
                try:
                    asked.ok(job=self.post())
                except OSError as error:
                    asked.fail(error=str(error))
            time.sleep(pause)
