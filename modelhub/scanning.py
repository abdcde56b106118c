"""Looking into the files of a model folder that decide what is run, without loading a tensor. Standard library only."""

import re
from pathlib import Path
from typing import Any

from modelhub import architectures, listing, shapes, weights
from modelhub.listing import read_json, read_object
from modelhub.refusals import Refused

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", "adapter_config.json", "special_tokens_map.json")
INDEX = "model.safetensors.index.json"
TOKENIZER_MODELS = {"BPE", "WordPiece", "WordLevel", "Unigram"}
# The longest chat template among well-known models is under 20 kB; a template is a program, and this one is read by people.
MAX_TEMPLATE = 64 * 1024
# The ways out of a sandbox begin with these. transformers renders in Jinja's immutable sandbox, which is the wall; this is the doorbell.
DUNDER = re.compile(r"__\w+__")
TEMPLATE_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


def check(folder: Path, names: list[str]) -> None:
    """What every folder must keep to, also one that our own engine wrote: no code named, no header that lies. Raises Refused."""
    for name in CONFIGS[:4]:
        if name in names:
            no_remote_code(name, read_json(folder / name, name))
    headers = read_headers(folder, names)
    if INDEX in names:
        check_index(INDEX, read_json(folder / INDEX, INDEX), headers)


def check_model(folder: Path, names: list[str], *, deep: bool = True, most_header: int = weights.MAX_HEADER) -> tuple[str, ...]:
    """A model folder from outside; returns what has to be taken out of its config.json before it is kept (see `cleaned`).

    `deep` reads the tokenizer as well, of which there may be megabytes; `most_header` bytes of a safetensors header are read. Raises
    Refused with the first reason found. No tensor is read.
    """
    if "config.json" not in names:
        raise Refused("model.no_config", "config.json", "is missing: without it nobody knows what kind of model this is.")
    configs = {name: read_object(folder / name, name) for name in CONFIGS if name in names}
    config = configs["config.json"]
    architectures.check(config)
    removed = ("auto_map",) if config.get("auto_map") and architectures.is_its_own_code(config) else ()
    for name, found in configs.items():
        no_remote_code(name, {key: value for key, value in found.items() if name != "config.json" or key not in removed})
    if config.get("quantization_config"):
        raise Refused(
            "model.quantised", "config.json", "says the weights are quantised. Rounds trains and merges whole weights; bring those."
        )
    if not any(name in names for name in TOKENIZERS):
        raise Refused(
            "model.no_tokenizer", "tokenizer.json", "is missing, and so are tokenizer.model and vocab.json. Save the tokenizer too."
        )
    _check_templates(folder, names, configs.get("tokenizer_config.json", {}))
    _check_shards(names)
    headers = read_headers(folder, names, most=most_header)
    if INDEX in names:
        index = read_object(folder / INDEX, INDEX)
        check_index(INDEX, index, headers)
        if not isinstance(index.get("metadata"), dict):
            raise Refused("model.bad_index", INDEX, "has no metadata, without which transformers does not open it.")
    _check_holders(headers)
    shapes.check(config, _all_shapes(headers))
    if deep and "tokenizer.json" in names:
        _check_tokenizer(folder, config)
    return removed


def cleaned(config: dict[str, Any], removed: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in removed}


def read_headers(folder: Path, names: list[str], *, most: int = weights.MAX_HEADER) -> dict[str, weights.Header]:
    return {name: weights.read_header(folder / name, name=name, most=most) for name in names if name.endswith(".safetensors")}


