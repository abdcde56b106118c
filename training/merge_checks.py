"""What has to be true of the models of a merge, read from rows, configurations and safetensors headers: no tensor is loaded."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from django.conf import settings

from modelhub import adapters as lora
from modelhub import artifacts, imports, shared
from modelhub.models import Artifact, Kind, LineageEdge, ModelVersion
from modelhub.refusals import Refused
from training import footprints, preflight
from training.engine.errors import BadModel
from training.engine.merging import plan
from training.engine.recipes import layer_of
from training.engine.spec import MOST_RANK
from training.preflight import Check

ADAPTER = "adapter_config.json"
# As the engine names what a recipe is saved as.
SAVED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
# torch itself, and what is read ahead and written behind.
BUFFERS = 700 * 10**6
# What a merge holds of each expert at most, to find its thresholds among: a histogram, or eight million numbers for either of two workers.
HELD_EACH = 80 * 10**6
# Bytes an entry of the largest tensor while its change is decomposed: base, expert and change in float32, and what is made of them.
DIFFERENCE = 28


def agreement(base: ModelVersion | None, experts: Sequence[ModelVersion]) -> list[Check]:
    """Whether the experts are of one kind with the base, by the engine's own rules, naming the first thing in which one is not.

    Without a base, as the engine does: the first whole model among the experts stands for it, and adapters are put on that.
    """
    base = base or next((version for version in experts if version.kind != Kind.ADAPTER), None)
    if base is None or base.kind == Kind.ADAPTER:
        said = "all of them are adapters" if base is None else f"{base.name} is an adapter"
        return [Check("Model files", "stop", f"{said}, and an adapter is no model by itself", "Choose the model it is for as the base.")]
    versions = list(dict.fromkeys((base, *experts)))
    for version in versions:
        if not preflight.readable(version):
            return [Check("Model files", "stop", f"{version.name} cannot be read whole from the store", "Import or build it again.")]
    whole = Check("Model files", "ok", f"{len(versions)} models are whole")
    if absent := [version.name for version in versions if not _is_here(version.artifact)]:
        return [whole, _by_facts(base, versions, absent)]
    adapters = [version.name for version in versions if _is_adapter(version.artifact)]
    full = {version.name: artifacts.folder(version.artifact) for version in versions if version.name not in adapters}
    try:
        tensors = _alike(full)
    except BadModel as problem:
        return [whole, Check("One kind", "stop", problem.message, "Leave it out, or take the base that it was trained from.")]
    found = [whole, Check("One kind", "ok", f"one configuration, one tokenizer, {tensors} tensors of the same names and shapes")]
    if adapters:
        found.append(_adapters(base, [version for version in versions if version.name in adapters]))
    others = [version.name for version in versions if version.chat_template_digest != base.chat_template_digest]
    if others and not adapters:
        found.append(Check("Chat template", "warn", f"{others[0]} has another than {base.name}", "The merge takes the base's."))
    return found


def _adapters(base: ModelVersion, found: Sequence[ModelVersion]) -> Check:
    """Whether each has a place in the base for everything that it changes, and is for that base."""
    try:
        into = imports.base_of(base)
        for version in found:
            lora.check(artifacts.folder(version.artifact), [entry["name"] for entry in version.artifact.manifest], [], into, same_base=True)
    except Refused as refused:
        return Check("Adapters", "stop", f"{version.name}: {refused}", "Leave it out, or take the base that it was made for.")
    strangers = LineageEdge.objects.filter(child__in=found, role=imports.ROLE).exclude(parent=base).select_related("child", "parent")
    if edge := strangers.order_by("pk").first():
        said = f"{edge.child.name} was made for {edge.parent}, and is put on {base.name}"
        return Check("Adapters", "warn", said, "It fits by its shapes; whether it still does what it did there, only a preview tells.")
    named = ", ".join(version.name for version in found)
    return Check("Adapters", "ok", f"{named}: the base with what each adds, computed on the way")


def _alike(folders: dict[str, Path]) -> int:
    """How many tensors each of the folders has. Raises BadModel for the first difference."""
    plan.check_alike(folders)
    layouts = {name: plan.read_layout(folder, name) for name, folder in folders.items()}
    plan.check_layouts(layouts)
    return len(next(iter(layouts.values())))


def _is_here(artifact: Artifact) -> bool:
    """Whether the files lie on this machine; where hosts share a store they may lie there alone, and a page fetches no model."""
    return not shared.named() or all(artifacts.blob(entry["sha256"]).is_file() for entry in artifact.manifest)


def _is_adapter(artifact: Artifact) -> bool:
    return any(entry["name"] == ADAPTER for entry in artifact.manifest)


def _by_facts(base: ModelVersion, versions: Sequence[ModelVersion], absent: list[str]) -> Check:
    """What the rows alone can say."""
    for version in versions:
        for name in ("architecture", "tokenizer_digest", "parameters"):
            ours, theirs = getattr(base, name), getattr(version, name)
            if ours != theirs:
                return Check("One kind", "stop", f"{version.name}: {name} is {theirs}, and {base.name}'s is {ours}", "Leave it out.")
    said = f"same architecture, tokenizer and size; {absent[0]} lies in the shared store alone"
    return Check("One kind", "warn", said, "Its tensors are compared as the merge begins.")


def name(text: str) -> Check:
    if not text:
        return Check("Name", "warn", "not given yet", "A run needs one; a preview and a saved recipe do not.")
    return preflight.name_check(text)


def worker() -> Check:
    """Jobs wait for one: that there is none is no reason not to queue them."""
    found = preflight.worker()
    return replace(found, state="warn") if found.stops else found


def licences(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    versions = list(dict.fromkeys((base, *experts)))
    named = {version.licence for version in versions if version.licence}
    if silent := [version.name for version in versions if not version.licence]:
        names = f"{', '.join(silent)} {'names' if len(silent) == 1 else 'name'} none"
        return Check("Licence", "warn", names, "Check that you may merge and share what comes of it.")
    if len(named) > 1:
        return Check("Licence", "warn", " and ".join(sorted(named)), "The merge is bound by all of them.")
    return Check("Licence", "ok", named.pop())


def provenance(base: ModelVersion, experts: Sequence[ModelVersion]) -> list[Check]:
    """What the merge will be marked as, for what it is made of."""
    marks = [mark for mark in ("toy", "simulated") if any(getattr(version, mark) for version in (base, *experts))]
    return (
        [Check("Marked as", "warn", " and ".join(marks), "One of its models is, and so will be what comes of it, for ever.")]
        if marks
        else []
    )


def of_size(base: ModelVersion, experts: Sequence[ModelVersion], *, out_dtype: str) -> list[Check]:
    """What the merge takes of memory and disk, from the base's headers alone; nothing, where they are not here."""
    if not _is_here(base.artifact):
        return []
    folder = artifacts.folder(base.artifact)
    drawn = plan.lay_out(plan.read_layout(folder, base.name), files=plan.carried(folder), dtype=SAVED.get(out_dtype))
    return [_memory(BUFFERS + len(experts) * HELD_EACH, "whatever the models' size"), _disk(drawn.size)]


