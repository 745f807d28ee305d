"""Endless shuffled windows over the token files, mixed at a fixed ratio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def load_tokens(path: Path) -> np.ndarray:
    """Token ids of a file written by ``training.prepare``."""
    return np.fromfile(path, dtype=np.uint16)


class Windows:
    """Draws windows of one stream, each once per epoch; every epoch shifts their bounds."""

    def __init__(self, tokens: np.ndarray, seed: int) -> None:
        self.tokens = tokens
        self.random = np.random.default_rng(seed)
        self.length = 0
        self.starts: list[int] = []
        self.epochs = 0

    def draw(self, length: int) -> np.ndarray:
        """One window of ``length + 1`` ids: inputs and, shifted by one, targets."""
        if length != self.length or not self.starts:
            offset = int(self.random.integers(length))
            starts = np.arange(offset, len(self.tokens) - length - 1, length)
            self.starts = self.random.permutation(starts).tolist()
            self.length = length
            self.epochs += 1
        start = self.starts.pop()
        return self.tokens[start : start + length + 1]


class Mixture:
    """Batches of windows from the library and from its test suite."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.library = Windows(load_tokens(folder / "library.u16"), seed)
        self.tests = Windows(load_tokens(folder / "tests.u16"), seed + 1)
        self.random = np.random.default_rng(seed + 2)

    def draw(self, tokens: int, length: int, test_fraction: float) -> tuple[Tensor, Tensor]:
        """Inputs and targets [tokens // length, length], on average that share from the tests."""
        rows = []
        for _ in range(tokens // length):
            from_tests = self.random.random() < test_fraction
            rows.append((self.tests if from_tests else self.library).draw(length))
        batch = torch.from_numpy(np.stack(rows).astype(np.int64))
        return batch[:, :-1], batch[:, 1:]


def heldout_batches(folder: Path, length: int, windows: int) -> list[tuple[Tensor, Tensor]]:
    """Up to ``windows`` single-row batches spread evenly over the held-out tokens."""
    tokens = torch.from_numpy(load_tokens(folder / "heldout.u16").astype(np.int64))
    starts = range(0, len(tokens) - length - 1, length)
    chosen = starts[:: max(1, len(starts) // windows)][:windows]
    return [(tokens[None, s : s + length], tokens[None, s + 1 : s + length + 1]) for s in chosen]
