"""The loop that turns logits into tokens and tokens into text."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zerostall.engine import meter
from zerostall.engine.completion import (
    Chunk,
    FinishReason,
    PromptProgress,
    Timings,
    TokenLogprob,
    Usage,
)
from zerostall.engine.context_shift import ContextShift
from zerostall.engine.session import Session
from zerostall.engine.task import Logits, Task
from zerostall.errors import ContextLengthError, InvalidRequestError
from zerostall.sampling import SamplingParams

if TYPE_CHECKING:
    from zerostall._core import Sampler
    from zerostall.text import Tokenizer
    from zerostall.text.grammar import Constraint


AHEAD = 16  # tokens that may wait for the consumer
Watcher = Callable[[PromptProgress], None]


@dataclass(frozen=True)
class Request:
    """A validated generation: nothing in it can fail for the caller's fault any more."""

    prompt: list[int]
    params: SamplingParams
    max_tokens: int  # within the context, unless it may shift
    seed: int
    priority: int = 0
    constraint: Constraint | None = None  # of this one generation: it remembers the tokens
    shift: ContextShift | None = None  # how to go on when the context is full


def prepare(
    prompt: list[int],
    params: SamplingParams,
    default_tokens: int,
    context: int,
    vocab_size: int,
    priority: int = 0,
    constraint: Constraint | None = None,
    shift: ContextShift | None = None,
) -> Request:
    """Fill in what the caller left open and check token ids against the vocabulary.

    Raises:
        InvalidRequestError: a bias or stop token outside the vocabulary.
    """
    for name in ("logit_bias", "stop_token_ids", "shown_tokens"):
        for token in getattr(params, name):
            if token >= vocab_size:
                raise InvalidRequestError(
                    f"{name} names token {token}; the vocabulary has ids 0 to {vocab_size - 1}"
                )
    asked = default_tokens if params.max_tokens is None else params.max_tokens
    if shift is None:
        # The last token generated needs no place: nothing is computed after it.
        asked = min(asked, context - len(prompt) + 1)
    seed = secrets.randbits(32) if params.seed is None else params.seed
    return Request(prompt, params, asked, seed, priority, constraint, shift)


def checked_prompt(ids: Sequence[int], vocab_size: int, context: int, longest: int) -> list[int]:
    """Token ids that can be computed; `longest` is the context that the model was made for.

    Raises:
        InvalidRequestError: there is none, or one that is not in the vocabulary.
        ContextLengthError: there are too many.
    """
    check_ids(ids, vocab_size)
    if len(ids) == 0:
        raise InvalidRequestError("the prompt has no tokens; give at least one")
    if len(ids) > context:
        raise ContextLengthError(
            f"the prompt has {len(ids)} tokens, the context {context}: shorten the prompt, or "
            f"load with a larger ctx (this model allows {longest})"
        )
    return list(map(int, ids))


def check_ids(ids: Sequence[int], vocab_size: int) -> None:
    """Raise InvalidRequestError unless all are numbers of the vocabulary."""
    # Plain ints, nearly always, in C: the loop below, which finds the first wrong one, holds the
    # interpreter's lock several times as long.
    if set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) < vocab_size:
        return
    for position, token in enumerate(ids):
        if not hasattr(token, "__index__") or isinstance(token, bool):
            raise InvalidRequestError(
                f"the prompt's entry {position} is {token!r}; give text or token ids"
            )
        if not 0 <= token < vocab_size:
            raise InvalidRequestError(
                f"token {token} at position {position} is not in the vocabulary: "
                f"ids go from 0 to {vocab_size - 1}"
            )


