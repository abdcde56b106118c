"""Outputs of documents for pre-instruction tuning: asked for what is lacking, checked, stored; and what never leaves the house."""

import io
import json
from typing import Any

import pytest

from annotation import documents
from annotation.models import Corpus, Document, DocumentOutput
from jobs import kinds
from jobs.errors import Unprepared
from tests.training import build
from tests.training.synthesis import by_grammar, carry
from training.synthesis import backends, runs
from training.synthesis.models import SynthesisRun

pytestmark = pytest.mark.django_db

TEXTS = (
    "Asthma is a disease of the airways. Salbutamol treats acute attacks. Peak flow indicates severity. It is common in children.",
    "Gout is a disease of the joints. Colchicine treats acute gout. Urate crystals cause the pain. Beer increases urate.",
    "Just one line here",
)


@pytest.fixture
def corpus() -> Corpus:
    lines = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(TEXTS)]
    lines[1] = json.dumps({"id": "d1", "text": TEXTS[1], "outputs": {"summary": "Gout in short."}})
    documents.import_jsonl(file=io.BytesIO("\n".join(lines).encode()), corpus="Notes", group="other", licence="CC0-1.0", actor=None)
    return Corpus.objects.get(name="Notes")


def read(corpus: Corpus, generator: str = "grammar", **changes: Any) -> SynthesisRun:
    told: dict[str, Any] = {"name": "outputs", "kinds": ("summary", "qa", "entities", "relations"), "seed": 1, "actor": None, **changes}
    return runs.read_documents(corpus=corpus, generator=backends.find(generator), **told)


def test_what_is_lacking_is_made_and_what_is_there_stays(corpus: Corpus) -> None:
    before = corpus.digest
    run = read(corpus)
    assert run.items.count() == 11  # four kinds of three documents, but for the one that is there
    carry(run)
    assert run.state == "done"
    outputs = {(one.document.external_id, one.kind): one.content for one in DocumentOutput.objects.select_related("document")}
    assert outputs["d1", "summary"] == "Gout in short."
    assert ["Salbutamol", "treats", "acute attacks"] in outputs["d0", "relations"]
    assert outputs["d0", "summary"] in TEXTS[0]
    # A line that says no relation has none, and that is counted.
    assert ("d2", "relations") not in outputs
    assert runs.counts(run)["reasons"]["instructions refused"]["wrong_fields"] >= 1
    corpus.refresh_from_db()
    assert corpus.digest != before
    with pytest.raises(runs.NotStarted, match="already"):
        read(corpus, name="again", kinds=("summary",))


def test_an_output_of_another_shape_is_refused(corpus: Corpus) -> None:
    run = read(corpus, kinds=("qa",))
    carry(run, lambda row, number: json.dumps({"qa": [["only a question"]]}))
    assert runs.counts(run)["reasons"]["instructions refused"] == {"wrong_shape": 3}
    assert not DocumentOutput.objects.filter(kind="qa").exists()


def test_documents_go_to_no_server_that_the_operator_has_not_listed_them_for(corpus: Corpus, settings: Any) -> None:
    ward = {"url": "http://localhost:9/v1", "model": "m"}
    settings.ROUNDS_GENERATION_ENDPOINTS = {"ward": ward}
    with pytest.raises(runs.NotStarted, match="not listed"):
        read(corpus, "endpoint:ward")
    settings.ROUNDS_GENERATION_ENDPOINTS = {"ward": ward | {"documents": ["Notes"]}}
    run = read(corpus, "endpoint:ward")
    # Struck off while the job waited: not one text is written out for the child.
    settings.ROUNDS_GENERATION_ENDPOINTS = {"ward": ward}
    job = run.steps.get().job
    build.claimed(job)
    with pytest.raises(Unprepared, match="not listed"):
        kinds.get(job.kind).prepare(job, None)  # type: ignore[arg-type]


def test_a_document_that_was_withdrawn_meanwhile_gets_no_output(corpus: Corpus) -> None:
    run = read(corpus, kinds=("summary",))
    documents.withdraw(document=Document.objects.get(external_id="d0"), actor=None)
    carry(run, by_grammar)
    assert not DocumentOutput.objects.filter(document__external_id="d0").exists()
