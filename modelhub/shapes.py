"""Whether the tensors of a model folder are those its configuration promises: names and sizes, from headers alone. Standard library only.

A configuration that lies about sizes makes a loader allocate what it says, and a tensor too few leaves random weights in a model.
"""

import re
from collections.abc import Mapping
from typing import Any

from modelhub.refusals import Refused

Shapes = Mapping[str, tuple[int, ...]]
Sizes = dict[str, int]
# Far above every model there is; a configuration beyond it only wants memory.
LARGEST = 10**8
COUNTS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "n_embd", "n_layer", "n_head", "n_inner", "n_positions", "max_position_embeddings", "num_experts", "num_local_experts",
)  # fmt: skip
LAYER = re.compile(r"\.layers\.(\d+)\.")


def check(config: Mapping[str, Any], shapes: Shapes) -> None:
    """Raises Refused, naming the first tensor that is missing, unknown or of another size, with both sizes.

    Phi-3 is checked whole; of other types only what they all share: the embeddings and the output layer.
    """
    sizes = _sizes(config)
    if config.get("model_type") == "phi3" and {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"} <= sizes.keys():
        _phi3(config, sizes, shapes)
        return
    wide, words = sizes.get("hidden_size", sizes.get("n_embd")), sizes.get("vocab_size")
    for name, shape in sorted(shapes.items()):
        if wide and words and name.endswith(("embed_tokens.weight", "wte.weight", "lm_head.weight")):
            _same(name, shape, (words, wide))
    if layers := sizes.get("num_hidden_layers"):
        _layers(layers, shapes)


def _sizes(config: Mapping[str, Any]) -> Sizes:
    found = {}
    for key in COUNTS:
        value = config.get(key)
        if value is None:
            continue
        if type(value) is not int or not 0 < value <= LARGEST:
            raise Refused(
                "model.bad_config", "config.json", f"says {key} is {str(value)[:20]}; it must be a whole number from 1 to {LARGEST}."
            )
        found[key] = value
    return found


def _phi3(config: Mapping[str, Any], sizes: Sizes, shapes: Shapes) -> None:
    """Every tensor of `Phi3ForCausalLM`, as transformers builds it (fused qkv and gate-up projections, no biases)."""
    wide, inner, words, heads = sizes["hidden_size"], sizes["intermediate_size"], sizes["vocab_size"], sizes.get("num_attention_heads", 32)
    if wide % heads and "head_dim" not in sizes:
        raise Refused("model.bad_config", "config.json", f"divides a hidden size of {wide} among {heads} heads.")
    head, pairs = sizes.get("head_dim", wide // heads), sizes.get("num_key_value_heads", heads)
    _layers(sizes["num_hidden_layers"], shapes)
    layer = {
        "input_layernorm": (wide,), "post_attention_layernorm": (wide,), "self_attn.qkv_proj": ((heads + 2 * pairs) * head, wide),
        "self_attn.o_proj": (wide, heads * head), "mlp.gate_up_proj": (2 * inner, wide), "mlp.down_proj": (wide, inner),
    }  # fmt: skip
    wanted: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, wide), "model.norm.weight": (wide,)}
    for number in range(sizes["num_hidden_layers"]):
        wanted |= {f"model.layers.{number}.{part}.weight": shape for part, shape in layer.items()}
    output = "lm_head.weight"
    if not config.get("tie_word_embeddings") or output in shapes:
        wanted[output] = (words, wide)
    for name, shape in wanted.items():
        if name not in shapes:
            raise Refused(
                "model.missing_tensor", "", f"The weights hold no tensor {name}, which the configuration promises. Fetch all files again."
            )
        _same(name, shapes[name], shape)
    # Older exports keep the rotary frequencies, which are computed anew.
    for name in sorted(shapes):
        if name not in wanted and not name.endswith("rotary_emb.inv_freq"):
            raise Refused("model.unknown_tensor", "", f"The weights hold a tensor {name[:100]}, of which Phi-3 knows nothing.")


def _layers(count: int, shapes: Shapes) -> None:
    """Before anything is built for each of them: their number by the weights."""
    numbers = {int(found[1]) for name in shapes if (found := LAYER.search(name))}
    if numbers and max(numbers) + 1 != count:
        raise Refused("model.shape_mismatch", "config.json", f"says there are {count} layers; the weights have {max(numbers) + 1}.")
    if not numbers and count > 10_000:
        raise Refused("model.shape_mismatch", "config.json", f"says there are {count} layers; the weights have none.")


def _same(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise Refused(
            "model.shape_mismatch",
            "config.json",
            f"promises {_of(wanted)} for tensor {name[:100]}; the weights have {_of(found)}. One of them lies.",
        )


def _of(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "one number"
