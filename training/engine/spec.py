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
import ipaddress
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from training.engine import recipes
from training.engine.errors import SpecError
from training.engine.recipes import Recipe

SCHEMA = 1
Domain = Literal["pubmed", "clinical", "medcode", "guideline", "medwiki"]


@dataclass(frozen=True, kw_only=True)
class Lora:
    r: int = 16
    alpha: int = 32
    dropout: float = 0.0

    def problem(self) -> tuple[str, str] | None:
        return _positive(self, "r", "alpha") or _share(self, "dropout")


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What the next-token training loop (training.engine.loop) can be told, whatever it trains on.

    ``gradient_accumulation`` batches make a step. The learning rate rises for ``warmup_steps`` (null: 5 % of the steps) and falls on a
    cosine to ``floor`` of its peak. ``neftune_alpha`` above 0 adds noise to embeddings (arXiv 2310.05914). ``lora`` null trains all
    weights. ``dtype`` bfloat16 holds a LoRA run's frozen weights in it, and computes in it when all weights are trained.
    With ``inputs/validation.jsonl`` its loss is taken every ``evaluate_steps`` (null: a fifth of the run); ``early_stop`` (0: never)
    ends the run when it has not fallen for so many times, and the best weights are kept. A checkpoint every ``checkpoint_steps`` (null:
    none by steps), and whenever the last is ``checkpoint_seconds`` old.
    """

    gradient_accumulation: int = 1
    warmup_steps: int | None = None
    floor: float = 0.05
    weight_decay: float = 0.01
    neftune_alpha: float = 0.0
    lora: Lora | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    evaluate_steps: int | None = None
    early_stop: int = 0
    checkpoint_steps: int | None = None
    checkpoint_seconds: float = 600.0

    def loop_problem(self) -> tuple[str, str] | None:
        for name in ("warmup_steps", "weight_decay", "neftune_alpha", "early_stop"):
            if (getattr(self, name) or 0) < 0:
                return name, "must not be negative"
        return _positive(
            self, "gradient_accumulation", "evaluate_steps", "checkpoint_steps", "checkpoint_seconds"
        ) or _share(self, "floor")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BuildBase(Loop):
    """A tokenizer, a fresh Phi-3 and its first training: on general text and a little of every toy domain, or, with ``tokenizer``
    documents, on ``inputs/documents.jsonl`` ({"text", "outputs"}), whose words the tokenizer then is made of."""

    steps: int
    learning_rate: float = 3e-3
    batch_size: int = 8
    block: int = 128
    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    intermediate_size: int = 384
    vocab_size: int = 2700
    context: int = 512
    tokenizer: Literal["build", "documents"] = "build"

    def problem(self) -> tuple[str, str] | None:
        if self.hidden_size % self.heads:
            return "hidden_size", "must be a multiple of heads"
        if self.lora is not None:
            return "lora", "a fresh model has nothing to adapt"
        if self.block > self.context:
            return "block", "must not be above context"
        return self.loop_problem() or _positive(
            self, "steps", "learning_rate", "batch_size", "block", "layers", "heads", "vocab_size"
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pretrain(Loop):
    """Plain language modelling (DAPT): on ``inputs/documents.jsonl`` ({"text"}), best-fit packed (arXiv 2404.10830) into rows of
    ``block`` tokens in which no document sees another; or on the toy corpus named in ``corpus``. Give ``steps`` or ``epochs``."""

    learning_rate: float
    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 8
    block: int = 128
    corpus: Literal["base", "pubmed", "clinical", "medcode", "guideline", "medwiki"] | None = None

    def problem(self) -> tuple[str, str] | None:
        return (
            _steps_or_epochs(self, endless=self.corpus is not None)
            or self.loop_problem()
            or _positive(self, "steps", "epochs", "learning_rate", "batch_size", "block")
        )


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """The ``index``-th of ``of`` equal blocks of every feed-forward layer's neurons."""

    index: int
    of: int

    def problem(self) -> tuple[str, str] | None:
        return None if 0 <= self.index < self.of else ("index", "must be from 0 up to, not including, of")


