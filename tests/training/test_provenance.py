"""The walk through the lineage against a brute-force oracle on random worlds, and what it leaves out."""

import random
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts import audit
from accounts.models import Role, RoleGrant, User
from annotation import rubrics, samples
from annotation.models import (
    Adjudication,
    Assignment,
    Campaign,
    Completion,
    Dispute,
    GenerationBatch,
    Judgement,
    Pair,
    Prompt,
    Sample,
    Slot,
    Snapshot,
    SnapshotEvidence,
    SnapshotRow,
    Source,
)
from jobs.models import Job
from modelhub.models import Artifact, LineageEdge, ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from tests.training import build
from tests.training.test_collapse import check_ways
from training.models import Evaluation, EvaluationItem, MergeRecipe, Promotion, Run
from training.provenance.collapse import collapse
from training.provenance.kinds import part_id
from training.provenance.walk import Node, walk

pytestmark = pytest.mark.django_db
SPLITS = ("train", "validation", "evaluation")
Edges = set[tuple[Node, Node]]


def digest() -> str:
    return uuid4().hex * 2


def random_world(draw: random.Random) -> Edges:
    """A house of two to four generations: models answer samples, raters judge, snapshots feed runs that make models. Its edges, by hand."""
    edges: Edges = set()
    now = timezone.now()
    source = Source.objects.create(name=f"source {digest()[:8]}", licence="CC0-1.0")
    samples = []
    for _ in range(draw.randint(1, 2)):
        came = [
            Sample.objects.create(
                source=source, external_id=digest(), digest=digest(), instruction="Sum up.", input="A note.", task_type="summarization",
                input_data="Note", output_format="plain_text", split_key="k", split=draw.choice(SPLITS),
            )
            for _ in range(draw.randint(1, 4))
        ]  # fmt: skip
        entry = audit.record(None, "samples.imported", source, file=digest())
        edges |= {(("file", entry.pk), ("sample", sample.pk)) for sample in came}
        samples += came
    edges |= {(("source", source.pk), ("sample", sample.pk)) for sample in samples}
    prompts = [Prompt.objects.create(sample=sample, layout="one", messages=[], digest=digest()) for sample in samples]
    edges |= {(("sample", prompt.sample_id), ("prompt", prompt.pk)) for prompt in prompts}
    raters = [person(f"rater-{digest()[:8]}", Role.ANNOTATOR, consents=False) for _ in range(2)]
    models = [version("base")]
    for generation in range(draw.randint(1, 3)):
        batches = [GenerationBatch.objects.create(version=draw.choice(models)), GenerationBatch.objects.create(system="north")]
        edges |= {(("model", batch.version_id), ("batch", batch.pk)) for batch in batches if batch.version_id}
        campaign = Campaign.objects.create(name=f"round {generation}", guideline="Read.", rubric=rubrics.default())
        pairs = []
        for prompt in draw.sample(prompts, draw.randint(1, len(prompts))):
            first, second = (
                Completion.objects.create(prompt=prompt, batch=batch, text=f"Text {digest()}", digest=digest()) for batch in batches
            )
            pair = Pair.objects.create(campaign=campaign, prompt=prompt, first=first, second=second, position=len(pairs))
            pairs.append(pair)
            for text in (first, second):
                edges |= {
                    (("prompt", prompt.pk), ("completion", text.pk)), (("batch", text.batch_id), ("completion", text.pk)),
                    (("completion", text.pk), ("pair", pair.pk)),
                }  # fmt: skip
        votes = {pair.pk: [vote(pair, rater, now) for rater in draw.sample(raters, draw.randint(0, 2))] for pair in pairs}
        edges |= {(("pair", pk), ("judgement", judgement.pk)) for pk, given_ in votes.items() for judgement in given_}
        ruled = draw.choice(pairs)
        dispute = Dispute.objects.create(pair=ruled, campaign=campaign, kind="opposed", first_on_left=True, state="ruled")
        ruling = Adjudication.objects.create(dispute=dispute, adjudicator=raters[0], idempotency_key=uuid4(), outcome="first")
        edges.add((("pair", ruled.pk), ("ruling", ruling.pk)))
        snapshot, kept = freeze(draw, campaign, pairs)
        # Evidence holds answers about dropped pairs too: they fed nothing.
        SnapshotEvidence.objects.create(
            snapshot=snapshot, judgements=[judgement.pk for given_ in votes.values() for judgement in given_], rulings=[ruling.pk]
        )
        for pair in kept:
            part = ("part", part_id(snapshot.pk, pair.prompt.sample.split))
            edges |= {(("pair", pair.pk), part)} | {(("judgement", judgement.pk), part) for judgement in votes[pair.pk]}
            if pair == ruled:
                edges.add((("ruling", ruling.pk), part))
        there = {pair.prompt.sample.split for pair in kept}
        policy, reference, made = draw.choice(models), draw.choice(models), version("dpo", draw.sample(models, 1))
        ModelVersion.objects.filter(pk=made.pk).update(adapter=Artifact.objects.create(digest=digest(), manifest=[], bytes=0))
        run = Run.objects.create(job=job("dpo"), name=digest()[:20], policy=policy, reference=reference, snapshot=snapshot, output=made)
        edges |= {(("run", run.pk), ("adapter", made.pk)), (("adapter", made.pk), ("model", made.pk))}
        learned = {("part", part_id(snapshot.pk, split)) for split in there - {"evaluation"}}
        made_from = {("model", edge.parent_id) for edge in made.parent_edges.all()}
        edges |= {(each, ("run", run.pk)) for each in learned | made_from | {("model", policy.pk), ("model", reference.pk)}}
        edges.add((("run", run.pk), ("model", made.pk)))
        edges |= evaluated(draw, made, reference, snapshot, prompts, there)
        # Imported, or from a time before runs were kept: its parents are all that is known.
        merged = version("merged", draw.sample([*models, made], draw.randint(1, len(models) + 1)))
        edges |= {(("model", edge.parent_id), ("model", merged.pk)) for edge in merged.parent_edges.all()}
        models += [made, merged, *sought(draw, models, edges)]
    return edges


