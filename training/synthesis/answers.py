"""What came back of a stage: kept as it came, with why it was refused if it was, and each row moved on by what it says."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from annotation import documents
from jobs.errors import EngineFailed
from training.synthesis import parsing, runs
from training.synthesis.models import (
    ItemState,
    PairState,
    Purpose,
    Stage,
    SynthesisAnswer,
    SynthesisItem,
    SynthesisPair,
    SynthesisRun,
    SynthesisStep,
)  # fmt: skip
from training.synthesis.parsing import Refused

UNANSWERED = "unanswered"

Item = dict[str, Any]


def take(run: SynthesisRun, step: SynthesisStep, answers: list[Item]) -> None:
    """Move what the step holds. Raises EngineFailed for answers to what was not asked."""
    match step.stage:
        case Stage.WRITE if run.purpose == Purpose.OUTPUTS:
            _outputs(run, step, answers)
        case Stage.WRITE:
            _written(step, answers)
        case Stage.JUDGE:
            _judged(step, answers)
        case Stage.REJECT:
            _spoilt(step, answers)
        case Stage.COMPARE:
            _compared(step, answers)


def only(held: Any, found: Any) -> None:
    """Raises EngineFailed where something was found that was not held."""
    if foreign := set(found) - set(held):
        raise EngineFailed("bad_items", f"{len(foreign)} answers are to nothing that was asked.")


def move(rows: list[Any], fields: list[str]) -> None:
    if rows:
        type(rows[0]).objects.bulk_update(rows, [*fields, "step", "tries"], batch_size=runs.AT_ONCE)


def _held(step: SynthesisStep, answers: list[Item]) -> Iterator[tuple[Any, list[Item]]]:
    """Each row the step holds, free of it, with its answers: an instruction's by their number, a pair's by the order it was asked in."""
    of_items = step.stage in (Stage.WRITE, Stage.JUDGE)
    rows: Any = step.items.order_by("number") if of_items else step.pairs.select_related("item").order_by("item__number", "number")
    held = {str(row.pk): row for row in rows}
    found: dict[str, list[Item]] = {}
    for answer in answers:
        pk, _, order = str(answer["id"]).partition(":")
        found.setdefault(pk, []).append(answer if of_items else answer | {"n": int(order or 0)})
    only(held, found)
    for pk, row in held.items():
        row.step = None
        yield row, sorted(found.get(pk, []), key=lambda answer: int(answer["n"]))


def _read(answer: Item, parse: Callable[[str], Any]) -> tuple[Any, str]:
    """(what an answer says, why it was refused): one of them is empty."""
    try:
        return parse(_text(answer)), ""
    except Refused as refused:
        return None, refused.reason


def _text(answer: Item) -> str:
    # PostgreSQL stores no NUL, and a model may write one.
    return str(answer["text"]).replace("\x00", "\ufffd")


def _note(item: SynthesisItem, stage: Stage, number: int, answer: Item, refused: str) -> SynthesisAnswer:
    return SynthesisAnswer(
        item=item, stage=stage, number=number, text=_text(answer), finish_reason=str(answer["finish_reason"])[:20], tokens=answer["tokens"],
        refused=refused,
    )  # fmt: skip


def _keep(notes: list[SynthesisAnswer]) -> None:
    """The last answer in a place stays: what was unanswered, or refused and asked again, was an answer too few."""
    SynthesisAnswer.objects.bulk_create(
        notes, batch_size=1000, update_conflicts=True, unique_fields=["item", "stage", "number"],
        update_fields=["text", "finish_reason", "tokens", "refused"],
    )  # fmt: skip


def _given_up(row: Any) -> bool:
    """Whether what nobody answered has been asked often enough."""
    row.tries += 1
    return bool(row.tries >= runs.TRIES)


def _refuse(item: SynthesisItem, reason: str) -> None:
    item.state, item.reason = ItemState.REFUSED, reason


def _without(pair: SynthesisPair, note: str) -> None:
    """It stays a sample, but for the rejected output."""
    pair.rejected_output, pair.note, pair.state = "", note, PairState.READY


def _written(step: SynthesisStep, answers: list[Item]) -> None:
    moved, notes, pairs = [], [], []
    for item, found in _held(step, answers):
        moved.append(item)
        if found:
            made, why = _read(found[0], parsing.written)
            notes.append(_note(item, Stage.WRITE, 0, found[0], why))
            if why:
                _refuse(item, why)
                continue
            item.state, item.instruction = ItemState.WRITTEN, made.instruction
            pairs += [
                SynthesisPair(item=item, number=number, input=given, output=output) for number, (given, output) in enumerate(made.pairs, 1)
            ]
        elif _given_up(item):
            _refuse(item, UNANSWERED)
    _keep(notes)
    move(moved, ["state", "reason", "instruction"])
    SynthesisPair.objects.bulk_create(pairs, batch_size=1000)


def _judged(step: SynthesisStep, answers: list[Item]) -> None:
    """Means over the sound draws; an instruction with too few of them is refused, for the reason most of its draws were."""
    moved, notes = [], []
    for item, found in _held(step, answers):
        moved.append(item)
        draws, reasons = [], Counter[str]()
        for answer in found:
            made, why = _read(answer, parsing.scores)
            notes.append(_note(item, Stage.JUDGE, int(answer["n"]), answer, why))
            if why:
                reasons[why] += 1
            else:
                draws.append(made)
        if len(draws) >= runs.ENOUGH:
            item.scores = parsing.means(draws)
            item.mean = sum(item.scores.values()) / len(item.scores)
            item.state = ItemState.JUDGED
        elif found:
            _refuse(item, f"judge {(reasons.most_common(1) or [('silent', 0)])[0][0]}")
        elif _given_up(item):
            _refuse(item, UNANSWERED)
    _keep(notes)
    move(moved, ["state", "reason", "scores", "mean"])
    refused = [item for item in moved if item.state == ItemState.REFUSED]
    SynthesisPair.objects.filter(item__in=refused).update(state=PairState.DROPPED, reason="not_judged")


def _spoilt(step: SynthesisStep, answers: list[Item]) -> None:
    moved, notes = [], []
    for pair, found in _held(step, answers):
        moved.append(pair)
        if found:
            made, why = _read(found[0], partial(parsing.spoilt, error=pair.error_type, output=pair.output))
            notes.append(_note(pair.item, Stage.REJECT, 10 * pair.number, found[0], why))
            if why:
                _without(pair, why)
            else:
                pair.rejected_output, pair.state, pair.tries = made, PairState.TO_COMPARE, 0
        elif _given_up(pair):
            _without(pair, UNANSWERED)
    _keep(notes)
    move(moved, ["state", "note", "rejected_output"])


def _compared(step: SynthesisStep, answers: list[Item]) -> None:
    """A rejected output stays where a judge prefers the output in both orders; a flip is a tie, and a tie teaches nothing."""
    moved, notes = [], []
    for pair, found in _held(step, answers):
        moved.append(pair)
        said = []
        for answer in found:
            made, why = _read(answer, parsing.better)
            notes.append(_note(pair.item, Stage.COMPARE, 10 * pair.number + answer["n"], answer, why))
            said += [made] if made else []
        if len(found) < 2:
            if _given_up(pair):
                _without(pair, UNANSWERED)
        elif len(said) < 2:
            _without(pair, "comparison refused")
        else:
            pair.preferred = parsing.both_orders(said[0], said[1])
            pair.state = PairState.READY
            if pair.preferred != "output":
                _without(pair, "tie" if pair.preferred == "tie" else "preferred to the output")
    _keep(notes)
    move(moved, ["state", "note", "rejected_output", "preferred"])


def _outputs(run: SynthesisRun, step: SynthesisStep, answers: list[Item]) -> None:
    """Outputs of documents; an output that has not the shape of its kind is refused."""
    moved, notes, rows = [], [], []
    for item, found in _held(step, answers):
        moved.append(item)
        if found:
            made, why = _read(found[0], partial(parsing.content, kind=item.task_type))
            notes.append(_note(item, Stage.WRITE, 0, found[0], why))
            if why:
                _refuse(item, why)
            else:
                item.state = ItemState.DONE
                rows.append((item.document_id, item.task_type, made))
        elif _given_up(item):
            _refuse(item, UNANSWERED)
    assert run.corpus is not None
    wrong = documents.add_outputs(corpus=run.corpus, rows=rows, actor=run.created_by) if rows else set()
    for item in moved:
        if (item.document_id, item.task_type) in wrong:
            _refuse(item, "wrong_shape")
    _keep(notes)
    move(moved, ["state", "reason"])
