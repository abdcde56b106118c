"""Runs, what they measured and wrote, evaluations and promotions."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from annotation.models import Membership, Snapshot
from jobs.models import Job
from modelhub.models import AliasName, ModelVersion


def answers_unblinded_for(user: User, *models_of: str) -> models.Q:
    """No model in these columns is one of a study under way that `user` rates in: what they answered may stand beside their names."""
    either = models.Q()
    for column in models_of:
        either |= models.Q(champion=models.OuterRef(column)) | models.Q(challenger=models.OuterRef(column))
    return ~models.Q(models.Exists(Study.objects.rated_by(user).filter(either)))


class RunQuerySet(models.QuerySet["Run"]):
    def unblinded_for(self, user: User) -> "RunQuerySet":
        """Runs on a snapshot whose answers `user` may read: not while they judge in its campaign, or in a study of a model in it."""
        readable = self.filter(snapshot__in=Snapshot.objects.unblinded_for(user))
        return readable.filter(answers_unblinded_for(user, "policy", "reference", "output", "replays__output"))

    def for_list(self) -> "RunQuerySet":
        """Without replays, which stand on the page of the run that they do again."""
        return self.filter(replays=None).select_related("job", "policy", "snapshot", "output")

    def for_page(self) -> "RunQuerySet":
        found = self.select_related("job__requested_by", "policy", "reference", "snapshot__campaign", "output", "half_of__output", "recipe")
        found = found.select_related("replays__output__artifact")
        return found.select_related("half_of__job", "half__job", "half__output", "cloned_from").prefetch_related("job__history")


class Run(models.Model):
    """A training run: the recipe a job carries out, and what came of it."""

    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="run")
    name = models.CharField(max_length=80, unique=True, help_text="The name its model version will have.")
    preset = models.CharField(max_length=30, blank=True)
    params = models.JSONField(default=dict)
    seed = models.BigIntegerField(default=0)
    policy = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="runs_from")
    reference = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    snapshot = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    output = models.OneToOneField(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="run")
    half_of = models.OneToOneField(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="half",
        help_text="The run of whose prompts this one sees half.",
    )
    cloned_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="clones")
    replays = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="replayed_by",
        help_text="The run that this one does once more, by the same spec and seed, to see whether the same comes of it.",
    )
    recipe = models.ForeignKey(
        "MergeRecipe",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="runs",
        help_text="Of a merge: what is merged, and how.",
    )
    estimate = models.JSONField(
        default=dict, help_text='What was promised at the launch: {"seconds", "low", "high", "basis"}; empty when nothing was.'
    )
    pace = models.JSONField(
        default=dict,
        help_text='Steps of the newest attempt as they came: {"marks": [[seconds since 1970, steps done], …], "total": steps}.',
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def held_out_accuracy(self) -> float | None:
        """Share of the validation split's pairs that its model orders as the raters did; None before there is one."""
        return self.output.metrics.get("validation_accuracy") if self.output else None


class MergeRecipeQuerySet(models.QuerySet["MergeRecipe"]):
    def for_list(self) -> "MergeRecipeQuerySet":
        """With what it merges, who wrote it, and what came of it."""
        found = self.select_related("base", "created_by").prefetch_related("inputs__version", "runs__job", "runs__output")
        return found.order_by("-id")


class MergeRecipe(models.Model):
    """What is merged and how: the same models with the same parameters are one recipe. Never changed: a change is another recipe.

    `params` are the engine's (training/engine/recipes.py) with every number spelled out, models by their versions' names; `digest` is of
    them and the models' artifacts.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    digest = models.CharField(max_length=64, unique=True)
    method = models.CharField(max_length=40)
    base = models.ForeignKey(
        ModelVersion, null=True, on_delete=models.PROTECT, related_name="recipes_from", help_text="None for a method that knows no base."
    )
    params = models.JSONField()
    seed = models.BigIntegerField(default=0, help_text="Of the methods that draw at random.")
    cloned_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="clones")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    objects = MergeRecipeQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        triggers = [pgtrigger.Protect(name="immutable", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.method} {self.digest[:8]}"


class MergeInput(models.Model):
    """One model that a recipe merges, in its place among them."""

    recipe = models.ForeignKey(MergeRecipe, on_delete=models.CASCADE, related_name="inputs")
    position = models.PositiveSmallIntegerField()
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="recipes_with")

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["recipe", "position"], name="merge_inputs_are_numbered"),
            models.UniqueConstraint(fields=["recipe", "version"], name="merge_inputs_are_given_once"),
        ]
        triggers = [pgtrigger.Protect(name="immutable", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"input {self.position} of recipe {self.recipe_id}"


class MergePreviewQuerySet(models.QuerySet["MergePreview"]):
    def unblinded_for(self, user: User) -> "MergePreviewQuerySet":
        """Previews whose answers `user` may read: not where one is by a model of a study in which they rate."""
        blinded = Run.objects.filter(recipe__isnull=False).exclude(answers_unblinded_for(user, "output"))
        return self.filter(answers_unblinded_for(user, "beside", "recipe__base")).exclude(recipe__in=blinded.values("recipe"))


class MergePreview(models.Model):
    """A recipe tried on a few prompts beside its base and one expert. No model comes of it; what was answered is `answers`."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="merge_preview")
    recipe = models.ForeignKey(MergeRecipe, on_delete=models.PROTECT, related_name="previews")
    beside = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+", help_text="The expert it is shown beside.")
    created_at = models.DateTimeField(db_default=Now())

    objects = MergePreviewQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"preview of {self.recipe}"


