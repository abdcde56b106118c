"""Tiny random models of several architectures, as folders that save_pretrained wrote, each with a tokenizer and template of its own."""

from pathlib import Path
from typing import Any

LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SIZE: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 256, "initializer_range": 0.2,
}  # fmt: skip
SPECIAL = {
    "llama": ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "qwen2": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "phi3": ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
}
ENDS = {"llama": "<|eot_id|>", "qwen2": "<|im_end|>", "phi3": "<|end|>"}
TEMPLATES = {"llama": LLAMA_TEMPLATE, "qwen2": QWEN_TEMPLATE}


def tokenizer_of(kind: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from training.engine import toytext
    from training.engine.tokens import TEMPLATE

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=list(SPECIAL[kind]), show_progress=False, initial_alphabet=alphabet)
    made.train_from_iterator([item["text"] for item in toytext.documents("guideline", 200, 0, "all")], trainer)
    bos = SPECIAL[kind][0] if kind != "qwen2" else None
    pad = "<|endoftext|>" if kind != "llama" else None
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=bos, eos_token=ENDS[kind], pad_token=pad, model_max_length=256)
    tokenizer.chat_template = TEMPLATES.get(kind, TEMPLATE)
    return tokenizer


def model_of(kind: str, tokenizer: Any, seed: int = 0, **changes: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    # Qwen's small models tie their embeddings; Llama's do not.
    ties = kind == "qwen2"
    more = {"original_max_position_embeddings": 256} if kind == "phi3" else {}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), tie_word_embeddings=ties, **SIZE, **more, **ids, **changes)
    return AutoModelForCausalLM.from_config(config)


def folder_of(path: Path, kind: str, seed: int = 0) -> Path:
    tokenizer = tokenizer_of(kind)
    model = model_of(kind, tokenizer, seed)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
