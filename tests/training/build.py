"""Small worlds for training: pretended models that the store takes, snapshots, and jobs carried through without an engine."""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accounts.models import Role
from annotation import snapshots
from annotation.models import Sample, Snapshot, Split, Verdict
from jobs import claims, devices, kinds
from jobs.attempts import folder_of
from jobs.models import Job
from jobs.pulses import beat
from modelhub import artifacts, versions
from modelhub.models import Artifact, Kind, ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from training import suiteruns
from training.models import Evaluation, SuiteRun
from training.suite import mini
from training.suite.results import SuiteResult, TaskResult

TEMPLATE = "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}"


# The toy family's sizes; a pretended model of any other size is one by its configuration alone.
TOY = {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "vocab_size": 2688, "hidden_size": 128, "intermediate_size": 384,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False,
}  # fmt: skip
# Phi-3.5-mini-instruct's, from its model card.
PHI_35_MINI = TOY | {
    "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32,
}  # fmt: skip


def model_folder(
    folder: Path, number: float = 1.0, *, template: str = TEMPLATE, positions: int = 512, config: dict[str, Any] = TOY
) -> Path:
    """The smallest folder that is a causal language model on paper: one weight, a tokenizer of words, a chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"lm_head.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", number))
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": positions}))
    words = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "post_processor": None,
        "decoder": None, "pre_tokenizer": {"type": "Whitespace"}, "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(words))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template} if template else {}))
    return folder


def adapter_folder(folder: Path) -> Path:
    """What PEFT leaves of a LoRA adapter, in small."""
    folder.mkdir(parents=True)
    header = json.dumps({"base_model.model.lm_head.lora_A.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", 0.25))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "base_model_name_or_path": "0" * 64}))
    return folder


def artifact(tmp_path: Path, number: float = 1.0, **options: Any) -> Artifact:
    return artifacts.save(artifacts.stage(folder=model_folder(tmp_path / f"model-{number}", number, **options)))


def version(tmp_path: Path, name: str, kind: str = Kind.SFT, *, number: float | None = None, **options: Any) -> ModelVersion:
    of_files = {key: options.pop(key) for key in ("template", "positions", "config") if key in options}
    number = ModelVersion.objects.count() + 1.0 if number is None else number
    options.setdefault("licence", "Apache-2.0")
    return versions.register(name=name, kind=kind, artifact=artifact(tmp_path, number, **of_files), actor=None, **options)


def snapshot(*, pairs: int = 32, simulated: bool = False, name: str = "spring") -> Snapshot:
    """A frozen snapshot of a closed campaign whose every pair one rater judged; the first of each pair won, now and then."""
    rater = person(f"rater-of-{name}", Role.ANNOTATOR, simulated=simulated)
    campaign = annotating.campaign([rater], pairs=pairs, name=f"Campaign of {name}", simulated=simulated, toy=simulated)
    for number in range(pairs):
        annotating.judge(campaign, rater, Verdict.FIRST_MUCH if number % 3 else Verdict.SECOND_SLIGHTLY)
    from annotation import campaigns

    campaigns.close(campaign=campaign, actor=None)
    return snapshots.freeze(campaign=campaign, name=name, actor=None)


def train_pairs(frozen: Snapshot) -> int:
    return int(frozen.counts["used"][Split.TRAIN])


def everything_runs() -> None:
    """A compute worker and the sweeper were heard of just now."""
    beat("worker:here", ["compute"])
    beat("sweeper", [])


def claimed(job: Job) -> claims.Claim:
    claim = claims.claim(job_id=job.pk, worker=f"{devices.here()}:1:aa")
    assert claim is not None
    return claim


def finish(
    job: Job, *, metrics: dict[str, Any] | None = None, number: float = 9.0, items: Iterable[dict[str, Any]] | None = None,
    seconds: float = 12.5, adapter: bool = False,
) -> Job:  # fmt: skip
    """Carry a job from its claim to its publication as the runner does, with a pretended child in the middle."""
    claim = claimed(job)
    kind = kinds.get(job.kind)
    folder = folder_of(job, claim.number)
    folder.mkdir(parents=True)
    kind.prepare(job, folder)
    result: dict[str, Any] = {
        "schema": 1,
        "ok": True,
        "kind": job.kind,
        "metrics": metrics or {},
        "seconds": seconds,
        "output": None,
        "items": None,
    }
    if items is None:
        model_folder(folder / "output", number)
        result["output"] = "output"
        if adapter:
            adapter_folder(folder / "output_adapter")
    else:
        (folder / "output").mkdir()
        (folder / "output" / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        result["items"] = "items.jsonl"
    claims.begin_publish(claim)
    staged = kind.stage(job, result, folder)
    return claims.publish(claim, kind=kind, result=result, staged=staged)


def accuracy(value: float, low: float, high: float, n: int) -> dict[str, Any]:
    return {"preference_accuracy": {"value": value, "low": low, "high": high, "n": n, "ties": 0, "prompts": n}}


def finish_evaluation(evaluation: Evaluation, **of_accuracy: Any) -> Evaluation:
    """End an evaluation with the accuracy given, measured on other raters than those it learned from, and each model's answer to
    every prompt asked.
    """
    prompts = evaluation.job.spec["inputs"]["prompts"]
    items = [{"type": "prompt", "id": str(pk), "reference": f"Before {pk}.", "policy": f"After {pk}."} for pk in prompts]
    finish(evaluation.job, metrics=accuracy(**of_accuracy), items=items)
    evaluation.refresh_from_db()
    evaluation.results["unseen"] = {**of_accuracy, "raters": 3, "left_out": []}
    evaluation.save(update_fields=["results"])
    return evaluation


def samples_of(frozen: Snapshot, split: str) -> int:
    return Sample.objects.filter(split=split, prompts__pairs__campaign=frozen.campaign).distinct().count()


def suite_settings() -> dict[str, Any]:
    return mini.settings(items=mini.items(), max_new_tokens=64, template=TEMPLATE, arithmetic="float32 on cpu")


def suite_result(*, right: Mapping[str, float] | None = None, **changes: Any) -> SuiteResult:
    """What the mini-suite says of a model that gets the first so many items of each task right, half of them where `right` says nothing."""
    tasks = {}
    for name, (_, metric, _) in mini.TASKS.items():
        got = int((right or {}).get(name, mini.EACH // 2))
        items = [1.0] * got + [0.0] * (mini.EACH - got)
        tasks[name] = TaskResult(
            metric=metric, higher_is_better=True, n=mini.EACH, score=got / mini.EACH, items=items, outputs_sha256="0" * 64
        )
    told: dict[str, Any] = {
        "suite": "mini", "model": "d" * 64, "seed": 0, "settings": suite_settings(), "tokens_per_s": 2345.6, "p50_latency_ms": 12.3,
        "peak_rss_mb": 456.7,
    }  # fmt: skip
    return SuiteResult(tasks=tasks, **(told | changes))


def finish_suite(
    run: SuiteRun, *, told: SuiteResult | None = None, right: Mapping[str, float] | None = None, **changes: Any
) -> SuiteRun:  # fmt: skip
    """End a suite's job with a result, as the runner does."""
    claim = claimed(run.job)
    kind = kinds.get(run.job.kind)
    folder = folder_of(run.job, claim.number)
    (folder / "output").mkdir(parents=True)
    (folder / "output" / "suite.json").write_text((told or suite_result(right=right, **changes)).to_json(), encoding="utf-8")
    result = {"metrics": {}, "seconds": 4.0, "ok": True, "kind": run.job.kind}
    claims.begin_publish(claim)
    claims.publish(claim, kind=kind, result=result, staged=kind.stage(run.job, result, folder))
    run.refresh_from_db()
    return run


def suited(tmp_path: Path, name: str, *, right: Mapping[str, float] | None = None, **changes: Any) -> SuiteRun:
    """A version that the mini-suite has been asked of."""
    made = ModelVersion.objects.filter(name=name).first() or version(tmp_path, name)
    return finish_suite(suiteruns.start(version=made, actor=None), right=right, **changes)
