"""The evidence pack of a study: everything its verdict rests on in one zip, which anybody can verify without Rounds.

No text of a case and no rater is in it: votes and pairs are numbered in the order they came, without their times, which could be laid
beside a duty roster. Of people only whoever decided about the promotion is named, since a decision is signed. The same state of the house
gives the same bytes.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts import audit
from accounts.models import User
from annotation.records import digest_of
from modelhub import cards, zipping
from training import studies, unseen
from training.evidence import figures, harm, verdict, verify
from training.models import Evaluation, Promotion, Study, StudyState, SuiteRun
from training.provenance import prov
from training.provenance.walk import walk

HERE = Path(__file__).resolve().parent
CODE = {"verdict.py": verdict, "harm.py": harm, "figures.py": figures}
PLANTED = "planted truth"
NO_VERDICT = "The study has no verdict yet. Its evidence is packed once it has ended: nobody is to act on half of it."
# In the audit trail, with the digest.
TAKEN = "study.evidence_taken"


class NotPacked(Exception):
    """There is no pack of this study; the message says why."""


@dataclass(frozen=True)
class Pack:
    """The files by name, MANIFEST.json first, then in the order of their names; `digest` is of all of them, and stands in the manifest."""

    name: str
    digest: str
    files: dict[str, bytes]

    @cached_property
    def archive(self) -> zipping.Archive:
        """The zip: its bytes follow from the files alone."""
        return zipping.Archive([zipping.Member(name, len(content), content=content) for name, content in self.files.items()])


@transaction.atomic
def assemble(study: Study) -> Pack:
    """The pack of an ended study as things stand: a decision that comes later makes another pack. Raises NotPacked before its end."""
    if study.state != StudyState.DECIDED or study.campaign is None:
        raise NotPacked(NO_VERDICT)
    evaluation = study.evaluation
    votes = votes_of(study)
    about, pairs = _evaluation(evaluation), _pairs(evaluation)
    suites = _suites(study)
    decided = list(decisions(study))
    by_suite: dict[str, dict[str, Any]] = {}
    for (suite, side), told in suites.items():
        by_suite.setdefault(suite, {})[side] = told
    campaign, rubric = study.campaign, study.campaign.rubric
    card = cards.of(study.challenger)
    documents: dict[str, Any] = {
        "analysis.json": verify.analyse(votes, pairs, by_suite, about, CODE),
        "campaign.json": {**campaign.protocol, "digest": campaign.protocol_digest},
        "card.json": {"metadata": card.metadata, **card.record},
        "decision.json": {"decisions": [_decision(promotion) for promotion in decided]},
        "evaluation.json": about,
        "protocol.json": studies.protocol(study),
        "prov.json": _lineage(study, decided),
        "rubric.json": {
            "code": rubric.code, "version": rubric.version, "name": rubric.name, "content": rubric.content, "digest": rubric.digest
        },
        "study.json": _study(study),
        **{f"suites/{suite}-{side}.json": told for (suite, side), told in suites.items()},
    }  # fmt: skip
    files = {name: verify.as_json(said) for name, said in documents.items()}
    files |= {name: (HERE / name).read_bytes() for name in (*verify.CODE, "verify.py")}
    files |= {"card.md": card.text.encode(), "guideline.txt": campaign.guideline.encode(), "votes.jsonl": _rows(votes)}
    if pairs:
        files[verify.PAIRS] = _rows(pairs)
    files["README.txt"] = _readme(study, files).encode()
    return seal(study=str(study.public_id), files=files)


def votes_of(study: Study) -> list[dict[str, Any]]:
    """Every counted vote as votes.jsonl has it."""
    return [_vote(vote) for vote in _numbered(list(studies.raw_votes(study)))]


def says(study: Study) -> dict[str, Any]:
    """What the votes say, by the code that makes analysis.json and that a verifier runs: verdict, lengths, flags. Nothing is packed."""
    return verify.of_votes(votes_of(study), CODE)


def record(*, study: Study, digest: str, actor: User | None, via: str) -> None:
    """Who took the pack out of the house, as which bytes: a pack that turns up later is held against this digest."""
    audit.record(actor, TAKEN, study, digest=digest, via=via)


def seal(*, study: str, files: dict[str, bytes]) -> Pack:
    """The pack of these files, with their manifest; `study` is its public id."""
    listed = {name: {"bytes": len(files[name]), "sha256": sha256(files[name]).hexdigest()} for name in sorted(files)}
    said: dict[str, Any] = {"format": verify.FORMAT, "study": study, "files": listed}
    digest = digest_of(said)
    manifest = verify.as_json({**said, "digest": digest})
    ordered = {verify.MANIFEST: manifest} | {name: files[name] for name in sorted(files)}
    return Pack(f"rounds-evidence-{study[:8]}", digest, ordered)


def _rows(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()


# --- what was asked, and by whom ---------------------------------------------------------------------------------------------------------


def _numbered(votes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Raters and pairs by the place at which they first come up: no number leads back to an account."""
    known: dict[str, dict[str, str]] = {"rater": {}, "pair": {}}
    for what, names in known.items():
        for vote in votes:
            names.setdefault(vote[what], f"{what} {len(names) + 1}")
    return [vote | {what: names[vote[what]] for what, names in known.items()} for vote in votes]


