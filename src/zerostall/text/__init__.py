"""Text: tokenizers, incremental detokenizing, chat templates."""

from zerostall.text.detokenizer import Detokenizer
from zerostall.text.tokenizer import Tokenizer

__all__ = ["Detokenizer", "Tokenizer"]
