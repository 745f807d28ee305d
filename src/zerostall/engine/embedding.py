"""Embeddings: the hidden states of a text, pooled into one vector.

Sums are in double precision, in the order of positions or exact, so the bits of a vector depend
on its tokens alone (docs/adr/0001).
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zerostall.engine.task import Place, Rows, Task
from zerostall.errors import ClosedError, InvalidRequestError
from zerostall.nn.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from zerostall._core import GgufFile
    from zerostall.engine.scheduler import Scheduler

Vector = npt.NDArray[np.float32]
Prompt = str | Sequence[int]
Texts = Prompt | Sequence[Prompt]

POOLINGS = ("mean", "last", "cls")
# `pooling_type` in a file, by llama.cpp's numbers. Files of models that answer say 0 or nothing.
_IN_FILES = ("none", "mean", "cls", "last", "rank")
AT_ONCE = 16  # texts under way, for steps to be full; more would hold memory that answers need


def pooling_of(file: GgufFile, asked: str | None) -> str:
    """How the states of a text become one vector.

    Args:
        file: the model, whose `pooling_type` counts if nothing is asked for; without one the
            last token's state is taken, the only one that has seen the whole text.
        asked: one of POOLINGS, or None.

    Raises:
        InvalidRequestError: there is no such pooling, or the model ranks texts.
        ModelFormatError: the file's pooling_type is no number that is known.
    """
    if asked is not None:
        return check_pooling(asked)
    hyperparameters = Hyperparameters(file, str(file.get("general.architecture")))
    kind = _IN_FILES[hyperparameters.integer("pooling_type", 0, low=0, high=len(_IN_FILES) - 1)]
    if kind == "rank":
        raise InvalidRequestError(
            "this model was made to rank texts, not for embeddings (its pooling_type says rank): "
            f"take another one, or give pooling: {', '.join(POOLINGS)}"
        )
    return "last" if kind == "none" else kind


def check_pooling(asked: str) -> str:
    """The pooling asked for; InvalidRequestError if there is no such."""
    if asked not in POOLINGS:
        raise InvalidRequestError(
            f"pooling is {asked!r}; give one of {', '.join(POOLINGS)}, or nothing for the "
            "model's own"
        )
    return asked


def encoded(texts: Texts, encode: Callable[[Prompt], list[int]]) -> list[list[int]]:
    """The token ids of each text by `encode`, whose errors then name it by its place.

    Args:
        texts: one text, as a string or token ids, or several.
        encode: raises InvalidRequestError for a text that cannot be computed.
    """
    # A string is a sequence of strings too.
    one = isinstance(texts, str) or (len(texts) > 0 and isinstance(texts[0], (int, np.integer)))
    if one:
        return [encode(texts)]  # type: ignore[arg-type]
    found = []
    for place, text in enumerate(texts):
        try:
            found.append(encode(text))  # type: ignore[arg-type]
        except InvalidRequestError as error:
            raise type(error)(f"text {place}: {error}") from error
    return found


class Embedding(Task):
    """Gives one event, the vector [width] of its tokens."""

    wants_hidden = True

    def __init__(
        self, place: Place, tokens: Sequence[int], pooling: str, normalize: bool, priority: int
    ) -> None:
        if pooling == "cls":
            tokens = tokens[:1]  # attention is causal: what follows does not change its state
        # A mean needs the states of all positions, which the cache has not: all are computed.
        first_row = 0 if pooling == "mean" else len(tokens) - 1
        super().__init__(place, tokens, first_row, priority, ahead=1)
        self._normalize = normalize
        self._count = len(tokens) - first_row
        self._sum: npt.NDArray[np.float64] | None = None

    def receive(self, rows: Rows) -> Sequence[int]:
        """Add the states up, one position after the other; the last one gives the vector."""
        if self._sum is None:
            self._sum = np.zeros(rows.shape[1], np.float64)
        for row in rows:
            self._sum += row
        if self.next_row == len(self.tokens):
            vector = self._sum / self._count
            self.put((normalized(vector) if self._normalize else vector).astype(np.float32))
        return ()


def normalized(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The vector at length 1; one of zeros stays."""
    length = math.sqrt(math.fsum(vector * vector))
    return vector / length if length > 0 else vector


class Embedder:
    """Computes embeddings, several at once, in the steps that all requests share.

    Attributes:
        computed: tokens that were, of the texts whose vectors were given; others were cached.

    Args:
        scheduler: runs the steps.
        pooling: one of POOLINGS.
        normalize: give vectors of length 1.
        priority: a lower number goes first.
    """

    def __init__(
        self, scheduler: Scheduler, pooling: str, *, normalize: bool = True, priority: int = 0
    ) -> None:
        self._scheduler = scheduler
        self._pooling = pooling
        self._normalize = normalize
        self._priority = priority
        self._lock = threading.Lock()
        self._tasks: deque[Embedding] = deque()
        self._cancelled = False
        self.computed = 0

    def run(self, texts: Iterable[Sequence[int]]) -> Iterator[Vector]:
        """The vector [width] of each text, in order.

        Args:
            texts: token ids, at least one each and no more than the context.

        Raises:
            ClosedError: the LLM was closed, or cancel() called.
            Whatever a step raises.
        """
        try:
            for tokens in texts:
                self._begin(tokens)
                if len(self._tasks) == AT_ONCE:
                    yield self._end()
            while self._tasks:
                yield self._end()
        finally:
            while self._tasks:
                self._drop()

    def cancel(self) -> None:
        """Let no further step begin for it, from another thread: run() ends with ClosedError."""
        with self._lock:
            self._cancelled = True
            tasks = list(self._tasks)
        for task in tasks:
            task.fail(_cancelled())
            self._scheduler.stop(task)

    def _begin(self, tokens: Sequence[int]) -> None:
        task = Embedding(Place(), tokens, self._pooling, self._normalize, self._priority)
        with self._lock:
            if self._cancelled:
                raise _cancelled()
            self._tasks.append(task)
        self._scheduler.submit(task)

    def _end(self) -> Vector:
        """Wait for the first."""
        task = self._tasks[0]
        try:
            vector: Vector = task.take()
        finally:
            self._drop()
        assert task.kept is not None
        self.computed += len(task.tokens) - task.kept
        return vector

    def _drop(self) -> None:
        with self._lock:
            task = self._tasks.popleft()
        self._scheduler.stop(task)
        self._scheduler.release(task.place)


def _cancelled() -> ClosedError:
    return ClosedError("these embeddings were cancelled; ask again")
