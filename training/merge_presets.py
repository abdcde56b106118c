"""The paper's two merges as one click: every expert with the base by SLERP, then all of them by Breadcrumbs with TIES' vote."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from modelhub.models import Kind, ModelVersion
from training import merge_checks, preflight, runs
from training.engine.toytext import DOMAINS
from training.models import Run

# arXiv 2505.10717, 3.1.3: the shares of the expert that validation chooses among.
SHARES = [0.1, 0.25, 0.5]
# Where there is nothing to validate on: MedCode's, the one share that its model card tells.
KNOWN_SHARE = 0.5
# The released configuration's first model (pmc), the only one of five whose numbers can be found.
PUBLISHED = {"density": 0.493602636300503, "gamma": 1.6720241134317, "weight": 0.06352674368303199}
PUBMED = ("pubmed", "pmc")
# For toys: what the tiny family is merged with (training/engine/family.py); the paper's numbers are for deltas of another kind.
TOY = {"density": 0.18, "gamma": 0.001, "weight": 2.0}

NOTES = (
    "Step one: SLERP of each expert with the base, 10, 25 or 50 % of the expert, as validation chooses. Which share each expert got is "
    "published for MedCode alone (50 %); experts without validation questions here (all but toys) get 50 % too.",
    "Step two: Breadcrumbs with TIES' vote over all of them, from the base. Of the five triples that the authors' search found, only "
    "PubMed's is published (density 0.494, gamma 1.672, weight 0.064). The others start from its density and gamma and a weight of 1/n: "
    "search or change them. A gamma above 1 drops the largest changes alone.",
    "The paper does not say whether step two takes the experts of step one or the raw ones; its model cards read as the former, and so "
    "does this. Step two is evaluated from the raw experts all the same, so that numbers are rounded once.",
)


@transaction.atomic
def start_paper(*, base: ModelVersion, experts: Sequence[ModelVersion], name: str, actor: User | None, seed: int = 1) -> list[Run]:
    """Queue both steps, the last of them waiting for the first; it is called `name`, the others after it and their experts.

    Raises runs.Refused when the models do not go together or a name is taken.
    """
    tags = [_tag(expert, experts) for expert in experts]
    names = [f"{name}-{tag}" for tag in tags]
    found = [*merge_checks.agreement(base, experts), *(preflight.name_check(each) for each in (*names, name))]
    if any(len(each) > 80 for each in names):
        found.append(preflight.Check("Name", "stop", f"{max(names, key=len)} is longer than 80 letters", "Choose a shorter one."))
    if stops := [check for check in found if check.stops]:
        raise runs.Refused(stops)
    first = [_restored(base, expert, called, seed, actor) for expert, called in zip(experts, names, strict=True)]
    marks = {"toy": any(each.toy for each in (base, *experts)), "simulated": any(each.simulated for each in (base, *experts))}
    last = runs.build(
        kind="merge",
        name=name,
        label=f"Merge {name}",
        params={
            "method": "breadcrumbs_ties",
            "base": base.name,
            "inputs": [
                {"model": called, "parameters": _numbers(expert, len(experts))} for expert, called in zip(experts, names, strict=True)
            ],
            "parameters": {"normalize": False, "lambda": 1.0},
        },
        models={base.name: {"version": base.pk}} | {run.name: {"job": str(run.job.public_id)} for run in first},
        publish={
            "kind": Kind.MERGED,
            **marks,
            "roles": {base.name: "base"} | {called: f"expert:{tag}" for called, tag in zip(names, tags, strict=True)},
            "notes": "The paper's two steps (arXiv 2505.10717, 3.1.3).",
        },
        waits_for=[run.job for run in first],
        seed=seed,
        preset="",
        actor=actor,
        flatten=True,
    )
    audit.record(actor, "merge.paper_started", last, base=str(base.public_id), experts=[str(each.public_id) for each in experts])
    return [*first, last]


def _tag(expert: ModelVersion, all_of_them: Sequence[ModelVersion]) -> str:
    """The last word of its name, where no other expert has the same."""
    tag = expert.name.rsplit("-", 1)[-1]
    return tag if sum(each.name.rsplit("-", 1)[-1] == tag for each in all_of_them) == 1 else expert.name


def _restored(base: ModelVersion, expert: ModelVersion, name: str, seed: int, actor: User | None) -> Run:
    """Step one for one expert."""
    domain = domain_of(expert)
    share: dict[str, Any] = {"t": SHARES, "validation": domain} if domain else {"t": KNOWN_SHARE}
    return runs.build(
        kind="merge", name=name, label=f"Merge {name}", params={"method": "slerp", **share},
        models={"base": {"version": base.pk}, "expert": {"version": expert.pk}},
        publish={
            "kind": Kind.EXPERT, "toy": base.toy or expert.toy, "simulated": base.simulated or expert.simulated,
            "roles": {"expert": f"expert:{expert.name}"[:40]},
        },
        waits_for=[], seed=seed, preset="", actor=actor,
    )  # fmt: skip


def domain_of(expert: ModelVersion) -> str | None:
    """The toy domain whose validation questions can be asked of it, or None."""
    run = Run.objects.filter(output=expert, job__kind="pit").first()
    domain = run.params.get("domain") if run else None
    return domain if expert.toy and domain in DOMAINS else None


def _numbers(expert: ModelVersion, experts: int) -> dict[str, float]:
    if expert.toy:
        return dict(TOY)
    if any(word in expert.name.lower() for word in PUBMED):
        return dict(PUBLISHED)
    return PUBLISHED | {"weight": 1 / experts}