class Generation(Task):
    """Samples from the logits of each step; gives a `Sampled` for each token.

    If it is watched, a `PromptProgress` comes before the first step and with each piece of the
    prompt.
    """

    def __init__(
        self,
        session: Session,
        request: Request,
        tokenizer: Tokenizer | None,
        watched: bool = False,
    ) -> None:
        prompt = request.prompt
        super().__init__(session.place, prompt, len(prompt) - 1, request.priority, AHEAD)
        params = request.params
        self.ends = frozenset(params.stop_token_ids)
        if tokenizer is not None and not params.ignore_eos:
            self.ends |= tokenizer.eog_ids
        self._bans = sorted(self.ends)
        self._request = request
        self._sampler = make_sampler(request, session.vocab_size, tokenizer)
        self.watched = watched
        self._count = 0
        self._prompt_ms = self._predicted_ms = 0.0

    def advance(self, guess_ms: float | None) -> None:
        """Tell how far the prompt is, to whoever watches."""
        self._prompt_ms += self.tick()
        assert self.kept is not None
        computed = len(self.place.tokens) - self.kept
        if computed > 0:
            guess_ms = self._prompt_ms * self.remaining / computed
        self.put(
            PromptProgress(
                len(self.tokens), self.kept, len(self.place.tokens), self._prompt_ms, guess_ms
            )
        )

    def receive(self, rows: Logits) -> Sequence[int]:
        """Sample a token, and go on with it unless it was the last."""
        if self._count == 0:
            self.watched = False
            self._prompt_ms += self.tick()
        if self._request.max_tokens == 0:
            self.put(Sampled(None, "length", None, self._prompt_ms, 0.0))
            return ()
        row = rows[0]
        constraint = self._request.constraint
        banned = self._bans if self._count < self._request.params.min_tokens else ()
        token = self._sampler.sample(allowed(row, constraint, banned))
        self._sampler.accept(token)
        if constraint is not None:
            constraint.accept(token)
        self._count += 1
        reason: FinishReason | None = None
        if token in self.ends or finished(constraint):
            reason = "stop"
        elif self._count == self._request.max_tokens:
            reason = "length"
        alternatives = self._request.params.logprobs
        logprob = None
        if alternatives is not None:
            logprob = token_logprob(self._sampler, row, token, alternatives)
        self._predicted_ms += self.tick()
        self.put(Sampled(token, reason, logprob, self._prompt_ms, self._predicted_ms))
        if reason:
            return ()
        shift = self._request.shift
        stays = None if shift is None else shift.make_room(self.tokens)
        if stays is None:
            return (token,)
        self.restart([*stays, token])
        return ()


@dataclass(frozen=True)
class Sampled:
    """A token and what it took; without one, the prompt was all that was asked for."""

    token: int | None
    reason: FinishReason | None
    logprob: TokenLogprob | None
    prompt_ms: float
    predicted_ms: float


def generate(
    session: Session,
    request: Request,
    tokenizer: Tokenizer | None,
    load_ms: float,
    progress: Watcher | None = None,
) -> Iterator[Chunk]:
    """Run a request in a session, one chunk a token; the last chunk carries the totals.

    Times begin with the first step. The engine goes on while the consumer is at work, but not
    further than AHEAD tokens; waiting for a slower one does not count. `progress` is called as
    pieces of the prompt are computed, in the thread that iterates.
    """
    task = Generation(session, request, tokenizer, progress is not None)
    text = _TextOut(tokenizer, request.params)
    count = 0
    with contextlib.closing(session.run(task)) as events:
        for event in events:
            if isinstance(event, PromptProgress):
                assert progress is not None
                progress(event)
                continue
            ids = [] if event.token is None else [event.token]
            count += len(ids)
            piece, reason = "", event.reason
            if ids and event.token not in task.ends:
                piece = text.push(event.token)
            if text.stopped:
                reason = "stop"
            logprobs = None if event.logprob is None else [event.logprob]
            if reason is None:
                yield Chunk(piece, ids, logprobs=logprobs)
                continue
            piece += text.finish()
            assert task.kept is not None
            computed = len(request.prompt) - task.kept
            streaming = meter.timings(task.streamed) if task.streamed else None
            timings = Timings(
                load_ms, computed, event.prompt_ms, count, event.predicted_ms, streaming
            )
            usage = Usage(len(request.prompt), count)
            yield Chunk(piece, ids, reason, logprobs, usage, timings, request.seed)
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


def allowed(logits: Logits, constraint: Constraint | None, banned: Sequence[int] = ()) -> Logits:
    """The logits [vocab] with what may not come next at -inf; `logits` stay as they are.

    Of `banned` tokens that is so unless a constraint lets nothing else follow.
    """
    if constraint is None and not banned:
        return logits
    masked: Logits = logits.copy()
    if constraint is not None:
        constraint.allowed(masked)
    if banned:
        before = masked[list(banned)]
        masked[list(banned)] = -np.inf
        if not np.isfinite(masked).any():
            masked[list(banned)] = before
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

    def __init__(self, tokenizer: Tokenizer | None, params: SamplingParams) -> None:
        from zerostall.text import Detokenizer

        self._out: Detokenizer | None = None
        if tokenizer is not None:
            self._out = Detokenizer(tokenizer, params.stop, shown=params.shown_tokens)

    @property
    def stopped(self) -> bool:
        return self._out is not None and self._out.stopped

    def push(self, token: int) -> str:
        return self._out.push(token) if self._out is not None else ""

    def finish(self) -> str:
        return self._out.finish() if self._out is not None else ""