@dataclass(frozen=True, kw_only=True)
class Pit(Loop):
    """Pre-instruction tuning (arXiv 2505.10717, 3.1.2): first the outputs of one task, then outputs and document; on
    ``inputs/documents.jsonl`` ({"text", "outputs"}), or on the toy ``domain``.

    Phase one takes ``phase_one`` of the ``steps``; without ``steps``, ``phase_one_epochs`` over the documents' outputs, and phase two
    ``epochs`` over outputs and documents. ``learning_rate`` is phase two's peak; phase one's is ``phase_one_learning_rate``, null: a
    third of it, as in the paper (1e-4 and 3e-4). ``packing`` puts whole sequences side by side in rows of ``max_length`` tokens (null:
    the model's context), in which none sees another; a longer sequence is split there, and counted.

    For the toy domains only: ``replay`` is the share of sequences drawn from the base's own mixture, ``neurons`` trains only one block
    of feed-forward neurons, so that experts with different blocks do not overlap, and ``anchor`` above 0 weighs the divergence from
    the base on replayed text, in place of learning that text. The domain ``mixture`` is all five in turn (the paper's DataMix): a control.
    """

    learning_rate: float
    domain: Domain | Literal["mixture"] | None = None
    steps: int | None = None
    epochs: float | None = None
    phase_one_epochs: float = 1.0
    phase_one: float = 0.33
    phase_one_learning_rate: float | None = None
    batch_size: int = 8
    max_length: int | None = None
    packing: bool = False
    outputs: Literal["summary", "qa", "entities", "relations"] = "qa"
    freeze_embeddings: bool = True
    replay: float = 0.0
    neurons: Neurons | None = None
    anchor: float = 0.0

    def problem(self) -> tuple[str, str] | None:
        if self.anchor < 0 or self.phase_one_epochs < 0:
            return "anchor" if self.anchor < 0 else "phase_one_epochs", "must not be negative"
        if self.neurons is not None and self.lora is not None:
            return "lora", "would freeze the neurons that are to be trained"
        if self.domain is None and (self.replay or self.anchor or self.neurons):
            return "domain", "replay, anchor and neurons are for the toy domains"
        if self.domain == "mixture" and self.anchor:
            return "anchor", "would hold a mixture where it is: it has no other domain"
        if self.domain is not None and (self.packing or self.outputs not in ("summary", "qa")):
            return "packing" if self.packing else "outputs", "is not there for the toy domains"
        return (
            _steps_or_epochs(self, endless=self.domain is not None)
            or self.loop_problem()
            or _positive(self, "steps", "epochs", "learning_rate", "phase_one_learning_rate", "batch_size", "max_length")
            or _share(self, "replay", "phase_one")
        )


@dataclass(frozen=True, kw_only=True)
class Slerp:
    """SLERP of ``base`` (t = 0) and ``expert`` (t = 1). A list of t is searched on ``validation``'s questions.

    Every other merge, a SLERP with its t by layer or module among them, is a ``Recipe``."""

    method: Literal["slerp"]
    t: float | list[float]
    validation: Domain | None = None
    questions: int = 48

    def problem(self) -> tuple[str, str] | None:
        candidates = self.t if isinstance(self.t, list) else [self.t]
        if not candidates or not all(0 <= t <= 1 for t in candidates):
            return "t", "must be numbers from 0 to 1"
        if len(candidates) > 1 and self.validation is None:
            return "validation", "is needed to choose among several t"
        return _positive(self, "questions")


