"""One of everything, so that every address has something to point at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db.models.functions import Now
from django.test import Client

from accounts import invitations
from accounts.models import ApiToken, AuditEntry, Invitation, RoleGrant, User
from annotation import export_rights, incoming, snapshots
from annotation.models import (
    Assignment,
    Campaign,
    Corpus,
    Defect,
    Dispute,
    Document,
    ExportGrant,
    GenerationBatch,
    Import,
    Membership,
    Sample,
    Sitting,
    Snapshot,
)
from jobs.models import Attempt, Device, Job
from modelhub import artifacts
from modelhub.models import Alias, AliasMove, CardRevision, LineageEdge, ModelVersion
from tests.annotation import build
from tests.cast import person, signed_in
from tests.modelhub.conftest import PHI3, safetensors
from training import specs
from training.models import Evaluation, LoopPolicy, LoopRound, MergePreview, MergeRecipe, Promotion, Run, Study, SuiteRun
from training.synthesis.models import SynthesisRun


@dataclass
class House:
    people: dict[str, User]
    clients: dict[str, Client]
    campaign: Campaign
    assignment: Assignment
    sample: Sample
    snapshot: Snapshot
    job: Job
    version: ModelVersion
    adapter: ModelVersion
    run: Run
    evaluation: Evaluation
    round: LoopRound
    preview: MergePreview
    study: Study
    synthesis: SynthesisRun
    token: ApiToken
    invitation: Invitation
    qualification: Campaign
    sitting: Sitting
    dispute: Dispute
    defect: Defect
    imported: Import
    grant: ExportGrant
    # The rows Django's admin shows, by "app_model".
    records: dict[str, Any]


def furnish(folder: Path) -> House:
    """The cast, a campaign of Alice's and Carol's with a lease of Alice's, its snapshot, a job with its run, a model, an evaluation.

    `folder` is empty and becomes a model's; settings.DATA_DIR must be the test's own.
    """
    people = {
        "annotator": person("alice", "annotator"),
        "adjudicator": person("carol", "adjudicator"),
        "trainer": person("dan", "trainer"),
        "steward": person("sam", "steward"),
        "admin": person("ada", "admin"),
        "disabled": person("frank", "annotator", "admin", is_active=False),
        "outsider": person("eve", "annotator"),
    }
    alice, dan = people["annotator"], people["trainer"]
    campaign = build.campaign([alice, people["adjudicator"]], pairs=24)
    elsewhere = build.campaign([people["outsider"]], pairs=2, name="Somebody else's")
    pair = elsewhere.pairs.earliest("pk")
    dispute = Dispute.objects.create(pair=pair, campaign=elsewhere, kind="opposed", first_on_left=True)
    defect = Defect.objects.create(sample=pair.prompt.sample)
    for _ in range(12):
        build.judge(campaign, alice)
    assignment = build.lease(campaign, alice)
    sitting = Sitting.objects.create(campaign=campaign, annotator=alice, planned_minutes=20, planned_pairs=10)
    qualification = build.qualification([alice, people["adjudicator"]])
    snapshot = snapshots.freeze(campaign=campaign, name="First", actor=dan)

    ada = people["admin"]
    grant, _ = (export_rights.grant(user=user, level="deidentified", actor=ada) for user in (dan, ada))

    parent, version, adapter, of_models = _models(folder, dan)
    params = specs.check("dpo", {"learning_rate": 1e-5})
    job, scoring, trying, asking = (
        Job.objects.create(
            kind=kind,
            label=kind,
            spec={"seed": 1, "params": params, "models": {}, "inputs": {"snapshot": snapshot.pk}},
            spec_digest="d" * 64,
            requested_by=dan,
        )
        for kind in ("dpo", "evaluate", "preview", "suite")
    )
    attempt = Attempt.objects.create(job=job, number=1, token=1, worker="here")
    run = Run.objects.create(job=job, params=params, name="tiny-dpo-run", policy=parent, reference=parent, snapshot=snapshot)
    evaluation = Evaluation.objects.create(job=scoring, policy=version, reference=parent, snapshot=snapshot)
    study, loop, of_loop = _proven(evaluation, run, asking, dan)
    suite = SuiteRun.objects.get()
    recipe = MergeRecipe.objects.create(
        digest="d" * 64, method="slerp", base=parent, created_by=dan,
        params={"method": "slerp", "base": parent.name, "inputs": [{"model": version.name}], "parameters": {"t": 0.5}},
    )  # fmt: skip
    recipe.inputs.create(position=0, version=version)
    preview = MergePreview.objects.create(job=trying, recipe=recipe, beside=version)
    rules = {"kind": "grammar", "name": "", "family": "grammar", "label": "Grammar"}
    asked = {"count": 1, "spoilt": 0.0, "least": 1.0, "tasks": [], "documents": []}
    synthesis = SynthesisRun.objects.create(
        name="made-up-too", generator=rules, judge=rules, options=asked, licence="CC0-1.0", state="done"
    )
    promotion = Promotion.objects.create(
        decision="refused", alias="champion", version=version, evaluation=evaluation, reason="too few pairs"
    )
    token, _ = ApiToken.draw(user=alice, label="script", scopes=["read"])
    token.save()
    invitation, _ = invitations.create(
        name="Dr. Khan", roles=["annotator"], purpose="To judge letters.", minutes=30, days=7, actor=people["admin"]
    )
    imported = _imported(dan)
    device = Device.objects.create(host="trainer-1", name="GPU-aaaa")
    corpus = Corpus.objects.create(name="Leaflets", group="other", licence="CC0-1.0")
    document = Document.objects.create(corpus=corpus, external_id="1", text="Take with water.", digest="d" * 64, split="train")
    records = {
        "accounts_user": alice, "accounts_auditentry": AuditEntry.objects.first(), "accounts_apitoken": token,
        "jobs_job": job, "jobs_attempt": attempt, "jobs_device": device,
        "annotation_corpus": corpus, "annotation_document": document,
        "annotation_source": Sample.objects.earliest("pk").source, "annotation_campaign": campaign,
        "annotation_membership": Membership.objects.get(campaign=campaign, user=alice), "annotation_snapshot": snapshot,
        "training_run": run, "training_evaluation": evaluation, "training_promotion": promotion,
        "training_mergerecipe": recipe, "training_mergepreview": preview,
        "training_suiterun": suite, "training_study": study, "training_looppolicy": loop, "training_loopround": of_loop,
        **of_models,
    }  # fmt: skip
    clients = {role: signed_in(user) for role, user in people.items()} | {"anonymous": Client()}
    assert RoleGrant.objects.count() == 8
    return House(
        people, clients, campaign, assignment, Sample.objects.earliest("pk"), snapshot, job, version, adapter, run, evaluation, of_loop,
        preview, study, synthesis, token, invitation, qualification, sitting, dispute, defect, imported, grant, records,
    )  # fmt: skip


def _models(folder: Path, actor: User) -> tuple[ModelVersion, ModelVersion, ModelVersion, dict[str, Any]]:
    """A merged model, the champion made of it and an adapter, all of the same files; and the hub's rows by "app_model"."""
    (folder / "config.json").write_text(json.dumps(PHI3))
    (folder / "model.safetensors").write_bytes(safetensors({"embed": [7, 2]}))
    artifact = artifacts.save(artifacts.stage(folder=folder))
    parent = ModelVersion.objects.create(name="tiny-merged", kind="merged", artifact=artifact, toy=True)
    version = ModelVersion.objects.create(name="tiny-dpo", kind="dpo", artifact=artifact, toy=True)
    adapter = ModelVersion.objects.create(name="tiny-lora", kind="adapter", artifact=artifact, toy=True)
    alias = Alias.objects.create(name="champion", version=version)
    return parent, version, adapter, {
        "modelhub_modelversion": version, "modelhub_artifact": artifact, "modelhub_alias": alias,
        "modelhub_lineageedge": LineageEdge.objects.create(child=version, parent=parent, role="policy"),
        "modelhub_cardrevision": CardRevision.objects.create(version=version, number=1, prose={"limits": "A toy."}, author=actor),
        "modelhub_aliasmove": AliasMove.objects.create(alias=alias, number=1, to_version=version, actor=actor),
    }  # fmt: skip


