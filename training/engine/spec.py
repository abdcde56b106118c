"""What an attempt is asked to do: the typed contents of ``spec.json``. Standard library only.

Reading is strict. An unknown key, a missing key or a wrong type raises ``SpecError`` naming the field, because a
parameter that is misspelt and silently ignored is a wrong experiment.

>>> spec = parse({"schema": 1, "kind": "generate", "job": "j", "seed": 1, "threads": 1, "models": {"policy": "/m"},
...               "params": {"temperature": 0.0, "max_new_tokens": 8}})
>>> spec.params.top_p
1.0
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args

from training.engine import recipes
from training.engine.errors import SpecError
from training.engine.params.answers import Clue, Endpoint, Evaluate, Generate, Suite
from training.engine.params.language import BuildBase, Domain, Loop, Lora, Neurons, Pit, Pretrain, Sft
from training.engine.params.merges import MOST_QUESTIONS, MOST_RANK, Extract, Preview, Search, Slerp, starts_of
from training.engine.params.preferences import Dpo, Kto, Watched
from training.engine.params.values import checked, exact_keys
from training.engine.recipes import Recipe

# Callers know one module: what parameters are made of is named here too.
__all__ = [
    "KINDS", "MAKES_MODEL", "MODELS", "MOST_QUESTIONS", "MOST_RANK", "PARALLEL", "PARAMS", "SCHEMA", "BuildBase", "Clue", "Domain", "Dpo",
    "Endpoint", "Evaluate", "Extract", "Generate", "Kind", "Kto", "Loop", "Lora", "Merge", "Neurons", "Params", "Pit", "Pretrain",
    "Preview", "Search", "Sft", "Slerp", "Spec", "Suite", "Watched", "as_json", "dumps", "params_as_json", "parse",
    "parse_params", "starts_of",
]  # fmt: skip

SCHEMA = 1
Merge = Slerp | Recipe
Params = BuildBase | Pretrain | Pit | Slerp | Recipe | Search | Preview | Extract | Sft | Dpo | Kto | Generate | Evaluate | Suite | Clue
Kind = Literal[
    "build-base", "pretrain", "pit", "merge", "search", "preview", "extract", "sft", "dpo", "kto", "generate", "evaluate", "suite", "clue"
]

PARAMS: dict[str, type[Any]] = {
    "build-base": BuildBase, "pretrain": Pretrain, "pit": Pit, "search": Search, "preview": Preview, "extract": Extract,
    "sft": Sft, "dpo": Dpo, "kto": Kto, "generate": Generate, "evaluate": Evaluate, "suite": Suite, "clue": Clue,
}  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
MAKES_MODEL = frozenset({"build-base", "pretrain", "pit", "merge", "search", "extract", "sft", "dpo", "kto"})
# Kinds that several processes can train together.
PARALLEL = frozenset({"dpo"})
MODELS: dict[str, tuple[frozenset[str], frozenset[str]]] = {  # kind → references needed, references allowed besides
    "build-base": (frozenset(), frozenset()),
    "pretrain": (frozenset({"policy"}), frozenset()),
    "pit": (frozenset({"policy"}), frozenset()),
    "extract": (frozenset({"base", "expert"}), frozenset()),
    "sft": (frozenset({"policy"}), frozenset()),
    "dpo": (frozenset({"policy"}), frozenset()),
    "kto": (frozenset({"policy"}), frozenset()),
    "generate": (frozenset({"policy"}), frozenset()),
    "evaluate": (frozenset({"policy"}), frozenset({"reference"})),
    "suite": (frozenset({"policy"}), frozenset()),
    "clue": (frozenset({"policy"}), frozenset()),
}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One attempt. ``models`` maps a reference name to an absolute folder; ``threads`` is torch's thread count.

    ``probe`` asks for three steps at the run's real shapes, and no model. ``reference_store`` is a folder of stored reference
    log-probabilities to read from (training.engine.references). ``processes`` is how many processes train together (training.engine.ranks).
    """

    kind: Kind
    job: str
    seed: int
    params: Params
    models: dict[str, str]
    threads: int = 1
    probe: bool = False
    reference_store: str | None = None
    processes: int = 1
    schema: int = SCHEMA


