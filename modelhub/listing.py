"""Which files of a model folder are taken, which are left out, and which are reason to refuse it. Standard library only.

Nothing is looked for that is dangerous: what is not on the list of allowed names is not taken. What could harm somebody who opens the
folder by other means, or shows that it is not what it says, is refused besides.
"""

import json
import os
import stat as modes
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from modelhub.refusals import Refused

ALLOWED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "*.safetensors", "model.safetensors.index.json", "README.md",
    "adapter_config.json", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "NOTICE.md", "NOTICE.txt",
)  # fmt: skip
# Formats that can run code when they are opened, by ending.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".msgpack", ".h5")
PYTHON = (".py",)
CODE = (".pyc", ".so", ".dll", ".dylib", ".sh", ".bat", ".exe", ".ipynb")
# Configuration read by us is small; a tokenizer may be large.
MAX_CONFIG_BYTES = 8 * 2**20
MAX_TOKENIZER_BYTES = 64 * 2**20
MAX_NAME = 120
MAX_ENTRIES = 2000


def names(folder: Path, *, outside: bool = False) -> tuple[list[str], list[str]]:
    """Allowed names and harmless others, both sorted. Raises Refused for what must not be here at all.

    `outside`: a folder that others made. Python files beside a model that transformers knows are left out, as real Phi-3 folders have
    them; a file with a second name elsewhere (a hard link) is refused, and so are two names that some file systems hold for one.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise Refused("model.not_a_folder", "", f"{folder.name} is not a folder that can be read.") from None
    if len(entries) > MAX_ENTRIES:
        raise Refused("model.too_many_files", "", f"{folder.name} holds {len(entries)} files; the limit is {MAX_ENTRIES}.")
    allowed: list[str] = []
    others: list[str] = []
    for entry in entries:
        taken, shown = _judge(entry, outside=outside)
        (allowed if taken else others).append(shown)
    if outside:
        _no_twins([entry.name for entry in entries])
    if not any(name.endswith(".safetensors") for name in allowed):
        raise Refused("model.no_weights", "", f"{folder.name} holds no *.safetensors file. Save the model with safetensors and try again.")
    return allowed, others


def _judge(entry: "os.DirEntry[str]", *, outside: bool) -> tuple[bool, str]:
    """Whether it is taken, and its name as it can be shown."""
    shown = entry.name.encode("utf-8", "backslashreplace").decode()[:MAX_NAME]
    found = entry.stat(follow_symlinks=False)
    if modes.S_ISLNK(found.st_mode):
        raise Refused("model.link", shown, "is a symbolic link. Copy the folder with its links followed (cp -rL) and import the copy.")
    if modes.S_ISDIR(found.st_mode):
        return False, shown + "/"
    if not modes.S_ISREG(found.st_mode):
        raise Refused("model.not_a_file", shown, "is neither a file nor a folder. Remove it.")
    lower = entry.name.lower()
    if lower.endswith(PICKLES):
        raise Refused(
            "model.unsafe_format", shown, "is in a format that can run code when it is opened. Save the weights as safetensors; remove it."
        )
    if lower.endswith(CODE if outside else (*CODE, *PYTHON)):
        raise Refused("model.remote_code", shown, "is code. Rounds runs models that transformers itself knows; remove it.")
    if not entry.name.isascii() or not entry.name.isprintable() or "\\" in entry.name or len(entry.name) > MAX_NAME:
        raise Refused("model.path", shown, "has a name with other than plain characters. Rename it.")
    if not any(fnmatchcase(entry.name, pattern) for pattern in ALLOWED):
        return False, shown
    if outside and found.st_nlink > 1:
        raise Refused(
            "model.link", shown, "is a hard link: it has a second name somewhere else. Copy the folder (cp -r) and import the copy."
        )
    return True, entry.name


def _no_twins(found: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in found:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise Refused("model.path", name, f"and {other} differ only in capitals, and would be one file elsewhere. Remove one.")


def python_files(left_out: Iterable[str]) -> list[str]:
    return [name for name in left_out if name.lower().endswith(PYTHON)]


def read_json(path: Path, name: str, *, strict: bool = False, most: int = MAX_CONFIG_BYTES) -> Any:
    """A small JSON file. `strict` knows no NaN and no key twice. Raises Refused when it is large or is not JSON in UTF-8."""
    if path.stat().st_size > most:
        raise Refused("model.too_large", name, f"is larger than {most} bytes.")
    try:
        text = path.read_bytes().decode("utf-8")
        if strict:
            return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
        return json.loads(text)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, _Unlike) else "is not JSON in UTF-8."
        raise Refused("model.not_json", name, said) from None


def read_object(path: Path, name: str) -> dict[str, Any]:
    """A strict JSON object. Raises Refused."""
    found = read_json(path, name, strict=True)
    if not isinstance(found, dict):
        raise Refused("model.not_json", name, "is not a JSON object.")
    return found


class _Unlike(ValueError):
    pass


def _no_constant(word: str) -> None:
    raise _Unlike(f"holds {word}, which JSON does not know.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unlike("names a key twice, and readers differ in which they believe.")
    return found
