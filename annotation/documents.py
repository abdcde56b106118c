"""Documents come in: what experts read, with the task outputs made of it; strictly, whole or not at all."""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import islice
from typing import IO, Any

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation import records, splits
from annotation.models import Corpus, Document, DocumentOutput, Group, OutputKind
from annotation.reading import jsonl
from annotation.records import ImportRefused, ImportReport, Problem, Problems, Row

COLUMNS = ("id", "title", "text", "outputs")
MAX_TITLE = 300
CHUNK = 500
# (problems, digest of the file) → numbered rows of our own shape; see `annotation/corpora.py` for other people's.
Reader = Callable[[Problems, Any], Iterator[tuple[int, Row]]]


def import_jsonl(*, file: IO[bytes], corpus: str, group: str, licence: str, actor: User | None, source: str = "") -> ImportReport:
    """Store the documents of a JSONL file under `corpus`; those that are there already are counted and left alone.

    A line is {"id"?, "title"?, "text", "outputs"?: {"summary": text, "qa": [[question, answer], …], "entities": [text, …],
    "relations": [[subject, relation, object], …]}}. A document without an id is named by its digest. Outputs of a kind that a stored
    document has not yet are added to it. Raises ImportRefused with every problem's line and field; then nothing is stored.
    """
    return import_rows(
        rows=lambda problems, digest: jsonl.rows(file, problems, digest), corpus=corpus, group=group, licence=licence, actor=actor,
        source=source,
    )  # fmt: skip


def import_rows(*, rows: Reader, corpus: str, group: str, licence: str, actor: User | None, source: str = "") -> ImportReport:
    """The same for rows that a reader of another format makes. All of it in one transaction."""
    if stops := _about(corpus, group, licence, source):
        raise ImportRefused(stops)
    problems, digest, report = Problems(), sha256(), ImportReport(source=corpus)
    with transaction.atomic():
        kept, _ = Corpus.objects.get_or_create(name=corpus, defaults={"group": group, "licence": licence, "source": source})
        # One import of a corpus at a time: two at once could both find a document absent.
        kept = Corpus.objects.select_for_update().get(pk=kept.pk)
        for name, given in (("group", group), ("licence", licence)):
            if (stored := getattr(kept, name)) != given:
                problems.add(0, name, f"The corpus is stored under another one ({records.label(stored)}). Choose another name.")
        fresh = _checked(rows(problems, digest), problems, report)
        while chunk := list(islice(fresh, CHUNK)):
            _store(chunk, kept, problems, report)
        if not report.rows and not problems.total:
            problems.add(0, "", "The file holds no documents.")
        problems.refuse_if_any()
        report.file_digest = digest.hexdigest()
        _name_contents(kept)
        audit.record(actor, "documents.imported", kept, rows=report.rows, stored=report.stored, file=report.file_digest)
    return report


@transaction.atomic
def withdraw(*, document: Document, actor: User | None) -> None:
    """Let nobody read a document from now on. Models that have read it keep its corpus's former digest in their lineage."""
    corpus = Corpus.objects.select_for_update().get(pk=document.corpus_id)
    if Document.objects.live().filter(pk=document.pk).update(withdrawn_at=Now()):
        _name_contents(corpus)
        audit.record(actor, "document.withdrawn", document, corpus=corpus.name)


@transaction.atomic
def add_outputs(*, corpus: Corpus, rows: Iterable[tuple[int, str, Any]], actor: User | None) -> set[tuple[int, str]]:
    """Store outputs of live documents of `corpus`, given as (document's key, kind, content); returns those that do not have the shape of
    their kind and were left out. One that a document has already is kept as it is."""
    corpus = Corpus.objects.select_for_update().get(pk=corpus.pk)
    wrong: set[tuple[int, str]] = set()
    made = []
    for document, kind, content in rows:
        problems = Problems()
        _outputs({kind: content}, problems, 1)
        if problems.total:
            wrong.add((document, kind))
        else:
            made.append(DocumentOutput(document_id=document, kind=kind, content=content, digest=records.digest_of(content)))
    live = set(Document.objects.live().filter(corpus=corpus, pk__in=[one.document_id for one in made]).values_list("pk", flat=True))
    DocumentOutput.objects.bulk_create([one for one in made if one.document_id in live], ignore_conflicts=True)
    _name_contents(corpus)
    audit.record(actor, "documents.outputs_added", corpus, stored=len(made), refused=len(wrong))
    return wrong


def _about(corpus: str, group: str, licence: str, source: str) -> list[Problem]:
    stops = []
    if not corpus.strip() or len(corpus) > 80:
        stops.append(Problem(0, "corpus", "Name the corpus in 1 to 80 characters."))
    if group not in Group.values:
        stops.append(Problem(0, "group", f"The groups are {', '.join(Group.values)}."))
    if not licence.strip() or len(licence) > 80:
        stops.append(Problem(0, "licence", "Name the licence in 1 to 80 characters."))
    if len(source) > 200:
        stops.append(Problem(0, "source", "Say where it comes from in at most 200 characters."))
    return stops


def _checked(rows: Iterator[tuple[int, Row]], problems: Problems, report: ImportReport) -> Iterator[tuple[int, Document, dict[str, Any]]]:
    ids: dict[str, int] = {}
    digests: dict[str, int] = {}
    for number, row in rows:
        report.rows += 1
        found = _document(number, row, problems, report)
        if found is None:
            continue
        document, outputs = found
        if first := digests.get(document.digest):
            problems.add(number, "", f"The same document stands on line {first}.")
        elif first := ids.get(document.external_id):
            problems.add(number, "id", f"The same id stands on line {first}.")
        else:
            ids[document.external_id] = digests[document.digest] = number
            yield number, document, outputs


