"""Other people's corpora as rows of ours: {"id", "title", "text", "outputs"}. Each reader is strict and streams what it can."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from annotation import records
from annotation.documents import Reader
from annotation.reading import jsonl
from annotation.records import Problems, Row

Rows = Iterator[tuple[int, Row]]
FORMATS = ("jsonl", "medquad", "pubmedqa", "icd10cm")
MAX_JSON_BYTES = 256 * 2**20
MEDQUAD = ("source", "focus", "qtype", "question", "answer")
INSTALL = "The package simple-icd-10-cm is not installed: .venv/bin/pip install simple-icd-10-cm (MIT), then again."


class Unreadable(Exception):
    """The format cannot be read here; the message says what to do."""


def reader(path: Path | None, kind: str) -> Reader:
    """What reads `path` as `kind`, one of FORMATS. icd10cm reads no file but an installed package. Raises Unreadable, OSError."""
    if kind == "icd10cm":
        book = _icd10cm()
        return lambda problems, digest: _icd_pages(book, digest)
    if path is None:
        raise Unreadable(f"Name the file to read as {kind}.")
    found = path
    with found.open("rb"):  # here, and not in the middle of a transaction, is where it should turn out to be absent
        pass
    return {"jsonl": _jsonl, "medquad": _medquad, "pubmedqa": _pubmedqa}[kind](found)


def _jsonl(path: Path) -> Reader:
    def rows(problems: Problems, digest: Any) -> Rows:
        with path.open("rb") as file:
            yield from jsonl.rows(file, problems, digest)

    return rows


def _medquad(path: Path) -> Reader:
    """MedQuAD (Ben Abacha & Demner-Fushman 2019) as one JSON object a question, plain or gzipped: a document a focus.

    All that is asked about one subject is one document, so that no subject is both learnt and held out. Some questions name no
    focus: what is answered in the same words is one subject then.
    """

    def rows(problems: Problems, digest: Any) -> Rows:
        by_focus: dict[str, tuple[int, str, list[list[str]]]] = {}
        zipped = path.suffix == ".gz"
        try:
            with gzip.open(path, "rb") if zipped else path.open("rb") as file:
                for number, row in jsonl.rows(file, problems, digest):  # type: ignore[arg-type]
                    if missing := [name for name in MEDQUAD if not isinstance(row.get(name), str)]:
                        problems.add(number, missing[0], "Text is expected.")
                        continue
                    if empty := [name for name in ("question", "answer") if not row[name].strip()]:
                        problems.add(number, empty[0], "The text is empty.")
                        continue
                    focus = _spaced(row["focus"])
                    subject = focus.casefold() or f"answer {records.text_digest(_spaced(row['answer']))}"
                    _, _, asked = by_focus.setdefault(subject, (number, focus, []))
                    pair = [_spaced(row["question"]), _spaced(row["answer"])]
                    if pair not in asked:
                        asked.append(pair)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            problems.add(0, "", "The gzip archive is damaged.")
        for number, focus, asked in by_focus.values():
            # Several sources may answer in the same words.
            answers = list(dict.fromkeys(answer for _, answer in asked))
            yield number, {"title": focus, "text": "\n".join(answers), "outputs": {"qa": asked}}

    return rows


def _pubmedqa(path: Path) -> Reader:
    """PubMedQA (Jin et al. 2019), ori_pqal.json: an abstract without its conclusion is the document; the conclusion its summary."""

    def rows(problems: Problems, digest: Any) -> Rows:
        if path.stat().st_size > MAX_JSON_BYTES:
            problems.add(0, "", f"The file is larger than {MAX_JSON_BYTES // 2**20} MiB.")
            return
        data = path.read_bytes()
        digest.update(data)
        try:
            articles = json.loads(data.decode("utf-8"))
        except (UnicodeDecodeError, ValueError, RecursionError):
            articles = None
        if not isinstance(articles, dict):
            problems.add(0, "", "One JSON object of articles by their PubMed id is expected.")
            return
        for number, (key, article) in enumerate(articles.items(), start=1):
            fields = article if isinstance(article, dict) else {}
            question, contexts, answer = fields.get("QUESTION"), fields.get("CONTEXTS"), fields.get("LONG_ANSWER")
            if not isinstance(contexts, list) or not all(isinstance(text, str) for text in [question, answer, *contexts]):
                problems.add(number, "", "QUESTION, CONTEXTS and LONG_ANSWER are expected.")
                continue
            assert isinstance(question, str)
            assert isinstance(answer, str)
            outputs = {"summary": _spaced(answer), "qa": [[_spaced(question), _spaced(answer)]]}
            yield number, {"id": key, "text": "\n".join(_spaced(text) for text in contexts), "outputs": outputs}

    return rows


def _icd10cm() -> Any:
    try:
        # Not a dependency of the web: read once, by the person who imports.
        import simple_icd_10_cm  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise Unreadable(INSTALL) from None
    return simple_icd_10_cm


def _icd_pages(book: Any, digest: Any) -> Rows:
    """A page a category (E11), with what it includes and every code below it; asked both ways, code to meaning and back."""
    # Some codes are a block and a category, and are listed twice.
    categories = [code for code in dict.fromkeys(book.get_all_codes(True)) if book.is_category(code)]
    for number, code in enumerate(categories, start=1):
        name = _spaced(book.get_description(code))
        lines = [f"{code} {name}."]
        if includes := [_spaced(text) for text in [*book.get_includes(code), *book.get_inclusion_term(code)]]:
            lines.append(f"{code} includes {'; '.join(includes)}.")
        asked = [[f"What does ICD-10-CM code {code} mean?", name], [f"Which ICD-10-CM code is for {name}?", code]]
        below = [one for one in book.get_descendants(code) if not book.is_extended_subcategory(one)]
        for one in below:
            meaning = _spaced(book.get_description(one))
            terms = [_spaced(text) for text in book.get_inclusion_term(one)]
            lines.append(f"{one} {meaning}{': ' + '; '.join(terms) if terms else ''}.")
            asked.append([f"What does ICD-10-CM code {one} mean?", meaning])
            asked.append([f"Which ICD-10-CM code is for {meaning}?", one])
        if parent := book.get_parent(code):
            lines.append(f"{code} belongs to {parent}, {_spaced(book.get_description(parent, prioritize_blocks=True))}.")
        row = {"id": code, "title": f"ICD-10-CM {code}", "text": "\n".join(lines), "outputs": {"qa": asked}}
        digest.update(json.dumps(row, sort_keys=True).encode())
        yield number, row


def _spaced(text: str) -> str:
    """White space of any length as one space: these corpora were converted from pages."""
    return " ".join(text.split())
