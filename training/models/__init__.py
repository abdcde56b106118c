"""Run → Evaluation → Study → Promotion; beside them recipes of merges, suites, and the loops that do it all unasked."""

from training.models.blinding import answers_unblinded_for
from training.models.evaluations import Evaluation, EvaluationItem, EvaluationPair, EvaluationQuerySet
from training.models.loops import LoopPolicy, LoopRound, LoopRoundQuerySet, RoundState
from training.models.merges import MergeInput, MergePreview, MergePreviewAnswer, MergePreviewQuerySet, MergeRecipe, MergeRecipeQuerySet
from training.models.runs import MetricPoint, Run, RunQuerySet, RunSample
from training.models.studies import Promotion, Study, StudyGuess, StudyQuerySet, StudyState
from training.models.suites import Suite, SuiteRun, SuiteRunQuerySet
from training.synthesis import models as synthesis  # noqa: F401 - Django looks for an app's models here

__all__ = [
    "Evaluation",
    "EvaluationItem",
    "EvaluationPair",
    "EvaluationQuerySet",
    "LoopPolicy",
    "LoopRound",
    "LoopRoundQuerySet",
    "MergeInput",
    "MergePreview",
    "MergePreviewAnswer",
    "MergePreviewQuerySet",
    "MergeRecipe",
    "MergeRecipeQuerySet",
    "MetricPoint",
    "Promotion",
    "RoundState",
    "Run",
    "RunQuerySet",
    "RunSample",
    "Study",
    "StudyGuess",
    "StudyQuerySet",
    "StudyState",
    "Suite",
    "SuiteRun",
    "SuiteRunQuerySet",
    "answers_unblinded_for",
]
