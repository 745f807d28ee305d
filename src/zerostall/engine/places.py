"""The sequences that are open in an engine, and which of them gives its memory when that is full.

Only the scheduler calls this, one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from zerostall.engine.task import Place
from zerostall.errors import InvalidRequestError, OutOfBudgetError

if TYPE_CHECKING:
    from zerostall._core import Engine


class Places:
    """Those with a sequence in the engine, which each call is given."""

    def __init__(self) -> None:
        self._all: list[Place] = []

    def open(self, engine: Engine, place: Place) -> None:
        """Give a place a sequence, unless it has one."""
        place.evicted = 0  # what it lost is computed again, or not wanted any more
        if place.sequence is None:
            place.sequence = engine.open_sequence()
            self._all.append(place)

    def close(self, engine: Engine, place: Place) -> None:
        """Free a place's sequence, if it has one."""
        if place.sequence is not None:
            engine.close_sequence(place.sequence)
            self._all = [other for other in self._all if other is not place]
            place.sequence = None
            place.tokens = []

    def clear(self) -> None:
        """Forget all: the engine is gone."""
        self._all.clear()

    def truncate(self, engine: Engine, place: Place, length: int) -> None:
        """Let a place hold its first `length` tokens only."""
        if place.sequence is not None and length < len(place.tokens):
            engine.truncate(place.sequence, length)
            del place.tokens[length:]

    def evict(self, engine: Engine, place: Place) -> None:
        """Take a place's memory; it keeps in mind what it lost."""
        place.evicted = len(place.tokens)
        self.truncate(engine, place, 0)

    def evict_resting(self, engine: Engine, busy: Iterable[Place]) -> bool:
        """Take the memory of the place, not one of `busy`, that rests longest; False: none does."""
        used = {id(place) for place in busy}
        resting = [place for place in self._all if id(place) not in used and place.tokens]
        if resting:
            self.evict(engine, min(resting, key=lambda place: place.used))
        return bool(resting)

    def save(self, engine: Engine, place: Place, path: Path) -> None:
        """As Scheduler.save()."""
        if place.evicted:
            raise InvalidRequestError(
                f"the session's {place.evicted} tokens left the cache to make room for others: "
                "send its last prompt again, which computes them anew, and save it then; or load "
                "the model with more kv_tokens"
            )
        if place.sequence is None or not place.tokens:
            raise InvalidRequestError("the session holds no tokens; there is nothing to save")
        engine.save_state(place.sequence, path)

    def restore(self, engine: Engine, path: Path, busy: Iterable[Place]) -> Place:
        """As Scheduler.restore()."""
        used, place = list(busy), Place()
        while place.sequence is None:
            try:
                place.sequence = engine.load_state(path)
            except OutOfBudgetError:
                if not self.evict_resting(engine, used):
                    raise
        place.tokens = engine.sequence_tokens(place.sequence)
        self._all.append(place)
        return place


def common_tokens(a: list[int], b: list[int]) -> int:
    """How many tokens at the beginning are the same."""
    unlike = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(unlike, min(len(a), len(b)))
