"""An engine of 16 tokens that predicts the sum of a sequence, and records its steps.

Its cache has `capacity` positions, and remembers the full pages of closed sequences as the real
one does, but without their number counting.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np

from zerostall.errors import CancelledError, OutOfBudgetError

VOCAB = 16
PAGE = 64


class FakeEngine:
    vocab_size = VOCAB
    context = 1024
    max_batch = 8
    max_logits = 3

    def __init__(self, capacity: int = 8192) -> None:
        self.capacity = capacity
        self.sequences: dict[int, list[int]] = {}
        self.steps: list[dict[int, tuple[int, int]]] = []  # sequence: tokens, rows
        self.opened = 0
        self.cached: list[list[int]] = []
        self.failing: set[int] = set()  # tokens that no step survives
        self.hold: threading.Event | None = None  # steps wait for it, or for interrupt()
        self.began = threading.Semaphore(0)  # once a step
        self._interrupted = threading.Event()

    def stream_stats(self) -> dict[str, int]:
        return {}

    def take_warnings(self) -> list[str]:
        return []

    def expert_scores(self) -> list[float]:
        return []

    def expert_habits(self) -> list[int]:
        return []

    @property
    def free_tokens(self) -> int:
        return self.capacity - sum(map(pages, self.sequences.values()))

    def open_sequence(self) -> int:
        self.opened += 1
        self.sequences[self.opened] = []
        return self.opened

    def close_sequence(self, sequence: int) -> None:
        self.truncate(sequence, 0)
        del self.sequences[sequence]

    def truncate(self, sequence: int, length: int) -> None:
        held = self.sequences[sequence]
        self.cached.append(held[: len(held) // PAGE * PAGE])
        del held[length:]

    def adopt_prefix(self, sequence: int, tokens) -> int:
        assert self.sequences[sequence] == []
        assert tokens.dtype == np.int32
        wanted = tokens.tolist()
        best = 0
        for known in [*self.cached, *self.sequences.values()]:
            shared = 0
            while shared < min(len(known), len(wanted)) and known[shared] == wanted[shared]:
                shared += 1
            best = max(best, min(shared, len(wanted) - 1) // PAGE * PAGE)
        self.sequences[sequence] = wanted[:best]
        return best

    def save_state(self, sequence: int, path: Path) -> None:
        path.write_text(json.dumps(self.sequences[sequence]))

    def load_state(self, path: Path) -> int:
        held = json.loads(path.read_text())
        if pages(held) > self.free_tokens:
            raise OutOfBudgetError("no free page")
        sequence = self.open_sequence()
        self.sequences[sequence] = held
        return sequence

    def sequence_tokens(self, sequence: int) -> list[int]:
        return list(self.sequences[sequence])

    def interrupt(self) -> None:
        self._interrupted.set()

    def step(self, tokens, sequences, rows):
        return self.step_hidden(tokens, sequences, rows, np.empty(0, np.int32))[0]

    def step_hidden(self, tokens, sequences, rows, hidden):
        """A token's hidden state is the sum and the number of the tokens up to it."""
        assert hidden.dtype == np.int32
        assert tokens.dtype == sequences.dtype == rows.dtype == np.int32
        assert 0 < len(tokens) <= self.max_batch
        assert len(rows) <= self.max_logits
        self.began.release()
        if self.hold is not None:
            while not self.hold.wait(0.001):
                if self._interrupted.is_set():
                    self._interrupted.clear()
                    raise CancelledError("interrupted")
        self._interrupted.clear()
        if not self.failing.isdisjoint(tokens.tolist()):
            raise ValueError("a bad token")
        grown = {int(s): list(self.sequences[int(s)]) for s in sequences}
        logits = np.zeros((len(tokens), VOCAB), np.float32)
        states = np.zeros((len(tokens), 2), np.float32)
        for i, (token, sequence) in enumerate(zip(tokens, sequences, strict=True)):
            held = grown[int(sequence)]
            held.append(int(token))
            logits[i, sum(held) % VOCAB] = 1.0
            states[i] = sum(held), len(held)
        if sum(pages(held) for held in (self.sequences | grown).values()) > self.capacity:
            raise OutOfBudgetError("no free page")
        self.sequences |= grown
        self.steps.append(
            {
                s: (int((sequences == s).sum()), int((sequences[rows] == s).sum()))
                for s in dict.fromkeys(sequences.tolist())
            }
        )
        return logits[rows], states[hidden]


def pages(held: list[int]) -> int:
    return -(-len(held) // PAGE) * PAGE
