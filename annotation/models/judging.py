"""What raters say about a pair: verdicts, reasons, harm, marked spans, edits; and their drafts."""

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from annotation.models.campaigns import Assignment, AssignmentState, Campaign, CampaignState, SlotKind
from annotation.models.sources import Completion


class Verdict(models.TextChoices):
    """Stored by completion, never by side."""

    FIRST_MUCH = "first_much", "First much better"
    FIRST_SLIGHTLY = "first_slightly", "First slightly better"
    BOTH_ACCEPTABLE = "both_acceptable", "Both acceptable"
    SECOND_SLIGHTLY = "second_slightly", "Second slightly better"
    SECOND_MUCH = "second_much", "Second much better"
    BOTH_UNACCEPTABLE = "both_unacceptable", "Both unacceptable"
    CANNOT_JUDGE = "cannot_judge", "Cannot judge"


class CannotJudge(models.TextChoices):
    OUTSIDE_FIELD = "outside_field", "Outside my field"
    DEFECTIVE_INPUT = "defective_input", "The input is defective"
    NEEDS_INFORMATION = "needs_information", "Needs information that is not shown"


class Severity(models.TextChoices):
    """Of a possible harm; "major" and above is never favoured in training and goes to the lead clinician."""

    MINOR = "minor", "Minor"
    MAJOR = "major", "Major"
    LIFE_THREATENING = "life_threatening", "Life-threatening"


MAJOR = (Severity.MAJOR, Severity.LIFE_THREATENING)


class Harm(models.TextChoices):
    FABRICATION = "fabrication", "Made up"
    OMISSION = "omission", "Something vital is missing"
    WRONG_DOSE = "wrong_dose", "Wrong dose, unit or value"
    WRONG_NEGATION = "wrong_negation", "Says the opposite"
    UNSAFE_ADVICE = "unsafe_advice", "Unsafe advice"
    WRONG_PATIENT = "wrong_patient", "Mixed up: person, side, time"
    OTHER = "other", "Something else"


class Hard(models.TextChoices):
    """Why a pair was hard: doubt that a better sample would remove is worth more than one more rater (arXiv 2602.22758)."""

    MISSING_CONTEXT = "missing_context", "Context is missing"
    AMBIGUOUS = "ambiguous", "The instruction is ambiguous"
    OUTSIDE_FIELD = "outside_field", "Outside my field"
    BOTH_PLAUSIBLE = "both_plausible", "Both are plausible"


class JudgementQuerySet(models.QuerySet["Judgement"]):
    """Imported judgements are in none of these reads unless asked for: what our raters said is told of our raters alone."""

    def current(self, *, external: bool = False) -> "JudgementQuerySet":
        """The newest revision of each answer that was not undone; with `external`, the imported ones instead."""
        newer = models.OuterRef("assignment_id")
        newest = Judgement.objects.filter(assignment_id=newer, undone_at__isnull=True).order_by("-revision").values("pk")[:1]
        return self.filter(undone_at__isnull=True, external=external, pk=models.Subquery(newest))

    def speaking(self, *, external: bool = False) -> "JudgementQuerySet":
        """Current answers whose flags count: gold, repeats and late ones too, for harm seen is harm seen; a qualification's never."""
        return self.current(external=external).exclude(assignment__campaign__purpose="qualify")

    def votes(self, *, external: bool = False) -> "JudgementQuerySet":
        """Current answers that hold a slot and count: no surplus, no repeat, no gold, no qualification."""
        return self.current(external=external).filter(
            surplus=False,
            assignment__state=AssignmentState.SUBMITTED,
            assignment__repeat=0,
            assignment__slot__kind__in=[SlotKind.VOTE, SlotKind.REVIEW],
        )

    def undoable(self, campaign: Campaign | models.OuterRef, annotator: User | int) -> "JudgementQuerySet":
        """Answers that hold a slot and were not taken back, the last first."""
        return self.filter(
            assignment__campaign=campaign,
            assignment__annotator=annotator,
            assignment__state=AssignmentState.SUBMITTED,
            undone_at__isnull=True,
            surplus=False,
        ).order_by("-submitted_at", "-pk")

    def undoable_campaigns(self, annotator: User) -> set[int]:
        """Open campaigns in which `annotator` has an answer to take back."""
        mine = self.filter(assignment__annotator=annotator, assignment__state=AssignmentState.SUBMITTED, undone_at__isnull=True)
        return set(mine.filter(assignment__campaign__state=CampaignState.OPEN).values_list("assignment__campaign", flat=True).distinct())


