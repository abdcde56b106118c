"""What experts read: corpora, their documents, and the task outputs made of each document for pre-instruction tuning."""

import pgtrigger
from django.db import models
from django.db.models.functions import Now

from annotation.models.sources import Split


class Group(models.TextChoices):
    """The five groups of arXiv 2505.10717, table 1, and what fits none of them."""

    PUBMED = "pubmed", "PubMed"
    CLINICAL = "clinical", "Clinical"
    MEDCODE = "medcode", "MedCode"
    GUIDELINE = "guideline", "Guidelines"
    MEDWIKI = "medwiki", "MedWiki"
    OTHER = "other", "Other"


class Corpus(models.Model):
    """Documents of one kind and one licence. `digest` names what it holds now: live documents with their outputs."""

    name = models.CharField(max_length=80, unique=True)
    group = models.CharField(max_length=10, choices=Group.choices)
    licence = models.CharField(max_length=80)
    source = models.CharField(max_length=200, blank=True, help_text="Where it comes from, for people.")
    digest = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "corpora"
        constraints = [models.CheckConstraint(condition=models.Q(group__in=Group.values), name="corpus_group_is_known")]

    def __str__(self) -> str:
        return self.name


class DocumentQuerySet(models.QuerySet["Document"]):
    def live(self) -> "DocumentQuerySet":
        return self.filter(withdrawn_at=None)

    def for_reading(self, corpus: Corpus, split: str) -> "DocumentQuerySet":
        """One split's live documents with their outputs, in an order that is arbitrary and never changes. Two queries."""
        return self.live().filter(corpus=corpus, split=split).order_by("digest").prefetch_related("outputs")


class Document(models.Model):
    """One document. Its split follows from its digest and never changes: what is held out was never read by an expert."""

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="documents")
    external_id = models.CharField(max_length=120, help_text="The corpus's own id, else the digest.")
    title = models.CharField(max_length=300, blank=True)
    text = models.TextField()
    digest = models.CharField(max_length=64, help_text="Of title and text.")
    split = models.CharField(max_length=10, choices=Split.choices)
    withdrawn_at = models.DateTimeField(null=True, help_text="No longer read by anybody; models that have read it stay as they are.")
    created_at = models.DateTimeField(db_default=Now())

    objects = DocumentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["corpus", "digest"], name="document_digest_once_per_corpus"),
            models.UniqueConstraint(fields=["corpus", "external_id"], name="document_id_once_per_corpus"),
        ]
        indexes = [models.Index(fields=["corpus", "split", "digest"], name="document_by_split")]
        triggers = [pgtrigger.ReadOnly(name="document_never_changes", fields=["corpus", "title", "text", "digest", "split"])]

    def __str__(self) -> str:
        return self.external_id


class OutputKind(models.TextChoices):
    """The task outputs of arXiv 2505.10717, 3.1.2."""

    SUMMARY = "summary", "Summary"
    QA = "qa", "Questions and answers"
    ENTITIES = "entities", "Entities"
    RELATIONS = "relations", "Relations"


class DocumentOutput(models.Model):
    """What one task makes of a document. `content` by kind: summary, a text; qa, [[question, answer], …]; entities, [text, …];
    relations, [[subject, relation, object], …]."""

    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="outputs")
    kind = models.CharField(max_length=10, choices=OutputKind.choices)
    content = models.JSONField()
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["document", "kind"], name="one_output_per_document_and_kind")]
        triggers = [pgtrigger.Protect(name="output_never_changes", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.kind} of {self.document_id}"
