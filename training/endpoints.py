"""Servers that may answer prompts. The operator's settings name them; whoever uses Rounds chooses among names.

    ROUNDS_GENERATION_ENDPOINTS='{"ward-gpu": {"url": "http://gpu1.clinic.example:8000/v1", "model": "phi-3.5-mini",
                                               "networks": ["10.1.0.0/16"], "key_env": "WARD_GPU_KEY"}}'

Beside what the engine reads, an entry may say which `family` the model is of (a judge must be of another than the generator), what a
million tokens cost (`price_in`, `price_out`, in ROUNDS_CURRENCY), and which corpora's `documents` may be sent to it: no document of
any other corpus ever is.

The key stays in the environment: of the worker, which hands it to the one child that needs it, and of no file, row or log.
"""

import os
import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from jobs.errors import Unprepared
from jobs.models import Job
from training.engine import served
from training.engine import spec as engine
from training.engine.errors import SpecError
from training.engine.spec import Endpoint

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
# What an entry says that is not for the engine.
ABOUT = ("key_env", "family", "price_in", "price_out", "documents")
ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,79}")


def allowed() -> dict[str, Endpoint]:
    """The endpoints in the settings, by name. Raises ImproperlyConfigured naming the entry and field that is wrong."""
    given = settings.ROUNDS_GENERATION_ENDPOINTS
    if not isinstance(given, dict):
        raise ImproperlyConfigured("ROUNDS_GENERATION_ENDPOINTS must be a JSON object of names and endpoints.")
    return {name: _parsed(name, entry) for name, entry in given.items()}


def _parsed(name: str, entry: Any) -> Endpoint:
    where = f"ROUNDS_GENERATION_ENDPOINTS, {name!r}"
    if not NAME.fullmatch(name):
        raise ImproperlyConfigured(f"{where}: a name has up to 40 small letters, digits, dots, hyphens and underscores.")
    if not isinstance(entry, dict):
        raise ImproperlyConfigured(f"{where} must be an object.")
    key_env = entry.get("key_env", "")
    if not isinstance(key_env, str) or (key_env and not ENVIRONMENT_NAME.fullmatch(key_env)):
        raise ImproperlyConfigured(f"{where}: key_env must be the name of an environment variable, never the key.")
    _about(where, name, entry)
    told = {key: value for key, value in entry.items() if key not in ABOUT}
    try:
        params = engine.parse_params("generate", {"temperature": 0, "max_new_tokens": 1, "endpoint": {"name": name, **told}})
    except SpecError as problem:
        raise ImproperlyConfigured(f"{where}: {str(problem).removeprefix('params.endpoint.')}.") from None
    assert isinstance(params, engine.Generate)
    assert params.endpoint is not None
    return params.endpoint


@dataclass(frozen=True)
class About:
    """What the operator says of a server besides: its model's family, prices of a million tokens, corpora whose documents it may see."""

    family: str
    price_in: float
    price_out: float
    documents: tuple[str, ...]


def about(name: str) -> About:
    """Raises KeyError for a name that is not in the settings."""
    return _about("", name, settings.ROUNDS_GENERATION_ENDPOINTS[name])


def _about(where: str, name: str, entry: dict[str, Any]) -> About:
    family, documents = entry.get("family", name), entry.get("documents", [])
    prices = [entry.get(key, 0) for key in ("price_in", "price_out")]
    if not isinstance(family, str) or not 0 < len(family) <= 40:
        raise ImproperlyConfigured(f"{where}: family must be a name of up to 40 characters.")
    if not all(isinstance(price, int | float) and not isinstance(price, bool) and price >= 0 for price in prices):
        raise ImproperlyConfigured(f"{where}: price_in and price_out must be prices of a million tokens.")
    if not isinstance(documents, list) or not all(isinstance(corpus, str) for corpus in documents):
        raise ImproperlyConfigured(f"{where}: documents must be a list of names of corpora.")
    return About(family, float(prices[0]), float(prices[1]), tuple(documents))


def for_job(job: Job) -> dict[str, Any]:
    """The endpoint a job asks, as the engine reads it. Raises Unprepared when the operator allows it no more, or its key is missing."""
    name = job.spec["endpoint"]
    endpoint = allowed().get(name)
    if endpoint is None:
        raise Unprepared("endpoint_gone", f"The settings of this worker name no endpoint {name}.")
    variable = _key_variable(name)
    if variable and not key(name):
        raise Unprepared("endpoint_key", f"The environment of this worker has no {variable}, which holds the key of the endpoint {name}.")
    return engine.params_as_json(endpoint)


def environment(job: Job) -> dict[str, str]:
    """What the child that asks a server sees besides: the key."""
    found = key(job.spec["endpoint"])
    return {served.KEY: found} if found else {}


def _key_variable(name: str) -> str:
    return str(settings.ROUNDS_GENERATION_ENDPOINTS.get(name, {}).get("key_env", ""))


def key(name: str) -> str:
    """The key, if it is one: what does not fit into a header would only fail there, with its text in a message."""
    found = os.environ.get(_key_variable(name), "").strip()
    return found if found.isascii() and found.isprintable() else ""
