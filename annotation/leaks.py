"""Samples that are nearly the same and stand in different splits: what would be trained on and held out at once."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from annotation import near
from annotation.models import Sample, Split
from annotation.staging import Tell, quiet

# Two samples whose instruction and input share nine tenths of their runs of five characters (annotation/near.py) are copies with a word or
# a figure changed. In a short text a changed figure is another question: below SHORT characters only the same words count, and those
# share a split since their import.
THRESHOLD, SHORT = near.THRESHOLD, 200
# An index tells likeness within its signatures' error; whoever comes this close is compared exactly.
_DOUBT = 0.1
CHUNK = 500
# Held out for more comes first: its rows stay, and its near-duplicates in the splits after it go.
_ORDER = (Split.EVALUATION, Split.VALIDATION, Split.TRAIN)


def across_splits(samples: Mapping[str, Collection[int]], tell: Tell = quiet) -> set[int]:
    """The ids of `samples` (ids by split) to leave out, so that no two left are nearly the same in different splits.

    Evaluation samples stay, of validation and train those go that are close to a sample held out for more. Five hundred texts and the
    signatures of what is held out are in memory. `tell` hears how many were looked at.
    """
    index: near.Index[int] = near.Index(threshold=THRESHOLD - _DOUBT)
    leaving: set[int] = set()
    before, total = 0, sum(len(found) for found in samples.values())
    for split in _ORDER:
        mine = samples.get(split, ())
        for number, chunk in enumerate(_texts(mine if len(index) else ())):
            tell("near-duplicates", before + min(number * CHUNK, len(mine)), total)
            close = index.ask_many([text for _, text in chunk])
            leaving |= _confirmed(
                {sample: (text, [name for name, _ in found]) for (sample, text), found in zip(chunk, close, strict=True) if found}
            )
        # What is close within one split is no leak: a split is indexed after it was asked.
        for number, chunk in enumerate(_texts(set(mine) - leaving if split != Split.TRAIN else ())):
            tell("near-duplicates", before + min(number * CHUNK, len(mine)), total)
            index.add_many([sample for sample, _ in chunk], [text for _, text in chunk])
        before += len(mine)
    return leaving


def _confirmed(close: Mapping[int, tuple[str, list[int]]]) -> set[int]:
    """Those with a neighbour that is as close as the threshold asks, compared run by run."""
    wanted = {other for _, others in close.values() for other in others}
    if not wanted:
        return set()
    texts = dict(one for chunk in _texts(wanted) for one in chunk)
    return {sample for sample, (text, others) in close.items() if any(near.jaccard(text, texts[other]) >= THRESHOLD for other in others)}


def _texts(ids: Iterable[int]) -> Iterator[list[tuple[int, str]]]:
    """(id, instruction and input) of the long ones, in the order of their ids."""
    for chunk in _batches(sorted(ids)):
        found = Sample.objects.filter(pk__in=chunk).order_by("pk").values_list("pk", "instruction", "input")
        texts = [(pk, f"{instruction}\n{text}") for pk, instruction, text in found]
        yield [(pk, text) for pk, text in texts if len(text) >= SHORT]


def _batches(found: Iterable[int]) -> Iterator[list[int]]:
    waiting = iter(found)
    while chunk := list(islice(waiting, CHUNK)):
        yield chunk