def of_extraction(base: ModelVersion, *, rank: int) -> list[Check]:
    """What an adapter of the layers' matrices takes: its rank against theirs, memory and disk; from the base's headers alone."""
    if not _is_here(base.artifact):
        return []
    layout = plan.read_layout(artifacts.folder(base.artifact), base.name)
    sides = [entry.shape for name, entry in layout.items() if len(entry.shape) == 2 and layer_of(name) is not None]
    if not sides:
        return [Check("Rank", "stop", f"{base.name} has no layers' matrices to hold a change of", "Choose another base.")]
    size = 4 * rank * sum(rows + columns for rows, columns in sides)
    memory = DIFFERENCE * max(entry.numel for entry in layout.values()) + BUFFERS
    return [_rank(rank, sides, size, base.artifact.bytes), _memory(memory, "by the largest tensor and not the model"), _disk(size)]


def _rank(rank: int, sides: Sequence[Sequence[int]], size: int, whole: int) -> Check:
    least = min(min(shape) for shape in sides)
    said = f"{rank} in each of {len(sides)} matrices; the adapter takes {_said(size)}, {100 * size / whole:.0f} % of the whole model"
    if rank > MOST_RANK:
        return Check("Rank", "stop", f"{rank} is more than others would take", f"Choose at most {MOST_RANK}.")
    if rank >= least:
        return Check("Rank", "warn", said, f"Some matrices are no more than {least} wide: a rank from there on holds all of their change.")
    return Check("Rank", "ok", said)


def _memory(needed: int, grows: str) -> Check:
    there = footprints.ram()
    said = f"at most {needed / footprints.GB:.1f} GB of {there / footprints.GB:.1f} GB of RAM, {grows}"
    if needed > there:
        return Check("Memory", "stop", said, "Run it on a larger machine.")
    if needed > footprints.TIGHT * there:
        return Check("Memory", "warn", said, "Other processes need room too.")
    return Check("Memory", "ok", said)


def _disk(needed: int) -> Check:
    """Room for the merge twice: as it is written, and as the store takes it in where it cannot link."""
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    free, wanted = shutil.disk_usage(settings.DATA_DIR).free, 2 * needed + preflight.DISK_AIR
    said = f"it takes {_said(needed)}, {free / 1e9:.1f} GB are free"
    if free < wanted:
        return Check("Disk", "stop", f"{said}, {wanted / 1e9:.1f} GB needed", f"Make room in {settings.DATA_DIR}.")
    return Check("Disk", "ok", said)


def _said(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
