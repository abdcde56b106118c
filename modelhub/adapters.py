"""LoRA adapters from outside: what may be in one, and whether it fits the model it is said to be for. Standard library only.

The format is PEFT's: `adapter_config.json` and `adapter_model.safetensors`, in which the module `M` of the base has the tensors
`base_model.model.M.lora_A.weight` (r × in) and `base_model.model.M.lora_B.weight` (out × r); the base gains `B·A·alpha/r`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from modelhub import listing, weights
from modelhub.refusals import Refused
from modelhub.scanning import no_remote_code

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What is kept of an adapter folder: its tokenizer is the base's.
KEPT = (CONFIG, WEIGHTS, "README.md", *(name for name in listing.ALLOWED if name.startswith(("LICENSE", "NOTICE"))))
TENSOR = re.compile(r"base_model\.model\.(?P<module>[\w.]+)\.lora_(?P<side>[AB])\.weight", re.ASCII)
MAX_RANK = 4096
# Keys that may say something; all others must be empty, false or absent, as PEFT writes what it does not use.
SAID = {
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r", "lora_alpha",
    "lora_dropout", "target_modules", "exclude_modules", "fan_in_fan_out", "bias", "use_rslora", "init_lora_weights", "layers_to_transform",
    "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_core", "qalora_group_size",
}  # fmt: skip
# Why an adapter that uses it is not one that can be merged or exported exactly.
KINDS_REFUSED = {
    "use_dora": "is DoRA, which rescales the base's columns", "modules_to_save": "carries whole modules beside its LoRA",
    "use_qalora": "is QALoRA", "layer_replication": "repeats layers of its base", "trainable_token_indices": "carries tokens of its own",
    "target_parameters": "changes parameters that are no linear layer's", "alora_invocation_tokens": "is switched on by tokens (aLoRA)",
    "lora_bias": "carries biases", "megatron_config": "is made for Megatron", "loftq_config": "starts from a changed base (LoftQ)",
}  # fmt: skip
MODULE = re.compile(r"[\w.]+", re.ASCII)


@dataclass(frozen=True)
class Base:
    """The model an adapter is said to be for: what it is called here and elsewhere, and its tensors."""

    names: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]


def looks_like_one(names: list[str]) -> bool:
    """An adapter and no model: a folder that holds both is read as the model."""
    return CONFIG in names and "config.json" not in names


def check(folder: Path, names: list[str], left_out: list[str], base: Base | None, *, same_base: bool = False) -> None:
    """Raises Refused with the first reason found; without `base` only what the folder itself tells.

    `same_base`: the trainer says that `base` is what this adapter was made for, under another name. Sizes are compared all the same.
    """
    if found := listing.python_files(left_out):
        raise Refused("model.remote_code", found[0], "is code. An adapter needs none; remove it.")
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            raise Refused("model.no_adapter", name, "is missing: an adapter has adapter_config.json and adapter_model.safetensors.")
    config = listing.read_object(folder / CONFIG, CONFIG)
    no_remote_code(CONFIG, config)
    _check_config(config)
    header = weights.read_header(folder / WEIGHTS, name=WEIGHTS)
    ranks = _ranks(config, header.shapes)
    if base is None:
        return
    if not same_base:
        _check_name(config, base)
    _check_fit(config, ranks, header.shapes, base)


def _check_config(config: dict[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise Refused("model.adapter_type", CONFIG, f"says it is {str(kind)[:40]}; only LORA adapters can be merged and exported exactly.")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise Refused("model.adapter_type", CONFIG, f"is for the task {str(config['task_type'])[:40]}, not for causal language models.")
    for key, why in KINDS_REFUSED.items():
        if config.get(key):
            raise Refused("model.adapter_type", CONFIG, f"{why} ({key}). Only plain LoRA can be merged and exported exactly.")
    if config.get("bias", "none") != "none":
        raise Refused("model.adapter_type", CONFIG, "trains biases (bias). Only plain LoRA can be merged and exported exactly.")
    mapping = config.get("auto_mapping")
    # PEFT imports the module that is named here.
    if mapping and not (isinstance(mapping, dict) and re.fullmatch(r"transformers\.models\.[\w.]+", str(mapping.get("parent_library")))):
        raise Refused("model.remote_code", CONFIG, "names a library to import (auto_mapping) that is not of transformers.")
    if config.get("megatron_core") not in (None, "megatron.core"):
        raise Refused("model.remote_code", CONFIG, "names a library to import (megatron_core).")
    if not isinstance(config.get("init_lora_weights", True), bool) and config["init_lora_weights"] not in ("gaussian", "orthogonal", "eva"):
        raise Refused(
            "model.adapter_type", CONFIG,
            f"was started by {str(config['init_lora_weights'])[:40]}, which changes the base as well. Convert it to plain LoRA first.",
        )  # fmt: skip
    if strange := [key for key, value in config.items() if key not in SAID and key not in KINDS_REFUSED and value]:
        raise Refused("model.adapter_key", CONFIG, f"uses {strange[0][:60]}, of which Rounds knows nothing.")
    for key in ("target_modules", "exclude_modules"):
        wanted = config.get(key)
        if wanted and wanted != "all-linear" and not (isinstance(wanted, list) and all(_is_module(name) for name in wanted)):
            raise Refused("model.adapter_key", CONFIG, f"gives {key} as something other than a list of names; a pattern is not followed.")
    alpha = config.get("lora_alpha", 8)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not isfinite(alpha):
        raise Refused("model.adapter_key", CONFIG, "gives lora_alpha as something other than a number.")


def _is_module(name: Any) -> bool:
    return isinstance(name, str) and MODULE.fullmatch(name) is not None


def _ranks(config: dict[str, Any], found: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The rank of every module that has tensors. Raises Refused where pairs are not whole or not of the rank that is said."""
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in sorted(found.items()):
        tensor = TENSOR.fullmatch(name)
        if tensor is None or len(shape) != 2:
            raise Refused("model.adapter_tensors", WEIGHTS, f"holds {name[:100]}, which is no A or B of a LoRA pair of matrices.")
        sides.setdefault(tensor["module"], {})[tensor["side"]] = shape
    if not sides:
        raise Refused("model.adapter_tensors", WEIGHTS, "holds no tensor.")
    ranks = {}
    for module, pair in sides.items():
        if len(pair) < 2:
            raise Refused("model.adapter_tensors", WEIGHTS, f"holds only the {next(iter(pair))} of the pair of {module[:100]}.")
        wanted = _rank(config, module)
        if pair["A"][0] != wanted or pair["B"][1] != wanted:
            raise Refused(
                "model.rank_mismatch", WEIGHTS, f"has rank {pair['A'][0]} and {pair['B'][1]} at {module[:100]}; {CONFIG} says {wanted}."
            )
        ranks[module] = wanted
    return ranks


