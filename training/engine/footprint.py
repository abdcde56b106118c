"""What a run will need before it is started: parameters, memory, disk and steps, from ``config.json`` alone. Standard library only.

Notation of the formulas: N parameters, L layers, h hidden size, I intermediate size, q and k the widths of all query and of all key
heads, V vocabulary, r the adapter's rank, a bytes a number of the weights (4 in float32, 2 in bfloat16), S sequences a batch, T tokens of
the longest, n = S·T positions alive at once.

- weights a·N; a live copy of the reference the same again, a stored or an adapter's reference nothing
- what is trained is float32: an adapter's own 4 bytes a parameter, gradients 4, AdamW's two moments 8. So full training in float32
  takes 16·N before any activation
- activations: what autograd keeps of a layer, see ``_layer_bytes``. No T² term, because attention is PyTorch's fused kind. With gradient
  checkpointing a layer keeps its input alone (a·h a position), and one layer at a time is computed again. Besides, the backward pass
  holds a layer's worth for a moment (assumed; on a CPU four, measured)
- logits: three float32 copies (values, probabilities, gradient) of V numbers for every position with a label
- the process itself (Python, the libraries, the rows), or on a GPU its context, assumed; and a tenth of the activations for what
  allocators waste (assumed)

Compute: 2·N flops a position forwards, 4·N backwards (2·N where the weights are frozen), 2·N for a checkpointed layer's second forward,
2·N for a live reference; attention's T² part is left out (Kaplan et al., arXiv 2001.08361, 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

KNOWN = ("phi3", "llama", "qwen2", "mistral")
# Resident memory of a child besides its model: Python, torch, transformers, TRL, datasets. With a model of a megabyte it took 0.5 GB
# here; the rest is room for rows.
PROCESS_BYTES = 800 * 2**20
CUDA_CONTEXT_BYTES = 700 * 2**20
# Layers' worth of activations besides those kept: what a backward pass holds for a moment and, on a CPU, what glibc does not give back.
# Measured there: a run of one layer of Phi-3.5's width took 5.1 GB with 633 tokens a sequence and 6.6 GB with 933; these give 5.2 and 6.8.
BESIDES = {"cpu": 4, "cuda": 1}
WASTE = 0.1
# Checkpoints that lie side by side while a new one is written: the two kept, and the one being written.
CHECKPOINTS = 3
Device = Literal["cpu", "cuda"]


class Unknown(Exception):
    """The configuration is of an architecture whose shapes are not known here, or lacks a field."""


@dataclass(frozen=True)
class Shape:
    """The sizes of one decoder, as its configuration gives them."""

    kind: str
    layers: int
    hidden: int
    intermediate: int
    query: int
    key: int
    heads: int
    vocabulary: int
    tied: bool
    attention_bias: tuple[bool, bool]  # of the query, key and value projections; of the output projection
    mlp_bias: bool

    def linears(self) -> list[tuple[int, int]]:
        """(in, out) of every linear map of one layer, as the architecture fuses them."""
        if self.kind == "phi3":
            inner = [(self.hidden, self.query + 2 * self.key), (self.query, self.hidden), (self.hidden, 2 * self.intermediate)]
        else:
            inner = [(self.hidden, self.query), (self.hidden, self.key), (self.hidden, self.key), (self.query, self.hidden)]
            inner += 2 * [(self.hidden, self.intermediate)]
        return [*inner, (self.intermediate, self.hidden)]

    def parameters(self) -> int:
        """All of them, exactly: embedding, layers with their two norms, last norm, output layer."""
        biases = (self.query + 2 * self.key) * self.attention_bias[0] + self.hidden * self.attention_bias[1]
        biases += (2 * self.intermediate + self.hidden) * self.mlp_bias
        layer = sum(wide * high for wide, high in self.linears()) + biases + 2 * self.hidden
        return (1 if self.tied else 2) * self.vocabulary * self.hidden + self.layers * layer + self.hidden

    def adapter(self, rank: int) -> int:
        """Parameters of a LoRA adapter on every linear map of every layer: r·(in + out) each."""
        return self.layers * sum(rank * (wide + high) for wide, high in self.linears())


def shape(config: Mapping[str, Any]) -> Shape:
    """The shape a ``config.json`` describes. Raises ``Unknown``, naming the architecture or the field."""
    kind = config.get("model_type")
    if kind not in KNOWN:
        raise Unknown(f"model_type {str(kind)[:40]!r} is none of {', '.join(KNOWN)}")

    def size(name: str, usual: int | None = None) -> int:
        value = config.get(name)
        value = usual if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise Unknown(f"{name} is {'missing' if value is None else 'no positive whole number'}")
        return value

    heads, hidden = size("num_attention_heads"), size("hidden_size")
    head = size("head_dim", hidden // heads)
    # transformers' own defaults where a configuration says nothing; Qwen2 has its biases in code.
    said = bool(config.get("attention_bias", False))
    bias = {"phi3": (False, False), "qwen2": (True, False), "llama": (said, said), "mistral": (False, False)}[kind]
    return Shape(
        kind=kind, layers=size("num_hidden_layers"), hidden=hidden, intermediate=size("intermediate_size"), query=heads * head,
        key=size("num_key_value_heads", heads) * head, heads=heads, vocabulary=size("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", False)), attention_bias=bias,
        mlp_bias=kind == "llama" and bool(config.get("mlp_bias", False)),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What matters of a run. ``sequences`` is S, those of a batch (a pair counts twice); ``tokens`` is T, prompt included.

    ``dtype`` bfloat16 holds frozen weights in it; trained ones stay float32 (an AdamW step at these learning rates is smaller than the
    distance between two bfloat16 numbers) and are computed with in it.
    ``shared_prefix`` encodes a pair's prompt once: n = batch pairs · (P + 2·(T − P)) in place of 2·T each.
    """

    sequences: int
    tokens: int
    prompt: int = 0
    lora_r: int | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    reference: Literal["none", "stored", "live"] = "none"
    shared_prefix: bool = False
    device: Device = "cpu"
    processes: int = 1

    @property
    def held(self) -> Literal["float32", "bfloat16"]:
        """In what the weights are held."""
        return self.dtype if self.lora_r else "float32"

    @property
    def positions(self) -> int:
        """n: token positions in one forward pass."""
        if self.shared_prefix:
            return self.sequences // 2 * (self.prompt + 2 * (self.tokens - self.prompt))
        return self.sequences * self.tokens

    @property
    def labelled(self) -> int:
        return self.sequences * (self.tokens - self.prompt)


