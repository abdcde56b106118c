"""What has to be true before a run is worth starting, each with what to do when it is not."""

import importlib.util
import json
from dataclasses import dataclass
from typing import Any, Literal

from django.conf import settings
from django.db.models import Avg, Count, Max, Min, Q

from annotation import safety
from annotation.models import Snapshot, SnapshotRow, Split
from jobs import disk as volumes
from jobs import pulses
from jobs.models import Job, State
from modelhub import artifacts
from modelhub.errors import Corrupt
from modelhub.models import ModelVersion
from training import footprints, lengths
from training.engine.footprint import Footprint, Unknown
from training.engine.spec import PARALLEL
from training.lengths import Lengths
from training.models import Run

PAIRS_NEEDED = 16
PAIRS_EXPLORATORY = 100
# Copies of the weights that lie on the disk at once while a run ends: output, adapter merge, blob; and some air.
DISK_COPIES, DISK_AIR = 4, 500 * 2**20
ENGINE_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets")
# Above this share of pairs whose chosen answer is the longer one, length itself is what DPO learns first (product research, 2.8).
CHOSEN_LONGER = 0.6
# A target under this is a pair on which raters were split, or preferred one side slightly.
UNSURE = 0.7


@dataclass(frozen=True)
class Check:
    """One line of the list: `state` is ok, warn (may start, read this) or stop (may not start). `fix` says what to do."""

    name: str
    state: Literal["ok", "warn", "stop"]
    detail: str
    fix: str = ""

    @property
    def stops(self) -> bool:
        return self.state == "stop"


def checks(*, snapshot: Snapshot, policy: ModelVersion, name: str, params: dict[str, Any], kind: str = "dpo") -> list[Check]:
    """Every line, data first. A run may start when none of them stops."""
    if not readable(policy):
        broken = Check(
            "Model files", "stop", f"{policy.name} cannot be read whole from the store", "Import or build it again, or start from another."
        )
        return [*of_data(snapshot=snapshot, policy=policy, name=name), broken, *of_house(policy)]
    found = lengths.of(snapshot, policy)
    memory, disk = _of_size(found, policy, kind, params)
    return [
        *of_data(snapshot=snapshot, policy=policy, name=name),
        *_of_targets(snapshot, kind, params),
        *_of_length(found, policy, params),
        *_of_verbosity(found, kind),
        *memory,
        *of_house(policy, disk),
    ]


def readable(policy: ModelVersion) -> bool:
    """Whether the model's files are all there and of the right size."""
    try:
        artifacts.check_present(policy.artifact)
    except Corrupt:
        return False
    return True


def of_data(*, snapshot: Snapshot, policy: ModelVersion, name: str) -> list[Check]:
    """What cannot become true by waiting: the pairs, the model, the licence, the name."""
    return [
        _pairs(snapshot),
        _since(snapshot),
        _template(policy),
        _licence(policy),
        _simulated(snapshot, policy),
        name_check(name),
        _duplicate(snapshot, policy),
    ]


def of_house(policy: ModelVersion, disk: int = 0) -> list[Check]:
    """What this machine needs: somebody to run the job, the engine's packages, room on the disk (`disk` bytes at least)."""
    return [worker(), _engine(), _disk(policy, disk)]


def _pairs(snapshot: Snapshot) -> Check:
    pairs = train_pairs(snapshot)
    if pairs < PAIRS_NEEDED:
        return Check("Training pairs", "stop", f"{pairs} in the train split", f"Collect at least {PAIRS_NEEDED}, then freeze again.")
    if pairs < PAIRS_EXPLORATORY:
        return Check("Training pairs", "warn", f"{pairs} in the train split", "A dry run: under 100 pairs nothing can be proven.")
    return Check("Training pairs", "ok", f"{pairs} in the train split")


def _since(snapshot: Snapshot) -> Check:
    """A frozen snapshot never changes; what leads and raters found out after it was frozen does not bend to that."""
    found = safety.since(snapshot)
    if found.rows:
        return Check("Nothing ruled out since", "stop", f"{found.rows} of its rows may not be trained on: {found}", "Freeze anew.")
    return Check("Nothing ruled out since", "ok", "no text of it was barred, withdrawn or found harmful after it was frozen")


