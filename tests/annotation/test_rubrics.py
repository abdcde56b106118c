"""Rubrics: the templates that come along, what a rubric may hold, versions that never change, the studio's pages."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import Client

from accounts.models import AuditEntry, User
from annotation import rubrics
from annotation.models import Rubric
from annotation.rubric_form import RubricForm
from annotation.rubrics import RubricRefused
from tests.annotation.build import campaign

FILES = sorted(rubrics.FOLDER.glob("*.json"), key=lambda path: path.name)
SMALL: dict[str, Any] = {"axes": [], "reasons": [{"key": "facts", "label": "Correct facts"}], "spans": [], "checks": []}


def axis(**changes: Any) -> dict[str, Any]:
    return {"key": "clear", "label": "Clear", "scale": "which", **changes}


def faults(content: Any) -> list[str]:
    with pytest.raises(RubricRefused) as refused:
        rubrics.validate(content)
    return [str(fault) for fault in refused.value.faults]


# --- files -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_template_is_what_a_rubric_may_be(path: Any) -> None:
    read = json.loads(path.read_text(encoding="utf-8"))
    assert set(read) == {"code", "name", "content"}
    assert read["code"] == path.stem
    rubrics.validate(read["content"])
    for asked in read["content"]["axes"]:
        assert asked.get("anchors"), f"{asked['key']} has no anchors"


def test_the_four_templates_ask_what_they_are_known_for() -> None:
    assert set(rubrics.templates()) >= {"T0", "T2", "T7", "T10"}
    assert rubrics.templates()[0] == "T0"
    content = {path.stem: json.loads(path.read_text(encoding="utf-8"))["content"] for path in FILES}
    assert [(one["key"], one["scale"]) for one in content["T2"]["axes"]][:3] == [
        ("completeness", "comparative"), ("correctness", "comparative"), ("conciseness", "comparative"),
    ]  # fmt: skip
    assert {one["key"] for one in content["T7"]["spans"]} == {"fabrication", "negation", "attribution", "context", "omission", "certainty"}
    assert content["T7"]["axes"][0]["scale"] == "risk"
    assert content["T10"]["checks"] == ["json"]
    assert {one["scale"] for one in content["T10"]["axes"]} == {"count", "which"}
    assert content["T0"]["axes"] == []


# --- what a rubric may hold --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "content: is not an object"),
        ({**SMALL, "colour": []}, "colour: is not known here; a rubric has axes, reasons, spans and checks"),
        ({k: v for k, v in SMALL.items() if k != "spans"}, "spans: is missing; write [] for none"),
        ({**SMALL, "reasons": "facts"}, "reasons: is not a list"),
        ({**SMALL, "reasons": ["facts"]}, "reasons[0]: is not an object"),
        (
            {**SMALL, "reasons": [{"key": "Facts!", "label": "F"}]},
            "reasons[0].key: is not a word of small letters, digits and _ (40 at most)",
        ),
        ({**SMALL, "reasons": [*SMALL["reasons"], *SMALL["reasons"]]}, "reasons[1].key: “facts” is there already"),
        ({**SMALL, "reasons": [{"key": "facts", "label": " "}]}, "reasons[0].label: is not a text of 1 to 80 characters"),
        ({**SMALL, "spans": [{"key": "a", "label": "A", "scale": "which"}]}, "spans[0].scale: is not known here"),
        ({**SMALL, "axes": [axis(scale="stars")]}, "axes[0].scale: is none of: comparative, which, risk, count"),
        ({**SMALL, "axes": [axis(scale=["which"])]}, "axes[0].scale: is none of: comparative, which, risk, count"),
        ({**SMALL, "axes": [axis(anchors={"2": "A"})]}, "axes[0].anchors.2: is no point of the scale which (-1, 0, 1)"),
        ({**SMALL, "axes": [axis(anchors={"1": ""})]}, "axes[0].anchors.1: is not a text of 1 to 200 characters"),
        ({**SMALL, "axes": [axis(scale="count", anchors={"few": "Some"})]}, "axes[0].anchors.few: is not a count"),
        ({**SMALL, "axes": [axis(anchors=["A"])]}, "axes[0].anchors: is not an object of points and what they mean"),
        ({**SMALL, "axes": [axis(help=3)]}, "axes[0].help: is not a text of at most 300 characters"),
        ({**SMALL, "checks": ["xml"]}, "checks[0]: is none of: json"),
        ({**SMALL, "checks": [["json"]]}, "checks[0]: is none of: json"),
        (
            {**SMALL, "spans": [{"key": f"k{n}", "label": "L"} for n in range(13)]},
            "spans: has 13 entries; 12 is the most that can be read beside two texts",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_place(content: Any, said: str) -> None:
    assert faults(content) == [said]


def test_all_faults_are_named_at_once() -> None:
    assert len(faults({**SMALL, "axes": [axis(scale="stars")], "checks": ["xml"], "colour": []})) == 3


def test_a_rubric_without_scales_or_reasons_will_do() -> None:
    rubrics.validate({"axes": [], "reasons": [], "spans": [], "checks": []})


# --- versions ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_template_is_written_once_and_found_again() -> None:
    first = rubrics.template("T2")
    rubrics.ensure()
    rubrics.ensure()
    assert rubrics.template("T2") == first
    assert first.version == 1
    assert first.content["axes"][0]["key"] == "completeness"
    assert Rubric.objects.count() == len(FILES)


@pytest.mark.django_db
def test_editing_makes_the_next_version_and_leaves_the_first(alice: User) -> None:
    first = rubrics.template("T0")
    second = rubrics.next_version(rubric=first, name="Quick, shorter", content=SMALL, actor=alice)
    assert (str(second), second.name) == ("T0 v2", "Quick, shorter")
    first.refresh_from_db()
    assert first.name == "Quick clinical preference"
    assert rubrics.default() == second
    assert AuditEntry.objects.latest("pk").details == {"code": "T0", "version": 2, "digest": second.digest}
    with pytest.raises(RubricRefused, match="T0 v2 was made meanwhile"):
        rubrics.next_version(rubric=first, name="Late", content=SMALL, actor=alice)
    with pytest.raises(RubricRefused, match="Nothing was changed"):
        rubrics.next_version(rubric=second, name="Quick, shorter", content=SMALL, actor=alice)
    with pytest.raises(RubricRefused, match="3 faults in the rubric"):
        rubrics.next_version(rubric=second, name="Worse", content={"axes": []}, actor=alice)


@pytest.mark.django_db
def test_the_database_refuses_to_change_a_version() -> None:
    first = rubrics.template("T0")
    for change in ({"content": SMALL}, {"name": "Other"}, {"digest": "0"}, {"version": 9}):
        with pytest.raises(DatabaseError), transaction.atomic():
            Rubric.objects.filter(pk=first.pk).update(**change)
    with pytest.raises(DatabaseError), transaction.atomic():
        first.delete()


@pytest.mark.django_db
def test_a_copy_goes_by_a_code_of_its_own(alice: User) -> None:
    made = rubrics.copy(code="ward-3", name="Ward 3", content=SMALL, actor=alice)
    assert str(made) == "ward-3 v1"
    for code, said in (("ward-3", "is taken"), ("T10", "is taken"), ("3ward", "a letter"), ("much-too-long", "a letter")):
        with pytest.raises(RubricRefused, match=said):
            rubrics.copy(code=code, name="Again", content=SMALL, actor=alice)


@pytest.mark.django_db
def test_a_retired_rubric_is_offered_no_more_but_the_default_stays(alice: User) -> None:
    retired = rubrics.retire(rubric=rubrics.template("T7"), actor=alice)
    assert retired.retired_at is not None
    with pytest.raises(RubricRefused, match="retired already"):
        rubrics.retire(rubric=retired, actor=alice)
    with pytest.raises(RubricRefused, match="make its next version first"):
        rubrics.retire(rubric=rubrics.default(), actor=alice)


@pytest.mark.django_db
def test_a_diff_shows_what_a_version_changed(alice: User) -> None:
    first = rubrics.template("T0")
    content = {**first.content, "reasons": first.content["reasons"][:-1]}
    second = rubrics.next_version(rubric=first, name=first.name, content=content, actor=alice)
    changed = [(line.change, line.text.strip()) for line in rubrics.differences(first, second) if line.change in {"added", "removed"}]
    assert ("removed", '"label": "Better hedged"') in changed
    assert not [text for change, text in changed if change == "added" and "label" in text]
    assert rubrics.differences(second, second) == []


@pytest.mark.django_db
def test_keys_are_written_in_the_order_a_reader_expects() -> None:
    """The database keeps no order of keys."""
    written = rubrics.written(Rubric.objects.get(pk=rubrics.template("T2").pk).content)
    first = json.loads(written)["axes"][0]
    assert list(json.loads(written)) == ["axes", "reasons", "spans", "checks"]
    assert list(first) == ["key", "label", "help", "scale", "anchors"]
    assert list(first["anchors"]) == ["2", "1", "0", "-1", "-2"]


# --- the studio --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_studio_lists_the_templates_and_who_uses_them(as_carol: Client, alice: User) -> None:
    campaign([alice])
    page = as_carol.get("/rubrics/").content.decode()
    assert page.index("T0 v1") < page.index("T2 v1") < page.index("T10 v1")
    assert page.count("in use") == 1
    one = as_carol.get(f"/rubrics/{rubrics.default().pk}/").content.decode()
    assert "Correct facts" in one
    assert "Chest pain letters" in one


@pytest.mark.django_db
def test_a_rubric_is_looked_at_mended_and_saved(as_carol: Client) -> None:
    first = rubrics.template("T2")
    page = f"/rubrics/{first.pk}/edit/"
    typed = rubrics.written(first.content)
    assert "Completeness" in as_carol.get(page).content.decode()

    broken = as_carol.post(page, {"save_as": "next", "name": "Reader study", "content": typed[:-2]})
    assert broken.status_code == 422
    assert "Not JSON: " in broken.content.decode()
    wrong = typed.replace('"scale": "comparative"', '"scale": "stars"')
    answer = as_carol.post(page, {"save_as": "next", "name": "Reader study", "content": wrong}).content.decode()
    assert answer.count("is none of: comparative, which, risk, count") == 3
    assert "Reader study" in answer

    better = typed.replace("Which one keeps more of what matters in the source?", "Which one forgets less?")
    preview = as_carol.post(page, {"save_as": "next", "name": "Reader study", "content": better, "preview": "1"})
    assert preview.status_code == 200
    assert "Which one forgets less?" in preview.content.decode()
    assert not Rubric.objects.filter(code="T2", version=2).exists()

    as_carol.post(page, {"save_as": "next", "name": "Reader study", "content": better})
    second = Rubric.objects.get(code="T2", version=2)
    shown = as_carol.get(f"/rubrics/{second.pk}/").content.decode()
    assert "Changed since T2 v1" in shown
    assert "<ins>+" in shown
    assert "Which one forgets less?" in shown

    late = as_carol.post(page, {"save_as": "next", "name": "Late", "content": typed})
    assert late.status_code == 422
    assert "T2 v2 was made meanwhile" in late.content.decode()


@pytest.mark.django_db
def test_a_copy_needs_a_code_and_nothing_is_lost_without(as_dan: Client) -> None:
    page = f"/rubrics/{rubrics.template('T0').pk}/edit/"
    asked = {"save_as": "copy", "name": "Ward rounds", "content": json.dumps(SMALL)}
    refused = as_dan.post(page, asked)
    assert refused.status_code == 422
    assert "A copy needs a code of its own." in refused.content.decode()
    assert 'value="Ward rounds"' in refused.content.decode()
    as_dan.post(page, {**asked, "code": "ward"})
    assert Rubric.objects.get(code="ward").content == SMALL


@pytest.mark.django_db
def test_retiring_is_a_message_either_way(as_dan: Client) -> None:
    first = rubrics.template("T7")
    assert "offered for new campaigns no more" in as_dan.post(f"/rubrics/{first.pk}/retire/", follow=True).content.decode()
    assert "retired already" in as_dan.post(f"/rubrics/{first.pk}/retire/", follow=True).content.decode()
    assert "T7 v1" not in as_dan.get("/campaigns/new/").content.decode()


@pytest.mark.django_db
def test_annotators_have_no_studio(as_alice: Client, as_sam: Client) -> None:
    first = rubrics.default()
    for client in (as_alice, as_sam):
        assert client.get("/rubrics/").status_code == 403
        assert client.post(f"/rubrics/{first.pk}/edit/", {}).status_code == 403


@pytest.mark.django_db
def test_the_studio_takes_a_fixed_number_of_queries(as_carol: Client, alice: User, django_assert_num_queries: Callable[[int], Any]) -> None:
    as_carol.get("/rubrics/")
    for _ in range(2):
        campaign([alice])
        with django_assert_num_queries(4):
            as_carol.get("/rubrics/")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5_000, "thousands of digits"),
        ('{"axes": [], "reasons": [{"key": "a", "label": "half \\ud800"}], "spans": [], "checks": []}', "half a character"),
    ],
)
def test_what_no_page_could_show_is_refused_in_words(typed: str, said: str) -> None:
    form = RubricForm({"save_as": "next", "name": "Letters", "content": typed})
    assert not form.is_valid()
    assert said in str(form.errors["content"])
