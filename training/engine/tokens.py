"""Tokenizers and chat layouts. Text from people or models is data: a control token written in it stays plain text."""

# ruff: noqa: S106, S311 (seeded draws are wanted, and nothing here is secret)

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from training.engine import documents, toycorpus, toysamples, toyshapes, toytext
from training.engine.errors import BadModel
from training.engine.toytext import Message

SPECIAL = ("<unk>", "<s>", "</s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def build(vocabulary: int, seed: int) -> PreTrainedTokenizerFast:
    """One for the toy world: a vocabulary of its words."""
    return made_of(vocabulary, _toy_words(seed), longest=512)


def made_of(vocabulary: int, texts: Iterable[str], *, longest: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the words of ``texts``, digits single, so that any text whatever can be written in it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )  # fmt: skip
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="<|end|>", pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[4:7]), padding_side="left", clean_up_tokenization_spaces=False,
        model_max_length=longest,
    )  # fmt: skip
    made.chat_template = TEMPLATE
    return made


def words_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What documents and their outputs are written in: texts that no control token's name can enter from."""
    for row in rows:
        for text in (row["text"], *(part for task in row["outputs"] for part in documents.elements(row["outputs"], task))):
            yield text.replace("<|", " ").replace("|>", " ")


def _toy_words(seed: int) -> list[str]:
    """Words of every toy domain, from documents, questions and samples; which words exist is not a fact to learn."""
    rng = random.Random(f"tokenizer {seed}")
    texts = []
    for domain in toytext.DOMAINS:
        for item in toytext.documents(domain, 400, seed, "all"):
            texts += [item["text"], item["summary"], *(f"{text} {answer}" for text, answer in item["qa"])]
    for row in toysamples.samples(1000, seed):
        texts += [row["instruction"], row["input"], row["output"]]
    asked = itertools.chain.from_iterable(itertools.islice(toyshapes.rows(seed, "all"), 1000))
    texts += [turn["content"] for turn in asked]
    return texts + [toycorpus.base_text(rng).replace("<|", " ").replace("|>", " ") for _ in range(1000)]


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder. Raises ``BadModel`` without one, without a chat template, or without an end."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as problem:
        raise BadModel(f"no tokenizer can be loaded from the model folder ({type(problem).__name__})") from None
    if not tokenizer.chat_template:
        raise BadModel("the tokenizer has no chat template")
    if tokenizer.eos_token_id is None:
        raise BadModel("the tokenizer has no end token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode_chat(tokenizer: Any, messages: Sequence[Message], *, generation_prompt: bool = False) -> list[int]:
    """Token ids of a conversation through the model's own template.

    Usual content takes the tokenizer's own path, as every other tool does. Content with a control token written in it
    is cut out: the layout is tokenised around placeholders, and the content by itself as plain text.
    """
    hostile = any(_controls(tokenizer, message["content"]) for message in messages)
    if not hostile:
        ids = tokenizer.apply_chat_template(list(messages), tokenize=True, add_generation_prompt=generation_prompt, return_dict=False)
        return list(ids)
    marks = [f"\ue000{index}\ue001" for index in range(len(messages))]
    held = [{"role": message["role"], "content": mark} for message, mark in zip(messages, marks, strict=True)]
    layout = tokenizer.apply_chat_template(held, tokenize=False, add_generation_prompt=generation_prompt)
    ids = []
    for message, mark in zip(messages, marks, strict=True):
        before, found, layout = layout.partition(mark)
        if not found:
            raise BadModel("the chat template changes what a message says")
        ids += encode_markup(tokenizer, before) + encode_plain(tokenizer, message["content"])
    return ids + encode_markup(tokenizer, layout)


def encode_plain(tokenizer: Any, text: str) -> list[int]:
    """Text as data: ``<|end|>`` written in it is six characters, not the end of a turn."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def encode_markup(tokenizer: Any, text: str) -> list[int]:
    """Text of our own making, where control tokens mean what they say."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def controls(tokenizer: Any) -> list[str]:
    """Every control token as it is written."""
    added = [one.content for one in tokenizer.added_tokens_decoder.values() if one.special]
    return sorted({*tokenizer.all_special_tokens, *added})


def _controls(tokenizer: Any, text: str) -> bool:
    return any(token in text for token in controls(tokenizer))


def split_completion(tokenizer: Any, prompt: Sequence[Message], completion: Sequence[Message]) -> tuple[list[int], list[int]]:
    """(prompt ids, completion ids), whose join is the whole conversation as the template lays it out.

    The cut is where prompt and conversation part: a template may render the prompt alone a little differently.
    """
    start = encode_chat(tokenizer, prompt, generation_prompt=True)
    whole = encode_chat(tokenizer, [*prompt, *completion])
    shared = next((i for i, (a, b) in enumerate(zip(start, whole, strict=False)) if a != b), min(len(start), len(whole)))
    return whole[:shared], whole[shared:]


def stop_ids(tokenizer: Any) -> list[int]:
    """What ends an answer: the tokenizer's end, and Phi's end of turn where there is one."""
    ids = {tokenizer.eos_token_id}
    turn = tokenizer.convert_tokens_to_ids("<|end|>")
    if turn is not None and turn != tokenizer.unk_token_id:
        ids.add(turn)
    return sorted(ids)
