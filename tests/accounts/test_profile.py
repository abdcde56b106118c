"""The profile: what a rater says of themselves, kept in bands; who listens routes pairs by it."""

from typing import Any

import pytest
from django.test import Client

from accounts import profiles
from accounts.models import AuditEntry, Profile, User
from tests.cast import person, signed_in

PAGE = "/me/profile/"
FORM = {
    "specialties": ["cardiology", "internal_medicine", ""],
    "profession": "resident",
    "years": "6",
    "languages": "English, german",
    "conflicts": "I advise a maker of language models.",
}


@pytest.fixture
def grace(db: None) -> User:
    return person("grace", "annotator", consents=False)


def test_it_is_stored_in_the_order_it_was_chosen(grace: User) -> None:
    answer = signed_in(grace).post(PAGE, {**FORM, "next": "/rate/"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/rate/")
    said = Profile.objects.get(user=grace)
    assert said.specialties == ["cardiology", "internal_medicine"]
    assert (said.profession, said.years, said.languages) == ("resident", 6, ["English", "German"])
    assert said.conflicts == "I advise a maker of language models."


def test_the_page_has_the_fields_that_scripts_and_people_look_for(grace: User) -> None:
    page = signed_in(grace).get(PAGE).content.decode()
    assert 'id="profile-form"' in page
    assert page.count('name="specialties"') == 3
    for name in ("profession", "years", "languages", "conflicts"):
        assert f'name="{name}"' in page


def test_it_comes_back_filled_in_and_can_be_changed(grace: User) -> None:
    client = signed_in(grace)
    client.post(PAGE, FORM)
    page = client.get(PAGE).content.decode()
    assert '<option value="cardiology" selected>' in page
    assert '<option value="internal_medicine" selected>' in page
    assert 'value="English, German"' in page
    assert client.post(PAGE, {**FORM, "specialties": ["internal_medicine"], "years": "7"}).status_code == 302
    said = Profile.objects.get(user=grace)
    assert (said.specialties, said.years) == (["internal_medicine"], 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"specialties": []}, "Choose your main field"),
        ({"specialties": ["", "", ""]}, "Choose your main field"),
        ({"specialties": ["cardiology", "cardiology"]}, "You chose the same field twice."),
        ({"specialties": ["astrology"]}, "is not one of the available choices"),
        ({"specialties": ["cardiology", "neurology", "oncology", "surgery"]}, "Choose 3 fields at most."),
        ({"profession": ""}, "This field is required."),
        ({"profession": "king"}, "is not one of the available choices"),
        ({"years": ""}, "This field is required."),
        ({"years": "-1"}, "greater than or equal to 0"),
        ({"years": "71"}, "less than or equal to 70"),
        ({"years": "many"}, "Enter a whole number."),
        ({"languages": " , "}, "Name at least one language."),
        ({"languages": "English; C3PO"}, "Write languages as words"),
        ({"languages": "a" * 21}, "Write languages as words"),
        ({"languages": ",".join("abcdefghi")}, "Name 8 languages at most."),
        ({"conflicts": "x" * 2001}, "at most 2000 characters"),
    ],
)
def test_a_mistake_stores_nothing_and_loses_nothing(changes: dict[str, Any], message: str, grace: User) -> None:
    answer = signed_in(grace).post(PAGE, {**FORM, "next": "/rate/", **changes})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert message in page
    assert 'name="next" value="/rate/"' in page
    if "conflicts" not in changes:
        assert "I advise a maker of language models." in page
    if "languages" not in changes:
        assert 'value="English, german"' in page, "as it was written"
    if "specialties" not in changes:
        assert '<option value="cardiology" selected>' in page
    assert not Profile.objects.exists()


@pytest.mark.parametrize("languages", ["Português (Brasil)", "Bahasa Indonesia", "Français", "中文"])
def test_languages_are_written_as_people_write_them(languages: str, grace: User) -> None:
    signed_in(grace).post(PAGE, {**FORM, "languages": f"{languages}, {languages.lower()}"})
    assert Profile.objects.get(user=grace).languages == [languages]


def test_who_routes_pairs_hears_of_a_change_and_of_nothing_else(grace: User) -> None:
    heard: list[tuple[str, list[str]]] = []

    def listen(sender: Any, user: User, **_: Any) -> None:
        heard.append((user.username, user.profile.specialties))

    said: dict[str, Any] = {"specialties": ["surgery"], "profession": "specialist", "years": 9, "languages": ["Dutch"]}
    profiles.changed.connect(listen)
    try:
        profiles.save(user=grace, **said)
        profiles.save(user=grace, **said)
        profiles.save(user=grace, **{**said, "specialties": ["neurology", "surgery"]})
    finally:
        profiles.changed.disconnect(listen)
    assert heard == [("grace", ["surgery"]), ("grace", ["neurology", "surgery"])]


def test_the_trail_names_the_fields_and_never_what_is_in_them(grace: User) -> None:
    signed_in(grace).post(PAGE, FORM)
    signed_in(grace).post(PAGE, {**FORM, "years": "7"})
    entries = list(AuditEntry.objects.filter(verb="profile.saved").order_by("pk").values_list("details", flat=True))
    assert entries == [{"fields": ["conflicts", "languages", "profession", "specialties", "years"]}, {"fields": ["years"]}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"specialties": []},
        {"specialties": ["surgery", "surgery"]},
        {"specialties": ["astrology"]},
        {"profession": "king"},
        {"years": 71},
        {"years": -1},
        {"languages": []},
        {"languages": ["x" * 21]},
    ],
)
def test_the_verb_refuses_what_the_form_refuses(wrong: dict[str, Any], grace: User) -> None:
    said: dict[str, Any] = {"specialties": ["surgery"], "profession": "specialist", "years": 9, "languages": ["Dutch"]}
    with pytest.raises(ValueError):
        profiles.save(user=grace, **{**said, **wrong})
    assert not Profile.objects.exists()


def test_it_shows_what_was_agreed_to_and_the_way_out(as_alice: Client) -> None:
    page = as_alice.get(PAGE).content.decode()
    assert "You agreed to version 1" in page
    assert 'href="/me/consent/withdraw/"' in page
    as_alice.post("/me/consent/withdraw/")
    page = as_alice.get(PAGE).content.decode()
    assert "You withdrew your consent" in page
    assert 'href="/me/consent/withdraw/"' not in page


def test_the_menu_leads_to_it(as_alice: Client) -> None:
    page = as_alice.get(PAGE).content.decode()
    for label in ("Profile", "My impact", "History", "Keys", "API tokens", "Change password"):
        assert f">{label}</a>" in page, label


def test_who_does_not_rate_has_a_shorter_menu(as_dan: Client) -> None:
    page = as_dan.get(PAGE).content.decode()
    assert ">Profile</a>" in page
    for label in ("My impact", "History", "Keys"):
        assert f">{label}</a>" not in page, label
