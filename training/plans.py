"""A run on paper: parameters, steps, memory, disk and compute from a configuration and a recipe, without a weight, a GPU or a row."""

from dataclasses import dataclass
from typing import Any

from training import footprints, preflight, presets, specs
from training.engine import footprint, spec
from training.engine.footprint import Footprint
from training.footprints import GB, Room
from training.presets import Preset


@dataclass(frozen=True)
class Planned:
    """`check` is preflight's own line about memory; `flops` is the whole run's."""

    preset: Preset
    params: dict[str, Any]
    needed: Footprint
    room: Room
    check: preflight.Check
    steps: int
    flops: float

    def as_json(self) -> dict[str, Any]:
        needed = self.needed
        return {
            "preset": self.preset.key, "kind": self.preset.kind, "parameters": needed.parameters, "trained": needed.trained,
            "dtype": needed.dtype, "steps": self.steps, "flops": self.flops, "device": self.room.device,
            "memory": {part.name: part.bytes for part in needed.parts}, "memory_bytes": needed.memory, "ram_bytes": needed.ram,
            "checkpoint_bytes": needed.checkpoint, "output_bytes": needed.output, "disk_bytes": needed.disk,
            "state": self.check.state, "detail": self.check.detail, "params": self.params,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people: every figure with its formula."""
        needed = self.needed
        how = f"LoRA, {needed.trained:,} of them trained" if needed.plan.lora_r else "all of them trained"
        rows = [f"{part.name:<18}{part.bytes / GB:9.2f} GB   {part.formula}" for part in needed.parts]
        where = "a GPU" if self.room.device == "cuda" else "RAM"
        return [
            f"{needed.parameters:,} parameters in {needed.dtype}; {how}. Recipe: {self.preset.label}.",
            f"{self.steps} steps, about {self.flops:.2g} floating-point operations.",
            "",
            *rows,
            f"{'in ' + where:<18}{needed.memory / GB:9.2f} GB",
            f"{'RAM of the host':<18}{needed.ram / GB:9.2f} GB",
            f"{'a checkpoint':<18}{needed.checkpoint / GB:9.2f} GB",
            f"{'disk at most':<18}{needed.disk / GB:9.2f} GB",
            "",
            f"{self.check.state}: {self.check.detail}. {self.check.fix}".strip(),
        ]


def plan(*, config: dict[str, Any], preset: str, full: bool, pairs: int, tokens: int, prompt: int, processes: int, room: Room) -> Planned:
    """What a run of `preset` would need on `pairs` rows, the longest of `tokens` tokens, `prompt` of them its prompt; `full`: all weights.

    The recipe passes the same reading as a real run's specification. Raises KeyError for an unknown preset, SpecError for a parameter
    that is none, and footprint.Unknown for an architecture that cannot be estimated.
    """
    chosen = presets.named(preset)
    params = specs.check(chosen.kind, chosen.params | ({"lora": None} if full else {}))
    read = spec.parse(
        {
            "schema": spec.SCHEMA, "kind": chosen.kind, "job": "plan", "seed": 1, "threads": 1, "models": {"policy": "/model"},
            "params": params,
        }
    ).params  # fmt: skip
    needed = footprint.of_params(config, read, tokens=tokens, prompt=prompt, device=room.device, processes=processes)
    said: Any = read
    steps = footprint.steps(
        rows=pairs, batch_size=said.batch_size, accumulation=getattr(said, "gradient_accumulation", 1),
        epochs=getattr(said, "epochs", None) or 1.0, processes=processes,
        most=getattr(said, "max_steps", None) or getattr(said, "steps", None),
    )  # fmt: skip
    positions = steps * getattr(said, "gradient_accumulation", 1) * processes * needed.plan.positions
    return Planned(
        preset=chosen, params=params, needed=needed, room=room, check=preflight.memory_check(needed, room), steps=steps,
        flops=footprint.flops(needed, positions),
    )  # fmt: skip


def room(*, gpu_memory_gb: float | None) -> Room:
    """This machine, or one with a GPU of so many GB (the RAM is this machine's)."""
    here = footprints.room()
    return here if gpu_memory_gb is None else Room(int(gpu_memory_gb * GB), here.ram)
