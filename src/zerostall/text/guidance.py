"""A tokenizer in llguidance's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zerostall.errors import InvalidRequestError

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from zerostall.text.tokenizer import Tokenizer


def describe(tokenizer: Tokenizer) -> LLTokenizer:
    """The bytes of each token, the tokens that end a text, and how text is cut into tokens.

    Control tokens are special: no text matches them, but a Lark grammar can name them.

    Raises:
        InvalidRequestError: no token ends a text.
    """
    from llguidance import LLTokenizer, TokenizerWrapper

    ends = sorted(tokenizer.eog_ids)
    if not ends:
        raise InvalidRequestError(
            "the model's vocabulary has no token that ends a text, so nothing can be held to a "
            "grammar"
        )
    return LLTokenizer(TokenizerWrapper(_Described(tokenizer, ends[0])), eos_token=ends)


class _Described:
    """What llguidance asks of a tokenizer; the names are its."""

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        self._tokenizer = tokenizer
        ids = range(tokenizer.vocab_size)
        plain = [tokenizer.token_bytes(id) for id in ids]
        self.eos_token_id = end
        self.bos_token_id = tokenizer.bos_id
        self.tokens = [tokenizer.token_bytes(id, show_special=True) for id in ids]
        self.special_token_ids = [id for id in ids if self.tokens[id] and not plain[id]]
        self._plain = {data: id for id, data in enumerate(plain) if data}
        self._longest = max(map(len, self._plain), default=0)

    def __call__(self, text: bytes) -> list[int]:
        """The tokens of bytes in the middle of a text, for what a grammar forces next.

        They have to spell exactly these bytes. Where encoding puts a space in front of a text,
        it is taken off behind a newline, with which nothing is merged.
        """
        before = "\n" if self._tokenizer.add_space_prefix else ""
        whole = before + text.decode("utf-8", "replace")
        ids = self._tokenizer.encode(whole, add_special=False)
        spelt = b"".join(self.tokens[id] for id in ids)
        while ids and len(spelt) > len(text):
            spelt = spelt[len(self.tokens[ids[0]]) :]
            ids = ids[1:]
        return ids if spelt == text else self._greedy(text)

    def _greedy(self, text: bytes) -> list[int]:
        """The longest token each time: for bytes that are no text, or merged with the newline."""
        ids = []
        while text:
            for length in range(min(self._longest, len(text)), 0, -1):
                id = self._plain.get(text[:length])
                if id is not None:
                    ids.append(id)
                    text = text[length:]
                    break
            else:
                return ids  # a byte that the vocabulary does not have
        return ids
