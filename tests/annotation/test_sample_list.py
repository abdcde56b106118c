"""A list of millions: pages by key, counts kept by triggers, filters read cell by cell."""

from typing import Any

import pytest
from django.db.models import Sum
from django.test import Client

from annotation import samples
from annotation.models import Sample, SampleCount
from tests.annotation.build import jsonl, row

pytestmark = pytest.mark.django_db


def stored(count: int, source: str = "made-up", **changes: Any) -> None:
    kinds = ["summarization", "classification", "note scoring"]
    rows = [row(n, id=f"{source}-{n}", task_type=kinds[n % 3], **changes) for n in range(count)]
    samples.import_jsonl(file=jsonl(rows), source=source, licence="CC0-1.0", actor=None)


def walk(**filters: Any) -> list[int]:
    """Every key, page by page downwards; and each page once more from below, which must be the same."""
    seen, before = [], None
    while True:
        page = samples.listed(filters=filters, before=before, size=7)
        keys = [sample.pk for sample in page.rows]
        if seen and keys:
            back = samples.listed(filters=filters, after=keys[0], size=7)
            assert [sample.pk for sample in back.rows] == seen[-7:]
        seen += keys
        if page.older is None:
            return seen
        before = page.older


@pytest.mark.parametrize(
    "filters", [{}, {"split": "train"}, {"task_type": "classification"}, {"task_type": "note scoring", "split": "evaluation"}]
)
def test_pages_by_key_show_each_sample_once_newest_first(filters: dict[str, str]) -> None:
    stored(40)
    stored(25, "another")
    assert walk(**filters) == list(Sample.objects.filter(**filters).order_by("-pk").values_list("pk", flat=True))


def test_one_source_alone(as_dan: Client) -> None:
    stored(20)
    stored(5, "another")
    source = Sample.objects.filter(external_id__startswith="another").first().source_id  # type: ignore[union-attr]
    assert len(walk(source=source)) == 5
    page = as_dan.get(f"/samples/?source={source}").content.decode()
    assert "5 samples" in page
    assert "made-up-" not in page


def test_counts_are_kept_whatever_comes_and_goes() -> None:
    stored(12)
    assert SampleCount.objects.aggregate(all=Sum("rows"))["all"] == 12
    Sample.objects.filter(task_type="classification").delete()
    assert samples.counted() == 8
    assert samples.counted(task_type="classification") == 0
    assert samples.task_types() == ["note scoring", "summarization"]


def test_a_page_costs_the_same_however_far_down(as_dan: Client, django_assert_max_num_queries: Any) -> None:
    stored(120)
    middle = list(Sample.objects.order_by("pk").values_list("pk", flat=True))[60]
    as_dan.get("/samples/")
    for query in ("", f"?before={middle}", f"?task_type=classification&before={middle}", "?split=train", "?after=nonsense"):
        with django_assert_max_num_queries(9):
            as_dan.get(f"/samples/{query}")


def test_no_text_is_read_for_a_list() -> None:
    stored(3)
    assert {"instruction", "input", "output", "rejected_output"} <= samples.listed(filters={}).rows[0].get_deferred_fields()
