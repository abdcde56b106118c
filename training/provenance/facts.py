"""What is said of one node: its name, digest, time, who did it, and where its own page is. No clinical text, and no rater's name."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Count, F, Model
from django.urls import reverse

from accounts.models import AuditEntry
from annotation.models import (
    Adjudication,
    Completion,
    Corpus,
    GenerationBatch,
    Judgement,
    Pair,
    Prompt,
    Sample,
    Snapshot,
    SnapshotRow,
    Source,
)
from modelhub.models import AliasMove, ModelVersion
from training.models import Evaluation, MergeRecipe, Promotion, Run
from training.provenance.kinds import KINDS, of_part, part_id
from training.provenance.walk import Blinds, Direction, Node


@dataclass(frozen=True)
class Facts:
    """`key` stands for it in an address; `more` are further (term, value); `page` is its own page, which not every reader may open.

    `readers`: who may open that page: "" nobody (there is none), "trainers", or "stewards" too.
    """

    kind: str
    pk: int
    key: str
    label: str
    note: str = ""
    digest: str = ""
    at: datetime | None = None
    actor: str = ""
    more: tuple[tuple[str, Any], ...] = ()
    page: str = ""
    readers: str = ""
    marks: tuple[str, ...] = field(default=())

    @property
    def kind_name(self) -> str:
        return KINDS[self.kind].one

    @property
    def known(self) -> dict[str, Any]:
        """`more` by its terms as names: "Its id there" as external_id, else lower case."""
        return {"external_id" if term == "Its id there" else term.lower().replace(" ", "_"): value for term, value in self.more}

    @property
    def address(self) -> str:
        return reverse("training:lineage", args=[self.kind, self.key])


def of(nodes: Iterable[Node]) -> dict[Node, Facts]:
    """What is known of each; one query a kind. What is not there any more is left out."""
    wanted: dict[str, set[int]] = {}
    for kind, pk in nodes:
        wanted.setdefault(kind, set()).add(pk)
    return {(kind, each.pk): each for kind in sorted(wanted) for each in _LOADERS[kind](wanted[kind])}


def find(kind: str, key: str) -> int | None:
    """The primary key behind an address's key; None when there is no such thing."""
    if kind not in KINDS:
        return None
    if kind == "part":
        return _find_part(key)
    model, column = _MODELS[kind], KINDS[kind].key
    try:
        found = model._default_manager.filter(**{column: key})
        if kind == "file":
            found = found.filter(verb__in=IMPORTS)
        elif kind == "adapter":
            found = found.exclude(adapter=None)
        return found.values_list("pk", flat=True).first()
    except (ValueError, OverflowError, ValidationError):
        return None


# Of data one asks what it reached, and of a recipe; of everything else what fed it.
_FORWARD = {"file", "source", "corpus", "sample", "prompt", "recipe"}


def usual_direction(kind: str) -> Direction:
    return "down" if kind in _FORWARD else "up"


def hidden(kind: str, pk: int, blinds: Blinds) -> bool:
    """Whether a thing belongs to a campaign, or is an answer of a model, that its reader is blinded to."""
    if kind == "completion" and Completion.objects.filter(pk=pk, batch__version__in=blinds.models).exists():
        return True
    return not _campaigns_of(kind, pk).isdisjoint(blinds.campaigns)


def _campaigns_of(kind: str, pk: int) -> set[int]:
    if kind == "part":
        kind, pk = "snapshot", of_part(pk)[0]
    path = {
        "pair": "campaign", "judgement": "assignment__campaign", "ruling": "dispute__campaign", "snapshot": "campaign",
        "evaluation": "snapshot__campaign",
    }.get(kind)  # fmt: skip
    if kind == "completion":
        both = Pair.objects.filter(first=pk) | Pair.objects.filter(second=pk)
        return set(both.values_list("campaign", flat=True))
    if path is None:
        return set()
    return set(_MODELS[kind]._default_manager.filter(pk=pk).values_list(path, flat=True)) - {None}


def _find_part(key: str) -> int | None:
    public_id, _, split = key.rpartition("-")
    snapshot = find("snapshot", public_id)
    if snapshot is None or not SnapshotRow.objects.filter(snapshot=snapshot, split=split).exists():
        return None
    return part_id(snapshot, split)


