"""What a fresh installation shows: people, a first campaign of real prose, and the loop carried through once on toy models.

Everything here may be called again: it finds what is there and adds what is missing.
"""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from django.db import transaction

import annotation
from accounts.models import Role, RoleGrant, User
from annotation import campaigns, completions, export_rights, golds, samples, snapshots
from annotation.models import Campaign, CampaignState, ExportGrant, ExportLevel, GenerationBatch, Prompt, Sample, Snapshot, Source
from jobs.models import Job, State
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training import evaluations, families, generations, raters, runs, suiteruns
from training.engine import toysamples, toytext
from training.models import Evaluation, Run

FOLDER = Path(annotation.__file__).parent / "demo"

PEOPLE = (
    ("clinician", Role.ANNOTATOR),
    ("lead", Role.ADJUDICATOR),
    ("trainer", Role.TRAINER),
    ("steward", Role.STEWARD),
    ("admin", Role.ADMIN),
)

FIRST_SOURCE = "Rounds first pairs"
FIRST_CAMPAIGN = "First pairs: which answer would you use?"
# Two of the 24 whose answer is beyond doubt look like the others and show how carefully somebody reads.
FIRST_GOLD = ("first-01", "first-02")
QUALIFICATION = "Qualification: first pairs"
# Between them these tasks have eight of the pairs, and so have those of the campaign behind the qualification.
QUALIFICATION_TASKS = (
    "relation extraction", "classification", "reasoning & diagnosis", "textual entailment", "abbreviation expansion",
    "aspect-oriented keyword extraction",
)  # fmt: skip
GATED_CAMPAIGN = "Wording and corrections: after the qualification"
GATED_TASKS = ("text simplification", "text expansion", "error detection & correction", "note scoring")
LICENCE = "Apache-2.0"

TOY_SOURCE = "Rounds toy corpus"
TOY_SAMPLES = 2600
# Prompts of each split in a toy campaign: enough held-out pairs that 200 are left where the planted truth prefers one.
TOY_PROMPTS = {"train": 520, "validation": 60, "evaluation": 460}
TOY_DECODING = {"temperature": 1.0, "max_new_tokens": 40, "batch_size": 64}

TOY_CAMPAIGN = "Toy preferences"
TOY_SNAPSHOT = "Toy preferences, frozen"
TOY_RUN = "toy-dpo-1"
EXPERT_CAMPAIGN = "Expert or merged: toy texts"
EXPERT_PROMPTS = {"train": 30, "validation": 4, "evaluation": 6}


class Stuck(Exception):
    """The demo waits for a job that failed or was cancelled: somebody has to look."""


def password(username: str) -> str:
    return f"rounds-demo-{username}"


def people() -> list[User]:
    """The demo's users, one a role. A password that somebody changed stays changed."""
    found = []
    for username, role in PEOPLE:
        user = User.objects.filter(username=username).first()
        if user is None:
            user = User.objects.create_user(username, password=password(username))
        RoleGrant.objects.get_or_create(user=user, role=role)
        found.append(user)
    if not ExportGrant.objects.exists():
        export_rights.grant(user=person("trainer"), level=ExportLevel.UNTAGGED, actor=person("admin"))
    return found


def person(username: str) -> User:
    return User.objects.get(username=username)


@transaction.atomic
def first_campaign() -> Campaign:
    """The 24 pairs that need no model, open to the clinician and the lead. Two are gold, and one answer in twenty is asked again."""
    known = Campaign.objects.filter(name=FIRST_CAMPAIGN).first()
    if known:
        return known
    admin = person("admin")
    campaign = campaigns.create(
        name=FIRST_CAMPAIGN, guideline=_guideline(), batches=_first_batches(), overlap=2, repeat_share=0.05,
        members=[person("clinician"), person("lead")], actor=admin,
    )  # fmt: skip
    _mark_gold(campaign, FIRST_GOLD, actor=admin)
    return campaigns.open(campaign=campaign, actor=admin)


@transaction.atomic
def qualification() -> Campaign:
    """Eight of the hand-written pairs with what is expected and why, open to the clinician and the lead."""
    known = Campaign.objects.filter(name=QUALIFICATION).first()
    if known:
        return known
    admin = person("admin")
    campaign = campaigns.create(
        name=QUALIFICATION, guideline=(FOLDER / "qualification.md").read_text(encoding="utf-8"), batches=_first_batches(), overlap=1,
        task_types=QUALIFICATION_TASKS, purpose="qualify", members=[person("clinician"), person("lead")], actor=admin,
    )  # fmt: skip
    _mark_gold(campaign, list(campaign.pairs.values_list("prompt__sample__external_id", flat=True)), actor=admin)
    return campaigns.open(campaign=campaign, actor=admin)


@transaction.atomic
def gated_campaign() -> Campaign:
    """Eight other pairs, for those who have passed the qualification."""
    known = Campaign.objects.filter(name=GATED_CAMPAIGN).first()
    if known:
        return known
    admin = person("admin")
    campaign = campaigns.create(
        name=GATED_CAMPAIGN, guideline=_guideline(), batches=_first_batches(), overlap=1, task_types=GATED_TASKS,
        qualification=qualification(), session_minutes=10, members=[person("clinician"), person("lead")], actor=admin,
    )  # fmt: skip
    return campaigns.open(campaign=campaign, actor=admin)