class MergePreviewAnswer(models.Model):
    """One prompt, never of the evaluation split, as base, expert and merge answer it, greedily."""

    preview = models.ForeignKey(MergePreview, on_delete=models.CASCADE, related_name="answers")
    position = models.PositiveSmallIntegerField()
    prompt = models.ForeignKey("annotation.Prompt", on_delete=models.PROTECT, related_name="+")
    base = models.TextField()
    expert = models.TextField()
    merged = models.TextField()

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["preview", "position"], name="merge_preview_answers_are_numbered")]

    def __str__(self) -> str:
        return f"answer {self.position} of preview {self.preview_id}"


class MetricPoint(models.Model):
    """One point of a live curve. Unique per run, step and name: ingest may repeat."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="points")
    step = models.PositiveIntegerField()
    name = models.CharField(max_length=60)
    value = models.FloatField(help_text="NaN is kept as it is: it is what a watchdog looks for.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "step", "name"], name="one_point_per_run_step_and_name")]

    def __str__(self) -> str:
        return f"{self.name}@{self.step}"


class RunSample(models.Model):
    """What the model under training answered to one of the run's fixed prompts, greedily, at a step where a checkpoint was kept."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="samples")
    step = models.PositiveIntegerField()
    index = models.PositiveSmallIntegerField(help_text="Which of the fixed prompts, from 0.")
    prompt = models.ForeignKey("annotation.Prompt", on_delete=models.PROTECT, related_name="+")
    text = models.TextField()

    class Meta:
        ordering = ["step", "index"]
        constraints = [models.UniqueConstraint(fields=["run", "step", "index"], name="one_sample_per_run_step_and_prompt")]

    def __str__(self) -> str:
        return f"sample {self.index}@{self.step} of run {self.run_id}"


class EvaluationQuerySet(models.QuerySet["Evaluation"]):
    def unblinded_for(self, user: User) -> "EvaluationQuerySet":
        """Evaluations `user` may see, with who wrote what: not while they judge in their campaign, or in a study of either model."""
        open_to = models.Q(snapshot=None) | models.Q(snapshot__in=Snapshot.objects.unblinded_for(user))
        return self.filter(open_to, answers_unblinded_for(user, "policy", "reference"))

    def of_candidates(self) -> "EvaluationQuerySet":
        """Those a promotion may stand on: of a snapshot's held-out part, and not of a control trained on shuffled labels."""
        controls = Run.objects.filter(job__spec__inputs__has_key="shuffle", output__isnull=False)
        return (
            self.filter(snapshot__isnull=False).exclude(policy__in=controls.values("output")).select_related("policy", "reference", "job")
        )


class Evaluation(models.Model):
    """Policy against reference on held-out prompts: preference accuracy, recall, before/after texts."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="evaluation")
    policy = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluations")
    reference = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluations_as_reference")
    snapshot = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.PROTECT, related_name="evaluations")
    simulated = models.BooleanField(default=False, help_text="Its held-out labels come from a program, not from clinicians.")
    results = models.JSONField(default=dict, help_text="Empty until the job is done.")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects = EvaluationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.policy} vs {self.reference}"

    @property
    def planted(self) -> bool:
        """Whether its held-out labels come from a planted truth, which is no rater's."""
        return self.snapshot is not None and self.snapshot.planted


