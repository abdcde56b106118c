"""What a merge will read and write, from safetensors headers alone: names, shapes, output files, room, memory. Standard library only.

Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.engine.errors import BadModel, DiskFull

SHARD_BYTES = 5_000_000_000
INDEX = "model.safetensors.index.json"
MAX_HEADER = 100_000_000
# Bytes of one element of what can be added up; other types are carried over when all models agree on them.
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
OTHERS = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}
SIZES = FLOATS | OTHERS
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"

CARRIED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja",
)  # fmt: skip
# What gives the numbers of a tensor their meaning: present in both or in neither.
_SHAPING = (
    "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "intermediate_size", "rms_norm_eps", "hidden_act",
)  # fmt: skip
# What may differ between two models whose weights can be added: how they were saved, and how they are used.
_HARMLESS = frozenset({
    "_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures", "auto_map", "_attn_implementation",
    "bos_token_id", "eos_token_id", "pad_token_id", "rope_scaling", "rope_theta", "rope_parameters", "sliding_window", "return_dict",
    "attention_dropout", "resid_pdrop", "embd_pdrop", "initializer_range", "attn_implementation", "id2label", "label2id",
})  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One stored tensor: ``begin`` and ``end`` are absolute byte offsets in ``file``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.end - self.begin


Layout = dict[str, Entry]


def read_layout(folder: Path, model: str = "the model") -> Layout:
    """The tensors of a model folder by name, in the order in which they are stored; no tensor is read.

    Sharded folders are read by their index, which has to be complete. With tied embeddings an output layer that was stored all the
    same is left out: nothing reads it. Raises ``BadModel`` naming model, file and tensor.
    """
    index = folder / INDEX
    if index.exists():
        places = _json(index, model).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(file, str) and Path(file).name == file for file in places.values()):
            raise BadModel(f"{model}: {INDEX} has no weight_map of plain file names")
        files = sorted({folder / file for file in places.values()})
    else:
        files, places = sorted(folder.glob("*.safetensors")), None
        if not files:
            raise BadModel(f"{model}: the folder has no safetensors weights")
    layout: Layout = {}
    for file in files:
        for entry in read_header(file, model):
            if entry.name in layout:
                raise BadModel(f"{model}: {entry.name} is stored twice, in {layout[entry.name].file.name} and in {file.name}")
            layout[entry.name] = entry
    if places is not None and (lost := sorted(set(places) - set(layout)) or sorted(set(layout) - set(places))):
        raise BadModel(f"{model}: {INDEX} and the files disagree about {lost[0]}")
    if _tied(folder) and HEAD in layout and EMBEDDING in layout:
        del layout[HEAD]
    return layout


def _tied(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("tie_word_embeddings"))
    except (OSError, ValueError, AttributeError):
        return False


def read_header(file: Path, model: str = "the model") -> list[Entry]:
    """The tensors of one file in stored order. Raises ``BadModel`` for a header that its file does not bear out."""
    where = f"{model}: {file.name}"
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise BadModel(f"{where} is no safetensors file")
            raw = json.loads(stream.read(length).decode("utf-8"))
    except OSError as problem:
        raise BadModel(f"{where} cannot be read ({type(problem).__name__})") from None
    except (ValueError, RecursionError):
        raise BadModel(f"{where} has a header that is not JSON") from None
    start, found = 8 + length, []
    for name, told in raw.items() if isinstance(raw, dict) else ():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (begin, end) = told["dtype"], tuple(told["shape"]), told["data_offsets"]
            bytes_each = SIZES.get(dtype)
            fits = bytes_each is not None and math.prod(shape) * bytes_each == end - begin and 0 <= begin <= end <= size - start
        except (TypeError, KeyError, ValueError):
            raise BadModel(f"{where} does not say type, shape and place of {name}") from None
        if bytes_each is None:
            raise BadModel(f"{where}: {name} is of type {dtype}, which cannot be merged")
        if not fits:
            raise BadModel(f"{where}: {name} does not lie where the header says")
        found.append(Entry(name, dtype, shape, file, start + begin, start + end))
    return sorted(found, key=lambda entry: entry.begin)


# --- may these be added up? --------------------------------------------------------------------------------------------------------


def check_alike(folders: Mapping[str, Path]) -> None:
    """Raises ``BadModel`` naming the first thing in which a model differs from the first one: file, key, found, expected."""
    first, *rest = folders
    config = _config(folders[first], first)
    for name in rest:
        theirs = _config(folders[name], name)
        if key := _difference(config, theirs):
            found, expected = _shown(_value(theirs, key)), _shown(_value(config, key))
            raise BadModel(f"{name}: {key} differs from {first}'s in config.json: found {found}, expected {expected}")
        _check_tokenizers(first, folders[first], name, folders[name])


def check_layouts(layouts: Mapping[str, Layout]) -> None:
    """The same tensors of the same shapes everywhere. Raises ``BadModel`` naming model and tensor."""
    first, *rest = layouts
    for name in rest:
        if odd := sorted(set(layouts[name]) ^ set(layouts[first])):
            what = "found, expected none" if odd[0] in layouts[name] else "missing"
            raise BadModel(f"{name}: its tensors are not {first}'s: {odd[0]} {what}")
        for tensor, entry in layouts[first].items():
            theirs = layouts[name][tensor]
            if theirs.shape != entry.shape:
                found, expected = list(theirs.shape), list(entry.shape)
                raise BadModel(f"{name}: {tensor} has another shape than {first}'s: found {found}, expected {expected}")
            if theirs.dtype != entry.dtype and not {theirs.dtype, entry.dtype} <= FLOATS.keys():
                raise BadModel(f"{name}: {tensor} has another type than {first}'s: found {theirs.dtype}, expected {entry.dtype}")


def _config(folder: Path, model: str) -> dict[str, Any]:
    config = _json(folder / "config.json", model)
    # Two spellings of one thing, by the version that saved it.
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope["rope_theta"] = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    rope["rope_type"] = rope.pop("type", rope.get("rope_type", "default"))
    for key in ("original_max_position_embeddings", "partial_rotary_factor"):
        rope.pop(key, None)  # in some versions a copy of the configuration's own
    return config | {"rope": rope, "tie_word_embeddings": bool(config.get("tie_word_embeddings"))}


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    both = (ours.keys() & theirs.keys()) - _HARMLESS - {"rope"}
    for key in (*_SHAPING, "rope", *sorted(both)):
        if _value(ours, key) != _value(theirs, key):
            return key
    return None


def _value(config: Mapping[str, Any], key: str) -> Any:
    if key == "num_key_value_heads" and config.get(key) is None:
        return config.get("num_attention_heads")
    return config.get(key)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _check_tokenizers(first: str, ours: Path, name: str, theirs: Path) -> None:
    for file in ("tokenizer.json", "tokenizer.model"):
        one, other = _digest(ours / file), _digest(theirs / file)
        if one == other:
            continue
        if one is None or other is None:
            # A second form of the tokenizer that only one of them brings along says nothing about a difference.
            if file == "tokenizer.model" and (ours / "tokenizer.json").exists() and (theirs / "tokenizer.json").exists():
                continue
            raise BadModel(f"{name}: {file} differs from {first}'s: found {'none' if other is None else 'one'}, expected the same")
        where = _part_that_differs(ours / file, theirs / file) if file.endswith(".json") else "its bytes"
        if where:
            raise BadModel(f"{name}: {file} differs from {first}'s in {where}: every token must mean the same in all models")


def _part_that_differs(one: Path, other: Path) -> str:
    """The first part of two tokenizers that differs; nothing when they say the same in other bytes."""
    try:
        ours, theirs = (json.loads(path.read_text(encoding="utf-8")) for path in (one, other))
        if not (isinstance(ours, dict) and isinstance(theirs, dict)):
            return "its bytes" if ours != theirs else ""
        for part in sorted(ours.keys() | theirs.keys()):
            # Set for one call and saved with the rest: how a batch was padded and cut last.
            if part not in ("padding", "truncation") and ours.get(part) != theirs.get(part):
                return part
    except ValueError:
        return "its bytes"
    return ""


def _json(path: Path, model: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadModel(f"{model}: the folder has no readable {path.name}") from None
    if not isinstance(found, dict):
        raise BadModel(f"{model}: {path.name} is not an object")
    return found


def _digest(path: Path) -> str | None:
    if not path.exists():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- what will be written ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a finished tensor goes: bytes from ``begin`` to ``end`` of output file ``file``, as ``dtype``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    begin: int
    end: int

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Plan:
    """``headers``: the first bytes of every output file. ``files``: carried over as they are. All sizes in bytes."""

    places: dict[str, Place]
    headers: dict[str, bytes]
    files: tuple[Path, ...] = ()
    digest: str = field(default="", compare=False)

    @property
    def sizes(self) -> dict[str, int]:
        """Whole size of every output file of weights."""
        sizes = {file: len(header) for file, header in self.headers.items()}
        for place in self.places.values():
            sizes[place.file] = max(sizes[place.file], place.end)
        return sizes

    @property
    def size(self) -> int:
        """Bytes of the whole folder."""
        return sum(self.sizes.values()) + sum(file.stat().st_size for file in self.files) + len(self.index or b"")

    @property
    def index(self) -> bytes | None:
        """The index file's bytes, for a model of several files."""
        if len(self.headers) == 1:
            return None
        total = sum(place.end - place.begin for place in self.places.values())
        places = {name: place.file for name, place in sorted(self.places.items())}
        return json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=2).encode() + b"\n"

    def require_room(self, folder: Path, *, written: int = 0) -> None:
        """Raises ``DiskFull`` unless all that is not ``written`` yet fits on the volume of ``folder``."""
        need, free = max(0, self.size - written), shutil.disk_usage(folder).free
        if free < need:
            raise DiskFull(need, free, folder)


