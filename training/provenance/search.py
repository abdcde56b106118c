"""Finding a thing by what people know of it: a name, a method, the beginning of a digest or number, a sample's id."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Q, QuerySet

from accounts.models import AuditEntry, User
from annotation.models import Completion, Corpus, Sample, Snapshot, Source
from modelhub.models import AliasName, ModelVersion
from training.models import MergeRecipe, Run
from training.provenance import facts
from training.provenance.facts import IMPORTS, Facts
from training.provenance.walk import Node, blinded

MOST_HITS = 10
_HEX = re.compile(r"[0-9a-f]{6,64}")
_NUMBERED = re.compile(r"(sample|prompt|completion|pair|judgement|ruling|run)[ #-]*(\d{1,15})", re.IGNORECASE)


def hits(text: str, *, user: User | None) -> list[Facts]:
    """What `text` may mean, at most MOST_HITS of a kind, best kinds first; nothing that `user` may not see."""
    nodes = list(dict.fromkeys(_meant(text.replace("\x00", "").strip()[:120], user)))
    known = facts.of(nodes)
    blinds = blinded(user)
    return [known[node] for node in nodes if node in known and not (blinds and facts.hidden(*node, blinds))]


def _meant(text: str, user: User | None) -> Iterator[Node]:
    if not text:
        return
    if numbered := _NUMBERED.fullmatch(text):
        kind = numbered[1].lower()
        if (pk := facts.find(kind, numbered[2])) is not None:
            yield kind, pk
    digest = text.lower() if _HEX.fullmatch(text.lower()) else None
    versions = Q(name__icontains=text) | (Q(artifact__digest__startswith=digest) if digest else Q())
    yield from _some("model", ModelVersion.objects.filter(versions).order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])
    frozen = Q(name__icontains=text) | (Q(digest__startswith=digest) if digest else Q())
    shown = Snapshot.objects.filter(frozen) if user is None else Snapshot.objects.unblinded_for(user).filter(frozen)
    yield from _some("snapshot", shown.order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])
    yield from _some("run", Run.objects.filter(name__icontains=text).order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])
    written = Q(method=text.lower().replace(" ", "_")) | (Q(digest__startswith=digest) if digest else Q())
    yield from _some("recipe", MergeRecipe.objects.filter(written).order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])
    if digest:
        beside = ModelVersion.objects.filter(adapter__digest__startswith=digest)
        yield from _some("adapter", beside.order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])
    yield from _some("source", Source.objects.filter(name__icontains=text).order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])
    yield from _some("corpus", Corpus.objects.filter(name__icontains=text).order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])
    named = Q(external_id=text) | (Q(digest__startswith=digest) if digest else Q())
    yield from _some("sample", Sample.objects.filter(named).order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])
    if digest:
        files = AuditEntry.objects.filter(verb__in=IMPORTS, details__file__startswith=digest)
        yield from _some("file", files.order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])
        texts = Completion.objects.filter(digest__startswith=digest)
        yield from _some("completion", texts.order_by("-pk").values_list("pk", flat=True)[:MOST_HITS])


def _some(kind: str, found: Iterable[int]) -> Iterator[Node]:
    for pk in found:
        yield kind, pk


def beginnings(*, user: User) -> list[tuple[str, list[Facts]]]:
    """Where people begin: what the aliases point to, the newest models, snapshots and imports; each (heading, things)."""
    aliased = ModelVersion.objects.filter(aliases__name__in=AliasName.values).distinct()
    imports = AuditEntry.objects.filter(verb__in=IMPORTS)
    groups: list[tuple[str, list[Node]]] = [
        ("Where aliases point", list(_some("model", _newest(aliased)))),
        ("Newest models", list(_some("model", _newest(ModelVersion.objects.all())))),
        ("Newest snapshots", list(_some("snapshot", _newest(Snapshot.objects.unblinded_for(user))))),
        ("Newest imports", list(_some("file", _newest(imports)))),
    ]
    known = facts.of(node for _, nodes in groups for node in nodes)
    return [(heading, [known[node] for node in nodes if node in known]) for heading, nodes in groups if nodes]


def _newest(found: QuerySet[Any]) -> Iterable[int]:
    return found.order_by("-pk").values_list("pk", flat=True)[:6]
