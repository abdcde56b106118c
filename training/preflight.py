"""What has to be true before a run is worth starting, each with what to do when it is not."""

import importlib.util
import json
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from django.conf import settings

from annotation import safety, snapshots
from annotation.models import Snapshot, Split
from jobs import pulses
from jobs.models import Job, State
from modelhub import artifacts
from modelhub.errors import Corrupt
from modelhub.models import ModelVersion
from training import footprints
from training.engine.footprint import Footprint, Unknown
from training.models import Run

PAIRS_NEEDED = 16
PAIRS_EXPLORATORY = 100
# Copies of the weights that lie on the disk at once while a run ends: output, adapter merge, blob; and some air.
DISK_COPIES, DISK_AIR = 4, 500 * 2**20
ENGINE_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets")
# Pairs whose tokens are counted; more are estimated from these.
COUNTED = 400


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


@dataclass(frozen=True)
class Estimate:
    """Minutes a run may take, and from what that is known."""

    low: float
    high: float
    basis: str


def checks(*, snapshot: Snapshot, policy: ModelVersion, name: str, params: dict[str, Any], kind: str = "dpo") -> list[Check]:
    """Every line, data first. A run may start when none of them stops."""
    if not readable(policy):
        broken = Check(
            "Model files", "stop", f"{policy.name} cannot be read whole from the store", "Import or build it again, or start from another."
        )
        return [*of_data(snapshot=snapshot, policy=policy, name=name), broken, *of_house(policy)]
    lengths = measure(snapshot, policy)
    return [
        *of_data(snapshot=snapshot, policy=policy, name=name),
        *_of_length(lengths, policy, params),
        *_of_memory(lengths, policy, kind, params),
        *of_house(policy),
    ]


def readable(policy: ModelVersion) -> bool:
    """Whether the model's files are all there and of the right size."""
    try:
        artifacts.folder(policy.artifact)
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
        _name(name),
        _duplicate(snapshot, policy),
    ]


def of_house(policy: ModelVersion) -> list[Check]:
    """What this machine needs: somebody to run the job, the engine's packages, room on the disk."""
    return [_worker(), _engine(), _disk(policy)]


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
    if snapshot.simulated:
        return Check("Whose judgements", "warn", "simulated raters judged this snapshot", "Its model will be marked as simulated for ever.")
    return Check("Whose judgements", "ok", "clinicians")


