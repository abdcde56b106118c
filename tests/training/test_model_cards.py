"""What a model card says by itself, on the way from a snapshot to a decision; the Hub's own library reads it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from accounts.models import Profile, User
from annotation import safety
from modelhub import cards, versions
from modelhub.models import AliasName, ModelVersion
from tests.training import build
from training import evaluations, promotions, runs
from training.models import Run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("few_pairs_do")]
OVERRIDE = "The text was an old draft; | <b>reviewed</b> by the board."


@pytest.fixture
def run(dan: User, tmp_path: Path) -> Run:
    """A finished run on a real-raters snapshot, evaluated on its held-out part."""
    sft = build.version(tmp_path, "ward-sft", licence="MIT")
    run = runs.start(snapshot=build.snapshot(pairs=48), policy=sft, preset="demo", name="ward-dpo", actor=dan)
    build.finish(run.job, metrics={"loss": 0.41, "steps": 12, "merge_report": {"x": [1]}}, adapter=True)
    run.refresh_from_db()
    return run


def metadata(text: str) -> dict[str, object]:
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def test_it_tells_data_recipe_figures_and_lineage(run: Run, dan: User) -> None:
    assert run.output is not None
    assert run.snapshot is not None
    evaluation = evaluations.start(policy=run.output, reference=run.policy, snapshot=run.snapshot, actor=dan)
    build.finish_evaluation(evaluation, value=0.7, n=240, low=0.64, high=0.75)
    card = cards.of(run.output)
    text = card.text
    assert cards.problems(text) == []
    said = metadata(text)
    assert (said["license"], said["library_name"], "base_model" in said) == ("mit", "transformers", False)
    assert said["model-index"][0]["results"][0]["metrics"][0] == {  # type: ignore[index]
        "type": "accuracy", "value": 0.7, "name": "held-out preference accuracy",
    }  # fmt: skip
    assert f"| train | {run.snapshot.counts['used']['train']} |" in text
    assert "From 48 judgements by 1 raters: 1 whose field is not told" in text
    assert "learning_rate:" in text
    assert "| held-out preference accuracy | ward-sft | 0.700 | 0.640 to 0.750 | 240 |" in text
    assert "| loss | 0.41 |" in text
    assert "merge_report" not in text
    assert versions.lineage_hash(run.output) in text
    assert run.job.spec_digest in text
    assert "2025.acl" in text or "arXiv:2505.10717" in text
    assert [what for what in card.missing if what.startswith(("Metrics", "Licence"))] == []
    assert [what for what in card.missing if what.startswith(("Gates", "Base model"))] == [
        "Gates: nobody has decided about its promotion", "Base model: no ancestor has a name on the Hugging Face Hub",
    ]  # fmt: skip


def test_no_rater_is_named_and_a_field_only_where_three_share_it(run: Run, dan: User) -> None:
    assert run.output is not None
    rater = User.objects.get(username="rater-of-spring")
    Profile.objects.update_or_create(
        user=rater, defaults={"specialties": ["cardiology"], "profession": "physician", "years": 9, "languages": ["en"]}
    )
    text = cards.of(run.output).text
    assert "rater-of-spring" not in text
    assert "ardiology" not in text


def test_an_override_is_on_the_card_for_ever_and_is_text(run: Run, dan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.output is not None
    evaluation = evaluations.start(policy=run.output, reference=run.policy, snapshot=run.snapshot, actor=dan)
    build.finish_evaluation(evaluation, value=0.7, n=240, low=0.64, high=0.75)
    monkeypatch.setattr(safety, "blocks", lambda version: [object()])
    refused = promotions.decide(evaluation=evaluation, actor=dan, expected=None)
    promotions.decide(evaluation=evaluation, actor=dan, expected=None, override=OVERRIDE)
    card = cards.of(run.output)
    assert refused.decision == "refused"
    assert r"Lead clinicians' blocks): The text was an old draft; \| \<b\>reviewed\</b\> by the board." in card.text
    assert "| Lead clinicians' blocks | 1 ruling against its texts | none, or an override in writing | overridden |" in card.text
    assert "| Lead clinicians' blocks | 1 ruling against its texts | none, or an override in writing | not passed |" in card.text
    assert "Promoted as champion" in card.text
    assert "dan" not in card.text.split()
    assert not any(what.startswith("Gates") for what in card.missing)


def test_a_published_ancestor_is_the_base_model(run: Run, dan: User) -> None:
    assert run.output is not None
    assert run.policy is not None
    cards.revise(version=run.policy, prose={}, hub_id="ward/letters-sft", expected=0, actor=dan)
    assert metadata(cards.of(run.output).text)["base_model"] == ["ward/letters-sft"]
    assert metadata(cards.of(run.output).text)["base_model_relation"] == "finetune"
    adapter = metadata(cards.of(run.output, adapter=True).text)
    assert (adapter["base_model_relation"], adapter["library_name"]) == ("adapter", "peft")
    assert cards.of(run.output, adapter=True).base == "ward/letters-sft"


def test_the_lineage_hash_covers_the_whole_way_up(run: Run, tmp_path: Path) -> None:
    assert run.output is not None
    assert run.policy is not None
    # The same files under another parent, and the same parent in another role.
    other = build.version(tmp_path, "other-sft", number=77.0)
    twins = [
        versions.register(name=name, kind="dpo", artifact=run.output.artifact, parents=parents, actor=None)
        for name, parents in (("a", [(other, "policy")]), ("b", [(run.policy, "policy")]), ("c", [(run.policy, "base")]))
    ]
    hashes = {versions.lineage_hash(twin) for twin in twins} | {versions.lineage_hash(run.output)}
    assert len(hashes) == 4
    again = versions.register(name="d", kind="dpo", artifact=run.output.artifact, parents=[(run.policy, "base")], actor=None)
    assert versions.lineage_hash(again) == versions.lineage_hash(twins[2])


@pytest.mark.engine
def test_the_hubs_own_library_reads_it_back(run: Run, dan: User, tmp_path: Path) -> None:
    """huggingface_hub parses the metadata with errors on, model-index included, and its names pass `validate_repo_id`."""
    assert run.output is not None
    assert run.policy is not None
    cards.revise(version=run.policy, prose={}, hub_id="ward/letters-sft", expected=0, actor=dan)
    evaluation = evaluations.start(policy=run.output, reference=run.policy, snapshot=run.snapshot, actor=dan)
    build.finish_evaluation(evaluation, value=0.7, n=240, low=0.64, high=0.75)
    (tmp_path / "README.md").write_text(cards.of(run.output).text)
    code = """
