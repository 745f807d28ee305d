"""What a generation returns: whole (`Completion`) or as it comes (`Chunk`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

FinishReason = Literal["stop", "length"]
GAUGES = ("slots", "resident", "given")  # of StreamTimings: no counts, but true at one moment


@dataclass(frozen=True)
class TokenLogprob:
    """A generated token and the alternatives to it.

    `logprob` is the natural logarithm of the model's probability (temperature 1, before
    penalties and bias); `top` lists the likeliest tokens as (token id, logprob), best first.
    """

    token_id: int
    logprob: float
    top: list[tuple[int, float]]


@dataclass(frozen=True)
class Usage:
    """Tokens read and written; the end-of-text token counts as written."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class StreamTimings:
    """What streaming experts took.

    Attributes:
        demanded: experts that layers needed, over all layers and steps.
        hits: of them, in memory.
        shadow_hits: of them, read ahead of the demand, or being read.
        misses: of them, read on demand, in full or as a low copy.
        low_used: of the misses, computed with the low copy (lossy: miss_precision).
        speculated: reads begun ahead of a demand.
        wasted: of those, that proved useless.
        predicted, foreseen: experts that predictions named, and of those the demanded ones.
        evictions: experts that left memory.
        upgrades: experts whose low copy in memory gave way to the full record.
        bytes_read: by experts, low copies among them.
        low_bytes: of those, by low copies.
        bytes_wasted: by useless reads.
        prefetched_bytes, released_bytes: asked of the page cache ahead of their use, and given back
            to it, where reading goes through it.
        stall_ms: the workers had nothing to do but wait for bytes.
        compute_ms: the rest of the time that steps took.
        read_ms: at least one read was under way.
        major_faults: pages of the process that had to be read back; above 0 memory is too tight.
        slots, resident: experts that fit into memory and those that are in it, at the end.
        given: bytes of slots that memory pressure has taken and not returned, at the end.
    """

    demanded: int
    hits: int
    shadow_hits: int
    misses: int
    low_used: int
    speculated: int
    wasted: int
    predicted: int
    foreseen: int
    evictions: int
    upgrades: int
    bytes_read: int
    low_bytes: int
    bytes_wasted: int
    prefetched_bytes: int
    released_bytes: int
    stall_ms: float
    compute_ms: float
    read_ms: float
    major_faults: int
    slots: int
    resident: int
    given: int

    def __add__(self, other: StreamTimings) -> StreamTimings:
        """Both together, of answers to one request; what is true at the end is the other's."""
        summed = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name not in GAUGES
        }
        return replace(other, **summed)

    @property
    def hit_rate(self) -> float:
        """Part of the demands that found the expert in memory; 0 when there were none."""
        return self.hits / self.demanded if self.demanded else 0.0

    @property
    def recall(self) -> float:
        """Part of the demands that a prediction had named; 0 when there were none."""
        return self.foreseen / self.demanded if self.demanded else 0.0

    @property
    def precision(self) -> float:
        """Part of the reads ahead that were used; 0 when there were none."""
        return 1.0 - self.wasted / self.speculated if self.speculated else 0.0

    @property
    def read_bandwidth(self) -> float:
        """Bytes a second while reads were under way; 0 when nothing was read."""
        return 1e3 * self.bytes_read / self.read_ms if self.read_ms > 0 else 0.0

    def to_dict(self) -> dict[str, float]:
        """Every field and the rates, for JSON."""
        return asdict(self) | {
            "hit_rate": self.hit_rate,
            "recall": self.recall,
            "precision": self.precision,
            "read_bandwidth": self.read_bandwidth,
        }