class Judgement(models.Model):
    """One revision of an assignment's answer. Never overwritten: amended by a new revision, undone by a mark."""

    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="judgements")
    revision = models.PositiveSmallIntegerField(default=1)
    idempotency_key = models.UUIDField(unique=True)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    cannot_reason = models.CharField(max_length=20, choices=CannotJudge.choices, blank=True)
    reasons = ArrayField(models.CharField(max_length=40), default=list, help_text="Keys of the rubric's reasons, three at most.")
    axes = models.JSONField(
        default=dict, help_text='{axis: −2…2, positive for the first completion} or {axis: {"first": n, "second": n}}; as the rubric asks'
    )
    harm_first = models.CharField(max_length=20, choices=Severity.choices, blank=True)
    harm_first_type = models.CharField(max_length=20, choices=Harm.choices, blank=True)
    harm_second = models.CharField(max_length=20, choices=Severity.choices, blank=True)
    harm_second_type = models.CharField(max_length=20, choices=Harm.choices, blank=True)
    hard = models.CharField(max_length=20, choices=Hard.choices, blank=True)
    rationale = models.TextField(blank=True)
    active_ms = models.PositiveIntegerField(null=True, help_text="Milliseconds the page was visible and in use.")
    layout = models.CharField(max_length=20, default="compare-2")
    surplus = models.BooleanField(default=False)
    external = models.BooleanField(default=False, db_default=False, help_text="Given elsewhere and imported: as its campaign says.")
    submitted_at = models.DateTimeField(db_default=Now())
    undone_at = models.DateTimeField(null=True)

    objects = JudgementQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "revision"], name="revisions_are_numbered"),
            models.CheckConstraint(condition=models.Q(verdict__in=Verdict.values), name="verdict_is_known"),
            models.CheckConstraint(
                condition=(models.Q(verdict="cannot_judge") & ~models.Q(cannot_reason=""))
                | (~models.Q(verdict="cannot_judge") & models.Q(cannot_reason="")),
                name="cannot_judge_has_a_reason",
            ),
            models.CheckConstraint(condition=models.Q(reasons__len__lte=3), name="three_reasons_at_most"),
            models.CheckConstraint(
                condition=models.Q(harm_first="", harm_first_type="") | (~models.Q(harm_first="") & ~models.Q(harm_first_type="")),
                name="harm_of_the_first_has_a_type",
            ),
            models.CheckConstraint(
                condition=models.Q(harm_second="", harm_second_type="") | (~models.Q(harm_second="") & ~models.Q(harm_second_type="")),
                name="harm_of_the_second_has_a_type",
            ),
        ]
        indexes = [
            models.Index(
                fields=["assignment"],
                condition=models.Q(harm_first__in=["major", "life_threatening"]) | models.Q(harm_second__in=["major", "life_threatening"]),
                name="judgements_with_major_harm",
            )
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(
                name="answers_never_change",
                fields=[
                    "assignment",
                    "revision",
                    "idempotency_key",
                    "verdict",
                    "cannot_reason",
                    "reasons",
                    "axes",
                    "harm_first",
                    "harm_first_type",
                    "harm_second",
                    "harm_second_type",
                    "hard",
                    "submitted_at",
                    "external",
                ],
            ),
            pgtrigger.Trigger(
                name="external_as_its_campaign",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                IF NEW.external IS DISTINCT FROM (
                    SELECT c.external FROM annotation_assignment a JOIN annotation_campaign c ON c.id = a.campaign_id
                    WHERE a.id = NEW.assignment_id
                ) THEN
                    RAISE EXCEPTION 'a judgement is external exactly where its campaign is';
                END IF;
                RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"judgement {self.assignment_id} r{self.revision}"


class ErrorSpan(models.Model):
    """A part of a completion that a rater marked. Offsets are code points of `completion.text`; an omission marks a place."""

    judgement = models.ForeignKey(Judgement, on_delete=models.PROTECT, related_name="spans")
    completion = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    kind = models.CharField(max_length=40, help_text="A key of the rubric's span types.")
    severity = models.CharField(max_length=20, choices=Severity.choices)

    class Meta:
        ordering = ["completion", "start"]
        constraints = [models.CheckConstraint(condition=models.Q(start__lte=models.F("end")), name="span_runs_forward")]
        triggers = [pgtrigger.Protect(name="never_changed", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.kind} {self.start}–{self.end}"


class Edit(models.Model):
    """The better completion as the rater would have it. Only its text may be erased; that it was there stays."""

    judgement = models.OneToOneField(Judgement, on_delete=models.PROTECT, related_name="edit")
    completion = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()
    changed_words = models.PositiveIntegerField(help_text="Words taken out and put in.")

    class Meta:
        triggers = [pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"edit of completion {self.completion_id}"


class Draft(models.Model):
    """An answer under way, as the form holds it (by side), kept on the server so that nothing stays in a browser."""

    assignment = models.OneToOneField(Assignment, on_delete=models.CASCADE, related_name="draft")
    answer = models.JSONField(help_text="The form's fields by name.")
    # Made with the page; drafts that overtake each other on the way are put in order by it.
    number = models.PositiveIntegerField(default=0)
    saved_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"draft of {self.assignment_id}"
