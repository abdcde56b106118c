"""The records room: administrators make accounts there; everything else is for reading."""

from pathlib import Path
from typing import Any

from django.test import Client

from accounts.models import AuditEntry, User
from tests.accounts.house import furnish
from tests.cast import PASSWORD


def test_an_administrator_makes_an_account_with_roles(as_ada: Client) -> None:
    form = {"username": "grace", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD, "roles": ["annotator", "steward"]}
    answer = as_ada.post("/records/accounts/user/add/", form)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    grace = User.objects.get(username="grace")
    assert grace.roles() == {"annotator", "steward"}
    assert not grace.is_staff
    verbs = AuditEntry.objects.order_by("pk").values_list("verb", "actor_name", "details")
    assert list(verbs) == [
        ("user.created", "ada", {}),
        ("user.roles_changed", "ada", {"granted": ["annotator", "steward"], "withdrawn": []}),
    ]


def test_an_administrator_disables_an_account_and_takes_a_role(dan: User, as_ada: Client) -> None:
    form = {"username": "dan", "first_name": "", "last_name": "", "roles": ["steward"]}
    answer = as_ada.post(f"/records/accounts/user/{dan.pk}/change/", form)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    dan = User.objects.get(pk=dan.pk)
    assert not dan.is_active
    assert set(dan.grants.values_list("role", flat=True)) == {"steward"}
    assert set(AuditEntry.objects.values_list("verb", flat=True)) == {"user.disabled", "user.roles_changed"}


def test_nothing_there_names_a_pair_or_a_completion(as_ada: Client) -> None:
    page = as_ada.get("/records/").content.decode()
    assert "Campaigns" in page
    for hidden in ("completion", "pair", "judgement", "assignment", "slot", "generation"):
        assert f"/{hidden}/" not in page


def test_every_list_and_record_opens(db: None, settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"
    (tmp_path / "model").mkdir()
    house = furnish(tmp_path / "model")
    for record, row in house.records.items():
        folder = "/records/" + record.replace("_", "/")
        for address in (f"{folder}/", f"{folder}/{row.pk}/change/"):
            assert house.clients["admin"].get(address).status_code == 200, address
    study = house.records["training_study"]
    study.raters.set([house.people["outsider"], house.people["annotator"]])
    assert "alice, eve" in house.clients["admin"].get(f"/records/training/study/{study.pk}/change/").text
