"""The page that asks for a synthesis: the grid, the cost ahead, and what is refused; and the list."""

import random
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role
from tests.cast import person, signed_in
from tests.training import build
from tests.training.synthesis import carry, start
from training.synthesis.models import SynthesisRun

pytestmark = pytest.mark.django_db
FIELDS = {
    "name": "spring", "count": 20, "generator": "grammar", "judge": "grammar", "override": "", "spoilt": 0, "least": 1, "seed": 1,
    "licence": "CC0-1.0",
}  # fmt: skip


def test_what_it_comes_to_is_counted_as_one_chooses(as_dan: Client) -> None:
    chosen = FIELDS | {"tasks": ["summarization", "classification"], "documents": ["Operative Note"], "formats": ["json"]}
    page = as_dan.get("/synthesis/new/", chosen, headers={"HX-Request": "true"}).text
    assert "96 cells: 2 tasks, 8 parts of 1 document type, 6 difficulties, 1 format" in page
    assert "no past job to tell how long" in page
    carry(start(name="before", count=7))
    assert "from past jobs" in as_dan.get("/synthesis/new/", chosen, headers={"HX-Request": "true"}).text


def test_the_form_starts_a_run_and_leads_to_it(as_dan: Client) -> None:
    assert "Synthesise samples" in as_dan.get("/synthesis/new/").text
    sent = as_dan.post("/synthesis/new/", FIELDS | {"tasks": ["classification"]})
    run = SynthesisRun.objects.get()
    assert sent.headers["Location"] == f"/synthesis/{run.public_id}/"
    assert set(run.items.values_list("task_type", flat=True)) == {"classification"}
    assert run.created_by is not None
    again = as_dan.post("/synthesis/new/", FIELDS)
    assert again.status_code == 422
    assert "has this name" in again.text


def test_two_of_a_family_are_refused_with_the_field_named(as_dan: Client, settings: Any) -> None:
    ward = {"url": "http://localhost:9/v1", "model": "m", "family": "phi", "price_in": 3, "price_out": 9}
    settings.ROUNDS_GENERATION_ENDPOINTS = {"ward": ward}
    both = FIELDS | {"generator": "endpoint:ward", "judge": "endpoint:ward"}
    ahead = as_dan.get("/synthesis/new/", both, headers={"HX-Request": "true"}).text
    assert "both of the family phi" in ahead
    assert "EUR" in ahead
    refused = as_dan.post("/synthesis/new/", both)
    assert (refused.status_code, "judge" in refused.context["form"].errors) == (422, True)
    assert as_dan.post("/synthesis/new/", both | {"override": "One card only."}).status_code == 302


def test_a_model_without_room_for_our_prompts_is_refused_before_its_jobs_fail(as_dan: Client, tmp_path: Path) -> None:
    tiny = build.version(tmp_path, "toy", positions=512)
    asked = FIELDS | {"generator": f"model:{tiny.public_id}"}
    refused = as_dan.post("/synthesis/new/", asked)
    assert refused.status_code == 422
    assert "toy has room for 512 tokens" in refused.text
    roomy = build.version(tmp_path, "larger", positions=4096)
    assert as_dan.post("/synthesis/new/", asked | {"generator": f"model:{roomy.public_id}", "max_new_tokens": 200}).status_code == 302
    assert SynthesisRun.objects.get().steps.get().job.spec["params"]["max_new_tokens"] == 200


def test_the_list_says_what_there_is_in_few_queries(as_dan: Client, django_assert_max_num_queries: Any) -> None:
    assert "Nothing was synthesised yet" in as_dan.get("/synthesis/").text
    for number in range(3):
        start(name=f"run {number}", count=7)
    with django_assert_max_num_queries(8):
        page = as_dan.get("/synthesis/").text
    assert page.count("7 samples") == 3


def test_a_run_is_watched_paused_resumed_and_shows_what_came_of_it(as_dan: Client) -> None:
    run = start(count=20, spoilt=0.5)
    address = f"/synthesis/{run.public_id}/"
    page = as_dan.get(address).text
    assert "every 2s" in page
    as_dan.post(f"{address}move/", {"do": "pause"})
    assert "Resume" in as_dan.get(address).text
    as_dan.post(f"{address}move/", {"do": "resume"})
    carry(run)
    page = as_dan.get(address).text
    assert "20 samples" in page
    assert "every 2s" not in page
    assert "Samples by document type and task" in page
    assert "Rejected:" in page
    assert as_dan.get(address, headers={"HX-Request": "true"}).headers["HX-Refresh"] == "true"
    moved = as_dan.post(f"{address}move/", {"do": "stop"}, follow=True).text
    assert "This run is over" in moved