def _name(name: str) -> Check:
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


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest pair (its longer side, prompt included) and of its prompt, over the first pairs of the train split."""

    longest: int
    prompt: int
    pairs: int
    estimated: bool


def measure(snapshot: Snapshot, policy: ModelVersion) -> Lengths:
    count = _token_counter(policy)
    longest, its_prompt, pairs = 0, 0, 0
    for row in snapshots.training_rows(snapshot, Split.TRAIN):
        prompt = sum(count(message["content"]) + 4 for message in row["prompt"])
        chosen, rejected = (sum(count(message["content"]) + 4 for message in row[side]) for side in ("chosen", "rejected"))
        if prompt + max(chosen, rejected) > longest:
            longest, its_prompt = prompt + max(chosen, rejected), prompt
        pairs += 1
        if pairs == COUNTED:
            break
    return Lengths(longest, its_prompt, pairs, estimated=count is _guess)


def _of_length(lengths: Lengths, policy: ModelVersion, params: dict[str, Any]) -> list[Check]:
    longest, limit = lengths.longest, params.get("max_length") or context_length(policy)
    how = " (estimated: the tokenizers package is not installed)" if lengths.estimated else ""
    if not lengths.pairs:
        return []
    if limit and longest > limit:
        fix = "Raise the maximum length." if params.get("max_length") else "Choose a model with a longer context, or freeze shorter pairs."
        return [Check("Length", "stop", f"the longest pair has about {longest} tokens, the limit is {limit}{how}", fix)]
    return [
        Check("Length", "ok", f"the longest pair has about {longest} tokens{f' of {limit}' if limit else ''}; nothing will be cut{how}")
    ]


def _of_memory(lengths: Lengths, policy: ModelVersion, kind: str, params: dict[str, Any]) -> list[Check]:
    """What the run takes at its longest batch against what this machine, or its GPU, has."""
    if not lengths.pairs:
        return []
    room = footprints.room()
    try:
        needed = footprints.of(
            config=footprints.config_of(policy), kind=kind, params=params, longest=lengths.longest, prompt=lengths.prompt,
            device=room.device,
        )  # fmt: skip
    except Unknown as why:
        return [Check("Memory", "warn", f"not estimated: {why}", "Make sure that the machine has enough.")]
    return [memory_check(needed, room)]


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


def mean_tokens(snapshot: Snapshot, policy: ModelVersion) -> float:
    """Tokens a pair, prompt counted on both sides; over the first pairs of the train split."""
    count = _token_counter(policy)
    seen = []
    for row in snapshots.training_rows(snapshot, Split.TRAIN):
        seen.append(
            2 * sum(count(message["content"]) for message in row["prompt"])
            + sum(count(message["content"]) for side in ("chosen", "rejected") for message in row[side])
        )
        if len(seen) == 100:
            break
    return sum(seen) / len(seen) if seen else 0.0


def context_length(policy: ModelVersion) -> int:
    """Positions the model has, by its configuration; 0 when it does not say."""
    config = json.loads((artifacts.folder(policy.artifact) / "config.json").read_text())
    return int(config.get("max_position_embeddings") or 0)


def _guess(text: str) -> int:
    # Clinical English in a small vocabulary: about three characters a token.
    return len(text) // 3 + 1


def _token_counter(policy: ModelVersion) -> Any:
    try:
        return _tokenizer(str(artifacts.folder(policy.artifact) / "tokenizer.json"))
    except (ImportError, OSError, ValueError):
        return _guess


@lru_cache(maxsize=4)
def _tokenizer(path: str) -> Any:
    if not Path(path).exists():
        raise FileNotFoundError(path)
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(path)
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def _worker() -> Check:
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


def _disk(policy: ModelVersion) -> Check:
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(settings.DATA_DIR).free, DISK_COPIES * policy.artifact.bytes + DISK_AIR
    if free < needed:
        return Check("Disk", "stop", f"{free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed", f"Make room in {settings.DATA_DIR}.")
    return Check("Disk", "ok", f"{free / 1e9:.1f} GB free")


def estimate(*, snapshot: Snapshot, policy: ModelVersion, params: dict[str, Any]) -> Estimate:
    """How long a run may take: from past runs of this size of model where there are any, else from tokens and parameters."""
    work = max(1.0, train_pairs(snapshot) * float(params.get("epochs") or 1.0))
    rates = [rate for run in _past(policy) if (rate := _rate(run)) is not None]
    if rates:
        return Estimate(
            _minutes(min(rates) * work * 0.8),
            _minutes(max(rates) * work * 1.25),
            "one past run of this size" if len(rates) == 1 else f"{len(rates)} past runs of this size",
        )
    # Four passes a pair (policy forward, twice that backward, reference forward), 2 flops a parameter and token.
    flops = 2 * 4 * max(1, policy.parameters) * mean_tokens(snapshot, policy) * work
    steps = work / float(params.get("batch_size") or 8)
    # 5 to 50 Gflop/s is what one to a few CPU cores reach; a step costs 0.1 to 0.4 s whatever its size; imports 10 to 40 s.
    return Estimate(
        _minutes(10 + 0.1 * steps + flops / 50e9), _minutes(40 + 0.4 * steps + flops / 5e9), "tokens and parameters, for want of a past run"
    )


def _past(policy: ModelVersion) -> list[Run]:
    low, high = 0.5 * policy.parameters, 2 * policy.parameters
    found = Run.objects.filter(job__kind="dpo", job__state=State.SUCCEEDED, policy__parameters__gte=low, policy__parameters__lte=high)
    return list(found.select_related("job", "snapshot").order_by("-id")[:10])


def _rate(run: Run) -> float | None:
    """Seconds a pair and epoch, imports included."""
    seconds = run.job.result.get("seconds")
    if run.snapshot is None or not isinstance(seconds, int | float):
        return None
    return float(seconds) / max(1.0, train_pairs(run.snapshot) * float(run.params.get("epochs") or 1.0))


def _minutes(seconds: float) -> float:
    return round(max(seconds, 6.0) / 60, 1)


def waiting_jobs() -> int:
    """How many compute jobs would run before a new one."""
    return Job.objects.unended().filter(queue="compute").count()