def no_remote_code(name: str, value: Any) -> None:
    """At any depth: a nested configuration can switch remote code on as well as the outer one. Raises Refused."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("auto_map", "custom_pipelines") and inner:
                raise Refused(
                    "model.remote_code", name, f"asks for code of its own ({key}). Rounds runs only models that transformers knows."
                )
            if key == "trust_remote_code" and inner:
                raise Refused("model.remote_code", name, "switches trust_remote_code on. Rounds never runs a model's own code.")
            no_remote_code(name, inner)
    elif isinstance(value, list):
        for inner in value:
            no_remote_code(name, inner)


def check_index(name: str, index: Any, headers: dict[str, weights.Header]) -> None:
    """Whether the index places every tensor in a file of this folder that holds it. Raises Refused."""
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise Refused("model.bad_index", name, "has no weight_map.")
    for tensor, shard in places.items():
        if not isinstance(shard, str) or shard not in headers:
            leads_out = isinstance(shard, str) and not {"/", "\\", "\0"}.isdisjoint(shard)
            code = "model.path" if leads_out else "model.bad_index"
            raise Refused(code, name, f"places tensors in {str(shard)[:80]!r}, which is not a safetensors file of this folder.")
        if tensor not in headers[shard].shapes:
            raise Refused("model.bad_index", name, f"places tensor {str(tensor)[:80]} in {shard}, which does not hold it.")


def _check_shards(names: list[str]) -> None:
    """None too few, and an index that says which holds what."""
    for name in names:
        if found := re.fullmatch(r"model-(\d{5})-of-(\d{5})\.safetensors", name):
            if found[2] > "01000":
                raise Refused("model.bad_index", name, f"says it is one of {int(found[2])} files; the limit is 1000.")
            for number in range(1, int(found[2]) + 1):
                if (other := f"model-{number:05}-of-{found[2]}.safetensors") not in names:
                    raise Refused("model.missing_shard", other, "is missing: the weights are not whole. Fetch all files again.")
            if INDEX not in names:
                raise Refused("model.bad_index", INDEX, "is missing: the weights lie in several files and nothing says which holds what.")


def _check_holders(headers: dict[str, weights.Header]) -> None:
    """No tensor in two files: which is loaded would be chance."""
    holders: dict[str, str] = {}
    for name, header in _model_files(headers).items():
        for tensor in header.shapes:
            if tensor in holders:
                raise Refused(
                    "model.bad_index", name, f"holds tensor {tensor[:80]}, which {holders[tensor]} holds too. Remove one of the files."
                )
            holders[tensor] = name


def _model_files(headers: dict[str, weights.Header]) -> dict[str, weights.Header]:
    """The model's own weights; an adapter that lies beside them does not count."""
    return {name: header for name, header in headers.items() if name.startswith("model")} or headers


def _all_shapes(headers: dict[str, weights.Header]) -> dict[str, tuple[int, ...]]:
    return {tensor: shape for header in _model_files(headers).values() for tensor, shape in header.shapes.items()}


def _check_templates(folder: Path, names: list[str], config: dict[str, Any]) -> None:
    found: list[tuple[str, Any]] = []
    if "chat_template.jinja" in names:
        if (folder / "chat_template.jinja").stat().st_size > MAX_TEMPLATE:
            raise Refused("model.chat_template", "chat_template.jinja", f"is longer than {MAX_TEMPLATE} bytes.")
        found.append(("chat_template.jinja", (folder / "chat_template.jinja").read_bytes().decode("utf-8", "replace")))
    inside = config.get("chat_template")
    for template in inside if isinstance(inside, list) else [inside] if inside is not None else []:
        if isinstance(template, dict):
            # transformers wrote templates into files of these names (CVE-2026-9856).
            if not isinstance(template.get("name"), str) or not TEMPLATE_NAME.fullmatch(template["name"]):
                raise Refused(
                    "model.chat_template", "tokenizer_config.json", "names a chat template with other than letters, digits, - and _."
                )
            template = template.get("template")
        found.append(("tokenizer_config.json", template))
    for name, text in found:
        if not isinstance(text, str):
            raise Refused("model.chat_template", name, "has a chat template that is no text.")
        if len(text.encode("utf-8", "surrogatepass")) > MAX_TEMPLATE:
            raise Refused("model.chat_template", name, f"has a chat template longer than {MAX_TEMPLATE} bytes.")
        if DUNDER.search(text):
            raise Refused("model.chat_template", name, "has a chat template that reaches for Python's insides (__…__). No honest one does.")


def _check_tokenizer(folder: Path, config: dict[str, Any]) -> None:
    """Its kind is known, and no token's number lies beyond the embedding."""
    name = "tokenizer.json"
    found = read_json(folder / name, name, most=listing.MAX_TOKENIZER_BYTES)
    model = found.get("model") if isinstance(found, dict) else None
    # Older files leave the type out; then the vocabulary says which it is.
    if not isinstance(model, dict) or model.get("type", "BPE") not in TOKENIZER_MODELS or not isinstance(model.get("vocab"), dict | list):
        raise Refused("model.bad_tokenizer", name, f"holds no model of a kind that is known ({', '.join(sorted(TOKENIZER_MODELS))}).")
    vocabulary, added = model["vocab"], found.get("added_tokens") or []
    numbers = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
    numbers += [token.get("id") if isinstance(token, dict) else None for token in added] if isinstance(added, list) else [None]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise Refused("model.bad_tokenizer", name, "gives a token a number that is none.")
    words = config.get("vocab_size")
    if isinstance(words, int) and numbers and max(numbers) >= words:
        raise Refused("model.vocab_mismatch", name, f"has a token number {max(numbers)}; the model's vocabulary ends at {words - 1}.")
