"""The merge lab: fields and YAML that say the same, checks that name the first difference, a preview, a run."""

from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.http import QueryDict
from django.test import Client

from accounts.models import AuditEntry, User
from annotation import samples
from annotation.models import Prompt, Split
from modelhub.models import Kind, ModelVersion
from tests.journeys import toys
from tests.training import build
from training import families, preflight, specs
from training.merge_forms import LabForm
from training.models import MergePreview, MergeRecipe, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def base(tmp_path: Path) -> ModelVersion:
    return build.version(tmp_path, "ward-base", Kind.BASE)


@pytest.fixture
def experts(base: ModelVersion, tmp_path: Path) -> list[ModelVersion]:
    return [build.version(tmp_path, f"ward-{name}", Kind.EXPERT) for name in ("clinical", "pubmed")]


@pytest.fixture(autouse=True)
def everything_runs(db: None) -> None:
    build.everything_runs()


def draft(base: ModelVersion, experts: list[ModelVersion], **more: Any) -> dict[str, Any]:
    return {"base": base.name, "expert": [each.name for each in experts], "method": "ties", **more}


def drawn(page: Any) -> dict[str, Any]:
    """What the page's own form would send back: the draft, and how it was drawn."""
    form, pane = page.context["form"], page.context["pane"]
    sent: dict[str, Any] = dict(parse_qs(form.address()))
    return sent | {"yaml": pane["text"], "yaml_was": pane["was"], "fields_was": pane["fields"], "drawn": page.context["layout"]}


def states(page: Any) -> dict[str, str]:
    return {check.name: check.state for check in page.context["checks"]}


def test_without_an_expert_it_says_what_to_do(as_dan: Client, base: ModelVersion) -> None:
    page = as_dan.get("/merge/")
    assert "There is no expert yet to merge" in page.text
    assert page.context["form"].chosen_base == base


