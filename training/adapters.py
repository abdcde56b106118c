"""LoRA adapters as models of their own: made of what sets a version apart from another, and put into their base for good."""

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from modelhub import imports, lineage
from modelhub.models import Kind, LineageEdge, ModelVersion
from training import merge_checks, merges, preflight, runs
from training.engine import recipes
from training.models import Run
from training.preflight import Check

USUAL_RANK = 16
# Roles in which one version was the start of another: what sets the two apart is what was learnt.
STARTS = ("base", "policy")


@transaction.atomic
def extract(*, expert: ModelVersion, base: ModelVersion, rank: int, name: str, actor: User | None) -> Run:
    """Queue the adapter of `rank` that comes nearest to what makes `expert` of `base`; it becomes version `name`, an adapter of `base`.

    Raises SpecError for a rank that is none, and runs.Refused when the two do not go together or the name cannot be used.
    """
    found = [preflight.name_check(name), *of_models(expert=expert, base=base)]
    if stops := [check for check in found if check.stops]:
        raise runs.Refused(stops)
    try:
        with transaction.atomic():
            run = runs.build(
                kind="extract", name=name, label=f"Extract {name}", params={"rank": rank}, seed=0,
                models={"base": {"version": base.pk}, "expert": {"version": expert.pk}},
                publish={
                    "kind": Kind.ADAPTER, "toy": expert.toy or base.toy, "simulated": expert.simulated or base.simulated,
                    # The adapter's own base first of all: its tokenizer and architecture are the adapter's.
                    "roles": {"base": imports.ROLE, "expert": "expert"},
                    "notes": f"What sets {expert.name} apart from {base.name}, as near as rank {rank} comes.",
                },
                waits_for=[], preset="", actor=actor,
            )  # fmt: skip
    except IntegrityError:
        raise runs.Refused([preflight.taken(name)]) from None
    audit.record(actor, "extraction.started", run, expert=str(expert.public_id), base=str(base.public_id), rank=rank)
    return run


@transaction.atomic
def merge_into_base(*, adapter: ModelVersion, name: str, actor: User | None) -> Run:
    """Queue the merge of an adapter's base and its whole change, rounded once, as version `name`; the recipe is kept like any other.

    Raises runs.Refused when its base is not here, it does not fit, or the name cannot be used.
    """
    base = base_of(adapter)
    if base is None:
        raise runs.Refused([without_base(adapter)])
    recipe = recipes.parse(
        {"method": "task_arithmetic", "base": base.name, "inputs": [{"model": adapter.name, "parameters": {"weight": 1.0}}]}
    )
    row = merges.save(recipe=recipe, versions={base.name: base, adapter.name: adapter}, actor=actor)
    return merges.start(recipe=row, name=name, actor=actor)


# --- reading ------------------------------------------------------------------------------------------------------------------------


def base_of(adapter: ModelVersion) -> ModelVersion | None:
    """What an adapter is put on; None where no whole model here is known to be that."""
    edge = LineageEdge.objects.filter(child=adapter, role=imports.ROLE, parent__isnull=False).select_related("parent__artifact").first()
    return edge.parent if edge and edge.parent and edge.parent.kind != Kind.ADAPTER else None


def bases_for(expert: ModelVersion) -> list[ModelVersion]:
    """What the change of `expert` can be measured from: what it was made of, the nearest first; then bases, and others like it."""
    edges = lineage.edges_above(expert)
    near: dict[int, ModelVersion] = {}
    waiting = [expert]
    while waiting:
        above = [edge for edge in edges.get(waiting.pop(0).pk, []) if edge.parent is not None and edge.parent.kind != Kind.ADAPTER]
        # The start first: of a merge its base, of a run its policy.
        for edge in sorted(above, key=lambda edge: edge.role not in STARTS):
            assert edge.parent is not None
            if edge.parent.pk not in near:
                near[edge.parent.pk] = edge.parent
                waiting.append(edge.parent)
    alike = {version.pk: version for version in ModelVersion.objects.usable().made_alike(expert).order_by("-pk")}
    others = sorted((version for pk, version in alike.items() if pk not in near), key=lambda version: version.kind != Kind.BASE)
    return [alike[pk] for pk in near if pk in alike] + others


def of_models(*, expert: ModelVersion, base: ModelVersion) -> list[Check]:
    """What cannot become true by waiting."""
    if expert.artifact_id == base.artifact_id:
        return [Check("Two models", "stop", f"{expert.name} and {base.name} have the very same files", "Choose another base.")]
    return merge_checks.agreement(base, [expert])


def checks_of_extraction(*, expert: ModelVersion, base: ModelVersion, rank: int, name: str) -> list[Check]:
    """Every line of the preflight."""
    found = of_models(expert=expert, base=base)
    if any(check.stops for check in found):
        return found
    found += [merge_checks.licences(base, [expert]), *merge_checks.provenance(base, [expert]), *merge_checks.of_extraction(base, rank=rank)]
    return [*found, merge_checks.name(name), merge_checks.worker()]


def checks_of_merge(*, adapter: ModelVersion, name: str) -> list[Check]:
    """Every line of the preflight of `merge_into_base`."""
    base = base_of(adapter)
    if base is None:
        return [without_base(adapter)]
    found = merge_checks.agreement(base, [adapter])
    if any(check.stops for check in found):
        return found
    found += [merge_checks.licences(base, [adapter]), *merge_checks.provenance(base, [adapter])]
    return [*found, *merge_checks.of_size(base, [adapter], out_dtype="same"), merge_checks.name(name), merge_checks.worker()]


def without_base(adapter: ModelVersion) -> Check:
    return Check("Base", "stop", f"no whole model here is known as the base of {adapter.name}", "Import the base, then the adapter for it.")
