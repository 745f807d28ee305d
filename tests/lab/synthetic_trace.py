"""Traces made up for tests: routers that prefer some experts, and repeat themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zerostall.lab.trace import Trace, TracedLayer, TraceHeader

EXPERT_BYTES = 4096


def make_trace(header: TraceHeader, events: Sequence[tuple], cut: bool = False) -> Trace:
    """A trace of events (step, tokens, layer, experts[, counts]), all recorded as misses."""
    flat = [expert for event in events for expert in event[3]]
    counts = [c for event in events for c in (event[4] if event[4:] else [1] * len(event[3]))]
    return Trace(
        header=header,
        steps=np.array([event[0] for event in events], np.int64),
        tokens=np.array([event[1] for event in events], np.int64),
        layers=np.array([event[2] for event in events], np.int64),
        first=np.cumsum([0, *(len(event[3]) for event in events)], dtype=np.int64),
        experts=np.array(flat, np.int64),
        counts=np.array(counts, np.int64),
        outcomes=np.full(len(flat), 2, np.uint8),
        cut=cut,
    )


def synthetic_trace(
    layers: int, experts: int, used: int, tokens: int, skew: float, stickiness: float, seed: int
) -> Trace:
    """One token a step. Popularity is a Zipf law of exponent `skew`, another order in each layer;
    each choice of a token is kept for the next with probability `stickiness`."""
    rng = np.random.default_rng(seed)
    weight = np.log(np.arange(1, experts + 1.0)) * -skew
    popularity = np.stack([rng.permutation(weight) for _ in range(layers)])
    chosen = np.empty((tokens, layers, used), np.int64)
    for token in range(tokens):
        # The largest of weight plus Gumbel noise are a weighted draw without replacement.
        score = popularity + rng.gumbel(size=(layers, experts))
        if token > 0:
            kept = rng.random((layers, used)) < stickiness
            np.put_along_axis(
                score,
                chosen[token - 1],
                np.where(kept, np.inf, np.take_along_axis(score, chosen[token - 1], 1)),
                1,
            )
        chosen[token] = np.argsort(-score, axis=1, kind="stable")[:, :used]
    events = tokens * layers
    header = TraceHeader("synthetic", (TracedLayer(experts, used, EXPERT_BYTES),) * layers, 0)
    return Trace(
        header=header,
        steps=np.repeat(np.arange(1, tokens + 1), layers),
        tokens=np.ones(events, np.int64),
        layers=np.tile(np.arange(layers), tokens),
        first=np.arange(0, events * used + 1, used),
        experts=chosen.reshape(-1),
        counts=np.ones(events * used, np.int64),
        outcomes=np.full(events * used, 2, np.uint8),
    )