def lay_out(
    layout: Layout, *, files: Iterable[Path] = (), shard_bytes: int = SHARD_BYTES, dtype: str | None = None, digest: str = ""
) -> Plan:
    """Output files for tensors of these shapes, in stored order; a new file where the next tensor would not fit in ``shard_bytes``.

    ``dtype`` (``BF16``, …) is what floats are rounded to; null keeps each tensor's own.
    """
    shards: list[list[Entry]] = [[]]
    room = shard_bytes
    for entry in layout.values():
        size = entry.numel * SIZES[_kept(entry, dtype)]
        if size > room and shards[-1]:
            shards.append([])
            room = shard_bytes
        shards[-1].append(entry)
        room -= size
    places: dict[str, Place] = {}
    headers: dict[str, bytes] = {}
    for number, shard in enumerate(shards, start=1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        told: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        reached = 0
        for entry in shard:
            kept = _kept(entry, dtype)
            end = reached + entry.numel * SIZES[kept]
            told[entry.name] = {"dtype": kept, "shape": list(entry.shape), "data_offsets": [reached, end]}
            reached = end
        text = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        headers[file] = len(text).to_bytes(8, "little") + text
        start = len(headers[file])
        for entry in shard:
            begin, end = told[entry.name]["data_offsets"]
            places[entry.name] = Place(entry.name, told[entry.name]["dtype"], entry.shape, file, start + begin, start + end)
    return Plan(places, headers, tuple(files), digest)


def _kept(entry: Entry, dtype: str | None) -> str:
    return dtype if dtype and entry.dtype in FLOATS else entry.dtype


def carried(folder: Path) -> list[Path]:
    """Configuration and tokenizer of the model that gives the merged one its own."""
    return [folder / name for name in CARRIED if (folder / name).is_file()]
