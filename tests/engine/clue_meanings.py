"""A tiny encoder with random weights, and a few rows in the shape of UMLS's MRCONSO.RRF; every word is made up here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

WORDS = "the patient has sepsis anaemia fever cough of heart attack infection an".split()  # noqa: SIM905


def encoder(folder: Path, *, seed: int = 0, layers: int = 3) -> Path:
    """BERT of so many layers, 16 wide, with a word for a piece and at most 12 pieces."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = Tokenizer(models.WordPiece({word: number for number, word in enumerate(marks + WORDS)}, unk_token="[UNK]"))
    pieces.normalizer, pieces.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    torch.manual_seed(seed)
    model = BertModel(
        BertConfig(
            vocab_size=len(marks) + len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=16, initializer_range=0.5,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=12
    ).save_pretrained(folder)
    return folder


def umls(path: Path, rows: Iterable[tuple[str, str] | tuple[str, str, str, str]]) -> Path:
    """(concept, term), or (concept, term, language, suppressed)."""
    lines = []
    for number, (cui, term, *how) in enumerate(rows):
        language, suppressed = how or ("ENG", "N")
        lines.append(f"{cui}|{language}|P|L{number}|PF|S{number}|Y|A{number}||||SRC|PT|{number}|{term}|0|{suppressed}||\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path