@dataclass(frozen=True)
class Part:
    """One line of the sum: what, how many bytes, and by which formula."""

    name: str
    bytes: int
    formula: str


@dataclass(frozen=True)
class Footprint:
    """``parts`` add up to ``memory``: bytes a process needs where it trains (RAM, or one GPU's own memory).

    ``host`` is RAM for the end of a run, ``checkpoint`` and ``output`` are bytes on the disk; ``dtype`` is that of the weights.
    """

    parameters: int
    trained: int
    dtype: str
    parts: tuple[Part, ...]
    host: int
    checkpoint: int
    output: int
    plan: Plan = field(repr=False)

    @property
    def memory(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def ram(self) -> int:
        """Bytes of RAM the host needs: all processes train in it, or only one puts the finished model together in it."""
        if self.plan.device == "cuda":
            return self.host
        return max(self.memory, self.host) + (self.plan.processes - 1) * self.memory

    @property
    def disk(self) -> int:
        """Bytes on the disk at the worst moment: checkpoints side by side, the adapter, and the finished model."""
        adapter = 4 * self.trained if self.plan.lora_r else 0
        return CHECKPOINTS * self.checkpoint + adapter + self.output


def of(config: Mapping[str, Any], plan: Plan) -> Footprint:
    """The footprint of a run. Raises ``Unknown`` for an architecture that is not known here."""
    found = shape(config)
    total = found.parameters()
    trained = found.adapter(plan.lora_r) if plan.lora_r else total
    wide = 2 if plan.held == "bfloat16" else 4
    parts = [Part("weights", wide * total, f"{wide} B × {_count(total)}")]
    if plan.lora_r:
        parts.append(Part("adapter", 4 * trained, f"4 B × {_count(trained)}"))
    parts += [
        Part("gradients", 4 * trained, f"4 B × {_count(trained)}"),
        Part("optimizer", 8 * trained, f"8 B × {_count(trained)}"),
    ]
    if plan.dtype != plan.held:
        # What is computed in bfloat16 needs a copy of the weights in it, which the backward pass keeps.
        parts.append(Part("weights in bfloat16", 2 * total, f"2 B × {_count(total)}"))
    # An adapter that is switched off is its own reference.
    if plan.reference == "live" and not plan.lora_r:
        parts.append(Part("reference", wide * total, f"{wide} B × {_count(total)}"))
    n, layer = plan.positions, _layer_bytes(found, lora_r=plan.lora_r, dtype=plan.dtype)
    besides = BESIDES[plan.device]
    if plan.gradient_checkpointing:
        kept = n * (found.layers * wide * found.hidden + besides * layer)
        how = f"{_count(n)} positions × ({found.layers} layers × {wide * found.hidden} B + {besides} × {_count(layer)}B)"
    else:
        kept = n * (found.layers + besides) * layer
        how = f"{_count(n)} positions × ({found.layers} + {besides}) layers × {_count(layer)}B"
    parts.append(Part("activations", kept, how))
    parts.append(Part("logits", 12 * plan.labelled * found.vocabulary, f"12 B × {_count(plan.labelled)} labels × {found.vocabulary}"))
    fixed = CUDA_CONTEXT_BYTES if plan.device == "cuda" else PROCESS_BYTES
    parts.append(Part("process and waste", fixed + int(WASTE * kept), f"{_count(fixed)}B + {WASTE:g} × activations"))
    # The finished model is put together in float32 on the host while the trained one is still there.
    whole = 4 * total
    return Footprint(
        parameters=total, trained=trained, dtype=plan.held, parts=tuple(parts), host=PROCESS_BYTES + whole + (wide * total),
        checkpoint=12 * trained, output=4 * (total + found.tied * found.vocabulary * found.hidden), plan=plan,
    )  # fmt: skip


def _layer_bytes(found: Shape, *, lora_r: int | None, dtype: str) -> int:
    """Bytes a position that autograd keeps of one layer.

    Each norm keeps its input in float32 (2h), and its normalised value where its weight is trained (2h). The linear maps keep their
    inputs: 2h + q + I where their weights are trained; with an adapter its own float32 copies, one a linear map, and the r numbers
    between. Attention keeps queries, keys, values (q + 2k) and its result, one float32 sum a head; the feed-forward layer keeps gate and
    value and the activated gate (3I). Read from what transformers 5.23's models save, and equal to it (tests/engine/test_footprint.py).
    """
    h, i, q, k = found.hidden, found.intermediate, found.query, found.key
    narrow = 2 if dtype == "bfloat16" else 4
    wide = [wide for wide, _ in found.linears()]
    # In float32 the maps of one input share it; to bfloat16, or back for an adapter, it is copied for each.
    shared = 2 * h + q + i if narrow == 4 else sum(wide)
    if lora_r is None:
        # Trained weights are float32, and so is what flows between the layers, whatever is computed in bfloat16.
        inputs, normalised = narrow * shared, 4 * 2 * h
    else:
        inputs, normalised = 4 * (shared + lora_r * len(wide)), 0
    # Attention's result is the output map's input, where no copy of it is made. Phi-3 always makes one.
    result = narrow * q if found.kind == "phi3" or (lora_r and narrow == 2) else 0
    return 4 * 2 * h + normalised + inputs + narrow * (q + 2 * k + 3 * i) + result + 4 * found.heads + 8


def steps(*, rows: int, batch_size: int, accumulation: int = 1, epochs: float = 1.0, processes: int = 1, most: int | None = None) -> int:
    """Optimizer steps of a run, counted as the trainer does: a last, smaller batch is one too."""
    batches = math.ceil(math.ceil(rows / processes) / batch_size)
    planned = math.ceil(epochs * math.ceil(batches / accumulation))
    return planned if most is None else most


def flops(footprint: Footprint, positions: int) -> float:
    """Floating-point operations to train on so many positions, without attention's T² part."""
    plan = footprint.plan
    factor = 4 if plan.lora_r else 6
    factor += 2 if plan.gradient_checkpointing else 0
    factor += 2 if plan.reference == "live" else 0
    return float(factor) * footprint.parameters * positions


def of_params(
    config: Mapping[str, Any], params: Any, *, tokens: int, prompt: int = 0, device: Device = "cpu", processes: int = 1
) -> Footprint:
    """The footprint of a run with a kind's ``params`` (``training/engine/spec.py``), the longest row having ``tokens`` tokens, ``prompt``
    of them its prompt. A preference row counts as two sequences. What a kind has no word for has its plain meaning."""
    lora = getattr(params, "lora", None)
    pairs = hasattr(params, "beta")
    return of(
        config,
        Plan(
            sequences=(2 if pairs else 1) * int(params.batch_size), tokens=tokens, prompt=prompt, lora_r=lora.r if lora else None,
            gradient_checkpointing=bool(getattr(params, "gradient_checkpointing", False)),
            reference=getattr(params, "reference", "live" if pairs else "none"), dtype=getattr(params, "dtype", "float32"),
            shared_prefix=bool(getattr(params, "shared_prefix", False)), device=device, processes=processes,
        ),
    )  # fmt: skip


def _count(number: float) -> str:
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g} "