IMPORTS = ("samples.imported", "completions.imported", "documents.imported")
_IMPORTED = {"samples.imported": "samples", "completions.imported": "texts of other systems", "documents.imported": "documents"}


def _files(pks: Collection[int]) -> Iterable[Facts]:
    entries = list(AuditEntry.objects.filter(pk__in=pks))
    names = {
        kind: dict(model._default_manager.filter(pk__in=[e.object_id for e in entries if e.object_type == kind]).values_list("pk", "name"))
        for kind, model in (("annotation.source", Source), ("annotation.corpus", Corpus))
    }
    for entry in entries:
        digest = str(entry.details.get("file", ""))
        into = names.get(entry.object_type, {}).get(int(entry.object_id), "")
        yield Facts(
            "file", entry.pk, str(entry.pk), f"file {digest[:8]}", _IMPORTED.get(entry.verb, ""), digest, entry.at, entry.actor_name,
            (("Into", into), ("Rows", entry.details.get("rows")), ("Stored", entry.details.get("stored"))),
        )  # fmt: skip


def _sources(pks: Collection[int]) -> Iterable[Facts]:
    for found in Source.objects.filter(pk__in=pks):
        kind = "synthetic" if found.synthetic else "not synthetic"
        page = f"{reverse('annotation:samples')}?source={found.pk}"
        more = (("Licence", found.licence), ("Text", kind))
        yield Facts("source", found.pk, str(found.pk), found.name, "source", at=found.created_at, more=more, page=page, readers="trainers")


def _corpora(pks: Collection[int]) -> Iterable[Facts]:
    for found in Corpus.objects.filter(pk__in=pks):
        more = (("Group", found.get_group_display()), ("Licence", found.licence))
        yield Facts("corpus", found.pk, str(found.pk), found.name, "corpus", found.digest, found.created_at, more=more)


def _samples(pks: Collection[int]) -> Iterable[Facts]:
    columns = ("digest", "split", "task_type", "input_data", "external_id", "created_at", "withdrawn_at", "source__name")
    for found in Sample.objects.filter(pk__in=pks).select_related("source").only(*columns):
        more = (("Source", found.source.name), ("Its id there", found.external_id), ("Split", found.split), ("Task", found.task_type),
                ("Document", found.input_data))  # fmt: skip
        marks = ("withdrawn",) if found.withdrawn_at else ()
        label = f"sample {found.pk}"
        yield Facts("sample", found.pk, str(found.pk), label, found.split, found.digest, found.created_at, more=more, marks=marks)


def _prompts(pks: Collection[int]) -> Iterable[Facts]:
    for found in Prompt.objects.filter(pk__in=pks).only("digest", "layout"):
        more = (("Layout", found.layout),)
        yield Facts("prompt", found.pk, str(found.pk), f"prompt {found.pk}", f"layout {found.layout}", found.digest, more=more)


def _batches(pks: Collection[int]) -> Iterable[Facts]:
    for found in GenerationBatch.objects.filter(pk__in=pks).select_related("version", "created_by").annotate(texts=Count("completions")):
        said = {name: found.decoding[name] for name in ("temperature", "max_new_tokens") if name in found.decoding}
        more = (("Texts", found.texts), ("Seed", found.seed), *((name.replace("_", " ").capitalize(), said[name]) for name in said))
        page, readers = (f"{reverse('training:generate')}?batches={found.public_id}", "trainers") if found.version_id else ("", "")
        yield Facts(
            "batch", found.pk, str(found.public_id), str(found), "generation" if found.version_id else "texts of another system",
            at=found.created_at, actor=_who(found.created_by), more=more, page=page, readers=readers,
        )  # fmt: skip


def _completions(pks: Collection[int]) -> Iterable[Facts]:
    for found in Completion.objects.filter(pk__in=pks).only("digest", "tokens", "finish_reason", "number"):
        more = (("Tokens", found.tokens), ("Ended by", found.finish_reason or None), ("Draw", found.number))
        yield Facts("completion", found.pk, str(found.pk), f"completion {found.pk}", "completion", found.digest, more=more)


def _pairs(pks: Collection[int]) -> Iterable[Facts]:
    for found in Pair.objects.filter(pk__in=pks).select_related("campaign"):
        more = (("Campaign", found.campaign.name), ("Drawn", found.get_selected_by_display()))
        page = reverse("annotation:campaign", args=[found.campaign.public_id])
        yield Facts(
            "pair", found.pk, str(found.pk), f"pair {found.pk}", found.campaign.name, at=found.campaign.opened_at, more=more, page=page,
            readers="trainers", marks=_marks(found.campaign),
        )  # fmt: skip