def _first_batches() -> list[GenerationBatch]:
    """The hand-written texts, imported as any other file would be when they are first asked for."""
    batches = GenerationBatch.objects.filter(decoding__imported_for=FIRST_SOURCE)
    if not batches.exists():
        admin, rows = person("admin"), _first_rows()
        samples.import_jsonl(
            file=_jsonl({"id": name, **row["sample"]} for name, row in rows.items()), source=FIRST_SOURCE, licence=LICENCE, actor=admin
        )
        completions.import_external(
            file=_jsonl({"id": name, **completion} for name, row in rows.items() for completion in row["completions"]),
            filename="first_pairs.jsonl", source=FIRST_SOURCE, actor=admin,
        )  # fmt: skip
    return list(batches)


def _first_rows() -> dict[str, dict[str, Any]]:
    lines = (FOLDER / "first_pairs.jsonl").read_text(encoding="utf-8").split("\n")
    return {f"first-{number:02d}": json.loads(line) for number, line in enumerate(filter(None, lines), start=1)}


def _mark_gold(campaign: Campaign, names: Sequence[str], *, actor: User) -> None:
    """Each pair has one flawed text: the other is right to prefer, by much or slightly."""
    rows, expected = _first_rows(), json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    pairs = campaign.pairs.filter(prompt__sample__external_id__in=names).select_related("prompt__sample", "first__batch")
    for pair in pairs.order_by("position"):
        name = pair.prompt.sample.external_id
        accepts = golds.SECOND if pair.first.batch.system == rows[name]["flawed"] else golds.FIRST
        golds.mark(pair=pair, accepts=accepts, explanation=expected[name], origin="written", actor=actor)


def _guideline() -> str:
    return (FOLDER / "guideline.md").read_text(encoding="utf-8")


def _jsonl(rows: Iterable[dict[str, Any]]) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))


# --- the loop on toy models, step by step --------------------------------------------------------------------------------------------


def toy_samples(*, actor: User | None, seed: int = 1, count: int = TOY_SAMPLES) -> Source:
    """Toy rows that no training of the family has seen, imported as any other file would be."""
    name = TOY_SOURCE if seed == 1 else f"{TOY_SOURCE}, seed {seed}"
    if Sample.objects.filter(source__name=name).count() < count:
        rows = toysamples.samples(count, seed)
        samples.import_jsonl(file=_jsonl(rows), source=name, licence=LICENCE, actor=actor)
    return Source.objects.get(name=name)


def answers(*, version: ModelVersion, prompts: Sequence[Prompt], label: str, seed: int, actor: User | None) -> GenerationBatch:
    """The batch of the generation called `label`, started when there is none."""
    job = Job.objects.filter(kind="generate", label=label).order_by("-id").first()
    if job is not None:
        return GenerationBatch.objects.get(origin=str(job.public_id))
    return generations.start(producer=version, decoding=TOY_DECODING, prompts=prompts, actor=actor, seed=seed, label=label)


def simulated_campaign(*, name: str, batches: Sequence[GenerationBatch], seed: int, actor: User | None) -> Campaign:
    """An open campaign whose only members are simulated raters."""
    known = Campaign.objects.filter(name=name).first()
    if known:
        return known
    campaign = campaigns.create(
        name=name, guideline="Correct first, then a safe closing sentence.", batches=batches, overlap=1, members=raters.ensure(),
        actor=actor, seed=seed, toy=True, simulated=True,
    )  # fmt: skip
    return campaigns.open(campaign=campaign, actor=actor)


def judged(*, campaign: Campaign, seed: int, actor: User | None) -> raters.Rated:
    """Let the simulated raters answer what is left, then close."""
    rated = raters.Rated()
    if campaign.state == CampaignState.OPEN:
        rated = raters.rate(campaign=campaign, raters=raters.ensure(), seed=seed)
        campaigns.close(campaign=campaign, actor=actor)
    return rated


def frozen(*, campaign: Campaign, name: str, actor: User | None) -> Snapshot:
    return campaign.snapshots.first() or snapshots.freeze(campaign=campaign, name=name, actor=actor)


def first_champion(*, version: ModelVersion, actor: User | None) -> None:
    """The family's SFT model carries the name until something better is proven."""
    if aliases.current(AliasName.CHAMPION) is None:
        aliases.move(name=AliasName.CHAMPION, to=version, actor=actor, expected=None, reason="The first model of this house")


# --- the same, as a fresh installation carries it through once --------------------------------------------------------------------------