def test_clinicians_scores_tell_how_far_a_judge_is_to_be_believed(as_dan: Client) -> None:
    run = start(count=14)
    carry(run)
    lead = signed_in(person("lead", Role.ADJUDICATOR))
    labels = [label for _, label in lead.get("/synthesis/golden/").context["form"].fields["alignment"].choices]
    assert labels == [
        "1: another task, input or output than required", "2: one of them missing", "3: all there", "4: all there and fitting each other"
    ]  # fmt: skip
    for _ in range(3):
        page = lead.get("/synthesis/golden/")
        item = page.context["item"]
        assert "rammar" not in page.text
        assert "lanted" not in page.text
        lead.post("/synthesis/golden/", {"item": item.pk, **dict.fromkeys(item.scores, 3)})
    page = as_dan.get(f"/synthesis/{run.public_id}/").text
    assert "Weighted kappa" in page
    from training.synthesis import golden

    kept = {row.criterion: row for row in golden.agreement_of(run)}
    assert (kept["quality"].n, kept["quality"].kappa.value, kept["quality"].kappa.note) == (3, None, "n too small")


def test_weighted_kappa_by_hand_and_its_interval() -> None:
    from training.synthesis import golden

    def value(*pairs: tuple[int, int]) -> float | None:
        return golden.kappa(pairs * 20, range(len(pairs) * 20)).value

    assert [value((1, 1), (4, 4)), value((1, 4), (4, 1)), value((3, 3), (3, 3)), value()] == [1.0, -1.0, None, None]
    # By hand: Σ(i−j)² seen (0+1+0)/3, expected over all nine crossings of {1,2,4} and {1,3,4}: 29/9.
    assert value((1, 1), (2, 3), (4, 4)) == pytest.approx(1 - (1 / 3) / (29 / 9))
    chance = random.Random(1)
    said = [chance.randrange(1, 5) for _ in range(120)]
    heard = [score if chance.random() < 0.7 else chance.randrange(1, 5) for score in said]
    found = golden.kappa(list(zip(said, heard, strict=True)), range(120))
    assert found.value == pytest.approx(0.665, abs=0.001)
    assert (found.low, found.high) == (pytest.approx(0.477, abs=0.01), pytest.approx(0.781, abs=0.01))
    # Forty who all agree have not shown that nobody ever disagrees.
    agreed = golden.kappa([(1 + n % 4, 1 + n % 4) for n in range(40)], range(40))
    assert agreed.value == 1
    assert 0.9 < agreed.low < 1  # type: ignore[operator]


def test_outputs_of_documents_are_asked_for(as_dan: Client) -> None:
    assert "There is no corpus yet" in as_dan.get("/synthesis/outputs/").text
    from annotation.models import Corpus, Document

    corpus = Corpus.objects.create(name="Leaflets", group="other", licence="CC0-1.0")
    Document.objects.create(corpus=corpus, external_id="1", text="Aspirin treats pain.", digest="d" * 64, split="train")
    asked = {"name": "o", "corpus": corpus.pk, "kinds": ["qa"], "generator": "grammar", "seed": 1}
    sent = as_dan.post("/synthesis/outputs/", asked)
    run = SynthesisRun.objects.get()
    assert sent.headers["Location"] == f"/synthesis/{run.public_id}/"
    assert as_dan.get(sent.headers["Location"]).status_code == 200
    assert (
        as_dan.post(
            "/synthesis/outputs/", {"name": "o", "corpus": corpus.pk, "kinds": ["qa"], "generator": "grammar", "seed": 1}
        ).status_code
        == 422
    )


@pytest.mark.parametrize("who", ["alice", "sam"])
def test_only_trainers_synthesise(request: pytest.FixtureRequest, who: str) -> None:
    client = request.getfixturevalue(f"as_{who}")
    assert client.get("/synthesis/new/").status_code == 403
    assert client.get("/synthesis/golden/").status_code == 403
