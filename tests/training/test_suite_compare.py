"""A model on the mini-suite beside what it was made from: gains with intervals, regressions in words, the paper's rows marked."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from jobs.models import Job, State
from modelhub.models import Kind, ModelVersion
from tests.training import build
from training import suiteruns, suitetables
from training.suite import mini

pytestmark = pytest.mark.django_db


@pytest.fixture
def family(tmp_path: Path) -> dict[str, ModelVersion]:
    """base → two experts → merged → SFT → DPO."""
    made = {"base": build.version(tmp_path, "base", Kind.BASE)}
    for name in ("clinical", "pubmed"):
        made[name] = build.version(tmp_path, name, Kind.EXPERT, parents=[(made["base"], "policy")])
    parents = [(made["clinical"], "expert:clinical"), (made["pubmed"], "expert:pubmed"), (made["base"], "base")]
    made["merged"] = build.version(tmp_path, "merged", Kind.MERGED, parents=parents)
    made["sft"] = build.version(tmp_path, "sft", Kind.SFT, parents=[(made["merged"], "policy")])
    made["dpo"] = build.version(tmp_path, "dpo", Kind.DPO, parents=[(made["sft"], "policy"), (made["sft"], "reference")])
    return made


# Of forty: the base gets few right, DPO falls back in one task.
RIGHT = {
    "base": dict.fromkeys(mini.TASKS, 8) | {"MedNLI": 0}, "clinical": dict.fromkeys(mini.TASKS, 12),
    "pubmed": dict.fromkeys(mini.TASKS, 10),
    "merged": dict.fromkeys(mini.TASKS, 16), "sft": dict.fromkeys(mini.TASKS, 30),
    "dpo": dict.fromkeys(mini.TASKS, 30) | {"LongHealth": 14},
}  # fmt: skip


@pytest.fixture
def asked(family: dict[str, ModelVersion], tmp_path: Path) -> dict[str, ModelVersion]:
    for name in family:
        build.suited(tmp_path, name, right=RIGHT[name])
    return family


def page_of(client: Client, *versions: ModelVersion) -> str:
    answer = client.get("/suites/compare/", {"model": [str(version.public_id) for version in versions]})
    assert answer.status_code == 200
    return str(answer.content.decode())


def cut(page: str, start: str) -> str:
    """The card whose title begins so."""
    return next(part for part in page.split("<section") if start in part).split("</section>")[0]


def words(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_from_one_model_its_whole_lineage_is_shown_in_the_order_it_came_about(asked: dict[str, ModelVersion]) -> None:
    assert [one.name for one in suitetables.lineage_of(asked["dpo"])] == ["base", "clinical", "pubmed", "merged", "sft", "dpo"]
    shown = suitetables.table(suitetables.lineage_of(asked["dpo"]), focus=asked["dpo"])
    assert {row.version.name: row.against.parent.name for row in shown.rows if row.against} == {
        "clinical": "base", "pubmed": "base", "merged": "base", "sft": "merged", "dpo": "sft",
    }  # fmt: skip
    merged = suitetables.table(suitetables.lineage_of(asked["merged"]), focus=asked["merged"])
    assert [each.parent.name for each in merged.parents] == ["base", "clinical", "pubmed"]


def test_a_regression_is_said_in_words_and_gains_have_their_intervals(as_dan: Client, asked: dict[str, ModelVersion]) -> None:
    page = page_of(as_dan, asked["dpo"])
    against = words(cut(page, "Against sft"))
    assert "✕" not in against
    assert "regression dpo got worse than sft: LongHealth, mean." in against
    fallen = r"LongHealth letter 75\.0 35\.0 -40\.0 \[-55\.0, -25\.0\] -53 % \[-7\d, -3\d\] &lt; 0\.001 regression"
    assert re.search(fallen, against), against
    assert re.search(r"MedNLI exact 75\.0 75\.0 0\.0 \[0\.0, 0\.0\] 0 % \[0, 0\] 1\.000 not told apart", against)
    table = words(cut(page, "Scores, and gains"))
    # From nothing there is no relative gain.
    assert re.search(r"clinical Expert base 30\.0 \+30\.0 \[17\.5, 45\.0\] —", table), table
    assert "12 " in table
    assert 'role="img" aria-label="dpo less sft' in page
    assert 'aria-label="Mean over the twelve tasks' in page


def test_figures_of_the_paper_are_counted_from_the_base_in_both_forms(asked: dict[str, ModelVersion]) -> None:
    shown = suitetables.table(suitetables.lineage_of(asked["dpo"]), focus=asked["dpo"])
    standing = {row.version.name: row.standing for row in shown.rows}
    assert standing["base"] is None
    dpo = standing["dpo"]
    assert dpo is not None
    assert (dpo.gained, dpo.datasets) == (12, 12)
    # Ten gains of 55 points, one of 75 and one of 15.
    assert dpo.mean_gain == pytest.approx((10 * 55 + 75 + 15) / 12)
    assert dpo.cv_sample == pytest.approx(dpo.cv_population * (12 / 11) ** 0.5)


def test_published_rows_are_marked_as_the_papers_and_other_data(as_dan: Client, asked: dict[str, ModelVersion]) -> None:
    published = cut(page_of(as_dan, asked["sft"]), "Published in arXiv 2505.10717")
    assert "other models, other data" in published
    assert "MediPhi-Instruct 71.0 26.0 42.8 45.0 29.1 37.2 61.6 19.3 34.4 43.5 56.7 54.9 43.4 9 1.4" in words(published)
    assert "sft" not in words(published)


def test_models_without_a_result_say_so_and_can_be_asked(as_dan: Client, family: dict[str, ModelVersion], tmp_path: Path) -> None:
    build.suited(tmp_path, "base")
    failed = suiteruns.start(version=family["merged"], actor=None)
    Job.objects.filter(pk=failed.job.pk).update(state=State.FAILED, error_code="out_of_memory")
    page = page_of(as_dan, family["sft"])
    lacking = cut(page, "Without a result")
    assert words(lacking).count("Ask the mini-suite") == 3
    assert "out_of_memory" in lacking
    assert "merged has no result yet." in page or "sft has no result yet." in page
    assert "every 3s" not in page
    suiteruns.start(version=family["sft"], actor=None)
    assert 'hx-trigger="every 3s"' in page_of(as_dan, family["sft"])
    address = f"/suites/compare/?model={family['sft'].public_id}"
    assert as_dan.get(address, headers={"HX-Request": "true"}).status_code == 204


def test_a_base_alone_was_made_from_nothing(as_dan: Client, asked: dict[str, ModelVersion]) -> None:
    assert "It was made from no other model." in page_of(as_dan, asked["base"])


def test_chosen_models_stand_beside_each_other_and_others_do_not(as_dan: Client, asked: dict[str, ModelVersion]) -> None:
    page = words(cut(page_of(as_dan, asked["base"], asked["sft"]), "Scores, and gains"))
    assert "merged" not in page
    assert "sft SFT –" in page


def test_results_not_asked_in_the_same_way_are_not_compared(as_dan: Client, family: dict[str, ModelVersion], tmp_path: Path) -> None:
    build.suited(tmp_path, "merged")
    build.suited(tmp_path, "sft", settings=build.suite_settings() | {"arithmetic": "bfloat16 on cuda"})
    page = page_of(as_dan, family["sft"])
    assert "merged and sft were not asked in the same way (arithmetic)" in page
    assert "not compared" in page


def test_what_is_no_model_is_404_and_nothing_chosen_leads_to_the_list(as_dan: Client, family: dict[str, ModelVersion]) -> None:
    for text in ("x", "0190b7c2-0000-7000-8000-000000000000"):
        assert as_dan.get("/suites/compare/", {"model": text}).status_code == 404
    assert as_dan.get("/suites/compare/")["Location"] == "/suites/"


def test_its_queries_do_not_grow_with_the_models(as_dan: Client, asked: dict[str, ModelVersion], django_assert_num_queries: Any) -> None:
    for name in ("clinical", "dpo"):
        page_of(as_dan, asked[name])
        with django_assert_num_queries(7):
            page_of(as_dan, asked[name])


def test_raters_never_see_it(as_alice: Client, as_carol: Client, asked: dict[str, ModelVersion]) -> None:
    for client in (as_alice, as_carol):
        assert client.get("/suites/compare/", {"model": str(asked["dpo"].public_id)}).status_code == 403


def test_the_model_and_its_evaluation_lead_there(as_dan: Client, asked: dict[str, ModelVersion]) -> None:
    page = as_dan.get(f"/models/{asked['dpo'].public_id}/").content.decode()
    assert f'href="/suites/compare/?model={asked["dpo"].public_id}"' in page


def test_the_command_prints_the_table_and_says_what_is_not_there(asked: dict[str, ModelVersion]) -> None:
    out = StringIO()
    call_command("suite", "--model", "dpo", "--table", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "| | base | clinical | pubmed | merged | sft | dpo |"
    assert "| LongHealth | 20.0 | 30.0 (+10.0 [" in out.getvalue()
    assert "75.0 (+35.0" in out.getvalue()
    assert "LongHealth, mean |" in out.getvalue()
    out = StringIO()
    # Every result stands: nobody is asked, and no worker is started.
    call_command("suite", "--model", "sft", "--model", "dpo", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert [row["model"] for row in told] == ["sft", "dpo"]
    assert told[1]["regressions"] == ["LongHealth", "mean"]
    for arguments, said in (([], "--model NAME"), (["--model", "none"], "'none'"), (["--family", "none"], "'none'")):
        with pytest.raises(CommandError, match=said):
            call_command("suite", *arguments)