class Story:
    """Where the demo stands. `advance` takes every step that can be taken now; nothing is kept but rows."""

    def __init__(self) -> None:
        self.actor = person("admin")

    def advance(self) -> list[tuple[str, bool]]:
        """(step, reached) in order; a step is tried when those before it are reached. Raises Stuck."""
        if Evaluation.objects.filter(policy__run__name=TOY_RUN, finished_at__isnull=False).exists():
            # Told to its end once: later families do not begin it anew.
            return [(name, True) for name, _ in self.steps()]
        told: list[tuple[str, bool]] = []
        for name, reach in self.steps():
            reached = all(done for _, done in told) and reach()
            told.append((name, reached))
        return told

    def steps(self) -> list[tuple[str, Callable[[], bool]]]:
        return [
            ("toy samples", self.samples),
            ("the family", self.family),
            ("answers of two draws", self.answers),
            ("expert or merged, a campaign to open", self.expert_campaign),
            ("simulated judgements", self.judgements),
            ("a snapshot", self.snapshot),
            ("a DPO run", self.run),
            ("its evaluation", self.evaluation),
        ]

    def samples(self) -> bool:
        toy_samples(actor=self.actor)
        return True

    def family(self) -> bool:
        progress = families.progress()
        if progress is None:
            families.start(preset="demo", actor=self.actor)
            return False
        if progress.failed:
            raise Stuck(f"{progress.failed} jobs of the family {progress.name} failed or were cancelled.")
        if not progress.finished:
            return False
        first_champion(version=self._member("sft"), actor=self.actor)
        return True

    def _member(self, key: str) -> ModelVersion:
        found = families.version(key)
        if found is None:
            raise Stuck(f"The family has no {key}.")
        return found

    def _prompts(self, counts: dict[str, int], **filters: Any) -> list[Prompt]:
        return generations.choose(counts=counts, source__name=TOY_SOURCE, **filters)

    def _draws(self) -> list[GenerationBatch]:
        prompts = self._prompts(TOY_PROMPTS)
        version = self._member("sft")
        return [
            answers(version=version, prompts=prompts, label=f"Answers of {version.name}, draw {letter}", seed=number, actor=self.actor)
            for number, letter in enumerate("AB", start=1)
        ]

    def _expert_and_merged(self) -> list[GenerationBatch]:
        notes = {"input_data__in": ["Clinical Note", "Emergency Department Note", "Triage Note"]}
        prompts = self._prompts(EXPERT_PROMPTS, **notes)
        return [
            answers(version=version, prompts=prompts, label=f"Answers of {version.name}", seed=3, actor=self.actor)
            for version in (self._member("expert-clinical"), self._member("merged"))
        ]

    def answers(self) -> bool:
        # All four are queued at once: the worker takes them as its slots fall free.
        batches = [*self._draws(), *self._expert_and_merged()]
        return all(_ended(generations.job_of(batch)) for batch in batches)

    def expert_campaign(self) -> bool:
        if not Campaign.objects.filter(name=EXPERT_CAMPAIGN).exists():
            campaigns.create(
                name=EXPERT_CAMPAIGN, guideline=_guideline(), batches=self._expert_and_merged(), overlap=1,
                members=[person("clinician"), person("lead")], actor=self.actor, seed=3, toy=True,
            )  # fmt: skip
        return True

    def _campaign(self) -> Campaign:
        return simulated_campaign(name=TOY_CAMPAIGN, batches=self._draws(), seed=1, actor=self.actor)

    def judgements(self) -> bool:
        judged(campaign=self._campaign(), seed=1, actor=self.actor)
        return True

    def snapshot(self) -> bool:
        frozen(campaign=self._campaign(), name=TOY_SNAPSHOT, actor=self.actor)
        return True

    def run(self) -> bool:
        run = Run.objects.filter(name=TOY_RUN).select_related("job").first()
        if run is None:
            snapshot = frozen(campaign=self._campaign(), name=TOY_SNAPSHOT, actor=self.actor)
            run = runs.start(snapshot=snapshot, policy=self._member("sft"), preset="demo", name=TOY_RUN, actor=self.actor)
        return _ended(run.job)

    def evaluation(self) -> bool:
        run = Run.objects.select_related("output", "policy", "snapshot").get(name=TOY_RUN)
        assert run.output is not None
        assert run.policy is not None
        found = Evaluation.objects.filter(policy=run.output).select_related("job").first()
        if found is None:
            found = evaluations.start(policy=run.output, reference=run.policy, snapshot=run.snapshot, actor=self.actor)
            # Behind the evaluation, and nothing waits for them: the story ends without.
            for version in self._chain(run.output):
                suiteruns.start(version=version, actor=self.actor)
        return _ended(found.job)

    def _chain(self, tuned: ModelVersion) -> list[ModelVersion]:
        """base → experts → merged → SFT → what DPO made of it: the models of the mini-suite's table."""
        return [self._member(key) for key in ("base", *(f"expert-{domain}" for domain in toytext.DOMAINS), "merged", "sft")] + [tuned]


def _ended(job: Job | None) -> bool:
    """Whether the job is done. Raises Stuck when it never will be."""
    if job is None:
        raise Stuck("A job of the demo is gone.")
    if job.state in (State.FAILED, State.CANCELLED):
        raise Stuck(f"“{job.label}” {'failed: ' + job.error_code if job.state == State.FAILED else 'was cancelled'}.")
    return job.state == State.SUCCEEDED
