"""The sampling chain in plain numpy, float64, and the generator in Python integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
_MASK = 2**64 - 1


class Xoshiro:
    """xoshiro256** seeded by splitmix64 (https://prng.di.unimi.it)."""

    def __init__(self, seed: int) -> None:
        self.state = []
        for _ in range(4):
            seed = (seed + 0x9E3779B97F4A7C15) & _MASK
            z = seed
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
            self.state.append(z ^ (z >> 31))

    def next(self) -> int:
        s = self.state
        result = (_rotated((s[1] * 5) & _MASK, 7) * 9) & _MASK
        t = (s[1] << 17) & _MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = _rotated(s[3], 45)
        return result

    def uniform(self) -> float:
        return float(self.next() >> 11) * 2.0**-53


def _rotated(x: int, k: int) -> int:
    return ((x << k) | (x >> (64 - k))) & _MASK


def softmax(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    e = np.exp(x - x.max())
    return e / e.sum()


def penalised(
    logits: Logits, history: Sequence[int], repetition: float, presence: float, frequency: float
) -> npt.NDArray[np.float64]:
    """Logits after the penalties for `history`, already cut to the last n tokens."""
    out = logits.astype(np.float64)
    for token in set(history):
        out[token] = out[token] * repetition if out[token] <= 0 else out[token] / repetition
        out[token] -= history.count(token) * frequency + presence
    return out


def kept(
    logits: npt.NDArray[np.float64],
    top_k: int = 0,
    typical_p: float = 1.0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> set[int]:
    """Which tokens the filters leave."""
    ids = np.argsort(-logits, kind="stable")
    if top_k > 0:
        ids = ids[:top_k]
    if typical_p < 1:
        p = softmax(logits[ids])
        entropy = -(p * np.log(p)).sum()
        order = np.argsort(np.abs(-np.log(p) - entropy), kind="stable")
        count = int(np.searchsorted(np.cumsum(p[order]), typical_p, side="right")) + 1
        ids = np.array(sorted(ids[order[:count]], key=lambda i: (-logits[i], i)))
    if top_p < 1:
        cumulative = np.cumsum(softmax(logits[ids]))
        ids = ids[: int(np.searchsorted(cumulative, top_p, side="left")) + 1]
    if min_p > 0:
        p = softmax(logits[ids])
        ids = ids[p >= min_p * p.max()]
    return {int(i) for i in ids}


def probabilities(
    logits: npt.NDArray[np.float64], temperature: float, filters: Mapping[str, float]
) -> npt.NDArray[np.float64]:
    """The distribution that is drawn from."""
    masked = np.full(logits.shape, -np.inf)
    ids = sorted(kept(logits, **filters))
    masked[ids] = logits[ids] / temperature
    return softmax(masked)