def _rank(config: dict[str, Any], module: str) -> int:
    patterns = config.get("rank_pattern") or {}
    if (
        not isinstance(patterns, dict)
        or not all(_is_module(key) for key in patterns)
        or not isinstance(config.get("alpha_pattern") or {}, dict)
    ):
        raise Refused("model.adapter_key", CONFIG, "gives rank_pattern or alpha_pattern as something other than names and numbers.")
    rank = next((value for key, value in patterns.items() if module == key or module.endswith(f".{key}")), config.get("r"))
    if type(rank) is not int or not 0 < rank <= MAX_RANK:
        raise Refused("model.adapter_key", CONFIG, f"gives the rank {str(rank)[:20]}; it must be a whole number from 1 to {MAX_RANK}.")
    return rank


def _check_name(config: dict[str, Any], base: Base) -> None:
    """The name it gives is compared, never opened. `org/name`, a path on somebody's machine: the last part counts."""
    said = str(config.get("base_model_name_or_path") or "").strip()
    last = said.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if last.casefold() not in {name.casefold() for name in base.names if name}:
        expected = " or ".join(dict.fromkeys(name for name in base.names if name))
        raise Refused("model.base_mismatch", CONFIG, f"was made for {said[:120] or 'a base it does not name'}; expected {expected}. "
                      "If that is the same model under another name, say so (--same-base).")  # fmt: skip


def _check_fit(config: dict[str, Any], ranks: dict[str, int], found: Mapping[str, tuple[int, ...]], base: Base) -> None:
    modules = {name.removesuffix(".weight") for name, shape in base.shapes.items() if name.endswith(".weight") and len(shape) == 2}
    wanted = config.get("target_modules")
    for target in wanted if isinstance(wanted, list) else []:
        if not any(module == target or module.endswith(f".{target}") for module in modules):
            raise Refused("model.no_such_module", CONFIG, f"targets {target[:100]}; the base has no such module.")
    for module in ranks:
        if module not in modules:
            raise Refused("model.no_such_module", WEIGHTS, f"changes {module[:100]}; the base has no such module.")
        if isinstance(wanted, list) and not any(module == target or module.endswith(f".{target}") for target in wanted):
            raise Refused("model.adapter_tensors", WEIGHTS, f"changes {module[:100]}, which {CONFIG} does not name among its targets.")
        a, b = (found[f"base_model.model.{module}.lora_{side}.weight"] for side in "AB")
        change = (a[1], b[0]) if config.get("fan_in_fan_out") else (b[0], a[1])
        if change != tuple(base.shapes[f"{module}.weight"]):
            shape = " × ".join(map(str, base.shapes[f"{module}.weight"]))
            raise Refused(
                "model.base_mismatch",
                WEIGHTS,
                f"changes a {change[0]} × {change[1]} matrix at {module[:100]}; expected {shape}, the base's.",
            )