def _judgements(pks: Collection[int]) -> Iterable[Facts]:
    columns = ("submitted_at", "revision", "layout", "external", "assignment__campaign__name", "assignment__campaign__simulated")
    for found in Judgement.objects.filter(pk__in=pks).select_related("assignment__campaign").only(*columns):
        more = (("Campaign", found.assignment.campaign.name), ("Revision", found.revision), ("By", "a rater; raters are not named here"))
        holds = (("simulated", found.assignment.campaign.simulated), ("external", found.external))
        marks = tuple(name for name, marked in holds if marked)
        yield Facts(
            "judgement", found.pk, str(found.pk), f"judgement {found.pk}", "judgement", at=found.submitted_at, more=more, marks=marks
        )  # fmt: skip


def _rulings(pks: Collection[int]) -> Iterable[Facts]:
    for found in Adjudication.objects.filter(pk__in=pks).select_related("dispute__campaign"):
        more = (("Campaign", found.dispute.campaign.name), ("Revision", found.revision), ("By", "a lead; leads are not named here"))
        yield Facts("ruling", found.pk, str(found.pk), f"ruling {found.pk}", "ruling of a lead", at=found.decided_at, more=more)


def _parts(pks: Collection[int]) -> Iterable[Facts]:
    wanted = [of_part(pk) for pk in pks]
    counted = SnapshotRow.objects.filter(snapshot__in=[pk for pk, _ in wanted]).values("snapshot_id", "split").annotate(n=Count("pk"))
    rows = {part_id(row["snapshot_id"], row["split"]): row["n"] for row in counted.order_by()}
    snapshots = Snapshot.objects.select_related("frozen_by").in_bulk([pk for pk, _ in wanted])
    for pk, split in wanted:
        if found := snapshots.get(pk):
            number = part_id(pk, split)
            yield Facts(
                "part", number, f"{found.public_id}-{split}", f"{found.name}: {split}", f"{rows.get(number, 0):,} rows of a snapshot",
                found.digest, found.frozen_at, _who(found.frozen_by), (("Rows", rows.get(number, 0)),),
                reverse("annotation:snapshot", args=[found.public_id]), "stewards", _marks(found),
            )  # fmt: skip


def _snapshots(pks: Collection[int]) -> Iterable[Facts]:
    for found in Snapshot.objects.filter(pk__in=pks).select_related("frozen_by", "campaign"):
        more = (("Campaign", found.campaign.name), ("Judgements", found.counts.get("judgements")), ("Raters", found.counts.get("raters")),
                ("Raters held out", found.counts.get("held_out_raters")))  # fmt: skip
        yield Facts(
            "snapshot", found.pk, str(found.public_id), found.name, "snapshot", found.digest, found.frozen_at, _who(found.frozen_by), more,
            reverse("annotation:snapshot", args=[found.public_id]), "stewards", _marks(found),
        )  # fmt: skip


def _runs(pks: Collection[int]) -> Iterable[Facts]:
    for found in Run.objects.filter(pk__in=pks).select_related("job__requested_by"):
        job = found.job
        more = (("Kind", job.kind), ("Recipe", found.preset or None), ("Seed", found.seed), ("State", job.get_state_display()),
                ("Newest checkpoint", f"step {job.checkpoint_step}" if job.checkpoint_step else None),
                ("Ended", job.ended_at))  # fmt: skip
        yield Facts(
            "run", found.pk, str(found.pk), found.name, f"{job.kind} run", job.spec_digest, found.created_at, _who(job.requested_by), more,
            reverse("training:run", args=[found.pk]), "trainers",
        )  # fmt: skip


def _recipes(pks: Collection[int]) -> Iterable[Facts]:
    for found in MergeRecipe.objects.filter(pk__in=pks).select_related("base", "created_by").annotate(merged=Count("inputs")):
        more = (("Method", found.method), ("Base", found.base.name if found.base else None), ("Models", found.merged),  # type: ignore[attr-defined]
                ("Seed", found.seed or None))  # fmt: skip
        yield Facts(
            "recipe", found.pk, str(found.public_id), str(found), "merge recipe", found.digest, found.created_at, _who(found.created_by),
            more, reverse("training:merge-recipe", args=[found.public_id]), "trainers",
        )  # fmt: skip


