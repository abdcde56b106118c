"""The page of a lineage: the drawing, its table, what is chosen, unfolded and hidden."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role, RoleGrant, User
from annotation import campaigns
from annotation.models import Judgement, Pair, Sample
from tests.annotation import build as annotating
from tests.cast import signed_in
from tests.training import build
from training import evaluations, runs
from training.provenance import search

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(dan: User, tmp_path: Path) -> dict[str, Any]:
    """A file of 32 samples, two systems' texts, one rater, a snapshot, a run from an SFT model to a DPO one, its evaluation."""
    return build_world(dan, tmp_path)


def build_world(dan: User, tmp_path: Path) -> dict[str, Any]:
    build.everything_runs()
    sft = build.version(tmp_path, "toy-sft", toy=True)
    snapshot = build.snapshot(simulated=True)
    run = runs.start(snapshot=snapshot, policy=sft, preset="demo", name="toy-dpo-1", actor=dan)
    build.finish(run.job, number=7.0)
    run.refresh_from_db()
    assert run.output is not None
    evaluation = evaluations.start(policy=run.output, reference=sft, snapshot=snapshot, actor=dan)
    build.finish_evaluation(evaluation, value=0.7, low=0.6, high=0.8, n=240)
    train = Sample.objects.filter(split="train", prompts__pairs__campaign=snapshot.campaign).order_by("pk").first()
    return {
        "train_sample": train.pk if train else 0, "sft": sft, "snapshot": snapshot, "run": run, "dpo": run.output,
        "evaluation": evaluation,
    }  # fmt: skip


def url(kind: str, key: object, rest: str = "") -> str:
    return f"/lineage/{kind}/{key}/{rest}"


def test_a_model_shows_all_that_fed_it_in_counts(world: dict[str, Any], as_dan: Client) -> None:
    page = as_dan.get(url("model", world["dpo"].public_id)).content.decode()
    rows = world["snapshot"].rows.exclude(split="evaluation").count()
    assert f"{rows} samples" in page
    assert f"{2 * rows} completions" in page
    assert "by 1 rater" in page
    assert "style=" not in page


def test_a_box_is_chosen_and_unfolded_by_its_address(world: dict[str, Any], as_dan: Client) -> None:
    address = url("source", Sample.objects.earliest("pk").source_id)
    first = Sample.objects.filter(prompts__pairs__campaign=world["snapshot"].campaign).earliest("pk").pk
    groups = re.findall(r'id="box-(sample-\d+)"', as_dan.get(address).content.decode())
    assert f"sample-{first}" in groups
    chosen = as_dan.get(f"{address}?show=sample-{first}").content.decode()
    assert "Unfold here" in chosen
    assert "They are of one kind" in chosen
    opened = as_dan.get(f"{address}?open=sample-{first}").content.decode()
    assert opened.count('id="box-sample-') >= len(groups) + 11
    assert "Fold everything again" in opened


def test_it_says_hash_actor_time_and_kind_of_what_is_chosen(world: dict[str, Any], as_dan: Client) -> None:
    run = world["run"]
    page = as_dan.get(url("model", world["dpo"].public_id) + f"?show=run-{run.pk}").content.decode()
    details = page[page.index('id="details"') : page.index("As a table")]
    assert run.job.spec_digest in details
    assert "dan" in details
    assert "<time" in details
    assert "Run, dpo run" in details
    assert f'href="/runs/{run.pk}/"' in details


def test_from_a_sample_to_the_model_and_back(world: dict[str, Any], as_dan: Client) -> None:
    there = as_dan.get(url("sample", world["train_sample"])).content.decode()
    model = url("model", world["dpo"].public_id)
    assert f'href="{model}"' in there
    back = as_dan.get(model + "list/sample/?split=train").content.decode()
    assert f'href="/lineage/sample/{world["train_sample"]}/"' in back
    assert f'href="/lineage/sample/{world["train_sample"]}/"' in as_dan.get("/samples/").content.decode()