class EvaluationItem(models.Model):
    """One held-out prompt before and after."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="items")
    position = models.PositiveIntegerField()
    prompt = models.ForeignKey("annotation.Prompt", on_delete=models.PROTECT, related_name="+")
    before = models.TextField()
    after = models.TextField()

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["evaluation", "position"], name="evaluation_items_are_numbered")]

    def __str__(self) -> str:
        return f"item {self.position} of evaluation {self.evaluation_id}"


class EvaluationPair(models.Model):
    """What came of one held-out pair: the figure of an evaluation can be computed again from these, without a text."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="pairs")
    position = models.PositiveIntegerField(help_text="In the order in which they were asked, from 1.")
    pair = models.ForeignKey("annotation.Pair", on_delete=models.PROTECT, related_name="+")
    margin = models.FloatField(help_text="Implicit reward of the chosen text over the rejected one.")
    correct = models.FloatField(help_text="1 where the margin is with the label, 0 where it is against, one half where it is too small.")

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["evaluation", "position"], name="evaluation_pairs_are_numbered"),
            models.UniqueConstraint(fields=["evaluation", "pair"], name="evaluation_pairs_are_asked_once"),
            models.CheckConstraint(condition=models.Q(correct__in=[0.0, 0.5, 1.0]), name="a_pair_is_right_wrong_or_undecided"),
        ]

    def __str__(self) -> str:
        return f"pair {self.position} of evaluation {self.evaluation_id}"


class Suite(models.TextChoices):
    MINI = "mini", "Mini-suite"
    CLUE = "clue", "CLUE+"


class SuiteRunQuerySet(models.QuerySet["SuiteRun"]):
    def for_list(self) -> "SuiteRunQuerySet":
        return self.select_related("job__requested_by", "version").order_by("-id")

    def standing(self, *, suite: str, digest: str) -> "SuiteRunQuerySet":
        """Finished ones of a suite by these settings, the newest first."""
        found = self.filter(suite=suite, settings_digest=digest, finished_at__isnull=False)
        return found.select_related("job", "version").order_by("-finished_at", "-id")


