"""Which causal language models the installed transformers knows, read from its source: nothing of ours that serves pages imports it."""

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelhub.refusals import Refused

# Names of the classes that predict the next token, where transformers is not installed to ask.
CAUSAL = re.compile(r"(ForCausalLM|LMHeadModel)$")
# Where the code lies that folders of a type we run natively may name: `auto_map` of real Phi-3 folders, saved by transformers itself.
HOMES = {"phi3": re.compile(r"microsoft/[Pp]hi-3[\w.-]*")}
# The files and classes of that code, for the type "phi3" `configuration_phi3.Phi3Config`.
PARTS = ("Config", "Model", "PreTrainedModel", "ForCausalLM", "ForSequenceClassification", "ForTokenClassification")
ENTRY = re.compile(r"(?:(?P<home>[\w.-]+/[\w.-]+)--)?(?P<file>\w+)\.(?P<name>\w+)", re.ASCII)


def check(config: dict[str, Any]) -> None:
    """Whether a configuration names a causal language model that transformers knows. Raises Refused."""
    found, model_type = config.get("architectures"), config.get("model_type")
    if not isinstance(found, list) or not found or not isinstance(found[0], str) or not isinstance(model_type, str):
        raise Refused("model.no_architecture", "config.json", "names no architectures or no model_type.")
    shown = f"{found[0][:60]} ({model_type[:40]})"
    known = causal_models()
    if known is None:
        if not CAUSAL.search(found[0]):
            raise Refused("model.not_causal", "config.json", f"names {shown}, which is no causal language model.")
    elif model_type not in known:
        what = "which is no causal language model" if not CAUSAL.search(found[0]) else "which the installed transformers does not know"
        raise Refused("model.not_causal" if "no causal" in what else "model.unknown_architecture", "config.json", f"names {shown}, {what}.")
    elif found[0] not in known[model_type]:
        wanted = " or ".join(sorted(known[model_type]))
        raise Refused("model.not_causal", "config.json", f"names {shown}; as a causal language model it would be {wanted}.")


def is_its_own_code(config: dict[str, Any]) -> bool:
    """Whether the outer `auto_map` names nothing but the code that became transformers' own class of this very type.

    Then leaving it out changes nothing: `Phi3ForCausalLM` is what is run with it and without. The files are `configuration_phi3` and
    `modeling_phi3`, of this folder or of Microsoft's, and the classes are that type's; anything else is somebody's own code.
    """
    places, model_type = config.get("auto_map"), str(config.get("model_type"))
    home = HOMES.get(model_type)
    if home is None or not isinstance(places, dict):
        return False
    stem = model_type.capitalize()
    for place in places.values():
        entry = ENTRY.fullmatch(place) if isinstance(place, str) else None
        if entry is None or (entry["home"] and not home.fullmatch(entry["home"])):
            return False
        if entry["file"] not in (f"configuration_{model_type}", f"modeling_{model_type}"):
            return False
        if entry["name"] not in {stem + part for part in PARTS}:
            return False
    return True


@cache
def causal_models() -> dict[str, frozenset[str]] | None:
    """{model type: class names} of the causal language models that the installed transformers knows. None when it is not installed."""
    package = find_spec("transformers")
    if package is None or not package.submodule_search_locations:
        return None
    source = Path(package.submodule_search_locations[0]) / "models" / "auto" / "modeling_auto.py"
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return None
    for node in tree.body:
        if isinstance(node, ast.Assign) and "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES" in [getattr(target, "id", "") for target in node.targets]:
            return _pairs(node.value)
    return None


def _pairs(node: ast.expr) -> dict[str, frozenset[str]] | None:
    """The entries of `OrderedDict([("phi3", "Phi3ForCausalLM"), …])`; a class may be a tuple of classes."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    try:
        entries = ast.literal_eval(node.args[0])
    except ValueError:
        return None
    return {name: frozenset([classes] if isinstance(classes, str) else classes) for name, classes in entries}