@dataclass(frozen=True, kw_only=True)
class Search:
    """CMA-ES over the numbers of one merge, on ``questions`` validation questions of each toy domain; the best merge found is the output.
    Evaluation questions are never asked.

    ``recipe`` is a merge's (training.engine.recipes) and where the search starts; what is not searched stays as it is there. ``ranges``
    names what is searched of every input, such as weight, each with its lowest and highest value; ``each`` gives every input numbers of
    its own. It ends after ``evaluations`` merges (the start is the first) or ``seconds`` of evaluating, whichever comes first, or when
    the strategy has converged. ``population`` null is 4 + 3 ln n for n numbers; ``sigma`` is the first step, as a share of the ranges.
    """

    recipe: dict[str, Any]
    ranges: dict[str, list[float]]
    each: bool = True
    evaluations: int = 200
    seconds: float | None = None
    population: int | None = None
    sigma: float = 1 / 6
    questions: int = 32

    def problem(self) -> tuple[str, str] | None:
        try:
            recipe = recipes.parse(self.recipe, "recipe")
        except recipes.BadRecipe as wrong:
            return wrong.problems[0]
        known = {entry.name: entry for entry in recipe.table.per_input}
        if not self.ranges:
            return "ranges", f"must name what is searched: {', '.join(known) or f'{recipe.method} has nothing that can be'}"
        for name, ends in self.ranges.items():
            if name not in known:
                return f"ranges.{name}", f"is nothing that {recipe.method} has for every input; known are {', '.join(known) or 'none'}"
            if len(ends) != 2 or ends[0] >= ends[1]:
                return f"ranges.{name}", "must be two numbers, the lowest and the highest value"
            for end in ends:
                if problem := known[name].problem(end):
                    return f"ranges.{name}", problem
            for value in starts_of(recipe, name):
                if value is None:
                    return f"recipe.{name}", "has no single number to start from: a list or a filter cannot be searched"
                if not ends[0] <= value <= ends[1]:
                    return f"ranges.{name}", f"does not hold {value:g}, from where the search starts"
        if self.questions > MOST_QUESTIONS:
            return "questions", f"must be at most {MOST_QUESTIONS}: the smallest domain has no more in that wording"
        if self.population is not None and self.population < 4:
            return "population", "must be at least 4"
        return _positive(self, "evaluations", "seconds", "sigma", "questions")


def starts_of(recipe: recipes.Recipe, name: str) -> list[float | None]:
    """One parameter of every input, in order, where it is a single number for all layers and modules, else None."""
    found: list[float | None] = []
    for entry in recipe.inputs:
        default = recipe.table.parameter(name).default
        setting = entry.parameters.get(name, recipe.parameters.get(name, default))
        found.append(None if setting is None or isinstance(setting, tuple) else float(setting))
    return found


@dataclass(frozen=True, kw_only=True)
class Sft(Loop):
    """Supervised fine-tuning on ``inputs/train.jsonl`` ({"prompt", "completion"}: message lists), or on the toy samples
    with ``corpus``; loss on the completion only. Give ``steps`` or ``epochs``, not both.

    A row above ``max_length`` (null: the model's context) is an error, never a cut. ``packing`` puts whole rows side by side up to
    that length, and none sees another. ``replay`` is the share of sequences drawn from what the toy family learnt before.
    """

    learning_rate: float
    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 8
    packing: bool = False
    replay: float = 0.0
    corpus: Literal["toy"] | None = None
    max_length: int | None = None
    freeze_embeddings: bool = True

    def problem(self) -> tuple[str, str] | None:
        if self.packing and (self.replay or self.corpus):
            return "packing", "needs rows of a known length: neither replay nor a generated corpus"
        return (
            _steps_or_epochs(self, endless=self.corpus is not None)
            or self.loop_problem()
            or _positive(self, "learning_rate", "batch_size", "steps", "epochs", "max_length")
            or _share(self, "replay")
        )


@dataclass(frozen=True, kw_only=True)
class Watched:
    """How a long run is kept and watched, whatever it learns; training.engine.trainer does it.

    A checkpoint every ``checkpoint_steps`` (null: a fifth of the run), with held-out loss and the six fixed prompts answered in at
    most ``watch_tokens``; another, without, when the last is ``checkpoint_seconds`` old. ``early_stop`` (0: never) ends the run when
    held-out loss has not fallen for so many checkpoints, and keeps the best. The limits are watchdogs', null: not watched
    (training.engine.watchdogs).
    """

    checkpoint_steps: int | None = None
    checkpoint_seconds: float = 600.0
    watch_tokens: int = 64
    early_stop: int = 0
    collapse_steps: int | None = 50
    margin_limit: float | None = 50.0
    falling_limit: float | None = 1.0

    def watch_problem(self) -> tuple[str, str] | None:
        if self.early_stop < 0:
            return "early_stop", "must not be negative"
        return _positive(self, "checkpoint_steps", "checkpoint_seconds", "watch_tokens", "collapse_steps", "margin_limit", "falling_limit")


