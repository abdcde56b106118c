"""What models exist, what they are made of, and which one is champion."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Coalesce, Now


class Artifact(models.Model):
    """A content-addressed set of files: weights in safetensors, configuration as allow-listed text, nothing else.

    `manifest` is a list of {"name", "size", "sha256"} sorted by name; `digest` is the SHA-256 of its canonical JSON.
    """

    digest = models.CharField(max_length=64, unique=True)
    manifest = models.JSONField()
    bytes = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        triggers = [pgtrigger.Protect(name="immutable", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return self.digest[:12]


class Kind(models.TextChoices):
    BASE = "base", "Base"
    EXPERT = "expert", "Expert"
    MERGED = "merged", "Merged"
    SFT = "sft", "SFT"
    DPO = "dpo", "DPO"
    # A LoRA adapter: no model by itself, its parent in the role "base" is what it is put on.
    ADAPTER = "adapter", "Adapter"


def _count(relation: str) -> Coalesce:
    """How many rows of a reverse relation there are, as a subquery: joins would multiply each other."""
    field = ModelVersion._meta.get_field(relation).remote_field
    assert field is not None, relation
    rows = field.model._base_manager.filter(**{field.name: models.OuterRef("pk")}).order_by().values(field.name)
    return Coalesce(models.Subquery(rows.annotate(n=models.Count("pk")).values("n")), 0)


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def usable(self) -> "ModelVersionQuerySet":
        """What can be chosen to train from, generate with or merge: whole models that are not archived."""
        return self.filter(archived_at=None).exclude(kind=Kind.ADAPTER)

    def mergeable(self) -> "ModelVersionQuerySet":
        """What can go into a merge beside its base: whole models, and adapters, which stand for the base with them on."""
        return self.filter(archived_at=None)

    def made_alike(self, other: "ModelVersion") -> "ModelVersionQuerySet":
        """Of the architecture, size and tokenizer of `other`, itself left out."""
        alike = self.filter(architecture=other.architecture, tokenizer_digest=other.tokenizer_digest, parameters=other.parameters)
        return alike.exclude(pk=other.pk)

    def with_uses(self) -> "ModelVersionQuerySet":
        """With how often others rest on it: `children`, `runs`, `judged` (evaluations) and `batches`, counted in the same query."""
        return self.annotate(
            children=_count("child_edges"), runs=_count("runs_from"), judged=_count("evaluations"), batches=_count("generation_batches")
        )

    def for_list(self) -> "ModelVersionQuerySet":
        """With files, aliases and who made it."""
        return self.select_related("artifact", "created_by").prefetch_related("aliases").order_by("-id")


class ModelVersion(models.Model):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=80, unique=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="versions")
    adapter = models.ForeignKey(
        Artifact, null=True, blank=True, on_delete=models.PROTECT, related_name="adapter_of",
        help_text="The LoRA adapter that was merged into its weights, kept beside them.",
    )  # fmt: skip
    # The public id of the job that made it: at most one version a job, whatever happens to workers.
    # No foreign key: a version outlives its job.
    origin = models.CharField(max_length=64, null=True, blank=True, unique=True)
    architecture = models.CharField(max_length=60, blank=True)
    parameters = models.BigIntegerField(default=0)
    tokenizer_digest = models.CharField(max_length=64, blank=True)
    chat_template_digest = models.CharField(max_length=64, blank=True)
    licence = models.CharField(max_length=60, blank=True)
    toy = models.BooleanField(default=False, help_text="Trained on generated text on this machine: shows how it works, knows nothing.")
    simulated = models.BooleanField(default=False, help_text="Trained on simulated raters' judgements.")
    metrics = models.JSONField(default=dict)
    notes = models.TextField(blank=True)
    source_name = models.CharField(max_length=120, blank=True, help_text="What it was called where it came from.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="model_versions")
    created_at = models.DateTimeField(db_default=Now())
    archived_at = models.DateTimeField(null=True, blank=True, help_text="Since when it is offered nowhere. Nothing of it is deleted.")

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.CheckConstraint(condition=models.Q(kind__in=Kind.values), name="model_kind_is_known")]

    def __str__(self) -> str:
        return self.name


class LineageEdge(models.Model):
    """Child version → parent version, or → something opaque with a kind and a digest (a snapshot, a corpus)."""

    child = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="parent_edges")
    parent = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="child_edges")
    source_kind = models.CharField(max_length=20, blank=True)
    source_digest = models.CharField(max_length=64, blank=True)
    source_label = models.CharField(max_length=120, blank=True)
    role = models.CharField(max_length=40, help_text="base, expert:<domain>, policy, reference, preferences, corpus")

    class Meta:
        constraints = [
            # A parent is older than its child: no cycle can be written.
            models.CheckConstraint(
                condition=models.Q(parent__isnull=True) | models.Q(parent__lt=models.F("child")), name="parents_are_older"
            ),
            models.CheckConstraint(
                condition=models.Q(parent__isnull=False, source_kind="", source_digest="")
                | (models.Q(parent__isnull=True) & ~models.Q(source_kind="") & ~models.Q(source_digest="")),
                name="an_edge_names_a_version_or_a_digest",
            ),
            models.UniqueConstraint(
                fields=["child", "parent", "role", "source_kind", "source_digest"], name="edges_are_unique", nulls_distinct=False
            ),
        ]
        triggers = [pgtrigger.Protect(name="immutable", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.child_id} ← {self.role}"


class CardRevision(models.Model):
    """What people wrote on a version's card, as a whole, each time they changed it. What is generated is not in here."""

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="card_revisions")
    number = models.PositiveIntegerField()
    prose = models.JSONField(help_text="{part: Markdown}, of the parts in modelhub.cards.PARTS; one that nobody wrote is not there.")
    hub_id = models.CharField(max_length=96, blank=True, help_text="Its name on the Hugging Face Hub, if it is published there.")
    datasets = models.JSONField(default=list, help_text="Public data sets it was trained on, by their names on the Hub.")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["version", "number"], name="card_revisions_are_numbered")]
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"card {self.number} of version {self.version_id}"


class AliasName(models.TextChoices):
    CHAMPION = "champion", "Champion"
    CHALLENGER = "challenger", "Challenger"
    SERVING = "serving", "Serving"


class Alias(models.Model):
    """A name that moves. `moves` counts its moves, so that a move can be a compare-and-set."""

    name = models.CharField(max_length=20, choices=AliasName.choices, unique=True)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="aliases")
    moves = models.PositiveIntegerField(default=1)

    class Meta:
        verbose_name_plural = "aliases"

    def __str__(self) -> str:
        return self.name


class AliasMove(models.Model):
    """Where an alias has pointed, in order. Append-only: rolling back is one more move."""

    alias = models.ForeignKey(Alias, on_delete=models.PROTECT, related_name="history")
    number = models.PositiveIntegerField()
    from_version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    rolled_back = models.BooleanField(default=False, help_text="Undoes the last move that was not undone yet.")
    reason = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["alias", "number"], name="alias_moves_are_numbered")]
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.alias_id} → {self.to_version_id}"
