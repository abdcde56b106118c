"""Who writes and who judges: the grammar, a server on the operator's list, or a model of ours; and the family each is of."""

from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from modelhub.models import LineageEdge, ModelVersion
from training import endpoints

GRAMMAR, ENDPOINT, MODEL = "grammar", "endpoint", "model"
KINDS = {GRAMMAR: "synthesise", ENDPOINT: "synthesise-ask", MODEL: "synthesise-model"}
PER = 1e6  # tokens a price is of


class Unknown(Exception):
    """No such backend: its name is neither the grammar, nor a server in the settings, nor a model version."""


@dataclass(frozen=True)
class Backend:
    """`name` is empty for the grammar, an endpoint's name, or a model version's public id; `label` is for people."""

    kind: str
    name: str
    family: str
    label: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def find(said: str, *, judging: bool = False) -> Backend:
    """The backend of "grammar", "endpoint:NAME" or "model:PUBLIC-ID". Raises Unknown."""
    kind, _, name = said.partition(":")
    if kind == GRAMMAR and not name:
        # Two programs: sentences come of templates, scores of a rule that sees the instruction alone.
        return Backend(GRAMMAR, "", "planted rule" if judging else "grammar", "Planted rule" if judging else "Grammar")
    if kind == ENDPOINT and name in (allowed := endpoints.allowed()):
        return Backend(ENDPOINT, name, endpoints.about(name).family, f"{name} · {allowed[name].model}")
    if kind == MODEL and (version := _version(name)):
        return Backend(MODEL, name, family_of(version), version.name)
    raise Unknown(said)


def _version(name: str) -> ModelVersion | None:
    try:
        return ModelVersion.objects.usable().filter(public_id=name).first()
    except ValidationError:
        return None


def family_of(version: ModelVersion) -> str:
    """The name of the base it descends from, over whatever merges and trainings: two models of one base judge alike."""
    seen = {version.pk}
    rising = [version]
    while rising:
        found = rising.pop()
        parents = [
            edge.parent for edge in LineageEdge.objects.filter(child=found, parent__isnull=False).select_related("parent").order_by("pk")
        ]
        if not parents:
            return found.name[:40]
        rising += [parent for parent in parents if parent is not None and parent.pk not in seen]
        seen |= {parent.pk for parent in rising}
    return version.name[:40]


def choices(*, judging: bool = False) -> list[tuple[str, str]]:
    """What a form offers: (value, label)."""
    rules = [(GRAMMAR, "Planted rule (offline)" if judging else "Grammar (offline, seeded)")]
    servers = [(f"{ENDPOINT}:{name}", f"{name} · {one.model} (server)") for name, one in endpoints.allowed().items()]
    models = [(f"{MODEL}:{one.public_id}", f"{one.name}{' (toy)' if one.toy else ''}") for one in ModelVersion.objects.usable()[:100]]
    return [*rules, *servers, *models]


def from_json(said: dict[str, Any]) -> Backend:
    return Backend(**said)


def price(backend: Backend, *, prompt_tokens: int, tokens: int, seconds: float) -> float:
    """In ROUNDS_CURRENCY: a server's tokens by the operator's prices, a model's seconds by the machine's hour."""
    if backend.kind == ENDPOINT:
        try:
            about = endpoints.about(backend.name)
        except KeyError:
            return 0.0
        return (prompt_tokens * about.price_in + tokens * about.price_out) / PER
    return seconds / 3600 * settings.ROUNDS_HOUR_PRICE if backend.kind == MODEL else 0.0
