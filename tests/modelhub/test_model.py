"""The page of one model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import User
from modelhub import aliases
from modelhub.models import ModelVersion
from tests.modelhub import family

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


def url(version: ModelVersion) -> str:
    return f"/models/{version.public_id}/"


def test_it_shows_the_whole_way_from_dpo_to_base_and_snapshot(model_folder: Make, as_dan: Client) -> None:
    made = family.build(model_folder)
    page = as_dan.get(url(made["dpo"])).content.decode()
    start = page.index('<ul class="tree">')
    tree = page[start : page.index("</section>", start)]
    places = [tree.index(f">{name}<") for name in ("dpo", "sft", "merged", "pubmed-slerp", "pubmed", "medwiki-slerp", "medwiki")]
    assert places == sorted(places)
    assert "first round" in tree
    assert family.SNAPSHOT in tree
    assert page.count("<rect ") == 15
    assert "style=" not in page


def test_it_shows_files_figures_and_badges(model_folder: Make, as_dan: Client) -> None:
    made = family.build(model_folder)
    page = as_dan.get(url(made["dpo"])).content.decode()
    for entry in made["dpo"].artifact.manifest:
        assert entry["name"] in page
        assert entry["sha256"] in page
    assert "recall.pubmed" in page
    assert "0.61" in page
    assert "it knows nothing of medicine" in page
    assert "its preferences come from a program, not from clinicians" in page


def test_it_shows_aliases_with_their_moves_and_offers_the_way_back(model_folder: Make, dan: User, as_dan: Client) -> None:
    made = family.build(model_folder)
    aliases.move(name="champion", to=made["sft"], actor=dan, expected=None, reason="first")
    aliases.move(name="champion", to=made["dpo"], actor=dan, expected=made["sft"], reason="won 61 of 100")
    page = as_dan.get(url(made["dpo"])).content.decode()
    assert "won 61 of 100" in page
    assert "Roll champion back to sft …" in page
    assert "New runs and new completions start from the champion" in page
    assert 'action="/models/aliases/champion/rollback/"' in page
    assert "Roll champion back" not in as_dan.get(url(made["sft"])).content.decode()


def test_it_shows_the_card_with_what_it_lacks_and_the_ways_to_take_it(model_folder: Make, as_dan: Client) -> None:
    dpo = family.build(model_folder)["dpo"]
    ModelVersion.objects.filter(pk=dpo.pk).update(metrics={"loss": 0.5, "merge_report": {"layers": [0.123]}, "retention": {"pubmed": 0.9}})
    page = as_dan.get(url(dpo)).content.decode()
    assert "<li>Intended use: nobody has written it</li>" in page
    assert "<blockquote><p><strong>Toy.</strong>" in page
    assert f'href="{url(dpo)}export/hf.zip"' in page
    assert f'href="{url(dpo)}README.md"' in page
    assert "export/adapter.zip" not in page
    assert "No adapter of it is kept" in page
    figures = page[page.index('aria-label="Figures"') :]
    assert "merge_report" not in figures
    assert "retention" not in figures


def test_a_model_from_nothing_says_so(model_folder: Make, as_dan: Client) -> None:
    page = as_dan.get(url(family.build(model_folder)["base"])).content.decode()
    assert "It was made from no other version" in page
    assert "Made from it" in page
    assert "<rect " not in page


def test_names_are_text(model_folder: Make, as_dan: Client) -> None:
    made = family.build(model_folder)
    ModelVersion.objects.filter(pk=made["sft"].pk).update(name="<img src=x onerror=alert(1)>")
    page = as_dan.get(url(made["dpo"])).content.decode()
    assert "<img" not in page
    assert "&lt;img src=x" in page


@pytest.mark.parametrize(("who", "status"), [("as_dan", 200), ("as_ada", 200), ("as_sam", 200), ("as_alice", 403), ("as_carol", 403)])
def test_who_may_look(model_folder: Make, who: str, status: int, request: pytest.FixtureRequest) -> None:
    version = family.build(model_folder)["dpo"]
    assert request.getfixturevalue(who).get(url(version)).status_code == status


def test_a_steward_sees_the_model_but_no_way_to_move_it(model_folder: Make, dan: User, as_sam: Client) -> None:
    made = family.build(model_folder)
    aliases.move(name="champion", to=made["sft"], actor=dan, expected=None, reason="")
    aliases.move(name="champion", to=made["dpo"], actor=dan, expected=made["sft"], reason="")
    assert "Roll champion back" not in as_sam.get(url(made["dpo"])).content.decode()


def test_a_model_that_is_not_there_is_not_found(as_dan: Client) -> None:
    assert as_dan.get(f"/models/{uuid4()}/").status_code == 404


def test_its_queries_are_counted(model_folder: Make, as_dan: Client, django_assert_num_queries: Any) -> None:
    made = family.build(model_folder)
    # session, user with roles, version, aliases; the card: its run, ancestry, edges, revision, evaluations, promotions, blocks, digests,
    # earlier revisions; then ancestry, edges, moves, made from it, its run, evaluations, runs from it, studies
    with django_assert_num_queries(21):
        as_dan.get(url(made["dpo"]))
