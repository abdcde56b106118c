"""Documents come in: strictly, whole or not at all, once by content; other people's corpora become documents of ours."""

import gzip
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from accounts.models import AuditEntry, User
from annotation import documents
from annotation.models import Corpus, Document, DocumentOutput
from annotation.records import ImportReport

pytestmark = pytest.mark.django_db
ABOUT = {"group": "medwiki", "licence": "CC-BY-4.0"}


def lines(*rows: Any) -> io.BytesIO:
    return io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode())


def taken(*rows: Any, corpus: str = "wiki", actor: User | None = None) -> ImportReport:
    return documents.import_jsonl(file=lines(*rows), corpus=corpus, actor=actor, **ABOUT)


def refused(*rows: Any, **about: str) -> list[tuple[int, str, str]]:
    with pytest.raises(documents.ImportRefused) as found:
        documents.import_jsonl(file=lines(*rows), actor=None, **{"corpus": "wiki", **ABOUT, **about})
    assert not Document.objects.exists()
    return [(problem.line, problem.field, problem.message) for problem in found.value.problems]


GOUT = {"id": "g", "title": "Gout", "text": "Gout hurts.", "outputs": {"summary": "It hurts.", "qa": [["Does gout hurt?", "Yes."]]}}


def test_a_document_is_stored_with_its_outputs_and_who_brought_it(sam: User) -> None:
    report = taken(GOUT, {"text": "Acne itches."}, actor=sam)
    assert (report.rows, report.stored, report.already) == (2, 2, 0)
    kept = Document.objects.get(external_id="g")
    assert {output.kind: output.content for output in kept.outputs.all()} == GOUT["outputs"]
    unnamed = Document.objects.exclude(pk=kept.pk).get()
    assert unnamed.external_id == unnamed.digest
    assert AuditEntry.objects.get(verb="documents.imported").actor_name == "sam"


def test_the_same_file_again_changes_nothing_and_a_new_kind_of_output_is_added() -> None:
    taken(GOUT)
    before = Corpus.objects.get().digest
    report = taken(GOUT)
    assert (report.stored, report.already, Corpus.objects.get().digest) == (0, 1, before)
    taken(GOUT | {"outputs": {"entities": ["gout"]}})
    assert set(DocumentOutput.objects.values_list("kind", flat=True)) == {"summary", "qa", "entities"}
    assert Corpus.objects.get().digest != before


def test_the_split_follows_from_the_content_alone() -> None:
    many = [{"id": str(number), "text": f"Text {number}."} for number in range(400)]
    taken(*many)
    taken(*[{"text": row["text"]} for row in reversed(many)], corpus="elsewhere")
    first, second = (dict(Document.objects.filter(corpus__name=name).values_list("digest", "split")) for name in ("wiki", "elsewhere"))
    assert first == second
    counts = {split: list(first.values()).count(split) for split in ("train", "validation", "evaluation")}
    # 70, 10 and 20 % of 400, give or take three standard deviations.
    assert 252 <= counts["train"] <= 308
    assert 22 <= counts["validation"] <= 58
    assert 56 <= counts["evaluation"] <= 104


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"title": "No text"}, "text"),
        ({"text": " "}, "text"),
        ({"text": "x", "body": "y"}, "body"),
        ({"text": "x", "title": "t" * 301}, "title"),
        ({"text": "x", "id": " a"}, "id"),
        ({"text": "x", "outputs": []}, "outputs"),
        ({"text": "x", "outputs": {"poem": "y"}}, "outputs.poem"),
        ({"text": "x", "outputs": {"summary": ["y"]}}, "outputs.summary"),
        ({"text": "x", "outputs": {"qa": []}}, "outputs.qa"),
        ({"text": "x", "outputs": {"qa": [["only a question"]]}}, "outputs.qa"),
        ({"text": "x", "outputs": {"qa": [["q", ""]]}}, "outputs.qa, entry 1"),
        ({"text": "x", "outputs": {"entities": [["nested"]]}}, "outputs.entities, entry 1"),
        ({"text": "x", "outputs": {"relations": [["a", "b"]]}}, "outputs.relations"),
    ],
)
def test_what_does_not_fit_is_refused_by_line_and_field(row: dict[str, Any], field: str) -> None:
    assert [(line, name) for line, name, _ in refused({"text": "fine"}, row)] == [(2, field)]