def sought(draw: random.Random, models: list[ModelVersion], edges: Edges) -> list[ModelVersion]:
    """A search finds a recipe, somebody changes that, and a merge follows the change. Adds their edges; returns both merges."""
    found = MergeRecipe.objects.create(digest=digest(), method="ties", params={})
    changed = MergeRecipe.objects.create(digest=digest(), method="ties", params={}, cloned_from=found)
    edges.add((("recipe", found.pk), ("recipe", changed.pk)))
    merges = []
    for kind, recipe in (("search", found), ("merge", changed)):
        merged = version("merged", draw.sample(models, 1))
        run = Run.objects.create(job=job(kind), name=digest()[:20], output=merged, recipe=recipe)
        ends = (("run", run.pk), ("recipe", recipe.pk))
        edges |= {ends if kind == "search" else ends[::-1], (("run", run.pk), ("model", merged.pk))}
        edges |= {(("model", edge.parent_id), ("run", run.pk)) for edge in merged.parent_edges.all()}
        merges.append(merged)
    return merges


def version(kind: str, parents: Any = ()) -> ModelVersion:
    artifact = Artifact.objects.create(digest=digest(), manifest=[], bytes=0)
    made = ModelVersion.objects.create(name=digest()[:30], kind=kind, artifact=artifact)
    LineageEdge.objects.bulk_create(LineageEdge(child=made, parent=parent, role="expert") for parent in parents)
    return made


def job(kind: str) -> Job:
    return Job.objects.create(kind=kind, label=kind, state="succeeded", spec={"inputs": {}, "params": {}}, spec_digest=digest())


def vote(pair: Pair, rater: User, now: Any) -> Judgement:
    number = pair.slots.count()
    slot = Slot.objects.create(pair=pair, campaign=pair.campaign, number=number, position=pair.position, first_on_left=True, open=False)
    held = Assignment.objects.create(
        campaign=pair.campaign, pair=pair, slot=slot, annotator=rater, first_on_left=True, state="submitted", expires_at=now
    )
    return Judgement.objects.create(assignment=held, idempotency_key=uuid4(), verdict="first_much")


def freeze(draw: random.Random, campaign: Campaign, pairs: list[Pair]) -> tuple[Snapshot, list[Pair]]:
    snapshot = Snapshot.objects.create(name="frozen", campaign=campaign, digest=digest(), counts={"used": {}, "dropped": {}})
    kept = draw.sample(pairs, draw.randint(1, len(pairs)))
    for position, pair in enumerate(kept):
        SnapshotRow.objects.create(
            snapshot=snapshot, position=position, pair=pair, prompt=pair.prompt, chosen=pair.first, rejected=pair.second, p_chosen=0.8,
            votes={}, split=pair.prompt.sample.split,
        )  # fmt: skip
    return snapshot, kept


def evaluated(
    draw: random.Random, made: ModelVersion, reference: ModelVersion, snapshot: Snapshot, prompts: list[Prompt], there: set[str]
) -> Edges:
    found = Evaluation.objects.create(job=job("evaluate"), policy=made, reference=reference, snapshot=snapshot)
    edges: Edges = {(("model", made.pk), ("evaluation", found.pk)), (("model", reference.pk), ("evaluation", found.pk))}
    asked = draw.sample(prompts, draw.randint(0, len(prompts)))
    for position, prompt in enumerate(asked):
        EvaluationItem.objects.create(evaluation=found, position=position, prompt=prompt, before="", after="")
        edges.add((("prompt", prompt.pk), ("evaluation", found.pk)))
    if "evaluation" in there:
        edges.add((("part", part_id(snapshot.pk, "evaluation")), ("evaluation", found.pk)))
    decided = Promotion.objects.create(decision="refused", alias="champion", version=made, evaluation=found, reason="no")
    return edges | {(("model", made.pk), ("promotion", decided.pk)), (("evaluation", found.pk), ("promotion", decided.pk))}