def test_what_nothing_fed_says_so(world: dict[str, Any], as_dan: Client) -> None:
    page = as_dan.get(url("model", world["sft"].public_id)).content.decode()
    assert "Nothing fed it that is on record" in page
    assert "<svg class" not in page


@pytest.mark.parametrize(
    ("kind", "key"), [("model", "1"), ("nothing", "1"), ("sample", "0"), ("sample", "x"), ("part", "x-train"), ("run", 10**30)]
)
def test_what_is_not_there_is_not_found(as_dan: Client, kind: str, key: object) -> None:
    assert as_dan.get(url(kind, key)).status_code == 404


@pytest.mark.parametrize(("who", "status"), [("as_dan", 200), ("as_ada", 200), ("as_sam", 200), ("as_alice", 403), ("as_carol", 403)])
def test_who_may_look(world: dict[str, Any], who: str, status: int, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(who)
    for rest in ("", "list/sample/", "prov.json", "drawing.svg"):
        assert client.get(url("model", world["dpo"].public_id, rest)).status_code == status
    assert client.get("/lineage/").status_code == status


def test_no_page_names_a_rater_or_holds_clinical_text(world: dict[str, Any], as_dan: Client) -> None:
    judgement, pair = Judgement.objects.earliest("pk"), Pair.objects.earliest("pk")
    starts = [("model", world["dpo"].public_id), ("sample", pair.prompt.sample_id), ("pair", pair.pk), ("judgement", judgement.pk),
              ("completion", pair.first_id), ("snapshot", world["snapshot"].public_id)]  # fmt: skip
    texts = [pair.first.text, pair.prompt.sample.input, pair.prompt.sample.instruction]
    for kind, key in starts:
        for direction in ("up", "down"):
            for rest in ("", "list/judgement/", "list/sample/", "prov.json", "drawing.svg"):
                said = as_dan.get(url(kind, key, rest) + f"?direction={direction}").content.decode()
                assert "rater-of-spring" not in said
                assert not [text for text in texts if text in said]


def test_while_its_campaign_runs_a_judging_trainer_gets_404_and_sees_nothing_of_it_elsewhere(dan: User) -> None:
    RoleGrant.objects.create(user=dan, role=Role.ANNOTATOR)
    judging = User.objects.get(pk=dan.pk)
    running = annotating.campaign([judging], pairs=4)
    pair = running.pairs.earliest("pk")
    client = signed_in(judging)
    for kind, key in (("pair", pair.pk), ("completion", pair.first_id)):
        for rest in ("", "list/sample/", "prov.json", "drawing.svg"):
            assert client.get(url(kind, key, rest)).status_code == 404
    batch = url("batch", pair.first.batch.public_id, "?direction=down")
    page = client.get(batch).content.decode()
    assert "box-completion-" not in page
    assert running.name not in page
    assert "box-pair-" not in page
    assert "box-completion-" not in client.get(url("sample", pair.prompt.sample_id)).content.decode()
    assert not [hit for hit in search.hits(pair.first.digest, user=judging) if hit.kind == "completion"]
    # Closed, it opens.
    campaigns.close(campaign=running, actor=None)
    assert client.get(url("pair", pair.pk)).status_code == 200
    assert "box-pair-" in client.get(batch).content.decode()


def test_a_steward_is_led_to_no_page_that_is_not_theirs(world: dict[str, Any], as_sam: Client, as_dan: Client) -> None:
    address = url("model", world["dpo"].public_id) + f"?show=run-{world['run'].pk}"
    assert f'href="/runs/{world["run"].pk}/"' in as_dan.get(address).content.decode()
    assert f'href="/runs/{world["run"].pk}/"' not in as_sam.get(address).content.decode()


def test_its_queries_are_counted(world: dict[str, Any], as_dan: Client, django_assert_num_queries: Any) -> None:
    address = url("model", world["dpo"].public_id)
    # session, user with roles, the model, what is blinded to its reader (two questions of the view's, two of the walk's), walk, votes; then
    # facts of what is drawn: batches, files and their sources' names, models, parts and their snapshots, runs, sources
    with django_assert_num_queries(17):
        as_dan.get(address)
