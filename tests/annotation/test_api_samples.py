"""Samples by the API: newest first, by cursor."""

from django.test import Client

from tests.annotation import build


def test_cursors_walk_all_samples_once(as_dan: Client) -> None:
    build.stored_samples(7)
    seen, address = [], "/api/v1/samples/?page_size=3"
    while address:
        page = as_dan.get(address).json()
        seen += [sample["external_id"] for sample in page["results"]]
        address = page["next"]
    assert seen == ["s7", "s6", "s5", "s4", "s3", "s2", "s1"]


def test_a_page_of_samples_costs_a_fixed_number_of_queries(as_dan: Client, django_assert_max_num_queries: object) -> None:
    build.stored_samples(20)
    with django_assert_max_num_queries(4):  # type: ignore[operator]
        as_dan.get("/api/v1/samples/")


def test_a_wrong_cursor_is_a_problem_document(as_dan: Client) -> None:
    answer = as_dan.get("/api/v1/samples/?cursor=nonsense")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


def test_an_address_that_does_not_exist_is_a_problem_document(as_dan: Client) -> None:
    answer = as_dan.get("/api/v1/nothing/")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["title"] == "Not Found"