def test_one_document_twice_one_id_twice_and_another_licence_are_refused() -> None:
    assert [line for line, _, _ in refused({"text": "x"}, {"text": "x"})] == [2]
    assert [field for _, field, _ in refused({"id": "a", "text": "x"}, {"id": "a", "text": "y"})] == ["id"]
    assert [field for _, field, _ in refused({"text": "x"}, group="novels")] == ["group"]
    assert [field for _, field, _ in refused({"text": "x"}, licence=" ")] == ["licence"]
    assert [message for *_, message in refused()] == ["The file holds no documents."]
    taken(GOUT)
    for row, about in ((GOUT, {"licence": "MIT"}), (GOUT | {"text": "Other."}, {}), (GOUT | {"outputs": {"summary": "Other."}}, {})):
        with pytest.raises(documents.ImportRefused):
            documents.import_jsonl(file=lines(row), actor=None, **{"corpus": "wiki", **ABOUT, **about})
    assert Document.objects.count() == 1


def test_a_withdrawn_document_is_read_no_more_and_the_corpus_is_another_one() -> None:
    taken(*[{"id": str(number), "text": f"Text {number}."} for number in range(30)])
    corpus = Corpus.objects.get()
    read = [row["id"] for row in documents.rows(corpus, "train")]
    gone = Document.objects.get(pk=read[0])
    documents.withdraw(document=gone, actor=None)
    assert [row["id"] for row in documents.rows(corpus, "train")] == read[1:]
    assert Corpus.objects.get().digest != corpus.digest


def test_rows_come_in_one_order_with_title_and_outputs(django_assert_num_queries: Any) -> None:
    many = [{"id": str(number), "title": f"T{number}", "text": "x.", "outputs": {"summary": "s"}} for number in range(40)]
    taken(*many)
    corpus = Corpus.objects.get()
    with django_assert_num_queries(2):
        read = list(documents.rows(corpus, "train", most=5))
    assert [row["id"] for row in read] == [row["id"] for row in documents.rows(corpus, "train")][:5]
    assert read[0]["outputs"] == {"summary": "s"}
    assert read[0]["text"].endswith("\nx.")


def test_an_administrator_may_look_at_corpora_and_documents_and_change_nothing(as_ada: Any) -> None:
    taken(GOUT)
    for model, row in (("corpus", Corpus.objects.get()), ("document", Document.objects.get())):
        listed = as_ada.get(reverse(f"admin:annotation_{model}_changelist"))
        assert listed.status_code == 200
        assert str(row) in listed.content.decode()
        assert as_ada.get(reverse(f"admin:annotation_{model}_change", args=[row.pk])).status_code == 200
        assert as_ada.post(reverse(f"admin:annotation_{model}_delete", args=[row.pk])).status_code == 403


# --- other people's formats, through the command -----------------------------------------------------------------------------------


def imported(*args: str) -> list[dict[str, Any]]:
    call_command("import_documents", *args, "--corpus", "c", "--group", "medwiki", "--licence", "MIT", "--json", stdout=io.StringIO())
    return [
        {"id": row.external_id, "title": row.title, "text": row.text, **{output.kind: output.content for output in row.outputs.all()}}
        for row in Document.objects.order_by("pk")
    ]


