"""Folders on this machine: data sets as `datasets` saves them or as the Hub lays them out, and Potato's exports with their items."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from annotation.reading import strict_json
from annotation.reading.limits import MIB, Limits
from annotation.records import Problems, Row

MAX_CARD = MIB
MAX_FILES = 10_000
# Potato's items lie in memory while its verdicts are read.
MAX_ITEMS = 200_000
MAX_ITEM_BYTES = 128 * MIB
ENDINGS = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".jsonl.gz": "jsonl.gz", ".jsonl.zst": "jsonl.zst", ".csv": "csv",
    ".tsv": "csv_tab", ".json": "json", ".arrow": "arrow",
}  # fmt: skip
SPLITS = ("train", "validation", "valid", "dev", "test", "evaluation")
Reader = Callable[[Path, str, Problems, Any, Limits], Iterator[tuple[int, Row]]]


@dataclass(frozen=True)
class Part:
    """One configuration's split of a data set folder: its files in order, each with its format."""

    config: str
    split: str
    files: tuple[tuple[Path, str], ...]

    @property
    def name(self) -> str:
        return f"{self.config}:{self.split}"


class Unfit(Exception):
    """The folder is no data set that is read; the message says what is missing."""


def parts(root: Path) -> list[Part]:
    """What a folder holds, the default configuration first. Raises Unfit, OSError.

    `save_to_disk`: dataset_info.json and state.json, or dataset_dict.json with a folder a split. A repository: README.md with `configs`,
    else files whose names or folders begin with a split's name, else all data files as one split.
    """
    if (root / "dataset_dict.json").is_file():
        splits = _json(root / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not all(isinstance(split, str) for split in splits):
            raise Unfit("dataset_dict.json names no splits.")
        return [Part("default", split, _saved(root, _below(root, root / split))) for split in splits]
    if (root / "state.json").is_file():
        return [Part("default", "all", _saved(root, root))]
    card = _configs(root)
    if card:
        return card
    found: dict[str, list[tuple[Path, str]]] = {}
    for path in _files(root):
        kind = format_of(path.name)
        relative = path.relative_to(root)
        if kind and kind != "arrow" and path.name not in ("manifest.json", "dataset_info.json"):
            stem = next((part for part in (relative.name, *relative.parts) if part.startswith(SPLITS)), "all")
            split = next((split for split in SPLITS if stem.startswith(split)), "all")
            found.setdefault(split, []).append((path, kind))
    if not found:
        raise Unfit("The folder holds no data files: Parquet, JSON Lines, CSV, or what save_to_disk writes.")
    # The same rows may lie there in two formats: one is read.
    kinds = {kind for files in found.values() for _, kind in files}
    best = next((kind for kind in ENDINGS.values() if kind in kinds), "")
    kept = {split: tuple(file for file in files if file[1] == best) for split, files in found.items()}
    return [Part("default", split, files) for split, files in kept.items() if files]


def chosen(root: Path, wanted: str) -> list[Part]:
    """The parts that `wanted` names: "" for the first configuration's, "config", or "config:split"."""
    found = parts(root)
    config, _, split = wanted.partition(":")
    config = config or found[0].config
    kept = [part for part in found if part.config == config and split in ("", part.split)]
    if not kept:
        raise Unfit(f"The folder has no such part. It has {', '.join(part.name for part in found[:20])}.")
    return kept


def rows(root: Path, wanted: str, problems: Problems, digest: Any, limits: Limits, read: Reader) -> Iterator[tuple[int, Row]]:
    """(running number, row) over the files of the parts wanted."""
    try:
        files = [file for part in chosen(root, wanted) for file in part.files]
    except Unfit as error:
        problems.add(0, "", str(error), "upload.type")
        return
    number = 0
    for path, kind in files:
        for _, row in read(path, kind, problems, digest, limits):
            number += 1
            yield number, row
        # The readers name the places of their own formats.
        problems.unit = "Row"
        if problems.total:
            return


def format_of(name: str) -> str:
    """A data file's format by its name, empty for other files."""
    lower = name.casefold()
    return next((kind for ending, kind in sorted(ENDINGS.items(), key=lambda one: -len(one[0])) if lower.endswith(ending)), "")


def _saved(root: Path, folder: Path) -> tuple[tuple[Path, str], ...]:
    named = _json(folder / "state.json").get("_data_files")
    if not isinstance(named, list) or not all(isinstance(one, dict) and isinstance(one.get("filename"), str) for one in named):
        raise Unfit("state.json names no data files.")
    return tuple((_below(root, folder / one["filename"]), "arrow") for one in named)


def _configs(root: Path) -> list[Part]:
    """The parts that a data set card's YAML names; empty where there is none."""
    card = root / "README.md"
    if not card.is_file() or card.stat().st_size > MAX_CARD:
        return []
    text = card.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---\n") or "\n---" not in text[4:]:
        return []
    head = text[4:].split("\n---", 1)[0]
    # Anchors can unfold without end; no card needs them.
    if any(isinstance(event, yaml.AliasEvent) for event in _events(head)):
        raise Unfit("README.md uses YAML aliases, which are not read.")
    try:
        front = yaml.safe_load(head)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise Unfit("The YAML at the head of README.md cannot be read.") from None
    configs = front.get("configs") if isinstance(front, dict) else None
    if not isinstance(configs, list):
        return []
    every = _files(root)
    made = []
    for config in configs:
        if not isinstance(config, dict):
            continue
        name = str(config.get("config_name") or "default")
        for split, patterns in _data_files(config.get("data_files")):
            files = [
                (path, kind)
                for pattern in patterns
                for path in every
                if (kind := format_of(path.name)) and fnmatch(path.relative_to(root).as_posix(), pattern)
            ]
            if not files:
                raise Unfit(f"README.md names files that are not there, for split {split[:40]!r}.")
            made.append((bool(config.get("default")), Part(name, split, tuple(dict.fromkeys(files)))))
    return [part for _, part in sorted(made, key=lambda one: not one[0])]


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise Unfit("The YAML at the head of README.md cannot be read.") from None


def _data_files(given: Any) -> Iterator[tuple[str, list[str]]]:
    if isinstance(given, str):
        yield "train", [given]
    elif isinstance(given, list):
        if all(isinstance(one, str) for one in given):
            yield "train", given
        for one in given:
            if isinstance(one, dict) and isinstance(one.get("split"), str):
                path = one.get("path")
                yield one["split"], [path] if isinstance(path, str) else [text for text in path or [] if isinstance(text, str)]


def _files(root: Path) -> list[Path]:
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            found.append(_below(root, path))
        if len(found) > MAX_FILES:
            raise Unfit(f"The folder holds more than {MAX_FILES:,} files.")
    return found


def _below(root: Path, path: Path) -> Path:
    """The path, which must lie in the folder, also once links are followed."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise Unfit("A file of the folder is a link that leads out of it. Copy the data set without links.")
    return path


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > MAX_CARD:
        raise Unfit(f"{path.name} is missing or too large.")
    problems = Problems()
    value = strict_json.parse(path.read_bytes().decode("utf-8", "replace"), problems, 1)
    if not isinstance(value, dict):
        raise Unfit(f"{path.name} is no JSON object.")
    return value


# --- Potato ------------------------------------------------------------------------------------------------------------------------


def potato(root: Path) -> tuple[tuple[Path, str], tuple[Path, str]] | None:
    """(annotations, items) of a Potato export: files called annotations.* and items.* (its Parquet export has both)."""
    found: dict[str, tuple[Path, str]] = {}
    for path in sorted(root.iterdir()):
        stem, kind = path.name.split(".")[0], format_of(path.name)
        if path.is_file() and kind and stem in ("annotations", "annotated_instances", "items", "data"):
            found.setdefault("items" if stem in ("items", "data") else "annotations", (_below(root, path), kind))
    return (found["annotations"], found["items"]) if len(found) == 2 else None


def potato_rows(root: Path, problems: Problems, digest: Any, limits: Limits, read: Reader) -> Iterator[tuple[int, Row]]:
    """Every annotation with its item under `item`."""
    named = potato(root)
    if named is None:
        problems.add(0, "", "A file annotations.* and a file items.* are expected.", "upload.type")
        return
    (annotations, kind), (about, about_kind) = named
    items: dict[str, Row] = {}
    size = 0
    for _, row in read(about, about_kind, problems, digest, limits):
        key = str(row.get("item_id", row.get("id", "")))
        size += len(json.dumps(row, default=str))
        if len(items) == MAX_ITEMS or size > MAX_ITEM_BYTES:
            problems.add(0, "", f"More than {MAX_ITEMS:,} items, or than {MAX_ITEM_BYTES // MIB} MiB of them.", "upload.too_large")
            return
        items[key] = row
    if problems.total:
        return
    for place, row in read(annotations, kind, problems, digest, limits):
        key = str(row.get("instance_id", row.get("id", "")))
        if key in items:
            yield place, type(row)({**row, "item": items[key]})
        else:
            problems.add(place, "instance_id", "No item has this id.", "pair.empty")
