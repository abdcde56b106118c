"""What generating and evaluating can be told, and the server that may answer in a model's place. Standard library only."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from training.engine.params.limits import positive
from training.suite.mini import EACH
from training.suite.register import SETS


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server that speaks the OpenAI protocol, as the operator's settings name it: ``url`` up to and with ``/v1``.

    Only addresses in ``networks`` are connected to, if any are given; ``ca_file`` is a certificate authority of the house's own.
    ``timeout`` is in seconds for one request, of which ``concurrency`` are made at a time, each up to ``tries`` times, and at most
    ``per_minute`` begun in a minute where that is above 0.
    """

    name: str
    url: str
    model: str
    networks: list[str] = field(default_factory=list)
    ca_file: str | None = None
    concurrency: int = 4
    timeout: float = 300.0
    tries: int = 5
    per_minute: int = 0

    def problem(self) -> tuple[str, str] | None:
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound or parts.username is not None or parts.query or parts.fragment or not self.url.isprintable() or " " in self.url:
            return "url", "must be http:// or https://, a host and a path, without a name, a question or a fragment"
        for network in self.networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                return "networks", "must be networks such as 10.1.0.0/16"
        if not self.model or not self.name:
            return "model" if self.name else "name", "must not be empty"
        if self.per_minute < 0:
            return "per_minute", "must not be negative"
        return positive(self, "concurrency", "timeout", "tries")


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Completions of ``inputs/prompts.jsonl`` ({"id", "messages"}); ``temperature`` 0 is greedy, ``n`` a prompt.

    ``top_k`` 0 and ``top_p`` 1 leave every token in. A batch holds at most ``batch_size`` answers, and at most ``token_budget``
    tokens of prompts and longest answers together; neither changes what is said. A checkpoint of what is answered is made every
    ``checkpoint_seconds``. ``batching`` auto is continuous on a GPU and static elsewhere. With ``endpoint`` a server answers instead of
    the policy; it knows neither ``top_k`` nor ``min_new_tokens``. ``schema`` is a JSON schema that a server is asked to keep to. With
    ``grammar`` neither answers, but the grammar of training.engine.grammar, from what each row says under "asked".
    """

    temperature: float
    max_new_tokens: int
    min_new_tokens: int = 0
    top_p: float = 1.0
    top_k: int = 0
    n: int = 1
    batch_size: int = 64
    token_budget: int = 32_768
    checkpoint_seconds: float = 20.0
    batching: Literal["auto", "static", "continuous"] = "auto"
    endpoint: Endpoint | None = None
    schema: dict[str, Any] | None = None
    grammar: bool = False

    def problem(self) -> tuple[str, str] | None:
        if self.grammar and self.endpoint:
            return "grammar", "answers in nobody's place but a model's: name no endpoint beside it"
        if self.temperature < 0:
            return "temperature", "must not be negative"
        if self.n > 1 and self.temperature == 0:
            return "n", "several greedy completions of one prompt are one completion"
        if not 0 < self.top_p <= 1:
            return "top_p", "must be above 0 and at most 1"
        if self.top_k < 0:
            return "top_k", "must not be negative"
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            return "min_new_tokens", "must be from 0 to max_new_tokens"
        if self.endpoint and (self.top_k or self.min_new_tokens):
            return "top_k" if self.top_k else "min_new_tokens", "is no part of the protocol that endpoints speak"
        if self.batching == "continuous" and self.min_new_tokens:
            return "min_new_tokens", "is not known to continuous batching"
        if self.checkpoint_seconds < 0:
            return "checkpoint_seconds", "must not be negative"
        return positive(self, "max_new_tokens", "batch_size", "token_budget", "n")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Any of ``inputs/pairs.jsonl``, ``inputs/questions.jsonl``, ``inputs/prompts.jsonl``, ``inputs/choices.jsonl`` (at least one).

    ``beta`` scales the implicit reward. A margin within ``indifference`` (in reward) counts half: any training whatever
    leaves margins of thousandths, all of one sign when one habit is common, and they are no preference.
    """

    max_new_tokens: int = 32
    batch_size: int = 32
    bootstrap: int = 2000
    beta: float = 0.1
    indifference: float = 0.0

    def problem(self) -> tuple[str, str] | None:
        if self.indifference < 0:
            return "indifference", "must not be negative"
        return positive(self, "max_new_tokens", "batch_size", "bootstrap", "beta")


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The mini-suite (training.suite.mini), greedily. An answer is cut at ``max_new_tokens``: every right one fits 53 tokens of a
    tokenizer of 500. ``batch_size`` changes no answer; of every task the first ``alone`` items are asked once more by themselves, to time
    what one question waits for its answer.
    """

    max_new_tokens: int = 64
    batch_size: int = 64
    alone: int = 2

    def problem(self) -> tuple[str, str] | None:
        if self.alone > EACH:
            return "alone", f"must not be above {EACH}, the items of a task"
        return positive(self, "max_new_tokens", "batch_size", "alone")


@dataclass(frozen=True, kw_only=True)
class Clue:
    """CLUE+'s tasks (training.suite.register) from copies in the folder ``data``: those of ``sets``, or all that are there.

    ``mode`` clue_compat samples at temperature 1 and counts as CLUE does; the paper is greedy. ``limit`` takes the first rows of each set
    and ``max_new_tokens`` shortens the longest answers, both for trying: figures of whole sets need them None. ``allow_other_files`` reads
    files that are not the published ones; which they were stands in the result. ``encoder``, a model's folder, is what BERTScore is
    computed with (``encoder_layer`` of it, else two thirds of the way up), ``umls`` the MRCONSO.RRF for UMLS-F1; each may be left out.
    """

    data: str
    sets: list[str] = field(default_factory=list)
    mode: Literal["greedy", "clue_compat"] = "greedy"
    limit: int | None = None
    max_new_tokens: int | None = None
    batch_size: int = 32
    allow_other_files: bool = False
    encoder: str | None = None
    encoder_layer: int | None = None
    umls: str | None = None

    def problem(self) -> tuple[str, str] | None:
        if not self.data.startswith("/"):
            return "data", "must be an absolute folder"
        for name in ("encoder", "umls"):
            if (path := getattr(self, name)) is not None and not path.startswith("/"):
                return name, "must be an absolute path"
        for name in self.sets:
            if name not in SETS:
                return "sets", f"must be some of {', '.join(SETS)}"
        for name in ("limit", "max_new_tokens", "encoder_layer"):
            if (value := getattr(self, name)) is not None and value < 1:
                return name, "must be above 0"
        return positive(self, "batch_size")