def _adapters(pks: Collection[int]) -> Iterable[Facts]:
    for found in ModelVersion.objects.filter(pk__in=pks, adapter__isnull=False).select_related("adapter", "created_by"):
        assert found.adapter is not None
        yield Facts(
            "adapter", found.pk, str(found.public_id), f"adapter in {found.name}", "LoRA adapter", found.adapter.digest, found.created_at,
            _who(found.created_by), (("Merged into", found.name),), reverse("modelhub:model", args=[found.public_id]), "stewards",
            _marks(found),
        )  # fmt: skip


def _models(pks: Collection[int]) -> Iterable[Facts]:
    for found in ModelVersion.objects.filter(pk__in=pks).select_related("artifact", "created_by"):
        more = (("Kind", found.get_kind_display()), ("Licence", found.licence or "not named"), ("Architecture", found.architecture or None))
        yield Facts(
            "model", found.pk, str(found.public_id), found.name, f"{found.get_kind_display()} model", found.artifact.digest,
            found.created_at, _who(found.created_by), more, reverse("modelhub:model", args=[found.public_id]), "stewards", _marks(found),
        )  # fmt: skip


def _evaluations(pks: Collection[int]) -> Iterable[Facts]:
    for found in Evaluation.objects.filter(pk__in=pks).select_related("policy", "reference", "job__requested_by"):
        more = (("Model", found.policy.name), ("Against", found.reference.name), ("Finished", found.finished_at))
        yield Facts(
            "evaluation", found.pk, str(found.public_id), f"against {found.reference.name}", f"evaluation of {found.policy.name}",
            found.job.spec_digest, found.created_at, _who(found.job.requested_by), more,
            reverse("training:evaluation", args=[found.public_id]), "trainers", ("simulated",) if found.simulated else (),
        )  # fmt: skip


def _promotions(pks: Collection[int]) -> Iterable[Facts]:
    for found in Promotion.objects.filter(pk__in=pks).select_related("version", "decided_by"):
        more = (("Decision", found.get_decision_display()), ("Of", found.version.name), ("As", found.alias), ("Why", found.reason or None))
        yield Facts(
            "promotion", found.pk, str(found.public_id), f"{found.get_decision_display()} as {found.alias}", "decision",
            at=found.decided_at, actor=_who(found.decided_by), more=more, marks=("simulated",) if found.simulated else (),
        )  # fmt: skip


def _moves(pks: Collection[int]) -> Iterable[Facts]:
    for found in AliasMove.objects.filter(pk__in=pks).annotate(name=F("alias__name")).select_related("to_version", "actor"):
        more = (("Alias", found.name), ("To", found.to_version.name), ("Why", found.reason or None))
        said = "rolled back to it" if found.rolled_back else "points to it"
        yield Facts(
            "move", found.pk, str(found.pk), f"{found.name}, move {found.number}", said, at=found.at, actor=_who(found.actor), more=more,
        )  # fmt: skip


def _who(user: Any) -> str:
    return user.username if user else ""


def _marks(thing: Any) -> tuple[str, ...]:
    return tuple(name for name in ("toy", "simulated", "external") if getattr(thing, name, False))


_MODELS: dict[str, type[Model]] = {
    "file": AuditEntry, "source": Source, "corpus": Corpus, "sample": Sample, "prompt": Prompt, "batch": GenerationBatch,
    "completion": Completion, "pair": Pair, "judgement": Judgement, "ruling": Adjudication, "snapshot": Snapshot, "run": Run,
    "recipe": MergeRecipe, "adapter": ModelVersion, "model": ModelVersion, "evaluation": Evaluation, "promotion": Promotion,
    "move": AliasMove,
}  # fmt: skip
_LOADERS: dict[str, Callable[[Collection[int]], Iterable[Facts]]] = {
    "file": _files, "source": _sources, "corpus": _corpora, "sample": _samples, "prompt": _prompts, "batch": _batches,
    "completion": _completions, "pair": _pairs, "judgement": _judgements, "ruling": _rulings, "part": _parts, "snapshot": _snapshots,
    "run": _runs, "recipe": _recipes, "adapter": _adapters, "model": _models, "evaluation": _evaluations,
    "promotion": _promotions, "move": _moves,
}  # fmt: skip