def reach(edges: Edges, root: Node, direction: str) -> Edges:
    """The edges on ways from `root`, found one by one."""
    seen, waiting, found = {root}, [root], set()
    while waiting:
        here = waiting.pop()
        for parent, child in edges:
            near, far = (child, parent) if direction == "up" else (parent, child)
            if near == here:
                found.add((parent, child))
                if far not in seen:
                    seen.add(far)
                    waiting.append(far)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_both_directions_from_every_node_equal_brute_force(seed: int) -> None:
    edges = random_world(random.Random(seed))
    nodes = sorted({node for edge in edges for node in edge})
    draw = random.Random(seed)
    one_of_each = {kind: draw.choice([node for node in nodes if node[0] == kind]) for kind in {node[0] for node in nodes}}
    assert {"recipe", "adapter"} <= set(one_of_each)
    for kind, pk in one_of_each.values():
        for direction in ("up", "down"):
            found = walk(kind=kind, pk=pk, direction=direction, user=None)
            assert set(found.edges) == reach(edges, (kind, pk), direction), (kind, pk, direction)
            assert list(found.edges) == sorted(found.edges), "the same drawing, whatever the plan"
            check_ways(found, collapse(found))


def test_an_evaluation_sample_reaches_evaluations_and_no_model(dan: User, tmp_path: Path) -> None:
    frozen = build.snapshot()
    sft, dpo = build.version(tmp_path, "sft"), build.version(tmp_path, "dpo", "dpo")
    Run.objects.create(job=job("dpo"), name="dpo", policy=sft, reference=sft, snapshot=frozen, output=dpo)
    held_out = frozen.rows.filter(split="evaluation").first()
    learned = frozen.rows.filter(split="train").first()
    assert held_out is not None
    assert learned is not None
    for row, models in ((held_out, []), (learned, [dpo.pk])):
        reached = walk(kind="sample", pk=row.prompt.sample_id, direction="down", user=None)
        assert reached.ids("model") == models


def test_a_sample_is_led_back_to_its_own_file_and_not_to_its_sources_other_one() -> None:
    for names in (("s1", "s2"), ("s3",)):
        rows = [annotating.row(number, id=name) for number, name in enumerate(names, start=len(names) * 10)]
        samples.import_jsonl(file=annotating.jsonl(rows), source="ward", licence="CC0-1.0", actor=None)
    files = {
        sample.external_id: walk(kind="sample", pk=sample.pk, direction="up", user=None).ids("file") for sample in Sample.objects.all()
    }
    assert files["s1"] == files["s2"] != files["s3"]
    (first,) = files["s1"]
    assert walk(kind="file", pk=first, direction="down", user=None).ids("sample") == sorted(
        Sample.objects.filter(external_id__in=["s1", "s2"]).values_list("pk", flat=True)
    )


def test_who_judges_in_an_open_campaign_sees_none_of_its_pairs(dan: User) -> None:
    RoleGrant.objects.create(user=dan, role=Role.ANNOTATOR)
    made = annotating.campaign([User.objects.get(pk=dan.pk)], pairs=4)
    batch = GenerationBatch.objects.first()
    assert batch is not None
    sample = made.pairs.first().prompt.sample  # type: ignore[union-attr]
    assert len(walk(kind="sample", pk=sample.pk, direction="down", user=None).ids("completion")) == 2
    for kind, pk in (("sample", sample.pk), ("batch", batch.pk)):
        found = walk(kind=kind, pk=pk, direction="down", user=dan)
        assert {name for name, _ in found.nodes} <= {"sample", "prompt", "batch"}


def test_at_most_so_many_nodes_are_read_and_it_says_so() -> None:
    annotating.stored_samples(30, "ward")
    source = Source.objects.get()
    found = walk(kind="source", pk=source.pk, direction="down", user=None, most=10)
    assert (len(found.nodes), found.cut) == (10, True)
    assert not walk(kind="source", pk=source.pk, direction="down", user=None).cut


@pytest.mark.parametrize(("kind", "direction"), [("snapshot", "up"), ("sample", "down")])
def test_a_walk_is_two_queries_however_deep(kind: str, direction: Any, django_assert_num_queries: Any) -> None:
    frozen = build.snapshot(pairs=6)
    pk = frozen.pk if kind == "snapshot" else frozen.rows.first().prompt.sample_id  # type: ignore[union-attr]
    with django_assert_num_queries(2):
        walk(kind=kind, pk=pk, direction=direction, user=None)