def train_pairs(snapshot: Snapshot) -> int:
    return int(snapshot.counts.get("used", {}).get(Split.TRAIN, 0))


def _template(policy: ModelVersion) -> Check:
    if not policy.chat_template_digest:
        return Check("Chat template", "stop", f"{policy.name} has none", "Import the model with its chat_template.jinja.")
    return Check("Chat template", "ok", "found")


def _licence(policy: ModelVersion) -> Check:
    if not policy.licence:
        return Check("Licence", "warn", "the start model names none", "Check that you may train and share derivatives.")
    return Check("Licence", "ok", policy.licence)


def _simulated(snapshot: Snapshot, policy: ModelVersion) -> Check:
    if snapshot.simulated and not policy.toy:
        return Check("Whose judgements", "stop", "simulated raters judged this snapshot", "Simulated judgements may only train toy models.")
    if snapshot.external:
        said = f"imported from {snapshot.campaign.protocol.get('source', 'elsewhere')}: nobody here saw them given"
        return Check(
            "Whose judgements", "warn", said, "They count in none of our raters' figures. Where a harm flag is missing, harm is unknown."
        )
    if snapshot.simulated:
        return Check("Whose judgements", "warn", "simulated raters judged this snapshot", "Its model will be marked as simulated for ever.")
    return Check("Whose judgements", "ok", "clinicians")


def name_check(name: str) -> Check:
    if Run.objects.filter(name=name).exists() or ModelVersion.objects.filter(name=name).exists():
        return taken(name)
    return Check("Name", "ok", name or "not given yet")


def taken(name: str) -> Check:
    return Check("Name", "stop", f"{name} is taken", "Choose another name: a version keeps its name for ever.")


def _duplicate(snapshot: Snapshot, policy: ModelVersion) -> Check:
    same = Run.objects.filter(snapshot=snapshot, policy=policy).exclude(job__state__in=(State.FAILED, State.CANCELLED)).first()
    if same:
        return Check(
            "Not run before", "warn", f"{same.name} started from the same model and snapshot", "Again only to change a setting or the seed."
        )
    return Check("Not run before", "ok", "a new combination")


def _of_targets(snapshot: Snapshot, kind: str, params: dict[str, Any]) -> list[Check]:
    """How sure the raters were, and what the recipe makes of that."""
    if kind != "dpo":
        return []
    rows = SnapshotRow.objects.filter(snapshot=snapshot, split=Split.TRAIN)
    found = rows.aggregate(
        pairs=Count("pk"), mean=Avg("p_chosen"), low=Min("p_chosen"), high=Max("p_chosen"), split=Count("pk", filter=Q(p_chosen__lt=UNSURE))
    )
    if not found["pairs"]:
        return []
    said = f"{found['mean']:.2f} on average, {found['low']:.2f} to {found['high']:.2f}; under {UNSURE} in {found['split']} pairs"
    if params.get("targets", "hard") == "soft":
        return [Check("Soft targets", "ok", f"{said}; trained on as they are")]
    if found["split"] / found["pairs"] > 0.2:
        return [Check("Soft targets", "warn", f"{said}; all taken as certain", "Set targets to soft, and unsure labels pull less.")]
    return [Check("Soft targets", "ok", f"{said}; all taken as certain")]


def _of_length(found: Lengths, policy: ModelVersion, params: dict[str, Any]) -> list[Check]:
    """Nothing is ever cut: a pair above the limit stops the run, here and, for the pairs not counted here, in the engine."""
    if not found.pairs:
        return []
    limit, over = params.get("max_length") or context_length(policy), 0
    how = " (estimated: the tokenizers package is not installed)" if found.estimated else ""
    how += f", of the first {found.pairs:,} pairs" if found.pairs == lengths.COUNTED else ""
    if limit and (over := found.over(limit)):
        fix = "Raise the maximum length." if params.get("max_length") else "Choose a model with a longer context, or freeze shorter pairs."
        share = 100 * over / found.pairs
        detail = f"{over} of {found.pairs} pairs ({share:.1f} %) are too long: up to {found.longest} tokens, the limit is {limit}{how}"
        return [Check("Length", "stop", detail, f"They would have to be cut, and nothing is cut. {fix}")]
    said = f"the longest pair has about {found.longest} tokens{f' of {limit}' if limit else ''}; nothing will be cut{how}"
    return [Check("Length", "ok", said)]


