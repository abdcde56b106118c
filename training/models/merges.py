"""Recipes of merges, what goes into them, and merges on trial."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from jobs.models import Job
from modelhub.models import ModelVersion
from training.models.blinding import answers_unblinded_for
from training.models.runs import Run


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
