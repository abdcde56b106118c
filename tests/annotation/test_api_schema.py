"""The API's description: complete, valid, and true about errors."""

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework.throttling import UserRateThrottle


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-any-return, no-untyped-call]


def operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation for path in schema["paths"].values() for operation in path.values()}


def test_it_describes_every_operation(schema: dict[str, Any]) -> None:
    validate_schema(schema)
    assert set(operations(schema)) == {
        "samples_list", "samples_retrieve", "campaigns_list", "campaigns_retrieve", "campaigns_next", "assignments_submit",
        "snapshots_list", "snapshots_retrieve", "snapshots_lint", "imports_create", "imports_report", "imports_retrieve",
        "exports_list", "exports_retrieve", "exports_archive", "exports_file", "snapshots_freeze",
    }  # fmt: skip


def test_every_operation_declares_its_errors_as_problem_documents(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema).items():
        for status in ("401", "403", "404", "429"):
            assert set(operation["responses"][status]["content"]) == {"application/problem+json"}, (name, status)


def test_the_key_of_an_answer_is_a_required_header(schema: dict[str, Any]) -> None:
    submit = operations(schema)["assignments_submit"]
    assert [(p["name"], p["in"], p["required"]) for p in submit["parameters"] if p["in"] == "header"] == [
        ("Idempotency-Key", "header", True)
    ]


def test_signed_in_people_can_read_it(as_alice: Client) -> None:
    assert as_alice.get("/api/v1/schema/").status_code == 200
    page = as_alice.get("/api/v1/docs/").content.decode()
    assert 'src="/api/v1/docs/?script' in page
    assert Client().get("/api/v1/schema/").status_code == 401


def test_a_runaway_script_is_told_when_to_come_back(as_dan: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.clear()
    monkeypatch.setattr(UserRateThrottle, "THROTTLE_RATES", {"user": "2/min", "anon": "2/min"})
    answers = [as_dan.get("/api/v1/samples/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["Retry-After"]) > 0
    assert answers[2].headers["Content-Type"] == "application/problem+json"
    cache.clear()