def _imported(actor: User) -> Import:
    """An import that is stored, with its report."""
    imported = Import.objects.create(
        label="m.jsonl", bytes=1, sha256="d" * 64, content="samples", target="made-up", licence="CC0-1.0", state="stored",
        counts={
            "rows": 1, "stored": 1, "already": 0, "problems": 0, "warnings": 0, "quarantined": 0, "held_back": 0, "replaced": 0,
            "skipped": 0, "seconds": 1.0,
        }, actor=actor,
    )  # fmt: skip
    report = incoming.folder_of(imported) / "problems.csv"
    report.parent.mkdir(parents=True)
    report.write_text("place,number,column,kind,code,message\n")
    return imported


def _proven(evaluation: Evaluation, run: Run, asking: Job, actor: User) -> tuple[Study, LoopPolicy, LoopRound]:
    """A study, a suite and a loop with its proposal, all of the evaluation's model."""
    parent, version, snapshot = evaluation.reference, evaluation.policy, run.snapshot
    assert snapshot is not None
    # One that came to nothing, so that nobody can move it; Alice and Carol rate in its campaign.
    texts = [GenerationBatch.objects.create(version=one, decoding={}, seed=1) for one in (parent, version)]
    study = Study.objects.create(
        evaluation=evaluation, champion=parent, challenger=version, champion_texts=texts[0], challenger_texts=texts[1], seed=1,
        campaign=snapshot.campaign, state="failed", why_failed="They are too alike.", started_by=actor,
    )  # fmt: skip
    loop = LoopPolicy.objects.create(
        campaign=snapshot.campaign, active=False, pairs_needed=300, params={"policy": {"alias": "champion"}, "preset": "demo", "seed": 1}
    )
    of_loop = LoopRound.objects.create(
        loop=loop, number=1, state="proposed", snapshot=snapshot, run=run, evaluation=evaluation, anchor=evaluation,
        lineage_digest="d" * 64, gates_digest="e" * 64, proposed_at=Now(),
    )  # fmt: skip
    SuiteRun.objects.create(job=asking, version=version, suite="mini", settings_digest="d" * 64)
    return study, loop, of_loop