Loss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down",
    "discopop", "sigmoid_norm",
]  # fmt: skip
# The only losses of TRL 1.16 that read label_smoothing; with any other it is accepted and does nothing.
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")


@dataclass(frozen=True, kw_only=True)
class Dpo(Watched):
    """Direct preference optimisation (arXiv 2305.18290) by TRL, on ``inputs/train.jsonl`` and, if there,
    ``inputs/validation.jsonl``; rows {"prompt", "chosen", "rejected"} of message lists, with "p_chosen" and "weight" (both 1 if left out).

    ``loss`` sigmoid is w·(−p·log σ(βΔ) − (1−p)·log σ(−βΔ)) with a row's own p and w; ``targets`` hard takes every p and w as 1. The
    other losses are TRL's by name and know neither, so they are refused with soft targets. ``label_smoothing`` is for the few losses that
    read it; ``ld_alpha`` (LD-DPO) weighs the tokens beyond the shorter answer's length, in policy and reference alike, so it needs
    ``reference`` live.

    ``max_length`` null takes the longest pair; a pair above a given one is an error, never a cut.
    ``nll_weight`` adds that much of the chosen answer's negative log likelihood per token. ``lora`` null trains all.
    ``warmup_share`` of the steps, when above 0, stands in place of ``warmup_steps``.
    ``reference`` stored computes the reference's log-probabilities once, before the first step, and keeps them for later runs.
    ``shared_prefix`` encodes a prompt once for both of its answers. ``length_window`` above 1 puts pairs of like length together,
    within so many batches' worth of shuffled pairs. ``replay`` is the share of an epoch that comes from ``inputs/replay.jsonl``.
    ``dtype`` bfloat16 holds a LoRA run's frozen weights in it, and computes in it when all weights are trained.
    """

    learning_rate: float
    beta: float = 0.1
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 8
    gradient_accumulation: int = 1
    max_length: int | None = None
    lora: Lora | None = field(default_factory=Lora)
    warmup_steps: int = 0
    warmup_share: float = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    loss: Loss = "sigmoid"
    targets: Literal["soft", "hard"] = "hard"
    label_smoothing: float = 0.0
    ld_alpha: float | None = None
    nll_weight: float = 0.0
    weight_decay: float = 0.0
    gradient_checkpointing: bool = False
    minimum_pairs: int = 8
    reference: Literal["stored", "live"] = "stored"
    shared_prefix: bool = False
    length_window: int = 1
    replay: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"

    def problem(self) -> tuple[str, str] | None:
        for name in ("nll_weight", "warmup_steps", "label_smoothing", "weight_decay"):
            if getattr(self, name) < 0:
                return name, "must not be negative"
        wrong = self.silent() or self.watch_problem() or _share(self, "warmup_share", "replay")
        return wrong or _positive(
            self, "learning_rate", "beta", "epochs", "max_steps", "batch_size", "gradient_accumulation", "max_length",
            "minimum_pairs", "length_window",
        )  # fmt: skip

    def silent(self) -> tuple[str, str] | None:
        """A setting that TRL would accept and then ignore, or apply to one side only."""
        if self.targets == "soft" and self.loss != "sigmoid":
            return "targets", f"soft targets would be ignored by the loss {self.loss}; only sigmoid reads them"
        if self.label_smoothing and self.loss not in SMOOTHED:
            instead = "set targets to soft, with each pair's own probability, instead" if self.loss == "sigmoid" else "leave it at 0"
            return "label_smoothing", f"would be ignored by the loss {self.loss}; {instead}"
        if self.label_smoothing >= 0.5:
            return "label_smoothing", "must be below 0.5"
        if self.loss == "exo_pair" and not self.label_smoothing:
            return "label_smoothing", "must be above 0 with the loss exo_pair; its paper takes 0.001"
        if self.ld_alpha is None:
            return None
        if not 0 <= self.ld_alpha <= 1:
            return "ld_alpha", "must be from 0 to 1"
        if self.targets == "soft":
            return "ld_alpha", "is not defined for soft targets"
        if self.reference == "stored":
            return "ld_alpha", "changes the reference's log-probabilities too, and stored ones are whole sums; set reference to live"
        if self.loss in ("ipo", "sigmoid_norm"):
            return "ld_alpha", f"and the loss {self.loss} would correct for length twice"
        return None


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server that speaks the OpenAI protocol, as the operator's settings name it: ``url`` up to and with ``/v1``.

    Only addresses in ``networks`` are connected to, if any are given; ``ca_file`` is a certificate authority of the house's own.
    ``timeout`` is in seconds for one request, of which ``concurrency`` are made at a time, each up to ``tries`` times.
    """

    name: str
    url: str
    model: str
    networks: list[str] = field(default_factory=list)
    ca_file: str | None = None
    concurrency: int = 4
    timeout: float = 300.0
    tries: int = 5

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
        return _positive(self, "concurrency", "timeout", "tries")


@dataclass(frozen=True, kw_only=True)
class Kto(Watched):
    """Kahneman-Tversky optimisation (arXiv 2402.01306) by TRL, on ``inputs/kto.jsonl``; rows {"prompt", "completion", "label"}: single
    answers, wanted or not, so that a pair whose both sides are unacceptable teaches too.

    ``desirable_weight`` and ``undesirable_weight`` weigh the two losses; the paper keeps the ratio of weight times count between 1 and 4/3.
    ``batch_size`` is at least 2: the divergence is estimated from a batch's answers set against each other's prompts.
    """

    learning_rate: float
    beta: float = 0.1
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 8
    gradient_accumulation: int = 1
    max_length: int | None = None
    lora: Lora | None = field(default_factory=Lora)
    loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    warmup_share: float = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.0
    gradient_checkpointing: bool = False
    minimum_pairs: int = 8
    length_window: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"

    def problem(self) -> tuple[str, str] | None:
        if self.weight_decay < 0:
            return "weight_decay", "must not be negative"
        if self.batch_size < 2:
            return "batch_size", "must be at least 2"
        wrong = self.watch_problem() or _share(self, "warmup_share")
        return wrong or _positive(
            self, "learning_rate", "beta", "epochs", "max_steps", "gradient_accumulation", "max_length", "desirable_weight",
            "undesirable_weight", "minimum_pairs", "length_window",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Completions of ``inputs/prompts.jsonl`` ({"id", "messages"}); ``temperature`` 0 is greedy, ``n`` a prompt.

    ``top_k`` 0 and ``top_p`` 1 leave every token in. A batch holds at most ``batch_size`` answers, and at most ``token_budget``
    tokens of prompts and longest answers together; neither changes what is said. A checkpoint of what is answered is made every
    ``checkpoint_seconds``. ``batching`` auto is continuous on a GPU and static elsewhere. With ``endpoint`` a server answers instead of
    the policy; it knows neither ``top_k`` nor ``min_new_tokens``.
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

    def problem(self) -> tuple[str, str] | None:
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
        return _positive(self, "max_new_tokens", "batch_size", "token_budget", "n")


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
        return _positive(self, "max_new_tokens", "batch_size", "bootstrap", "beta")


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A merge made in the attempt's own folder and thrown away, and ``inputs/prompts.jsonl`` ({"id", "messages"}) answered greedily: by the
    models named in ``beside``, in that order, and then by the merge.

    ``recipe`` is a merge's (training.engine.recipes).
    """

    recipe: dict[str, Any]
    beside: list[str]
    max_new_tokens: int = 96
    batch_size: int = 20

    def problem(self) -> tuple[str, str] | None:
        try:
            recipes.parse(self.recipe, "recipe")
        except recipes.BadRecipe as wrong:
            return wrong.problems[0]
        return _positive(self, "max_new_tokens", "batch_size")


