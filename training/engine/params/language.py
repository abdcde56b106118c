"""What next-token training can be told: a fresh base, plain language modelling, pre-instruction tuning, SFT. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.engine.params.limits import positive, share, steps_or_epochs

Domain = Literal["pubmed", "clinical", "medcode", "guideline", "medwiki"]


@dataclass(frozen=True, kw_only=True)
class Lora:
    r: int = 16
    alpha: int = 32
    dropout: float = 0.0

    def problem(self) -> tuple[str, str] | None:
        return positive(self, "r", "alpha") or share(self, "dropout")


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
        return positive(
            self, "gradient_accumulation", "evaluate_steps", "checkpoint_steps", "checkpoint_seconds"
        ) or share(self, "floor")  # fmt: skip


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
        return self.loop_problem() or positive(
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
            steps_or_epochs(self, endless=self.corpus is not None)
            or self.loop_problem()
            or positive(self, "steps", "epochs", "learning_rate", "batch_size", "block")
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
            steps_or_epochs(self, endless=self.domain is not None)
            or self.loop_problem()
            or positive(self, "steps", "epochs", "learning_rate", "phase_one_learning_rate", "batch_size", "max_length")
            or share(self, "replay", "phase_one")
        )


@dataclass(frozen=True, kw_only=True)
class Sft(Loop):
    """Supervised fine-tuning on ``inputs/train.jsonl`` ({"prompt", "completion"}: message lists), or on the toy samples
    with ``corpus``; loss on the completion only. Give ``steps`` or ``epochs``, not both.

    A row above ``max_length`` (null: the model's context) is an error, never a cut. ``packing`` puts whole rows side by side up to
    that length, and none sees another. ``replay`` is the share of sequences drawn from what the toy family learnt before, ``shapes`` of
    the other toy rows the share that are instructions of the twelve shapes of CLUE+ (training.engine.toyshapes) and no samples.
    """

    learning_rate: float
    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 8
    packing: bool = False
    replay: float = 0.0
    corpus: Literal["toy"] | None = None
    shapes: float = 0.0
    max_length: int | None = None
    freeze_embeddings: bool = True

    def problem(self) -> tuple[str, str] | None:
        if self.packing and (self.replay or self.corpus):
            return "packing", "needs rows of a known length: neither replay nor a generated corpus"
        if self.shapes and not self.corpus:
            return "shapes", "are of the toy corpus alone"
        return (
            steps_or_epochs(self, endless=self.corpus is not None)
            or self.loop_problem()
            or positive(self, "learning_rate", "batch_size", "steps", "epochs", "max_length")
            or share(self, "replay", "shapes")
        )