import sys
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
card = ModelCard.load(sys.argv[1], ignore_metadata_errors=False)
for name in card.data.base_model: validate_repo_id(name)
found = card.data.eval_results[0]
assert (found.task_type, found.metric_type, found.metric_value) == ("text-generation", "accuracy", 0.7), found
assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "README.md")], capture_output=True, text=True, timeout=100, check=False,
        env={"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]


def test_promotion_and_card_name_the_alias(run: Run, dan: User) -> None:
    assert run.output is not None
    evaluation = evaluations.start(policy=run.output, reference=run.policy, snapshot=run.snapshot, actor=dan)
    build.finish_evaluation(evaluation, value=0.7, n=240, low=0.64, high=0.75)
    promotions.decide(evaluation=evaluation, actor=dan, expected=None, alias=AliasName.CHALLENGER)
    assert "Promoted as challenger" in cards.of(ModelVersion.objects.get(pk=run.output.pk)).text


def test_a_merge_is_told_as_mergekits_yaml_by_the_names_of_its_models(dan: User, tmp_path: Path) -> None:
    base, pubmed = build.version(tmp_path, "ward-base"), build.version(tmp_path, "ward-pubmed")
    run = runs.build(
        kind="merge", name="ward-merged", label="Merge", seed=1, preset="", actor=dan, waits_for=[],
        params={"method": "slerp", "base": "base", "inputs": [{"model": "expert"}], "parameters": {"t": 0.25}},
        models={"base": {"version": base.pk}, "expert": {"version": pubmed.pk}},
        publish={"kind": "merged", "toy": False, "simulated": False, "roles": {"base": "base", "expert": "expert"}},
    )  # fmt: skip
    build.finish(run.job, number=99.0)
    version = ModelVersion.objects.get(name="ward-merged")
    cards.revise(version=base, prose={}, hub_id="microsoft/Phi-3.5-mini-instruct", expected=0, actor=dan)
    text = cards.of(version).text
    told = text[text.index("As mergekit's YAML:") :]
    assert "merge_method: slerp\nbase_model: ward-base\n" in told
    assert "- model: ward-pubmed\n" in told
    assert metadata(text)["base_model"] == ["microsoft/Phi-3.5-mini-instruct"]
    assert metadata(text)["base_model_relation"] == "merge"
    assert cards.problems(text) == []
