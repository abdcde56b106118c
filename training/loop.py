"""The whole loop in one go on the tiny family, judged by simulated raters whose truth is known: it must find what was planted.

import → generate → judge → freeze → train (and controls on shuffled labels) → evaluate → promote → roll back.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from accounts.models import User
from annotation.models import GenerationBatch, Snapshot
from jobs.models import Job, State
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import demo, evaluations, families, generations, intervals, promotions, runs
from training.models import Evaluation, Promotion, Run

Say = Callable[[str], None]
POLL_SECONDS = 0.3


class LoopFailed(Exception):
    """A job of the loop failed or was cancelled; the message names it."""


class Loop:
    """One pass. `number` makes its names its own; `seed` moves the draws, the raters' slips and the training."""

    def __init__(self, *, seed: int, controls: int, actor: User | None, say: Say) -> None:
        self.seed, self.controls, self.actor, self.say = seed, controls, actor, say
        self.number = 1 + Run.objects.filter(name__startswith="loop-", name__endswith="-dpo").count()

    def name(self, what: str) -> str:
        return f"loop-{self.number}-{what}"

    def go(self) -> dict[str, Any]:
        """Carry it through; returns the figures. The family must be there. Raises LoopFailed."""
        started = time.monotonic()
        merged, sft = _member("merged"), _member("sft")
        source = demo.toy_samples(actor=self.actor, seed=self.seed)
        prompts = generations.choose(counts=demo.TOY_PROMPTS, source=source)
        self.say(f"imported {source.samples.count()} toy samples; {len(prompts)} prompts chosen")

        batches = [self._answers(sft, prompts, letter) for letter in "ab"]
        self._wait("generating two answers a prompt", [_job(batch) for batch in batches])
        campaign = demo.simulated_campaign(name=self.name("campaign"), batches=batches, seed=self.seed, actor=self.actor)
        # What the family knew before: asked while the raters judge.
        exam = evaluations.start(policy=sft, reference=merged, snapshot=None, actor=self.actor, parts=("questions",))
        rated = demo.judged(campaign=campaign, seed=self.seed, actor=self.actor)
        self.say(f"{rated.judgements} judgements by simulated raters, {rated.slips} of them slips")
        snapshot = demo.frozen(campaign=campaign, name=self.name("snapshot"), actor=self.actor)
        self.say(f"frozen {snapshot.digest[:12]}: {snapshot.counts['used']}")

        run = runs.start(snapshot=snapshot, policy=sft, preset="demo", name=self.name("dpo"), actor=self.actor, seed=self.seed)
        controls = [self._control(snapshot, sft, number) for number in range(1, self.controls + 1)]
        beside = f", and {self.controls} controls on shuffled labels" if controls else ""
        self._wait(f"training by DPO{beside}", [exam.job, run.job, *(each.job for each in controls)])
        evaluation = evaluations.start(policy=_output(run), reference=sft, snapshot=snapshot, actor=self.actor, seed=self.seed)
        compared = [
            evaluations.start(policy=_output(each), reference=sft, snapshot=snapshot, actor=self.actor, seed=self.seed, parts=("pairs",))
            for each in controls
        ]
        self._wait("comparing before and after", [each.job for each in (evaluation, *compared)])

        promoted, back = self._promote_and_roll_back(evaluation, sft)
        return self._figures(time.monotonic() - started, evaluation, compared, exam, promoted, back)

    def _control(self, snapshot: Snapshot, policy: ModelVersion, number: int) -> Run:
        name, seed = self.name(f"control-{number}"), 100 * self.seed + number
        return runs.start(snapshot=snapshot, policy=policy, preset="demo", name=name, actor=self.actor, seed=seed, shuffled=True)

    def _answers(self, version: ModelVersion, prompts: list[Any], letter: str) -> GenerationBatch:
        label, seed = self.name(f"draw {letter}"), 2 * self.seed + "ab".index(letter)
        return demo.answers(version=version, prompts=prompts, label=label, seed=seed, actor=self.actor)

    def _promote_and_roll_back(self, evaluation: Evaluation, sft: ModelVersion) -> tuple[Promotion, Promotion | None]:
        demo.first_champion(version=sft, actor=self.actor)
        evaluation.refresh_from_db()
        before = aliases.current(AliasName.CHAMPION)
        if before is not None and before != sft:
            asked = evaluations.of_champion(evaluation=evaluation, champion=before, actor=self.actor)
            self._wait("asking the champion the same pairs", [asked.job])
        promoted = promotions.demonstrate(evaluation=evaluation, actor=self.actor, expected=before)
        self.say(f"{promoted.decision}: {promoted.reason}")
        if promoted.decision != "promoted":
            return promoted, None
        back = promotions.roll_back(actor=self.actor, expected=evaluation.policy, reason="The loop shows the way back")
        self.say(f"rolled back to {back.version.name}")
        return promoted, back

    def _wait(self, what: str, jobs: Iterable[Job]) -> None:
        """Until every job is done. Raises LoopFailed as soon as one never will be."""
        ids = [job.pk for job in jobs]
        self.say(f"{what} …")
        began = time.monotonic()
        wait_for(ids)
        self.say(f"{what}: {time.monotonic() - began:.0f} s")

    def _figures(
        self,
        seconds: float,
        evaluation: Evaluation,
        controls: list[Evaluation],
        exam: Evaluation,
        promoted: Promotion,
        back: Promotion | None,
    ) -> dict[str, Any]:
        for each in (*controls, exam):
            each.refresh_from_db()
        results = evaluation.results
        figures: dict[str, Any] = {"seconds": round(seconds, 1), "seed": self.seed}
        figures |= _share("heldout_accuracy", results["preference_accuracy"])
        accuracies = [each.results["preference_accuracy"] for each in controls]
        figures |= _share("shuffled_accuracy", intervals.over_runs(accuracies) if accuracies else None)
        figures["shuffled_runs"] = [round(each["value"], 4) for each in accuracies]
        # The same without the allowance for margins too small to be a preference: what a habit common to all answers makes of it.
        figures["heldout_by_sign_alone"] = results["preference_accuracy"].get("by_sign_alone")
        figures["shuffled_by_sign_alone"] = [each.get("by_sign_alone") for each in accuracies]
        figures |= _share("recall_before", exam.results["recall_reference"]["all"])
        figures |= _share("recall_sft", exam.results["recall"]["all"])
        figures |= _share("recall_after", results["recall"]["all"])
        figures |= _share("style_win_rate", results["style"])
        figures |= _share("correctness_win_rate", results["correctness"])
        figures["promoted"] = promoted.decision == "promoted"
        figures["rolled_back"] = back is not None and aliases.current(AliasName.CHAMPION) == back.version
        return figures


