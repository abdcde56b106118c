"""The API's JSON: whatever is sent, it is answered with a problem document and never with a fault of the house."""

import pytest
from django.test import Client

from accounts.models import User

DEEP = 200_000


@pytest.mark.django_db
@pytest.mark.parametrize("sent", ["[" * DEEP, '{"campaign":' + "[" * DEEP + "]" * DEEP + "}", "{", "nothing"])
def test_what_cannot_be_read_is_a_mistake_of_who_sent_it(sent: str, dan: User, as_dan: Client) -> None:
    answer = as_dan.post("/api/v1/snapshots/", sent, content_type="application/json")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert "JSON parse error" in answer.json()["detail"]