Merge = Slerp | Recipe
Params = BuildBase | Pretrain | Pit | Slerp | Recipe | Search | Preview | Sft | Dpo | Kto | Generate | Evaluate
Kind = Literal["build-base", "pretrain", "pit", "merge", "search", "preview", "sft", "dpo", "kto", "generate", "evaluate"]
# Validation questions a toy domain has at least: two attributes of sixteen facts in one wording.
MOST_QUESTIONS = 32

PARAMS: dict[str, type[Any]] = {
    "build-base": BuildBase, "pretrain": Pretrain, "pit": Pit, "search": Search, "preview": Preview, "sft": Sft, "dpo": Dpo, "kto": Kto,
    "generate": Generate, "evaluate": Evaluate,
}  # fmt: skip
KINDS: tuple[str, ...] = ("build-base", "pretrain", "pit", "merge", "search", "preview", "sft", "dpo", "kto", "generate", "evaluate")
MAKES_MODEL = frozenset({"build-base", "pretrain", "pit", "merge", "search", "sft", "dpo", "kto"})
# Kinds that several processes can train together.
PARALLEL = frozenset({"dpo"})
MODELS: dict[str, tuple[frozenset[str], frozenset[str]]] = {  # kind → references needed, references allowed besides
    "build-base": (frozenset(), frozenset()),
    "pretrain": (frozenset({"policy"}), frozenset()),
    "pit": (frozenset({"policy"}), frozenset()),
    "sft": (frozenset({"policy"}), frozenset()),
    "dpo": (frozenset({"policy"}), frozenset()),
    "kto": (frozenset({"policy"}), frozenset()),
    "generate": (frozenset({"policy"}), frozenset()),
    "evaluate": (frozenset({"policy"}), frozenset({"reference"})),
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
    _exact_keys(raw, needed | {"probe", "reference_store", "processes"}, needed, "")
    if raw["schema"] != SCHEMA or isinstance(raw["schema"], bool):
        raise SpecError("schema", f"must be {SCHEMA}")
    if raw["kind"] not in KINDS:
        raise SpecError("kind", f"must be one of {', '.join(KINDS)}")
    kind: Kind = raw["kind"]
    params = parse_params(kind, raw["params"])
    models = _value(dict[str, str], raw["models"], "models")
    _check_models(kind, params, models)
    seed, threads = _value(int, raw["seed"], "seed"), _value(int, raw["threads"], "threads")
    if not 0 <= seed < 2**32:
        raise SpecError("seed", "must be from 0 to 4294967295")
    if threads < 1:
        raise SpecError("threads", "must be above 0")
    store = _value(Union[str, None], raw.get("reference_store"), "reference_store")  # noqa: UP007 - what _value takes apart
    if store is not None and not store.startswith("/"):
        raise SpecError("reference_store", "must be an absolute folder")
    processes = _value(int, raw.get("processes", 1), "processes")
    if processes < 1:
        raise SpecError("processes", "must be above 0")
    if processes > 1 and kind not in PARALLEL:
        raise SpecError("processes", f"must be 1 for {kind}: only {', '.join(sorted(PARALLEL))} trains in several")
    return Spec(
        kind=kind, job=_value(str, raw["job"], "job"), seed=seed, threads=threads, models=models, params=params,
        probe=_value(bool, raw.get("probe", False), "probe"), reference_store=store, processes=processes,
    )  # fmt: skip


def parse_params(kind: str, raw: object) -> Params:
    """The ``params`` of one kind. Raises ``SpecError`` with a field such as ``params.lora.r``."""
    if kind not in KINDS:
        raise SpecError("kind", f"must be one of {', '.join(KINDS)}")
    if not isinstance(raw, dict):
        raise SpecError("params", "must be an object")
    if kind == "merge" and not (raw.get("method") == "slerp" and "t" in raw):
        return recipes.parse(raw)
    params: Params = _value(Slerp if kind == "merge" else PARAMS[kind], raw, "params")
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
        _exact_keys(models, set(params.models()), set(params.models()), "models")
    elif isinstance(params, Preview):
        read = {*recipes.parse(params.recipe).models(), *params.beside}
        _exact_keys(models, read, read, "models")
    elif isinstance(params, Search):
        read = set(recipes.parse(params.recipe).models())
        _exact_keys(models, read, read, "models")
    else:
        needed, optional = (frozenset({"base", "expert"}), frozenset[str]()) if kind == "merge" else MODELS[kind]
        if isinstance(params, Generate) and params.endpoint:
            needed = frozenset()
        _exact_keys(models, set(needed | optional), set(needed), "models")
    for name, folder in models.items():
        if not folder.startswith("/"):
            raise SpecError(f"models.{name}", "must be an absolute folder")


def _exact_keys(raw: Mapping[str, object], known: set[str], needed: set[str], path: str) -> None:
    def at(key: object) -> str:
        return f"{path}.{key}" if path else str(key)

    for key in raw:
        if key not in known:
            raise SpecError(at(key), "is unknown")
    for key in sorted(needed):
        if key not in raw:
            raise SpecError(at(key), "is missing")


def _value(shape: Any, raw: object, path: str) -> Any:
    """``raw`` checked against the annotation ``shape``; whole numbers are welcome where a float is asked."""
    if shape is Any:
        return raw
    origin = get_origin(shape)
    if origin in (Union, types.UnionType):
        return _union(get_args(shape), raw, path)
    if origin is Literal:
        if raw not in get_args(shape) or isinstance(raw, bool):
            raise SpecError(path, f"must be one of {', '.join(map(str, get_args(shape)))}")
        return raw
    if origin is list:
        if not isinstance(raw, list):
            raise SpecError(path, "must be a list")
        return [_value(get_args(shape)[0], item, f"{path}[{index}]") for index, item in enumerate(raw)]
    if origin is dict:
        if not isinstance(raw, dict):
            raise SpecError(path, "must be an object")
        return {str(key): _value(get_args(shape)[1], item, f"{path}.{key}") for key, item in raw.items()}
    if dataclasses.is_dataclass(shape):
        return _dataclass(shape, raw, path)
    return _scalar(shape, raw, path)


def _union(options: tuple[Any, ...], raw: object, path: str) -> Any:
    if raw is None:
        if type(None) in options:
            return None
        raise SpecError(path, "must not be null")
    rest = [option for option in options if option is not type(None)]
    problems = []
    for option in rest:
        try:
            return _value(option, raw, path)
        except SpecError as problem:
            problems.append(problem)
    # The most specific complaint is the one that got furthest into the value.
    raise max(problems, key=lambda problem: len(problem.field))


def _scalar(shape: Any, raw: object, path: str) -> Any:
    if shape is bool:
        if isinstance(raw, bool):
            return raw
        raise SpecError(path, "must be true or false")
    if shape is int:
        if isinstance(raw, int) and not isinstance(raw, bool):
            return raw
        raise SpecError(path, "must be a whole number")
    if shape is float:
        if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
            return float(raw)
        raise SpecError(path, "must be a finite number")
    if shape is str:
        if isinstance(raw, str):
            return raw
        raise SpecError(path, "must be text")
    raise AssertionError(f"no rule for {shape!r}")


def _dataclass(shape: Any, raw: object, path: str) -> Any:
    if not isinstance(raw, dict):
        raise SpecError(path, "must be an object")
    hints = get_type_hints(shape)
    by_key = {entry.metadata.get("key", entry.name): entry for entry in dataclasses.fields(shape)}
    needed = {
        key for key, entry in by_key.items()
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    }  # fmt: skip
    _exact_keys(raw, set(by_key), needed, path)
    made = shape(**{
        by_key[key].name: _value(hints[by_key[key].name], item, f"{path}.{key}") for key, item in raw.items()
    })  # fmt: skip
    if problem := made.problem():
        raise SpecError(f"{path}.{problem[0]}", problem[1])
    return made


def _positive(params: Any, *names: str) -> tuple[str, str] | None:
    for name in names:
        value = getattr(params, name)
        if value is not None and value <= 0:
            return name, "must be above 0"
    return None


def _steps_or_epochs(params: Any, *, endless: bool) -> tuple[str, str] | None:
    if (params.steps is None) == (params.epochs is None):
        return "steps", "give steps or epochs, and not both"
    if endless and params.steps is None:
        return "steps", "is needed with a generated corpus, which has no end"
    return None


def _share(params: Any, *names: str) -> tuple[str, str] | None:
    for name in names:
        if not 0 <= getattr(params, name) < 1:
            return name, "must be from 0 up to, not including, 1"
    return None
