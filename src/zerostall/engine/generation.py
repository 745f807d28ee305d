"""The loop that turns logits into tokens and tokens into text."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zerostall.engine.completion import Chunk, FinishReason, Timings, TokenLogprob, Usage
from zerostall.engine.session import Logits, Session
from zerostall.errors import InvalidRequestError
from zerostall.sampling import SamplingParams

if TYPE_CHECKING:
    from zerostall._core import Sampler
    from zerostall.engine.streaming import StreamMeter
    from zerostall.text import Tokenizer
    from zerostall.text.grammar import Constraint


@dataclass(frozen=True)
class Request:
    """A validated generation: nothing in it can fail for the caller's fault any more."""

    prompt: list[int]
    params: SamplingParams
    max_tokens: int  # within the context
    seed: int
    constraint: Constraint | None = None  # of this one generation: it remembers the tokens


def prepare(
    prompt: list[int],
    params: SamplingParams,
    default_tokens: int,
    context: int,
    vocab_size: int,
    constraint: Constraint | None = None,
) -> Request:
    """Fill in what the caller left open and check token ids against the vocabulary.

    Raises:
        InvalidRequestError: a bias or stop token outside the vocabulary.
    """
    for name in ("logit_bias", "stop_token_ids"):
        for token in getattr(params, name):
            if token >= vocab_size:
                raise InvalidRequestError(
                    f"{name} names token {token}; the vocabulary has ids 0 to {vocab_size - 1}"
                )
    asked = default_tokens if params.max_tokens is None else params.max_tokens
    # The last token generated needs no place: nothing is computed after it.
    room = context - len(prompt) + 1
    seed = secrets.randbits(32) if params.seed is None else params.seed
    return Request(prompt, params, min(asked, room), seed, constraint)


def generate(
    session: Session, request: Request, tokenizer: Tokenizer | None, load_ms: float
) -> Iterator[Chunk]:
    """Run a request in a session, one chunk a token; the last chunk carries the totals.

    Times count only work done here, not what the consumer does between chunks.
    """
    params = request.params
    tally = _Tally(request, load_ms, session.meter())
    clock = time.perf_counter()
    logits, tally.computed = session.prefill(request.prompt)
    tally.prompt_ms = _since(clock)
    if request.max_tokens == 0:
        yield tally.last("", [], "length")
        return

    ends = frozenset(params.stop_token_ids)
    if tokenizer is not None and not params.ignore_eos:
        ends |= tokenizer.eog_ids
    sampler = make_sampler(request, len(logits), tokenizer)
    text = _TextOut(tokenizer, params.stop)
    clock = time.perf_counter()
    while True:
        token = sampler.sample(allowed(logits, request.constraint))
        sampler.accept(token)
        if request.constraint is not None:
            request.constraint.accept(token)
        tally.count += 1
        logprobs = None
        if params.logprobs is not None:
            logprobs = [token_logprob(sampler, logits, token, params.logprobs)]
        piece = "" if token in ends else text.push(token)
        reason: FinishReason | None = None
        if token in ends or text.stopped or finished(request.constraint):
            reason = "stop"
        elif tally.count == request.max_tokens:
            reason = "length"
        if reason is None:
            tally.predicted_ms += _since(clock)
            yield Chunk(piece, [token], logprobs=logprobs)
            clock = time.perf_counter()
            logits = session.decode(token)
            continue
        piece += text.finish()
        tally.predicted_ms += _since(clock)
        yield tally.last(piece, [token], reason, logprobs)
        return


def make_sampler(request: Request, vocab_size: int, tokenizer: Tokenizer | None) -> Sampler:
    """The core's sampler for a request, its penalties primed with the prompt."""
    from zerostall._core import Sampler

    params = request.params
    bias = {int(token): float(value) for token, value in params.logit_bias.items()}
    if params.ignore_eos and tokenizer is not None:
        # As llama.cpp does: a token that may not end the text must not appear in it either.
        bias |= dict.fromkeys(tokenizer.eog_ids, float("-inf"))
    sampler = Sampler(
        vocab_size,
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        typical_p=params.typical_p,
        repetition_penalty=params.repetition_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        penalty_last_n=params.penalty_last_n,
        logit_bias=bias,
        seed=request.seed,
    )
    for token in request.prompt:
        sampler.accept(token)
    return sampler


def allowed(logits: Logits, constraint: Constraint | None) -> Logits:
    """The logits [vocab] with what may not come next at -inf; `logits` stay as they are."""
    if constraint is None:
        return logits
    masked: Logits = logits.copy()
    constraint.allowed(masked)
    return masked


def finished(constraint: Constraint | None) -> bool:
    """Whether a constraint lets nothing more follow."""
    return constraint is not None and constraint.finished


def token_logprob(sampler: Sampler, logits: Logits, token: int, alternatives: int) -> TokenLogprob:
    """Log-probabilities of a token and of the likeliest ones."""
    *top, (_, logprob) = sampler.logprobs(logits, alternatives, [token])
    return TokenLogprob(token, logprob, top)


class _TextOut:
    """The incremental detokenizer, or nothing for a model without a vocabulary."""

    def __init__(self, tokenizer: Tokenizer | None, stop: Sequence[str]) -> None:
        from zerostall.text import Detokenizer

        self._out = Detokenizer(tokenizer, list(stop)) if tokenizer is not None else None

    @property
    def stopped(self) -> bool:
        return self._out is not None and self._out.stopped

    def push(self, token: int) -> str:
        return self._out.push(token) if self._out is not None else ""

    def finish(self) -> str:
        return self._out.finish() if self._out is not None else ""


@dataclass
class _Tally:
    """What a generation has cost so far."""

    request: Request
    load_ms: float
    meter: StreamMeter
    computed: int = 0
    prompt_ms: float = 0.0
    count: int = 0
    predicted_ms: float = 0.0

    def last(
        self,
        text: str,
        token_ids: list[int],
        reason: FinishReason,
        logprobs: list[TokenLogprob] | None = None,
    ) -> Chunk:
        """The final chunk, with the totals."""
        timings = Timings(
            self.load_ms,
            self.computed,
            self.prompt_ms,
            self.count,
            self.predicted_ms,
            self.meter.read(),
        )
        usage = Usage(len(self.request.prompt), self.count)
        return Chunk(text, token_ids, reason, logprobs, usage, timings, self.request.seed)


def _since(clock: float) -> float:
    return 1e3 * (time.perf_counter() - clock)
