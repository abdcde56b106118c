"""What has to be true of the models of a merge, read from rows, configurations and safetensors headers: no tensor is loaded."""

import json
import shutil
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.conf import settings

from modelhub import artifacts, weights
from modelhub.errors import Corrupt, Refused
from modelhub.models import Artifact, ModelVersion
from training import footprints, preflight
from training.preflight import Check

# What a configuration says that has no part in what weights mean: where it came from, how it was saved, how it is run.
ASIDE = frozenset({
    "_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "_attn_implementation", "attn_implementation",
})  # fmt: skip
# Bytes of one number in the merge's own arithmetic, float32.
EXACT = 4


def agreement(base: ModelVersion, experts: Sequence[ModelVersion]) -> list[Check]:
    """Whether the experts are of one kind with the base, naming the first thing that is not."""
    for version in (base, *experts):
        if not preflight.readable(version):
            return [Check("Model files", "stop", f"{version.name} cannot be read whole from the store", "Import or build it again.")]
    return [Check("Model files", "ok", f"{1 + len(experts)} models are whole"), _config(base, experts), _tokenizer(base, experts),
            _tensors(base, experts)]  # fmt: skip


def _config(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    ours = footprints.config_of(base)
    for expert in experts:
        theirs = footprints.config_of(expert)
        for key in ("architectures", "model_type", *sorted(set(ours) | set(theirs))):
            if key not in ASIDE and ours.get(key) != theirs.get(key):
                detail = f"{expert.name} has {key} {_said(theirs.get(key))}, and {base.name} has {_said(ours.get(key))}"
                return Check("Architecture", "stop", detail, "Leave it out, or take a base that it was made from.")
    return Check("Architecture", "ok", f"{base.architecture}, the same configuration in all")


def _said(value: Any) -> str:
    said = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return said if len(said) <= 60 else f"{said[:59]}…"


def _tokenizer(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    for expert in experts:
        if expert.tokenizer_digest != base.tokenizer_digest:
            detail = f"{expert.name}'s tokenizer is {expert.tokenizer_digest[:8] or 'none'}, {base.name}'s {base.tokenizer_digest[:8]}"
            return Check("Tokenizer", "stop", detail, "The same number would mean another word. Merge models that share one tokenizer.")
    for expert in experts:
        if expert.chat_template_digest != base.chat_template_digest:
            return Check("Tokenizer", "warn", f"{expert.name} has another chat template than {base.name}", "The merge takes the base's.")
    return Check("Tokenizer", "ok", "the same in all")


def _tensors(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    ours = shapes(base.artifact)
    for expert in experts:
        theirs = shapes(expert.artifact)
        for name in sorted(set(ours) | set(theirs)):
            if name not in theirs or name not in ours:
                detail = (
                    f"{name} is in {expert.name if name in theirs else base.name} and not in {base.name if name in theirs else expert.name}"
                )
                return Check("Tensors", "stop", detail, "Leave the expert out.")
            if ours[name] != theirs[name]:
                detail = f"{name} is {_shape(theirs[name])} in {expert.name} and {_shape(ours[name])} in {base.name}"
                return Check("Tensors", "stop", detail, "Leave the expert out.")
    return Check("Tensors", "ok", f"{len(ours)}, of the same names and shapes")


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"


def shapes(artifact: Artifact) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape by name, from the headers. Raises Corrupt when a file cannot be read."""
    found: dict[str, tuple[int, ...]] = {}
    for entry in artifact.manifest:
        if entry["name"].endswith(".safetensors"):
            found |= _of_file(artifacts.blob(entry["sha256"]), entry["name"])
    return found


@lru_cache(maxsize=64)
def _of_file(path: Any, name: str) -> dict[str, tuple[int, ...]]:
    """Kept by content: a blob never changes."""
    try:
        return weights.read_header(path, name=name).shapes
    except (Refused, OSError) as problem:
        raise Corrupt(f"{name} cannot be read.") from problem


def name(text: str) -> Check:
    if not text:
        return Check("Name", "warn", "not given yet", "A run needs one; a preview and a saved recipe do not.")
    return preflight.name_check(text)


def of_size(base: ModelVersion, experts: Sequence[ModelVersion], *, out_dtype: str) -> list[Check]:
    """What the merge takes of memory and disk, by shapes alone."""
    return [memory(base, experts), disk(base, bytes_each=size(base, out_dtype))]


def licences(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    named = {version.licence for version in (base, *experts) if version.licence}
    silent = [version.name for version in (base, *experts) if not version.licence]
    if silent:
        return Check("Licence", "warn", f"{', '.join(silent)} names none", "Check that you may merge and share what comes of it.")
    if len(named) > 1:
        return Check("Licence", "warn", " and ".join(sorted(named)), "The merge is bound by all of them.")
    return Check("Licence", "ok", named.pop() if named else "")


def provenance(base: ModelVersion, experts: Sequence[ModelVersion]) -> list[Check]:
    """What the merge will be marked as, for what it is made of."""
    marks = [mark for mark in ("toy", "simulated") if any(getattr(version, mark) for version in (base, *experts))]
    return [Check("Marked as", "warn", " and ".join(marks), "One of its models is, and so will the merge be for ever.")] if marks else []


def memory(base: ModelVersion, experts: Sequence[ModelVersion]) -> Check:
    """The largest tensor of every model at once in float32, the merged one, and room to write: whatever the size of the models."""
    largest = max((_numel(shape) for shape in shapes(base.artifact).values()), default=0)
    needed = EXACT * largest * (len(experts) + 3) + BUFFERS
    there = footprints.ram()
    said = f"about {needed / footprints.GB:.1f} GB of {there / footprints.GB:.1f} GB of RAM: one tensor of every model at a time"
    if needed > there:
        return Check("Memory", "stop", said, "Run it on a larger machine.")
    if needed > footprints.TIGHT * there:
        return Check("Memory", "warn", said, "Other processes need room too.")
    return Check("Memory", "ok", said)


# torch itself, and what is read ahead and written behind.
BUFFERS = 700 * 10**6


def _numel(shape: tuple[int, ...]) -> int:
    found = 1
    for side in shape:
        found *= side
    return found


# Bytes of one number as it is saved.
SAVED = {"float32": 4, "bfloat16": 2, "float16": 2}


def size(base: ModelVersion, out_dtype: str = "same") -> int:
    """Bytes that the merge will have on the disk: the base's, which gives shapes and tokenizer, with its numbers saved as `out_dtype`."""
    weights_of = {entry["name"]: int(entry["size"]) for entry in base.artifact.manifest if entry["name"].endswith(".safetensors")}
    around = base.artifact.bytes - sum(weights_of.values())
    return around + (base.parameters * SAVED[out_dtype] if out_dtype in SAVED else sum(weights_of.values()))


def disk(base: ModelVersion, *, bytes_each: int) -> Check:
    """Room for the merge twice: as it is written, and as the store takes it in where it cannot link."""
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(settings.DATA_DIR).free, 2 * bytes_each + preflight.DISK_AIR
    said = f"{free / 1e9:.1f} GB free, the merge takes {bytes_each / 1e9:.2f} GB"
    if free < needed:
        return Check("Disk", "stop", f"{said}, {needed / 1e9:.1f} GB needed", f"Make room in {settings.DATA_DIR}.")
    return Check("Disk", "ok", said)