def test_choosing_draws_a_dial_for_every_expert_and_says_they_go_together(
    as_dan: Client, base: ModelVersion, experts: list[ModelVersion], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(11):
        page = as_dan.get("/merge/", draft(base, experts))
    form = page.context["form"]
    assert [dial.key for dial in form.dials()] == [
        f"weight-{experts[0].pk}", f"density-{experts[0].pk}", f"weight-{experts[1].pk}", f"density-{experts[1].pk}", "normalize", "lambda",
    ]  # fmt: skip
    assert {name: state for name, state in states(page).items() if state != "ok"} == {"Name": "warn"}
    assert page.context["clear"]
    assert "model: ward-pubmed" in page.context["pane"]["text"]


def test_an_expert_of_another_base_is_refused_by_its_first_difference(as_dan: Client, base: ModelVersion, tmp_path: Path) -> None:
    wide = build.version(tmp_path, "wide", Kind.EXPERT, config=build.TOY | {"hidden_size": 256})
    page = as_dan.get("/merge/", draft(base, [wide]))
    found = next(check for check in page.context["checks"] if check.stops)
    assert "hidden_size" in found.detail
    assert "256" in found.detail
    assert "128" in found.detail
    refused = as_dan.post("/merge/", draft(base, [wide], name="no", do="run"))
    assert refused.status_code == 422
    assert not Run.objects.exists()


def test_a_full_disk_stops_a_run_and_a_preview_and_no_recipe(
    as_dan: Client, base: ModelVersion, experts: list[ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "DISK_AIR", 2**62)
    for do in ("run", "preview"):
        page = as_dan.post("/merge/", draft(base, experts, name="large", do=do))
        assert page.status_code == 422
        assert "Make room in" in page.text
    assert not Run.objects.exists()
    assert as_dan.post("/merge/", draft(base, experts, do="save")).status_code == 302


def test_a_merge_is_run_and_its_recipe_kept_once(as_dan: Client, dan: User, base: ModelVersion, experts: list[ModelVersion]) -> None:
    sent = draft(base, experts, name="ward-merged", do="run", **{f"weight-{experts[0].pk}": "0.25"})
    answer = as_dan.post("/merge/", sent)
    row = MergeRecipe.objects.get()
    assert answer.headers["Location"] == f"/merge/recipes/{row.public_id}/"
    assert [each["parameters"]["weight"] for each in row.params["inputs"]] == [0.25, 1.0]
    run = Run.objects.get()
    assert (run.name, run.recipe, run.job.kind, run.job.spec["publish"]["kind"]) == ("ward-merged", row, "merge", "merged")
    # The very same again is the same recipe, and another name another run of it.
    as_dan.post("/merge/", sent | {"name": "ward-merged-2"})
    assert MergeRecipe.objects.count() == 1
    assert [entry.verb for entry in AuditEntry.objects.filter(verb__in=["recipe.saved", "merge.started"]).order_by("pk")] == [
        "recipe.saved", "merge.started", "merge.started",
    ]  # fmt: skip
    build.finish(run.job, metrics={"tensors": 1})
    made = ModelVersion.objects.get(name="ward-merged")
    assert sorted(made.parent_edges.values_list("role", flat=True)) == ["base", "expert:ward-clinical", "expert:ward-pubmed"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"density-{0}": "2"}, "Must be above 0 and at most 1"),
        ({"density-{0}": "much"}, "“much” is no number"),
        ({"weight-{0}": ""}, "Needs a value"),
        ({"by-weight-{0}": "0.3; mlp: 0.5"}, "so must stand last"),
        ({"method": "slerp"}, "SLERP merges 1 expert with the base, not 2"),
        ({"expert": "nobody"}, "nobody is not one of the available choices"),
        ({"expert": "ward-base"}, "cannot be its own expert"),
        ({"name": "ward-base"}, "ward-base is taken"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_and_nothing_is_lost(
    as_dan: Client, base: ModelVersion, experts: list[ModelVersion], change: dict[str, str], said: str
) -> None:
    change = {key.format(experts[0].pk): value for key, value in change.items()}
    page = as_dan.post("/merge/", draft(base, experts, do="run") | {"name": "kept-name"} | change)
    assert page.status_code == 422
    assert said in unescape(page.text)
    assert not Run.objects.exists()
    for value in change.values():
        assert not value or value in unescape(page.text)


def test_a_list_by_layer_and_rules_by_module_reach_the_recipe(as_dan: Client, base: ModelVersion, experts: list[ModelVersion]) -> None:
    graded = {f"by-density-{experts[0].pk}": "0.2, 0.9", f"by-weight-{experts[1].pk}": "mlp: 0.5; 0.1"}
    as_dan.post("/merge/", draft(base, experts, do="save", **graded))
    first, second = MergeRecipe.objects.get().params["inputs"]
    assert first["parameters"]["density"] == [0.2, 0.9]
    assert second["parameters"]["weight"] == [{"filter": "mlp", "value": 0.5}, {"value": 0.1}]


# --- YAML both ways ---------------------------------------------------------------------------------------------------------------


def test_the_text_rules_when_it_alone_was_changed_and_keeps_its_comments(
    as_dan: Client, base: ModelVersion, experts: list[ModelVersion]
) -> None:
    sent = drawn(as_dan.get("/merge/", draft(base, experts)))
    text = "# from the ward\n" + sent["yaml"].replace("weight: 1.0", "weight: 0.125", 1)
    page = as_dan.post("/merge/", sent | {"yaml": text})
    assert page.context["form"].per_expert[0][1][0].text == "0.125"
    assert page.context["pane"]["text"] == text
    # And then a field: the text is written anew, since it says something else now.
    again = drawn(page) | {f"weight-{experts[0].pk}": "0.5"}
    page = as_dan.post("/merge/", again)
    assert "weight: 0.5" in page.context["pane"]["text"]


def test_mistakes_in_the_text_are_named_by_line_and_neither_side_is_lost(
    as_dan: Client, base: ModelVersion, experts: list[ModelVersion]
) -> None:
    sent = drawn(as_dan.get("/merge/", draft(base, experts)))
    text = "typo: 1\n" + sent["yaml"]
    page = as_dan.post("/merge/", sent | {"yaml": text})
    assert page.context["pane"]["text"] == text
    assert (1, "typo is unknown") in page.context["pane"]["problems"]
    assert page.context["form"].recipe is not None
    text = sent["yaml"].replace("model: ward-pubmed", "model: nobody")
    page = as_dan.post("/merge/", sent | {"yaml": text, "do": "save"})
    line = next(number for number, each in enumerate(text.split("\n"), 1) if "nobody" in each)
    assert f"Line {line}: no model here is called “nobody”" in page.text
    assert page.status_code == 422
    assert not MergeRecipe.objects.exists()


def test_when_both_were_changed_its_reader_chooses(as_dan: Client, base: ModelVersion, experts: list[ModelVersion]) -> None:
    sent = drawn(as_dan.get("/merge/", draft(base, experts)))
    sent["yaml"] = sent["yaml"].replace("weight: 1.0", "weight: 0.125", 1)
    sent[f"weight-{experts[0].pk}"] = "0.5"
    page = as_dan.post("/merge/", sent | {"do": "save"})
    assert page.context["pane"]["torn"]
    assert not MergeRecipe.objects.exists()
    weights = {
        side: as_dan.post("/merge/", sent | {"side": side}).context["form"].recipe.inputs[0].parameters["weight"]
        for side in ("yaml", "fields")
    }
    assert weights == {"yaml": 0.125, "fields": 0.5}


@pytest.mark.parametrize("method", ["linear", "slerp", "task_arithmetic", "ties", "dare_ties", "breadcrumbs_ties", "model_stock"])
def test_every_method_goes_from_fields_to_text_and_back_unchanged(
    as_dan: Client, base: ModelVersion, experts: list[ModelVersion], method: str
) -> None:
    chosen = experts[:1] if method == "slerp" else experts
    page = as_dan.get("/merge/", draft(base, chosen, method=method, out_dtype="bfloat16"))
    sent = drawn(page)
    # A comment makes it the text that speaks.
    back = as_dan.post("/merge/", sent | {"yaml": sent["yaml"] + "# mine\n"})
    assert back.context["form"].recipe == page.context["form"].recipe
    assert page.context["form"].recipe is not None
    assert LabForm(QueryDict(back.context["form"].address())).recipe == page.context["form"].recipe


def test_reset_keeps_the_models_and_forgets_the_numbers(as_dan: Client, base: ModelVersion, experts: list[ModelVersion]) -> None:
    answer = as_dan.post("/merge/", draft(base, experts, do="reset", **{f"weight-{experts[0].pk}": "0.25", "lambda": "3"}))
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query == {"base": ["ward-base"], "expert": ["ward-clinical", "ward-pubmed"], "method": ["ties"]}


def test_htmx_draws_only_what_changed_and_moves_the_address(as_dan: Client, base: ModelVersion, experts: list[ModelVersion]) -> None:
    sent = drawn(as_dan.get("/merge/", draft(base, experts)))
    part = as_dan.post("/merge/", sent | {"lambda": "0.5"}, headers={"HX-Request": "true"})
    assert 'id="preflight"' in part.text
    assert 'id="dials"' not in part.text
    assert "lambda=0.5" in part.headers["HX-Replace-Url"]
    part = as_dan.post("/merge/", sent | {"method": "task_arithmetic"}, headers={"HX-Request": "true"})
    assert 'id="dials" hx-swap-oob="outerHTML"' in part.text


# --- preview ----------------------------------------------------------------------------------------------------------------------


def test_a_preview_reads_no_evaluation_sample_and_makes_no_model(
    as_dan: Client, dan: User, base: ModelVersion, experts: list[ModelVersion]
) -> None:
    sent = draft(base, experts, do="preview")
    assert "import samples first" in as_dan.post("/merge/", sent).text
    samples.import_jsonl(file=toys.corpus(120), source="toy", licence="CC0-1.0", actor=dan)
    answer = as_dan.post("/merge/", sent)
    preview = MergePreview.objects.get()
    assert answer.headers["Location"] == f"/merge/previews/{preview.public_id}/"
    asked = Prompt.objects.filter(pk__in=preview.job.spec["inputs"]["prompts"])
    assert asked.count() == 20
    assert not asked.filter(sample__split=Split.EVALUATION).exists()
    assert preview.job.spec["params"]["beside"] == ["ward-base", "ward-clinical"]
    models = ModelVersion.objects.count()
    items = [{"id": str(pk), "texts": [f"base {pk}", f"expert {pk}", f"merged {pk}\x00"]} for pk in preview.job.spec["inputs"]["prompts"]]
    build.finish(preview.job, items=items)
    assert ModelVersion.objects.count() == models
    first = preview.answers.first()
    assert first is not None
    assert first.merged == f"merged {first.prompt_id}\ufffd"


# --- chains and the paper ---------------------------------------------------------------------------------------------------------


def test_a_merged_input_is_made_anew_from_the_original_experts(
    as_dan: Client, dan: User, base: ModelVersion, experts: list[ModelVersion]
) -> None:
    as_dan.post("/merge/", draft(base, experts[:1], method="slerp", name="restored", do="run"))
    build.finish(Run.objects.get().job, metrics={})
    restored = ModelVersion.objects.get(name="restored")
    assert restored.kind == Kind.EXPERT
    page = as_dan.get("/merge/", draft(base, [restored, experts[1]]))
    assert "evaluated from the original experts" in page.text
    as_dan.post("/merge/", draft(base, [restored, experts[1]], name="both", do="run"))
    job = Run.objects.get(name="both").job
    assert set(job.spec["models"]) == {"ward-base", "restored", "ward-pubmed"}
    asked = specs.engine_spec(job)
    assert set(asked.models) == {"ward-base", "ward-clinical", "ward-pubmed"}
    assert list(asked.params.steps) == ["restored"]  # type: ignore[union-attr]


def test_the_papers_two_steps_are_queued_by_one_click(as_dan: Client, base: ModelVersion, experts: list[ModelVersion]) -> None:
    assert as_dan.post("/merge/paper/", draft(base, experts[:1], name="mediphi")).status_code == 422
    as_dan.post("/merge/paper/", draft(base, experts, name="mediphi"))
    first, second, last = Run.objects.order_by("pk")
    assert [first.name, second.name, last.name] == ["mediphi-clinical", "mediphi-pubmed", "mediphi"]
    assert first.params["t"] == 0.5
    assert set(last.job.waits_for.all()) == {first.job, second.job}
    given = {each["model"]: each["parameters"]["weight"] for each in last.params["inputs"]}
    assert given == {"mediphi-clinical": 0.5, "mediphi-pubmed": 0.06352674368303199}
    for run in (first, second):
        build.finish(run.job, metrics={"t": 0.5})
    assert set(specs.engine_spec(last.job).models) == {"ward-base", "ward-clinical", "ward-pubmed"}
    build.finish(last.job, metrics={})
    last.refresh_from_db()
    assert last.recipe is not None
    assert last.recipe.method == "breadcrumbs_ties"
    assert [each.version.name for each in last.recipe.inputs.all()] == ["mediphi-clinical", "mediphi-pubmed"]


def test_a_familys_merges_have_recipes_too(dan: User) -> None:
    families.start(preset="test", actor=dan)
    for run in Run.objects.order_by("pk"):
        build.finish(run.job, metrics={"t": 0.5} if run.job.kind == "merge" else {}, number=float(run.pk))
    merged = Run.objects.get(name="toy-merged")
    assert merged.recipe is not None
    assert merged.recipe.base is not None
    assert (merged.recipe.base.name, merged.recipe.inputs.count()) == ("toy-base", 5)


def test_only_trainers_may_merge(as_alice: Client, as_carol: Client, as_sam: Client) -> None:
    for client in (as_alice, as_carol, as_sam):
        assert client.get("/merge/").status_code == 403