@dataclass(frozen=True)
class Timings:
    """Wall-clock milliseconds, by the names llama.cpp's server uses.

    `prompt_tokens` counts the tokens computed for the prompt: fewer than `Usage.prompt_tokens`
    when a chat reuses what the last turn left in the cache. `predicted_ms` runs from the end of
    the prompt to the last token, so the first predicted token, whose logits the prompt gives,
    costs only its sampling. `streaming` is there when experts were read as they were needed: this
    request's share of what the steps took that it was in, divided by the tokens that each request
    had in them. The shares of all requests are whole numbers whose sum is what the model did.
    """

    load_ms: float
    prompt_tokens: int
    prompt_ms: float
    predicted_tokens: int
    predicted_ms: float
    streaming: StreamTimings | None = None

    @property
    def prompt_per_second(self) -> float:
        """Prompt tokens per second; 0 when there was none."""
        return 1e3 * self.prompt_tokens / self.prompt_ms if self.prompt_ms > 0 else 0.0

    @property
    def predicted_per_second(self) -> float:
        """Predicted tokens per second; 0 when there was none."""
        return 1e3 * self.predicted_tokens / self.predicted_ms if self.predicted_ms > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Every field and both rates, for JSON; `streaming` only where there is something."""
        record: dict[str, Any] = asdict(self) | {
            "prompt_per_second": self.prompt_per_second,
            "predicted_per_second": self.predicted_per_second,
        }
        del record["streaming"]
        if self.streaming is not None:
            record["streaming"] = self.streaming.to_dict()
        return record


@dataclass(frozen=True)
class PromptProgress:
    """How far a prompt is computed.

    Attributes:
        total: tokens of the prompt.
        cached: of them, found in the cache.
        processed: of them, done: those in the cache and those computed.
        time_ms: since its first step could begin.
        remaining_ms: an estimate, by the speed so far, before that by what earlier steps have
            cost; None before anything was measured. Requests that come later are not foreseen.
    """

    total: int
    cached: int
    processed: int
    time_ms: float
    remaining_ms: float | None


@dataclass(frozen=True)
class Chunk:
    """One token of a stream and the text that it completes.

    `text` may be empty: bytes that are not yet a whole character, or text that may yet turn out
    to be a stop string, are held back. The last chunk, and only it, has `finish_reason`,
    `usage` and `timings`.
    """

    text: str
    token_ids: list[int]
    finish_reason: FinishReason | None = None
    logprobs: list[TokenLogprob] | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Completion:
    """The whole of a generation.

    Attributes:
        text: what was generated, without stop strings and special tokens.
        token_ids: every token sampled, the end-of-text or stop token included.
        finish_reason: "stop" (the model ended, or a stop string or token came) or "length"
            (max_tokens, or the context is full and may not shift).
        usage: token counts.
        timings: how long it took.
        seed: the seed that repeats it.
        logprobs: one entry a token if SamplingParams.logprobs asked for it, else None.
    """

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    seed: int
    logprobs: list[TokenLogprob] | None = None

    @classmethod
    def join(cls, chunks: list[Chunk]) -> Completion:
        """The completion that a finished stream's chunks make."""
        last = chunks[-1]
        assert last.finish_reason is not None, "the stream was cut short"
        assert last.usage is not None
        assert last.timings is not None
        assert last.seed is not None
        logprobs = [entry for chunk in chunks for entry in chunk.logprobs or []]
        return cls(
            text="".join(chunk.text for chunk in chunks),
            token_ids=[token for chunk in chunks for token in chunk.token_ids],
            finish_reason=last.finish_reason,
            usage=last.usage,
            timings=last.timings,
            seed=last.seed,
            logprobs=logprobs if last.logprobs is not None else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """The completion as JSON-ready data; what `zerostall run --json` prints."""
        record: dict[str, Any] = {
            "text": self.text,
            "token_ids": self.token_ids,
            "finish_reason": self.finish_reason,
            "usage": asdict(self.usage) | {"total_tokens": self.usage.total_tokens},
            "timings": self.timings.to_dict(),
            "seed": self.seed,
        }
        if self.logprobs is not None:
            record["logprobs"] = [asdict(entry) for entry in self.logprobs]
        return record