class SuiteRun(models.Model):
    """One suite asked of one model. The same model under the same settings has one result that stands (`settings_digest`)."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="suite_run")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="suite_runs")
    suite = models.CharField(max_length=10, choices=Suite.choices)
    settings_digest = models.CharField(
        max_length=64, help_text="Of what was asked and how: two results are compared only when theirs agree."
    )
    results = models.JSONField(default=dict, help_text="A SuiteResult (training/suite/results.py); empty until the job is done.")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects = SuiteRunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["version", "suite", "settings_digest"], name="suite_runs_of_a_model")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(finished_at__isnull=True, results={}) | models.Q(finished_at__isnull=False) & ~models.Q(results={}),
                name="a_suite_run_that_ended_has_results",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_suite_display()} of {self.version}"


class StudyState(models.TextChoices):
    GENERATING = "generating", "Both models are answering"
    RUNNING = "running", "Being judged"
    DECIDED = "decided", "Ended"
    FAILED = "failed", "Came to nothing"
    STOPPED = "stopped", "Stopped"

    @classmethod
    def under_way(cls) -> tuple[str, str]:
        """Its raters must not learn yet which model is which."""
        return cls.GENERATING, cls.RUNNING


class StudyQuerySet(models.QuerySet["Study"]):
    def for_list(self) -> "StudyQuerySet":
        return self.select_related("champion", "challenger", "campaign", "evaluation", "started_by")

    def of_version(self, version: ModelVersion) -> "StudyQuerySet":
        """Those in which `version` is the champion or the challenger."""
        return self.filter(models.Q(champion=version) | models.Q(challenger=version))

    def under_way(self) -> "StudyQuerySet":
        return self.filter(state__in=StudyState.under_way())

    def rated_by(self, user: User) -> "StudyQuerySet":
        """Those under way in which `user` rates, or will: what is known of them, and what else their two models answered, stays hidden from
        them, whatever their roles."""
        asked = Study.raters.through.objects.filter(user=user).values("study")
        member = Membership.objects.filter(user=user).values("campaign")
        return self.under_way().filter(models.Q(pk__in=asked) | models.Q(campaign__in=member))

    def unblinded_for(self, user: User) -> "StudyQuerySet":
        """Those whose models and figures `user` may see: none of a model that is in one under way in which they rate. An earlier study of
        the two tells how their answers differ."""
        return self.filter(answers_unblinded_for(user, "champion", "challenger"))


class Study(models.Model):
    """Champion against challenger, judged blinded by clinicians: one campaign, one question, its protocol locked before a vote."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    evaluation = models.ForeignKey(Evaluation, on_delete=models.PROTECT, related_name="studies")
    champion = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    challenger = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="studies")
    champion_texts = models.OneToOneField("annotation.GenerationBatch", on_delete=models.PROTECT, related_name="+")
    challenger_texts = models.OneToOneField("annotation.GenerationBatch", on_delete=models.PROTECT, related_name="+")
    campaign = models.OneToOneField("annotation.Campaign", null=True, on_delete=models.PROTECT, related_name="study")
    raters = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    seed = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=StudyState.choices, default=StudyState.GENERATING)
    protocol = models.JSONField(default=dict, help_text="What was decided before the first vote: both models, the prompts, the test.")
    protocol_digest = models.CharField(max_length=64, blank=True)
    verdict = models.CharField(max_length=12, blank=True, help_text="As training/evidence/verdict.py says it, or empty while open.")
    counted = models.PositiveIntegerField(null=True, help_text="How many votes the verdict stands on; later ones are kept beside it.")
    why_failed = models.CharField(max_length=300, blank=True, help_text="Of one that was stopped: the words of who stopped it.")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    stopped_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True)

    objects = StudyQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "studies"
        constraints = [
            models.UniqueConstraint(
                fields=["evaluation"], condition=models.Q(state__in=["generating", "running"]), name="one_study_at_a_time_per_evaluation"
            ),
            models.CheckConstraint(condition=~models.Q(champion=models.F("challenger")), name="a_study_compares_two_models"),
            models.CheckConstraint(
                condition=~models.Q(state__in=["running", "decided"]) | (models.Q(campaign__isnull=False) & ~models.Q(protocol_digest="")),
                name="a_study_is_judged_under_its_protocol",
            ),
            models.CheckConstraint(
                condition=models.Q(state="decided", counted__isnull=False, decided_at__isnull=False) & ~models.Q(verdict="")
                | ~models.Q(state="decided") & models.Q(verdict="", counted__isnull=True, decided_at__isnull=True),
                name="a_study_that_ended_has_a_verdict",
            ),
            models.CheckConstraint(
                condition=models.Q(state="stopped", stopped_by__isnull=False) & ~models.Q(why_failed="")
                | ~models.Q(state="stopped") & models.Q(stopped_by__isnull=True),
                name="a_study_is_stopped_by_somebody_and_for_a_reason",
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.Trigger(
                name="protocol_is_locked",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange(
                    "evaluation", "champion", "challenger", "champion_texts", "challenger_texts", "campaign", "seed", "protocol",
                    "protocol_digest",
                ),
                func="IF OLD.protocol_digest <> '' THEN RAISE EXCEPTION 'a study keeps its protocol'; END IF; RETURN NEW;",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"study {self.pk}: {self.challenger} against {self.champion}"


class StudyGuess(models.Model):
    """Which text of a pair they judged a rater took for the new model's, asked after the study: whether its blinding held."""

    assignment = models.OneToOneField("annotation.Assignment", on_delete=models.PROTECT, related_name="+")
    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="guesses")
    guess = models.CharField(
        max_length=7, choices=[("first", "First"), ("second", "Second"), ("no_idea", "No idea")], help_text="By completion, never by side."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "study guesses"
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"guess of {self.assignment_id} in study {self.study_id}"


class Promotion(models.Model):
    """A decision about an alias, with the evidence it stood on. Append-only."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    decision = models.CharField(max_length=12, choices=[("promoted", "Promoted"), ("refused", "Refused"), ("rolled_back", "Rolled back")])
    alias = models.CharField(max_length=20, choices=AliasName.choices)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    replaced = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    evaluation = models.ForeignKey(Evaluation, null=True, blank=True, on_delete=models.PROTECT, related_name="promotions")
    study = models.ForeignKey(Study, null=True, blank=True, on_delete=models.PROTECT, related_name="promotions")
    gates = models.JSONField(default=list, help_text='[{"code", "name", "passed", "value", "needed"}]')
    simulated = models.BooleanField(default=False)
    reason = models.CharField(max_length=500)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.decision} {self.version}"

    @property
    def overrides(self) -> list[tuple[str, str]]:
        """(the gates that somebody decided against, their words), each wording once."""
        against: dict[str, list[str]] = {}
        for gate in self.gates:
            if gate.get("override"):
                against.setdefault(gate["override"], []).append(gate["name"])
        return [(", ".join(names), words) for words, names in against.items()]


class LoopPolicy(models.Model):
    """When a campaign's judgements become a snapshot, a run, an evaluation and a proposal, by themselves. It never promotes."""

    campaign = models.OneToOneField("annotation.Campaign", on_delete=models.PROTECT, related_name="loop_policy")
    active = models.BooleanField(default=True)
    pairs_needed = models.PositiveIntegerField(help_text="Usable pairs that no earlier round has trained on, before a round begins.")
    params = models.JSONField(help_text='{"policy": {"alias"} or {"version": public id}, "preset", "seed"}: how a round trains.')
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    switched_on_at = models.DateTimeField(db_default=Now(), help_text="What failed before then is tried again.")
    why_stopped = models.CharField(max_length=300, blank=True, help_text="Why it switched itself off.")

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "loop policies"
        constraints = [
            models.CheckConstraint(condition=models.Q(pairs_needed__gt=0), name="a_round_needs_pairs"),
            models.CheckConstraint(condition=models.Q(active=False) | models.Q(why_stopped=""), name="a_policy_that_runs_was_not_stopped"),
        ]

    def __str__(self) -> str:
        return f"loop of {self.campaign}"


class RoundState(models.TextChoices):
    WORKING = "working", "Under way"
    PROPOSED = "proposed", "Waits for a decision"
    DECIDED = "decided", "Decided"
    DISMISSED = "dismissed", "Dismissed"
    FAILED = "failed", "Came to nothing"


class LoopRoundQuerySet(models.QuerySet["LoopRound"]):
    def for_list(self) -> "LoopRoundQuerySet":
        """With the campaign, the model proposed and what it was compared with."""
        return self.select_related("loop__campaign", "run__output", "evaluation__reference", "decided_by").order_by("-id")

    def for_page(self) -> "LoopRoundQuerySet":
        return self.select_related(
            "loop__campaign", "snapshot", "run__job", "run__policy", "run__output", "evaluation__job", "evaluation__policy",
            "evaluation__policy__run__snapshot", "evaluation__reference", "evaluation__snapshot", "anchor__job", "anchor__reference",
            "decided_by",
        )  # fmt: skip

    def waiting(self) -> "LoopRoundQuerySet":
        """Proposals that nobody has decided."""
        return self.filter(state=RoundState.PROPOSED, evaluation__promotions=None)


class LoopRound(models.Model):
    """One turn of a campaign's loop. Which of its parts are there says how far it is; at its end it is a proposal that people decide."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    loop = models.ForeignKey(LoopPolicy, on_delete=models.PROTECT, related_name="rounds")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=RoundState.choices, default=RoundState.WORKING)
    snapshot = models.ForeignKey(
        Snapshot, null=True, on_delete=models.PROTECT, related_name="loop_rounds",
        help_text="Of the same content as an earlier round's, where that came to nothing.",
    )  # fmt: skip
    run = models.OneToOneField(Run, null=True, on_delete=models.PROTECT, related_name="loop_round")
    evaluation = models.OneToOneField(Evaluation, null=True, on_delete=models.PROTECT, related_name="loop_round")
    anchor = models.ForeignKey(
        Evaluation, null=True, on_delete=models.PROTECT, related_name="+",
        help_text="Against the model of round 0; the same as the evaluation while that model is still champion.",
    )  # fmt: skip
    suite_runs = models.ManyToManyField(SuiteRun, related_name="+")
    lineage_digest = models.CharField(max_length=64, blank=True, help_text="Of everything the proposed model came of and how.")
    gates = models.JSONField(default=list, help_text="As they stood when it was proposed, each as a decision keeps it.")
    gates_digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of their canonical JSON.")
    why_ended = models.CharField(max_length=300, blank=True, help_text="Why it came to nothing, or was dismissed.")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    proposed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects = LoopRoundQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["loop", "number"], name="rounds_of_a_loop_are_numbered"),
            models.UniqueConstraint(fields=["loop"], condition=models.Q(state="working"), name="one_round_of_a_loop_at_a_time"),
            models.CheckConstraint(
                condition=~models.Q(state__in=["proposed", "decided", "dismissed"])
                | models.Q(evaluation__isnull=False, anchor__isnull=False, proposed_at__isnull=False)
                & ~models.Q(lineage_digest="")
                & ~models.Q(gates_digest=""),
                name="a_proposal_has_its_evaluations_and_digests",
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="proposal_is_kept",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange("evaluation", "anchor", "lineage_digest", "gates", "gates_digest", "proposed_at"),
                func="IF OLD.lineage_digest <> '' THEN RAISE EXCEPTION 'a proposal keeps what it was proposed on'; END IF; RETURN NEW;",
            )
        ]

    def __str__(self) -> str:
        return f"round {self.number} of {self.loop}"


from training.synthesis.models import GoldScore, SynthesisAnswer, SynthesisItem, SynthesisPair, SynthesisRun, SynthesisStep  # noqa: E402, F401 - they name the models above by their app
