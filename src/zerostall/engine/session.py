"""One sequence for one user after the other: generation code talks to a `Session` only."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from zerostall.engine.scheduler import Scheduler
from zerostall.engine.task import Logits, Place, Rows, Scoring, Task
from zerostall.errors import ClosedError, InvalidRequestError


class Session:
    """A place in the cache, for one task at a time.

    What the last task left there stays: a prompt that begins like it (the next turn of a chat)
    computes only the rest. Unless memory is short, when it is taken first. Use as a context
    manager, or close() it: its memory goes back to the engine.

    Raises:
        ClosedError: the LLM was closed.
    """

    def __init__(self, scheduler: Scheduler, place: Place | None = None) -> None:
        scheduler.engine  # noqa: B018  raises if closed
        self._scheduler = scheduler
        self._place: Place | None = place or Place()
        self._task: Task | None = None
        self._cancelled = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # For sessions nobody closed: a KeyboardInterrupt struck first, or a chat was dropped.
        if getattr(self, "_place", None) is not None:
            self.close()

    def close(self) -> None:
        """Free the sequence; safe to call twice."""
        if self._place is not None:
            place, self._place = self._place, None
            self._scheduler.release(place)

    def cancel(self) -> None:
        """Let no further step begin: whoever uses the session meets a ClosedError.

        For another thread than the one that uses it, which alone may close it.
        """
        # This order and that of run(): one of the two sees the other.
        self._cancelled = True
        task = self._task
        if task is not None:
            task.fail(_cancelled())
            self._scheduler.stop(task)

    @property
    def tokens(self) -> list[int]:
        """The tokens whose keys and values are in the cache."""
        return [] if self._place is None else list(self._place.tokens)

    @property
    def place(self) -> Place:
        """For tasks to run in.

        Raises:
            ClosedError: the session was closed.
        """
        if self._place is None:
            raise ClosedError("this session was closed; open a new one")
        return self._place

    @property
    def vocab_size(self) -> int:
        """The width of logits."""
        return self._scheduler.vocab_size

    def run(self, task: Task) -> Generator[Any, None, None]:
        """The events of a task in this session's place, until the caller takes no more.

        Raises:
            ClosedError: the LLM or the session was closed, or the session cancelled.
            InvalidRequestError: another task is under way here.
            Whatever a step raises: the session stays usable.
        """
        if self._task is not None:
            raise InvalidRequestError("this session has a request under way; open another one")
        self._task = task
        try:
            if self._cancelled:
                raise _cancelled()
            self._scheduler.submit(task)
            while True:
                event = task.take()
                if event is None:
                    return
                if task.paused:
                    self._scheduler.wake()
                yield event
        finally:
            self._task = None
            self._scheduler.stop(task)

    def score(self, tokens: Sequence[int], start: int = 0, priority: int = 0) -> Iterator[Logits]:
        """Logits after each token from position `start` on, in blocks [rows, vocab].

        Blocks follow the engine's limits, so a caller that reduces each block needs memory for
        two only.
        """
        if start < len(tokens):
            yield from self.run(Scoring(self.place, tokens, start, priority))

    def states(self, tokens: Sequence[int]) -> Iterator[Rows]:
        """Hidden states of all tokens, in blocks [rows, width]."""
        yield from self.run(Scoring(self.place, tokens, 0, hidden=True))


def _cancelled() -> ClosedError:
    return ClosedError("this session was cancelled; open a new one")
