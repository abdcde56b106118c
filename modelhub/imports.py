"""Taking in a model from outside: any causal language model that transformers itself knows, as safetensors, without code of its own."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.db import transaction

from accounts.models import User
from modelhub import artifacts, versions
from modelhub.artifacts import Staged
from modelhub.errors import Refused
from modelhub.models import Kind, ModelVersion

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
# Names of the classes that predict the next token, where transformers is not installed to ask.
CAUSAL = re.compile(r"(ForCausalLM|LMHeadModel)$")


@dataclass(frozen=True)
class Imported:
    """What came of an import; `already` when the very same files were here under the same name."""

    version: ModelVersion
    left_out: tuple[str, ...]
    already: bool


def import_folder(
    *, folder: Path, name: str | None = None, kind: str = Kind.BASE, licence: str | None = None, actor: User | None = None
) -> Imported:
    """Check a folder, take its files into the store and register it as a model version. Twice is once.

    Reads the architecture from config.json and the parameter count from safetensors headers; loads no tensor, no torch. Raises Refused
    with a code and the file's name, or NameTaken when another model has that name.
    """
    check(folder)
    staged: Staged = artifacts.stage(folder=folder)
    called = (name or folder.resolve().name)[: versions.MAX_NAME]
    with transaction.atomic():
        artifact = artifacts.save(staged)
        if same := ModelVersion.objects.filter(name=called, artifact=artifact).first():
            return Imported(same, staged.left_out, already=True)
        version = versions.register(
            name=called, kind=kind, artifact=artifact, licence=licence if licence is not None else licence_of(folder),
            notes=f"Imported from a folder called {folder.resolve().name}.", actor=actor,
        )  # fmt: skip
    return Imported(version, staged.left_out, already=False)


def check(folder: Path) -> None:
    """Whether this folder holds a causal language model with its tokenizer. Raises Refused; files are looked at by `artifacts.stage`."""
    if not folder.is_dir():
        raise Refused("not_a_folder", "", f"{folder} is not a folder.")
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise Refused("no_config", "config.json", "is missing: without it nobody knows what kind of model this is.")
    if config_path.is_symlink():
        raise Refused("link", "config.json", "is a symbolic link. Copy the folder with its links followed (cp -rL) and import the copy.")
    config = artifacts.read_json(config_path, "config.json")
    if not isinstance(config, dict):
        raise Refused("not_json", "config.json", "is not a JSON object.")
    _check_architecture(config)
    if not any((folder / tokenizer).is_file() for tokenizer in TOKENIZERS):
        raise Refused("no_tokenizer", "tokenizer.json", "is missing, and so are tokenizer.model and vocab.json. Save the tokenizer too.")


def _check_architecture(config: dict[str, Any]) -> None:
    names, model_type = config.get("architectures"), config.get("model_type")
    if not isinstance(names, list) or not names or not isinstance(names[0], str) or not isinstance(model_type, str):
        raise Refused("no_architecture", "config.json", "names no architectures or no model_type.")
    shown = f"{names[0][:60]} ({model_type[:40]})"
    known = causal_models()
    if known is None:
        if not CAUSAL.search(names[0]):
            raise Refused("not_causal", "config.json", f"names {shown}, which is no causal language model.")
    elif model_type not in known:
        what = "which is no causal language model" if not CAUSAL.search(names[0]) else "which the installed transformers does not know"
        raise Refused("not_causal" if "no causal" in what else "unknown_architecture", "config.json", f"names {shown}, {what}.")
    elif names[0] not in known[model_type]:
        wanted = " or ".join(sorted(known[model_type]))
        raise Refused("not_causal", "config.json", f"names {shown}; as a causal language model it would be {wanted}.")


@cache
def causal_models() -> dict[str, frozenset[str]] | None:
    """{model type: class names} of the causal language models that the installed transformers knows, read from its source.

    None when it is not installed: a web process has none, and none of ours ever imports it.
    """
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


def licence_of(folder: Path) -> str:
    """The licence that the model's README names in its front matter, or an empty string."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")[:20_000]
    except (OSError, UnicodeDecodeError):
        return ""
    front = re.match(r"---\s*\n(.*?)\n---", text, flags=re.DOTALL)
    found = re.search(r"^license:\s*['\"]?([\w.+-]{1,60})", front.group(1), flags=re.MULTILINE) if front else None
    return found.group(1) if found else ""
