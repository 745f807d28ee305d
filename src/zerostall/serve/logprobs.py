"""Logprobs as each API has them, and which tokens the text of an answer is made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zerostall.engine.completion import Chunk, TokenLogprob

if TYPE_CHECKING:
    from zerostall.llm import LLM


class Pending:
    """Tokens that came, until it is known what part of an answer they are.

    Of the text between two parts of the content (space that is dropped, tags, what a stop string
    cuts) nobody sees the tokens.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        # Each with the length of its text; None is the rest of one that was taken.
        self._entries: deque[tuple[TokenLogprob | None, int]] = deque()
        self._text = b""  # of those, from the end of the last content on

    def note(self, entries: Sequence[TokenLogprob]) -> None:
        """Take in the tokens of a chunk."""
        for entry in entries:
            data = self._llm.tokenizer.token_bytes(entry.token_id, show_special=True)
            self._entries.append((entry, len(data)))
            self._text += data

    def clear(self) -> None:
        """They were no content."""
        self._entries.clear()
        self._text = b""

    def take(self, text: str) -> list[TokenLogprob]:
        """The tokens that this content is made of; those before it were none.

        One that also begins the next content is with the first.
        """
        data = text.encode("utf-8", "replace")
        begin = self._text.find(data)
        if begin < 0:  # a character that is not whole is shown as another one
            taken = [entry for entry, _ in self._entries if entry is not None]
            self.clear()
            return taken
        end, at, taken = begin + len(data), 0, []
        while at < end:
            entry, length = self._entries.popleft()
            at += length
            if at > begin and entry is not None:
                taken.append(entry)
        self._text = self._text[end:]
        if at > end:
            self._entries.appendleft((None, at - end))
        return taken


def shown_logprobs(llm: LLM, chunk: Chunk) -> list[TokenLogprob]:
    """Those of the tokens that a caller sees: not of the one that ends the text."""
    ends = llm.loaded.tokenizer.eog_ids if llm.loaded.tokenizer is not None else frozenset()
    return [entry for entry in chunk.logprobs or [] if entry.token_id not in ends]


def chat_logprobs(llm: LLM, entries: Sequence[TokenLogprob]) -> dict[str, Any]:
    """In the form of chats."""
    return {"content": text_logprobs(llm, entries), "refusal": None}


def text_logprobs(llm: LLM, entries: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """Of each token, in the form that chats and responses have."""
    return [
        _chat_token(llm, entry.token_id, entry.logprob)
        | {"top_logprobs": [_chat_token(llm, *other) for other in entry.top]}
        for entry in entries
    ]


def _chat_token(llm: LLM, token: int, logprob: float) -> dict[str, Any]:
    data = llm.tokenizer.token_bytes(token, show_special=True)
    return {"token": data.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(data)}


class TextLogprobs:
    """In the form of completions; offsets go on from one call to the next.

    They count characters of the text as it is shown: a hidden token has none. A token that begins
    inside a character has its offset.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._offset = 0

    def of_prompt(
        self, text: str, tokens: Sequence[int], scores: Sequence[TokenLogprob | None]
    ) -> dict[str, Any]:
        """Of a prompt echoed as this text, whose first token has none."""
        record = self._empty()
        data, place = text.encode("utf-8", "replace"), 0
        for token, score in zip(tokens, scores, strict=True):
            shown = self._shown(token, data, place)
            self._append(record, token, score, shown)
            place += len(shown)
        return record

    def _shown(self, token: int, text: bytes, place: int) -> bytes:
        """What of a text that is shown is the token's whose turn is at that place."""
        spelt = self._llm.tokenizer.token_bytes(token, show_special=True)
        # Encoding may have put a space in front, or a token that the text does not have.
        for shown in (spelt, spelt.removeprefix(b" ")):
            if text.startswith(shown, place):
                return shown
        return self._llm.tokenizer.token_bytes(token)

    def of(self, entries: Sequence[TokenLogprob]) -> dict[str, Any]:
        """Of generated tokens."""
        record = self._empty()
        for entry in entries:
            shown = self._llm.tokenizer.token_bytes(entry.token_id)
            self._append(record, entry.token_id, entry, shown)
        return record

    def _append(
        self, record: dict[str, Any], token: int, score: TokenLogprob | None, shown: bytes
    ) -> None:
        text = self._text(token)
        record["tokens"].append(text)
        record["token_logprobs"].append(None if score is None else score.logprob)
        within = shown[:1] != b"" and shown[0] & 0xC0 == 0x80
        record["text_offset"].append(max(0, self._offset - within))
        self._offset += sum(byte & 0xC0 != 0x80 for byte in shown)
        top = None
        if score is not None:
            # The likeliest last: of tokens that look alike it stays.
            top = {self._text(other): logprob for other, logprob in reversed(score.top)}
            top = dict(sorted(top.items(), key=lambda item: -item[1]))
        record["top_logprobs"].append(top)

    def _text(self, token: int) -> str:
        return self._llm.tokenizer.token_bytes(token, show_special=True).decode("utf-8", "replace")

    @staticmethod
    def _empty() -> dict[str, Any]:
        return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def joined(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Logprobs of the pieces of a stream as those of the whole."""
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    return {name: [entry for record in records for entry in record[name]] for name in names}