def _document(number: int, row: Row, problems: Problems, report: ImportReport) -> tuple[Document, dict[str, Any]] | None:
    before = problems.total
    for name in row.keys() - {*COLUMNS}:
        problems.add(number, records.label(name), f"Unknown column. Allowed are {', '.join(COLUMNS)}.")
    if "text" not in row:
        problems.add(number, "text", "The column is missing.")
    text = records.check_text(row["text"], problems, number, "text") if "text" in row else None
    title = records.check_text(row.get("title", ""), problems, number, "title", required=False)
    if title and len(title) > MAX_TITLE:
        problems.add(number, "title", f"The title has {len(title)} characters; {MAX_TITLE} are allowed.")
    external_id = records.check_id(row["id"], problems, number, "id") if row.get("id") is not None else None
    outputs = _outputs(row.get("outputs", {}), problems, number)
    if problems.total > before or text is None or title is None:
        return None
    records.notice_oddities(text, report, number, "text")
    digest = records.digest_of({"title": title, "text": text})
    made = Document(external_id=external_id or digest, title=title, text=text, digest=digest, split=splits.split_of(digest))
    return made, outputs


def _outputs(given: Any, problems: Problems, number: int) -> dict[str, Any]:
    """`given` when every kind is known and has its shape; else problems."""
    if not isinstance(given, dict):
        problems.add(number, "outputs", "An object is expected, with a kind of task for each key.")
        return {}
    for kind, content in given.items():
        where = f"outputs.{records.label(kind)}"
        match kind:
            case OutputKind.SUMMARY:
                records.check_text(content, problems, number, where)
            case OutputKind.QA | OutputKind.RELATIONS:
                _check_tuples(content, 2 if kind == OutputKind.QA else 3, problems, number, where)
            case OutputKind.ENTITIES:
                _check_tuples([[one] for one in content] if isinstance(content, list) else content, 1, problems, number, where)
            case _:
                problems.add(number, where, f"Unknown task. Known are {', '.join(OutputKind.values)}.")
    return given


def _check_tuples(content: Any, size: int, problems: Problems, number: int, where: str) -> None:
    if not isinstance(content, list) or not content:
        problems.add(number, where, "A list that is not empty is expected.")
        return
    for place, entry in enumerate(content, start=1):
        if not isinstance(entry, list) or len(entry) != size:
            problems.add(number, where, f"Entry {place} is no list of {size} texts.")
            return
        for part in entry:
            if records.check_text(part, problems, number, f"{where}, entry {place}") is None:
                return


def _store(chunk: list[tuple[int, Document, dict[str, Any]]], corpus: Corpus, problems: Problems, report: ImportReport) -> None:
    stored = Document.objects.filter(corpus=corpus)
    by_digest = {found.digest: found for found in stored.filter(digest__in=[made.digest for _, made, _ in chunk]).defer("text")}
    by_id = set(stored.filter(external_id__in=[made.external_id for _, made, _ in chunk]).values_list("external_id", flat=True))
    known = {
        (output.document_id, output.kind): output.digest
        for output in DocumentOutput.objects.filter(document__in=by_digest.values()).defer("content")
    }
    fresh: list[Document] = []
    outputs: list[DocumentOutput] = []
    for number, made, content in chunk:
        document = by_digest.get(made.digest)
        if document is not None and made.external_id not in (document.external_id, document.digest):
            problems.add(number, "id", "The same document is stored under another id.")
            continue
        if document is None and made.external_id in by_id:
            problems.add(number, "id", "A different document is stored under this id. Give it a new id, or import under another corpus.")
            continue
        if document is None:
            made.corpus = corpus
            fresh.append(made)
            report.by_group[made.split] = report.by_group.get(made.split, 0) + 1
        else:
            report.already += 1
        for kind, value in content.items():
            digest = records.digest_of(value)
            was = known.get((document.pk, kind)) if document else None
            if was not in (None, digest):
                problems.add(number, f"outputs.{kind}", "The document has another one already. Import under another corpus.")
            elif was is None:
                outputs.append(DocumentOutput(document=document or made, kind=kind, content=value, digest=digest))
    # Once refused, always refused: reading on only finds more to report.
    if not problems.total:
        Document.objects.bulk_create(fresh)
        DocumentOutput.objects.bulk_create(outputs)
        report.stored += len(fresh)


def _name_contents(corpus: Corpus) -> None:
    """The digest of all live documents and outputs, in the order of their digests: the same contents, the same digest."""
    digest = sha256()
    live = Document.objects.live().filter(corpus=corpus).order_by("digest", "outputs__kind")
    for document, kind, output in live.values_list("digest", "outputs__kind", "outputs__digest").iterator(chunk_size=5000):
        digest.update(f"{document} {kind or '-'} {output or '-'}\n".encode())
    corpus.digest = digest.hexdigest()
    corpus.save(update_fields=["digest"])


# --- reading -----------------------------------------------------------------------------------------------------------------------


def rows(corpus: Corpus, split: str, *, most: int | None = None) -> Iterator[dict[str, Any]]:
    """{"id", "text", "outputs"} of one split's live documents, in an order that never changes; the first `most` of them."""
    found = Document.objects.for_reading(corpus, split)
    for document in (found if most is None else found[:most]).iterator(chunk_size=CHUNK):
        text = f"{document.title}\n{document.text}" if document.title else document.text
        yield {"id": str(document.pk), "text": text, "outputs": {output.kind: output.content for output in document.outputs.all()}}


def count(corpus: Corpus, split: str, *, with_output: str | None = None) -> int:
    found = Document.objects.live().filter(corpus=corpus, split=split)
    return found.filter(outputs__kind=with_output).count() if with_output else found.count()
