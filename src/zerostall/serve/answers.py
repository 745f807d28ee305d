"""What chats and completions answer alike: usage, timings, and one answer as it grows."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zerostall.engine.completion import (
    Chunk,
    FinishReason,
    PromptProgress,
    StreamTimings,
    Timings,
    TokenLogprob,
    Usage,
)
from zerostall.serve.conversation import Prompt
from zerostall.serve.job import Item
from zerostall.serve.logprobs import Pending, shown_logprobs
from zerostall.serve.parts import Part, Text
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
    """What an item of one answer added, and how the answer ended if it did."""

    parts: list[Part]
    reason: FinishReason | None = None
    logprobs: Sequence[list[TokenLogprob]] = ()  # of each part's tokens; only content has some
    progress: PromptProgress | None = None  # of the prompt; there is nothing else then

    def told(self) -> Iterator[tuple[Part, list[TokenLogprob]]]:
        """Each part with its logprobs."""
        return zip(self.parts, self.logprobs, strict=True)


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


class Reader:
    """One answer, told apart as it comes.

    Args:
        llm: the model, whose tokenizer is used.
        prompt: what is answered.
        totals: of the request.
    """

    def __init__(self, llm: LLM, prompt: Prompt, totals: Totals) -> None:
        self._llm = llm
        self._prompt = len(prompt.tokens)
        self._parser = prompt.parser
        self._totals = totals
        self._pending = Pending(llm)
        self._progress: PromptProgress | None = None
        self._begin_s: float | None = None  # when its first token came
        self.tokens: list[int] = []
        self.reasoned = 0  # tokens of the reasoning, its tags included
        self.cut = False  # it was ended here, while the model went on

    def read(self, item: Item) -> Piece:
        """What an item adds."""
        if item.progress is not None:
            self._progress = item.progress
            return Piece([], progress=item.progress)
        assert item.chunk is not None
        chunk = item.chunk
        if self._begin_s is None:
            self._begin_s = time.monotonic()
        self.tokens += chunk.token_ids
        before = self._parser.thinking
        parts = self._parser.push(chunk.text)
        thought = before or self._parser.thinking
        if thought:
            self.reasoned += len(chunk.token_ids)
        else:
            self._pending.note(shown_logprobs(self._llm, chunk))
        if chunk.finish_reason is None and self._parser.went_on:
            self.cut, chunk = True, self._last()
        if chunk.finish_reason is not None:
            parts += self._parser.finish()
        self._totals.add(0, chunk)
        logprobs = [self._taken(part) for part in parts]
        if thought:
            self._pending.clear()
        return Piece(parts, chunk.finish_reason, logprobs)

    def _taken(self, part: Part) -> list[TokenLogprob]:
        if isinstance(part, Text) and part.kind == "content":
            return self._pending.take(part.text)
        self._pending.clear()
        return []

    def _last(self) -> Chunk:
        """What the last chunk would say if the engine had ended here; the times are those seen."""
        assert self._begin_s is not None
        known = self._progress
        cached, prompt_ms = (known.cached, known.time_ms) if known is not None else (0, 0.0)
        predicted_ms = 1e3 * (time.monotonic() - self._begin_s)
        count = len(self.tokens)
        timings = Timings(0.0, self._prompt - cached, prompt_ms, count, predicted_ms)
        return Chunk("", [], "stop", None, Usage(self._prompt, count), timings)


class Single:
    """The one answer of a request.

    Args:
        llm: the model, whose tokenizer is used.
        prompt: what is answered.
        stops: strings that end the text.
        silence_s: a sign of life is given when nothing came for so long.
    """

    def __init__(self, llm: LLM, prompt: Prompt, *, stops: Sequence[str], silence_s: float) -> None:
        self._llm = llm
        self._stops = stops
        self._silence_s = silence_s
        self.totals = Totals()
        self._reader = Reader(llm, prompt, self.totals)

    @property
    def reasoned(self) -> int:
        """Tokens of the reasoning, its tags included."""
        return self._reader.reasoned

    async def pieces(self, run: Run) -> AsyncIterator[Piece | None]:
        """What came, as it comes; None is a sign of life."""
        async for item in run.items(self._silence_s):
            yield None if item is None else self._reader.read(item)
            if self._reader.cut:
                return  # whoever waits for the answer cancels the run

    def stopped_by(self) -> str | None:
        """Which of the stop strings ended the text, if one did."""
        tokenizer = self._llm.loaded.tokenizer
        if tokenizer is None or not self._stops:
            return None
        text = Detokenizer(tokenizer, self._stops)
        for token in self._reader.tokens:
            text.push(token)
        text.finish()
        return text.stop_string
