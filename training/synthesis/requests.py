"""What is asked for the rows a step holds: messages, and for the grammar what they are about."""

from collections.abc import Iterator
from typing import Any

from annotation.models import Document
from training.engine.grammar.grid import JSON, WHOLE, Cell
from training.synthesis import backends, prompts
from training.synthesis.models import Purpose, Stage, SynthesisItem, SynthesisPair, SynthesisRun, SynthesisStep

Row = dict[str, Any]
# Of a document, so many characters are read: about 6,000 tokens.
MOST_READ = 24_000


def rows(step: SynthesisStep) -> Iterator[Row]:
    """{"id", "messages"} for everything the step holds, in order; with "asked" where the grammar answers."""
    run = step.run
    backend = backends.from_json(run.judge if step.stage in (Stage.JUDGE, Stage.COMPARE) else run.generator)
    for row in _rows(step, run):
        asked = row.pop("asked")
        yield row | ({"asked": asked} if backend.kind == backends.GRAMMAR else {})


def _rows(step: SynthesisStep, run: SynthesisRun) -> Iterator[Row]:
    match step.stage:
        case Stage.WRITE if run.purpose == Purpose.OUTPUTS:
            for item in step.items.select_related("document").order_by("number"):
                assert item.document is not None
                yield _read(item, item.document)
        case Stage.WRITE:
            for item in step.items.order_by("number"):
                yield _write(item, run)
        case Stage.JUDGE:
            for item in step.items.order_by("number"):
                told = prompts.JUDGE.format(
                    scale=prompts.scale(), lowest=1, highest=4, criteria=", ".join(prompts.SCALE), instruction=item.instruction
                )
                yield _row(item.pk, told, {"stage": "judge", "instruction": item.instruction, "seed": f"{run.seed} {item.number}"})
        case Stage.REJECT:
            for pair in _pairs(step):
                yield _spoil(pair, run)
        case Stage.COMPARE:
            for pair in _pairs(step):
                yield from _compare(pair, run)


def _row(name: object, told: str, asked: Row) -> Row:
    return {"id": str(name), "messages": [{"role": "user", "content": told}], "asked": asked}


def _pairs(step: SynthesisStep) -> Iterator[SynthesisPair]:
    yield from step.pairs.select_related("item").order_by("item__number", "number")


def cell_of(item: SynthesisItem) -> Cell:
    return Cell(item.task_type, item.document_type, item.part, item.difficulty, item.output_format, item.temperature, item.examples)


def _write(item: SynthesisItem, run: SynthesisRun) -> Row:
    cell = cell_of(item)
    told = prompts.WRITE.format(
        task=cell.task, document=cell.document, part="the document as a whole" if cell.part == WHOLE else cell.part,
        format="JSON" if cell.format == JSON else "plain text", difficulty=cell.difficulty, examples=cell.examples,
    )  # fmt: skip
    return _row(item.pk, told, {"stage": "write", "cell": cell.as_json(), "seed": f"{run.seed} {item.number}"})


def _read(item: SynthesisItem, document: Document) -> Row:
    text = (f"{document.title}\n{document.text}" if document.title else document.text)[:MOST_READ]
    told = prompts.READ.format(wanted=prompts.OUTPUTS[item.task_type], text=text)
    return _row(item.pk, told, {"stage": "pit", "kind": item.task_type, "text": document.text[:MOST_READ]})


def _spoil(pair: SynthesisPair, run: SynthesisRun) -> Row:
    told = prompts.SPOIL.format(
        error=pair.error_type, definitions=prompts.definitions(), instruction=pair.item.instruction, input=pair.input, output=pair.output
    )
    seed = f"{run.seed} {pair.item.number} {pair.number}"
    return _row(pair.pk, told, {"stage": "reject", "error": pair.error_type, "input": pair.input, "output": pair.output, "seed": seed})


def _compare(pair: SynthesisPair, run: SynthesisRun) -> Iterator[Row]:
    """Both orders: 0 with the output as A, 1 with it as B."""
    for order, (first, second) in enumerate(((pair.output, pair.rejected_output), (pair.rejected_output, pair.output))):
        told = prompts.COMPARE.format(instruction=pair.item.instruction, input=pair.input, first=first, second=second)
        seed = f"{run.seed} {pair.item.number} {pair.number} {order}"
        yield _row(f"{pair.pk}:{order}", told, {"stage": "compare", "better": "AB"[order], "seed": seed})
