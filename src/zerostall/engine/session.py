"""One sequence in the core's KV cache, and turns between the threads that step it.

This is the seam for continuous batching: generation code talks to a `Session` only, so a
scheduler that gathers the steps of many sessions into one batch replaces `Turns` alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zerostall.engine.streaming import Demand, StreamMeter
from zerostall.errors import ClosedError

if TYPE_CHECKING:
    from zerostall._core import Engine

Logits = npt.NDArray[np.float32]


class Turns:
    """Lets several threads step one engine, each in its turn.

    A plain lock would let the thread that just released it take it again before a waiter
    wakes, and starve the others. Here whoever waits holds the `_next` lock, so that the thread
    that just ran queues behind it.
    """

    def __init__(self, engine: Engine, trace: Callable[[list[Demand]], None] | None = None) -> None:
        self._engine: Engine | None = engine
        self._trace = trace
        self._next = threading.Lock()
        # Reentrant only for its ownership check: see `_leave`.
        self._turn = threading.RLock()
        self._stepping = False  # read and written by the thread whose turn it is
        self._closing: list[int] = []
        self.vocab_size = engine.vocab_size
        self.context = engine.context
        self.max_batch = engine.max_batch
        self.max_logits = engine.max_logits

    @property
    def engine(self) -> Engine:
        """The engine, unless closed."""
        if self._engine is None:
            raise ClosedError("this LLM was closed; make a new one")
        return self._engine

    def open_sequence(self) -> int:
        """A new empty sequence's id."""
        try:
            self._enter()
            return self.engine.open_sequence()
        finally:
            self._leave()

    def close_sequence(self, sequence: int) -> None:
        """Free a sequence: now if the engine is idle, else before its next turn.

        Never waits, because a garbage collection may call it anywhere, even inside a step.
        """
        self._closing.append(sequence)
        if self._turn.acquire(blocking=False):
            try:
                self._free_closed()
            finally:
                self._turn.release()

    def truncate(self, sequence: int, length: int) -> None:
        """Forget the tokens of a sequence from position `length` on."""
        try:
            self._enter()
            if length < self.engine.length(sequence):
                self.engine.truncate(sequence, length)
        finally:
            self._leave()

    def step(self, sequence: int, tokens: Sequence[int], rows: Sequence[int]) -> Logits:
        """Append tokens to a sequence; logits [len(rows), vocab] of the rows asked for."""
        batch = np.asarray(tokens, np.int32)
        owners = np.full(len(batch), sequence, np.int32)
        wanted = np.asarray(rows, np.int32)
        try:
            self._enter()
            self._stepping = True
            try:
                logits = self.engine.step(batch, owners, wanted)
                if self._trace is not None:
                    self._trace(self.engine.take_trace())
                return logits
            finally:
                self._stepping = False
        finally:
            self._leave()

    def take_states(self) -> list[dict[str, npt.NDArray[np.float32]]]:
        """What guesses were made of since the last call (`Streaming.record_states`).

        For each layer whose experts are streamed: `early_input` and `late_input` [tokens, width],
        `early_guess`, `late_guess` and `logits` [tokens, experts], float32; a guess that a layer
        has not is left out.
        """
        return self.engine.take_states()

    def stream_stats(self) -> dict[str, int]:
        """Counters of streamed experts since the load; empty if none are streamed."""
        return self.engine.stream_stats()

    def close(self) -> list[float]:
        """Drop the engine once the step under way is done; later calls raise ClosedError.

        Returns:
            How much each streamed expert was wanted; empty if none were streamed.
        """
        try:
            self._enter()
            scores = [] if self._engine is None else self._engine.expert_scores()
            self._engine = None
            return scores
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._next:
            self._turn.acquire()
        self._free_closed()

    def _leave(self) -> None:
        # A KeyboardInterrupt may come before or just after the acquire; only the lock itself
        # knows for sure whether this thread has it.
        with contextlib.suppress(RuntimeError):
            self._turn.release()

    def _free_closed(self) -> None:
        while self._closing and not self._stepping:
            sequence = self._closing.pop()
            if self._engine is not None:
                self._engine.close_sequence(sequence)


class Session:
    """One sequence: tokens go in, logits of the last come out.

    It remembers its tokens, so that a prompt which begins like the last one (the next turn of
    a chat) computes only the rest. Use as a context manager, or close() it: the sequence's
    memory goes back to the engine.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._sequence: int | None = turns.open_sequence()
        self._cancelled = False
        self.tokens: list[int] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # For sessions nobody closed: a KeyboardInterrupt struck first, or a chat was dropped.
        if getattr(self, "_sequence", None) is not None:
            self.close()

    def close(self) -> None:
        """Free the sequence; safe to call twice."""
        if self._sequence is not None:
            self._turns.close_sequence(self._sequence)
            self._sequence = None

    def cancel(self) -> None:
        """Let no further step begin: whoever uses the session meets a ClosedError.

        For another thread than the one that uses it, which alone may close it.
        """
        self._cancelled = True

    def meter(self) -> StreamMeter:
        """Counts what streaming experts takes from now on."""
        return StreamMeter(self._turns)

    def prefill(self, prompt: Sequence[int]) -> tuple[Logits, int]:
        """Make the sequence hold `prompt`, which has at least one token.

        Returns:
            The logits [vocab] after its last token, and how many tokens were computed.
        """
        # The last token is always computed: its logits are wanted.
        kept = min(_common(self.tokens, prompt), len(prompt) - 1)
        self._truncate(kept)
        step = self._turns.max_batch
        for begin in range(kept, len(prompt), step):
            part = prompt[begin : begin + step]
            last = begin + len(part) == len(prompt)
            logits = self._step(part, [len(part) - 1] if last else [])
        return logits[0], len(prompt) - kept

    def decode(self, token: int) -> Logits:
        """Append one token; the logits [vocab] after it."""
        logits: Logits = self._step([token], [0])[0]
        return logits

    def score(self, tokens: Sequence[int], start: int = 0) -> Iterator[Logits]:
        """Logits after each token from position `start` on, in blocks [rows, vocab].

        The sequence holds `tokens` afterwards. Blocks follow the engine's limits, so a caller
        that reduces each block needs memory for one only.
        """
        self._truncate(0)
        step = min(self._turns.max_batch, self._turns.max_logits)
        begin = 0
        while begin < len(tokens):
            # Rows nobody wants need no logits, so those chunks may be as long as a batch.
            end = min(begin + self._turns.max_batch, start) if begin < start else begin + step
            part = tokens[begin:end]
            wanted = [] if begin < start else list(range(len(part)))
            block = self._step(part, wanted)
            if wanted:
                yield block
            begin += len(part)

    def _truncate(self, length: int) -> None:
        # Asked of the engine even if `tokens` is no longer: an interrupt may have struck
        # between a step and its being noted there.
        self._turns.truncate(self._id(), length)
        del self.tokens[length:]

    def _step(self, tokens: Sequence[int], rows: Sequence[int]) -> Logits:
        logits = self._turns.step(self._id(), tokens, rows)
        self.tokens += tokens
        return logits

    def _id(self) -> int:
        if self._cancelled:
            raise ClosedError("this session was cancelled; open a new one")
        if self._sequence is None:
            raise ClosedError("this session was closed; open a new one")
        return self._sequence


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