def _of_verbosity(found: Lengths, kind: str) -> list[Check]:
    """DPO learns length where length goes with preference."""
    if kind != "dpo" or not found.pairs:
        return []
    said = f"the chosen answer is the longer one in {100 * found.chosen_longer:.0f} %"
    if found.pairs >= PAIRS_NEEDED and found.chosen_longer > CHOSEN_LONGER:
        return [Check("Length and preference", "warn", said, "It may mostly learn to write more. Loss sigmoid_norm takes length out.")]
    return [Check("Length and preference", "ok", said)]


def _of_size(found: Lengths, policy: ModelVersion, kind: str, params: dict[str, Any]) -> tuple[list[Check], int]:
    """What the run takes at its longest batch against what this machine, or its GPU, has; and the bytes it takes on the disk."""
    if not found.pairs:
        return [], 0
    room = footprints.room()
    try:
        needed = footprints.of(
            config=footprints.config_of(policy), kind=kind, params=params, longest=found.longest, prompt=found.prompt,
            device=room.device, processes=settings.ROUNDS_ENGINE_PROCESSES if kind in PARALLEL else 1,
        )  # fmt: skip
    except Unknown as why:
        return [Check("Memory", "warn", f"not estimated: {why}", "Make sure that the machine has enough.")], 0
    return [memory_check(needed, room)], needed.disk


def memory_check(needed: Footprint, room: footprints.Room) -> Check:
    demands = room.demands(needed)
    said = ", ".join(
        f"about {wanted / footprints.GB:.1f} GB of {there / footprints.GB:.1f} GB of {what}" for what, wanted, there in demands
    )
    smaller = "Take a smaller batch with more gradient accumulation, gradient checkpointing, or LoRA."
    if any(wanted > there for _, wanted, there in demands):
        return Check("Memory", "stop", said, f"{smaller} Or run it on a larger machine.")
    if any(wanted > footprints.TIGHT * there for _, wanted, there in demands):
        return Check("Memory", "warn", said, f"Other processes need room too. {smaller}")
    return Check("Memory", "ok", said)


def context_length(policy: ModelVersion) -> int:
    """Positions the model has, by its configuration; 0 when it does not say."""
    config = json.loads(artifacts.file(policy.artifact, "config.json").read_text())
    return int(config.get("max_position_embeddings") or 0)


def worker() -> Check:
    if absent := pulses.missing():
        return Check("Worker", "stop", absent[0].what, f"Start it: {absent[0].command} (make run starts everything).")
    return Check("Worker", "ok", "a compute worker and the sweeper are up")


def _engine() -> Check:
    missing = engine_missing()
    if missing:
        return Check(
            "Engine", "stop", f"not installed: {', '.join(missing)}", "Wait for the set-up, or: pip install -c constraints.txt -e .[engine]"
        )
    return Check("Engine", "ok", "installed")


def engine_missing() -> list[str]:
    """Packages the engine needs that are not installed. Nothing is imported to find out."""
    return [name for name in ENGINE_PACKAGES if importlib.util.find_spec(name) is None]


def _disk(policy: ModelVersion, run: int) -> Check:
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    (free, place), needed = volumes.tightest(), max(run, DISK_COPIES * policy.artifact.bytes) + DISK_AIR
    if free < needed:
        return Check("Disk", "stop", f"{free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed", f"Make room in {place}.")
    return Check("Disk", "ok", f"{free / 1e9:.1f} GB free")


def waiting_jobs() -> int:
    """How many compute jobs would run before a new one."""
    return Job.objects.unended().filter(queue="compute").count()