def _vote(vote: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in vote.items() if name != "submitted_at"}


def _study(study: Study) -> dict[str, Any]:
    assert study.campaign is not None
    assert study.decided_at is not None
    return {
        "study": str(study.public_id), "protocol_digest": study.protocol_digest, "verdict": study.verdict, "counted": study.counted,
        "opened_at": _moment(study.campaign.opened_at), "decided_at": _moment(study.decided_at), "simulated": study.campaign.simulated,
        "toy": study.campaign.toy, "champion": studies.named(study.champion), "challenger": studies.named(study.challenger),
    }  # fmt: skip


def _moment(at: Any) -> str | None:
    return at.isoformat() if at else None


# --- the evaluation and the suites -------------------------------------------------------------------------------------------------------


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """What was measured on held-out pairs, and what it takes to measure it again from their outcomes."""
    params = evaluation.job.spec["params"]
    return {
        "evaluation": str(evaluation.public_id),
        "policy": studies.named(evaluation.policy), "reference": studies.named(evaluation.reference),
        "snapshot": evaluation.snapshot.digest if evaluation.snapshot else None, "simulated": evaluation.simulated,
        "labels": PLANTED if evaluation.planted else "raters", "seed": evaluation.job.spec["seed"], "draws": params["bootstrap"],
        "indifference": params["indifference"], "preference_accuracy": evaluation.results.get("preference_accuracy"),
    }  # fmt: skip


