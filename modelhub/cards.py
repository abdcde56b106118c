"""Model cards: the README that the Hugging Face Hub reads. What people write on one, and whether the Hub would take it.

What is generated comes from the app that knows runs, snapshots and decisions (`register`); people write the parts in PARTS, and each
change is a revision that stays.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from modelhub.models import CardRevision, ModelVersion

# What people write: (title, what belongs there).
PARTS = {
    "intended_use": ("Intended use", "What it is for, for whom, and on which texts it was tried."),
    "out_of_scope": ("Out of scope", "What it must not be used for."),
    "harms": ("Known harms", "What it has got wrong, whom that could hurt, and what guards against it."),
    "limits": ("Limits", "What was not tried, and where it is weak."),
    "contact": ("Contact", "Whom to ask, and where to report what it got wrong."),
}
MOST_LETTERS = 4000
MOST_DATASETS = 20


@dataclass(frozen=True)
class Section:
    """A heading and its Markdown; `part` names what people wrote, empty where all is generated."""

    title: str
    body: str
    part: str = ""


@dataclass(frozen=True)
class Card:
    """A version's card. `missing` says in words what it lacks, `base` is what an adapter's base is called, `record` is rounds.json."""

    name: str
    metadata: Mapping[str, Any]
    banners: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    missing: tuple[str, ...]
    base: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def body(self) -> str:
        """The prose as Markdown, without metadata."""
        marks = [f"> **{mark}.** {text}" for mark, text in self.banners]
        listed = "\n".join(f"- {what}" for what in self.missing) or "Nothing is missing that a card of this house has."
        sections = [*self.sections, Section("What this card lacks", listed)]
        return "\n\n".join([f"# {plain(self.name)}", *marks, *(f"## {one.title}\n\n{one.body}" for one in sections)]) + "\n"

    @cached_property
    def text(self) -> str:
        """README.md: metadata in YAML, then the prose."""
        head = yaml.safe_dump(dict(self.metadata), sort_keys=False, allow_unicode=True, width=1000, default_flow_style=False)
        return f"---\n{head}---\n\n{self.body}"


Writer = Callable[..., Card]
_writers: list[Writer] = []


def register(writer: Writer) -> None:
    """`writer(version, adapter=False)` generates cards from now on; called by the app above as it starts."""
    _writers[:] = [writer]


def of(version: ModelVersion, *, adapter: bool = False) -> Card:
    """The card of a version as it is now, or that of its adapter."""
    return _writers[0](version, adapter=adapter)


def plain(text: object) -> str:
    """Somebody's words on one line of a card: what Markdown or HTML would take for a mark is written out."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def fenced(text: str, language: str = "") -> str:
    """A block of code that no line in it can end."""
    longest = max((len(found) for found in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


# --- what people write -------------------------------------------------------------------------------------------------------------


class CardChanged(Exception):
    """Somebody else changed the card since it was looked at; nothing was kept of this change."""


class CardRefused(Exception):
    """What was written cannot stand on a card; the message says which part and why."""


def latest(version: ModelVersion) -> CardRevision | None:
    return version.card_revisions.select_related("author").first()


@transaction.atomic
def revise(
    *, version: ModelVersion, prose: Mapping[str, str], hub_id: str = "", datasets: list[str] | None = None, expected: int,
    actor: User | None,
) -> CardRevision:  # fmt: skip
    """Keep what people say on the card, as a new revision. `expected` is the number of the revision it was written over (0: none).

    The same words again make no revision. Raises CardChanged when another revision came between, CardRefused for a part that does not
    exist or is too long, and for names that could not be on the Hub.
    """
    said = {part: text.replace("\r\n", "\n").strip() for part, text in prose.items() if text.strip()}
    _check(said, hub_id, datasets or [])
    newest = latest(version)
    if (newest.number if newest else 0) != expected:
        raise CardChanged("Somebody else changed this card meanwhile.")
    content = {"prose": said, "hub_id": hub_id, "datasets": datasets or []}
    if newest and content == {"prose": newest.prose, "hub_id": newest.hub_id, "datasets": newest.datasets}:
        return newest
    try:
        with transaction.atomic():
            made = CardRevision.objects.create(version=version, number=expected + 1, author=actor, **content)
    except IntegrityError:
        raise CardChanged("Somebody else changed this card meanwhile.") from None
    before = newest.prose if newest else {}
    changed = sorted(part for part in PARTS if before.get(part) != said.get(part))
    audit.record(actor, "model.card_revised", version, revision=made.number, parts=changed)
    return made


def _check(prose: Mapping[str, str], hub_id: str, datasets: list[str]) -> None:
    for part, text in prose.items():
        if part not in PARTS:
            raise CardRefused("A card has no such part.")
        if len(text) > MOST_LETTERS:
            raise CardRefused(f"“{PARTS[part][0]}” has {len(text)} letters; {MOST_LETTERS} fit.")
    if len(datasets) > MOST_DATASETS:
        raise CardRefused(f"At most {MOST_DATASETS} data sets can be named.")
    for name in [hub_id, *datasets]:
        if name and not is_hub_id(name):
            raise CardRefused(f"“{name[:100]}” cannot be a name on the Hub. It looks like organisation/model.")


# --- would the Hub take it ---------------------------------------------------------------------------------------------------------

# https://huggingface.co/docs/hub/repositories-licenses
LICENCES = frozenset({
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0", "bigcode-openrail-m",
    "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0",
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "agpl-3.0", "gfdl",
    "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c", "ms-pl", "mpl-2.0", "odc-by", "odbl", "openrail++",
    "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr", "deepfloyd-if-license", "llama2", "gemma",
    "unknown", "other",
})  # fmt: skip
RELATIONS = frozenset({"finetune", "adapter", "merge", "quantized"})
_HUB_NAME = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
_LICENCE_NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_KNOWN = {
    "language", "license", "license_name", "license_link", "library_name", "pipeline_tag", "tags", "base_model", "base_model_relation",
    "datasets", "metrics", "model-index", "model_name", "new_version", "thumbnail", "inference", "widget", "extra_gated_prompt",
}  # fmt: skip


def is_hub_id(name: str) -> bool:
    """Whether this could be a repository on the Hub: organisation/name, at most 96 letters, by huggingface_hub's `validate_repo_id`."""
    owner, slash, rest = name.partition("/")
    plain_names = all(_HUB_NAME.fullmatch(part) for part in (owner, rest))
    return bool(slash) and plain_names and len(name) <= 96 and not name.endswith(".git")


def licence_metadata(licence: str) -> dict[str, str]:
    """How a licence is said in metadata: by the Hub's identifier, or as "other" with a name."""
    said = licence.strip().casefold()
    if said in LICENCES:
        return {"license": said}
    if not said:
        return {"license": "unknown"}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", said).strip("-.")[:90] or "other", "license_link": "LICENSE"}


def problems(text: str) -> list[str]:
    """Why the Hub would refuse this README, or could not use it; empty when nothing was found. Needs no network.

    The Hub's own check is a service; this covers what it is documented to look at (github.com/huggingface/hub-docs, modelcard.md and
    repositories-licenses.md) and is stricter where that is silent: that the metadata is YAML of known keys; licence identifiers, and
    names and links of other licences; languages; base models and data sets as names that could exist there, and their relation; tags,
    library and task as plain words; and the shape of model-index down to every metric. Not covered: whether a named model, data set or
    task exists on the Hub today.
    """
    found = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)
    if found is None:
        return ["There is no metadata between two lines of ---."]
    try:
        said = yaml.safe_load(found.group(1))
    except yaml.YAMLError:
        return ["The metadata is not YAML."]
    if not isinstance(said, dict):
        return ["The metadata is not a mapping."]
    wrong = [f"{key}: is no field of a model card" for key in said if key not in _KNOWN]
    wrong += _licence_problems(said)
    for key, fits, what in (
        ("language", _LANGUAGE.fullmatch, "a language by ISO 639"),
        ("base_model", is_hub_id, "a model's name on the Hub"),
        ("datasets", is_hub_id, "a data set's name on the Hub"),
        ("tags", lambda tag: 0 < len(tag) <= 100 and "\n" not in tag, "a tag"),
        ("metrics", re.compile(r"[a-z0-9_]+").fullmatch, "a metric"),
    ):
        wrong += _list_problems(said, key, fits, what)
    for key in ("library_name", "pipeline_tag"):
        if key in said and not (isinstance(said[key], str) and re.fullmatch(r"[a-z0-9-]+", said[key])):
            wrong.append(f"{key}: {said[key]!r} is no identifier")
    if "base_model_relation" in said and (said["base_model_relation"] not in RELATIONS or "base_model" not in said):
        wrong.append("base_model_relation: is none of the Hub's, or stands without base_model")
    return wrong + _index_problems(said.get("model-index"))


def _licence_problems(said: dict[str, Any]) -> list[str]:
    licence, name, link = said.get("license"), said.get("license_name"), said.get("license_link")
    if licence not in LICENCES:
        return [f"license: {licence!r} is none of the Hub's identifiers"]
    if licence != "other":
        return ["license_name: stands beside a licence that has a name"] if name else []
    named = isinstance(name, str) and _LICENCE_NAME.fullmatch(name)
    wrong = [] if named else ["license_name: an other licence needs a name in small letters"]
    if link is not None and link not in ("LICENSE", "LICENSE.md") and not (isinstance(link, str) and link.startswith("https://")):
        wrong.append("license_link: is neither LICENSE nor an address")
    return wrong


def _list_problems(said: dict[str, Any], key: str, fits: Callable[[str], object], what: str) -> list[str]:
    if key not in said:
        return []
    values = said[key] if isinstance(said[key], list) else [said[key]]
    if not values or len(set(map(str, values))) != len(values):
        return [f"{key}: is empty, or names something twice"]
    return [f"{key}: {value!r} is not {what}" for value in values if not (isinstance(value, str) and fits(value))]


def _index_problems(index: Any) -> list[str]:
    """The structure of model-index, as hub-docs' modelcard.md has it: what is required there, and nothing that it does not know."""
    if index is None:
        return []
    if not isinstance(index, list) or not index:
        return ["model-index: is no list of models"]
    wrong: list[str] = []
    for model in index:
        if not isinstance(model, dict) or not isinstance(model.get("name"), str) or not isinstance(model.get("results"), list):
            wrong.append("model-index: a model needs a name and results")
            continue
        for number, result in enumerate(model["results"]):
            wrong += _result_problems(result, f"model-index, result {number + 1}")
    return wrong


def _result_problems(result: Any, where: str) -> list[str]:
    if not isinstance(result, dict):
        return [f"{where}: is no mapping"]
    wrong = [f"{where}: {key} is not known" for key in result if key not in ("task", "dataset", "metrics", "source")]
    for key, required in (("task", ("type",)), ("dataset", ("type", "name"))):
        held = result.get(key)
        if not isinstance(held, dict) or not all(isinstance(held.get(name), str) and held[name] for name in required):
            wrong.append(f"{where}: {key} needs {' and '.join(required)}")
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        return [*wrong, f"{where}: has no metrics"]
    for metric in metrics:
        if not isinstance(metric, dict) or not isinstance(metric.get("type"), str) or metric.get("value") is None:
            wrong.append(f"{where}: a metric needs type and value")
        elif isinstance(metric["value"], float) and metric["value"] != metric["value"]:
            wrong.append(f"{where}: {metric['type']} is not a number")
    return wrong