def build_family(*, actor: User | None, say: Say, preset: str = "demo") -> None:
    """The family, when it is not there yet, or what is left of one that is being built. Raises LoopFailed."""
    progress = families.progress()
    if families.version("sft") is not None and families.version("merged") is not None:
        return
    if progress is None or progress.failed:
        say("the tiny family is not there yet: building it first (not counted in the loop's seconds)")
        families.start(preset="test" if preset == "test" else "demo", actor=actor)
        progress = families.progress()
    assert progress is not None
    told = -1
    ids = list(Run.objects.filter(preset=f"{families.TAG}{progress.name}").values_list("job_id", flat=True))
    for done in waiting(ids):
        if done != told:
            say(f"family: {done} of {len(ids)} jobs")
            told = done


def wait_for(ids: list[int]) -> None:
    for _ in waiting(ids):
        pass


def waiting(ids: list[int]) -> Iterable[int]:
    """How many of the jobs are done, again and again until all are. Raises LoopFailed as soon as one never will be."""
    while True:
        found = list(Job.objects.filter(pk__in=ids))
        for job in found:
            if job.state in (State.FAILED, State.CANCELLED):
                raise LoopFailed(f"“{job.label}” {job.get_state_display().lower()}: {job.error_code} {job.error_detail}")
        done = sum(job.state == State.SUCCEEDED for job in found)
        yield done
        if done == len(ids):
            return
        time.sleep(POLL_SECONDS)


def _member(key: str) -> ModelVersion:
    found = families.version(key)
    if found is None:
        raise LoopFailed(f"The family has no {key}.")
    return found


def _job(batch: GenerationBatch) -> Job:
    job = generations.job_of(batch)
    assert job is not None
    return job


def _output(run: Run) -> ModelVersion:
    run.refresh_from_db()
    assert run.output is not None
    return run.output


def _share(name: str, share: intervals.Share | None) -> dict[str, Any]:
    if share is None:
        return {name: None}
    low, high = round(share["low"], 4), round(share["high"], 4)
    return {name: round(share["value"], 4), f"{name}_low": low, f"{name}_high": high, f"{name}_n": share["n"]}