def _pairs(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The outcome of every held-out pair, with the group of raters who labelled it. Labellers have numbers of their own."""
    kept = list(evaluation.pairs.select_related("pair__prompt").order_by("position"))
    snapshot = None if evaluation.planted else evaluation.snapshot
    labellers = unseen.voters(snapshot, [one.pair_id for one in kept]) if snapshot else {}
    numbers: dict[int, int] = {}
    for one in kept:
        for person in labellers.get(one.pair_id, []):
            numbers.setdefault(person, len(numbers) + 1)
    return [
        {
            "number": one.position, "prompt": one.pair.prompt.digest, "correct": one.correct,
            "margin": one.margin if math.isfinite(one.margin) else None,
            "raters": PLANTED
            if evaluation.planted
            else "+".join(f"labeller {number}" for number in sorted(numbers[person] for person in labellers.get(one.pair_id, []))),
        }
        for one in kept
    ]  # fmt: skip


def _suites(study: Study) -> dict[tuple[str, str], dict[str, Any]]:
    """Results of both models by (suite, side): the newest of each that were asked the same in the same way."""
    runs = SuiteRun.objects.filter(version__in=(study.champion, study.challenger), finished_at__isnull=False).order_by(
        "-finished_at", "-pk"
    )
    found: dict[tuple[str, str], dict[str, SuiteRun]] = {}
    for run in runs:
        side = "challenger" if run.version_id == study.challenger_id else "champion"
        found.setdefault((run.suite, run.settings_digest), {}).setdefault(side, run)
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for (suite, _), sides in found.items():
        told = {side: run.results for side, run in sides.items()}
        if len(sides) == 2 and (suite, "champion") not in made and _comparable(told):
            made |= {(suite, side): said for side, said in told.items()}
    return made


def _comparable(told: dict[str, Any]) -> bool:
    try:
        figures.suites(told["challenger"], told["champion"])
    except ValueError:
        return False
    return True


# --- the decision and the lineage --------------------------------------------------------------------------------------------------------


def decisions(study: Study) -> QuerySet[Promotion]:
    """Decisions that rest on this study, or on its evaluation, in their order."""
    found = Promotion.objects.filter(Q(study=study) | Q(study=None, evaluation=study.evaluation), version=study.challenger)
    return found.select_related("version__artifact", "replaced__artifact", "decided_by").order_by("pk")


def _decision(promotion: Promotion) -> dict[str, Any]:
    return {
        "id": str(promotion.public_id), "decision": promotion.decision, "alias": promotion.alias,
        "version": studies.named(promotion.version),
        "replaced": studies.named(promotion.replaced) if promotion.replaced else None, "gates": promotion.gates, "reason": promotion.reason,
        "simulated": promotion.simulated, "decided_at": _moment(promotion.decided_at),
        "decided_by": promotion.decided_by.username if promotion.decided_by else None,
    }  # fmt: skip


def _lineage(study: Study, decisions: list[Promotion]) -> dict[str, Any]:
    """What the decision, or the evaluation, came of, as PROV-JSON, and the study between the two models. People are numbered."""
    kind, pk = ("promotion", decisions[-1].pk) if decisions else ("evaluation", study.evaluation_id)
    document = _unnamed(prov.document(walk(kind=kind, pk=pk, direction="up", user=None)))
    name = f"rounds:study.{study.public_id}"
    document.setdefault("activity", {})[name] = {
        "prov:label": "blinded study", "prov:type": {"$": "rounds:study", "type": "prov:QUALIFIED_NAME"},
        "rounds:protocol": study.protocol_digest, "rounds:verdict": study.verdict,
    }  # fmt: skip
    used = document.setdefault("used", {})
    entities = document.setdefault("entity", {})
    for role, version in (("champion", study.champion), ("challenger", study.challenger)):
        entities.setdefault(f"rounds:model.{version.pk}", {"prov:label": version.name, "rounds:sha256": version.artifact.digest})
        used[f"_:study-{role}"] = {"prov:activity": name, "prov:entity": f"rounds:model.{version.pk}", "prov:role": role}
    return document


def _unnamed(document: dict[str, Any]) -> dict[str, Any]:
    """Without names of people, and without the times at which single raters worked."""
    people = sorted(name for name in document.get("agent", {}) if name.startswith("rounds:person."))
    numbers = {name: f"rounds:person.{number}" for number, name in enumerate(people, start=1)}
    agents = document.get("agent", {})
    for name, number in numbers.items():
        agents[number] = agents.pop(name) | {"prov:label": number.replace("rounds:person.", "person ")}
    for relation in ("wasAssociatedWith", "wasAttributedTo"):
        for said in document.get(relation, {}).values():
            said["prov:agent"] = numbers.get(said["prov:agent"], said["prov:agent"])
    for name, said in document.get("entity", {}).items():
        if name.startswith(("rounds:judgement.", "rounds:ruling.")):
            said.pop("rounds:at", None)
    return document


# --- how to read it ----------------------------------------------------------------------------------------------------------------------

_TOLD = {
    "MANIFEST.json": "every file with its size and SHA-256, and the pack's digest",
    "README.txt": "how to verify the pack, and what its files are",
    "analysis.json": "the verdict with its e-values, counts by length, harm flags with their bound, held-out and suite figures",
    "campaign.json": "what the raters' campaign was locked with before the first vote: guideline, rubric, pairs by digest",
    "card.json": "the challenger's model card, for programs",
    "card.md": "the challenger's model card, for people",
    "decision.json": "what was decided about the challenger: every gate with what was found, overrides, who signed",
    "evaluation.json": "the evaluation on held-out pairs, and what it takes to compute its figure again",
    "figures.py": "computes lengths, flags, held-out and suite figures",
    "guideline.txt": "what raters were told",
    "harm.py": "computes the bound of harm",
    "pairs.jsonl": "one line a held-out pair: its prompt by digest, the model's margin, right or wrong, who labelled it by number",
    "protocol.json": "what was fixed before the first vote, with its digest: both models, the sampling, the test",
    "prov.json": "what the challenger came of, as W3C PROV-JSON",
    "rubric.json": "what raters were asked",
    "study.json": "which study this is, when it was opened and when it ended",
    "verdict.py": "computes the verdict",
    "verify.py": "verifies a pack",
    "votes.jsonl": "one line a counted vote, in the order of submission: the challenger's side, what was chosen, words, harm flags",
}


def _readme(study: Study, files: dict[str, bytes]) -> str:
    listed = "\n".join(f"  {name:<28} {told_of(name)}" for name in sorted([*files, verify.MANIFEST, "README.txt"]))
    assert study.campaign is not None
    note = "SIMULATED: a program played the raters. This pack shows that the machinery works, and nothing else.\n\n" if (
        study.campaign.simulated
    ) else ""  # fmt: skip
    return f"""Evidence of a blinded study: {study.challenger.name} against {study.champion.name}

{note}This pack holds everything the study's verdict rests on, so that you can check it without the house that made it, and without
its software. You need Python 3.9 or newer and no network:

    python verify.py PACK.zip --digest DIGEST

Last line "OK" and exit status 0: every byte is as it was when the pack was made, and the verdict follows from the votes. Otherwise
the files that are wrong are named, and the exit status is 1.

DIGEST is shown on the study's evidence page in Rounds and kept in the audit trail there. Without it a pack that somebody made up as
a whole would verify too. And whoever can change this pack can change the verify.py in it: take a verify.py from a place you trust,
such as the evidence page, another pack you trust, or "manage.py verify_pack" on a machine of your own with Rounds. A verify.py that lies
alone in its folder runs none of the pack's code but the very verdict.py, harm.py and figures.py it was made with.

If you unpack the zip, verify the folder: python verify.py FOLDER. Zipping it again makes another archive, which is refused.

{listed}

Raters are numbered in the order in which they first voted, pairs likewise; "labeller" in pairs.jsonl has numbers of its own. No
text of a case is in here, no rater's name, and no time of a single vote. "person" in prov.json is a member of staff, by number.
Intervals of suites are not computed again: how the items differ is, and where every item is right or wrong, McNemar's test.
"""


def told_of(name: str) -> str:
    """What a file of the pack is, in a few words."""
    if match := verify.SUITES.fullmatch(name):
        return f"what the {match[2]} scored on the suite “{match[1]}”, item by item"
    return _TOLD[name]
