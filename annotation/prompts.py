"""Samples rendered through a versioned chat layout. The same row serves generation, judging and training."""

from collections.abc import Iterable, Iterator
from itertools import islice

from django.db import transaction

from annotation import records
from annotation.models import Prompt, Sample

LAYOUT = "mediflow-1"
CHUNK = 1000


def messages_of(sample: Sample) -> list[dict[str, str]]:
    """Layout "mediflow-1": the instruction is the system turn, the input the user turn (arXiv 2505.10717, section 3.2)."""
    return [{"role": "system", "content": sample.instruction}, {"role": "user", "content": sample.input}]


@transaction.atomic
def render(*, samples: Iterable[Sample]) -> list[Prompt]:
    """The prompts of `samples`, in their order; those that are missing are made. Rendering twice gives the same rows."""
    prompts: list[Prompt] = []
    waiting: Iterator[Sample] = iter(samples)
    while chunk := list(islice(waiting, CHUNK)):
        made = []
        for sample in chunk:
            messages = messages_of(sample)
            digest = records.digest_of({"layout": LAYOUT, "messages": messages})
            made.append(Prompt(sample=sample, layout=LAYOUT, messages=messages, digest=digest))
        known = set(Prompt.objects.filter(sample__in=chunk, layout=LAYOUT).values_list("sample_id", flat=True))
        Prompt.objects.bulk_create([p for p in made if p.sample_id not in known], ignore_conflicts=True)
        found = {p.sample_id: p for p in Prompt.objects.filter(sample__in=chunk, layout=LAYOUT).select_related("sample")}
        prompts += [found[sample.pk] for sample in chunk]
    return prompts
