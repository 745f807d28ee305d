"""An engine of 16 tokens that predicts the sum of a sequence, and records its steps."""

from __future__ import annotations

import numpy as np

VOCAB = 16


class FakeEngine:
    vocab_size = VOCAB
    context = 64
    max_batch = 8
    max_logits = 3

    def __init__(self) -> None:
        self.sequences: dict[int, list[int]] = {}
        self.steps: list[tuple[int, int, int]] = []  # sequence, tokens, rows
        self.interrupt_at: int | None = None
        self.opened = 0

    def stream_stats(self) -> dict[str, int]:
        return {}

    def expert_scores(self) -> list[float]:
        return []

    def open_sequence(self) -> int:
        self.opened += 1
        self.sequences[self.opened] = []
        return self.opened

    def close_sequence(self, sequence: int) -> None:
        del self.sequences[sequence]

    def length(self, sequence: int) -> int:
        return len(self.sequences[sequence])

    def truncate(self, sequence: int, length: int) -> None:
        del self.sequences[sequence][length:]

    def step(self, tokens, sequences, rows):
        assert tokens.dtype == sequences.dtype == rows.dtype == np.int32
        assert len(tokens) <= self.max_batch
        assert len(rows) <= self.max_logits
        if self.interrupt_at == len(self.steps):
            self.interrupt_at = None
            raise KeyboardInterrupt
        sequence = int(sequences[0])
        held = self.sequences[sequence]
        self.steps.append((sequence, len(tokens), len(rows)))
        logits = np.zeros((len(tokens), VOCAB), np.float32)
        for i, token in enumerate(tokens):
            held.append(int(token))
            logits[i, sum(held) % VOCAB] = 1.0
        return logits[rows]