def parse(raw: object) -> Spec:
    """``raw`` (decoded JSON) as a ``Spec``. Raises ``SpecError`` naming the first field that is wrong."""
    if not isinstance(raw, dict):
        raise SpecError("spec", "must be an object")
    needed = {"schema", "kind", "job", "seed", "threads", "models", "params"}
    exact_keys(raw, needed | {"probe", "reference_store", "processes"}, needed, "")
    if raw["schema"] != SCHEMA or isinstance(raw["schema"], bool):
        raise SpecError("schema", f"must be {SCHEMA}")
    if raw["kind"] not in KINDS:
        raise SpecError("kind", f"must be one of {', '.join(KINDS)}")
    kind: Kind = raw["kind"]
    params = parse_params(kind, raw["params"])
    models = checked(dict[str, str], raw["models"], "models")
    _check_models(kind, params, models)
    seed, threads = checked(int, raw["seed"], "seed"), checked(int, raw["threads"], "threads")
    if not 0 <= seed < 2**32:
        raise SpecError("seed", "must be from 0 to 4294967295")
    if threads < 1:
        raise SpecError("threads", "must be above 0")
    store = checked(Union[str, None], raw.get("reference_store"), "reference_store")  # noqa: UP007 - what checked takes apart
    if store is not None and not store.startswith("/"):
        raise SpecError("reference_store", "must be an absolute folder")
    processes = checked(int, raw.get("processes", 1), "processes")
    if processes < 1:
        raise SpecError("processes", "must be above 0")
    if processes > 1 and kind not in PARALLEL:
        raise SpecError("processes", f"must be 1 for {kind}: only {', '.join(sorted(PARALLEL))} trains in several")
    return Spec(
        kind=kind, job=checked(str, raw["job"], "job"), seed=seed, threads=threads, models=models, params=params,
        probe=checked(bool, raw.get("probe", False), "probe"), reference_store=store, processes=processes,
    )  # fmt: skip


def parse_params(kind: str, raw: object) -> Params:
    """The ``params`` of one kind. Raises ``SpecError`` with a field such as ``params.lora.r``."""
    if kind not in KINDS:
        raise SpecError("kind", f"must be one of {', '.join(KINDS)}")
    if not isinstance(raw, dict):
        raise SpecError("params", "must be an object")
    if kind == "merge" and not (raw.get("method") == "slerp" and "t" in raw):
        return recipes.parse(raw)
    params: Params = checked(Slerp if kind == "merge" else PARAMS[kind], raw, "params")
    return params


def as_json(spec: Spec) -> dict[str, Any]:
    """The exact object ``parse`` reads back."""
    return {
        "schema": spec.schema, "kind": spec.kind, "job": spec.job, "seed": spec.seed, "threads": spec.threads,
        "models": dict(spec.models), "params": params_as_json(spec.params),
        **({"probe": True} if spec.probe else {}),
        **({"reference_store": spec.reference_store} if spec.reference_store else {}),
        **({"processes": spec.processes} if spec.processes > 1 else {}),
    }  # fmt: skip


def params_as_json(params: Any) -> dict[str, Any]:
    """A params dataclass as plain JSON values, under the names of the file format."""
    if isinstance(params, Recipe):
        return recipes.as_json(params)
    out: dict[str, Any] = {}
    for entry in dataclasses.fields(params):
        value = getattr(params, entry.name)
        out[entry.metadata.get("key", entry.name)] = params_as_json(value) if dataclasses.is_dataclass(value) else value
    return out


def dumps(spec: Spec) -> str:
    """Canonical text: sorted keys, so that equal specs have equal digests."""
    return json.dumps(as_json(spec), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)


def _check_models(kind: str, params: Params, models: dict[str, str]) -> None:
    if isinstance(params, Recipe):
        exact_keys(models, set(params.models()), set(params.models()), "models")
    elif isinstance(params, Preview):
        read = {*recipes.parse(params.recipe).models(), *params.beside}
        exact_keys(models, read, read, "models")
    elif isinstance(params, Search):
        read = set(recipes.parse(params.recipe).models())
        exact_keys(models, read, read, "models")
    else:
        needed, optional = (frozenset({"base", "expert"}), frozenset[str]()) if kind == "merge" else MODELS[kind]
        if isinstance(params, Generate) and (params.endpoint or params.grammar):
            needed = frozenset()
        exact_keys(models, set(needed | optional), set(needed), "models")
    for name, folder in models.items():
        if not folder.startswith("/"):
            raise SpecError(f"models.{name}", "must be an absolute folder")
