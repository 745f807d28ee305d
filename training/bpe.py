"""Trains the byte-level BPE that ``nano`` and ``nano-draft`` share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from .config import SEPARATOR, VOCAB_SIZE

# The Qwen2 pattern, so that GGUF readers may treat the vocabulary as `pre = qwen2`.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Byte-level BPE of ``VOCAB_SIZE`` entries; id 0 is the document separator."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != VOCAB_SIZE:
        raise ValueError(f"text too small: {tokenizer.get_vocab_size()} of {VOCAB_SIZE} entries")
    return tokenizer


def separator_id(tokenizer: Tokenizer) -> int:
    """Id of the document separator; ``ValueError`` for a vocabulary that has none."""
    found: int | None = tokenizer.token_to_id(SEPARATOR)
    if found is None:
        raise ValueError(f"the tokenizer has no {SEPARATOR}; train it with training.prepare")
    return found


def save_for_transformers(tokenizer: Tokenizer, folder: Path, context_length: int) -> None:
    """Writes ``tokenizer.json`` and its configuration as a transformers fast tokenizer."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SEPARATOR,
        eos_token=SEPARATOR,
        pad_token=SEPARATOR,
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
    # Fast tokenizers do not save this key, and readers of GGUF would be left to their defaults.
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text()) | {"add_bos_token": False}
    path.write_text(json.dumps(content, indent=2) + "\n")