def test_medquad_becomes_a_document_a_subject_with_all_that_is_asked_of_it(tmp_path: Path) -> None:
    asked = [
        {"source": "a", "focus": "Gout", "qtype": "information", "question": "What is  gout ?", "answer": "Joints\n   hurt."},
        {"source": "a", "focus": "Acne", "qtype": "information", "question": "What is acne ?", "answer": "Skin."},
        {"source": "b", "focus": "gout", "qtype": "treatment", "question": "What helps?", "answer": "Rest."},
        {"source": "b", "focus": "gout", "qtype": "treatment", "question": "What else helps?", "answer": "Rest."},
        {"source": "b", "focus": " ", "qtype": "treatment", "question": "Does it pass?", "answer": "It passes."},
        {"source": "b", "focus": "", "qtype": "treatment", "question": "Does it go?", "answer": "It passes."},
    ]
    path = tmp_path / "medquad.jsonl.gz"
    path.write_bytes(gzip.compress(lines(*asked).getvalue()))
    gout, acne, nameless = imported(str(path), "--format", "medquad")
    assert gout["qa"] == [["What is gout ?", "Joints hurt."], ["What helps?", "Rest."], ["What else helps?", "Rest."]]
    assert (gout["title"], gout["text"]) == ("Gout", "Joints hurt.\nRest.")
    assert (acne["title"], acne["text"], acne["qa"]) == ("Acne", "Skin.", [["What is acne ?", "Skin."]])
    assert (nameless["title"], nameless["qa"]) == ("", [["Does it pass?", "It passes."], ["Does it go?", "It passes."]])


def test_pubmedqa_becomes_an_abstract_whose_summary_is_its_conclusion(tmp_path: Path) -> None:
    path = tmp_path / "ori_pqal.json"
    path.write_text(
        json.dumps({"7": {"QUESTION": "Does it?", "CONTEXTS": ["We asked.", "We saw."], "LONG_ANSWER": "It does.", "YEAR": "1"}})
    )
    assert imported(str(path), "--format", "pubmedqa") == [
        {"id": "7", "title": "", "text": "We asked.\nWe saw.", "qa": [["Does it?", "It does."]], "summary": "It does."}
    ]


class Book(types.ModuleType):
    """Stands in for simple_icd_10_cm: the same functions over one category."""

    codes = {"E10": "Type 1", "E10.1": "Type 1 with ketoacidosis", "E10.1XA": "Type 1, first visit"}

    def get_all_codes(self, dots: bool) -> list[str]:
        return list(self.codes)

    def is_category(self, code: str) -> bool:
        return code == "E10"

    def is_extended_subcategory(self, code: str) -> bool:
        return "X" in code

    def get_description(self, code: str, prioritize_blocks: bool = False) -> str:
        return self.codes.get(code, "Diabetes")

    def get_includes(self, code: str) -> list[str]:
        return ["juvenile diabetes"]

    def get_inclusion_term(self, code: str) -> list[str]:
        return ["acidosis  of type 1"] if code == "E10.1" else []

    def get_descendants(self, code: str) -> list[str]:
        return ["E10.1", "E10.1XA"]

    def get_parent(self, code: str) -> str:
        return "E08-E13"


def test_icd_10_cm_becomes_a_page_a_category_asked_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simple_icd_10_cm", Book("simple_icd_10_cm"))
    (page,) = imported("--format", "icd10cm")
    assert page["text"].splitlines() == [
        "E10 Type 1.", "E10 includes juvenile diabetes.", "E10.1 Type 1 with ketoacidosis: acidosis of type 1.",
        "E10 belongs to E08-E13, Diabetes.",
    ]  # fmt: skip
    assert page["qa"] == [
        ["What does ICD-10-CM code E10 mean?", "Type 1"],
        ["Which ICD-10-CM code is for Type 1?", "E10"],
        ["What does ICD-10-CM code E10.1 mean?", "Type 1 with ketoacidosis"],
        ["Which ICD-10-CM code is for Type 1 with ketoacidosis?", "E10.1"],
    ]


def test_a_missing_package_or_file_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "simple_icd_10_cm", None)
    with pytest.raises(CommandError, match="pip install simple-icd-10-cm"):
        imported("--format", "icd10cm")
    with pytest.raises(CommandError, match="No such file"):
        imported(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(CommandError, match="Name the file"):
        imported("--format", "medquad")


def test_a_foreign_file_that_is_damaged_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "medquad.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"source": "a"}\n' * 99)[:-20])
    with pytest.raises(CommandError):
        imported(str(path), "--format", "medquad")
    path = tmp_path / "ori.json"
    path.write_text(json.dumps({"1": {"QUESTION": "?"}}))
    with pytest.raises(CommandError):
        imported(str(path), "--format", "pubmedqa")
    assert not Corpus.objects.exists()
