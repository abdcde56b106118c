"""L8, whatever happens in whatever order: the state machine of tests/annotation/test_books.py and one over jobs, with real commits."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from django.conf import settings as django_settings
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from accounts.models import User
from benchmarks.faults import checker, fake
from benchmarks.faults.checker import Report
from benchmarks.faults.fake import trainer
from benchmarks.faults.history import History
from benchmarks.faults.house import House
from jobs import claims, kinds, submissions, sweeper
from jobs.claims import Claim
from jobs.clock import Clock, after
from jobs.errors import Cancelled, LeaseLost, NotCancellable
from jobs.models import ENDED, HELD, Job, State
from modelhub import artifacts
from tests.annotation import build
from tests.annotation.test_books import GOLD, NAMES, PAIRS, Books
from tests.cast import person

PORTION = 4
# For each of the two.
SECONDS = 28.0

which = st.integers(min_value=0, max_value=11)


def run(house: House, seed_: int, *, quick: bool) -> Report:
    report = Report("L8", "state machines", seed_)
    with house.lane("machines") as history:
        with connection.cursor() as cursor:
            # Every commit is real; only its way to the disk is not waited for, since nothing crashes here.
            cursor.execute("SET synchronous_commit = off")
        Books.people = {name: person(name, "annotator") for name in NAMES}
        Books.model = build.campaign([], pairs=PAIRS + GOLD, opened=False)
        JobBooks.history, JobBooks.staged = history, _a_model()
        examples = {machine.__name__: _play(machine, seed_, 2 if quick else SECONDS, report) for machine in (Books, JobBooks)}
        report.told = {f"{name.lower()}_examples": count for name, count in examples.items()} | {"steps_each": 40}
        report.faults = len(history.of("crash")) + len(history.of("lapse"))
        checker.jobs(report)
        # The machine's jobs are left as they stand; what was acknowledged of them is judged in the machine.
        report.lost = 0
        report.told["jobs_succeeded"] = Job.objects.filter(state=State.SUCCEEDED).count()
        for question in JUDGED:
            with connection.cursor() as cursor:
                cursor.execute(checker.STATEMENTS[question])
                report.expect(not cursor.fetchall(), question)
    return report


def _play(machine: type[RuleBasedStateMachine], seed_: int, seconds: float, report: Report) -> int:
    """Portions of examples until the time is over; how many examples."""
    played, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and not report.wrong:
        try:
            run_state_machine_as_test(seed(seed_ + played)(machine), settings=_profile(PORTION))
        except Exception as error:
            report.wrong.append(f"{machine.__name__}: {type(error).__name__}: {error}")
        played += PORTION
    return played


def _profile(examples: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=40, derandomize=False, phases=[Phase.generate], report_multiple_bugs=False,
        database=None, deadline=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip


JUDGED = [name for name in checker.STATEMENTS if name.startswith(("I1 ", "I3", "I5", "I8", "I11", "I13"))]


# All at once: the question that finds something gives its name.
OF_JOBS = " UNION ALL ".join(
    f"SELECT '{name}' WHERE EXISTS ({checker.STATEMENTS[name]})" for name in JUDGED if name.startswith(("I5", "I8", "I11", "I13"))
)


def _a_model() -> artifacts.Staged:
    folder = Path(django_settings.DATA_DIR) / "a-model"
    trainer.write_model(folder, trainer.begin(1))
    return artifacts.stage(folder=folder)


class JobBooks(RuleBasedStateMachine):
    """Jobs are asked for, claimed, lost, taken over, published and cancelled, and old holders speak up at any time."""

    history: History
    staged: artifacts.Staged
    people: dict[str, User]

    @initialize()
    def open(self) -> None:
        self.jobs: list[int] = []
        self.claims: list[Claim] = []
        # What was acknowledged: published by which claim, or cancelled.
        self.published: dict[int, int] = {}
        self.cancelled: set[int] = set()
        self.kind = kinds.get("fake")

    # What happens

    @rule()
    def submit(self) -> None:
        self.jobs.append(fake.ask(seed=len(self.jobs)).pk)

    @precondition(lambda self: self.jobs)
    @rule(number=which)
    def claim(self, number: int) -> None:
        job = self.job(number)
        before = [one.token for one in self.claims if one.job == job]
        held = claims.claim(job_id=job, worker=f"here:1:{uuid4().hex[:12]}")
        if held is not None:
            assert held.token > max(before, default=0)
            self.claims.append(held)

    @precondition(lambda self: self.claims)
    @rule(number=which)
    def heartbeat(self, number: int) -> None:
        claim = self.pick(number)
        holds = self.holds(claim)
        try:
            claims.heartbeat(claim)
        except LeaseLost:
            assert not holds
        else:
            assert holds

    @precondition(lambda self: self.claims)
    @rule(number=which, step=st.integers(min_value=1, max_value=40))
    def checkpoint(self, number: int, step: int) -> None:
        claim = self.pick(number)
        running = self.holds(claim, State.RUNNING)
        with suppress(LeaseLost, Cancelled):
            claims.kept(claim, step=step)
            assert running

    @precondition(lambda self: self.claims)
    @rule(number=which, twice=st.booleans())
    def publish(self, number: int, twice: bool) -> None:
        claim = self.pick(number)
        for _ in range(1 + twice):
            try:
                claims.begin_publish(claim)
                claims.publish(claim, kind=self.kind, result={"metrics": {"attempt": claim.number}}, staged=self.staged)
            except (LeaseLost, Cancelled):
                continue
            assert self.published.setdefault(claim.job, claim.token) == claim.token
            assert claim.job not in self.cancelled

    @precondition(lambda self: self.jobs)
    @rule(number=which)
    def work(self, number: int) -> None:
        """What most of the day is: a job is claimed, gets on and is published."""
        before = len(self.claims)
        self.claim(number)
        if len(self.claims) > before:
            self.heartbeat(0)
            self.publish(0, False)

    @precondition(lambda self: self.claims)
    @rule(number=which, how=st.sampled_from(["fail", "retry", "release", "acknowledge"]))
    def let_go(self, number: int, how: str) -> None:
        claim = self.pick(number)
        with suppress(LeaseLost, Cancelled):
            if how == "release":
                claims.release(claim)
            elif how == "acknowledge":
                claims.acknowledge_cancel(claim)
            else:
                (claims.fail if how == "fail" else claims.retry)(claim, code="no_result", detail="It ended without a result.")

    @precondition(lambda self: self.jobs)
    @rule(number=which, sure=st.integers(min_value=0, max_value=2))
    def cancel(self, number: int, sure: int) -> None:
        if sure == 0:
            with suppress(NotCancellable):
                submissions.cancel(job=Job.objects.get(pk=self.job(number)), actor=None)
                self.cancelled.add(self.job(number))

    @precondition(lambda self: self.claims)
    @rule(number=which)
    def lapse(self, number: int) -> None:
        """The holder is silent for too long."""
        claim = self.pick(number)
        if Job.objects.filter(pk=claim.job, token=claim.token, state__in=HELD).update(lease_until=after(-1)):
            self.history.note("nature", "lapse", job=claim.job)

    @precondition(lambda self: self.jobs)
    @rule(number=which)
    def crash(self, number: int) -> None:
        """Somebody claims and dies before the commit: nothing has happened."""
        before = Job.objects.values_list("token", "state", "attempts").get(pk=self.job(number))
        with suppress(ZeroDivisionError), transaction.atomic():
            claims.claim(job_id=self.job(number), worker="here:1:crash")
            raise ZeroDivisionError
        assert Job.objects.values_list("token", "state", "attempts").get(pk=self.job(number)) == before
        self.history.note("nature", "crash", job=self.job(number))

    @rule()
    def sweep(self) -> None:
        Job.objects.filter(pk__in=self.jobs).exclude(state__in=[*ENDED, State.QUEUED]).update(run_after=after(-1))
        sweeper.sweep()

    # What must be true after every step

    @invariant()
    def the_books_balance(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(OF_JOBS)
            assert cursor.fetchall() == []

    @invariant()
    def what_was_said_stays_true(self) -> None:
        states = dict(Job.objects.filter(pk__in=self.jobs).values_list("pk", "state"))
        assert {job for job, state in states.items() if state == State.SUCCEEDED} == set(self.published)
        assert all(states[job] in (State.CANCELLING, State.CANCELLED) for job in self.cancelled)

    # Means

    def job(self, number: int) -> int:
        return self.jobs[-1 - number % len(self.jobs)]

    def pick(self, number: int) -> Claim:
        return self.claims[-1 - number % len(self.claims)]

    def holds(self, claim: Claim, *states: str) -> bool:
        return Job.objects.filter(pk=claim.job, token=claim.token, state__in=states or HELD, lease_until__gt=Clock()).exists()
