"""Mappings of public clinical data sets, known by their columns: what the wizard proposes for them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A data set's shape and mapping. It fits a file with all of `columns`; `called` prefers it among several that fit, by file name."""

    name: str
    title: str
    columns: frozenset[str]
    shape: str
    mapping: Mapping[str, str]
    called: str = ""

    def prefers(self, filename: str) -> bool:
        return bool(self.called) and re.search(self.called, filename.casefold()) is not None


def _samples(name: str, title: str, columns: str, called: str = "", **mapping: str) -> Preset:
    return Preset(name, title, frozenset(columns.split("|")), "columns", mapping, called)


_CHOICE = "=Answer the multiple-choice question with the {} of the right option."
_PUBMEDQA = "QUESTION|CONTEXTS|LONG_ANSWER|final_decision"

PRESETS = (
    _samples(
        "aci-bench", "ACI-BENCH: conversation to clinical note", "dataset|encounter_id|dialogue|note", id="encounter_id",
        called=r"^(train|valid|test|clinicalnlp)",
        instruction="=Write the clinical note of this visit from the conversation between doctor and patient.",
        input="dialogue", output="note", task_type="=summarization", input_data="=Doctor-Patient Conversation",
    ),
    Preset(
        "aci-bench-outputs", "ACI-BENCH: the notes one system wrote", frozenset({"dataset", "encounter_id", "dialogue", "note"}),
        "completions",
        {"id": "encounter_id", "system": "={filename}", "text": "note"}, called=r"bart|led|similarity|full",
    ),
    _samples(
        "mts-dialog", "MTS-Dialog: conversation to a section of a note", "ID|section_header|section_text|dialogue", id="ID",
        instruction="=Write the section {section_header} of the clinical note from the conversation.", input="dialogue",
        output="section_text",
        task_type="=summarization", input_data="=Doctor-Patient Conversation",
    ),
    _samples(
        "meqsum", "MeQSum: consumer question to short question", "File|CHQ|Summary", id="File",
        instruction="=Summarise the message in one short question.", input="CHQ", output="Summary", task_type="=summarization",
        input_data="=Consumer health question",
    ),
    _samples(
        "medicationqa", "MedicationQA: questions about medications", "Question|Focus (Drug)|Answer",
        instruction="=Answer the question about a medication.", input="Question", output="Answer", task_type="=question answering",
        input_data="=Consumer health question",
    ),
    _samples(
        "medec", "MEDEC: find the sentence with an error", "Text ID|Text|Sentences|Error Flag|Error Sentence ID", id="Text ID",
        instruction="=One sentence may hold a medical error. Answer with its number, or with -1 if none does.", input="Sentences",
        output="Error Sentence ID", task_type="=error detection & correction", input_data="=Clinical Note",
    ),
    _samples(
        "mediqa-rrs", "MEDIQA 2021: findings to impression", "study_id|findings|impression|background", id="study_id",
        instruction="=Write the impression of the radiology report from its findings.", input="={background}\nFindings: {findings}",
        output="impression", task_type="=summarization", input_data="=Radiology Report",
    ),
    _samples(
        "sdoh-nli", "SDOH-NLI: does the note entail it", "premise|hypothesis|label",
        instruction="=Does the premise entail the hypothesis? Answer True or False.", input="=Premise: {premise}\nHypothesis: {hypothesis}",
        output="label", task_type="=textual entailment", input_data="=Social Work Note",
    ),
    _samples(
        "iob", "Tagged sentences: list the mentions", "text|tokens|tags|entities|labels", instruction="=List every mention, one a line.",
        input="text", output="entities", task_type="=named entity recognition", input_data="=Scientific Article",
    ),
    _samples(
        "medqa", "MedQA: multiple choice", "question|answer|options|answer_idx", instruction=_CHOICE.format("letter"),
        input="={question}\nA. {options.A}\nB. {options.B}\nC. {options.C}\nD. {options.D}", output="answer_idx",
        task_type="=multiple choice question answering", input_data="=Examination question",
    ),
    _samples(
        "medmcqa", "MedMCQA: multiple choice", "question|opa|opb|opc|opd|cop|id", id="id", instruction=_CHOICE.format("number"),
        input="={question}\n1. {opa}\n2. {opb}\n3. {opc}\n4. {opd}", output="={cop}", task_type="=multiple choice question answering",
        input_data="=Examination question",
    ),
    _samples(
        "mmlu", "MMLU: multiple choice, no header", "column_1|column_2|column_3|column_4|column_5|column_6",
        instruction=_CHOICE.format("letter"),
        input="={column_1}\nA. {column_2}\nB. {column_3}\nC. {column_4}\nD. {column_5}", output="column_6",
        task_type="=multiple choice question answering", input_data="=Examination question",
    ),
    _samples(
        "pubmedqa", "PubMedQA: yes, no or maybe", _PUBMEDQA, called=r"test", id="id",
        instruction="=Answer the question from the abstract with yes, no or maybe.", input="={CONTEXTS}\nQuestion: {QUESTION}",
        output="final_decision", task_type="=question answering", input_data="=Scientific Article",
    ),
    Preset(
        "pubmedqa-abstracts", "PubMedQA: abstracts as documents", frozenset(_PUBMEDQA.split("|")), "documents",
        {"id": "id", "text": "CONTEXTS", "summary": "LONG_ANSWER", "question": "QUESTION", "answer": "LONG_ANSWER"}, called=r"ori_pqa",
    ),
    _samples(
        "medquad", "MedQuAD: questions and answers", "source|focus|qtype|question|answer", instruction="=Answer the consumer's question.",
        input="question", output="answer", task_type="=question answering", input_data="=Patient Education Material",
    ),
    Preset(
        "wiki-documents", "Documents of a wiki", frozenset({"wiki_id", "title", "text"}), "documents",
        {"id": "wiki_id", "title": "title", "text": "text"},
    ),
    _samples(
        "wiki-questions", "Questions about documents of a wiki", "wiki_id|question|answer", instruction="=Answer the question.",
        input="question",
        output="answer", task_type="=question answering", input_data="=Encyclopedia article",
    ),
)  # fmt: skip
