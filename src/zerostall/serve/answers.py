"""What chats and completions answer alike: usage, timings, logprobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zerostall.engine.completion import (
    Chunk,
    FinishReason,
    PromptProgress,
    StreamTimings,
    TokenLogprob,
    Usage,
)
from zerostall.serve.output import OutputParser
from zerostall.serve.parts import Part
from zerostall.serve.run import Run
from zerostall.text import Detokenizer

if TYPE_CHECKING:
    from zerostall.llm import LLM


class Totals:
    """Usage and timings of a request, which may have several prompts and answers."""

    def __init__(self) -> None:
        self._prompts: dict[int, int] = {}
        self._completion = 0
        self._cached: dict[int, int] = {}
        self._streaming: StreamTimings | None = None
        self._timings = [0.0] * 4

    def add(self, prompt: int, chunk: Chunk, *, scored: bool = False) -> None:
        """Take in a chunk of an answer to the prompt of that number.

        What was computed to score the prompt is not called cached.
        """
        if chunk.usage is None or chunk.timings is None:
            return
        usage, timings = chunk.usage, chunk.timings
        self._prompts[prompt] = usage.prompt_tokens
        cached = 0 if scored else usage.prompt_tokens - timings.prompt_tokens
        # Of several answers one computed the prompt, and need not be the first to end.
        self._cached[prompt] = min(cached, self._cached.get(prompt, cached))
        self._completion += usage.completion_tokens
        for i, value in enumerate(
            (
                timings.prompt_tokens,
                timings.prompt_ms,
                timings.predicted_tokens,
                timings.predicted_ms,
            )
        ):
            self._timings[i] += value
        if timings.streaming is not None:
            had = self._streaming
            self._streaming = timings.streaming if had is None else had + timings.streaming

    def usage(self) -> dict[str, Any]:
        """As OpenAI has it; a prompt with several answers counts once."""
        usage = Usage(sum(self._prompts.values()), self._completion)
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }

    def timings(self) -> dict[str, Any]:
        """As llama.cpp's server has them, summed over the answers."""
        prompt_n, prompt_ms, predicted_n, predicted_ms = self._timings
        record: dict[str, Any] = {"cache_n": self.cached}
        for name, count, ms in (
            ("prompt", prompt_n, prompt_ms),
            ("predicted", predicted_n, predicted_ms),
        ):
            record |= {
                f"{name}_n": int(count),
                f"{name}_ms": ms,
                f"{name}_per_token_ms": ms / count if count else 0.0,
                f"{name}_per_second": 1e3 * count / ms if ms > 0 else 0.0,
            }
        if self._streaming is not None:
            record["streaming"] = self._streaming.to_dict()
        return record

    @property
    def prompt(self) -> int:
        """Tokens of all prompts."""
        return sum(self._prompts.values())

    @property
    def cached(self) -> int:
        """Tokens of prompts that were not computed again."""
        return sum(self._cached.values())

    @property
    def completion(self) -> int:
        """Tokens generated."""
        return self._completion


@dataclass(frozen=True)
class Piece:
    """What a chunk of one answer added, and how the answer ended if it did."""

    parts: list[Part]
    reason: FinishReason | None = None
    logprobs: Sequence[TokenLogprob] = ()  # of its tokens, unless they are reasoning
    progress: dict[str, Any] | None = None  # of the prompt; there is nothing else then


def shown_progress(progress: PromptProgress) -> dict[str, Any]:
    """By the names of llama.cpp's server, and what is left of it."""
    left = progress.remaining_ms
    return {
        "total": progress.total,
        "cache": progress.cached,
        "processed": progress.processed,
        "time_ms": round(progress.time_ms),
        "remaining_ms": None if left is None else round(left),
    }


class Single:
    """The one answer of a request, told apart as it comes.

    Args:
        llm: the model, whose tokenizer is used.
        parser: a new one.
        stops: strings that end the text.
        silence_s: a sign of life is given when nothing came for so long.
    """

    def __init__(
        self, llm: LLM, *, parser: OutputParser, stops: Sequence[str], silence_s: float
    ) -> None:
        self._llm = llm
        self._parser = parser
        self._stops = stops
        self._silence_s = silence_s
        self._tokens: list[int] = []
        self.totals = Totals()
        self.reasoned = 0  # tokens of the reasoning, its tags included

    async def pieces(self, run: Run) -> AsyncIterator[Piece | None]:
        """What came, as it comes; None is a sign of life."""
        async for item in run.items(self._silence_s):
            if item is None:
                yield None
                continue
            if item.progress is not None:
                yield Piece([], progress=shown_progress(item.progress))
                continue
            assert item.chunk is not None
            chunk = item.chunk
            self._tokens += chunk.token_ids
            self.totals.add(0, chunk)
            before = self._parser.thinking
            parts = self._parser.push(chunk.text)
            logprobs = shown_logprobs(self._llm, chunk)
            if before or self._parser.thinking:
                self.reasoned += len(chunk.token_ids)
                logprobs = []
            if chunk.finish_reason is not None:
                parts += self._parser.finish()
            yield Piece(parts, chunk.finish_reason, logprobs)

    def stopped_by(self) -> str | None:
        """Which of the stop strings ended the text, if one did."""
        tokenizer = self._llm.loaded.tokenizer
        if tokenizer is None or not self._stops:
            return None
        text = Detokenizer(tokenizer, self._stops)
        for token in self._tokens:
            text.push(token)
        text.finish()
        return text.stop_string


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
